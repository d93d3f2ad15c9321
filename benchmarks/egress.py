#!/usr/bin/python3
"""What the egress proxy costs: a bare egress with sandboxes of network namespaces, an origin of its own beyond a cable (tests/egress/world.py), direct and through egress in turns in one run.

  benchmarks/egress.py EGRESS_PROGRAM [--quick] [--json FILE]

Prints a table and JSON. The client and the origin are Python processes: both ways pay for them alike, so read differences as ours and ratios as upper bounds of nothing. Needs root."""
import argparse, json, os, platform, statistics, subprocess, sys, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'egress'))

CLIENT = r'''
import json, socket, ssl, sys, time
kind, address, host, roots, n = sys.argv[1:6]
n = int(n)
context = ssl.create_default_context(cafile=roots)
request = f'GET /%s HTTP/1.1\r\nHost: {host}\r\nX-A: b\r\n\r\n'
def connect():
    s = socket.create_connection((address, 443), 60)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(s, server_hostname=host)
def answer(s):
    have = b''
    while b'\r\n\r\n' not in have:
        have += s.recv(65536)
    head, _, body = have.partition(b'\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 200'), head
    want = int(head.lower().split(b'content-length: ')[1].split(b'\r\n')[0])
    while len(body) < want:
        body += s.recv(65536)
times = []
if kind == 'keep':
    with connect() as s:
        for i in range(n + 20):
            t = time.perf_counter(); s.sendall((request % 'x').encode()); answer(s)
            if i >= 20: times.append(time.perf_counter() - t)
elif kind == 'new':
    for i in range(n):
        t = time.perf_counter()
        with connect() as s:
            s.sendall((request % 'x').encode()); answer(s)
        times.append(time.perf_counter() - t)
elif kind == 'down':
    buffer = bytearray(1 << 20)
    with connect() as s:
        t = time.perf_counter(); s.sendall((request % f'big?n={n}').encode()); got = 0
        while got < n: got += s.recv_into(buffer)
        times.append(time.perf_counter() - t)
elif kind == 'hold':
    held = []
    for i in range(n):
        s = connect(); s.sendall((request % 'x').encode()); answer(s); held.append(s)
    print('held', flush=True); sys.stdin.readline()
elif kind == 'flood':
    import os; os.nice(19)
    print('flooding', flush=True)
    while True:
        try:
            with connect() as s:
                s.sendall((request % 'x').encode()); answer(s)
        except OSError: pass
print(json.dumps(times))
'''
ORIGIN = r'''
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
small, piece = b'x' * 1000, bytes(1 << 18)
def one(s):
    try:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s = context.wrap_socket(s, server_side=True)
        have = b''
        while True:
            while b'\r\n\r\n' not in have:
                d = s.recv(65536)
                if not d: return
                have += d
            head, _, have = have.partition(b'\r\n\r\n')
            path = head.split(b' ')[1]
            if path.startswith(b'/big'):
                n = int(path.split(b'=')[1])
                s.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % n)
                while n: s.sendall(piece[:n]); n -= min(n, len(piece))
            else:
                s.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n' + small)
    except OSError: pass
    finally: s.close()
l = socket.create_server((sys.argv[1], 443), backlog=1024)
print('listening', flush=True)
while True:
    s, _ = l.accept()
    threading.Thread(target=one, args=(s,), daemon=True).start()
'''
ADDRESS, HOST = '93.184.216.120', 'bench.example.com'


class Bench:
    def __init__(self, program):
        import bare, world
        self.world = world.World()
        os.chmod(self.world.dir, 0o755)
        os.makedirs(self.world.dir / 'e')
        pem = self.world.ca.leaf('bench', [HOST])
        self.origin = self.world.ns.popen('/usr/bin/python3', '-c', ORIGIN, ADDRESS, pem, stdout=subprocess.PIPE)
        self.origin.stdout.readline()
        self.world.names.put(HOST, ADDRESS)
        self.egress = bare.Egress(program, self.world.dir / 'e' / 'egress', self.world.roots, self.world.resolver)
        self.bundle = str(self.world.dir / 'bundle.pem')
        open(self.bundle, 'w').write(self.egress.ca + open(self.world.roots).read())
        rule = {'name': 'b', 'allow': [HOST]}
        for name, more in (('intercepted', {'intercept': True}), ('tunnel', {}), *((f'other{i}', {'intercept': True}) for i in range(4))):
            self.egress.box(name, [{**rule, **more}])

    def client(self, way, kind, n, wait=True):
        ns, address = (self.world.host, ADDRESS) if way == 'direct' else (self.egress.boxes[way].ns, '198.18.0.1')
        p = ns.popen('/usr/bin/python3', '-c', CLIENT, kind, address, HOST, self.bundle, str(n), stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        if not wait:
            p.stdout.readline()
            return p
        out = p.communicate()[0]
        if p.returncode:
            raise SystemExit(f'{way} {kind} failed')
        return json.loads(out)

    def close(self):
        self.origin.kill()
        self.egress.kill()
        self.world.close()


def summary(times, unit=1000):
    t = sorted(x * unit for x in times)
    return {'median': round(statistics.median(t), 3), 'p99': round(t[min(len(t) - 1, int(len(t) * 0.99))], 3), 'n': len(t)}


def latency(b, kind, rounds, n):
    ways = {'direct': [], 'tunnel': [], 'intercepted': []}
    for r in range(rounds):
        for way in sorted(ways, key=lambda w: (r + hash(w) % 3) % 3):
            ways[way] += b.client(way, kind, n)
    return {w: summary(t) for w, t in ways.items()}


def throughput(b, rounds, size):
    ways = {'direct': [], 'tunnel': [], 'intercepted': []}
    for _ in range(rounds):
        for way in ways:
            ways[way].append(size / b.client(way, 'down', size)[0] / 1e6)
    return {w: {'MB/s': round(statistics.median(v)), 'all': [round(x) for x in v]} for w, v in ways.items()}


def private(pid):
    return sum(int(l.split()[1]) for l in open(f'/proc/{pid}/smaps_rollup') if l.startswith('Private_'))


def crowd(b, count):
    pid = b.egress.process.pid
    b.client('intercepted', 'new', 5)
    before, rss = private(pid), b.egress.memory()
    held = [b.client(f'other{i}', 'hold', count // 4, wait=False) for i in range(4)]        # one sandbox may have 512
    out = {'connections': count, 'KiB each, private': round((private(pid) - before) / count, 1), 'KiB resident in all': b.egress.memory(), 'before': rss}
    for p in held:
        p.communicate('\n')
    return out


def flooded(b, n):
    """Eight clients of another sandbox connect as fast as they can, at the lowest priority: what they burn themselves is not the proxy's. Direct connections in the same flood show what the machine costs."""
    out, floods = {'alone': [], 'direct, alone': [], 'under a flood of another sandbox': [], 'direct, in the same flood': []}, []
    try:
        for turn in range(4):
            out['alone'] += b.client('intercepted', 'new', n // 4)
            out['direct, alone'] += b.client('direct', 'new', n // 4)
            floods = [b.client('other0', 'flood', 0, wait=False) for _ in range(8)]
            out['under a flood of another sandbox'] += b.client('intercepted', 'new', n // 4)
            out['direct, in the same flood'] += b.client('direct', 'new', n // 4)
            while floods:
                floods[-1].kill()
                floods.pop().wait()
    finally:
        for p in floods:
            p.kill()
    return {k: summary(v) for k, v in out.items()}


def machine():
    cpu = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), '?')
    return {'kernel': platform.release(), 'cpu': cpu, 'cores': os.cpu_count(), 'load': os.getloadavg()[0]}


def main():
    p = argparse.ArgumentParser()
    p.add_argument('program')
    p.add_argument('--quick', action='store_true')
    p.add_argument('--json')
    a = p.parse_args()
    out = {'machine': machine()}
    b = Bench(a.program)
    try:
        q = a.quick
        out['GET of 1,000 bytes on one connection, ms'] = latency(b, 'keep', 3 if q else 6, 300 if q else 2000)
        out['GET on a new connection, ms'] = latency(b, 'new', 3 if q else 6, 50 if q else 200)
        out['download'] = {'bytes': (1 << 28) if q else (1 << 30), **throughput(b, 1 if q else 3, (1 << 28) if q else (1 << 30))}
        out['open connections'] = crowd(b, 200 if q else 1000)
        out['new connections of one sandbox, ms'] = flooded(b, 100 if q else 500)
        out['machine']['load at the end'] = os.getloadavg()[0]
    finally:
        b.close()
    for what, rows in out.items():
        print(what)
        for k, v in rows.items():
            print(f'  {k:40} {json.dumps(v) if isinstance(v, dict) else v}')
    text = json.dumps(out, indent=1)
    print(text)
    if a.json:
        open(a.json, 'w').write(text + '\n')


main()
sys.stdout.flush()
os._exit(0)
