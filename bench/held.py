#!/usr/bin/env python3
"""held.py [CALLS [SECONDS]]: holds calls (1,000) that play a G.711 prompt for so long (30 s), after `run.sh` has built both sides.

Tells how evenly each call's packets leave (seen by tcpdump on the loopback, so this wants root), what a call costs in
memory (PSS before, while all are up, and after), and the server's CPU while they play.
"""
import importlib.util, json, os, struct, subprocess, sys, threading, time

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 30
RATE = 100
target_dir = os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target"))
work = os.path.join(os.path.abspath(target_dir), "bench")
binary = os.path.join(os.path.abspath(target_dir), "release", "trunkline")
os.chdir(work)
target = json.load(open("targets/originate.json"))
target["env"]["R"] = run = target["env"]["R"] + "-held"
plug = importlib.util.spec_from_file_location("plug", "plugins/trunkline.py")
plugin = importlib.util.module_from_spec(plug)
plug.loader.exec_module(plugin)


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:")) / 1024


def cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(path):
    """How far each packet is from its place in an even stream of 20 ms, ms: p50, p99, most; and packets seen."""
    with open(path, "rb") as f:
        data = f.read()
    nano = data[:4] == b"\x4d\x3c\xb2\xa1"
    streams, at = {}, 24
    while at + 16 <= len(data):
        seconds, fraction, length, _ = struct.unpack_from("<IIII", data, at)
        packet, at = data[at + 16:at + 16 + length], at + 16 + length
        rtp = packet[14 + 20 + 8:]
        if len(rtp) < 12 or rtp[0] >> 6 != 2 or 200 <= rtp[1] <= 207:
            continue
        sequence, ssrc = struct.unpack(">H", rtp[2:4])[0], rtp[8:12]
        streams.setdefault(ssrc, []).append((seconds + fraction / (1e9 if nano else 1e6), sequence))
    off, gaps = [], 0
    for packets in streams.values():
        even = [(t - 0.02 * n) * 1e3 for n, (t, _) in enumerate(packets)]
        gaps += sum((b[1] - a[1]) % 65536 != 1 for a, b in zip(packets, packets[1:]))
        middle = sorted(even)[len(even) // 2]
        off += [abs(x - middle) for x in even]
    off.sort()
    pick = lambda q: round(off[min(len(off) - 1, int(len(off) * q))], 3) if off else None
    return {"streams": len(streams), "packets": len(off), "not_in_sequence": gaps,
            "off_ms": {"p50": pick(.5), "p99": pick(.99), "p999": pick(.999), "max": pick(1)}}


def play(server, callees, judge):
    before = memory(server)
    uas = subprocess.Popen(["./rtpcall-bin", "--target", f"127.0.0.1:{target['port']}", "--domain", target["domain"],
                            "--uac-port", "6062", "--uas-port", "5090", "--to", "callee", "--mode", "uas",
                            "--calls", str(CALLS), "--slots", str(CALLS), "--timeout", str(SECONDS + CALLS / RATE + 30)],
                           stdout=subprocess.PIPE, text=True)
    callees.append(uas)
    time.sleep(1)

    class T:
        pids, d = [server], target

    api = plugin.originate(target["originate"], RATE, CALLS, T)
    time.sleep(3)
    held, busy, t0 = memory(server), cpu(server), time.time()
    even = {}
    if judge:
        capture = f"{run}/lo.pcap"
        subprocess.run(["timeout", "6", "tcpdump", "-i", "lo", "-n", "-q", "-B", "65536", "-s", "64", "-w", capture,
                        "udp and src portrange 34000-59999 and dst portrange 20000-33999"], stderr=subprocess.DEVNULL)
        busy = (cpu(server) - busy) / (time.time() - t0)
        even = {"cpu_percent": round(busy * 100, 1), **judge(capture)}
    result = uas.communicate()[0]
    time.sleep(30)
    after = memory(server)
    rtp = json.loads([line for line in result.splitlines() if line.startswith("RESULT")][0][7:])
    return {"calls": CALLS, "done": rtp["uas_done"], "api": api, "rx_pkts": rtp["uas_rx_pkts"],
            "pss_mb": {"before": round(before, 1), "held": round(held, 1), "after": round(after, 1)},
            "kb_per_call": round((held - before) * 1024 / CALLS, 1), "load": round(os.getloadavg()[0], 1), **even}


def main():
    os.environ["R"] = run
    subprocess.run(target["prepare"].replace("prompt3.wav 3", f"prompt3.wav {SECONDS}"), shell=True, check=True)
    start = target["start"].replace("$BENCH_BINARY", binary).replace("$R", run)
    server = subprocess.Popen(["sh", "-c", "exec " + start], stdout=open(f"{run}/log", "w"), stderr=subprocess.STDOUT)
    callees = []
    try:
        time.sleep(3)
        # The second round tells what a call costs: the first one touches every queue for the first time.
        for again in [False, True]:
            told = play(server.pid, callees, spread if again else None)
            print(json.dumps({"round": 2 if again else 1, **told}), flush=True)
    finally:
        for child in [*callees, server]:
            if child.poll() is None:
                child.terminate()
                child.wait(20)


main()
