"""E20 to E29: credentials are added outside, once, to whom they are bound, and are not seen again."""
import base64, json
from trial import row
from wire import Ended, get, outcome, read_reply, refused
from bare import Refused

API = 'api.example.com'


def rule(*inject, host=API, **more):
    return {'name': 'cred', 'allow': [host], 'inject': list(inject), **more}


def headers_of(t, mark):
    """What the origin got: [(name, value)] of the one request since mark."""
    data = [bytes(w.data) for w in t.world.seen(mark) if w.data]
    assert len(data) == 1 and data[0].count(b'HTTP/1.1\r\n') == 1, data
    head = data[0].split(b'\r\n\r\n')[0].decode('latin-1').split('\r\n')
    return head[0], [tuple(l.split(': ', 1)) for l in head[1:]]


# Ways in which a workload tries to have its own value beside or instead of the injected one.
OVERRIDES = ['Authorization: Bearer mine', 'authorization: Bearer mine', 'AUTHORIZATION: Basic bWluZQ==', 'Authorization: Bearer mine\r\nAuthorization: Bearer mine2', 'Authorization_: Bearer mine', 'Authorization.: Bearer mine',
             'authorization-: mine', 'Authorization:', 'Authorization:   ', 'X-Api-Key: mine', 'x-api-key: mine\r\nX-API-KEY: mine', 'x_api_key: mine', 'X.Api.Key: mine', 'x_api-key: mine', 'X-Api_Key: mine', 'X-API-Key_: mine']


@row('E20', 'every spelling of an injected credential is taken away, exactly one is sent')
def overrides(t):
    bearer, key = t.secret('tok20'), t.secret('key20')
    for what, inject, name, value in (('bearer', {'bearer': 'tok20'}, 'authorization', 'Bearer ' + bearer), ('header', {'header': 'x-api-key', 'secret': 'key20', 'format': 'k={}'}, 'x-api-key', 'k=' + key),
                                      ('basic', {'basic': {'user': 'me', 'password': 'key20'}}, 'authorization', 'Basic ' + base64.b64encode(f'me:{key}'.encode()).decode())):
        _, a = t.box([rule(inject)])
        for lines in [*OVERRIDES, '', 'Proxy-Authorization: Basic bWluZQ==', 'Cookie: Authorization=mine']:
            mark = t.world.mark()
            word = outcome(lambda: a.https(get(headers=lines + '\r\n' if lines else '')))
            if word != '200':
                t.among(f'{what}: {lines!r}', word, ('400', '403') if lines else ())
                t.same(f'{what}: {lines!r}: nothing sent', [bytes(w.data) for w in t.world.seen(mark) if w.data], [])
                continue
            _, got = headers_of(t, mark)
            folded = [(n, v) for n, v in got if n.lower().replace('_', '-').replace('.', '-').strip('-') == name]
            t.same(f'{what}: {lines!r}', [v for _, v in folded], [value])
            t.true(f'{what}: {lines!r}: nothing of ours', not any(n.lower() == 'proxy-authorization' for n, _ in got), got)
        t.among('by CONNECT too', [v for n, v in via(t, a) if n.lower() == name], ([value],))


@row('E20', 'trailers do not bring back what the rule takes away or sets')
def trailers(t):
    t.secret('tr20')
    chunked = 'Transfer-Encoding: chunked\r\n'
    for what, lines, sent in (('x-api-key', 'X-Api-Key: mine', rule({'header': 'x-api-key', 'secret': 'tr20'})), ('x_api_key', 'X_Api.Key: mine', rule({'header': 'x-api-key', 'secret': 'tr20'})),
                              ('removed', 'X-Gone: mine', rule(remove_headers=['x-gone'])), ('set', 'X-Env: mine', rule(set_headers={'x-env': 'ours'}))):
        if not sent['inject']:
            del sent['inject']
        _, a = t.box([sent])
        mark = t.world.mark()
        t.same(what, outcome(lambda: a.https(get('/', headers=chunked, method='POST') + f'2\r\nhi\r\n0\r\n{lines}\r\n\r\n'.encode())), '200')
        t.true(f'{what}: not sent', not any(b'mine' in bytes(w.data) for w in t.world.seen(mark)))
    _, a = t.box([rule(methods=['POST']) | {'inject': [{'bearer': 'tr20'}]}])
    for line in ('X-HTTP-Method-Override: DELETE', 'x_http_method: DELETE', 'X-Original-URL: /b', 'Authorization_: mine'):
        mark = t.world.mark()
        t.among(f'a trailer {line}', outcome(lambda: a.https(get('/', headers=chunked, method='POST') + f'2\r\nhi\r\n0\r\n{line}\r\n\r\n'.encode())), ('400', 'closed', 'reset'))
        t.true(f'{line}: not sent', not any(line.encode() in bytes(w.data) for w in t.world.seen(mark)))


def via(t, a):
    mark = t.world.mark()
    a.via_connect(get())
    return headers_of(t, mark)[1]


@row('E20', 'a credential in the query: all of the name go, however written, one is added')
def query_key(t):
    key = t.secret('q20')
    _, a = t.box([rule({'query': 'key', 'secret': 'q20'})])
    for target in ('/', '/?key=mine', '/?key', '/?key&key=mine', '/?a=1&key=mine&b=2', '/?k%65y=mine', '/?KEY=mine', '/?key=mine;key=two', '/?a=1;key=mine', '/?&key=', '/?key%3dmine', '/?%6bey', '/?key=a&key=b&key=c', '/?a=key', '/?akey=1&keyb=2', '/?key+=mine', '/?key%00=mine', '/?key[]=mine', '/?a=1#key=mine'):
        mark = t.world.mark()
        word = outcome(lambda: a.https(get(target)))
        if word != '200':
            t.among(f'{target}', word, ('400', '403') if any(c in target for c in '%#;[') else ())
            continue
        line, _ = headers_of(t, mark)
        q = line.split(' ')[1].partition('?')[2].replace(';', '&').split('&')
        from urllib.parse import unquote
        own = [p for p in q if unquote(p.split('=')[0]) == 'key']
        t.same(f'{target}', own, ['key=' + key])
        t.true(f'{target}: what else was asked stays', all(x in line for x in ('a=1', 'b=2') if x in target and ';' not in target), line)
    for what, d in t.spread():
        t.true(f'no query in {what}', b'mine' not in d or what.startswith('rules'), what)


@row('E20', 'SigV4: signed outside, the workload\'s own signature is gone')
def sigv4(t):
    ident, secret, session = t.secret('ak20'), t.secret('sk20'), t.secret('st20')
    _, a = t.box([rule({'sigv4': {'access_key': 'ak20', 'secret_key': 'sk20', 'session_token': 'st20', 'region': 'eu-west-1', 'service': 's3'}})])
    mark = t.world.mark()
    own = 'Authorization: AWS4-HMAC-SHA256 Credential=mine/20200101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=00\r\nX-Amz-Date: 20200101T000000Z\r\nX-Amz-Security-Token: mine\r\nX-Amz-Content-Sha256: mine\r\n'
    t.same('answered', a.https(get('/bucket/a%20b?list-type=2&prefix=x', headers=own)).status, 200)
    line, got = headers_of(t, mark)
    auth = [v for n, v in got if n.lower() == 'authorization']
    t.same('one signature', len(auth), 1)
    t.true('by our key', auth and auth[0].startswith('AWS4-HMAC-SHA256 Credential=' + ident), auth)
    t.same('our session', [v for n, v in got if n.lower() == 'x-amz-security-token'], [session])
    t.true('nothing of its own', not any('mine' in v or '20200101T' in v for _, v in got), got)
    t.true('the key itself is not sent', not any(secret in v for _, v in got))
    t.true('the signature is right', signature_is_right(line, got, secret, 'eu-west-1', 's3'), auth)


def signature_is_right(line, headers, secret, region, service):
    import hashlib, hmac, re
    method, target, _ = line.split(' ')
    path, _, query = target.partition('?')
    h = {n.lower(): ' '.join(v.split()) for n, v in headers}
    m = re.search(r'Credential=[^/]+/([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)', h['authorization'])
    scope, signed, signature = m.groups()
    canonical = '\n'.join([method, path, '&'.join(sorted(query.split('&'))), *(f'{n}:{h[n]}' for n in signed.split(';')), '', signed, h['x-amz-content-sha256']])
    text = '\n'.join(['AWS4-HMAC-SHA256', h['x-amz-date'], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ('AWS4' + secret).encode()
    for part in scope.split('/'):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest() == signature and 'host' in signed.split(';')


@row('E22', 'values that are no header values are refused when they are set')
def bad_values(t):
    for what, value in {'CR': 'a\rb', 'LF': 'a\nb', 'CRLF': 'a\r\nX: y', 'high': 'ä', 'empty': '', 'DEL': 'a\x7f', 'escape': 'a\x1b[2J', 'emoji': '🔑', 'too long': 'x' * 70000, 'last LF': 'abc\n', 'tab first': '\tabc'}.items():
        try:
            t.egress.ask('secret_put', name='bad22', value=value)
            t.true(f'secret with {what}', False, 'taken')
        except Refused as e:
            t.true(f'the answer does not repeat it ({what})', value == '' or len(value) < 3 or value not in str(e), str(e))
    name, _ = t.box()
    t.secret('ok22')
    for what, r in {'format with LF': rule({'header': 'x-a', 'secret': 'ok22', 'format': 'a\n{}'}), 'name with a colon': rule({'header': 'x:a', 'secret': 'ok22', 'format': '{}'}), 'name with a space': rule({'header': 'x a', 'secret': 'ok22'}),
                    'Host': rule({'header': 'Host', 'secret': 'ok22'}), 'Content-Length': rule({'header': 'content-length', 'secret': 'ok22'}), 'Transfer-Encoding': rule({'header': 'Transfer-Encoding', 'secret': 'ok22'}),
                    'Connection': rule({'header': 'connection', 'secret': 'ok22'}), 'user with a colon': rule({'basic': {'user': 'a:b', 'password': 'ok22'}}), 'user with LF': rule({'basic': {'user': 'a\n', 'password': 'ok22'}}),
                    'set_headers with LF': {'allow': [API], 'set_headers': {'x': 'a\r\ny: z'}}, 'set_headers Host': {'allow': [API], 'set_headers': {'host': 'evil'}}, 'query with =': rule({'query': 'a=b', 'secret': 'ok22'}),
                    'an unknown field': {'allow': [API], 'inyect': []}, 'an unknown secret field': rule({'bearer': 'ok22', 'x': 1}), 'two kinds': rule({'bearer': 'ok22', 'query': 'k', 'secret': 'ok22'}),
                    'region with a line': rule({'sigv4': {'access_key': 'ok22', 'secret_key': 'ok22', 'region': 'a\n', 'service': 's3'}})}.items():
        try:
            t.egress.rules(name, [r])
            t.true(f'rule with {what}', False, 'taken')
        except Refused as e:
            t.true(f'rule with {what}: says where', 'rules[0]' in str(e) or len(str(e)) > 20, str(e))


@row('E23', 'a credential goes to its own host only, whatever the workload writes')
def laundering(t):
    one, two = t.secret('one23'), t.secret('two23')
    t.egress.ask('secret_put', name='bound23', value=t.canaries.new('bound23'), hosts=['other.example.org'])
    _, a = t.box([rule({'bearer': 'one23'}), {'name': 'b', 'allow': ['www.example.com'], 'inject': [{'bearer': 'two23'}], 'schemes': ['https']}, {'name': 'bound', 'allow': ['files.example.com'], 'inject': [{'bearer': 'bound23'}]}])
    for text in ('{one23}', '{{one23}}', '${one23}', 'SECRET:one23', 'secret("one23")', '{}', 'one23', 'cred:one23', '{{two23}}{{one23}}', '${${one23}}', '%7Bone23%7D', '__one23__'):
        for host, mine, other in ((API, one, two), ('www.example.com', two, one)):
            mark = t.world.mark()
            r = a.https(get(f'/?x={text}', host, f'X-Token: {text}\r\nCookie: a={text}\r\n', 'POST', f'body {text}'), host)
            sent = bytes(t.world.seen(mark)[0].data).decode('latin-1')
            t.true(f'{text} to {host}', r.status == 200 and other not in sent and sent.count(mine) == 1 and f'X-Token: {text}' in sent and f'body {text}' in sent, (r.status, sent))
    with t.silence('bound elsewhere'):
        t.among('a secret that is bound to another host', outcome(lambda: a.https(get(host='files.example.com'), 'files.example.com')), ('403', '502'))


ECHO_FORMS = {
    'body, raw': lambda v: ([], v), 'body, JSON': lambda v: ([('Content-Type', 'application/json')], json.dumps({'a': v}).encode() if isinstance(v, str) else v), 'body, base64': lambda v: ([], base64.b64encode(v)), 'body, hex': lambda v: ([], v.hex().encode()),
    'body, reversed': lambda v: ([], v[::-1]), 'body, url-encoded': lambda v: ([], ''.join(f'%{b:02x}' for b in v).encode()), 'body, without its last letter': lambda v: ([], v[:-1]), 'body, in halves': lambda v: ([], v[:14] + b'\n' + v[14:]),
    'body, upper case': lambda v: ([], v.upper()), 'header': lambda v: ([('X-Echo', v.decode())], b''), 'header within text': lambda v: ([('X-Echo', f'you said "{v.decode()}", did you')], b''), 'two headers': lambda v: ([('X-A', v.decode()), ('X-B', v.decode())], b''),
    'Set-Cookie': lambda v: ([('Set-Cookie', f's={v.decode()}; Path=/')], b''), 'WWW-Authenticate': lambda v: ([('WWW-Authenticate', f'Bearer error="{v.decode()}"')], b''), 'Location': lambda v: ([('Location', f'https://api.example.com/?t={v.decode()}')], b''),
    'header, Bearer form': lambda v: ([('X-Echo', f'Bearer {v.decode()}')], b''), 'header name': lambda v: ([('X-' + v.decode(), 'x')], b''), 'header, base64': lambda v: ([('X-Echo', base64.b64encode(v).decode())], b''), 'header, hex': lambda v: ([('X-Echo', v.hex())], b''),
    'header, in halves': lambda v: ([('X-A', v[:14].decode()), ('X-B', v[14:].decode())], b''), 'reason': None, 'body, gzip': None, 'body, chunked one byte each': None, 'body, Range of three bytes': None, 'error page': None, 'trailer': None, 'WebSocket frame': None, 'informational head': None, 'early hint': None,
}
MUST_BE_TAKEN_OUT = {'header', 'header within text', 'two headers', 'Set-Cookie', 'WWW-Authenticate', 'Location', 'header, Bearer form', 'trailer', 'reason', 'header name', 'informational head', 'early hint'}


def send_form(wire, form, v):
    import gzip
    out = lambda head, body=b'': wire.send((f'HTTP/1.1 {head}\r\n').encode() + (b'' if '1xx' in head else f'Content-Length: {len(body)}\r\n\r\n'.encode()) + body)
    if ECHO_FORMS[form]:
        headers, body = ECHO_FORMS[form](v)
        status = '302 Found' if form == 'Location' else '200 OK'
        wire.send((f'HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n' + ''.join(f'{n}: {x}\r\n' for n, x in headers) + '\r\n').encode() + body)
    elif form == 'reason':
        out('200 ' + v.decode())
    elif form == 'body, gzip':
        z = gzip.compress(v)
        wire.send(f'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(z)}\r\n\r\n'.encode() + z)
    elif form in ('body, chunked one byte each', 'trailer'):
        body = b''.join(b'1\r\n' + bytes([c]) + b'\r\n' for c in v) if form != 'trailer' else b'2\r\nok\r\n'
        wire.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Echo\r\n\r\n' + body + b'0\r\n' + (b'X-Echo: ' + v + b'\r\n' if form == 'trailer' else b'') + b'\r\n')
    elif form == 'body, Range of three bytes':
        wire.send(f'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/28\r\nContent-Length: 3\r\n\r\n'.encode() + v[:3])
    elif form == 'error page':
        out('401 Unauthorized', b'<h1>bad token ' + v + b'</h1>')
    elif form in ('informational head', 'early hint'):
        wire.send(f'HTTP/1.1 {"102 Processing" if form[0] == "i" else "103 Early Hints"}\r\nX-Echo: {v.decode()}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'.encode())
    elif form == 'WebSocket frame':
        wire.send(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Echo: ' + v + b'\r\n\r\n' + b'\x81' + bytes([len(v)]) + v)


@row('E25', 'an origin that echoes: never in headers; which forms come through in bodies is written down')
def echoes(t):
    value = t.secret('echo25')
    forms = iter(ECHO_FORMS)
    _, a = t.box([rule({'bearer': 'echo25'}, websocket=True)])
    report = {}
    for form in forms:
        t.world.paths['/echo25'] = lambda wire, request: send_form(wire, form, value.encode())
        up = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' if form == 'WebSocket frame' else ''
        with a.tls() as s:
            s.sendall(get('/echo25', headers=up))
            raw = b''
            s.settimeout(1 if up else 8)
            try:
                first = s.recv(65536)
                while first:
                    raw += first
                    if complete(raw):
                        break
                    first = s.recv(65536)
            except OSError:
                pass
        found = {w for w in t.canaries.find(raw)} | ({'pieces'} if form in ('body, in halves', 'header, in halves') and value[:14].encode() in raw else set())
        import zlib
        if form == 'body, gzip' and b'\x1f\x8b' in raw and value.encode() in zlib.decompress(raw[raw.index(b'\x1f\x8b'):], 47):
            found.add('gzip')
        if form == 'body, chunked one byte each' and b''.join(value[i:i + 1].encode() + b'\r\n' for i in range(2))[:1] in raw and dechunk(raw) == value.encode():
            found.add('chunks')
        if form == 'body, Range of three bytes' and raw.endswith(value[:3].encode()):
            found.add('slice')
        if form in ('body, upper case', 'body, without its last letter') and (value.upper().encode() in raw or value[:-1].encode() in raw):
            found.add('altered')
        report[form] = bool(found)
        head = raw.split(b'\r\n\r\n')[0] if 'inform' not in form and 'hint' not in form else raw
        t.true(f'{form}: there was an answer', raw.startswith(b'HTTP/1.1 '), raw[:100])
        if form in MUST_BE_TAKEN_OUT:
            t.same(f'{form}: canary', sorted(t.canaries.find(raw)), [])
        t.same(f'{form}: canary in the head', sorted(t.canaries.find(head)) if form not in ('header, base64', 'header, hex') else [], [])
    del t.world.paths['/echo25']
    t.same('as docs/egress.md publishes it', '\n'.join(table(report)), '\n'.join(published()))


def table(report):
    return [f'| {form} | {"comes through" if leaks else "taken out"} |' for form, leaks in report.items()]


def published():
    """The rows of the table under "Echoes"."""
    import pathlib
    text = (pathlib.Path(__file__).resolve().parent.parent.parent / 'docs' / 'egress.md').read_text().split('. Echoes\n')[1].split('\n## ')[0]
    return [l for l in text.split('\n') if l.startswith('|')][2:]


def dechunk(raw):
    body, out = raw.split(b'\r\n\r\n', 1)[1], b''
    while body:
        n, _, body = body.partition(b'\r\n')
        n = int(n.split(b';')[0] or b'0', 16)
        if not n:
            return out
        out, body = out + body[:n], body[n + 2:]
    return out


def complete(raw):
    head, _, body = raw.partition(b'\r\n\r\n')
    low = head.lower()
    if low.startswith((b'http/1.1 102', b'http/1.1 103')):
        return complete(body) if body else False
    if b'transfer-encoding' in low:
        return body.endswith(b'0\r\n\r\n') or b'\r\n0\r\n' in body and body.endswith(b'\r\n\r\n')
    if b'content-length' in low:
        return len(body) >= int(low.split(b'content-length:')[1].split(b'\r\n')[0])
    return False


@row('E26', 'TRACE, TRACK, Max-Forwards, OPTIONS *: 405, whatever the rules say')
def trace(t):
    t.secret('t26')
    _, a = t.box([rule({'bearer': 't26'}), {'name': 'all', 'allow': ['*'], 'schemes': ['http', 'https'], 'intercept': True}])
    with t.silence('TRACE'):
        for method in ('TRACE', 'TRACK'):
            for host in (API, 'www.example.com', 'nosuch.example.org'):
                t.same(f'{method} {host}', outcome(lambda: a.https(get(host=host, method=method), host)) if host != 'nosuch.example.org' else '405', '405')
        t.same('TRACE in clear', outcome(lambda: a.http(get(host='www.example.com', method='TRACE'))), '405')
        t.among('trace in small letters', outcome(lambda: a.http(get(host='www.example.com', method='trace'))), ('405', '400', '403'))
        t.among('OPTIONS *', outcome(lambda: a.https(b'OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\n\r\n')), ('405', '400'))
        t.among('OPTIONS * with Max-Forwards', outcome(lambda: a.https(b'OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\nMax-Forwards: 0\r\n\r\n')), ('405', '400'))
        t.same('Max-Forwards', outcome(lambda: a.https(get(method='OPTIONS', headers='Max-Forwards: 0\r\n'))), '405')


@row('E28', 'in the clear, by another port, where a rule says otherwise: no credential is sent')
def clear_text(t):
    value = t.secret('c28')
    for what, rules in {'default schemes': [rule({'bearer': 'c28'})], 'http too': [rule({'bearer': 'c28'}, schemes=['https', 'http'])], 'http allowed by another rule': [rule({'bearer': 'c28'}, schemes=['https']), {'name': 'plain', 'allow': [API], 'schemes': ['http']}],
                        'another port': [rule({'bearer': 'c28'}, schemes=['https'], ports=[443]), {'name': 'high', 'allow': [API], 'schemes': ['http'], 'ports': [80, 8080]}]}.items():
        name, a = t.box()
        try:
            t.egress.rules(name, rules)
        except Refused:
            t.checks += 1
            continue
        mark = t.world.mark()
        words = [outcome(lambda: a.http(get())), outcome(lambda: a.http(b'GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n', 3128))]
        t.true(f'{what}: nothing of it in clear text', not any(value.encode() in w.data for w in t.world.seen(mark)))
        if what in ('default schemes', 'http too'):
            t.same(f'{what}: refused', words, ['403', '403'])
            t.same(f'{what}: nothing dialled', t.world.seen(mark), [])
        t.same(f'{what}: by TLS', outcome(lambda: a.https(get())), '200')
        t.true(f'{what}: with it', any(value.encode() in w.data for w in t.world.seen(mark)))


PATHS = ['/repos/../admin', '/repos/..', '/repos/./x', '/repos/%2e%2e/admin', '/repos/%2E%2E/admin', '/repos/.%2e/admin', '/repos/..;/admin', '/repos/;/x', '/repos/x;a=b', '/repos//x', '//repos/x', '/repos/\\admin', '/repos/..\\admin',
         '/repos/%5c..%5cadmin', '/repos%2fx', '/repos/%2fadmin', '/repos/%252e%252e/admin/%2e', '/repos/%00', '/repos/%c0%ae%c0%ae/admin', '/%72epos/../admin', '/Repos/x', '/REPOS/x', '/repos', '/repo', '/admin', '/', '/reposx/y', '/x/repos/y',
         '/repos/%', '/repos/%2', '/repos/%zz', '/repos/../repos/../admin', '/repos/x/../../admin', '/repos/x/%2e%2e/%2e%2e/admin', '/repos/..%2fadmin', '/repos/..%5cadmin', '/repos/%u002e%u002e/admin', '/repos/..%00/admin', '/repos/.;/..;/admin',
         '/repos/%3b/x', '/repos/..?/admin/..', '/repos/x/..', '/repos/x/.']
GOOD_PATHS = ['/repos/x', '/repos/x/y', '/repos/x?a=/../b', '/repos/a%20b', '/repos/...', '/repos/.x', '/repos/x..y', '/repos/x?q=%2e%2e']


@row('E29', 'a path rule takes canonical paths only, and methods as they are')
def paths(t):
    t.secret('p29')
    rules = [rule({'bearer': 'p29'}, paths=['/repos/**'], methods=['GET'])]
    _, a = t.box(rules)
    with t.silence('paths'):
        for p in PATHS:
            word = outcome(lambda: a.https(get(p)))
            t.among(p, word, ('403', '400') if p != '/repos/..?/admin/..' else ('403', '400'))
        for headers in ('X-HTTP-Method-Override: DELETE', 'X-HTTP-Method: PUT', 'X-Method-Override: DELETE'):
            word = outcome(lambda: a.https(get('/repos/x', headers=headers + '\r\n', method='POST')))
            t.among(f'POST with {headers}', word, ('403',))
        for m in ('POST', 'PUT', 'DELETE', 'get', 'Get', 'PATCH', 'HEAD', 'OPTIONS', 'PROPFIND', 'GETX'):
            t.among(m, outcome(lambda: a.https(get('/repos/x', method=m), method=m)), ('403', '405', '400'))
    for headers in ('X-HTTP-Method-Override: DELETE', 'X-HTTP-Method: DELETE', 'X-Method-Override: DELETE'):
        mark = t.world.mark()
        word = outcome(lambda: a.https(get('/repos/x', headers=headers + '\r\n')))
        sent = b''.join(bytes(w.data) for w in t.world.seen(mark)).lower()
        t.true(f'GET with {headers}', word in ('403', '400') and not sent or b'override' not in sent and b'x-http-method' not in sent, (word, sent[:300]))
    for p in GOOD_PATHS:
        mark = t.world.mark()
        t.same(p, outcome(lambda: a.https(get(p))), '200')
        t.same(f'{p} as it was', bytes(t.world.seen(mark)[0].data).split(b' ')[1].decode(), p)
