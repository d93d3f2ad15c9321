"""E37 to E41: floods, slowness, bombs, and the CA's key."""
import gzip, socket, ssl, threading, time
from trial import row
from wire import Ended, client_hello, crowd, get, outcome, read_reply, receive, sni_extension

RULES = [{'name': 'api', 'allow': ['api.example.com', '*.wild.example.com'], 'schemes': ['https', 'http'], 'intercept': True}]


@row('E37', 'leaves are minted after the verdict only; a flood of names costs bounded memory and others are served')
def minting(t):
    _, a = t.box(RULES)
    _, b = t.box(RULES)
    with t.silence('denied names'):              # who asks is told why within TLS; who asks for many gets alerts
        begun = time.monotonic()
        words = [outcome(lambda: a.hello(client_hello(sni_extension(b'n%d.evil.example.net' % i)))) for i in range(400)]
        t.true('denied names: few certificates', words.count('hello') <= 100 + 10 * (time.monotonic() - begun) + 5 and 'alert' in words, (words.count('hello'), set(words)))
    count = 20000 if t.long else 600
    before, words = t.egress.memory(), []

    def some(first):
        for i in range(first, first + count // 6):
            words.append(outcome(lambda: a.hello(client_hello(sni_extension(b'n%d.wild.example.com' % i)))))
    threads = [threading.Thread(target=some, args=(k * count,)) for k in range(6)]
    for x in threads:
        x.start()
    served = [outcome(lambda: b.https(get())) for _ in range(5)]
    for x in threads:
        x.join()
    t.same('the other sandbox is served meanwhile', served, ['200'] * 5)
    t.true('each has a leaf, or is told to wait by a closed connection', set(words) <= {'hello', 'closed', 'alert', 'reset'}, set(words))
    t.true('memory', t.egress.memory() - before < 24576, f'{t.egress.memory() - before} KiB for {count} names')
    one, two = (leaf_of(x) for x in (a, b))
    t.same('one leaf key for all', one['key'], two['key'])


def leaf_of(a):
    with a.tls() as s:
        der = s.getpeercert(True)
    from certs import openssl
    pem = ssl.DER_cert_to_PEM_cert(der)
    return {'key': openssl('x509', '-noout', '-pubkey', text=pem), 'text': openssl('x509', '-noout', '-text', text=pem)}


@row('E38', 'the CA: narrow, short-lived, of this store only; its key is nowhere to be read')
def ca(t):
    import os, pathlib, tempfile
    from certs import openssl
    import bare
    _, a = t.box(RULES)
    text = openssl('x509', '-noout', '-text', text=t.egress.ca)
    t.true('pathlen 0', 'CA:TRUE, pathlen:0' in text, text)
    t.true('EKU serverAuth', 'TLS Web Server Authentication' in text and 'Client Authentication' not in text)
    leaf = leaf_of(a)
    t.true('a leaf is no CA', 'CA:TRUE' not in leaf['text'])
    t.true('a leaf is for one name', leaf['text'].count('DNS:') == 1 and 'DNS:api.example.com' in leaf['text'], leaf['text'])
    pub = openssl('x509', '-noout', '-pubkey', text=t.egress.ca)
    point = bytes.fromhex(openssl('pkey', '-pubin', '-text', '-noout', text=pub).split('pub:')[1].split('ASN1')[0].replace(':', '').replace('\n', '').replace(' ', ''))
    marks = (b'PRIVATE KEY', bytes.fromhex('3077020101 0420'.replace(' ', '')), bytes.fromhex('308187020100301306072a8648ce3d0201'), bytes.fromhex('302e020100300506032b6570'))
    for where, data in t.spread():
        t.true(f'no key in {where}', not any(m in data for m in marks))
    t.true('the files are its own only', all(p.stat().st_mode & 0o077 == 0 for p in pathlib.Path(t.egress.dir).rglob('*')), [oct(p.stat().st_mode) for p in pathlib.Path(t.egress.dir).rglob('*')][:5])
    t.same('not dumpable: /proc/PID/environ is root\'s', os.stat(f'/proc/{t.egress.process.pid}/environ').st_uid, 0)
    t.true('no core files', 'Max core file size        0 ' in open(f'/proc/{t.egress.process.pid}/limits').read() or 'Max core file size        1 ' in open(f'/proc/{t.egress.process.pid}/limits').read())
    was, ident = t.egress.ca, t.egress.ask('status')['ca']
    t.egress.again()
    t.same('the same CA after a restart', t.egress.ca, was)
    other = bare.Egress(t.egress.program, t.world.dir / 'e2' / 'egress', t.world.roots, t.world.resolver)
    try:
        t.true('another store has another CA', other.ca != t.egress.ca and other.ask('status')['ca']['sha256'] != ident['sha256'])
        box = other.box('elsewhere', RULES)
        only_ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        only_ours.load_verify_locations(cadata=t.egress.ca)
        t.true('a client of this store does not take its leaf', outcome(lambda: box.attacker.tls(context=only_ours)).startswith('certificate'))
        other.remove('elsewhere')
    finally:
        other.kill()
    wrong = None
    os.makedirs(t.world.dir / 'e3', exist_ok=True)
    import shutil
    shutil.copytree(t.egress.dir, t.world.dir / 'e3' / 'egress')
    for p in [t.world.dir / 'e3' / 'egress', *(t.world.dir / 'e3' / 'egress').rglob('*')]:
        os.chown(p, bare.EGRESS_UID, bare.EGRESS_UID)
    try:
        wrong = bare.Egress(t.egress.program, t.world.dir / 'e3' / 'egress', t.world.roots, t.world.resolver, key=bytes(32))
        t.true('a copy of the files without the key has not this CA', wrong.ca != t.egress.ca)
        wrong.kill()
    except RuntimeError:
        t.checks += 1           # it may as well refuse to start


@row('E40', 'slow and idle clients, many connections: bounded per sandbox, others are served')
def slow(t):
    _, a = t.box(RULES)
    _, b = t.box(RULES)
    count = 10000 if t.long else 1500
    before, held = t.egress.memory(), []
    kinds = (b'', b'GET / HT', b'GET / HTTP/1.1\r\nHost: api.example.com\r\nX-Slow: ', get('/', method='POST', headers='Content-Length: 100000\r\n'))
    for i in range(count):
        try:
            s = a.plain(80 if i % 3 else 443, 5)
            s.sendall(kinds[i % 4])
            held.append(s)
        except OSError:
            break
    t.true('it had connections', len(held) > 200, len(held))
    words = [outcome(lambda: b.https(get(f'/{i}'))) for i in range(20)]
    t.same('the other sandbox is served', words, ['200'] * 20)
    t.true('memory', t.egress.memory() - before < 131072, f'{t.egress.memory() - before} KiB for {len(held)}')
    for s in held:
        s.close()
    t.until('what was held is given back: served again itself', lambda: outcome(lambda: a.https(get())) == '200', 20)


@row('E40', 'deadlines end what stands still', long=True)
def deadlines(t):
    _, a = t.box(RULES)
    for what, port, data in (('no head', 80, b''), ('half a head', 80, b'GET / HTTP/1.1\r\nHost:'), ('no ClientHello', 443, b''), ('half a ClientHello', 443, client_hello(sni_extension(b'api.example.com'))[:50]), ('half a body', 80, get('/', method='POST', headers='Content-Length: 10\r\n'))):
        s = a.plain(port, 180)
        s.sendall(data)
        begun = time.monotonic()
        word = outcome(lambda: receive(s) and 'answer')
        t.true(f'{what}', word in ('closed', 'reset', 'answer'), f'{word} after {time.monotonic() - begun:.0f} s')
        print(f'#   {what}: {word} after {time.monotonic() - begun:.0f} s')


@row('E41', 'a compressed bomb passes as it is')
def bomb(t):
    value = t.secret('b41')
    small = gzip.compress(gzip.compress(bytes(1 << 24)))
    z = gzip.compress(bytes(1 << 26))
    t.world.paths['/bomb'] = lambda w, r: w.send(f'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(z)}\r\n\r\n'.encode() + z)
    _, a = t.box(RULES)
    _, b = t.box([{'name': 'c', 'allow': ['api.example.com'], 'inject': [{'bearer': 'b41'}]}])
    before = t.egress.memory()
    for who in (a, b):
        r = outcome(lambda: who.https(get('/bomb', headers='Accept-Encoding: gzip\r\n')))
        t.among('a bomb', r, ('200', '502'))
    t.true('it is not unpacked', t.egress.memory() - before < 16384, t.egress.memory() - before)
    del t.world.paths['/bomb']


@row('E40', 'nothing is left: descriptors and threads are as before')
def leaks(t):
    _, a = t.box(RULES)
    a.https(get())
    t.until('settled', lambda: t.egress.ask('status')['connections'] == 0)
    fds, threads = t.egress.descriptors(), t.egress.ask('status')['threads']
    for _ in range(3):
        crowd([lambda: a.https(get())] * 30 + [lambda: a.https(get(), 'evil.example.net')] * 10 + [lambda: a.http(b'rubbish\r\n\r\n')] * 10)
    t.until('connections end', lambda: t.egress.ask('status')['connections'] == 0)
    t.until('descriptors', lambda: t.egress.descriptors() <= fds + 8)
    t.true('threads', t.egress.ask('status')['threads'] <= threads + 64)
