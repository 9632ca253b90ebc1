"""Datagrams by the thousand: whole batches for one system call, from any address of 127.0.0.0/8."""
import ctypes, os, random, socket, struct, time

BATCH = 64
libc = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.POINTER(Iovec)), ("iovlen", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", Msghdr), ("len", ctypes.c_uint)]


def message(method, source, user, mark, target):
    body = ""
    if method == "INVITE":
        body = f"v=0\r\no=- 1 1 IN IP4 {source}\r\ns=-\r\nc=IN IP4 {source}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 8\r\n"
    return (f"{method} sip:{user}@{target} SIP/2.0\r\nVia: SIP/2.0/UDP {source}:5062;branch=z9hG4bK{mark};rport\r\nMax-Forwards: 70\r\n"
            f"From: <sip:{user}@{target}>;tag={mark}\r\nTo: <sip:{user}@{target}>\r\nCall-ID: {mark}\r\nCSeq: 1 {method}\r\n"
            f"Contact: <sip:{user}@{source}:5062>\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()


def flood(method, sources, rate, seconds, port):
    """Sends so many requests a second, each a new one, from `sources`; answers how many went out."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    to = ctypes.create_string_buffer(struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton("127.0.0.1") + bytes(8))
    mark = "m" * 16
    packets, marks = [], []
    for n in range(max(BATCH, min(len(sources), 4096))):
        source = sources[n % len(sources)]
        text = bytearray(message(method, source, f"{random.randrange(10000)}", mark, f"127.0.0.1:{port}"))
        at, found = [], text.find(mark.encode())
        while found >= 0:
            at.append(found)
            found = text.find(mark.encode(), found + 1)
        control = ctypes.create_string_buffer(struct.pack("=QiiI4s4s", 28, socket.IPPROTO_IP, 8, 0, socket.inet_aton(source), bytes(4)) + bytes(4))
        buffer = (ctypes.c_char * len(text)).from_buffer(text)
        packets.append((buffer, control, Iovec(ctypes.addressof(buffer), len(text))))
        marks.append((text, at))
    headers = (Mmsghdr * len(packets))()
    for header, (buffer, control, vector) in zip(headers, packets):
        header.hdr = Msghdr(ctypes.addressof(to), 16, ctypes.pointer(vector), 1, ctypes.addressof(control), 32, 0)
    sent, began, at = 0, time.time(), 0
    while time.time() < began + seconds:
        if sent >= (time.time() - began) * rate:
            time.sleep(0.001)
            continue
        batch = min(BATCH, len(packets) - at)
        new = os.urandom(8).hex().encode()
        for n in range(at, at + batch):
            text, places = marks[n]
            own = b"%04x" % (n & 0xFFFF) + new[4:]
            for place in places:
                text[place:place + 16] = own
        done = libc.sendmmsg(sock.fileno(), ctypes.byref(headers, at * ctypes.sizeof(Mmsghdr)), batch, 0)
        sent += max(done, 0)
        at = (at + batch) % len(packets)
    return sent


def trickle(clients, seconds, port):
    """So many TCP clients that send a request one byte at a time, and connect again when they are closed."""
    text = message("REGISTER", "127.0.0.1", "1", "trickle", f"127.0.0.1:{port}")
    open_, closed, end = {}, 0, time.time() + seconds
    while time.time() < end:
        for n in range(clients):
            try:
                if n not in open_:
                    sock = socket.socket()
                    sock.bind((f"127.77.{n // 200}.{n % 200 + 1}", 0))
                    sock.settimeout(0.5)
                    sock.connect(("127.0.0.1", port))
                    open_[n] = (sock, 0)
                sock, at = open_[n]
                sock.send(text[at % len(text):at % len(text) + 1])
                open_[n] = (sock, at + 1)
            except OSError:
                closed += 1
                open_.pop(n, None)
        time.sleep(0.05)
    return closed
