"""What an attacker in a sandbox sends: raw bytes, TLS as it should be and as it should not, CONNECT; and what came of it, as a short word."""
import socket, ssl, struct, threading

SLOW = 8          # seconds until "timeout", which is never right


class Reply:
    def __init__(self, status, headers, body, rest=b''):
        self.status, self.headers, self.body, self.rest = status, headers, body, rest

    def get(self, name):
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)


class Ended(Exception):
    """The other side went before a whole answer; `text` says how."""

    def __init__(self, text):
        super().__init__(text)
        self.text = text


def receive(sock, n=65536):
    try:
        d = sock.recv(n)
    except socket.timeout:
        raise Ended('timeout')
    except ssl.SSLError as e:
        raise Ended('alert ' + (e.reason or str(e)))
    except OSError as e:
        raise Ended('reset' if isinstance(e, ConnectionResetError) else type(e).__name__)
    if not d:
        raise Ended('closed')
    return d


def read_reply(sock, method='GET', have=b''):
    """One answer, strictly framed; Reply.rest: what came after it. Informational ones are passed over (not 101)."""
    while True:
        while b'\r\n\r\n' not in have:
            have += receive(sock)
        head, have = have.split(b'\r\n\r\n', 1)
        lines = head.decode('latin-1').split('\r\n')
        status = int(lines[0].split(' ')[1])
        headers = [tuple(p.strip() for p in l.split(':', 1)) for l in lines[1:]]
        if status >= 200 or status == 101:
            break
    r = Reply(status, headers, b'')
    length = r.get('content-length')
    if method == 'HEAD' or status in (101, 204, 304) or method == 'CONNECT' and status == 200:
        r.rest = have
    elif 'chunked' in (r.get('transfer-encoding') or ''):
        while True:
            while b'\r\n' not in have:
                have += receive(sock)
            line, have = have.split(b'\r\n', 1)
            n = int(line.split(b';')[0], 16)
            while len(have) < n + 2:
                have += receive(sock)
            r.body, have = r.body + have[:n], have[n + 2:]
            if n == 0:
                break
        r.rest = have
    elif length is not None:
        parts, got = [have], len(have)
        while got < int(length):
            parts.append(receive(sock))
            got += len(parts[-1])
        have = b''.join(parts)
        r.body, r.rest = have[:int(length)], have[int(length):]
    else:
        try:
            while True:
                have += receive(sock)
        except Ended as e:
            if e.text != 'closed':
                raise
        r.body = have
    return r


def get(path='/', host='api.example.com', headers='', method='GET', body=''):
    """A request's bytes. headers: whole lines, each with its CRLF."""
    length = f'Content-Length: {len(body)}\r\n' if body else ''
    return f'{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}{headers}\r\n{body}'.encode('latin-1')


def outcome(work):
    """The status as text, or how it ended: closed, reset, refused, timeout, alert REASON."""
    try:
        r = work()
        return str(r.status) if isinstance(r, Reply) else str(r)
    except Ended as e:
        return e.text
    except ConnectionRefusedError:
        return 'refused'
    except socket.timeout:
        return 'timeout'
    except ssl.SSLCertVerificationError as e:
        return 'certificate ' + e.verify_message
    except ssl.SSLError as e:
        return 'alert ' + (e.reason or str(e))
    except (ConnectionResetError, BrokenPipeError):
        return 'reset'


def refused(word):
    """Nothing was let through: an error of the client's making, or the connection's end."""
    return word in ('closed', 'reset', 'refused', '400', '403', '405', '413', '414', '421', '431', '501', '505') or word.startswith('alert')


class Attacker:
    """A client in a sandbox's namespace. address: any, all of them are the sandbox's own."""

    def __init__(self, ns, ca, address='198.18.0.1'):
        self.ns, self.address = ns, address
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_verify_locations(cadata=ca)
        self.lax = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.lax.check_hostname, self.lax.verify_mode = False, ssl.CERT_NONE

    def plain(self, port=80, timeout=SLOW):
        return self.ns.connect(self.address, port, timeout)

    def tls(self, sni='api.example.com', sock=None, context=None, port=443):
        return (context or self.context).wrap_socket(sock or self.plain(port), server_hostname=sni)

    def connect(self, target='api.example.com:443', headers=None, version='1.1'):
        """CONNECT; the socket if it was 200, else Ended with the status."""
        s = self.plain(3128)
        s.sendall(f'CONNECT {target} HTTP/{version}\r\n{headers if headers is not None else "Host: " + target + chr(13) + chr(10)}\r\n'.encode('latin-1'))
        r = read_reply(s, 'CONNECT')
        if r.status != 200:
            s.close()
            raise Ended(str(r.status))
        return s

    def ask(self, sock, data, method='GET'):
        with sock:
            try:
                sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass                       # it may have answered and gone before it took all
            return read_reply(sock, method)

    def http(self, data, port=80, method='GET'):
        return self.ask(self.plain(port), data, method)

    def https(self, data, sni='api.example.com', method='GET'):
        return self.ask(self.tls(sni), data, method)

    def via_connect(self, data, target='api.example.com:443', sni='api.example.com', method='GET'):
        return self.ask(self.tls(sni, self.connect(target)), data, method)

    def raw(self, data, port=80, more=(), end=False):
        """All that comes back until the end. more: further bytes, each sent after something came."""
        with self.plain(port) as s:
            s.sendall(data)
            if end:
                s.shutdown(socket.SHUT_WR)
            out, more = b'', list(more)
            try:
                while True:
                    out += receive(s)
                    if more:
                        s.sendall(more.pop(0))
            except Ended as e:
                if e.text == 'timeout':
                    raise
            return out

    def hello(self, data, target=None):
        """The bytes of a ClientHello: what it is answered with: 'hello' (a certificate would be next), 'alert', 'closed'."""
        s = self.connect(target) if target else self.plain(443)
        with s:
            s.sendall(data)
            first = receive(s, 5)
            return {0x16: 'hello', 0x15: 'alert'}.get(first[0], 'garbage %r' % first)


def sni_extension(*names, kind=0, length=None):
    entries = b''.join(struct.pack('>BH', kind, len(n)) + n for n in names)
    return struct.pack('>H', len(entries) if length is None else length) + entries


def client_hello(sni=b'', alpn=(b'http/1.1',), extensions=(), versions=(0x0304, 0x0303), record=16384, legacy=0x0303):
    """A TLS ClientHello of our own making. sni: the body of the extension, b'': none. extensions: more (type, body). record: bytes of it in one record."""
    out = [(0, sni)] if sni else []
    out += [(10, b'\0\4\0\x1d\0\x17'), (13, b'\0\x08\4\3\x08\4\4\1\5\3'), (51, struct.pack('>HHH', 36, 0x1d, 32) + b'\x09' + bytes(31)), (45, b'\1\1')]
    if versions:
        out.append((43, bytes([2 * len(versions)]) + b''.join(struct.pack('>H', v) for v in versions)))
    if alpn:
        body = b''.join(bytes([len(a)]) + a for a in alpn)
        out.append((16, struct.pack('>H', len(body)) + body))
    ext = b''.join(struct.pack('>HH', k, len(b)) + b for k, b in [*out, *extensions])
    body = struct.pack('>H', legacy) + bytes(32) + b'\x20' + bytes(32) + b'\0\x0a\x13\1\x13\3\xc0\x2b\xc0\x2f\0\x9c' + b'\1\0' + struct.pack('>H', len(ext)) + ext
    hello = b'\1' + len(body).to_bytes(3, 'big') + body
    return b''.join(b'\x16\3\1' + struct.pack('>H', len(hello[i:i + record])) + hello[i:i + record] for i in range(0, len(hello), record))


def crowd(works):
    """Runs them all at once; the results in order."""
    out = [None] * len(works)

    def one(i, w):
        out[i] = outcome(w)
    threads = [threading.Thread(target=one, args=x) for x in enumerate(works)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return out
