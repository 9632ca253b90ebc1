#!/usr/bin/env python3
"""registered.py [USERS]: registers so many users (100,000) with digest by SIPp, after `run.sh` has built the server.

Then every binding is compared with what was registered, the server is ended with SIGKILL and started again, and they are compared
again. Says what that took in memory and time. The limit of requests is lifted; all else is as it comes.
"""
import http.client, json, os, subprocess, sys, tempfile, threading, time

USERS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
RATE = 4000
BINARY = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release", "trunkline")
SCENARIO = os.path.join(os.environ.get("BENCH_DRIVER", os.path.join(os.path.dirname(__file__), "..", "..", "shared", "bench")), "scenarios", "register.xml")
KEY = "bench-key-0001"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
folder = tempfile.mkdtemp(prefix="trunkline-registered-")


def start():
    began = time.time()
    server = subprocess.Popen([BINARY, "serve"], stdout=subprocess.DEVNULL, stderr=open(f"{folder}/serve.log", "a"), env=dict(
        os.environ, TRUNKLINE_DATA_DIR=f"{folder}/data", TRUNKLINE_SIP_LISTEN="127.0.0.1:5560", TRUNKLINE_SIPS_LISTEN="off",
        TRUNKLINE_HTTP_LISTEN="127.0.0.1:8089", TRUNKLINE_DEMO="0", TRUNKLINE_BOOTSTRAP_KEY=KEY, TRUNKLINE_REQUESTS_PER_SECOND="1000000"))
    while True:
        try:
            api = connect()
            api.request("GET", "/health")
            api.getresponse().read()
            return server, time.time() - began
        except OSError:
            if server.poll() is not None:
                sys.exit(f"the server ended: see {folder}/serve.log")
            time.sleep(0.02)


def connect():
    api = http.client.HTTPConnection("127.0.0.1", 8089, timeout=30)
    api.connect()
    return api


def ask(api, method, path, body=None):
    api.request(method, path, body and json.dumps(body), HEADERS)
    answer = api.getresponse()
    said = answer.read()
    if answer.status >= 300:
        sys.exit(f"{method} {path}: {answer.status} {said[:500]}")
    return json.loads(said)


def make(first, step):
    api = connect()
    for n in range(first, USERS, step):
        ask(api, "POST", "/v1/users", {"username": f"user{n}", "password": f"password-of-{n}"})


def bindings():
    """Every binding that the API tells: user and contact."""
    api, found, query = connect(), {}, "limit=200"
    while True:
        page = ask(api, "GET", f"/v1/registrations?{query}")
        for one in page["data"]:
            found.setdefault(one["user"], []).append((one["contact"], one["state"]))
        if not page["next"]:
            return found
        query = f"limit=200&after={page['next']}"


def memory(server):
    with open(f"/proc/{server.pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))


def check(when, server):
    began = time.time()
    found = bindings()
    wrong = [user for user, contacts in found.items() if contacts != [(f"sip:{user}@127.0.0.1:6070", "registered")]]
    print(f"{when}: {len(found)} bindings, {len(wrong)} of them wrong; RSS {memory(server)} MB; read in {time.time() - began:.1f} s", flush=True)
    if len(found) != USERS or wrong:
        print("NOT RIGHT", wrong[:5])
        return False
    return True


server, took = start()
try:
    print(f"idle: RSS {memory(server)} MB, ready in {took:.2f} s", flush=True)
    began = time.time()
    makers = [threading.Thread(target=make, args=(n, 4)) for n in range(4)]
    [maker.start() for maker in makers]
    [maker.join() for maker in makers]
    print(f"{USERS} users made in {time.time() - began:.0f} s; RSS {memory(server)} MB", flush=True)
    with open(f"{folder}/users.csv", "w") as users:
        users.write("SEQUENTIAL\n")
        for n in range(USERS):
            users.write(f"user{n};[authentication username=user{n} password=password-of-{n}]\n")
    began = time.time()
    sipp = subprocess.run(["sipp", "127.0.0.1:5560", "-sf", SCENARIO, "-i", "127.0.0.1", "-p", "6070", "-r", str(RATE), "-m", str(USERS), "-l", "20000",
                           "-inf", f"{folder}/users.csv", "-nostdin", "-buff_size", "4194304", "-key", "domain", "127.0.0.1:5560", "-timer_resol", "1"],
                          cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, TERM="xterm"))
    print(f"registered in {time.time() - began:.1f} s (SIPp says {sipp.returncode}); RSS {memory(server)} MB", flush=True)
    right = check("registered", server)
    server.kill()
    server.wait()
    server, took = start()
    print(f"ended with SIGKILL and ready again in {took:.2f} s", flush=True)
    right &= check("after the start", server)
finally:
    server.terminate()
    server.wait(30)
subprocess.run(["rm", "-rf", folder])
sys.exit(0 if right else 1)
