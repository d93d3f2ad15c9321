"""E14 to E16, E49: nothing is asked and nothing is dialled but what a verdict allowed."""
import socket, struct
from names import encode_name
from trial import row
from wire import client_hello, get, outcome, receive, refused, sni_extension

TYPES = {'A': 1, 'NS': 2, 'CNAME': 5, 'SOA': 6, 'NULL': 10, 'PTR': 12, 'MX': 15, 'TXT': 16, 'AAAA': 28, 'SRV': 33, 'NAPTR': 35, 'OPT': 41, 'SVCB': 64, 'HTTPS': 65, 'AXFR': 252, 'ANY': 255, 'private': 65280}


def query(name, kind, ident=7, flags=0x0100):
    return struct.pack('>HHHHHH', ident, flags, 1, 0, 0, 0) + (name if isinstance(name, bytes) else encode_name(name)) + struct.pack('>HH', kind, 1)


class Dns:
    def __init__(self, attacker, address='198.18.0.53'):
        self.s = attacker.ns.open(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
        self.s.settimeout(3)
        self.s.connect((address, 53))

    def ask(self, data):
        """(rcode, [(type, ttl, data)]), or None when nothing came."""
        self.s.send(data)
        try:
            while True:
                d = self.s.recv(4096)
                if d[:2] == data[:2]:
                    return parse(d)
        except (socket.timeout, ConnectionRefusedError):
            return None


def parse(d):
    flags, questions, answers = struct.unpack('>HHH', d[2:8])
    at = 12
    for _ in range(questions):
        at = skip(d, at) + 4
    out = []
    for _ in range(answers):
        at = skip(d, at)
        kind, _, ttl, n = struct.unpack('>HHIH', d[at:at + 10])
        out.append((kind, ttl, d[at + 10:at + 10 + n]))
        at += 10 + n
    return flags & 15, out


def skip(d, at):
    while d[at]:
        if d[at] & 0xc0:
            return at + 2
        at += 1 + d[at]
    return at + 1


@row('E14', 'DNS is answered here, the same for every name; no question leaves')
def dns(t):
    _, a = t.box([{'name': 'api', 'allow': ['api.example.com'], 'schemes': ['https', 'http']}])
    with t.silence('DNS'):
        d = Dns(a)
        first = d.ask(query('api.example.com', 1))
        t.same('A', first and [(k, x) for k, _, x in first[1]], [(1, bytes([198, 18, 0, 1]))])
        for name in ('evil.example.net', 'secret-data.evil.example.net', 'a.' * 60 + 'evil.example.net', 'x' * 63 + '.' + 'y' * 63 + '.' + 'z' * 63 + '.example.net', 'no.such.name.example'):
            got = d.ask(query(name, 1))
            t.same(f'A of {name[:30]}', got and [(k, x) for k, _, x in got[1]], [(1, bytes([198, 18, 0, 1]))])
        six = d.ask(query('api.example.com', 28))
        t.true('AAAA: none, or of 2001:2::/48', six is not None and all(k == 28 and x[:6] == bytes([0x20, 1, 0, 2, 0, 0]) for k, _, x in six[1]), six)
        for what, kind in TYPES.items():
            got = d.ask(query('data.evil.example.net', kind))
            if kind not in (1, 28):
                t.true(f'{what}: no answer records', got is None or got[1] == [], got)
        for what, data in {'no question': struct.pack('>HHHHHH', 9, 0x100, 0, 0, 0, 0), 'two questions': struct.pack('>HHHHHH', 9, 0x100, 2, 0, 0, 0) + query('a.example', 1)[12:] * 2, 'short': b'\0\1\2',
                           'loop of pointers': query(b'\xc0\x0c', 1), 'pointer outside': query(b'\xc1\xff', 1), 'label without end': struct.pack('>HHHHHH', 9, 0x100, 1, 0, 0, 0) + b'\x3fabc', 'an answer': query('a.example', 1, flags=0x8180),
                           'update': query('a.example', 1, flags=0x2800), 'long name': query(b'\x3f' + b'a' * 63 + b'\x3f' + b'a' * 63 + b'\x3f' + b'a' * 63 + b'\x3f' + b'a' * 63 + b'\0', 1), 'class': query('a.example', 1)[:-2] + b'\0\3',
                           '64 KiB': query('a.example', 1) + bytes(60000)}.items():
            d.s.send(data)
        d.s.settimeout(0.3)
        try:
            while True:
                d.s.recv(4096)
        except (socket.timeout, ConnectionRefusedError):
            pass
        d.s.settimeout(3)
        t.true('it answers after rubbish', d.ask(query('api.example.com', 1, 77)) is not None)
        with a.plain(53) as s:
            q = query('tcp.evil.example.net', 1)
            s.sendall(struct.pack('>H', len(q)) + q)
            n = struct.unpack('>H', receive(s, 2))[0]
            t.same('TCP', [(k, x) for k, _, x in parse(receive(s, n))[1]], [(1, bytes([198, 18, 0, 1]))])
            big = query('x.example', 1) + bytes(65000)
            outcome(lambda: s.sendall(struct.pack('>H', len(big)) + big) or 'ok')
        with a.plain(53) as s:
            t.true('zone transfer', outcome(lambda: s.sendall(struct.pack('>H', 29) + query('example.com', 252)) or str(len(parse(receive(s)[2:])[1]))) in ('0', 'closed', 'reset'))
        for where in ('8.8.8.8', '93.184.216.53', '1.2.3.4', '2606:4700:4700::1111', '127.0.0.53'):
            t.true(f'a resolver of its own at {where} is ours', Dns(a, where).ask(query('x.evil.example.net', 1, 5)) is not None)
    asked = len(t.world.names.asked())
    t.same('an allowed request asks', a.http(get()).status, 200)
    t.true('only for its name', {q[1] for q in t.world.names.asked()[asked:]} == {'api.example.com'}, t.world.names.asked()[asked:])


@row('E14', 'a flood of questions: bounded, and DNS works for others')
def dns_flood(t):
    _, a = t.box()
    _, b = t.box()
    with t.silence('flood'):
        flood, other = Dns(a), Dns(b)
        before = t.egress.memory()
        for i in range(20000):
            try:
                flood.s.send(query(f'x{i}.evil.example.net', 16, i & 0xffff))
            except (ConnectionRefusedError, BlockingIOError):
                pass
            if i % 2000 == 0:
                t.true('the other is answered', other.ask(query('api.example.com', 1, i & 0xffff)) is not None)
        t.true('memory', t.egress.memory() - before < 16384, t.egress.memory() - before)


@row('E14', 'other ports and protocols are refused by the kernel at once')
def other_ports(t):
    _, a = t.box([], 'allow')
    with t.silence('ports'):
        for port in (22, 25, 853, 6379, 5432, 8080, 8443, 9418, 143, 993, 465, 587, 3306, 11211, 2375):
            t.same(f'TCP {port}', outcome(lambda: a.plain(port).close() or 'open'), 'refused')
        for port in (443, 123, 5353, 1900, 137, 67, 500, 4500, 5683, 853):
            s = a.ns.open(socket.AF_INET, socket.SOCK_DGRAM)
            s.settimeout(2)
            s.connect(('93.184.216.34', port))
            s.send(b'x')
            t.same(f'UDP {port}', outcome(lambda: s.recv(1) and 'answer'), 'refused')


@row('E16', 'CONNECT: only ports of the rule; the first bytes are a ClientHello, or the end')
def connect(t):
    _, a = t.box([{'name': 'api', 'allow': ['api.example.com'], 'schemes': ['https', 'http']}])
    with t.silence('CONNECT'):
        for port in (22, 25, 6379, 80, 8443, 3128, 53, 1, 65535, 5432):
            t.among(f'port {port}', outcome(lambda: a.connect(f'api.example.com:{port}')), ('403', '400'))
        for target in ('api.example.com', 'api.example.com:', ':443', '/', '*', 'http://api.example.com/', 'https://api.example.com:443', 'api.example.com:443/', 'api.example.com:443?x', '443'):
            t.among(f'target {target}', outcome(lambda: a.connect(target, 'Host: api.example.com\r\n')), ('400', '403', '421'))
        for what, data in {'HTTP': get(), 'SSH': b'SSH-2.0-OpenSSH_9.2\r\n', 'zeros': bytes(300), 'SMTP': b'EHLO x\r\n', 'TLS alert': b'\x15\3\1\0\2\2\x28', 'application data': b'\x17\3\3\0\x10' + bytes(16),
                           'SSLv2': b'\x80\x2e\1\0\2\0\x15\0\0\0\x10' + bytes(40), 'HTTP, then TLS': b'GET / HTTP/1.1\r\n\r\n' + client_hello(sni_extension(b'api.example.com')), 'HTTP/2': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
                           'a record too long': b'\x16\3\1\xff\xff' + bytes(20000), 'handshake, no ClientHello': b'\x16\3\1\0\x04\2\0\0\0'}.items():
            def after():
                s = a.connect()
                with s:
                    s.sendall(data)
                    got = receive(s)
                    return 'alert' if got[0] == 0x15 else f'bytes {got[:20]!r}'
            t.among(f'then {what}', outcome(after), ('closed', 'reset', 'alert'))
        with a.connect() as s:
            s.shutdown(socket.SHUT_WR)
            t.among('then nothing at all', outcome(lambda: receive(s) and 'bytes'), ('closed', 'reset'))
    s = a.connect()
    hello = client_hello(sni_extension(b'api.example.com'))
    for i in range(0, len(hello), 7):
        s.sendall(hello[i:i + 7])
    t.same('a ClientHello in pieces', receive(s, 1), b'\x16')
    s.close()


@row('E49', 'search domains, localhost, single labels, .local, names of the host: a name with a dot, asked absolutely')
def local_names(t):
    import pathlib
    pathlib.Path(t.world.resolver).write_text(pathlib.Path(t.world.resolver).read_text() + 'search example.com internal\noptions ndots:5\n')
    t.egress.again()
    _, a = t.box([{'name': 'wide', 'allow': ['*'], 'schemes': ['https', 'http'], 'private': True}])
    for n in ('localhost', 'api', 'printer.local', 'x.localhost', 'intranet', 'localhost.example.com'):
        t.world.names.put(n, '93.184.216.66')
    with t.silence('local names'):
        for host in ('localhost', 'LOCALHOST', 'api', 'api.', 'intranet', 'printer.local', 'x.localhost', 'localhost.', 'printer.LOCAL', open('/proc/sys/kernel/hostname').read().strip().split('.')[0]):
            t.among(host, outcome(lambda: a.http(get(host=host))), ('400', '403'))
    asked = len(t.world.names.asked())
    t.among('a name that is not there', outcome(lambda: a.http(get(host='nosuch.example.org'))), ('502', '403', '504'))
    t.same('asked absolutely, without search domains', {q[1] for q in t.world.names.asked()[asked:]}, {'nosuch.example.org'})
    import os
    hosts = pathlib.Path(t.world.dir / 'hosts')
    hosts.write_text('93.184.216.66 api.example.com\n127.0.0.1 other.example.org\n')
    from netns import bind_mount, libc
    bind_mount(str(hosts), os.path.realpath('/etc/hosts'))
    try:
        t.egress.again()
        mark = t.world.mark()
        t.same('/etc/hosts of the host says nothing', outcome(lambda: a.http(get())), '200')
        t.same('who was reached', {w.address for w in t.world.seen(mark)}, {'93.184.216.34'})
    finally:
        libc.umount2(os.path.realpath('/etc/hosts').encode(), 2)
        pathlib.Path(t.world.resolver).write_text('nameserver 93.184.216.53\noptions timeout:2 attempts:2\n')
        t.egress.again()
