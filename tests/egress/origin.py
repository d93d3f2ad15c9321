"""Origins of the world: they record each connection (name asked for, TLS session, every byte that came) and answer by path, or by a script of raw bytes."""
import base64, hashlib, itertools, json, socket, ssl, threading, urllib.parse

RECORD_MAX = 8 << 20
PIECE = bytes(range(256)) * 1024


class Wire:
    """A connection as an origin sees it. `data`: what came, up to RECORD_MAX; tls: the bytes within TLS."""
    count = itertools.count(1)

    def __init__(self, sock, listener):
        self.id, self.sock, self.address, self.port = next(self.count), sock, listener.address, listener.port
        self.tls, self.sni, self.session, self.reused, self.alpn = False, None, None, False, None
        self.method, self.data, self.total, self.rest, self.fault, self.ended = None, bytearray(), 0, b'', None, threading.Event()

    def recv(self, n=65536):
        if self.rest:
            out, self.rest = self.rest[:n], self.rest[n:]
            return out
        return self.fresh(n)

    def fresh(self, n=65536):
        d = self.sock.recv(n)
        self.total += len(d)
        self.data += d[:max(0, RECORD_MAX - len(self.data))]
        return d

    def until(self, mark):
        """Bytes up to and with mark; b'' at the end."""
        have = self.rest
        while mark not in have:
            d = self.fresh()
            if not d:
                self.rest = b''
                return b''
            have += d
        at = have.index(mark) + len(mark)
        self.rest = have[at:]
        return have[:at]

    def exactly(self, n):
        have = b''
        while len(have) < n:
            d = self.recv(min(n - len(have), 1 << 20))
            if not d:
                raise ConnectionError('ended within a body')
            have += d
        return have

    def send(self, data):
        self.sock.sendall(data)


class Request:
    def __init__(self, wire, head):
        lines = head.decode('latin-1').split('\r\n')
        self.line = lines[0]
        self.method, self.target, _ = (lines[0].split(' ', 2) + ['', ''])[:3]
        self.headers = [tuple(p.strip() for p in l.split(':', 1)) for l in lines[1:] if ':' in l]
        url = urllib.parse.urlsplit(self.target)
        self.path, self.query = url.path, dict(urllib.parse.parse_qsl(url.query))
        if self.get('expect'):
            wire.send(b'HTTP/1.1 100 Continue\r\n\r\n')
        if 'chunked' in (self.get('transfer-encoding') or ''):
            self.body = b''
            while n := int(wire.until(b'\r\n').split(b';')[0] or b'0', 16):
                self.body += wire.exactly(n)
                wire.until(b'\r\n')
            while wire.until(b'\r\n') not in (b'\r\n', b''):
                pass
        else:
            self.body = wire.exactly(int(self.get('content-length') or 0))

    def get(self, name):
        return next((v for n, v in self.headers if n.lower() == name), None)


def answer(wire, body=b'', status='200 OK', headers=(), close=False):
    head = f'HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n' + ''.join(f'{n}: {v}\r\n' for n, v in headers) + ('Connection: close\r\n' if close else '') + '\r\n'
    wire.send(head.encode('latin-1') + (b'' if wire.method == 'HEAD' else body))


def echo(wire, request):
    d = {'wire': wire.id, 'address': wire.address, 'port': wire.port, 'tls': wire.tls, 'sni': wire.sni, 'line': request.line, 'headers': request.headers, 'body': base64.b64encode(request.body).decode()}
    answer(wire, json.dumps(d).encode(), headers=[('Content-Type', 'application/json')])


def big(wire, request):
    n = int(request.query.get('n', 1 << 20))
    wire.send(f'HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n'.encode())
    while n:
        wire.send(PIECE[:n])
        n -= min(n, len(PIECE))


def hold(wire, request):
    """A long poll: the head and one byte, then nothing until the other side goes."""
    wire.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx')
    while wire.recv():
        pass


def web_socket(wire, request):
    accept = base64.b64encode(hashlib.sha1((request.get('sec-websocket-key') or '').encode() + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest()).decode()
    wire.send(f'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n'.encode())
    while d := wire.recv():
        if d[0] & 0x80 and d[1] & 0x80 and d[1] & 0x7f < 126:       # a short frame: the same, without a mask
            n, mask = d[1] & 0x7f, d[2:6]
            d = bytes([d[0], n]) + bytes(b ^ mask[i % 4] for i, b in enumerate(d[6:6 + n]))
        wire.send(d)


def serve(wire, paths):
    while True:
        head = wire.until(b'\r\n\r\n')
        if not head:
            return
        request = Request(wire, head)
        wire.method = request.method
        handler = next((h for p, h in paths.items() if request.path == p or p.endswith('*') and request.path.startswith(p[:-1])), echo)
        if handler(wire, request) is False:
            return


class Listener:
    """script(wire), or None: HTTP by `paths` (path, or 'prefix*' -> function(wire, request); False ends the connection)."""

    def __init__(self, world, address, port, context=None, script=None):
        self.world, self.address, self.port, self.context, self.script = world, address, port, context, script
        self.ns = world.ns
        self.sock = world.ns.listen(address, port)
        threading.Thread(target=self.loop, daemon=True).start()

    def loop(self):
        while True:
            try:
                sock, peer = self.sock.accept()
            except OSError:
                return
            if peer[:2] in self.world.sentinels:       # of World.settle()
                self.world.sentinels.discard(peer[:2])
                self.world.settled.put(peer)
                sock.close()
                continue
            wire = Wire(sock, self)
            with self.world.lock:
                self.world.wires.append(wire)
            threading.Thread(target=self.one, args=(wire, sock), daemon=True).start()

    def one(self, wire, sock):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                sock.settimeout(20)
                self.shake(wire)
                wire.sock.settimeout(None)
            (self.script or (lambda w: serve(w, self.world.paths)))(wire)
        except (OSError, ConnectionError, ValueError) as e:
            wire.fault = f'{type(e).__name__}: {e}'
        finally:
            wire.ended.set()
            try:
                wire.sock.close()
            except OSError:
                pass

    def shake(self, wire):
        wire.sock = self.context.wrap_socket(wire.sock, server_side=True)
        wire.tls, wire.sni = True, getattr(wire.sock, 'asked', None)
        wire.session = wire.sock.session.id if wire.sock.session else None
        wire.reused, wire.alpn = bool(wire.sock.session_reused), wire.sock.selected_alpn_protocol()

    def close(self):
        if self in self.world.listeners:
            self.world.listeners.remove(self)
        self.sock.close()


def tls_context(certificate, alpn=('http/1.1',), low=ssl.TLSVersion.TLSv1_2, high=ssl.TLSVersion.TLSv1_3, ciphers=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if ciphers:
        c.set_ciphers(ciphers)
    c.minimum_version, c.maximum_version = low, high
    c.load_cert_chain(certificate)
    if alpn:
        c.set_alpn_protocols(list(alpn))

    def asked(sock, name, context):
        sock.asked = name
    c.sni_callback = asked
    return c
