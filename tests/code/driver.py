"""A driver of code contexts run as the agent runs it: stdout and stderr are pipes, descriptor 3 is a socket; before the socket is read, the pipes are read until they are empty."""
import json, os, select, signal, socket, struct, subprocess, time

PYTHON_BOOT = open(os.path.join(os.path.dirname(__file__), '../../sandbox/drivers/boot.py')).read()
NODE_BOOT = open(os.path.join(os.path.dirname(__file__), '../../sandbox/drivers/boot.js')).read()


class Gone(Exception):
    pass


class Driver:
    def __init__(self, argv, parts, env=None, cwd=None):
        ours, theirs = socket.socketpair()
        out, err = os.pipe(), os.pipe()

        def child():
            os.dup2(theirs.fileno(), 3)
            os.closerange(4, 100)
        self.channel = ours
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out[1], stderr=err[1], pass_fds=(3, theirs.fileno()) if theirs.fileno() != 3 else (3,),
                                        preexec_fn=child, env=dict(os.environ, **(env or {})), cwd=cwd, start_new_session=True)
        theirs.close()
        os.close(out[1])
        os.close(err[1])
        self.pipes = {out[0]: 'stdout', err[0]: 'stderr'}
        for fd in self.pipes:
            os.set_blocking(fd, False)
        self.rest = b''
        self.events = []
        for part in parts:
            self.send_bytes(part)
        self.ready = self.message('ready')

    def send_bytes(self, data):
        self.channel.sendall(struct.pack('<I', len(data)) + data)

    def order(self, **order):
        self.send_bytes(json.dumps(order).encode())

    def add(self, event):
        last = self.events[-1] if self.events else None
        if last and event['t'] in ('stdout', 'stderr') and last['t'] == event['t']:
            last['text'] += event['text']
        else:
            self.events.append(event)

    def drain(self):
        for fd, name in list(self.pipes.items()):
            while True:
                try:
                    data = os.read(fd, 65536)
                except BlockingIOError:
                    break
                if not data:
                    os.close(fd)
                    del self.pipes[fd]
                    break
                self.add({'t': name, 'text': data.decode('utf-8', 'replace')})

    def pump(self, seconds):
        ready, _, _ = select.select([self.channel, *self.pipes], [], [], seconds)
        self.drain()
        if self.channel not in ready:
            return bool(ready)
        data = self.channel.recv(1 << 20)
        if not data:
            raise Gone(self.process.wait())
        self.rest += data
        while len(self.rest) >= 4:
            size, = struct.unpack('<I', self.rest[:4])
            if len(self.rest) < 4 + size:
                break
            message = json.loads(self.rest[4:4 + size])
            self.rest = self.rest[4 + size:]
            self.add({'t': 'stderr' if message['s'] == 2 else 'stdout', 'text': message['text']} if message['t'] == 'out' else message)
        return True

    def message(self, kind, seconds=30):
        end = time.monotonic() + seconds
        at = 0
        while True:
            for event in self.events[at:]:
                at += 1
                if event['t'] == kind:
                    return event
            if time.monotonic() > end:
                raise TimeoutError('no %s; have %r' % (kind, self.events))
            self.pump(max(0, end - time.monotonic()))

    def start(self, code):
        self.events = []
        self.order(op='run', code=code)

    def finish(self):
        self.message('done')
        return self.events

    def run(self, code):
        self.start(code)
        return self.finish()

    def wait_output(self, text, seconds=20):
        end = time.monotonic() + seconds
        while not any(text in e.get('text', '') for e in self.events):
            if time.monotonic() > end:
                raise TimeoutError('no output %r; have %r' % (text, self.events))
            self.pump(end - time.monotonic())

    def interrupt(self):
        self.order(op='interrupt')
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self):
        self.channel.close()
        for fd in self.pipes:
            os.close(fd)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise
