"""`egress` by itself, with the test in the place of the launcher and of sandboxd (sandbox/egress_proto.h), and sandboxes that are nothing but a network namespace."""
import fcntl, itertools, json, os, queue, socket, struct, subprocess, threading
from netns import Namespace
from wire import Attacker

HELLO, ADD, REMOVE, CLIENT, REMOVED = range(1, 6)
PACKET = struct.Struct('<II64s')
PORTS = ((80, socket.SOCK_STREAM), (443, socket.SOCK_STREAM), (3128, socket.SOCK_STREAM), (53, socket.SOCK_DGRAM), (53, socket.SOCK_STREAM))
EGRESS_UID = 0x3fff0000 + 1


class Refused(Exception):
    def __init__(self, error):
        super().__init__(f'{error.get("code")}: {error.get("text")}')
        self.code, self.error = error.get('code'), error


class Box:
    """What the launcher makes of a sandbox's network: loopback alone, on which every address is local, and five listeners."""

    def __init__(self, name):
        self.name, self.ns = name, Namespace('box-' + name)
        self.ns.run('ip', 'link', 'set', 'lo', 'up')
        self.ns.run('ip', 'route', 'add', 'local', '0.0.0.0/0', 'dev', 'lo')
        self.ns.run('ip', '-6', 'route', 'add', 'local', '::/0', 'dev', 'lo')
        self.listeners = []
        for port, kind in PORTS:
            s = self.ns.open(socket.AF_INET6, kind)
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.setsockopt(socket.IPPROTO_IPV6, 78, 1)          # IPV6_FREEBIND: answers come from the address that was asked
            s.bind(('::', port))
            if kind == socket.SOCK_STREAM:
                s.listen(1024)
            self.listeners.append(s)


class Egress:
    def __init__(self, program, directory, roots, resolver, own='10.77.0.1:9', key=bytes(range(32)), log=None, env=None):
        self.program, self.dir, self.roots, self.resolver, self.own, self.key = program, str(directory), roots, resolver, own, key
        self.env, self.log = env or {}, log or os.path.join(os.path.dirname(self.dir), 'egress.log')
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        os.chown(self.dir, EGRESS_UID, EGRESS_UID)
        self.boxes, self.process = {}, None
        self.start()

    def start(self):
        """As the launcher does: started (again), told of all boxes. Connections wait in the listeners' queues meanwhile."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        key = os.memfd_create('key')
        os.write(key, self.key)
        os.lseek(key, 0, 0)
        low = [theirs.fileno(), os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY), key, os.open(self.roots, os.O_RDONLY), os.open(self.resolver, os.O_RDONLY)]
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for fd in low]

        def place():                # all else of ours is closed by exec
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)
            os.setgroups([])
            os.setresgid(EGRESS_UID, EGRESS_UID, EGRESS_UID)
            os.setresuid(EGRESS_UID, EGRESS_UID, EGRESS_UID)
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen([self.program], preexec_fn=place, close_fds=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={'EGRESS_KEY': 'memory', 'EGRESS_SELF': self.own, **self.env})
        for fd in [*low[1:], *high]:
            os.close(fd)
        theirs.close()
        self.control.settimeout(20)
        data, fds, _, _ = socket.recv_fds(self.control, 256, 4)
        if not data or PACKET.unpack(data)[0] != HELLO or not fds:
            raise RuntimeError('egress said no hello: ' + open(self.log).read()[-2000:])
        with os.fdopen(fds[0], 'rb') as f:
            f.seek(0)
            self.ca = f.read().decode()
        for box in self.boxes.values():
            self.tell(ADD, box.name, [s.fileno() for s in box.listeners])
        ours, theirs = socket.socketpair()
        self.tell(CLIENT, '', [theirs.fileno()])
        theirs.close()
        self.talk = Talk(ours)

    def tell(self, op, box, fds=()):
        socket.send_fds(self.control, [PACKET.pack(op, 0, box.encode())], list(fds))

    def ask(self, op, **more):
        return self.talk.ask(op, **more)

    def box(self, name, rules=(), default='deny', labels=None, **more):
        box = self.boxes[name] = Box(name)
        self.ask('box', box=name, name='name-of-' + name, labels=labels or {})
        self.rules(name, rules, default, **more)
        self.tell(ADD, name, [s.fileno() for s in box.listeners])
        box.attacker = Attacker(box.ns, self.ca + open(self.roots).read())
        return box

    def rules(self, name, rules=(), default='deny', if_revision=None, **more):
        asked = {'if_revision': if_revision} if if_revision is not None else {}
        return self.ask('rules_put', box=name, doc={'default': default, 'rules': list(rules), **more}, **asked)

    def remove(self, name):
        self.tell(REMOVE, name)
        while True:
            op, _, box = PACKET.unpack(self.control.recv(256))
            if op == REMOVED and box.rstrip(b'\0').decode() == name:
                break
        for s in self.boxes.pop(name).listeners:
            s.close()

    def events(self, box, since=0):
        return self.talk.events('log', box=box, since=since, follow=False)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.talk.close()
        self.control.close()

    def again(self):
        self.kill()
        self.start()

    def memory(self):
        """Resident KiB."""
        return int(next(l for l in open(f'/proc/{self.process.pid}/status') if l.startswith('VmRSS')).split()[1])

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def alive(self):
        return self.process.poll() is None


class Talk:
    """sandboxd's end: u32 length, JSON; answers by tag."""

    def __init__(self, sock):
        self.sock, self.tags, self.waiting, self.lock = sock, itertools.count(1), {}, threading.Lock()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def exactly(self, n):
        out = b''
        while len(out) < n:
            d = self.sock.recv(n - len(out))
            if not d:
                raise ConnectionError('egress closed')
            out += d
        return out

    def read(self):
        try:
            while True:
                d = json.loads(self.exactly(struct.unpack('<I', self.exactly(4))[0]))
                with self.lock:
                    q = self.waiting.get(d.get('tag'))
                if q:
                    q.put(d)
        except (OSError, ValueError) as e:
            with self.lock:
                for q in self.waiting.values():
                    q.put({'gone': str(e)})
                self.waiting = None

    def send(self, op, more):
        tag, q = next(self.tags), queue.Queue()
        data = json.dumps({'op': op, 'tag': tag, **more}).encode()
        with self.lock:
            if self.waiting is None:
                raise ConnectionError('egress is gone')
            self.waiting[tag] = q
        self.sock.sendall(struct.pack('<I', len(data)) + data)
        return q

    def ask(self, op, **more):
        d = self.send(op, more).get(timeout=20)
        if 'gone' in d:
            raise ConnectionError(d['gone'])
        if 'error' in d:
            raise Refused(d['error'])
        return d['ok']

    def events(self, op, **more):
        out, q = [], self.send(op, more)
        while True:
            d = q.get(timeout=20)
            if 'event' in d:
                out.append(d['event'])
            elif 'ok' in d:
                return out
            else:
                raise Refused(d.get('error', {'code': 'gone'}))

    def close(self):
        self.sock.close()
