#!/usr/bin/env python3
"""Code contexts: the time from the request for a new context to the end of its first run, and of later runs, through HTTP. code.py SOCKET SANDBOX [ROUNDS]. Prints JSON: milliseconds, p50 and p95."""
import http.client, json, socket, sys, time

PATH, BOX, ROUNDS = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 20


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(PATH)


def call(c, method, path, body=None):
    c.request(method, f'/v1/sandbox/{BOX}{path}', json.dumps(body) if body is not None else None, {'Content-Type': 'application/json', 'Accept': 'application/json'})
    r = c.getresponse()
    data = r.read()
    if r.status >= 400:
        raise SystemExit(f'{method} {path}: {r.status} {data.decode()}')
    return json.loads(data) if data else None


def timed(fn):
    begin = time.perf_counter()
    value = fn()
    return value, (time.perf_counter() - begin) * 1000


def summary(values):
    values = sorted(values)
    return {'p50': round(values[len(values) // 2], 2), 'p95': round(values[min(len(values) - 1, int(len(values) * 0.95))], 2), 'n': len(values)}


def first(c, language, pause):
    def go():
        cid = call(c, 'POST', '/context', {'language': language})['id']
        assert call(c, 'POST', f'/context/{cid}/run', {'code': '1+1'})['results'][0]['text/plain'] == '2'
        return cid
    times, ids = [], []
    for _ in range(ROUNDS):
        cid, ms = timed(go)
        times.append(ms)
        ids.append(cid)
        time.sleep(pause)
        call(c, 'DELETE', f'/context/{ids.pop()}')
    return summary(times)


def later(c, language):
    cid = call(c, 'POST', '/context', {'language': language})['id']
    call(c, 'POST', f'/context/{cid}/run', {'code': '1'})
    time.sleep(1)                                # what is loaded when nothing is to be done is loaded
    times = [timed(lambda: call(c, 'POST', f'/context/{cid}/run', {'code': '1+1'}))[1] for _ in range(ROUNDS * 10)]
    call(c, 'DELETE', f'/context/{cid}')
    return summary(times)


c = Connection('localhost', timeout=60)
out = {}
for language in ('python', 'javascript', 'typescript'):
    out[language] = {'first_run_back_to_back_ms': first(c, language, 0), 'first_run_with_a_spare_ms': first(c, language, 1.2), 'later_run_ms': later(c, language)}
print(json.dumps(out, indent=1))
