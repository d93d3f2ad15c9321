"""The routes of the E2B API, each at least once, for http_routes.py: status and form of the answers. The packages themselves are tested by e2b.sh."""
import base64, json, struct, threading


def frame(o):
    text = json.dumps(o).encode()
    return struct.pack('>BI', 0, len(text)) + text


def frames(data):
    out = []
    while data:
        flags, n = struct.unpack('>BI', data[:5])
        out.append((flags, json.loads(data[5:5 + n])))
        data = data[5 + n:]
    return out


def e2b(raw, check):
    def call(method, path, body=None, want=200, **headers):
        status, heads, data = raw(method, path, json.dumps(body) if isinstance(body, (dict, list)) else body, {k.replace('_', '-'): v for k, v in headers.items()})
        o = json.loads(data) if (heads.get('Content-Type') or '').startswith('application/json') else data
        check(f'{method} {path}', status == want, f'{status} {data[:300]}')
        if status >= 400:
            check(f'{method} {path}: the error has the form of E2B', set(o) == {'code', 'message'} and o['message'] and o['code'] in (status, str(o['code'])), data)
        return o

    made = call('POST', '/v2/sandboxes', {'templateID': 'base', 'timeout': 600, 'metadata': {'a': 'b'}, 'unknown': 1}, want=201)
    id, head = made['sandboxID'], {'E2b_Sandbox_Id': made['sandboxID'], 'Content_Type': 'application/json'}
    call('POST', '/v2/sandboxes', {'timeout': -1}, want=400), call('POST', '/sandboxes', {'templateID': 'no-such'}, want=404)
    call('POST', '/v2/sandboxes', {'network': {'denyOut': ['10.0.0.0/8']}}, want=400), call('POST', '/v2/sandboxes', {'volumeMounts': [{'name': 'v', 'path': '/v'}]}, want=501)
    check('a sandbox of E2B', call('GET', f'/sandboxes/{id}')['metadata'] == {'a': 'b'})
    check('its list', [s['sandboxID'] for s in call('GET', '/v2/sandboxes?metadata=a%3Db&limit=10')] == [id] and call('GET', '/sandboxes?state=paused') == [])
    call('GET', '/v2/sandboxes?startedAfter=never', want=400)
    call('POST', f'/sandboxes/{id}/timeout', {'timeout': 700}, want=204), call('POST', f'/sandboxes/{id}/refreshes', {'duration': 100}, want=204)
    call('PUT', f'/sandboxes/{id}/network', {'allow_internet_access': False}, want=204), call('PUT', '/sandboxes/none/network', {}, want=404)

    def rpc(path, body, want=200):
        return call('POST', path, body, want, **head)

    def stream(path, body):
        status, heads, data = raw('POST', path, frame(body), {'E2b-Sandbox-Id': id, 'Content-Type': 'application/connect+json', 'Keepalive-Ping-Interval': '50', 'Connect-Timeout-Ms': '20000'})
        check(f'POST {path}', status == 200 and heads['Content-Type'] == 'application/connect+json', data[:300])
        return frames(data)
    fs, process = '/filesystem.Filesystem/', '/process.Process/'
    call('GET', '/health', want=204, **head)
    check('MakeDir', rpc(fs + 'MakeDir', {'path': 'd'})['entry']['path'] == '/home/user/d')
    check('MakeDir again', rpc(fs + 'MakeDir', {'path': 'd'}, want=409)['code'] == 'already_exists')
    check('written', raw('POST', '/files?path=d/f', b'text', {'E2b-Sandbox-Id': id, 'Content-Type': 'application/octet-stream', 'X-Metadata-K': 'v'})[0] == 200)
    check('read', call('GET', '/files?path=/home/user/d/f', **head) == b'text'), call('GET', '/files?path=none', want=404, **head), call('GET', '/files', want=400, **head)
    entry = rpc(fs + 'Stat', {'path': 'd/f'})['entry']
    check('Stat', entry['size'] == '4' and entry['metadata'] == {'k': 'v'} and entry['type'] == 'FILE_TYPE_FILE', entry)
    check('ListDir', [e['name'] for e in rpc(fs + 'ListDir', {'path': 'd', 'depth': 1})['entries']] == ['f'])
    check('a part that is not JSON', rpc(fs + 'Stat', 'no', want=400)['code'] == 'invalid_argument')
    watcher = rpc(fs + 'CreateWatcher', {'path': 'd'})['watcherId']
    check('Move', rpc(fs + 'Move', {'source': 'd/f', 'destination': 'd/g'})['entry']['name'] == 'g')
    rpc(fs + 'GetWatcherEvents', {'watcherId': watcher}), rpc(fs + 'RemoveWatcher', {'watcherId': watcher}), rpc(fs + 'RemoveWatcher', {'watcherId': watcher}, want=404)
    check('WatchDir of nothing', stream(fs + 'WatchDir', {'path': 'none'})[-1][1]['error']['code'] == 'not_found')
    rpc(fs + 'Remove', {'path': 'd'})

    said = stream(process + 'Start', {'process': {'cmd': '/bin/sh', 'args': ['-c', 'echo $A; exit 2'], 'envs': {'A': 'x'}}, 'stdin': False})
    events = [o['event'] for flags, o in said if not flags]
    check('Start: start, data, end, and the end of the stream', list(events[0]) == ['start'] and base64.b64decode(events[1]['data']['stdout']) == b'x\n' and
          events[-1]['end'] == {'exitCode': 2, 'exited': True, 'status': 'exit status 2', 'error': 'exit status 2'} and said[-1] == (2, {}), said)
    check('Connect to nothing', stream(process + 'Connect', {'process': {'pid': 99999}})[-1][1]['error']['code'] == 'not_found')
    check('List', rpc(process + 'List', {}) == {'processes': []})
    none = {'process': {'pid': 99999}}
    for method, more in (('SendInput', {'input': {'stdin': 'eA=='}}), ('CloseStdin', {}), ('SendSignal', {'signal': 'SIGNAL_SIGTERM'}), ('Update', {'pty': {'size': {'cols': 80, 'rows': 24}}})):
        rpc(process + method, {**none, **more}, want=404)
    status, heads, data = raw('POST', process + 'StreamInput', frame({'start': none}), {'E2b-Sandbox-Id': id, 'Content-Type': 'application/connect+json'})
    check('StreamInput to nothing', status == 200 and frames(data)[-1][1]['error']['code'] == 'not_found', data)

    # a process that is fed by a client stream, while another call reads it
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(stream(process + 'Start', {'process': {'cmd': '/bin/cat'}, 'tag': 'fed', 'stdin': True})))
    reader.start()
    while not any(p.get('tag') == 'fed' for p in json.loads(raw('POST', process + 'List', '{}', {'E2b-Sandbox-Id': id})[2])['processes']):
        pass
    fed = b''.join(frame(o) for o in ({'start': {'process': {'tag': 'fed'}}}, {'data': {'input': {'stdin': base64.b64encode(b'a' * 500000).decode()}}}, {'keepalive': {}}, {'data': {'input': {'stdin': 'YgE='}}}))
    status, heads, data = raw('POST', process + 'StreamInput', fed, {'E2b-Sandbox-Id': id, 'Content-Type': 'application/connect+json'})
    check('StreamInput: a message and the end', status == 200 and frames(data) == [(0, {}), (2, {})], data)
    rpc(process + 'CloseStdin', {'process': {'tag': 'fed'}})
    reader.join()
    out = b''.join(base64.b64decode(o['event']['data']['stdout']) for flags, o in seen if 'data' in o.get('event', {}))
    check('StreamInput: all of it came, in order', out == b'a' * 500000 + b'b\x01', out[:50])
    status, heads, data = raw('POST', process + 'Start', frame({'process': {'cmd': '/bin/sleep', 'args': ['1.3']}}), {'E2b-Sandbox-Id': id, 'Keepalive-Ping-Interval': '1'})
    check('keepalives', any('keepalive' in o.get('event', {}) for flags, o in frames(data)), data)
    status, heads, data = raw('POST', process + 'Start', frame({'process': {'cmd': '/bin/sleep', 'args': ['100']}}), {'E2b-Sandbox-Id': id, 'Connect-Timeout-Ms': '200'})
    check('a timeout of the server', frames(data)[-1][1]['error']['code'] == 'deadline_exceeded', data)

    lines = [json.loads(line) for line in call('POST', '/execute', {'code': 'print(1)\n2'}, **head).splitlines()]
    check('execute', [o['type'] for o in lines] == ['stdout', 'result', 'number_of_executions', 'end_of_execution'] and lines[1]['text'] == '2', lines)
    context = call('POST', '/contexts', {'language': 'python'}, **head)['id']
    check('contexts', {'python', 'javascript', context} <= {o['id'] for o in call('GET', '/contexts', **head)})
    call('POST', f'/contexts/{context}/restart', **head), call('DELETE', f'/contexts/{context}', want=204, **head), call('DELETE', f'/contexts/{context}', want=404, **head)

    snapshot = call('POST', f'/sandboxes/{id}/snapshots', {'name': 'of-http-routes'}, want=201)['snapshotID']
    check('its snapshots', [s['snapshotID'] for s in call('GET', f'/snapshots?sandboxID={id}')] == [snapshot])
    forks = call('POST', f'/sandboxes/{id}/fork', {'count': 2}, want=201)
    check('forks', len(forks) == 2 and all('sandbox' in f for f in forks), forks), call('POST', f'/sandboxes/{id}/fork', {'count': 101}, want=400)
    for f in forks:
        call('DELETE', f"/sandboxes/{f['sandbox']['sandboxID']}", want=204)
    call('POST', f'/sandboxes/{id}/pause', {}, want=204), call('POST', f'/sandboxes/{id}/pause', {}, want=409), call('GET', '/health', want=502, **head)
    check('paused: Connect says unavailable', rpc(process + 'List', {}, want=502)['code'] == 'unavailable')
    call('POST', f'/v2/sandboxes/{id}/connect', {'timeout': 100}, want=201), call('POST', f'/sandboxes/{id}/connect', {}, want=200), call('POST', f'/sandboxes/{id}/resume', {}, want=200)
    call('DELETE', f'/sandboxes/{id}', want=204), call('DELETE', f'/sandboxes/{id}', want=404), call('GET', f'/sandboxes/{id}', want=404)
    call('DELETE', f'/templates/{snapshot}', want=204), call('DELETE', f'/templates/{snapshot}', want=404)
    for method, path in [('GET', '/sandboxes/x/metrics'), ('GET', '/sandboxes/metrics'), ('GET', '/v2/sandboxes/x/logs'), ('GET', '/sandboxes/x/logs'), ('GET', '/templates'), ('POST', '/templates'),
                         ('POST', '/v2/templates'), ('POST', '/v3/templates'), ('GET', '/templates/x'), ('PATCH', '/templates/x'), ('POST', '/v2/templates/x/builds/y'),
                         ('GET', '/templates/x/builds/y/status'), ('GET', '/templates/x/builds/y/logs'), ('GET', '/templates/x/files/y'), ('GET', '/templates/x/tags'),
                         ('GET', '/templates/aliases/x'), ('POST', '/templates/tags'), ('DELETE', '/templates/tags'), ('GET', '/volumes'), ('POST', '/volumes'), ('GET', '/volumes/x'),
                         ('DELETE', '/volumes/x'), ('GET', '/secrets'), ('POST', '/secrets'), ('GET', '/secrets/x'), ('POST', '/secrets/x'), ('DELETE', '/secrets/x'), ('GET', '/teams'),
                         ('GET', '/api-keys'), ('GET', '/nodes'), ('POST', '/files/compose')]:
        call(method, path, want=501)
