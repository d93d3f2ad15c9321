"""Change events for tests: from coppice-watch itself (a directory of this machine) or from GET .../watch of a sandbox. Both give the same dictionaries."""
import json
import os
import queue
import socket
import struct
import subprocess
import threading

TYPES = ["create", "modify", "close_write", "delete", "move", "attrib"]


def string(s):
    b = os.fsencode(s)
    return struct.pack("<H", len(b)) + b


class Feed:
    """Events as they come: {"event": "ready" | "event" | "overflow" | "end", ...}; paths are str (surrogateescape)."""

    def __init__(self):
        self.q = queue.Queue()

    def next(self, timeout=30):
        return self.q.get(timeout=timeout)

    def until(self, done, timeout=30):
        """All events up to the one for which done(event) is true; that one too."""
        got = []
        while True:
            e = self.next(timeout)
            got.append(e)
            if done(e):
                return got
            if e["event"] == "end":
                raise AssertionError(f"the watch ended: {e}; before: {got[-20:]}")

    def until_path(self, path, timeout=30):
        """Up to the creation (or arrival) of the file `path`, which the test makes last; without the events of it."""
        got = self.until(lambda e: e["event"] == "event" and path in (e["path"], e.get("to")), timeout)
        return got[:-1]


class Helper(Feed):
    def __init__(self, program, path, recursive=True, types=0, include=(), exclude=(), coalesce_ms=20, read=True, cwd=None, preexec=None):
        super().__init__()
        ours, theirs = socket.socketpair()
        self.sock = ours

        def place():
            os.dup2(theirs.fileno(), 3, inheritable=True)
            if preexec:
                preexec()

        self.proc = subprocess.Popen([program], stdin=subprocess.DEVNULL, close_fds=False, preexec_fn=place, cwd=cwd)
        theirs.close()
        body = struct.pack("<BBII", 1, recursive, types, coalesce_ms) + string(path) + struct.pack("<HH", len(include), len(exclude))
        for g in [*include, *exclude]:
            body += string(g)
        self.order(body)
        self.reader = threading.Thread(target=self.read_all, daemon=True)
        if read:
            self.reader.start()

    def order(self, body):
        self.sock.sendall(struct.pack("<I", len(body)) + body)

    def again(self, reason):
        self.order(struct.pack("<B", 2) + string(reason))

    def read_all(self):
        data = b""
        while True:
            try:
                got = self.sock.recv(1 << 20)
            except OSError:
                got = b""
            if not got:
                self.q.put({"event": "closed"})
                return
            data += got
            at = 0
            while len(data) - at >= 4:
                n = struct.unpack_from("<I", data, at)[0]
                if len(data) - at - 4 < n:
                    break
                self.take(data[at + 4:at + 4 + n])
                at += 4 + n
            data = data[at:]

    def take(self, m):
        def text(at):
            n = struct.unpack_from("<H", m, at)[0]
            return os.fsdecode(m[at + 2:at + 2 + n]), at + 2 + n
        if m[0] == 1:
            self.q.put({"event": "ready", "path": text(1)[0]})
        elif m[0] == 2:
            path, at = text(11)
            to, at = text(at)
            assert at == len(m)
            e = {"event": "event", "type": TYPES[m[1]], "is_dir": bool(m[2]), "path": path}
            if to:
                e["to"] = to
            self.q.put(e)
        elif m[0] == 3:
            self.q.put({"event": "overflow", "lost": struct.unpack_from("<Q", m, 1)[0] or None, "reason": text(9)[0]})
        elif m[0] == 4:
            code, at = text(1)
            self.q.put({"event": "end", "reason": code, "error": text(at)[0]})

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass                                  # it has ended
        self.proc.wait(20)
        self.sock.close()


class Tree:
    """What a client that follows the events believes to be there: names (below the watched path) and what is a directory."""

    def __init__(self, top):
        self.top = top
        self.there = {}
        self.scan()

    def scan(self):
        self.there = {}
        for d, dirs, files in os.walk(self.top):
            for n in dirs:
                p = os.path.join(d, n)
                self.there[p] = not os.path.islink(p)
            for n in files:
                self.there[os.path.join(d, n)] = False

    def drop(self, path):
        self.there.pop(path, None)
        for p in [p for p in self.there if p.startswith(path + "/")]:
            del self.there[p]

    def apply(self, e):
        t = e["type"]
        if t == "create":
            self.there[e["path"]] = e["is_dir"]
        elif t == "delete":
            self.drop(e["path"])
        elif t == "move":
            moved = {p: d for p, d in self.there.items() if p == e["path"] or p.startswith(e["path"] + "/")}
            for p in moved:
                del self.there[p]
            self.drop(e["to"])
            self.there[e["to"]] = e["is_dir"]
            for p, d in moved.items():
                self.there[e["to"] + p[len(e["path"]):]] = d


class Http(Feed):
    """GET /v1/sandbox/WS/watch over the Unix socket."""

    def __init__(self, api_sock, ws, query=""):
        super().__init__()
        import http.client
        self.conn = http.client.HTTPConnection("localhost", timeout=120)
        self.conn.sock = socket.socket(socket.AF_UNIX)
        self.conn.sock.connect(api_sock)
        self.conn.request("GET", f"/v1/sandbox/{ws}/watch{query}", headers={"Accept": "application/x-ndjson"})
        self.answer = self.conn.getresponse()
        self.status = self.answer.status
        if self.status == 200:
            threading.Thread(target=self.read_all, daemon=True).start()

    def read_all(self):
        import base64
        try:
            for line in self.answer:
                if not line.strip():
                    continue
                e = json.loads(line)
                for k in ("path", "to"):
                    if k + "_base64" in e:
                        e[k] = os.fsdecode(base64.b64decode(e[k + "_base64"]))
                self.q.put(e)
        except (OSError, ValueError, AttributeError):
            pass
        self.q.put({"event": "closed"})

    def close(self):
        self.conn.sock.shutdown(socket.SHUT_RDWR) if self.conn.sock else None
        self.conn.close()
