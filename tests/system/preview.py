#!/usr/bin/env python3
"""Previews of a running store, as clients and as attackers use them. Usage: preview.py traffic|life ADDR:PORT TOKEN API-SOCKET"""
import base64, hashlib, http.client, json, os, random, re, select, socket, struct, subprocess, sys, threading, time

PART, ADDR, TOKEN, SOCKET = sys.argv[1:5]
HOST, PORT = ADDR.rsplit(':', 1)
MiB = 1 << 20


BEGAN = time.monotonic()


def check(what, good, why=''):
    if os.environ.get('TIMES'):
        print(f'{time.monotonic() - BEGAN:.2f}')
    print(('ok ' if good else 'not ok ') + what + ('' if good else f': {why!r}'[:600]), flush=True)
    return good


def dial():
    s = socket.create_connection((HOST, int(PORT)))
    s.settimeout(60)
    return s


def api(method, path, body=None, **more):
    c = http.client.HTTPConnection(HOST, int(PORT), timeout=120)
    h = {'Authorization': f'Bearer {TOKEN}', **more}
    if isinstance(body, dict):
        body, h['Content-Type'] = json.dumps(body), 'application/json'
    c.request(method, '/v1/sandbox' + path, body, h)
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, (json.loads(data) if data and data[:1] in b'{[' else data)


def ask(host, method, path, body=None, headers={}, encode=False, timeout=120):
    c = http.client.HTTPConnection(HOST, int(PORT), timeout=timeout)
    c.request(method, path, body, {'Host': host, **headers}, encode_chunked=encode)
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, dict((k.lower(), v) for k, v in r.getheaders()), data


def raw(text):
    """All that comes until the end."""
    s = dial()
    s.sendall(text if isinstance(text, bytes) else text.encode())
    out = b''
    while piece := s.recv(65536):
        out += piece
    s.close()
    return out


def preview(box, port):
    status, p = api('POST', f'/{box}/port/{port}', {})
    assert status == 201, p
    return p


def start(box, port, alone=False):
    """The server; it listens when this returns. alone: it is no execution any more, which would hold its sandbox."""
    command = {'shell': f'setsid python3 /workspace/server.py {port} </dev/null >/dev/null 2>&1 &'} if alone else {'argv': ['python3', '/workspace/server.py', str(port)]}
    status, e = api('POST', f'/{box}/exec', {**command, 'detach': True})
    assert status in (200, 201), e
    status, _ = api('POST', f'/{box}/exec', {'shell': f'until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do :; done', 'timeout_ms': 20000}, Accept='application/json')
    assert status == 200


def pid():
    s = socket.socket(socket.AF_UNIX)
    s.connect(SOCKET)
    launcher = struct.unpack('3i', s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    s.close()
    for p in os.listdir('/proc'):
        try:
            if p.isdigit() and open(f'/proc/{p}/comm').read() == 'sandboxd\n' and int(re.search(r'PPid:\s*(\d+)', open(f'/proc/{p}/status').read())[1]) == launcher:
                return int(p)
        except OSError:
            pass


def rss(field='VmRSS'): return int(re.search(field + r':\s*(\d+)', open(f'/proc/{DAEMON}/status').read())[1]) // 1024


class WebSocket:
    def __init__(self, host):
        self.s = dial()
        self.s.sendall(f'GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'.encode())
        self.f = self.s.makefile('rb')
        self.status = self.f.readline()
        while (line := self.f.readline()) not in (b'\r\n', b''):
            if line.lower().startswith(b'sec-websocket-accept'):
                self.accept = line.split()[1]

    def send(self, data, op=2):
        mask, n = os.urandom(4), len(data)
        head = bytes([0x80 | op]) + (bytes([0x80 | n]) if n < 126 else b'\xfe' + n.to_bytes(2, 'big') if n < 65536 else b'\xff' + n.to_bytes(8, 'big'))
        word = int.from_bytes(mask * (n // 4 + 1), 'big') >> 8 * (4 - n % 4)
        self.s.sendall(head + mask + ((int.from_bytes(data, 'big') ^ word).to_bytes(n, 'big') if n else b''))

    def receive(self):
        head = self.f.read(2)
        if len(head) < 2:
            return None, b''
        n = head[1] & 127
        n = int.from_bytes(self.f.read({126: 2, 127: 8}[n]), 'big') if n > 125 else n
        return head[0] & 15, self.f.read(n)


def plain(p, q):
    h = p['host']
    status, heads, data = ask(h, 'GET', '/hello')
    check('a page by host name', (status, data) == (200, b'hello from inside') and heads['referrer-policy'] == 'no-referrer' and 'content-security-policy' not in heads, (status, heads))
    status, heads, data = ask(ADDR, 'GET', p['path'] + 'hello')
    check('and below /p/, with a CSP sandbox', (status, data) == (200, b'hello from inside') and heads['content-security-policy'].startswith('sandbox'), (status, heads))
    status, heads, data = ask(ADDR, 'GET', p['path'] + 'redirect')
    check('a redirect of the path form stays below', heads['location'] == p['path'] + 'hello', heads)
    status, heads, data = ask(h, 'GET', '/headers?a=b', headers={'Authorization': f'Bearer {TOKEN}', 'X-Forwarded-For': '9.9.9.9', 'Cookie': 'mine=1'})
    seen = dict(json.loads(data))
    check('the inside sees the Host, no token of the API, no forwarding but ours', seen['host'] == h and 'authorization' not in seen and 'x-forwarded-for' not in seen and seen['cookie'] == 'mine=1' and
          seen['x-forwarded-host'] == h and seen['x-forwarded-proto'] == 'http' and seen['path'] == '/headers?a=b', seen)
    seen = dict(json.loads(ask(ADDR, 'GET', p['path'] + 'headers', headers={'Authorization': 'Bearer own', 'Cookie': 'of=others'})[2]))
    check('the path form: the application\'s own Authorization, no cookies, the prefix', seen['authorization'] == 'Bearer own' and 'cookie' not in seen and p['path'].startswith(seen['x-forwarded-prefix']), seen)
    status, heads, data = ask(h, 'HEAD', '/file')
    check('HEAD', (status, data, heads['content-length']) == (200, b'', str(MiB)), heads)
    status, heads, data = ask(h, 'GET', '/file', headers={'Range': 'bytes=1000-1999'})
    check('a range', status == 206 and data == bytes(i * 167 % 256 for i in range(1000, 2000)) and heads['content-range'] == f'bytes 1000-1999/{MiB}', (status, heads))
    check('a cookie loses its Domain', ask(h, 'GET', '/cookie?set=x')[1]['set-cookie'] == 'name=x; Path=/', ask(h, 'GET', '/cookie?set=x')[1])
    check('the path form sets none, and a service worker is refused there', 'set-cookie' not in ask(ADDR, 'GET', p['path'] + 'cookie?set=x')[1] and ask(ADDR, 'GET', p['path'] + 'hello', headers={'Service-Worker': 'script'})[0] == 403)
    out = raw(f'GET /chunks HTTP/1.1\r\nHost: {h}\r\nTE: trailers\r\nConnection: TE\r\n\r\nGET /hints HTTP/1.1\r\nHost: {h}\r\nConnection: close\r\n\r\n')
    check('chunks and their trailer; early hints; two requests of one connection', b'0\r\nX-Sum: right\r\n\r\n' in out and b'103 Early Hints\r\nLink' in out and out.endswith(b'after the hints') and out.count(b'x') >= 5050, out[-300:])
    out = raw(f'GET /chunks HTTP/1.0\r\nHost: {h}\r\n\r\n')
    check('to a client of HTTP/1.0 without chunks', out.split(b'\r\n\r\n', 1)[1] == b'x' * 5050, out[:300])
    status, _, data = ask(h, 'PUT', '/upload', iter([b'a' * 70000, b'b', b'c' * 5]), {'Transfer-Encoding': 'chunked'}, True)
    check('a chunked upload', json.loads(data)['sha256'] == hashlib.sha256(b'a' * 70000 + b'b' + b'c' * 5).hexdigest(), data)
    check('an answer before the body is read', ask(h, 'POST', '/early', b'x' * (8 * MiB))[0] == 413)
    s = dial()
    s.sendall(f'PUT /upload HTTP/1.1\r\nHost: {h}\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n'.encode())
    first = s.recv(100)
    s.sendall(b'abc')
    rest = b''.join(iter(lambda: s.recv(65536), b''))
    check('100-continue', first.startswith(b'HTTP/1.1 100') and b'"size": 3' in rest, (first, rest))
    check('an answer that two could read differently is a 502', ask(h, 'GET', '/garbage')[0] == 502)
    try:
        ask(h, 'GET', '/cut')
        check('an answer that breaks off is seen to break', False)
    except (http.client.IncompleteRead, ConnectionError):
        check('an answer that breaks off is seen to break', True)


def streams(p):
    h = p['host']
    s = dial()
    s.sendall(f'GET /events HTTP/1.1\r\nHost: {h}\r\n\r\n'.encode())
    f, got = s.makefile('rb'), []
    while f.readline() not in (b'\r\n', b''):
        pass
    for i in range(5):                    # the next event comes only when this one was seen
        got.append(f.readline())
        f.readline()
        ask(h, 'POST', '/tick')
    check('server-sent events come one by one', got == [b'data: %d\n' % i for i in range(5)], got)
    w = WebSocket(h)
    check('a WebSocket is upgraded', w.status.startswith(b'HTTP/1.1 101') and w.accept == b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=', w.status)
    for n in (0, 1, 125, 126, 65535, 65536, MiB + 3):
        data = os.urandom(n)
        w.send(data)
        if w.receive() != (2, data):
            return check(f'an echo of {n} bytes', False)
    check('messages of 0 to 1 MiB come back', True)
    w.send(struct.pack('>H', 1000), 8)
    check('a close is passed on, and the end', w.receive()[0] == 8 and w.receive() == (None, b''))
    return s


def large(p):
    h, n = p['host'], 1024
    block = random.Random(1).randbytes(MiB)
    before, t = rss(), time.monotonic()
    status, _, data = ask(h, 'PUT', '/upload', iter([block] * n), {'Content-Length': str(n * MiB)}, False)
    want = hashlib.sha256()
    for _ in range(n):
        want.update(block)
    peak_up = rss()
    check('1 GiB goes in, byte for byte', (status, json.loads(data)['sha256']) == (200, want.hexdigest()), data)
    c = http.client.HTTPConnection(HOST, int(PORT), timeout=120)
    c.request('GET', '/big', headers={'Host': h})
    r, got, block = c.getresponse(), 0, bytes(i * 167 % 256 for i in range(1 << 20))
    wrong = 0
    while piece := r.read(MiB):
        wrong += piece != block
        got += len(piece)
    check('1 GiB comes out, byte for byte', got == 1 << 30 and not wrong, got)
    s = dial()
    s.sendall(f'PUT /hold HTTP/1.1\r\nHost: {h}\r\nContent-Length: {256 * MiB}\r\n\r\n'.encode())
    s.setblocking(False)
    sent, quiet = 0, 0
    while sent < 256 * MiB and select.select([], [s], [], 0.3)[1]:
        sent += s.send(b'z' * 65536)
    d = dial()                            # and one that asks for 1 GiB and reads nothing
    d.sendall(f'GET /big HTTP/1.1\r\nHost: {h}\r\n\r\n'.encode())
    ok = ask(h, 'GET', '/hello')[0] == 200
    check('who does not read slows who writes, and nobody else', sent < 64 * MiB and ok, sent)
    check('memory stays flat', rss() - before < 8 and rss('VmHWM') - before < 24, (before, peak_up, rss(), rss('VmHWM')))
    ask(h, 'POST', '/open')
    s.close(), d.close()


def judged(host, path='/hello', **more):
    """Asks until it is judged: wrong guesses share an allowance, which the tests before may have used up."""
    while (a := ask(host, 'GET', path, **more))[0] == 429:
        pass
    return a


def hostile(p, q):
    h = p['host']
    check('each request is judged: preview, API without token, another preview, none', re.findall(rb'HTTP/1.1 (\d+)', raw(
        f'GET /hello HTTP/1.1\r\nHost: {h}\r\n\r\nGET /v1/sandbox HTTP/1.1\r\nHost: {ADDR}\r\n\r\nGET /hello HTTP/1.1\r\nHost: {q["host"]}\r\n\r\nGET /health HTTP/1.1\r\nHost: {ADDR}\r\n\r\n'
        f'GET {p["path"]}hello HTTP/1.1\r\nHost: {ADDR}\r\nConnection: close\r\n\r\n')) == [b'200', b'401', b'200', b'200', b'200'])
    rows = {
        'both framings': f'POST /hello HTTP/1.1\r\nHost: {h}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n',
        'two lengths': f'POST /hello HTTP/1.1\r\nHost: {h}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde',
        'two hosts': f'GET /hello HTTP/1.1\r\nHost: {h}\r\nHost: {ADDR}\r\n\r\n',
        'a folded line': f'GET /hello HTTP/1.1\r\nHost: {h}\r\nX: a\r\n b\r\n\r\n',
        'a space before the colon': f'GET /hello HTTP/1.1\r\nHost: {h}\r\nContent-Length : 4\r\n\r\nabcd',
        'line feeds alone': f'GET /hello HTTP/1.1\nHost: {h}\n\n',
        'a NUL': f'GET /hello HTTP/1.1\r\nHost: {h}\r\nX: a\0b\r\n\r\n',
        'absolute form of the API': f'GET http://{ADDR}/v1/sandbox HTTP/1.1\r\nHost: {h}\r\n\r\n',
        'CONNECT': f'CONNECT {h} HTTP/1.1\r\nHost: {h}\r\n\r\n',
        'TRACE': f'TRACE /hello HTTP/1.1\r\nHost: {h}\r\n\r\n',
        '101 headers': f'GET /hello HTTP/1.1\r\nHost: {h}\r\n' + 'X: y\r\n' * 101 + '\r\n',
        'HTTP/2.0': f'GET /hello HTTP/2.0\r\nHost: {h}\r\n\r\n',
    }
    for what, text in rows.items():
        out = raw(text)
        check(f'refused: {what}', re.match(rb'HTTP/1.[01] (400|404|405|431|501|505) ', out) and out.count(b'HTTP/1.') == 1 and b'hello from' not in out, out[:200])
    out = raw(f'POST /upload HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nGET /hello HTTP/1.1\r\nHost: {h}\r\n\r\n')
    check('a chunk of no size ends the connection', out.startswith(b'HTTP/1.1 400') and b'hello from' not in out, out[:200])
    label, rest = p['host'].split('.', 1)
    # A10: 300 guesses, near ones too: none is right; they are told apart neither by answer nor by time budget; then they are limited, and the right one is not
    alphabet, seen = 'abcdefghijklmnopqrstuvwxyz234567', {}
    for i in range(300):
        guess = label[:-26] + ''.join(random.choice(alphabet) for _ in range(26)) if i % 2 else label[:-(i % 26) - 1] + random.choice(alphabet.replace(label[-(i % 26) - 1], '')) + label[len(label) - i % 26:]
        status, _, data = ask(f'{guess}.{rest}', 'GET', '/hello')
        seen.setdefault(status, set()).add(data)
    check('300 wrong tokens: none is right, all get one answer, then they are limited', set(seen) == {404, 429} and len(seen[404]) == 1 and len(seen[429]) == 1, seen)
    check('the right one is not limited', ask(h, 'GET', '/hello')[0] == 200)
    unknown = judged(f'3000-ws-aaaaaaaaaa-{"a" * 26}.{rest}')
    check('a sandbox that is not there is answered alike', (unknown[0], unknown[2]) == (404, next(iter(seen[404]))), unknown)
    check('no port without a token, no reserved one', judged(f'{label.rsplit("-", 1)[0]}.{rest}')[0] == 404 and ask(label.replace('3000', '3128', 1) + f'.{rest}', 'GET', '/')[0] == 403)
    check('another Host is the API\'s to refuse', ask('x.localhost', 'GET', '/hello')[0] == 403 and ask('evil.example', 'GET', p['path'] + 'hello')[0] == 403)


def public(domain):
    """E2B's form of a host: PORT-ID.DOMAIN, without a token or with one in a header; three ports are the API's own."""
    def make(network):
        c = http.client.HTTPConnection(HOST, int(PORT), timeout=120)
        c.request('POST', '/v2/sandboxes', json.dumps({'templateID': 'base', 'timeout': 300, 'network': network}), {'X-API-KEY': TOKEN, 'Content-Type': 'application/json'})
        r = c.getresponse()
        made = json.loads(r.read())
        assert r.status == 201, made
        return made
    open_, shut = make({}), make({'allowPublicTraffic': False})
    for b in (open_, shut):
        assert api('PUT', f'/{b["sandboxID"]}/file/workspace/server.py', open(os.path.dirname(__file__) + '/preview_server.py', 'rb').read())[0] in (200, 201, 204)
        start(b['sandboxID'], 3000)
    name = lambda b, port: f'{port}-{b["sandboxID"]}.{domain}'
    status, heads, data = judged(name(open_, 3000))
    check('E2B: a port is reached by the sandbox\'s id', (status, data) == (200, b'hello from inside'), (status, data))
    check('E2B: reserved ports are not', [ask(name(open_, n), 'GET', '/')[0] for n in (53, 80, 443, 3128)] == [403] * 4)
    check('E2B: without public traffic it needs its token', judged(name(shut, 3000))[0] == 404 and
          judged(name(shut, 3000), headers={'E2B-Traffic-Access-Token': 'x' * 26})[0] == 404 and
          judged(name(shut, 3000), '/headers', headers={'E2B-Traffic-Access-Token': shut['trafficAccessToken']})[0] == 200, shut)
    check('and the inside does not see that', shut['trafficAccessToken'].encode() not in ask(name(shut, 3000), 'GET', '/headers', headers={'E2B-Traffic-Access-Token': shut['trafficAccessToken']})[2])
    check('E2B: port 49983 is the API\'s', [ask(name(open_, 49983), 'GET', '/health', headers={'X-Access-Token': t})[0] for t in (open_['envdAccessToken'], 'x')] == [204, 401])
    check('a native sandbox is not reached by its id', judged(f'3000-{api("GET", "/ws")[1]["workspace_id"]}.{domain}')[0] == 404)


def quiet(result):
    """An idle WebSocket keeps no sandbox awake, and a message thaws it."""
    host = preview('idle', 3000)['host']
    start('idle', 3000, True)
    w = WebSocket(host)
    w.send(b'first')
    result.append(w.receive() == (2, b'first'))
    while api('GET', '/idle')[1]['state'] != 'frozen':
        time.sleep(0.05)
    w.send(b'second')
    result.append(w.receive() == (2, b'second') and api('GET', '/idle')[1]['state'] == 'running')


def life(box, p):
    """Asleep and awake again, a daemon that is killed, and what is taken back."""
    h, w = p['host'], WebSocket(p['host'])
    w.send(b'x')
    w.receive()
    check('put to sleep', api('POST', f'/{box}/sleep', {})[0] == 200)
    got = w.receive()
    check('its WebSocket is told to come again (1012)', got == (8, b'\x03\xf4'), got)
    answer = {}
    t = threading.Thread(target=lambda: answer.update(a=ask(h, 'GET', '/hello')))
    t.start()                             # it wakes the sandbox, and waits for the port
    while api('GET', f'/{box}')[1]['state'] != 'running':
        time.sleep(0.01)
    start(box, 3000)
    t.join()
    check('a request wakes it and waits for the port', answer['a'][0] == 200 and answer['a'][2] == b'hello from inside', answer)
    service = preview(box, 3005)['host']
    status, made = api('POST', f'/{box}/service', {'name': 'web', 'argv': ['python3', '/workspace/server.py', '3005'], 'port': 3005})
    check('a service for a port', status == 201 and ask(service, 'GET', '/hello')[2] == b'hello from inside', made)
    check('asleep again', api('POST', f'/{box}/sleep', {})[0] == 200 and api('GET', f'/{box}')[1]['state'] == 'asleep')
    check('a request wakes it, and the service answers', ask(service, 'GET', '/hello')[2] == b'hello from inside')
    start(box, 3000)
    os.kill(DAEMON, 9)
    for _ in range(500):
        try:
            if api('GET', f'/{box}')[0] == 200:
                break
        except OSError:
            time.sleep(0.02)
    check('the address outlives a killed sandboxd', ask(h, 'GET', '/hello')[2] == b'hello from inside')
    text = open(f'{os.path.dirname(SOCKET)}/box/{api("GET", "/" + box)[1]["workspace_id"]}.json').read() if os.path.exists(f'{os.path.dirname(SOCKET)}/box') else subprocess.run(['grep', '-rh', '', os.path.dirname(SOCKET)], capture_output=True, text=True).stdout
    check('only the hash is written down', p['token'] not in text and hashlib.sha256(p['token'].encode()).hexdigest() in text)
    status, forks = api('POST', f'/{box}/fork', {'count': 1})
    check('a fork has none of them', status == 201 and api('GET', f'/{forks[0]["id"]}/port')[1]['ports'] == [], forks)
    w, s = WebSocket(h), streams(p)
    check('taken back', api('DELETE', f'/{box}/port/3000')[0] == 204)
    check('what was open is cut', ended(w.s) and ended(s))
    check('and the address reaches nothing', ask(h, 'GET', '/hello')[0] == 404)


def ended(s):
    try:
        while s.recv(65536):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


box = 'ws'
DAEMON = pid()
if PART == 'traffic':
    p, q, none = preview(box, 3000), preview(box, 3001), preview(box, 3003)
    start(box, 3000), start(box, 3001)
    left = dial()
    left.sendall(f'GET / HTTP/1.1\r\nHost: {none["host"]}\r\n\r\n'.encode())      # waits, and leaves
    idle = []
    thread = threading.Thread(target=quiet, args=(idle,), daemon=True)
    thread.start()
    plain(p, q)
    streams(p).close()
    large(p)
    hostile(p, q)
    left.close()
    public(p['host'].split('.', 1)[1])
    thread.join(40)
    check('an idle WebSocket lets its sandbox freeze, and a message thaws it', idle == [True, True], idle)
else:
    life(box, preview(box, 3000))
