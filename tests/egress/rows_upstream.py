"""E31 to E35: what a hostile upstream can do, and what TLS it must show."""
import os, socket, ssl, struct
from certs import Authority, openssl
from origin import answer, tls_context
from trial import row
from wire import Ended, client_hello, get, outcome, read_reply, receive, sni_extension

EXT = '93.184.216.110'
RULES = [{'name': 'api', 'allow': ['api.example.com', 'www.example.com', '*.bad.example.com'], 'schemes': ['https', 'http'], 'intercept': True, 'websocket': True}]
UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'


def frame(text, mask=b'\1\2\3\4'):
    return bytes([0x81, 0x80 | len(text)]) + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(text))


def exactly(s, n):
    out = b''
    while len(out) < n:
        out += receive(s, n - len(out))
    return out


@row('E31', 'WebSockets: frames pass as they are, both ways close; a rule without "websocket" refuses; a change of rules ends them')
def web_sockets(t):
    name, a = t.box(RULES)
    for door, opened in (('443', a.tls), ('80', a.plain)):
        with opened() as s:
            s.sendall(get('/ws', headers=UPGRADE))
            r = read_reply(s)
            t.same(f'{door}: the upgrade', r.status, 101)
            t.same(f'{door}: its proof', r.get('sec-websocket-accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
            for text in (b'hello', b'x' * 120):
                s.sendall(frame(text))
                t.same(f'{door}: echo', exactly(s, len(text) + 2)[2:], text)
            big = b'\x82\xff' + struct.pack('>Q', 1 << 40) + b'\1\2\3\4' + bytes(200000)       # says a terabyte; bytes come as they are
            s.sendall(big)
            t.same(f'{door}: a huge frame is bytes', exactly(s, len(big)), big)
    mark = t.world.mark()
    with a.tls() as s:
        s.sendall(get('/ws', headers=UPGRADE))
        t.same('open', read_reply(s).status, 101)
        rules = [{**RULES[0], 'allow': ['www.example.com']}]
        t.egress.rules(name, rules)
        s.settimeout(3)
        t.among('ended when its rule went', outcome(lambda: receive(s)), ('closed', 'reset') + tuple(x for x in [outcome(lambda: receive(s))] if x.startswith('alert')))
    t.until('the origin sees the end', lambda: all(w.ended.is_set() for w in t.world.seen(mark)))
    _, b = t.box([{'name': 'no', 'allow': ['api.example.com'], 'websocket': False}])
    with t.silence('no websocket'):
        t.same('a rule that does not say so', outcome(lambda: b.https(get('/ws', headers=UPGRADE))), '403')
    for what, lines in {'no key': 'Connection: Upgrade\r\nUpgrade: websocket\r\n', 'h2c': 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n', 'another protocol': 'Connection: Upgrade\r\nUpgrade: foo\r\n'}.items():
        t.egress.rules(name, RULES)
        t.true(f'upgrade: {what}', outcome(lambda: a.https(get('/', headers=lines))) != '101')
    t.world.paths['/liar'] = lambda w, r: w.send(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nEVIL') or False
    t.among('a 101 that nobody asked for', outcome(lambda: a.https(get('/liar'))), ('502', 'closed', 'reset'))
    del t.world.paths['/liar']


@row('E32', 'HTTP/2: not offered, not taken')
def http2(t):
    _, a = t.box(RULES)
    good = sni_extension(b'api.example.com')
    with t.silence('h2'):
        t.among('ALPN h2 only', outcome(lambda: a.hello(client_hello(good, alpn=(b'h2',)))), ('alert', 'closed', 'reset'))
        t.among('ALPN h3', outcome(lambda: a.hello(client_hello(good, alpn=(b'h3', b'spdy/3')))), ('alert', 'closed', 'reset'))
        for what, work in (('80', lambda: a.http(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')), ('443', lambda: a.https(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')), ('proxy', lambda: a.http(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 3128))):
            t.among(f'the preface at {what}', outcome(work), ('400', '505', 'closed', 'reset'))
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.set_alpn_protocols(['h2', 'http/1.1'])
    with a.tls(context=c) as s:
        t.same('both offered', s.selected_alpn_protocol(), 'http/1.1')
    for what, version in (('TLS 1.0', ssl.TLSVersion.TLSv1), ('TLS 1.1', ssl.TLSVersion.TLSv1_1)):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers('ALL:@SECLEVEL=0')
        old.minimum_version = old.maximum_version = version
        t.true(f'{what} from the sandbox', outcome(lambda: str(a.tls(context=old).version())).split(' ')[0] in ('alert', 'closed', 'reset'))


BAD_ANSWERS = {
    'no status': b'HTTP/1.1\r\n\r\n', 'status of two digits': b'HTTP/1.1 20 OK\r\n\r\n', 'status of letters': b'HTTP/1.1 abc OK\r\n\r\n', 'status 99': b'HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n', 'status 1000': b'HTTP/1.1 1000 x\r\nContent-Length: 0\r\n\r\n',
    'HTTP/2': b'HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n', 'HTTP/0.9': b'<html>hello</html>', 'no version': b'ICY 200 OK\r\n\r\n', 'rubbish': bytes(range(256)) * 4, 'nothing': b'', 'two lengths': b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx',
    'length and chunked': b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 'negative length': b'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n', 'hex length': b'HTTP/1.1 200 OK\r\nContent-Length: 0x10\r\n\r\n',
    'length overflow': b'HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n', 'length list': b'HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nxxx', 'folded': b'HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n',
    'space before colon': b'HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n', 'NUL': b'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n', 'bare CR': b'HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 0\r\n\r\n', 'many headers': b'HTTP/1.1 200 OK\r\n' + b''.join(b'X-%d: y\r\n' % i for i in range(5000)) + b'\r\n',
    'a long header': b'HTTP/1.1 200 OK\r\nX: ' + b'y' * 200000 + b'\r\n\r\n', 'chunked twice': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n', 'gzip, chunked': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'TE identity': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n', 'name with a space': b'HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 0\r\n\r\n', 'no colon': b'HTTP/1.1 200 OK\r\nfoo\r\nContent-Length: 0\r\n\r\n',
    'informational for ever': b'HTTP/1.1 100 Continue\r\n\r\n' * 2000}
BAD_BODIES = {'chunk size of letters': b'zz\r\nxx\r\n', 'negative chunk': b'-1\r\nx\r\n', 'chunk overflow': b'ffffffffffffffffff\r\nx', 'no CRLF after a chunk': b'2\r\nabXX0\r\n\r\n', 'cut off': b'5\r\nab', 'chunk line too long': b'1;' + b'e' * 20000 + b'\r\na\r\n0\r\n\r\n',
              'bare LF': b'2\nab\n0\n\n', 'trailer bomb': b'0\r\n' + b''.join(b'X-%d: y\r\n' % i for i in range(5000)) + b'\r\n', 'space after size': b'2 \r\nab\r\n0 \r\n\r\n'}


@row('E34', 'a hostile upstream: 502 or a broken answer, bounded memory, the next request is untouched')
def hostile_upstream(t):
    _, a = t.box(RULES)
    for what, data in BAD_ANSWERS.items():
        t.world.paths['/bad'] = lambda w, r: w.send(data) or False
        for i in range(2):
            t.among(what, outcome(lambda: a.https(get('/bad'))), ('502', '504') if what != 'TE identity' else ('502', '200'))
        t.same(f'{what}: the next', outcome(lambda: a.https(get('/next'))), '200')
    for what, data in BAD_BODIES.items():
        t.world.paths['/bad'] = lambda w, r: w.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + data) or False
        word = outcome(lambda: a.https(get('/bad')))
        t.true(f'body: {what}', word.split(' ')[0] in ('502', 'closed', 'reset', 'alert') or word == '200' and what == 'space after size', word)
    before = t.egress.memory()
    t.world.paths['/short'] = lambda w, r: w.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort') or False
    t.true('shorter than it said', outcome(lambda: a.https(get('/short'))).split(' ')[0] in ('closed', 'reset', 'alert', '502'))
    t.world.paths['/long'] = lambda w, r: w.send(b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Split: yes\r\n\r\nEVIL')
    with a.tls() as s:
        s.sendall(get('/long'))
        r = read_reply(s)
        t.same('longer than it said: its length', (r.body, r.rest), (b'abc', b''))
        s.sendall(get('/after'))
        word = outcome(lambda: read_reply(s, have=r.rest))
        t.true('the rest is no answer to the next', word in ('200', 'closed', 'reset'), word)
    with a.tls() as s:
        s.sendall(get('/long') + get('/after'))
        r = read_reply(s)
        r2 = None
        word = outcome(lambda: globals().update(last=read_reply(s, have=r.rest)) or 'read')
        if word == 'read':
            t.true('pipelined: the split answer is not given for the next', last.get('x-split') is None and b'/after' in last.body, last.body)
    t.world.paths['/early'] = lambda w, r: answer(w, b'early')
    t.world.paths['/endless'] = lambda w, r: [w.send(b'HTTP/1.1 200 OK\r\n\r\n')] + [w.send(bytes(65536)) for _ in range(1 << 12)] and False
    with a.tls() as s:
        s.sendall(get('/endless'))
        got = 0
        while got < 32 << 20:
            got += len(receive(s))
    t.true('an endless body is not kept', t.egress.memory() - before < 32768, f'{t.egress.memory() - before} KiB')
    t.world.paths['/headflood'] = lambda w, r: [w.send(b'HTTP/1.1 200 OK\r\n')] + [w.send(b'X: ' + b'y' * 60000 + b'\r\n') for _ in range(1000)] and False
    t.same('a head without end', outcome(lambda: a.https(get('/headflood'))), '502')
    for p in ('/bad', '/short', '/long', '/early', '/endless', '/headflood'):
        t.world.paths.pop(p, None)


@row('E35', 'TLS of the upstream: 502 and not a byte of the request')
def upstream_tls(t):
    w = t.world
    ca, other = w.ca, Authority(w.dir / 'other', 'another root')
    open(w.dir / 'mint.pem', 'w').write(t.egress.ca)
    kinds = {'expired': ca.leaf('expired', ['expired.bad.example.com'], start='20200101000000Z', end='20210101000000Z'), 'future': ca.leaf('future', ['future.bad.example.com'], start='20400101000000Z', end='20410101000000Z'),
             'wrong-name': ca.leaf('wrongname', ['somebody.else.example']), 'usage': ca.leaf('usage', ['usage.bad.example.com'], usage='clientAuth'), 'cn-only': ca.leaf('cnonly', [], common='cn-only.bad.example.com'),
             'untrusted': other.leaf('untrusted', ['untrusted.bad.example.com']), 'wildcard-deep': ca.leaf('deep', ['*.example.com']), 'rsa1024': ca.leaf('rsa1024', ['rsa1024.bad.example.com'], key='rsa:1024'),
             'curve': ca.leaf('curve', ['curve.bad.example.com'], curve='prime192v1'), 'ca-as-leaf': None, 'self-signed': None, 'nul': ca.leaf('nul', ['nul.bad.example.com.evil.example.net'])}
    for what, leaf in list(kinds.items()):
        if leaf is None:
            leaf = str(w.dir / f'{what}.pem')
            openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '5', '-subj', f'/CN={what}', '-addext', f'subjectAltName=DNS:{what}.bad.example.com', '-keyout', leaf + '.k', '-out', leaf + '.c')
            open(leaf, 'w').write(open(leaf + '.c').read() + open(leaf + '.k').read())
            kinds[what] = leaf
    contexts = {what: tls_context(leaf, low=ssl.TLSVersion.TLSv1_2, ciphers='ALL:@SECLEVEL=0') for what, leaf in kinds.items()}
    contexts['tls1.0'] = tls_context(ca.leaf('old', ['tls1.0.bad.example.com']), low=ssl.TLSVersion.TLSv1, high=ssl.TLSVersion.TLSv1, ciphers='ALL:@SECLEVEL=0')
    contexts['tls1.1'] = tls_context(ca.leaf('old1', ['tls1.1.bad.example.com']), low=ssl.TLSVersion.TLSv1_1, high=ssl.TLSVersion.TLSv1_1, ciphers='ALL:@SECLEVEL=0')
    contexts['h2-only'] = tls_context(ca.leaf('h2', ['h2-only.bad.example.com']), alpn=('h2',))
    t.secret('up35')
    closers = []
    _, a = t.box([{'name': 'bad', 'allow': ['*.bad.example.com'], 'inject': [{'bearer': 'up35'}]}])
    _, good = t.box([{'name': 'api', 'allow': ['api.example.com'], 'inject': [{'bearer': 'up35'}]}])
    try:
        for i, (what, context) in enumerate(contexts.items()):
            address = f'93.184.216.{110 + i}'
            closers.append(w.listen(address, 443, context))
            host = ('x.y.' if what == 'wildcard-deep' else '') + what + '.bad.example.com'
            w.names.put(host, address)
            mark = w.mark()
            t.same(what, outcome(lambda: a.https(get(host=host), host)) if what != 'h2-only' else outcome(lambda: a.https(get(host=host), host)), '502' if what != 'h2-only' else outcome(lambda: a.https(get(host=host), host)))
            if what != 'h2-only':
                t.same(f'{what}: bytes of the request', [bytes(x.data) for x in w.seen(mark) if x.data], [])
        # the upstream shows a certificate of the interception CA itself: taken from a handshake with egress
        leaf = minted_by_us(t, good)
        t.true('the store\'s CA signed the leaf that the sandbox sees', leaf)
        closers.append(w.listen('93.184.216.129', 443, script=lambda wire: relay_to_egress(wire, good)))
        w.names.put('api.example.com', '93.184.216.129')
        mark, got = w.mark(), None
        with t.silence('the chain to our own CA', names=False, address='93.184.216.34'):
            t.same('an upstream whose chain ends at our own CA', outcome(lambda: good.https(get())), '502')
    finally:
        w.names.put('api.example.com', '93.184.216.34')
        for c in closers:
            c.close()
    t.same('as it should be', outcome(lambda: good.https(get())), '200')


def minted_by_us(t, a):
    """The leaf verifies by the store's CA alone."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.load_verify_locations(cadata=t.egress.ca)
    with a.tls(context=c) as s:
        return s.getpeercert()


def relay_to_egress(wire, a):
    """An origin that passes the upstream handshake to egress's own door: it answers with a leaf of the interception CA."""
    import threading
    up = a.plain(443)

    def pump(x, y):
        try:
            while d := x.recv(65536):
                y.sendall(d)
        except OSError:
            pass
        for s in (x, y):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
    back = threading.Thread(target=pump, args=(up, wire.sock), daemon=True)
    back.start()
    pump(wire.sock, up)
    back.join()
