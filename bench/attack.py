#!/usr/bin/env python3
"""attack.py [SECONDS [CALLS]]: calls talk (200) while the server is attacked for so long (15 s) in each of these ways, after `run.sh` has
built both sides: scanners (`svwar`, `svcrack`), 20,000 REGISTER a second from a few addresses, 10,000 INVITE a second from
thousands, TCP clients that send a byte at a time. Meanwhile honest phones register from addresses of their own.

For each attack: what the calls lost, how late their packets were, what the honest phones were told, and memory. Root is not needed.
"""
import json, multiprocessing, os, subprocess, sys, tempfile, threading, time

import flood

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
CALLS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
here = os.path.dirname(os.path.abspath(__file__))
target_dir = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(here, "..", "target")))
work = os.path.join(target_dir, "bench")
binary = os.path.join(target_dir, "release", "trunkline")
PORT = 5560
folder = tempfile.mkdtemp(prefix="trunkline-attack-")
target = json.load(open(os.path.join(here, "trunkline.json")))
env = dict(os.environ, BENCH_BINARY=binary, **target["env"])
# Else this machine's own addresses would be trusted.
env.update(TRUNKLINE_DATA_DIR=f"{folder}/data", TRUNKLINE_SHIELD_TRUSTED="192.0.2.1")
quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))


def cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def honest():
    """Phones of their own addresses, a few a second; how many were registered, and how many were not."""
    users = f"{folder}/users.csv"
    with open(users, "w") as f:
        f.write("SEQUENTIAL\n")
        for n in range(1000):
            f.write(f"user{n};[authentication username=user{n} password=password-of-{n}]\n")
    stat = f"{folder}/stat.csv"
    count = max(1, (SECONDS - 3) * 20)
    subprocess.run(["sipp", f"127.0.0.1:{PORT}", "-sf", f"{work}/scenarios/register.xml", "-i", "127.88.8.8", "-p", "6070", "-r", "20", "-m", str(count), "-inf", users,
                    "-nostdin", "-key", "domain", f"127.0.0.1:{PORT}", "-trace_stat", "-stf", stat, "-fd", "1", "-recv_timeout", "10000"],
                   cwd=folder, env=dict(os.environ, TERM="xterm"), timeout=SECONDS + 40, **quiet)
    with open(stat) as f:
        lines = [line.rstrip(";\n").split(";") for line in f]
    last = dict(zip(lines[0], lines[-1]))
    os.remove(stat)
    return int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), int(last["Retransmissions(C)"])


def run(way, arguments, counted):
    counted.put(way(*arguments))


def several(ways, counted):
    """Attacks in processes of their own; each is (function, arguments)."""
    return [multiprocessing.Process(target=run, args=(way, arguments, counted)) for way, arguments in ways]


few = [f"127.66.0.{n}" for n in range(1, 9)]
thousands = [f"127.{60 + n % 7}.{n // 250 % 250}.{n % 250 + 1}" for n in range(4096)]
scanners = [["svwar", "-m", "INVITE", "-e", "1000-9999", f"127.0.0.1:{PORT}"], ["svcrack", "-u", "user1", "-r", "100000-999999", f"127.0.0.1:{PORT}"]]
attacks = {
    "nobody": ([], []),
    "svwar and svcrack": (scanners, []),
    "20,000 REGISTER/s": ([], [(flood.flood, ("REGISTER", few, 20_000, SECONDS, PORT))]),
    "10,000 INVITE/s": ([], [(flood.flood, ("INVITE", thousands, 10_000, SECONDS, PORT))]),
    "a byte at a time": ([], [(flood.trickle, (400, SECONDS, PORT))]),
    "all at once": (scanners, [(flood.flood, ("REGISTER", few, 10_000, SECONDS, PORT)), (flood.flood, ("INVITE", thousands, 5_000, SECONDS, PORT)),
                               (flood.trickle, (200, SECONDS, PORT))]),
}


def talk(began, ended):
    """Calls that talk for as long as an attack lasts; what rtpcall says of them."""
    command = [f"{work}/rtpcall-bin", "--target", f"127.0.0.1:{PORT}", "--domain", f"127.0.0.1:{PORT}", "--uac-port", "6060", "--uas-port", "5090", "--from", "caller",
               "--to", target["call"]["to"], "--register", target["call"]["register_callee"], "--calls", str(CALLS), "--rate", "100", "--measure", str(SECONDS + 2),
               "--settle", "1.5", "--timeout", "60"]
    calls = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    result = {}
    for line in calls.stdout:
        if line.startswith("EVENT measure_start"):
            began.set()
        elif line.startswith("RESULT"):
            result = json.loads(line[7:])
    began.set()
    calls.wait()
    ended.append(result)


def attack(name, commands, ways, server):
    began, ended = threading.Event(), []
    calls = threading.Thread(target=talk, args=(began, ended))
    calls.start()
    began.wait()
    before, start = cpu(server.pid), time.time()
    processes = [subprocess.Popen(command, cwd=folder, **quiet) for command in commands]
    counted = multiprocessing.Queue()
    floods = several(ways, counted)
    [one.start() for one in floods]
    registered = []
    phones = threading.Thread(target=lambda: registered.append(honest()))
    phones.start()
    most = 0
    while time.time() < start + SECONDS:
        most = max(most, memory(server.pid))
        time.sleep(0.25)
    used = (cpu(server.pid) - before) / (time.time() - start) * 100
    for process in processes:
        process.kill()
        process.wait()
    counts = [counted.get(timeout=30) for _ in floods]
    for one in floods:
        one.join(10)
    calls.join()
    phones.join()
    said = ended[0]
    late = said.get("latency", {})
    print(f"{name:20} loss {said.get('loss_pct')} %  silent legs {said.get('silent_legs')}  latency p50/p99/max {late.get('p50_ms')}/{late.get('p99_ms')}/{late.get('max_ms')} ms  "
          f"honest registered/failed/repeated {registered[0]}  RSS at most {most} MB  CPU {used:.0f} %  calls failed {said.get('failed')}"
          + (f"  sent or closed {counts}" if counts else ""), flush=True)
    return said.get("loss_pct") == 0 and registered[0][1] == 0 and said.get("failed") == 0


subprocess.run([sys.executable, f"{here}/people.py", "1000"], env=env, check=True)
server = subprocess.Popen([binary, "serve"], env=env, stdout=subprocess.DEVNULL, stderr=open(f"{folder}/serve.log", "w"))
try:
    time.sleep(1.5)
    print(f"idle: RSS {memory(server.pid)} MB", flush=True)
    right = [attack(name, *how, server) for name, how in attacks.items() if len(sys.argv) < 4 or sys.argv[3] in name]
    time.sleep(10)
    print(f"10 s afterwards: RSS {memory(server.pid)} MB", flush=True)
finally:
    server.terminate()
    server.wait(40)
if all(right):
    subprocess.run(["rm", "-rf", folder])
else:
    sys.exit(f"not all was well: the server's log is {folder}/serve.log")
