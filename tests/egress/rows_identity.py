"""E1 to E7: who is meant. One authority, or nothing is sent."""
from trial import row
from wire import client_hello, get, outcome, read_reply, refused, sni_extension

RULES = [{'name': 'api', 'allow': ['api.example.com', 'www.example.com'], 'schemes': ['https', 'http'], 'intercept': True}]
# Hosts that are not the one of the connection, api.example.com. www.example.com is allowed too: still another authority.
OTHERS = ['evil.example.net', 'www.example.com', 'api.example.com:444', 'api.example.com:80', 'api.example.com.evil.example.net', 'evil.example.net:443', 'xapi.example.com', 'example.com', 'api.example.co',
          'api-example.com', '93.184.216.66', '93.184.216.34']
BROKEN = ['[::1]', 'api.example.com:0', 'api.example.com:65979', 'api.example.com:443x', 'api.example.com:', 'api.example.com..', '.api.example.com', '*.example.com']


@row('E1', 'a Host that is not the authority of the connection: 421 and nothing sent')
def mismatches(t):
    _, a = t.box(RULES)
    with t.silence('mismatch'):
        for host in OTHERS:
            t.same(f'443, Host {host}', outcome(lambda: a.https(get(host=host))), '421')
            t.same(f'CONNECT and TLS, Host {host}', outcome(lambda: a.via_connect(get(host=host))), '421')
            t.among(f'CONNECT with Host {host}', outcome(lambda: a.connect('api.example.com:443', f'Host: {host}\r\n')), ('421', '400'))
            if host != 'api.example.com:80':
                t.among(f'absolute form with Host {host}', outcome(lambda: a.http(f'GET http://api.example.com/ HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode(), 3128)), ('421', '400'))
        for host in BROKEN:
            t.true(f'443, Host {host}', refused(outcome(lambda: a.https(get(host=host)))), outcome(lambda: a.https(get(host=host))))
            t.true(f'CONNECT, Host {host}', refused(outcome(lambda: a.via_connect(get(host=host)))))
        t.among('443, absolute form of another host', outcome(lambda: a.https(b'GET https://www.example.com/ HTTP/1.1\r\nHost: www.example.com\r\n\r\n')), ('421', '400'))
        t.among('443, absolute form of http', outcome(lambda: a.https(b'GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n')), ('421', '400'))
        t.true('80, absolute form and another Host', refused(outcome(lambda: a.http(b'GET http://api.example.com/ HTTP/1.1\r\nHost: www.example.com\r\n\r\n'))))
        t.true('CONNECT within TLS', refused(outcome(lambda: a.https(b'CONNECT evil.example.net:443 HTTP/1.1\r\nHost: evil.example.net:443\r\n\r\n', method='CONNECT'))))
    for host in ('api.example.com', 'API.Example.COM', 'api.example.com:443', 'api.example.com.'):
        t.same(f'the same in other words: {host}', outcome(lambda: a.https(get(host=host))), '200')


@row('E1', 'what is allowed goes to that host and no other, by each door')
def allowed(t):
    _, a = t.box(RULES)
    mark = t.world.mark()
    t.same('443', a.https(get('/a')).status, 200)
    t.same('80', a.http(get('/b')).status, 200)
    t.same('CONNECT', a.via_connect(get('/c')).status, 200)
    t.same('absolute form', a.http(b'GET http://api.example.com/d HTTP/1.1\r\nHost: api.example.com\r\n\r\n', 3128).status, 200)
    t.same('any address is ours', a.ask(a.ns.connect('1.2.3.4', 80), get('/e')).status, 200)
    t.same('any v6 address too', a.ask(a.ns.connect('2606:4700::1111', 80), get('/f')).status, 200)
    t.same('who was reached', {w.address for w in t.world.seen(mark)}, {'93.184.216.34'})
    t.same('with the name', {w.sni for w in t.world.seen(mark) if w.tls}, {'api.example.com'})
    t.same('HTTP/1.1 was asked for', {w.alpn for w in t.world.seen(mark) if w.tls}, {'http/1.1'})
    with t.silence('denied'):
        for what, word in (('443', lambda: a.https(get(host='evil.example.net'), 'evil.example.net')), ('80', lambda: a.http(get(host='evil.example.net'))),
                           ('CONNECT', lambda: a.connect('evil.example.net:443')), ('absolute', lambda: a.http(b'GET http://evil.example.net/ HTTP/1.1\r\nHost: evil.example.net\r\n\r\n', 3128))):
            t.true(f'{what} to who is not allowed', refused(outcome(word)), outcome(word))


ODD_SNI = {'an address': sni_extension(b'93.184.216.34'), 'NUL': sni_extension(b'api.example.com\0.evil.example.net'), 'NUL at the end': sni_extension(b'api.example.com\0'),
           'two names': sni_extension(b'api.example.com', b'evil.example.net'), 'the same twice': sni_extension(b'api.example.com', b'api.example.com'), '300 bytes': sni_extension(b'a.' * 142 + b'api.example.com'),
           'empty name': sni_extension(b''), 'empty list': sni_extension(length=0), 'wildcard': sni_extension(b'*.example.com'), 'space': sni_extension(b'api.example.com '), 'port': sni_extension(b'api.example.com:443'),
           'high bytes': sni_extension('äpi.example.com'.encode()), 'list too long': sni_extension(b'api.example.com', length=200), 'list too short': sni_extension(b'api.example.com', length=4),
           'another kind of name': sni_extension(b'api.example.com', kind=1), 'single label': sni_extension(b'api'), 'two dots': sni_extension(b'api..example.com'), 'slash': sni_extension(b'api.example.com/x'),
           'v6': sni_extension(b'[::1]'), 'another host': sni_extension(b'evil.example.net'), 'two dots at the end': sni_extension(b'api.example.com..')}


@row('E2', 'odd names in the ClientHello')
def odd_sni(t):
    _, a = t.box(RULES)
    good = sni_extension(b'api.example.com')
    with t.silence('odd SNI'):
        for what, sni in ODD_SNI.items():
            if what != 'another host':          # by itself that is a name like others: denied, and told so within TLS
                t.among(f'443, {what}', outcome(lambda: a.hello(client_hello(sni))), ('alert', 'closed', 'reset'))
            t.among(f'CONNECT, {what}', outcome(lambda: a.hello(client_hello(sni), 'api.example.com:443')), ('alert', 'closed', 'reset'))
        t.among('443 without a name', outcome(lambda: a.hello(client_hello())), ('alert', 'closed', 'reset'))
        t.among('two extensions', outcome(lambda: a.hello(client_hello(good, extensions=[(0, sni_extension(b'evil.example.net'))]))), ('alert', 'closed', 'reset'))
        t.among('SNI of another allowed host in a CONNECT', outcome(lambda: a.hello(client_hello(sni_extension(b'www.example.com')), 'api.example.com:443')), ('alert', 'closed', 'reset'))
        t.among('no TLS at all', outcome(lambda: a.hello(b'GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n')), ('alert', 'closed', 'reset'))
    t.same('as it should be', outcome(lambda: a.hello(client_hello(good))), 'hello')
    t.same('in small records', outcome(lambda: a.hello(client_hello(good, record=20))), 'hello')
    t.same('in capitals', outcome(lambda: a.hello(client_hello(sni_extension(b'API.EXAMPLE.COM')))), 'hello')
    t.same('CONNECT without a name: the authority is that of CONNECT', outcome(lambda: a.hello(client_hello(), 'api.example.com:443')), 'hello')
    with a.tls('api.example.com', a.connect('api.example.com:443'), a.lax) as s:
        t.true('the leaf is for the authority', b'api.example.com' in s.getpeercert(True))


HOSTS = {'none': '', 'two equal': 'Host: api.example.com\r\nHost: api.example.com\r\n', 'two different': 'Host: api.example.com\r\nHost: evil.example.net\r\n', 'list': 'Host: api.example.com, evil.example.net\r\n',
         'list of the same': 'Host: api.example.com,api.example.com\r\n', 'empty': 'Host:\r\n', 'white space': 'Host:  \t \r\n', 'two, cases': 'Host: api.example.com\r\nhOST: api.example.com\r\n',
         'space before the colon': 'Host : api.example.com\r\n', 'folded': 'Host:\r\n api.example.com\r\n', 'first folded': ' Host: api.example.com\r\n', 'underscore twin': 'Host: evil.example.net\r\nHost_: api.example.com\r\n',
         'a tab within': 'Host: api.exa\tmple.com\r\n', 'a semicolon': 'Host: api.example.com;x\r\n', 'a path': 'Host: api.example.com/x\r\n', 'a scheme': 'Host: http://api.example.com\r\n'}


@row('E4', 'no Host, two, a list, an empty one: 400')
def hosts(t):
    _, a = t.box(RULES)
    with t.silence('Host'):
        for what, lines in HOSTS.items():
            for version in ('1.1', '1.0'):
                bad = ('403',) if what == 'underscore twin' else ()
                t.among(f'80, HTTP/{version}, {what}', outcome(lambda: a.http(f'GET / HTTP/{version}\r\n{lines}\r\n'.encode())), ('400', *bad))
                t.among(f'443, HTTP/{version}, {what}', outcome(lambda: a.https(f'GET / HTTP/{version}\r\n{lines}\r\n'.encode())), ('400', '421') if bad else ('400',))
            t.among(f'absolute form, {what}', outcome(lambda: a.http(f'GET http://api.example.com/ HTTP/1.1\r\n{lines}\r\n'.encode(), 3128)), ('400', '421') if bad else ('400',))
    t.same('HTTP/1.0 with one Host', outcome(lambda: a.http(b'GET / HTTP/1.0\r\nHost: api.example.com\r\n\r\n')), '200')


DELIMITERS = ['api.example.com:x@evil.example.net', 'api.example.com@evil.example.net', 'evil.example.net#api.example.com', 'api.example.com#@evil.example.net', 'api.example.com\\@evil.example.net',
              'evil.example.net\\.api.example.com', 'evil.example.net?api.example.com', 'evil.example.net/api.example.com', 'evil.example.net;api.example.com', 'api.example.com%00.evil.example.net',
              'api.example.com%2eevil.example.net', 'api.example.com%40evil.example.net', 'evil.example.net%23.api.example.com', 'evil.example.net\tapi.example.com', 'evil.example.net api.example.com',
              'api.example.com\x0b', 'api.example.com\x00', 'api.example.com\x7f', 'api.example.com\xa0', '"api.example.com"', '<api.example.com>', '(api.example.com)', 'api.example.com,evil.example.net',
              "api.example.com'", 'api.example.com|evil.example.net', 'api.example.com^', 'api.example.com`', '{api.example.com}', 'api.example.com&', 'api.example.com=', 'api.example.com+evil', '$api.example.com',
              '!api.example.com', '~api.example.com', 'api.example.com:443:443', 'api.example.com::443', ':443', 'api.example.com:+443', 'api.example.com:-443', 'api.example.com: 443', 'api.example.com:443 ',
              'api.example.com:0443x', 'api.example.com:4 43', 'api.example.com:０', '[api.example.com]', '[api.example.com', 'api.example.com]', '[::1', '::1]', '@api.example.com', 'user@api.example.com',
              'user:pass@api.example.com', 'api.exa mple.com', 'api。example。com', 'ａpi.example.com', 'xn--', '-api.example.com', 'api-.example.com', 'a' * 64 + '.example.com', '.'.join(['a' * 60] * 5) + '.com',
              'api.example.com:99999', 'api.example.com:1e3', 'api.example.com:0x1bb']


@row('E5', 'user names and delimiters in an authority: 400, by Host, CONNECT and absolute form')
def delimiters(t):
    _, a = t.box([{'name': 'wide', 'allow': ['*'], 'schemes': ['https', 'http'], 'ports': [80, 443], 'intercept': True}])
    with t.silence('delimiters'):
        for x in DELIMITERS:
            b = x.encode('utf-8') if ord(max(x)) > 255 else x.encode('latin-1')
            ends = ('400',)
            if x.endswith(' '):                  # white space around a header's value is not part of it
                continue
            t.among(f'Host {x!r}', outcome(lambda: a.http(b'GET / HTTP/1.1\r\nHost: ' + b + b'\r\n\r\n')), ends)
            t.among(f'Host in TLS {x!r}', outcome(lambda: a.https(b'GET / HTTP/1.1\r\nHost: ' + b + b'\r\n\r\n')), ('400', '421'))
            t.among(f'CONNECT {x!r}', outcome(lambda: a.http(b'CONNECT ' + b + b' HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n', 3128, 'CONNECT')), ('400',))
            t.among(f'absolute {x!r}', outcome(lambda: a.http(b'GET http://' + b + b'/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n', 3128)), ('400', '421') if '/' in x or '?' in x else ('400',))


@row('E7', 'each request on a connection is judged; the first that is wrong ends it')
def second_requests(t):
    _, a = t.box([{'name': 'api', 'allow': ['api.example.com', 'www.example.com'], 'schemes': ['https', 'http'], 'methods': ['GET'], 'intercept': True}])
    for door in (80, 443):
        opened = (lambda: a.plain(80)) if door == 80 else a.tls
        with opened() as s:
            mark = t.world.mark()
            for i in range(3):
                s.sendall(get(f'/{i}'))
                t.same(f'{door}: request {i}', read_reply(s).status, 200)
            s.sendall(get('/evil', 'evil.example.net'))
            r = read_reply(s)
            t.among(f'{door}: another host then', str(r.status), ('421', '403'))
            s.sendall(get('/after'))
            t.among(f'{door}: afterwards', outcome(lambda: read_reply(s)), ('closed', 'reset'))
            t.true(f'{door}: no more was sent', not any(b'/evil' in w.data or b'/after' in w.data for w in t.world.seen(mark)))
        with opened() as s:
            mark = t.world.mark()
            s.sendall(get('/p0') + get('/p1') + get('/p2', 'evil.example.net') + get('/p3'))
            have, got = b'', []
            for _ in range(4):
                word = outcome(lambda: got.append(read_reply(s, have=got[-1].rest if got else b'')) or str(got[-1].status))
                have += word.encode() + b' '
            t.among(f'{door}: pipelined', have.decode().split()[:2], (['200', '200'],))
            t.among(f'{door}: the third', have.decode().split()[2], ('421', '403'))
            t.among(f'{door}: the fourth', have.decode().split()[3], ('closed', 'reset'))
            t.true(f'{door}: what was sent', not any(b'/p2' in w.data or b'/p3' in w.data for w in t.world.seen(mark)))
        with opened() as s:
            mark = t.world.mark()
            s.sendall(get('/port', f'api.example.com:{8080 if door == 80 else 8443}'))
            t.among(f'{door}: another port', outcome(lambda: read_reply(s)), ('421', '403'))
            t.same(f'{door}: nothing sent', t.world.seen(mark), [])
        with opened() as s:
            s.sendall(get('/ok'))
            t.same(f'{door}: a GET', read_reply(s).status, 200)
            s.sendall(get('/no', method='DELETE'))
            t.same(f'{door}: then a method that is not allowed', read_reply(s).status, 403)
    with a.plain(3128) as s:
        s.sendall(b'GET http://api.example.com/1 HTTP/1.1\r\nHost: api.example.com\r\n\r\n')
        t.same('proxy: first', read_reply(s).status, 200)
        s.sendall(b'GET http://evil.example.net/2 HTTP/1.1\r\nHost: evil.example.net\r\n\r\n')
        t.same('proxy: who is not allowed', read_reply(s).status, 403)
    mark = t.world.mark()
    with a.plain(3128) as s:
        for host in ('api.example.com', 'www.example.com', 'api.example.com'):
            s.sendall(f'GET http://{host}/p HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode())
            t.among(f'proxy: {host} on the same connection', outcome(lambda: read_reply(s)), ('200', 'closed'))
    for w in t.world.seen(mark):
        t.true('one upstream connection, one host', not (b'Host: api' in w.data and b'Host: www' in w.data))
