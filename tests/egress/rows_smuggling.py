"""E17, E19: every case of cases/ sent through egress, in clear and within TLS; what arrives at the origin is read by a strict reader of ours and must be whole requests, no more than were meant."""
import pathlib, re, socket
from trial import row
from wire import Ended, get, outcome, read_reply, receive

CASES = pathlib.Path(__file__).resolve().parent / 'cases'
RULES = [{'name': 'wide', 'allow': ['*'], 'schemes': ['http', 'https'], 'intercept': True}]
ESCAPE = re.compile(rb'\\r|\\n|\\t|\\0|\\\\|\\x[0-9a-fA-F]{2}|\{(\d+)\*(.[^}]*)\}', re.S)
PLAIN = {b'\\r': b'\r', b'\\n': b'\n', b'\\t': b'\t', b'\\0': b'\0', b'\\\\': b'\\'}


def cases(name):
    """(name, outline words, bytes)"""
    for line in (CASES / name).read_bytes().split(b'\n'):
        if not line or line.startswith(b'#'):
            continue
        what, outline, text = line.split(b' | ', 2) if line.count(b' | ') >= 2 else (*line.split(b' |', 2)[:2], line.split(b'|', 2)[2][1:])
        one = lambda m: PLAIN.get(m[0]) or (bytes([int(m[0][2:], 16)]) if m[0][:1] == b'\\' else unescape(m[2]) * int(m[1]))
        yield what.strip().decode(), outline.decode().split(), ESCAPE.sub(one, text)


def unescape(b):
    return re.sub(rb'\\x[0-9a-fA-F]{2}|\\[rnt0\\]', lambda m: PLAIN.get(m[0]) or bytes([int(m[0][2:], 16)]), b)


class Crooked(Exception):
    pass


def strict(data):
    """How many whole requests these bytes are, and whether one more was begun. Crooked: two readers might differ about them."""
    whole = 0
    while data:
        head, found, data = data.partition(b'\r\n\r\n')
        if not found:
            return whole, True
        lines = head.split(b'\r\n')
        if any(c in head.replace(b'\r\n', b'') for c in b'\r\n\0') or not re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.1", lines[0]):
            raise Crooked(lines[0])
        fields = []
        for l in lines[1:]:
            m = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)", l)
            if not m:
                raise Crooked(l)
            fields.append((m[1].lower(), m[2]))
        of = lambda n: [v for k, v in fields if k == n]
        length, te, host = of(b'content-length'), of(b'transfer-encoding'), of(b'host')
        if len(host) != 1 or len(length) > 1 or len(te) > 1 or (length and te) or (te and te[0] != b'chunked') or (length and not re.fullmatch(rb'0|[1-9][0-9]*', length[0])):
            raise Crooked(fields)
        if any(k.replace(b'_', b'-') in (b'transfer-encoding', b'content-length') and k not in (b'transfer-encoding', b'content-length') for k, _ in fields):
            raise Crooked(fields)
        if length:
            if len(data) < int(length[0]):
                return whole, True
            data = data[int(length[0]):]
        while te:
            m = re.match(rb'([0-9a-f]+)\r\n', data)
            if not m:
                if b'\r\n' in data[:32] or len(data) > 32:
                    raise Crooked(data[:40])
                return whole, True
            n = int(m[1], 16)
            data = data[m.end():]
            if n == 0:
                while not data.startswith(b'\r\n'):
                    line, found, data = data.partition(b'\r\n')
                    if not found:
                        return whole, True
                    if not re.fullmatch(rb'[^\s:]+: ?[\t\x20-\x7e]*', line):
                        raise Crooked(line)
                data = data[2:]
                break
            if len(data) < n + 2:
                return whole, True
            if data[n:n + 2] != b'\r\n':
                raise Crooked(data[n:n + 10])
            data = data[n + 2:]
        whole += 1
    return whole, False


def talk(t, opened, data):
    """The statuses that came, and how it ended."""
    s = opened()
    with s:
        try:
            s.sendall(data)
            s.settimeout(8)
            if not hasattr(s, 'version'):
                s.shutdown(socket.SHUT_WR)
            else:
                s.sendall(b'')
        except OSError:
            pass
        words, have = [], b''
        while len(words) < 10:
            try:
                if hasattr(s, 'version') and words and not have:
                    s.settimeout(0.25)       # within TLS one cannot say "I am done" and go on reading: what stays open stays
                r = read_reply(s, 'GET', have)
                words.append(str(r.status))
                have = r.rest
            except Ended as e:
                return words, e.text
            except (ValueError, IndexError) as e:
                return words, f'garbage {e}'
        return words, 'many'


def check(t, file, a, tls):
    for name, outline, data in cases(file):
        data = re.sub(rb'(?<=[Hh]ost: )(a|whatever|google\.test|h2o\.test)(?=\r\n)', b'a.test', data, count=1)
        whole = sum(w == 'none' or '=' in w for w in outline)
        last = outline[-1] if outline else ''
        mark = t.world.mark()
        words, end = talk(t, (lambda: a.tls('a.test')) if tls else a.plain, data)
        what = f'{file[:-4]} {name}{" in TLS" if tls else ""}'
        t.true(f'{what}: an answer or the end', end in ('closed', 'reset') or end.startswith('alert') or tls and end == 'timeout' and (last not in ('400',)), (words, end, outline))
        if last.isdigit():
            t.true(f'{what}: refused', not words or words[-1] >= '400' or len(words) < whole + 1, (words, end, outline))
            t.true(f'{what}: no more answers than requests', len(words) <= whole + 1, (words, outline))
        t.until(f'{what}: its end', lambda: t.egress.ask('status')['connections'] == 0)
        t.world.settle()
        wires = t.world.seen(mark)
        for w in wires:
            w.ended.wait(3)
        sent, begun = 0, False
        for w in wires:
            try:
                n, more = strict(bytes(w.data))
            except Crooked as e:
                t.true(f'{what}: what arrived is crooked', False, e)
                continue
            sent, begun = sent + n, begun or more
        t.true(f'{what}: {sent} requests arrived, {whole} were meant', sent <= whole, [bytes(w.data)[:300] for w in wires])
        t.true(f'{what}: begun, though nothing was', not begun or last in ('body', 'more') or sent < whole, [bytes(w.data)[:300] for w in wires])


def box(t):
    for n in ('a.test', 'other.test', 'google.test', 'h2o.test'):
        t.world.names.put(n, '93.184.216.34')
    return t.box(RULES)[1]


FILES = ('smuggling.txt', 'garden.txt', 'chunks.txt', 'malformed.txt', 'request_line.txt', 'line_endings.txt')


@row('E17', 'smuggling, chunked bodies, malformed, request lines, line endings: the origin\'s bytes are what was meant')
def smuggling(t):
    a = box(t)
    for f in FILES:
        check(t, f, a, False)


@row('E17', 'the same within TLS', long=True)
def smuggling_tls(t):
    a = box(t)
    for f in FILES:
        check(t, f, a, True)


@row('E19', 'header lines: NUL, CR, LF, high bytes, names, counts and sizes')
def header_lines(t):
    a = box(t)
    check(t, 'headers.txt', a, False)
    with t.silence('too much'):
        t.among('101 headers', outcome(lambda: a.http(get(host='a.test', headers=''.join(f'X-{i}: y\r\n' for i in range(101))))), ('400', '431'))
        t.among('65 KiB', outcome(lambda: a.http(get(host='a.test', headers='X: ' + 'y' * 66000 + '\r\n'))), ('400', '431'))
        t.among('a long target', outcome(lambda: a.http(get('/' + 'a' * 20000, 'a.test'))), ('414', '400', '431'))
    t.same('90 headers', outcome(lambda: a.http(get(host='a.test', headers=''.join(f'X-{i}: y\r\n' for i in range(90))))), '200')
    t.same('60 KiB', outcome(lambda: a.http(get(host='a.test', headers=('X: ' + 'y' * 6000 + '\r\n') * 10))), '200')


@row('E17', 'bodies arrive as they were sent: lengths, chunks in any pieces, trailers, Expect')
def bodies(t):
    import base64, json, os
    a = box(t)
    for size in (0, 1, 100, 65536, 1 << 20):
        body = os.urandom(size).hex()[:size]
        d = json.loads(a.http(get('/', 'a.test', 'X-Len: 1\r\n', 'POST', body)).body)
        t.true(f'length {size}', base64.b64decode(d['body']) == body.encode())
    body = os.urandom(5000)
    for piece in (1, 7, 1000, 5000):
        chunks = b''.join(b'%x\r\n' % len(body[i:i + piece]) + body[i:i + piece] + b'\r\n' for i in range(0, 5000, piece)) + b'0\r\nX-Sum: abc\r\n\r\n'
        d = json.loads(a.http(b'POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n' + chunks).body)
        t.true(f'chunks of {piece}', base64.b64decode(d['body']) == body)
    with a.plain(80) as s:
        s.sendall(b'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
        t.true('Expect is answered', receive(s).startswith((b'HTTP/1.1 100', b'HTTP/1.1 417')))
    with a.plain(80) as s:
        data = b'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello' + get('/second', 'a.test')
        for i in range(len(data)):
            s.sendall(data[i:i + 1])
        r = read_reply(s)
        t.same('byte by byte', [r.status, read_reply(s, have=r.rest).status], [200, 200])
    for method in ('HEAD', 'OPTIONS', 'PUT', 'PROPFIND', 'DELETE'):
        t.same(method, outcome(lambda: a.http(get('/', 'a.test', method=method), method=method)), '200')


@row('E34', 'answers of cases/responses.txt: as they are, or 502, or broken off')
def responses(t):
    a = box(t)
    for name, outline, data in cases('responses.txt'):
        t.world.paths['/resp'] = lambda w, r: w.send(data) or False
        word, body = None, b''

        def ask():
            nonlocal body
            r = a.http(get('/resp', 'a.test'))
            body = r.body
            return r
        word = outcome(ask)
        first, last = (outline or ['nothing'])[0], (outline or ['nothing'])[-1]
        if b' 101 ' in data:                     # nobody asked for another protocol
            t.same(name, word, '502')
        elif '=' in first or first == 'none':
            t.true(f'{name}: {first}', word.isdigit() and word != '502' and ('=' not in first or len(body) == int(first.split('=')[1])) or word in ('closed', 'reset') and last in ('body', 'more'), (word, body[:60], outline))
        else:
            t.true(f'{name}: {outline}', word in ('502', 'closed', 'reset'), (word, body[:60]))
    t.world.paths.pop('/resp')
