#!/usr/bin/env python3
"""people.py USERS: starts the server of $BENCH_BINARY, makes users `user0`…, a `callee` and a
`talker` with numbers that ring them, and stops it.

The trunk that calls in is whoever sends from 127.0.0.1; it is not asked for a password, as Kamailio's callers are not either.
"""
import http.client, json, os, subprocess, sys, time

server = subprocess.Popen([os.environ["BENCH_BINARY"], "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
host, port = os.environ["TRUNKLINE_HTTP_LISTEN"].split(":")
headers = {"Authorization": "Bearer " + os.environ["TRUNKLINE_BOOTSTRAP_KEY"], "Content-Type": "application/json"}


def connect():
    for _ in range(200):
        try:
            connection = http.client.HTTPConnection(host, int(port), timeout=10)
            connection.connect()
            return connection
        except OSError:
            time.sleep(0.05)
    sys.exit("the server did not start")


def post(connection, path, body):
    while True:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status == 429:
            time.sleep(0.2)
            continue
        if answer.status >= 300:
            sys.exit(f"{path}: {answer.status} {said[:500]}")
        return


try:
    api = connect()
    for n in range(int(sys.argv[1])):
        post(api, "/v1/users", {"username": f"user{n}", "password": f"password-of-{n}"})
    for name in ("callee", "talker"):
        post(api, "/v1/users", {"username": name, "password": "a-password-of-42"})
    post(api, "/v1/trunks", {"name": "bench", "host": "127.0.0.1", "port": 5099, "settings": {"inbound": {"sources": ["127.0.0.1"]}}})
    for number, name in (("+12025550199", "callee"), ("+12025550198", "talker")):
        post(api, "/v1/numbers", {"number": number, "name": name, "route": [{"user": name}]})
finally:
    server.terminate()
    server.wait(20)
