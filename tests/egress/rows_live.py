"""E43 to E50: changes while it runs, several writers and crashes, several sandboxes, and what the world learns of the host."""
import json, os, random, re, socket, ssl, threading, time
from trial import row
from bare import Refused
from wire import Ended, get, outcome, read_reply, receive
from rows_upstream import UPGRADE, frame

API = {'name': 'api', 'allow': ['api.example.com'], 'schemes': ['https', 'http'], 'websocket': True, 'intercept': True}
TUNNEL = {'name': 'files', 'allow': ['files.example.com']}


def ended(s, seconds=4):
    s.settimeout(seconds)
    try:
        while True:
            receive(s)
    except Ended as e:
        return e.text != 'timeout'


@row('E43', 'a host that is taken away: new requests at once, open keep-alive, tunnels, WebSockets and long polls within a second')
def live_change(t):
    name, a = t.box([API, TUNNEL])
    _, b = t.box([API, TUNNEL])
    kept, cut, others = [], [], []
    count = 25
    mark = t.world.mark()
    for i in range(count):
        s = a.tls()
        s.sendall(get(f'/k{i}'))
        t.same('keep-alive', read_reply(s).status, 200)
        kept.append(s)
        s = a.tls('files.example.com')
        s.sendall(get(f'/t{i}', 'files.example.com'))
        t.same('tunnel', read_reply(s).status, 200)
        cut.append(s)
        s = a.tls()
        s.sendall(get('/ws', headers=UPGRADE))
        t.same('WebSocket', read_reply(s).status, 101)
        cut.append(s)
        s = a.plain(80)
        s.sendall(get('/hold'))
        t.true('long poll', receive(s).startswith(b'HTTP/1.1 200'))
        cut.append(s)
    s = b.tls('files.example.com')
    s.sendall(get('/b', 'files.example.com'))
    read_reply(s)
    others.append(s)
    t.egress.rules(name, [])
    begun = time.monotonic()
    t.same('a new request', outcome(lambda: a.http(get())), '403')
    words = []
    for s in kept:
        def again():
            s.sendall(get('/late'))
            return read_reply(s)
        words.append(outcome(again))
    t.true('kept connections: refused or ended', set(w.split(' ')[0] for w in words) <= {'403', 'closed', 'reset', 'alert'}, set(words))
    limit = time.monotonic() + 5
    t.same('all tunnels have ended', [ended(s, max(0.02, limit - time.monotonic())) for s in cut], [True] * len(cut))
    print(f'#   {len(cut)} tunnels, WebSockets and long polls had ended {time.monotonic() - begun:.2f} s after the change was answered')
    t.true('nothing late was sent', not any(b'/late' in w.data for w in t.world.seen(mark)))
    tunnels = [w for w in t.world.seen(mark) if not w.data.startswith((b'GET /k', b'GET /b'))]      # kept ones may stay, nothing is sent on them
    t.same('the origins saw them', len(tunnels), len(cut))
    t.until('the origins see the end', lambda: all(w.ended.is_set() for w in tunnels))
    s = others[0]
    s.sendall(get('/still', 'files.example.com'))
    t.same('another sandbox\'s tunnel stands', outcome(lambda: read_reply(s)), '200')
    for s in [*kept, *cut, *others]:
        s.close()


@row('E43', 'a WebSocket or an answer whose method, path, upgrade or credential is taken away ends, though the host stays allowed')
def request_change(t):
    t.secret('ws43')
    held = {**API, 'inject': [{'bearer': 'ws43'}]}
    for what, before, after, stands in (('websocket', API, {**API, 'websocket': False}, False), ('methods', API, {**API, 'methods': ['POST']}, False), ('paths', API, {**API, 'paths': ['/x']}, False),
                                        ('credential', held, API, False), ('limits', API, {**API, 'limits': {'bytes_per_second': 1000000}}, True)):
        name, a = t.box([before])
        with a.tls() as s:
            s.sendall(get('/ws', headers=UPGRADE))
            t.same(f'{what}: opened', read_reply(s).status, 101)
            t.egress.rules(name, [after])
            t.same(f'{what}: ended', ended(s, 0.2 if stands else 4), not stands)
    name, a = t.box([API])
    with a.plain(80) as s:
        s.sendall(get('/hold'))
        t.true('an answer that goes on', receive(s).startswith(b'HTTP/1.1 200'))
        t.egress.rules(name, [{**API, 'paths': ['/x']}])
        t.true('it is cut', ended(s))


@row('E43', 'tunnels that the new rules allow as before stand')
def harmless_change(t):
    name, a = t.box([TUNNEL])
    with a.tls('files.example.com') as s:
        for i in range(5):
            s.sendall(get(f'/{i}', 'files.example.com'))
            t.same('it goes on', outcome(lambda: read_reply(s)), '200')
            t.egress.rules(name, [TUNNEL, {'name': f'new{i}', 'allow': [f'n{i}.example.com']}])
    with a.tls('files.example.com') as s:
        t.egress.rules(name, [{**TUNNEL, 'methods': ['GET']}])
        t.true('one that must be looked into now is ended', ended(s))


@row('E43', 'a secret that is replaced or deleted is never sent again')
def rotation(t):
    old = t.secret('rot')
    name, a = t.box([{'name': 'c', 'allow': ['api.example.com'], 'inject': [{'bearer': 'rot'}]}])
    kept = [a.tls() for _ in range(10)]
    for s in kept:
        s.sendall(get('/before'))
        t.same('before', read_reply(s).status, 200)
    new = t.canaries.new('rot')
    t.egress.ask('secret_put', name='rot', value=new)
    mark_all = t.world.mark()
    for s in kept[:5]:
        def again():
            s.sendall(get('/after'))
            return read_reply(s)
        t.among('kept', outcome(again), ('200', 'closed', 'reset'))
    t.same('new', a.https(get('/new')).status, 200)
    t.true('new with the new one', any(new.encode() in w.data for w in t.world.seen(mark_all)))
    for w in t.world.seen(0):
        d = bytes(w.data)
        at = d.find(b'GET /after')
        t.true('after the change the old one is not sent', at < 0 or old.encode() not in d[at:])
    t.egress.ask('secret_delete', name='rot')
    mark = t.world.mark()
    for s in kept[5:]:
        def third():
            s.sendall(get('/deleted'))
            return read_reply(s)
        t.among('kept, after it was deleted', outcome(third), ('403', '502', 'closed', 'reset'))
    t.among('new, after it was deleted', outcome(lambda: a.https(get('/deleted'))), ('403', '502'))
    t.true('nothing was sent', not any(b'/deleted' in w.data for w in t.world.seen(0)))
    for s in kept:
        s.close()


@row('E44', 'writers at once: compare-and-set, each answer true; kill -9 between: a whole document, not older than the last acknowledged')
def writers(t):
    name, a = t.box([API])
    won, lost, lock = [], [], threading.Lock()

    def write(k):
        for i in range(25):
            have = t.egress.ask('rules_get', box=name)['revision']
            try:
                r = t.egress.rules(name, [API, {'name': f'w{k}-{i}', 'allow': [f'w{k}-{i}.example.com']}], if_revision=have)
                with lock:
                    won.append((r['revision'], f'w{k}-{i}'))
            except Refused as e:
                with lock:
                    lost.append(e.code)
    threads = [threading.Thread(target=write, args=(k,)) for k in range(6)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    t.same('each revision was won once', len({r for r, _ in won}), len(won))
    t.same('losers are told', set(lost) - {'precondition_failed'}, set())
    t.same('all are counted', len(won) + len(lost), 150)
    end = t.egress.ask('rules_get', box=name)
    t.same('the last one is there', names_of(end)[-1], max(won)[1])
    for turn in range(12 if not t.long else 100):
        acked, stop = [], threading.Event()

        def hammer():
            i = 0
            while not stop.is_set():
                i += 1
                try:
                    r = t.egress.rules(name, [API] + [{'name': f'k{turn}-{i}-{j}', 'allow': [f'k{j}.example.com']} for j in range(20)])
                    acked.append((r['revision'], i))
                except (ConnectionError, OSError):
                    return
        x = threading.Thread(target=hammer)
        x.start()
        want = random.Random(turn).randrange(1, 12)
        t.until('writes', lambda: len(acked) >= want)
        t.egress.again()
        stop.set()
        x.join()
        got = t.egress.ask('rules_get', box=name)
        marks = {n.rsplit('-', 1)[0] for n in names_of(got)[1:]}
        t.same('a whole document', (len(marks), len(names_of(got))), (1, 21))
        which = int(marks.pop().split('-')[1]) if marks else 0
        t.true('not older than the last that was answered', which >= acked[-1][1], (which, acked[-1]))
        t.true('its revision too', got['revision'] >= acked[-1][0], (got['revision'], acked[-1]))
        t.same('and it is in force', outcome(lambda: a.https(get())), '200')


def names_of(answer):
    rules = answer.get('rules')
    rules = rules.get('rules') if isinstance(rules, dict) else rules
    return [r['name'] for r in rules]


@row('E44', 'after kill -9 and start the same rules hold; what came meanwhile waited; what was wrong is refused whole')
def restart(t):
    name, a = t.box([API])
    before = t.egress.ask('rules_get', box=name)
    t.egress.kill()
    waiting = a.plain(80)
    waiting.sendall(get('/waited'))
    denied = a.plain(80)
    denied.sendall(get('/waited', 'evil.example.net'))
    t.egress.start()
    t.same('who waited is served', outcome(lambda: read_reply(waiting)), '200')
    t.same('or refused', outcome(lambda: read_reply(denied)), '403')
    t.same('the same rules', t.egress.ask('rules_get', box=name), before)
    for what, doc in {'half': {'rules': [{'allow': ['x.example.com']}, {'allow': ['*.com']}]}, 'unknown': {'rulez': []}, 'unknown in a rule': {'rules': [{'allow': ['x.example.com'], 'foo': 1}]}, 'two kinds': {'rules': [{'allow': ['x.example.com'], 'deny': ['y.example.com']}]},
                      'a bad default': {'default': 'maybe', 'rules': []}, 'no list': {'rules': {}}, 'twice one name': {'rules': [{'name': 'a', 'allow': ['x.example.com']}, {'name': 'a', 'allow': ['y.example.com']}]}, 'too many': {'rules': [{'allow': ['x.example.com']}] * 300}}.items():
        try:
            t.egress.ask('rules_put', box=name, doc=doc)
            t.true(f'{what} is refused', False, 'taken')
        except Refused:
            t.same(f'{what}: nothing changed', t.egress.ask('rules_get', box=name), before)
    try:
        t.egress.ask('rules_patch', box=name, add=[{'name': 'ok', 'allow': ['x.example.com']}, {'name': 'bad', 'allow': ['*.com']}])
        t.true('half of a patch is refused', False)
    except Refused:
        t.same('a patch: nothing changed', t.egress.ask('rules_get', box=name), before)


FORGED = ['X-Forwarded-For: 10.0.0.9\r\n', 'Forwarded: for=10.0.0.9;by=b1\r\n', 'X-Sandbox-Id: {other}\r\n', 'X-Coppice-Box: {other}\r\n', 'Proxy-Authorization: Basic {b64}\r\n', 'X-Real-IP: 127.0.0.1\r\n', 'Via: 1.1 {other}\r\n', 'Cookie: box={other}\r\n', 'Authorization: Bearer {other}\r\n']


@row('E46', 'who asks is the listener: nothing in a request makes it another sandbox\'s')
def identity(t):
    import base64
    one, two = t.secret('one46'), t.secret('two46')
    n1, a = t.box([{'name': 'a', 'allow': ['api.example.com'], 'inject': [{'bearer': 'one46'}]}])
    n2, b = t.box([{'name': 'b', 'allow': ['www.example.com'], 'inject': [{'bearer': 'two46'}]}])
    with t.silence('forged'):
        for line in FORGED:
            line = line.format(other=n2, b64=base64.b64encode(f'{n2}:x'.encode()).decode())
            t.same(f'{line.strip()}', outcome(lambda: a.http(b'CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com:443\r\n' + line.encode() + b'\r\n', 3128, 'CONNECT')), '403')
        for address in ('10.77.0.1', '127.0.0.1', '198.18.0.1', '198.18.0.2', '::1', '10.0.0.1'):
            t.same(f'by {address}', outcome(lambda: a.ask(a.ns.connect(address, 3128), b'CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com:443\r\n\r\n', 'CONNECT')), '403')
        s = a.ns.open()
        s.settimeout(5)
        s.bind(('10.9.9.9', 0))
        s.connect(('198.18.0.1', 3128))
        t.same('from another address', outcome(lambda: a.ask(s, b'CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com:443\r\n\r\n', 'CONNECT')), '403')
    mark = t.world.mark()
    a.https(get()), b.https(get(host='www.example.com'), 'www.example.com')
    for w in t.world.seen(mark):
        mine, other = (one, two) if w.sni == 'api.example.com' else (two, one)
        t.true(f'{w.sni} got its own', mine.encode() in w.data and other.encode() not in w.data)
    events = t.egress.events(n1)
    t.true('the log names the sandbox', events and all(e['box'] == n1 for e in events), events[:1])
    t.true('and not the other', not any(e['box'] == n1 for e in t.egress.events(n2)))


@row('E47', 'upstream connections and TLS sessions are never shared')
def sharing(t):
    boxes = [t.box([{'name': 'api', 'allow': ['api.example.com'], 'intercept': True}])[1] for _ in range(3)]
    mark, by_wire = t.world.mark(), {}
    for turn in range(4):
        for i, a in enumerate(boxes):
            with a.tls() as s:
                for j in range(2):
                    s.sendall(get(f'/box{i}'))
                    d = json.loads(read_reply(s).body)
                    by_wire.setdefault(d['wire'], set()).add(i)
    t.true('each upstream connection has one sandbox', all(len(x) == 1 for x in by_wire.values()), by_wire)
    t.same('one for each client connection', len(by_wire), 12)
    wires = [w for w in t.world.seen(mark) if w.data]
    t.same('no TLS session is taken up again', [w.id for w in wires if w.reused], [])
    t.same('each has a session of its own', len({w.session for w in wires if w.session}), len([w for w in wires if w.session]))


@row('E50', 'nothing of the host or the proxy is told to the world, nor in errors to the sandbox')
def metadata(t):
    _, a = t.box([{'name': 'api', 'allow': ['api.example.com'], 'schemes': ['https', 'http'], 'intercept': True}, {'name': 'dead', 'allow': ['dead.example.com', 'nosuch.example.com', 'internal.example.com'], 'schemes': ['https', 'http'], 'intercept': True}])
    t.world.names.put('dead.example.com', '93.184.216.119')
    for what, work in (('443', lambda: a.https(get(headers='User-Agent: x\r\nAccept: */*\r\n'))), ('80', lambda: a.http(get(headers='User-Agent: x\r\nAccept: */*\r\n'))), ('CONNECT', lambda: a.via_connect(get(headers='User-Agent: x\r\nAccept: */*\r\n')))):
        mark = t.world.mark()
        r = work()
        data = bytes([w for w in t.world.seen(mark) if w.data][0].data).decode('latin-1')
        names = {l.split(':')[0].lower() for l in data.split('\r\n')[1:] if ':' in l}
        t.true(f'{what}: headers as they were', names <= {'host', 'user-agent', 'accept', 'connection'}, names)
        t.true(f'{what}: answer headers as they were', {n.lower() for n, _ in r.headers} <= {'content-length', 'content-type', 'connection', 'date'}, r.headers)
    errors = []
    for host in ('dead.example.com', 'nosuch.example.com', 'internal.example.com', 'evil.example.net'):
        for work in (lambda: a.http(get(host=host)), lambda: a.https(get(host=host), host), lambda: a.http(f'CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n'.encode(), 3128, 'CONNECT')):
            try:
                r = work()
                if r.status != 200:
                    errors.append((host, r))
            except (Ended, ssl.SSLError, OSError):
                t.checks += 1
    t.true('there were errors', len(errors) >= 4, len(errors))
    for host, r in errors:
        text = r.body.decode('latin-1') + repr(r.headers)
        t.true(f'{host}: no address, path or program', not re.search(r'93\.184|10\.77|10\.0\.0|/tmp|/work|\bopenssl\b|errno|0x[0-9a-f]{6}|sandbox/egress|127\.0\.0', text, re.I), text)
        t.true(f'{host}: no Via, Server or such', not {n.lower() for n, _ in r.headers} & {'via', 'server', 'x-forwarded-for', 'x-powered-by', 'forwarded'}, r.headers)


@row('A25', 'errors to the operator: fixed codes, no paths, addresses or secrets')
def operator_errors(t):
    value = t.canaries.new('a25')
    name, _ = t.box()
    for op, more in (('rules_put', {'box': name, 'doc': {'rules': [{'allow': ['x.example.com'], 'inject': [{'bearer': value}]}]}}), ('rules_put', {'box': name, 'doc': []}), ('rules_put', {'box': '../../etc', 'doc': {'rules': []}}), ('secret_put', {'name': '../x', 'value': value}),
                     ('secret_put', {'name': 'x', 'value': value + '\n'}), ('secret_delete', {'name': 'nosuch'}), ('nosuch', {}), ('rules_get', {}), ('log', {'box': 'nosuch', 'since': 'x', 'follow': False}), ('box', {'box': '/', 'name': 'x', 'labels': {}}), ('fork', {'from': 'nosuch', 'to': 7})):
        try:
            t.egress.ask(op, **more)
            t.true(f'{op} {more}', op in ('rules_put', 'log') and more.get('box') in (name, 'nosuch'), 'taken')
        except Refused as e:
            t.true(f'{op}: a code', bool(e.code), e.error)
            if op != 'rules_put':
                t.true(f'{op}: not the value', value not in str(e), str(e))
            t.true(f'{op}: no path', '/tmp' not in str(e) and 'errno' not in str(e).lower(), str(e))
    t.egress.ask('rules_put', box=name, doc={'default': 'deny', 'rules': []})
