#!/usr/bin/env python3
"""overload.py [SECONDS]: what is done when twice as much is asked for as can be done, after `run.sh` has built both sides.

The server is pinned to one processor, the load to another one. First the most of each kind that goes through clean (calls
from INVITE to BYE, then REGISTER with digest), then twice that for so long (10 s), while 200 calls talk: how much of the most
is still done, what the others are told, what the talking calls lose, and memory before and after.
"""
import csv, json, os, subprocess, sys, tempfile, threading, time

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
TALKING = 200
here = os.path.dirname(os.path.abspath(__file__))
target_dir = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(here, "..", "target")))
work = os.path.join(target_dir, "bench")
binary = os.path.join(target_dir, "release", "trunkline")
folder = tempfile.mkdtemp(prefix="trunkline-overload-")
target = json.load(open(os.path.join(here, "trunkline.json")))
env = dict(os.environ, BENCH_BINARY=binary, **target["env"])
env.update(TRUNKLINE_DATA_DIR=f"{folder}/data")
quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=folder, env=dict(os.environ, TERM="xterm"))
LOAD = ["taskset", "-c", "1"]
SIPP = LOAD + ["sipp"]
COMMON = ["-i", "127.0.0.1", "-nostdin", "-buff_size", "4194304", "-timer_resol", "1", "-trace_stat", "-fd", "1"]


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) // 1024 for line in f if line.startswith("Rss"))


def last(path):
    rows = list(csv.reader(open(path), delimiter=";"))
    return dict(zip(rows[0], rows[-1])) if len(rows) > 1 else {}


def load(scenario, rate, seconds, extra, port):
    """Offers so many a second; how many went through, failed and were sent again."""
    stat = f"{folder}/{port}.csv"
    command = SIPP + ["127.0.0.1:5560", "-sf", f"{work}/scenarios/{scenario}", "-p", str(port), "-r", str(rate), "-m", str(int(rate * seconds)), "-l", "100000",
                      "-key", "domain", "127.0.0.1:5560", "-stf", stat, "-recv_timeout", "8000", "-timeout", f"{seconds + 12}s"] + COMMON + extra
    began = time.time()
    subprocess.run(command, timeout=seconds + 60, **quiet)
    took = time.time() - began
    said = last(stat)
    os.remove(stat)
    count = lambda name: int(said.get(name, 0))
    return {"offered": rate, "done": count("SuccessfulCall(C)"), "failed": count("FailedCall(C)"), "again": count("Retransmissions(C)"), "took": took}


def calls(rate, seconds):
    return load("uac.xml", rate, seconds, ["-s", target["call"]["to"], "-key", "caller", "caller", "-d", "500", "-pause_msg_ign"], 6066)


def registers(rate, seconds):
    return load("register.xml", rate, seconds, ["-inf", f"{folder}/users.csv"], 6067)


def is_clean(said, seconds):
    return said["failed"] == 0 and said["done"] >= said["offered"] * seconds * 0.999 and said["again"] <= 0.005 * said["done"] and said["took"] < seconds + 3


def most(kind, first):
    """The most a second that goes through clean: doubled until it does not, then halved in between."""
    low, high, rate = 0, None, first
    while high is None or high - low > low * 0.08:
        said = kind(rate, 4)
        clean = is_clean(said, 4) or is_clean(kind(rate, 4), 4)
        print(f"   {rate}/s {'clean' if clean else said}", flush=True)
        time.sleep(2)
        low, high = (rate, high) if clean else (low, rate)
        rate = rate * 2 if high is None else (low + high) // 2
        if low == 0 and high <= first // 8:
            sys.exit("nothing goes through")
    return low


def talk(began, ended):
    command = LOAD + [f"{work}/rtpcall-bin", "--target", "127.0.0.1:5560", "--domain", "127.0.0.1:5560", "--uac-port", "6060", "--uas-port", "5091", "--from", "caller",
                      "--to", "+12025550198", "--register", "talker:a-password-of-42", "--calls", str(TALKING), "--rate", "50", "--measure", str(SECONDS + 8),
                      "--settle", "2", "--timeout", "90"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if line.startswith("EVENT measure_start"):
            began.set()
        elif line.startswith("RESULT"):
            ended.append(json.loads(line[7:]))
    began.set()
    process.wait()


def overload(name, kind, best):
    began, ended = threading.Event(), []
    talkers = threading.Thread(target=talk, args=(began, ended))
    talkers.start()
    began.wait()
    alone = kind(best, 5)
    said = kind(best * 2, SECONDS)
    high = memory(server.pid)
    talkers.join()
    done, kept = said["done"] / SECONDS, alone["done"] / 5
    talked = ended[0]
    late = talked["latency"]
    print(f"{name}: most {best}/s; with {TALKING} talking {kept:.0f}/s of {best}/s; at {best * 2}/s asked {done:.0f}/s done = {100 * done / best:.0f} %, {said['failed'] / SECONDS:.0f}/s refused or lost, "
          f"{said['again']} sent again; the talking lost {talked['loss_pct']} % (silent legs {talked['silent_legs']}, failed {talked['failed']}), latency p50/p99/max "
          f"{late['p50_ms']}/{late['p99_ms']}/{late['max_ms']} ms; RSS {high} MB", flush=True)


subprocess.run([sys.executable, f"{here}/people.py", "1000"], env=env, check=True)
with open(f"{folder}/users.csv", "w") as users:
    users.write("SEQUENTIAL\n")
    for n in range(1000):
        users.write(f"user{n};[authentication username=user{n} password=password-of-{n}]\n")
server = subprocess.Popen(["taskset", "-c", "0", binary, "serve"], env=env, stdout=subprocess.DEVNULL, stderr=open(f"{folder}/serve.log", "w"))
uas = None
try:
    time.sleep(2)
    subprocess.run([f"{work}/rtpcall-bin", "--target", "127.0.0.1:5560", "--domain", "127.0.0.1:5560", "--uac-port", "6062", "--uas-port", "5090", "--to", target["call"]["to"],
                    "--register", target["call"]["register_callee"], "--mode", "uas", "--calls", "0", "--timeout", "1"], **quiet)
    uas = subprocess.Popen(SIPP + ["-sf", f"{work}/scenarios/uas.xml", "-p", "5090", "-stf", f"{folder}/uas.csv"] + COMMON, **quiet)
    time.sleep(1)
    idle = memory(server.pid)
    print(f"idle: RSS {idle} MB", flush=True)
    overload("calls", calls, most(calls, 100))
    overload("REGISTER", registers, most(registers, 1000))
    for waited in (15, 45):
        time.sleep(waited)
        print(f"afterwards: RSS {memory(server.pid)} MB of {idle} MB", flush=True)
finally:
    if uas:
        uas.kill()
        uas.wait()
    server.terminate()
    server.wait(40)
subprocess.run(["rm", "-rf", folder])
