#!/usr/bin/env python3
"""Code contexts: the time from the request for a new context to the end of its first run, and of later runs, through HTTP. code.py SOCKET SANDBOX [ROUNDS]. Ten contexts at once: made
and run, then each running code that takes 200 ms. Prints JSON: milliseconds, p50 and p95; from the first request to the last answer for the ten."""
import http.client, json, socket, sys, threading, time

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


def side_by_side(fns):
    threads = [threading.Thread(target=f) for f in fns]
    _, ms = timed(lambda: ([t.start() for t in threads], [t.join() for t in threads]))
    return ms


def ten(language, wait):
    def make(i):
        c = Connection('localhost', timeout=60)
        ids[i] = call(c, 'POST', '/context', {'language': language})['id']
        assert call(c, 'POST', f'/context/{ids[i]}/run', {'code': '1+1'})['results'][0]['text/plain'] == '2'

    def run(i):
        assert call(Connection('localhost', timeout=60), 'POST', f'/context/{ids[i]}/run', {'code': wait})['ok']
    made, ran = [], []
    for _ in range(3):
        ids = {}
        made.append(side_by_side([lambda i=i: make(i) for i in range(10)]))
        ran.append(side_by_side([lambda i=i: run(i) for i in range(10)]))
        for cid in ids.values():
            call(c, 'DELETE', f'/context/{cid}')
    assert len(ids) == 10
    return {'made_and_first_run_ms': round(sorted(made)[1], 1), 'run_of_200_ms': round(sorted(ran)[1], 1)}


c = Connection('localhost', timeout=60)
out = {}
for language in ('python', 'javascript', 'typescript'):
    out[language] = {'first_run_back_to_back_ms': first(c, language, 0), 'first_run_with_a_spare_ms': first(c, language, 1.2), 'later_run_ms': later(c, language)}
out['ten_at_once'] = {'python': ten('python', 'import time; time.sleep(0.2)'), 'javascript': ten('javascript', 'await new Promise(r => setTimeout(r, 200))')}
print(json.dumps(out, indent=1))
