#!/usr/bin/env python3
"""What a preview costs: the same requests to the same server, from inside the sandbox directly and from outside through the preview, interleaved in one run.
preview.py ADDR:PORT TOKEN SANDBOX [ROUNDS] (a running sandbox with python3 and node). Prints JSON: requests of one byte in ms (one connection; a new one each), download and upload of
256 MiB in MiB/s, and the ratios."""
import http.client, json, sys, time

ADDR, TOKEN, BOX = sys.argv[1:4]
ROUNDS = int(sys.argv[4]) if len(sys.argv) > 4 else 5
PORT, SIZE = 4990, 256
SERVER = """
const http = require('http'), block = Buffer.alloc(1 << 20, 'x');
http.createServer((q, a) => {
  if (q.method === 'PUT') { q.on('data', () => {}); q.on('end', () => a.end('ok')); return; }
  if (q.url !== '/big') { a.end('x'); return; }
  let left = %d; a.writeHead(200, { 'Content-Length': left << 20 });
  const go = () => { while (left) { left--; if (!a.write(block)) { a.once('drain', go); return; } } a.end(); }; go();
}).listen(%d, '127.0.0.1');
""" % (SIZE, PORT)
CLIENT = r"""
import http.client, json, sys, time
where, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
SIZE = 256
def connection(): return http.client.HTTPConnection(where, port, timeout=60)
def ask(c, method='GET', path='/', body=None, more={}):
    c.request(method, path, body, {'Host': host, **more}); r = c.getresponse(); n = 0
    while p := r.read(1 << 20): n += len(p)
    return n
def times(fn, n):
    out = []
    for _ in range(n):
        t = time.perf_counter(); fn(); out.append(time.perf_counter() - t)
    return sorted(out)
def fresh():
    c = connection(); ask(c); c.close()
def rate(fn):
    t = time.perf_counter(); fn(); return SIZE / (time.perf_counter() - t)
block = b'z' * (1 << 20)
c = connection(); ask(c)
kept, new = times(lambda: ask(c), 400), times(fresh, 200)
print(json.dumps({'kept_ms': kept[len(kept) // 2] * 1e3, 'new_ms': new[len(new) // 2] * 1e3, 'down_mib_s': rate(lambda: ask(connection(), 'GET', '/big')),
                  'up_mib_s': rate(lambda: ask(connection(), 'PUT', '/', iter([block] * SIZE), {'Content-Length': str(SIZE << 20)}))}))
"""


def api(method, path, body=None):
    c = http.client.HTTPConnection(*ADDR.rsplit(':', 1), timeout=120)
    c.request(method, f'/v1/sandbox/{BOX}{path}', json.dumps(body) if body is not None else None, {'Authorization': f'Bearer {TOKEN}', 'Content-Type': 'application/json', 'Accept': 'application/json'})
    r = c.getresponse()
    data = r.read()
    if r.status >= 400:
        raise SystemExit(f'{method} {path}: {r.status} {data.decode()}')
    return json.loads(data) if data else None


def inside():
    import base64
    a = api('POST', '/exec', {'argv': ['python3', '-c', CLIENT, '127.0.0.1', f'127.0.0.1:{PORT}', str(PORT)], 'timeout_ms': 120000})
    return json.loads(base64.b64decode(a['stdout']) if not a['stdout'].startswith('{') else a['stdout'])


def outside(host):
    import subprocess
    return json.loads(subprocess.run([sys.executable, '-c', CLIENT, ADDR.rsplit(':', 1)[0], host, ADDR.rsplit(':', 1)[1]], capture_output=True, text=True, check=True).stdout)


server = api('POST', '/exec', {'argv': ['node', '-e', SERVER], 'detach': True})['exec_id']
host = api('POST', f'/port/{PORT}', {})['host']
outside(host)                                    # the first request waits until it listens
rounds = [(inside(), outside(host)) for _ in range(ROUNDS)]
median = lambda values: sorted(values)[len(values) // 2]
out = {'rounds': ROUNDS, 'size_mib': SIZE}
for key in ('kept_ms', 'new_ms', 'down_mib_s', 'up_mib_s'):
    direct, preview = median([d[key] for d, _ in rounds]), median([p[key] for _, p in rounds])
    out[key] = {'direct': round(direct, 3), 'preview': round(preview, 3), 'ratio': round(median([p[key] / d[key] for d, p in rounds]), 2)}
api('DELETE', f'/port/{PORT}')
api('POST', f'/exec/{server}/signal', {'signal': 'KILL'})
print(json.dumps(out, indent=1))
