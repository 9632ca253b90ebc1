"""Paced `POST /v1/calls` over kept-alive connections: each call plays an uploaded prompt to the callee and hangs up."""
import http.client, json, os, queue, threading, time

WORKERS = 8
uploaded = {}


def upload(o, path):
    boundary = "----trunkline-bench"
    with open(path, "rb") as f:
        sound = f.read()
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="audio"; filename="prompt.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    body = head.encode() + sound + f"\r\n--{boundary}--\r\n".encode()
    c = http.client.HTTPConnection(o["host"], o["port"], timeout=15)
    c.request("POST", "/api/audio/upload", body,
              {"X-API-Key": o["key"], "Content-Type": f"multipart/form-data; boundary={boundary}"})
    reply = json.loads(c.getresponse().read())
    return reply["audioFile"]


def originate(o, rate, n, t):
    prompt = os.path.expandvars(o["prompt"].replace("$R", t.d["env"]["R"]))
    started = t.pids[0]
    if uploaded.get("by") != started:
        uploaded.update(by=started, file=upload(o, prompt))
    body = json.dumps({"to": o["to"], "play": uploaded["file"], "record": bool(o.get("record"))})
    headers = {"Authorization": f"Bearer {o['key']}", "Content-Type": "application/json"}
    jobs, took, failed = queue.Queue(), [], []

    def worker():
        c = http.client.HTTPConnection(o["host"], o["port"], timeout=15)
        while jobs.get() is not None:
            t0 = time.perf_counter()
            try:
                c.request("POST", "/v1/calls", body, headers)
                r = c.getresponse()
                said = r.read()
                (took if r.status == 201 else failed).append((time.perf_counter() - t0) * 1e3)
                if r.status != 201 and len(failed) == 1:
                    print("first failure:", r.status, said[:300], flush=True)
            except OSError as e:
                failed.append(str(e))
                c.close()

    threads = [threading.Thread(target=worker) for _ in range(WORKERS)]
    [th.start() for th in threads]
    t0 = time.time()
    for i in range(n):
        wait = t0 + i / rate - time.time()
        if wait > 0:
            time.sleep(wait)
        jobs.put(i)
    [jobs.put(None) for _ in threads]
    [th.join(30) for th in threads]
    took.sort()
    at = lambda q: round(took[min(len(took) - 1, int(len(took) * q))], 2) if took else None
    return {"api_failed": n - len(took), "api_s": round(time.time() - t0, 2), "p50_ms": at(.5), "p99_ms": at(.99)}
