"""Terminals over the WebSocket, with real programs in them: terminal.py SOCKET SCREEN_TEXT LAUNCHER_PID. Prints ok and not ok."""
import base64, json, os, re, select, signal, socket, struct, subprocess, sys, time

SOCKET, SCREEN_TEXT, LAUNCHER = sys.argv[1], sys.argv[2], int(sys.argv[3])
DEADLINE = 60
failed = 0


def check(what, good, seen=''):
    global failed
    failed += not good
    print(('ok ' if good else 'not ok ') + what + ('' if good else ': %r' % (seen,)), flush=True)


class Gone(Exception):
    pass


class Terminal:
    """A client. raw: all that came; control: the text messages; screen(): what a terminal of its size shows of raw."""
    def __init__(self, query, path='pty', cols=80, rows=24, wait=True):
        self.cols, self.rows, self.raw, self.control, self.frames, self.closed = cols, rows, b'', [], b'', False
        self.sock = socket.socket(socket.AF_UNIX)
        for again in range(200):
            try:
                self.sock.connect(SOCKET)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.05)                  # another sandboxd is on its way
        self.sock.settimeout(DEADLINE)
        self.sock.sendall((f'GET /v1/sandbox/ws/{path}?cols={cols}&rows={rows}{query} HTTP/1.1\r\nHost: box\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                           f'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n').encode())
        head = b''
        while b'\r\n\r\n' not in head:
            part = self.sock.recv(65536)
            if not part:
                raise Gone(head)
            head += part
        head, self.frames = head.split(b'\r\n\r\n', 1)
        self.status = int(head.split()[1])
        if self.status == 101 and wait:
            self.until(lambda: any(c['type'] == 'ready' for c in self.control), 'ready')

    def send(self, op, data):
        mask = os.urandom(4)
        n = len(data)
        head = bytes([0x80 | op]) + (bytes([0x80 | n]) if n < 126 else bytes([0x80 | 126]) + struct.pack('>H', n))
        self.sock.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def type(self, text):
        self.send(2, text.encode())

    def say(self, **o):
        self.send(1, json.dumps(o).encode())

    def resize(self, cols, rows):
        self.cols, self.rows = cols, rows
        self.say(type='resize', cols=cols, rows=rows)

    def take(self):
        while len(self.frames) >= 2:
            op, n, at = self.frames[0] & 15, self.frames[1] & 127, 2
            if n == 126:
                if len(self.frames) < 4:
                    return
                n, at = struct.unpack('>H', self.frames[2:4])[0], 4
            elif n == 127:
                if len(self.frames) < 10:
                    return
                n, at = struct.unpack('>Q', self.frames[2:10])[0], 10
            if len(self.frames) < at + n:
                return
            data, self.frames = self.frames[at:at + n], self.frames[at + n:]
            if op == 1:
                self.control.append(json.loads(data))
            elif op in (0, 2):
                self.raw += data
            elif op == 8:
                self.closed = True

    def until(self, good, what):
        end = time.monotonic() + DEADLINE
        while True:
            self.take()
            if good():
                return True
            left = end - time.monotonic()
            if self.closed or left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise Gone('%s did not come; there was %r %r' % (what, self.raw[-1500:], self.control))
            part = self.sock.recv(1 << 20)
            if not part:
                raise Gone('the connection ended before %s; there was %r' % (what, self.raw[-1500:]))
            self.frames += part

    def see(self, pattern):
        """On the screen, not in the bytes."""
        self.until(lambda: re.search(pattern, self.screen(), re.S | re.M), pattern)

    def screen(self):
        return subprocess.run([SCREEN_TEXT, str(self.cols), str(self.rows)], input=self.raw, capture_output=True, check=True).stdout.decode(errors='replace')

    def shell(self):
        """The program has gone and the shell reads again: some drop what is typed while they end, so it is asked until it answers."""
        for n in range(DEADLINE):
            self.type(f'\x15echo sh-$(({n}+1000))\r')
            end = time.monotonic() + 1
            while time.monotonic() < end:
                if f'\nsh-{n + 1000}' in self.screen():
                    return
                if select.select([self.sock], [], [], 0.2)[0]:
                    self.frames += self.sock.recv(1 << 20)
                    self.take()
        raise Gone('no shell; there was %r' % self.raw[-1500:])

    def exit(self):
        self.until(lambda: any(c['type'] == 'exit' for c in self.control), 'exit')
        return next(c for c in self.control if c['type'] == 'exit')

    def leave(self):
        self.sock.close()


def ask(method, path):
    r = subprocess.run(['curl', '-sS', '--max-time', '60', '--unix-socket', SOCKET, '-X', method, 'http://box/v1/sandbox/ws' + path], capture_output=True, check=True)
    return json.loads(r.stdout) if r.stdout else None


def sandboxd():
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/stat') as f:
                name, rest = re.match(r'\d+ \((.*)\) \S (.*)', f.read()).groups()
            if name == 'sandboxd' and int(rest.split()[0]) == LAUNCHER:
                return int(pid)
        except (OSError, AttributeError):
            pass


def rss():
    with open(f'/proc/{sandboxd()}/status') as f:
        return int(re.search(r'VmRSS:\s+(\d+)', f.read())[1])


def same_again(what, query, t, path='pty'):
    """Both show the same once both have had what there is."""
    again = Terminal(query, path, t.cols, t.rows)
    end = time.monotonic() + DEADLINE / 3
    while again.screen() != t.screen() and time.monotonic() < end:
        for c in select.select([t.sock, again.sock], [], [], 0.5)[0]:
            who = t if c is t.sock else again
            who.frames += c.recv(1 << 20)
            who.take()
    check(what, again.screen() == t.screen(), (t.screen(), again.screen()))
    return again


# --- a shell ---
t = Terminal('&session=a')
t.type("PS1='$ '; cd /tmp; rm -f n v; clear; echo mark-$((1+1)) \u00e9\u6f22\r")
t.see('^mark-2 \u00e9\u6f22')
t.type('stty size\r')
t.see('^24 80')
same_again('who comes later sees the same screen', '&session=a', t).leave()

# --- programs that own the screen ---
t.type('seq 1 500 > n; less n\r')
t.see('^24 *$|^23 *$')
t.type('/^250$\r')
t.see('^250')
same_again('less: the same screen', '&session=a', t).leave()
t.type('q')
t.shell()
t.type('vim -u NONE -N v\r')
t.see('^~')
t.type('ihello\x1b')
t.see('^hello')
b = same_again('vim: the same screen', '&session=a', t)
b.type('A two\x1b')
t.see('^hello two')
check('two clients: what one types the other sees', True)
b.resize(100, 30)
b.type(':!stty size\r')
b.see('30 100')
check('the size is that of who spoke last', True)
b.leave()
t.leave()
t = Terminal('&session=a')                        # what came to a screen of another size is not for this one
t.type('\r')
t.type(':wq\r')
t.shell()
t.type('clear; cat v\r')
t.see('^hello two')
t.type('top -d 0.5\r')
t.see('PID +USER')
t.type('q')
t.shell()
t.type('clear; tmux -u -f /dev/null new\r')
t.see(r'\[0\]')
t.type('clear; echo in-tmux-$((2+3))\r')
t.see('^in-tmux-5')
t.type('\x02%')
t.see('\u2502')
again = same_again('tmux with two panes: the same screen', '&session=a', t)
again.leave()
t.type('tmux kill-server\r')
t.shell()
check('vim, less, top and tmux run', True)

# --- bounds (A20) ---
for cols, rows in ((100000, 100000), (0, 5), (-1, -1), (1001, 1), (1000, 1000), (1.5, 2)):
    n = len(t.control)
    t.say(type='resize', cols=cols, rows=rows)
    t.until(lambda: len(t.control) > n, 'an answer')
    check(f'a size of {cols} x {rows} is refused', t.control[-1]['type'] == 'error', t.control[-1])
check('so at the start', Terminal('&session=z', cols=100000, rows=5).status == 400)
for i in range(3000):
    t.resize(20 + i % 90, 5 + i % 40)
    if select.select([t.sock], [], [], 0)[0]:     # who does not read is not read either
        t.frames += t.sock.recv(1 << 20)
        t.take()
t.leave()
t = Terminal('&session=a')
t.type("clear; stty size; echo after-$((3+4))\r")
t.see('^24 80.*after-7')
check('a storm of sizes', True)

# --- what a program may not do to who looks (A19) ---
t.type("clear; printf '\\033]52;c;Z2VoZWlt\\007\\033]2;ti\\033\\\\'; printf '\\033[c\\033[6n\\033[5n'; echo; echo done-$((4+4))\r")
t.see('done-8')
again = Terminal('&session=a')
check('a replay asks for nothing, sets no clipboard', not re.search(rb'\x1b\]52|\x1b\[[0-9]*[cn]|\x1b\[>|\x07', again.raw), again.raw)
check('a replay has the title', b'\x1b]2;ti\x1b\\' in again.raw, again.raw[:300])
again.leave()

# --- kill -9 of sandboxd ---
t.type("\x15\rclear; echo before-$((5+4)); echo $$\r")
t.see(r'before-9\n\d+\n\$')
pid = re.search(r'before-9\n(\d+)', t.screen())[1]
before = t.screen()
os.kill(sandboxd(), signal.SIGKILL)
u = Terminal('&session=a')
u.see(re.escape(before))                          # it comes when sandboxd has read what the agent kept
check('kill -9 of sandboxd: the same screen', True)
u.type('echo $$-$((6+6))\r')
u.see(f'^{pid}-12')
check('kill -9 of sandboxd: the same shell by its name', True)
t.leave()

# --- a client that does not read ---
slow = Terminal('&session=a')
u.type('clear; yes 0123456789012345678901234567890123456789 | head -c 60000000; echo; echo end-$((7+7))\r')
start = rss()
u.until(lambda: b'end-14' in u.raw[-3000:], 'end-14')
grown = rss() - start
check('a client that does not read costs at most 24 MiB and nobody else waits', grown < 24 * 1024, grown)
slow.see('end-14')
check('when it reads again it sees the present', len(slow.raw) < 30000000, len(slow.raw))
slow.leave()

# --- the end ---
u.type('exit 7\r')
check('the exit code', u.exit()['code'] == 7, u.control)
k = Terminal('&session=k')
k.type('kill -SEGV $$\r')
e = k.exit()
check('a signal', e.get('signal') == 'SIGSEGV' and e['code'] == 139, e)
d = Terminal('&session=d')
eid = next(c for c in d.control if c['type'] == 'ready')['exec_id']
ask('DELETE', '/exec/' + eid)
try:
    check('DELETE ends it', d.exit() is not None)
except Gone:
    check('DELETE ends it', d.closed or any(c['type'] == 'error' for c in d.control), d.control)
x = Terminal('&session=x')
x.say(type='terminate')
check('terminate ends it', x.exit().get('signal') == 'SIGKILL', x.control)
two = [Terminal('&session=both', wait=False) for _ in range(2)]
for w in two:
    w.until(lambda: any(c['type'] == 'ready' for c in w.control), 'ready')
check('two that come at once get one terminal', len({next(c for c in w.control if c['type'] == 'ready')['exec_id'] for w in two}) == 1, [w.control for w in two])
sys.exit(failed > 0)
