#!/usr/bin/env python3
"""Calls every route of /v1/openapi.json at least once, over the Unix socket of a running store, and checks what it says. Usage: http_routes.py SOCKET
A route of the document that no call here reaches is a failure: who adds a route adds a call. The daemon's own counters (/metrics) are the judge."""
import base64, http.client, io, json, re, socket, sys, tarfile, time, urllib.parse
from e2b_routes import e2b

SOCKET = sys.argv[1]
CODES = None
passed, failed = 0, 0


class Client(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(SOCKET)


def raw(method, path, body=None, headers={}):
    c = Client('sandboxd')
    c.request(method, path, body, headers)
    r = c.getresponse()
    data = r.read()
    c.close()
    if r.status >= 400 and CODES is not None and (path.startswith('/v1/') or path == '/metrics') and (r.headers.get('Content-Type') or '').startswith('application/json'):
        e = json.loads(data)
        if set(e) != {'error', 'code', 'details'} or e['code'] not in CODES or re.search(r'/(tmp/|work/|var/lib/|proc/self)', e['error']):
            check(f'{method} {path}: the error has the right form', False, data)
    return r.status, dict(r.headers), data


def call(method, path, body=None, want=(200, 201, 204), **headers):
    h = {k.replace('_', '-'): v for k, v in headers.items()}
    if isinstance(body, (dict, list)):
        body, h['Content-Type'] = json.dumps(body), 'application/json'
    status, heads, data = raw(method, path, body, h)
    want = (want,) if isinstance(want, int) else want
    check(f'{method} {path}', status in want, f'{status} {data[:300]}')
    try:
        return json.loads(data)
    except ValueError:
        return data


def check(what, good, why=''):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(('ok ' if good else 'not ok ') + what + ('' if good else f': {why}'), flush=True)
    return good


def events(data):
    return [dict(line.split(': ', 1) for line in block.split('\n') if ': ' in line and line[0] != ':') for block in data.decode().split('\n\n') if block]


def websocket(path):
    """A handshake and the first frames: (opcode, bytes)."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(SOCKET)
    s.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'.encode())
    f = s.makefile('rb')
    status = int(f.readline().split()[1])
    while f.readline() not in (b'\r\n', b''):
        pass
    return s, f, status


def frame(f):
    a, b = f.read(2)
    n = b & 127
    n = int.from_bytes(f.read(2), 'big') if n == 126 else int.from_bytes(f.read(8), 'big') if n == 127 else n
    return a & 15, f.read(n)


def document():
    global CODES
    d = call('GET', '/v1/openapi.json')
    CODES = set(d['components']['schemas']['Error']['properties']['code']['enum'])
    check('the document is OpenAPI 3.1', re.fullmatch(r'3\.1\.\d+', d['openapi']) and d['info']['title'] and d['info']['version'] and d['paths'])
    ids = set()
    for path, item in d['paths'].items():
        names = re.findall(r'{(\w+)}', path)
        good = path.startswith('/') and '*' not in path
        for method, op in item.items():
            params = [(p.get('name'), p.get('in')) for p in op.get('parameters', [])]
            good = good and method in ('get', 'put', 'post', 'delete', 'patch') and op.get('summary') and op.get('responses') and op['operationId'] not in ids
            good = good and len(params) == len(set(params)) and {n for n, where in params if where == 'path'} == set(names)
            good = good and all(p.get('required') for p in op.get('parameters', []) if p['in'] == 'path') and all('schema' in p or 'content' in p for p in op.get('parameters', []))
            good = good and all(re.fullmatch(r'[1-5]\d\d|default', s) and ('description' in r or '$ref' in r) for s, r in op['responses'].items())
            good = good and all(isinstance(m, dict) for m in (op.get('requestBody') or {'content': {'-': {}}})['content'].values())
            named = {c for r in op['responses'].values() for c in re.findall(r'\b[a-z]+(?:_[a-z]+)+\b', r.get('description', '')) if c in CODES}
            named |= set(op.get('x-codes', []))
            good = good and named <= CODES
            ids.add(op['operationId'])
        check(f'described well: {path}', good, json.dumps(item)[:400])
    refs = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(d)))
    for ref in refs:
        at = d
        for part in ref.split('/'):
            at = at.get(part, {}) if isinstance(at, dict) else {}
        check(f'there is what is referred to: {ref}', at)
    return d


def system():
    check('health', call('GET', '/health') == {'ok': True})
    page = call('GET', '/terminal/x')
    check('the terminal page loads only from here', b'<script src="/assets/terminal/' in page and b'http' not in page.replace(b'http-equiv', b''))
    for name in re.findall(rb'/assets/terminal/([\w.-]+)', page):
        call('GET', '/assets/terminal/' + name.decode())
    status, heads, _ = raw('GET', '/terminal/x')
    check('its policy is strict', "default-src 'none'" in heads['Content-Security-Policy'] and heads['Referrer-Policy'] == 'no-referrer' and 'unsafe-eval' not in heads['Content-Security-Policy'])
    call('GET', '/v1/pool/stats'), call('POST', '/v1/pool/prime'), call('POST', '/v1/pool/shutdown-prewarmed')


def executions(id):
    box = '/v1/sandbox/' + id
    status, heads, data = raw('POST', box + '/exec', json.dumps({'argv': ['sh', '-c', 'echo out; echo err >&2; exit 5']}), {'Content-Type': 'application/json'})
    got = events(data)
    text = lambda name: b''.join(base64.b64decode(e['data']) for e in got if e['event'] == name)
    check('exec streams both outputs and the status', status == 200 and text('stdout') == b'out\n' and text('stderr') == b'err\n' and json.loads(got[-1]['data'])['exit_code'] == 5, data)
    one = call('POST', box + '/exec', {'shell': 'cat', 'stdin': 'fed'}, Accept='application/json')
    check('exec as one document', one['stdout'] == 'fed' and one['exit_code'] == 0, one)
    e = call('POST', box + '/exec', {'argv': ['cat'], 'stdin': True, 'detach': True}, Accept='application/json')['exec_id']
    call('GET', box + '/exec'), call('GET', f'{box}/exec/{e}')
    call('POST', f'{box}/exec/{e}/stdin', b'ready now\n')
    call('POST', f'{box}/exec/{e}/wait/log', {'pattern': 'ready'}, want=(200, 204, 400))
    call('POST', f'{box}/exec/{e}/stdin?close=1', b'end\n')
    call('GET', f'{box}/exec/{e}/wait?timeout_ms=20000')
    out = raw('GET', f'{box}/exec/{e}/output?since=0')[2]
    check('output again', b''.join(base64.b64decode(x['data']) for x in events(out) if x['event'] == 'stdout') == b'ready now\nend\n', out)
    e = call('POST', box + '/exec', {'argv': ['sleep', '1000'], 'detach': True}, Accept='application/json')['exec_id']
    call('POST', f'{box}/exec/{e}/signal', {'signal': 'TERM'})
    call('GET', f'{box}/exec/{e}/wait?timeout_ms=20000')
    check('ended by the signal', call('GET', f'{box}/exec/{e}').get('signal') == 'SIGTERM')
    call('DELETE', f'{box}/exec/{e}')
    call('POST', box + '/exec', {'argv': []}, want=400), call('POST', box + '/exec', {'argv': ['nosuchprogram']}, want=400)
    call('POST', box + '/wait/port', {'port': 9, 'timeout_ms': 1}, want=(200, 504, 408))


def files(id):
    box = '/v1/sandbox/' + id
    blob = bytes(range(256)) * 5000
    call('PUT', box + '/file/workspace/a%20b%23.bin?parents=1', blob)
    check('a file comes back', raw('GET', box + '/file/workspace/a%20b%23.bin')[2] == blob)
    part = raw('GET', box + '/file/workspace/a%20b%23.bin', headers={'Range': 'bytes=10-19'})
    check('a range of it', part[0] == 206 and part[2] == blob[10:20], part[:2])
    etag = raw('GET', box + '/file/workspace/a%20b%23.bin')[1].get('ETag')
    call('PUT', box + '/file/workspace/a%20b%23.bin', b'x', want=412, If_Match='"0"')
    call('PUT', box + '/file/workspace/a%20b%23.bin', b'y', If_Match=etag)
    call('GET', box + '/stat/workspace/a%20b%23.bin'), call('POST', box + '/dir/workspace/d'), call('GET', box + '/dir/workspace?depth=2')
    call('POST', box + '/copy', {'from': '/workspace/a b#.bin', 'to': '/workspace/d/c'}), call('POST', box + '/move', {'from': '/workspace/d/c', 'to': '/workspace/d/m'})
    call('POST', box + '/chmod', {'path': '/workspace/d/m', 'mode': '0600'}, want=(200, 204, 400))
    call('DELETE', box + '/file/workspace/d?recursive=1')
    call('GET', box + '/file/workspace/d/m', want=404), call('GET', box + '/file/proc/1/environ', want=(403, 404, 409)), call('GET', box + '/file/workspace/%ff%fe', want=404)
    tar = raw('POST', box + '/persist')[2]
    check('persist is a tar', tarfile.open(fileobj=io.BytesIO(tar)).getnames())
    call('POST', box + '/hydrate', tar, Content_Type='application/octet-stream')


def sessions(id):
    box = '/v1/sandbox/' + id
    s = call('POST', box + '/session', {'cwd': '/tmp', 'env': {'WHO': 'session'}})['id']
    one = call('POST', box + '/exec', {'shell': 'echo $WHO $PWD'}, Accept='application/json', Session_Id=s)
    check('a session keeps directory and environment', one['stdout'] == 'session /tmp\n', one)
    call('GET', box + '/session'), call('DELETE', f'{box}/session/{s}')
    call('POST', box + '/pty/ticket', {})
    e = call('POST', box + '/exec', {'argv': ['sh'], 'tty': True, 'cols': 80, 'rows': 24, 'detach': True}, Accept='application/json')['exec_id']
    for path in ('/pty?cols=80&rows=24', f'/exec/{e}/attach?cols=80&rows=24'):
        s, f, status = websocket(box + path)
        if status == 101:
            op, data = frame(f)
            while op != 1:
                op, data = frame(f)
            check('a terminal is ready', json.loads(data)['type'] == 'ready', data)
        else:
            check('a terminal opens', False, status)
        s.close()


def snapshots(id):
    box = '/v1/sandbox/' + id
    first = call('POST', box + '/snapshot', {'name': 'one', 'message': 'first', 'labels': {'k': 'v'}})['id']
    call('PUT', box + '/file/workspace/later', b'later')
    second = call('POST', box + '/snapshot', {})['id']
    call('GET', box + '/snapshots'), call('GET', '/v1/snapshot'), call('GET', f'/v1/snapshot/{first}?sizes=1'), call('PATCH', f'/v1/snapshot/{first}', {'labels': {'a': 'b'}})
    call('GET', f'/v1/snapshot/{second}/tree?path=/workspace&depth=1')
    check('a file of a snapshot', raw('GET', f'/v1/snapshot/{second}/file/workspace/later')[2] == b'later')
    check('export', len(raw('GET', f'/v1/snapshot/{first}/export')[2]) > 100)
    check('diff', 'later' in json.dumps(call('GET', f'/v1/diff?a={first}&b={second}')))
    call('POST', box + '/restore', {'snapshot': first})
    call('GET', box + '/file/workspace/later', want=404)
    call('POST', box + '/changed', {'by': 'merge'}, want=204)
    call('POST', box + '/changed', {'by': 'magic'}, want=400)
    forks = call('POST', box + '/fork', {'count': 2, 'start': True})
    for fork in forks if isinstance(forks, list) else forks['sandboxes']:
        call('DELETE', '/v1/sandbox/' + fork['id'])
    call('POST', box + '/merge', {'sources': ['no-such-source'], 'dry_run': True}, want=404)
    call('POST', box + '/merge', {'sources': [], 'dry_run': True}, want=400)
    call('POST', box + '/merge', {'sources': ['x'], 'prefer': 'both'}, want=400)
    call('DELETE', f'/v1/snapshot/{second}')


def life(id):
    box = '/v1/sandbox/' + id
    call('PATCH', box, {'labels': {'from': 'test'}}), call('GET', box), call('GET', '/v1/sandbox?limit=5'), call('GET', box + '/running')
    for verb, state in (('freeze', 'frozen'), ('wake', 'running'), ('sleep', 'asleep'), ('wake', 'running'), ('stop', 'asleep')):
        call('POST', f'{box}/{verb}')
        check(f'{verb}: {state}', call('GET', box)['state'] == state)
    call('GET', box + '/usage'), call('POST', box + '/mount', {'bucket': 'b', 'mountPath': '/workspace/b'}, want=502), call('POST', box + '/unmount', {'mountPath': '/workspace/b'}, want=502)
    call('POST', box + '/tunnel/80', {}, want=400)
    tunnel = call('POST', box + '/tunnel/8000', {'name': 'web', 'other': 1}, want=200)
    check('a tunnel is a preview', tunnel['port'] == 8000 and tunnel['name'] == 'web' and tunnel['hostname'].startswith('8000-ws-') and tunnel['createdAt'])
    preview = call('POST', box + '/port/8000', {}, want=201)
    check('a preview has a token', re.fullmatch('[a-z2-7]{26}', preview['token']) and preview['token'] in preview['path'] and preview['host'].split('.')[0] == preview['path'].split('/')[2])
    for port in (53, 80, 443, 3128, 0, 65536, 'x'):
        call('POST', f'{box}/port/{port}', {}, want=400)
    ports = call('GET', box + '/port', want=200)
    check('ports are listed without tokens', [(p['port'], p['tokens']) for p in ports['ports']] == [(8000, 2)] and preview['token'] not in json.dumps(ports))
    call('DELETE', box + '/port/8000', want=204), call('DELETE', box + '/port/8000', want=404), call('DELETE', box + '/tunnel/8000', want=204)
    call('DELETE', box, want=409), call('DELETE', box + '?snapshots=true'), call('GET', box, want=404)


def all_routes(d):
    text = raw('GET', '/metrics')[2].decode()
    called = set(re.findall(r'^coppice_http_requests_total{method="(\w+)",route="([^"]+)",status="\d+"} \d+$', text, re.M))
    called = {(m.lower(), re.sub(r'\*}', '}', p)) for m, p in called}
    for path, item in sorted(d['paths'].items()):
        for method in item:
            check(f'was called: {method} {path}', (method, path) in called, 'add a call to tests/system/http_routes.py')
    check('boxes by state are counted', 'coppice_sandboxes{state="running"}' in text)
    for line in text.splitlines():
        if not re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+({\w+="[^"]*"(,\w+="[^"]*")*})? -?[\d.e+]+', line):
            check('metrics are well-formed', False, line)


def contexts(id):
    box = f'/v1/sandbox/{id}/context'
    c = call('POST', box, {'language': 'python'}, want=201)['id']
    one = call('POST', f'{box}/{c}/run', {'code': 'print("p")\n6 * 7'}, Accept='application/json')
    check('code as one document', one['stdout'] == 'p\n' and one['results'][0]['text/plain'] == '42' and one['count'] == 1 and one['ok'], one)
    status, heads, data = raw('POST', f'{box}/{c}/run', json.dumps({'code': '1/0'}), {'Content-Type': 'application/json'})
    check('code as events', [e['event'] for e in events(data)] == ['start', 'error', 'done'], data)
    check('contexts are listed', [x['id'] for x in call('GET', box)['contexts']] == [c] and call('GET', f'{box}/{c}')['language'] == 'python')
    check('nothing to interrupt', call('POST', f'{box}/{c}/interrupt', {}) == {'interrupted': False})
    check('a restarted one is fresh', call('POST', f'{box}/{c}/restart', {})['fresh'])
    call('DELETE', f'{box}/{c}', want=204)
    call('GET', f'{box}/{c}', want=404), call('POST', box, {'language': 'cobol'}, want=400)


def egress(id):
    box = '/v1/sandbox/' + id
    check('no rules at first', call('GET', box + '/rules')['rules'] == [])
    one = call('PUT', box + '/rules', {'rules': [{'name': 'a', 'allow': ['a.example']}]})
    check('rules have a revision', one['revision'] == 1 and one['default'] == 'deny', one)
    call('PUT', box + '/rules', {'rules': []}, want=412, If_Match='"0"')
    call('PUT', box + '/rules', {'rules': [{'allow': ['a.example'], 'unknown': 1}]}, want=400), call('PUT', box + '/rules', one)
    call('PATCH', box + '/rules', {'add': [{'name': 'b', 'deny': ['b.example']}], 'remove': ['a']}), call('PATCH', box + '/rules', {'remove': ['none']}, want=(400, 404))
    check('a change of rules', [r['name'] for r in call('GET', box + '/rules')['rules']] == ['b'])
    call('PUT', '/v1/secret/T', {'value': 'canary-of-a-secret', 'hosts': ['a.example']}), call('PUT', '/v1/secret/T', {'value': 'a\nb'}, want=400), call('PUT', '/v1/secret/-', {'value': 'x'}, want=400)
    for path in ('/v1/secret', '/v1/secret/T'):
        check('a secret is not shown', b'canary' not in raw('GET', path)[2])
    call('GET', '/v1/secret/none', want=404), call('DELETE', '/v1/secret/T', want=204), call('DELETE', '/v1/secret/T', want=404)
    check('the proxy says how it is', call('GET', '/v1/egress')['ca']['sha256'])
    log = call('GET', box + '/egress-log', Accept='application/json')
    check('the log as one document', isinstance(log['events'], list), log)
    check('the log as events', events(raw('GET', box + '/egress-log?since=0')[2])[-1]['event'] == 'end')


doc = document()
system()
made = call('POST', '/v1/sandbox', {})['id']
def watch_and_services(id):
    box = f'/v1/sandbox/{id}'
    check('a watch of what is not there is refused', call('GET', f'{box}/watch?path=/nothing', want=404)['code'] == 'not_found')
    check('a service is registered', call('POST', f'{box}/service', {'name': 's', 'argv': ['sleep', '1000'], 'restart': 'always', 'port': 7000}, 201)['port'] == 7000)
    check('services are listed', [x['name'] for x in call('GET', f'{box}/service')['services']] == ['s'] and call('GET', f'{box}/service/s')['restart'] == 'always')
    for verb in ('start', 'restart', 'stop'):
        check(f'a service: {verb}', call('POST', f'{box}/service/s/{verb}', {})['enabled'] == (verb != 'stop'))
    status, _, text = raw('GET', f'{box}/service/s/logs', None, {'Accept': 'application/x-ndjson'})
    check('its log', status == 200 and b'"event":"end"' in text.replace(b' ', b''))
    call('DELETE', f'{box}/service/s', want=204)
    check('a service that is gone', call('GET', f'{box}/service/s', want=404)['code'] == 'not_found')


for part in (watch_and_services, executions, contexts, files, sessions, egress, lambda _: e2b(raw, check), snapshots, life):
    try:
        part(made)
    except Exception as e:
        check(f'{part.__name__} goes through', False, repr(e))
call('GET', '/metrics')
all_routes(doc)
print(f'http_routes: {passed} passed, {failed} failed')
sys.exit(failed > 0)
