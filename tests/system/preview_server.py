"""A server for the tests of previews, inside the sandbox: HTTP/1.1 with what is hard to pass on. Usage: preview_server.py PORT"""
import base64, hashlib, http.server, json, socketserver, sys, threading, urllib.parse

ticks = threading.Semaphore(0)
gate = threading.Event()
SIZE = 1 << 30
BLOCK = bytes(i * 167 % 256 for i in range(1 << 20))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    wbufsize = 1 << 16

    def log_message(self, *a): pass

    def handle_expect_100(self):
        self.wfile.write(b'HTTP/1.1 100 Continue\r\n\r\n')
        self.wfile.flush()
        return True

    def say(self, body, status=200, **headers):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace('_', '-'), v)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def pieces(self):
        if self.headers.get('Transfer-Encoding') == 'chunked':
            while n := int(self.rfile.readline().split(b';')[0], 16):
                while n:
                    piece = self.rfile.read(min(n, 1 << 20))
                    n -= len(piece)
                    yield piece
                self.rfile.readline()
            while (line := self.rfile.readline()) not in (b'\r\n', b''):
                self.trailers.append(line.decode().strip())
            return
        n = int(self.headers.get('Content-Length') or 0)
        while n and (piece := self.rfile.read(min(n, 1 << 20))):
            n -= len(piece)
            yield piece

    def do_PUT(self):
        path, self.trailers = self.path.split('?')[0], []
        if path == '/hold':
            gate.clear()
            gate.wait()
        total, sum_ = 0, hashlib.sha256()
        for piece in self.pieces():
            total += len(piece)
            sum_.update(piece)
        self.say(json.dumps({'size': total, 'sha256': sum_.hexdigest(), 'trailers': self.trailers}))

    def do_POST(self):
        if self.path == '/tick':
            ticks.release()
        elif self.path == '/open':
            gate.set()
        elif self.path == '/early':
            self.close_connection = True
            return self.say('too large', 413, Connection='close')
        for _ in self.pieces() if (setattr(self, 'trailers', []) or True) else ():
            pass
        self.say('ok')

    def do_HEAD(self): self.do_GET()

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        getattr(self, 'get_' + url.path.strip('/').replace('.', '_'), self.get_missing)(query)

    def get_missing(self, q): self.say('no such page', 404)
    def get_hello(self, q): self.say('hello from inside')
    def get_headers(self, q): self.say(json.dumps([[k.lower(), v] for k, v in self.headers.items()] + [['path', self.path]]))
    def get_redirect(self, q): self.say('', 302, Location='/hello')

    def get_cookie(self, q):
        more = {'Set_Cookie': f'name={q["set"]}; Path=/; Domain=localhost'} if 'set' in q else {}
        self.say(f'<!doctype html><body>{self.headers.get("Cookie", "none")}', Content_Type='text/html', **more)

    def get_file(self, q):
        first, last = (int(x) for x in self.headers.get('Range', 'bytes=0-1048575')[6:].split('-'))
        self.say(BLOCK[first:last + 1], 206 if 'Range' in self.headers else 200, **({'Content_Range': f'bytes {first}-{last}/{len(BLOCK)}'} if 'Range' in self.headers else {}))

    def get_big(self, q):
        self.send_response(200)
        self.send_header('Content-Length', str(SIZE))
        self.end_headers()
        for _ in range(SIZE // len(BLOCK)):
            self.wfile.write(BLOCK)

    def get_chunks(self, q):
        self.send_response(200)
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        for i in range(100):
            self.wfile.write(b'%x\r\n%s\r\n' % (i + 1, b'x' * (i + 1)))
        self.wfile.write(b'0\r\nX-Sum: right\r\n\r\n')

    def get_hints(self, q):
        self.wfile.write(b'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n')
        self.say('after the hints')

    def get_garbage(self, q):
        self.close_connection = True
        self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nsmuggled')

    def get_cut(self, q):
        self.close_connection = True
        self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this')

    def get_events(self, q):
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Connection', 'close')
        self.end_headers()
        self.close_connection = True
        for i in range(1000):
            self.wfile.write(b'data: %d\n\n' % i)
            self.wfile.flush()
            ticks.acquire()

    def get_ws(self, q):
        accept = base64.b64encode(hashlib.sha1((self.headers['Sec-WebSocket-Key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode()
        self.send_response(101)
        for k, v in (('Upgrade', 'websocket'), ('Connection', 'Upgrade'), ('Sec-WebSocket-Accept', accept)):
            self.send_header(k, v)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while len(head := self.rfile.read(2)) == 2:
            n = head[1] & 127
            more = self.rfile.read({126: 2, 127: 8}.get(n, 0))
            n = int.from_bytes(more, 'big') if more else n
            mask = self.rfile.read(4)
            data = self.rfile.read(n)
            word = int.from_bytes(mask * (n // 4 + 1), 'big') >> 8 * (4 - n % 4)
            plain = (int.from_bytes(data, 'big') ^ word).to_bytes(n, 'big') if n else b''
            self.wfile.write(bytes([head[0], head[1] & 127]) + more + plain)
            self.wfile.flush()
            if head[0] & 15 == 8:
                break


if __name__ == '__main__':
    Server(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
