"""Run within a real sandbox, beside wire.py: attacks on its egress, as whoever runs this. Prints JSON {what: how it ended}. Nothing of it may reach the world but what begins with "control"."""
import glob, json, os, socket, struct, sys
from wire import Attacker, client_hello, get, outcome, refused, sni_extension

ALLOWED, OTHER = 'www.example.com', sys.argv[1]        # OTHER: a host that another sandbox may reach, this one not


class Here:
    @staticmethod
    def open(family=socket.AF_INET, kind=socket.SOCK_STREAM):
        return socket.socket(family, kind)

    @staticmethod
    def connect(address, port, timeout=10):
        return socket.create_connection((address, port), timeout)


a = Attacker(Here, open('/dev/ca-bundle.pem').read())
proxy = lambda target, host=None: a.http(f'CONNECT {target} HTTP/1.1\r\nHost: {host or target}\r\n\r\n'.encode(), 3128, 'CONNECT')
absolute = lambda url, host: a.http(f'GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode(), 3128)
ATTACKS = {'Host is not SNI': lambda: a.https(get(host=OTHER), ALLOWED), 'SNI is not allowed': lambda: a.https(get(host=OTHER), OTHER), 'CONNECT is not SNI': lambda: a.tls(OTHER, a.connect(ALLOWED + ':443')),
           'no SNI': lambda: a.hello(client_hello()), 'h2 only': lambda: a.hello(client_hello(sni_extension(ALLOWED.encode()), alpn=(b'h2',))), 'Host': lambda: a.http(get(host=OTHER)), 'two Hosts': lambda: a.http(f'GET / HTTP/1.1\r\nHost: {ALLOWED}\r\nHost: {OTHER}\r\n\r\n'.encode()),
           'user name': lambda: a.http(get(host=f'{ALLOWED}@{OTHER}')), 'absolute': lambda: absolute(f'http://{OTHER}/', ALLOWED), 'TRACE': lambda: a.https(get(host=ALLOWED, method='TRACE'), ALLOWED), 'CL and TE': lambda: a.http(f'POST / HTTP/1.1\r\nHost: {ALLOWED}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'.encode()),
           **{f'CONNECT {t}': (lambda t=t: proxy(t)) for t in (f'{ALLOWED}:22', f'{ALLOWED}:25', '169.254.169.254:443', '10.0.0.5:443', '10.77.0.1:443', '127.0.0.1:443', '[::1]:443', '[::ffff:10.0.0.5]:443', f'{OTHER}:443', 'localhost:443', 'host.example.com:443')},
           **{f'http://{t}/': (lambda t=t: a.http(get(host=t))) for t in ('169.254.169.254', '10.0.0.5', '10.77.0.1', '127.0.0.1', '2130706433', '0x7f000001', '127.1', '[64:ff9b::a00:5]', 'internal.example.com', 'meta.example.com')},
           **{f'forged {h}': (lambda h=h: a.http(f'CONNECT {OTHER}:443 HTTP/1.1\r\nHost: {OTHER}:443\r\n{h}\r\n\r\n'.encode(), 3128, 'CONNECT')) for h in ('X-Forwarded-For: 10.0.0.1', 'Proxy-Authorization: Basic b3RoZXI6eA==', 'X-Sandbox: other')}}


def sockets_of_others():
    """Sockets, descriptors and files through which one might reach egress, the API or another sandbox otherwise."""
    out = []
    for path in ('/dev/shm', '/run', '/tmp', '/var/run', '/workspace', '/'):
        for p in glob.glob(path + '/*.sock') + glob.glob(path + '/*/*.sock'):
            out.append(p)
    with open('/proc/net/unix') as f:
        for name in [l.split()[-1] for l in f.read().split('\n')[1:] if len(l.split()) > 7]:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
                s = socket.socket(socket.AF_UNIX, kind)
                try:
                    s.connect(name.replace('@', '\0', 1))
                    out.append(f'{name} takes connections')
                except OSError:
                    pass
                s.close()
    for fd in os.listdir('/proc/self/fd'):
        try:
            out += [os.readlink(f'/proc/self/fd/{fd}')] if 'socket' in os.readlink(f'/proc/self/fd/{fd}') else []
        except OSError:
            pass
    return out


def bind_doors():
    """A listener of ours in place of egress's."""
    got = []
    for port in (80, 443, 3128, 53):
        for address in ('0.0.0.0', '127.0.0.1', '198.18.0.1'):
            for reuse in (False, True):
                s = socket.socket()
                try:
                    if reuse:
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    s.bind((address, port))
                    s.listen()
                    got.append((address, port))
                except OSError:
                    pass
                s.close()
    return got


def raw_sockets():
    got = []
    for family, kind, protocol in ((socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET, socket.SOCK_RAW, 255), (socket.AF_PACKET, socket.SOCK_RAW, 0x300), (socket.AF_INET, socket.SOCK_DGRAM, 1), (40, socket.SOCK_STREAM, 0), (socket.AF_NETLINK, socket.SOCK_RAW, 0), (socket.AF_INET6, socket.SOCK_RAW, 58)):
        try:
            socket.socket(family, kind, protocol).close()
            got.append((int(family), int(kind), protocol))
        except OSError:
            pass
    return got


print(json.dumps({'control': outcome(lambda: a.https(get('/word', ALLOWED), ALLOWED)), 'attacks': {what: outcome(work) for what, work in ATTACKS.items()}, 'sockets': sockets_of_others(), 'bound': bind_doors(), 'raw': raw_sockets()}))
