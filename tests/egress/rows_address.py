"""E8 to E13: what may be dialled."""
import ipaddress
from trial import row
from wire import get, outcome, refused
from world import API, DNS, EVIL, FILES, HOST, INTERNAL, METADATA, V6

WIDE = [{'name': 'wide', 'allow': ['*'], 'schemes': ['https', 'http'], 'ports': [80, 443]}]


def spellings(v4):
    """Ways to write an IPv4 address that one program or another understands."""
    n = int(ipaddress.IPv4Address(v4))
    a, b, c, d = v4.split('.')
    hi, lo = f'{n >> 16:x}', f'{n & 0xffff:x}'
    return [v4, str(n), hex(n), oct(n).replace('0o', '0'), f'0{int(a):o}.0{int(b):o}.0{int(c):o}.0{int(d):o}', '.'.join(hex(int(x)) for x in (a, b, c, d)), f'{a}.{n & 0xffffff}', f'{a}.{b}.{n & 0xffff}',
            f'0{v4}', f'{a}.{b}.{c}.0{d}', f'{v4}.', f'{n}.', f'[::ffff:{v4}]', f'[::ffff:{hi}:{lo}]', f'[::{v4}]', f'[64:ff9b::{v4}]', f'[64:ff9b::{hi}:{lo}]', f'[64:ff9b:1::{hi}:{lo}]', f'[2002:{hi}:{lo}::1]',
            f'[2001:0:{hi}:{lo}::1]', f'[2001::{hi}:{lo}]', f'[fe80::{hi}:{lo}%eth0]', f'[::ffff:0:{v4}]', f'{v4}%x.example.com', f'{v4}#.example.com', f'%3{a[0]}{v4[1:]}']


LITERALS = [x for v4 in ('127.0.0.1', METADATA, INTERNAL, HOST) for x in spellings(v4)] + ['[::1]', '[::]', '0.0.0.0', '0', '[fe80::1%lo]', '[::1%lo.example.com]', '[::1', '::1', '[fd77::1]', '[ff02::1]', '[fe80::1]',
            '224.0.0.1', '255.255.255.255', '198.18.0.1', '[2001:2::1]', '100.64.0.1', '192.168.0.1', '172.16.0.1', '127.1', '127.0.1', '0x7f.1', '192.0.2.1', '[fec0::1]', '[::ffff:127.0.0.1%1]', '240.0.0.1', '1.1.1.1']


@row('E8', 'addresses in every spelling: refused where the rule does not name exactly them')
def literals(t):
    _, a = t.box(WIDE)
    with t.silence('literals'):
        for x in LITERALS:
            for what, work in ((f'Host {x}', lambda: a.http(get(host=x))), (f'CONNECT {x}:443', lambda: a.connect(f'{x}:443', 'Host: x.example.com\r\n')),
                               (f'absolute {x}', lambda: a.http(f'GET http://{x}/ HTTP/1.1\r\nHost: {x}\r\n\r\n'.encode(), 3128))):
                word = outcome(work)
                t.among(what, word, ('400', '403', '421'))


@row('E8', 'with "default": "allow" they are refused too')
def literals_by_default(t):
    _, a = t.box([], 'allow')
    with t.silence('literals'):
        for x in LITERALS[:78] + ['[::1]', '[fd77::1]', '93.184.216.34']:
            t.among(f'Host {x}', outcome(lambda: a.http(get(host=x))), ('400', '403'))
    t.same('a name passes', outcome(lambda: a.http(get(host='evil.example.net'))), '200')


@row('E8', 'the exact literal may be allowed; what is embedded in it is judged as the IPv4 address')
def exact_literal(t):
    _, a = t.box([{'name': 'one', 'allow': [API, '2606:2800:220:1::34'], 'schemes': ['http', 'https']}])
    mark = t.world.mark()
    t.same('it passes', outcome(lambda: a.http(get(host=API))), '200')
    t.same('v6 too', outcome(lambda: a.http(get(host='[2606:2800:220:1::34]'))), '200')
    t.same('in another canonical text', outcome(lambda: a.http(get(host='[2606:2800:0220:0001:0:0:0:34]'))), '200')
    t.same('to these', [w.address for w in t.world.seen(mark)], [API, '2606:2800:220:1::34', '2606:2800:220:1::34'])
    with t.silence('other spellings'):
        for x in spellings(API)[1:]:
            if x != API + '.':
                t.among(x, outcome(lambda: a.http(get(host=x))), ('400', '403'))
        t.same('another', outcome(lambda: a.http(get(host=EVIL))), '403')
    inner = {'metadata': METADATA, 'metadata, mapped': '::ffff:169.254.169.254', 'metadata, NAT64': '64:ff9b::a9fe:a9fe', 'metadata, 6to4': '2002:a9fe:a9fe::1', 'internal': INTERNAL, 'loopback': '127.0.0.1',
             'loopback 6': '::1', 'internal, mapped': '::ffff:10.0.0.5', 'internal, compatible': '::10.0.0.5'}
    for what, x in inner.items():
        _, b = t.box([{'name': 'x', 'allow': [x], 'schemes': ['http']}])
        with t.silence(what):
            word = outcome(lambda: b.http(get(host=f'[{x}]' if ':' in x else x)))
            t.among(f'{what} allowed by a rule without "private"', word, ('403', '400', '502'))
    _, b = t.box([{'name': 'x', 'allow': [METADATA], 'schemes': ['http'], 'private': True}])
    with t.silence('metadata and private'):
        t.among('metadata, though private', outcome(lambda: b.http(get(host=METADATA))), ('403', '400', '502'))


@row('E8', '"private": true reaches private addresses, and those only by the rule\'s name')
def private(t):
    _, a = t.box([{'name': 'in', 'allow': ['internal.example.com'], 'schemes': ['http'], 'private': True}, {'name': 'pub', 'allow': ['*.example.com'], 'schemes': ['http']}])
    t.same('internal', outcome(lambda: a.http(get(host='internal.example.com'))), '200')
    with t.silence('others', names=False):
        for name in ('loop.example.com', 'host.example.com', 'meta.example.com'):
            t.among(name, outcome(lambda: a.http(get(host=name))), ('403', '502'))


@row('E10', 'wildcards: strict subdomains at label borders; deny wins; more than one credential is refused')
def wildcards(t):
    for n in ('x.wild.example.com', 'y.x.wild.example.com', 'wild.example.com', 'notwild.example.com', 'wild.example.com.evil.example.net', 'x.co.uk', 'example.net'):
        t.world.names.put(n, API)
    _, a = t.box([{'name': 'w', 'allow': ['*.wild.example.com'], 'schemes': ['http']}, {'name': 'd', 'deny': ['no.wild.example.com', '*.deep.wild.example.com']}])
    table = {'x.wild.example.com': '200', 'y.x.wild.example.com': '200', 'X.WILD.EXAMPLE.COM': '200', 'wild.example.com': '403', 'notwild.example.com': '403', 'x.notwild.example.com': '403', 'no.wild.example.com': '403',
             'wild.example.com.evil.example.net': '403', 'a.deep.wild.example.com': '403', 'NO.wild.example.com': '403', 'x.wild.example.com.evil.example.net': '403'}
    for host, want in table.items():
        t.same(host, outcome(lambda: a.http(get(host=host))), want)
    name, _ = t.box()
    from bare import Refused
    for pattern in ('*.com', '*.uk', 'ex*.com', '*example.com', 'a.*.example.com', '**', '*.*', '*.', '.example.com', 'example.com*', 'https://example.com', 'example.com/x', 'example.com:443', '', 'a b.com', '127.1', '2130706433', '*.1.2.3',
                    '[::1', '*.example.com.*', 'exämple.com', '%65xample.com'):
        try:
            t.egress.rules(name, [{'allow': [pattern]}])
            t.true(f'pattern {pattern!r} is refused', False, 'taken')
        except Refused as e:
            t.true(f'pattern {pattern!r}', len(str(e)) > 10)
    one, two = t.secret('one'), t.secret('two')
    _, b = t.box([{'name': 'r1', 'allow': ['api.example.com'], 'inject': [{'bearer': 'one'}]}, {'name': 'r2', 'allow': ['*.example.com'], 'inject': [{'header': 'x-api-key', 'secret': 'two'}]}])
    with t.silence('two credentials'):
        t.same('two rules with credentials match', outcome(lambda: b.https(get())), '403')


@row('E10', 'an address that is denied is denied under every name; what is open to it ends')
def denied_addresses(t):
    from rows_live import ended
    from wire import read_reply
    t.world.names.put('both.example.com', FILES, API)
    for what, rules in (('by default', [{'deny': [FILES, V6]}]), ('a star', [{'deny': [FILES, V6]}, *WIDE]), ('the name itself', [{'allow': ['*.example.com', 'files.example.com'], 'schemes': ['https', 'http']}, {'deny': [FILES, V6]}])):
        name, a = t.box([])
        t.egress.ask('rules_put', box=name, doc={'default': 'allow' if what == 'by default' else 'deny', 'rules': rules})
        mark = t.world.mark()
        for n in ('files.example.com', 'pkg.example.com', 'six.example.com'):
            t.among(f'{what}: {n}', outcome(lambda: a.http(get(host=n))), ('403', '502'))
            t.true(f'{what}: {n} by TLS', outcome(lambda: a.https(get(host=n), n)) != '200')
        t.same(f'{what}: others', outcome(lambda: a.http(get())), '200')
        t.same(f'{what}: of two addresses the other', outcome(lambda: a.http(get(host='both.example.com'))), '200')
        t.same(f'{what}: dialled', {w.address for w in t.world.seen(mark)}, {API})
    name, a = t.box([{'deny': [FILES], 'ports': [8443]}, *WIDE])
    t.same('a deny for another port', outcome(lambda: a.http(get(host='files.example.com'))), '200')
    with a.tls('files.example.com') as tunnel, a.plain(80) as kept, a.plain(80) as other:
        for s, host in ((tunnel, 'files.example.com'), (kept, 'pkg.example.com'), (other, 'api.example.com')):
            s.sendall(get(host=host))
            t.same('open', read_reply(s).status, 200)
        t.egress.rules(name, [{'deny': [FILES]}, *WIDE])
        t.true('a tunnel to it ends', ended(tunnel))
        mark = t.world.mark()
        kept.sendall(get('/late', 'pkg.example.com'))
        t.among('a kept connection is not used again', outcome(lambda: read_reply(kept)), ('403', '502'))
        t.true('nothing was sent', not any(b'/late' in w.data for w in t.world.seen(0)))
        other.sendall(get())
        t.same('others go on', read_reply(other).status, 200)


@row('E11', 'DNS rebinding, mixed answers, CNAME into the inside, no lifetime: what was checked is what is dialled')
def rebinding(t):
    names = t.world.names
    names.put('rebind.example.com', lambda count, kind: ([API] if count == 1 else [INTERNAL]) if kind == 1 else [], ttl=0)
    names.put('second.example.com', lambda count, kind: ([INTERNAL] if count == 1 else [API]) if kind == 1 else [], ttl=0)
    names.put('mixed.example.com', INTERNAL, METADATA, '127.0.0.1', '::1', 'fd77::1', API, '64:ff9b::a00:5')
    names.put('alias.example.com', ('cname', 'internal.example.com'))
    names.put('good-alias.example.com', ('cname', 'api.example.com'))
    names.put('self.example.com', '198.18.0.1', '2001:2::1')
    names.put('zero.example.com', '0.0.0.0', '::')
    names.put('mapped.example.com', '::ffff:10.0.0.5', '::10.0.0.5', '64:ff9b::a9fe:a9fe', '2002:a00:5::1')
    names.put('multi.example.com', '224.0.0.251', '255.255.255.255')
    _, a = t.box(WIDE)
    mark, canary = t.world.mark(), len(t.world.canary)
    with a.plain(80) as s:
        from wire import read_reply
        for i in range(3):
            s.sendall(get(f'/{i}', 'rebind.example.com'))
            t.same(f'request {i} on one connection', read_reply(s).status, 200)
    t.same('resolved once for a connection', len([q for q in names.asked('rebind.example.com') if q[2] == 1]), 1)
    t.among('a new connection: the new answer is refused', outcome(lambda: a.http(get(host='rebind.example.com'))), ('403', '502', '200'))
    t.among('refused first', outcome(lambda: a.http(get(host='second.example.com'))), ('403', '502'))
    for i in range(5):
        t.same('of a mixed set the public one', outcome(lambda: a.http(get(f'/{i}', 'mixed.example.com'))), '200')
    t.same('a public alias', outcome(lambda: a.http(get(host='good-alias.example.com'))), '200')
    for n in ('alias', 'self', 'zero', 'mapped', 'multi', 'internal', 'meta', 'loop', 'host'):
        t.among(n, outcome(lambda: a.http(get(host=n + '.example.com'))), ('403', '502'))
        t.true(n + ' by TLS', outcome(lambda: a.https(get(host=n + '.example.com'), n + '.example.com')) != '200')
    t.same('only public addresses were dialled', {w.address for w in t.world.seen(mark)}, {API})
    t.same('no inner service was reached', t.world.canary[canary:], [])


@row('E13', 'the API, egress itself and other sandboxes are not reached through it; no loops')
def ourselves(t):
    reached = []
    api = t.world.listen(HOST, 8421, script=lambda w: reached.append(w.id), ns=t.world.host)
    t.egress.own, was = f'{HOST}:8421 127.0.0.1:8421', t.egress.own
    t.egress.again()
    try:
        rules = [{'name': 'in', 'allow': ['*', HOST, '127.0.0.1', '198.18.0.1'], 'schemes': ['http', 'https'], 'ports': [80, 443, 3128, 8080, 8421], 'private': True}]
        _, a = t.box(rules)
        t.box(WIDE)
        for host in ('host.example.com:8421', 'loop.example.com:8421', f'{HOST}:8421', '127.0.0.1:8421'):
            t.among(f'{host} by proxy', outcome(lambda: a.http(f'GET http://{host}/v1/sandbox HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode(), 3128)), ('403', '502'))
            t.true(f'{host} by CONNECT', refused(outcome(lambda: a.tls('host.example.com', a.connect(host), a.lax))))
        t.same('nobody came', reached, [])
        t.same('"private" reaches another service of the host', outcome(lambda: a.http(f'GET http://host.example.com:8080/ HTTP/1.1\r\nHost: host.example.com:8080\r\n\r\n'.encode(), 3128)), '200')
        t.world.names.put('pool.example.com', '198.18.0.1')
        for host in ('pool.example.com', '198.18.0.1', 'pool.example.com:3128'):
            with t.silence(host, names=False):
                t.among(f'{host}: the proxy through the proxy', outcome(lambda: a.http(f'GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode(), 3128)), ('403', '502', '508'))
    finally:
        t.egress.own = was
        t.egress.again()
        api.close()
