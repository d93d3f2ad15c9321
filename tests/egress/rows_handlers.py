"""Handlers of rules, in the program as it runs: what they do, and that nothing of a secret is in their reach."""
from trial import row
from wire import Ended, get, outcome, receive
from rows_credentials import API, headers_of


def handled(t, source, *secrets, **more):
    rule = {'name': 'h', 'allow': [API], 'handler': source, **more}
    if secrets:
        rule['secrets'] = list(secrets)
    return t.box([rule])


@row('G3', 'a request is edited, answered, denied; a secret is put in outside; what never ends is ended')
def handlers(t):
    value = t.secret('hand')
    name, a = handled(t, "function(r, c) r.headers['x-from'] = c.sandbox ~= '' and c.rule; r.headers['x-key'] = 'k ' .. secret('hand'); r.path = '/v2' .. r.path; return r end", 'hand')
    mark = t.world.mark()
    t.same('edited', outcome(lambda: a.https(get('/x', headers='X_Key: mine\r\n'))), '200')
    line, got = headers_of(t, mark)
    t.same('the path', line, 'GET /v2/x HTTP/1.1')
    t.same('the secret, once', [v for n, v in got if n.lower().replace('_', '-') == 'x-key'], ['k ' + value])
    t.same('the context', [v for n, v in got if n.lower() == 'x-from'], ['h'])
    for what, source, word in (('an answer', "function(r) return { status = 418, body = 'no tea' } end", '418'), ('a denial', "function() deny('not today') end", '403'),
                               ('an error', 'function(r) return r.x.y end', '403'), ('a secret in a path', "function(r) r.path = '/' .. secret('hand') end", '403'),
                               ('a loop', 'function() while true do end end', '403'), ('a pattern that never ends', "function() return string.find(string.rep('a', 30000), '.-.-.-.-.-.-.-.-b') end", '403')):
        name, a = handled(t, source, 'hand')
        mark = t.world.mark()
        t.same(what, outcome(lambda: a.https(get('/x'))), word)
        t.same(f'{what}: nothing sent', [bytes(w.data) for w in t.world.seen(mark) if w.data], [])
    name, a = handled(t, "function() deny('not today') end")
    outcome(lambda: a.https(get('/x')))
    t.until('the log says why', lambda: any('not today' in e.get('why', '') for e in t.egress.events(name)))


@row('G3', 'a handler that turns HEAD into GET: the answer\'s body is not the next answer')
def head_and_get(t):
    fake = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale'
    t.world.paths['/split'] = lambda w, r: w.send(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(fake) + fake)
    _, a = handled(t, "function(r) r.method = 'GET' return r end", schemes=['http'])
    with a.plain(80) as s:
        s.sendall(get('/split', method='HEAD') + get('/split', method='HEAD'))
        data = b''
        while True:
            try:
                data += receive(s)
            except Ended:
                break
    t.same('one answer, and the end', (data.count(b'Content-Length: %d' % len(fake)), data.lower().count(b'connection: close')), (1, 1))
    t.world.paths.pop('/split')
