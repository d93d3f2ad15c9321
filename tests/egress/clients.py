"""clients.py COPPICE STATIC_CLIENT [--only NAME]: unmodified clients inside real sandboxes, then attackers as root and as user, then a look for canaries everywhere.
Prints ok and not ok lines; ends with 77 where sandboxes cannot be."""
import os, pathlib, re, sys, time
import services, trial, wire, world as worlds
from live import Store

API = 'api.example.com'
PY = '/usr/bin/python3'
RULES = {'default': 'deny', 'rules': [{'name': 'pkg', 'allow': ['pkg.example.com'], 'schemes': ['https', 'http'], 'ports': [80, 443]}, {'name': 'api', 'allow': [API], 'inject': [{'bearer': 'token'}], 'websocket': True},
                                      {'name': 'tunnel', 'allow': ['files.example.com']}, {'name': 'look', 'allow': ['www.example.com'], 'intercept': True, 'schemes': ['https', 'http']}]}
# (name, what it needs in the sandbox, script). Each must print WORD. The same must hold for the distribution's own clients by name alone, without any setting.
WORD = services.WORD
CLIENTS = [
    ('curl, https', 'curl', 'curl -sS https://pkg.example.com/word'),
    ('curl, http', 'curl', 'curl -sS http://pkg.example.com/word'),
    ('curl, intercepted', 'curl', 'curl -sS https://www.example.com/word'),
    ('curl by an address of its own', 'curl', 'curl -sS --resolve www.example.com:443:203.0.113.7 https://www.example.com/word'),
    ('curl, six', 'curl', 'curl -sS --resolve "www.example.com:443:[2606:4700::1111]" https://www.example.com/word'),
    ('curl through HTTPS_PROXY', 'curl', 'HTTPS_PROXY=http://127.0.0.1:3128 curl -sS https://pkg.example.com/word'),
    ('curl through http_proxy', 'curl', 'http_proxy=http://127.0.0.1:3128 curl -sS http://pkg.example.com/word'),
    ('curl --http2', 'curl', 'curl -sS --http2 https://www.example.com/word'),
    ('wget', 'wget', 'wget -q -O- https://www.example.com/word'),
    ('git clone', 'git', 'rm -rf /tmp/g; git clone -q https://pkg.example.com/repo.git /tmp/g && cat /tmp/g/README'),
    ('git clone, intercepted', 'git', 'rm -rf /tmp/g; git clone -q https://www.example.com/repo.git /tmp/g && cat /tmp/g/README'),
    ('pip install', f'{PY} -m pip --version', f'rm -rf /tmp/p; PIP_CONFIG_FILE=/dev/null {PY} -m pip -q --disable-pip-version-check install --no-cache-dir --index-url https://www.example.com/simple/ --target /tmp/p tiny-egress && PYTHONPATH=/tmp/p {PY} -c "import tiny_egress; print(tiny_egress.WORD)"'),
    ('npm install', 'npm', 'rm -rf /tmp/n; mkdir /tmp/n && cd /tmp/n && touch u g; npm install --userconfig u --globalconfig g --silent --no-audit --no-fund --no-update-notifier --registry https://www.example.com/npm/ --replace-registry-host=never --cache /tmp/n/.c tiny-egress >/dev/null && node -p "require(\'tiny-egress\')"'),
    ('node fetch', 'node', 'node -e "fetch(\'https://www.example.com/word\').then(r => r.text()).then(console.log)"'),
    ('python urllib', PY, f'{PY} -c "import urllib.request as u; print(u.urlopen(\'https://www.example.com/word\').read().decode())"'),
    ('python requests', f'{PY} -c "import requests"', f'{PY} -c "import requests; print(requests.get(\'https://www.example.com/word\').text)"'),
    ('python requests, proxies', f'{PY} -c "import requests"', f'HTTPS_PROXY=http://127.0.0.1:3128 {PY} -c "import requests; print(requests.get(\'https://www.example.com/word\').text)"'),
    ('perl', 'perl -MLWP::Protocol::https -e1', 'perl -MLWP::UserAgent -e "print LWP::UserAgent->new->get(q(https://www.example.com/word))->content"'),
    ('openssl s_client', 'openssl', r'printf "GET /word HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n" | openssl s_client -quiet -verify_return_error -verify_hostname www.example.com -connect www.example.com:443 2>/dev/null'),
    ('static, https', '/static_client', '/static_client https www.example.com /word'),
    ('static, https without SSL_CERT_FILE', '/static_client', 'env -u SSL_CERT_FILE /static_client https www.example.com /word'),
    ('static, http', '/static_client', '/static_client http pkg.example.com /word'),
    ('an empty environment', 'curl', 'env -i /usr/bin/curl -sS https://www.example.com/word'),
    ('python in an empty environment', PY, f'env -i {PY} -c "import urllib.request as u; print(u.urlopen(\'https://www.example.com/word\').read().decode())"'),
]
APT = ('set -e; rm -rf /tmp/a; mkdir -p /tmp/a/lists/partial /tmp/a/cache/archives/partial /tmp/a/etc; echo "deb [trusted=yes] {scheme}://www.example.com/debian ./" >/tmp/a/etc/sources.list; cd /tmp/a; touch status; '
       'O="-o APT::Sandbox::User=root -o Dir::State=/tmp/a -o Dir::State::status=/tmp/a/status -o Dir::State::lists=/tmp/a/lists -o Dir::Cache=/tmp/a/cache -o Dir::Etc=/tmp/a/etc -o Dir::Etc::sourcelist=/tmp/a/etc/sources.list -o Acquire::Languages=none"; '
       'apt-get $O -q update >/tmp/a/out 2>&1 || {{ cat /tmp/a/out; exit 1; }}; apt-get $O -q download tiny-egress >>/tmp/a/out 2>&1 || {{ cat /tmp/a/out; exit 1; }}; dpkg-deb --fsys-tarfile tiny-egress*.deb | tar -xO ./usr/share/tiny/word')
REFUSED = [('ssh', 22), ('smtp', 25), ('git', 9418), ('DoT', 853), ('postgres', 5432), ('redis', 6379)]


class Run(trial.Trial):
    """The same bookkeeping, over real sandboxes."""

    def __init__(self, world, store):
        super().__init__(world, None)
        self.store = store

    def step(self, what, f):
        self.checks, self.faults, begun = 0, [], time.monotonic()
        try:
            f()
        except Exception as e:
            self.faults.append(f'{type(e).__name__}: {e}')
        good, bad = self.results.get('all', (0, 0))
        self.results['all'] = (good + (not self.faults), bad + bool(self.faults))
        print(f'{"not " if self.faults else ""}ok {what} ({self.checks} checks, {time.monotonic() - begun:.1f} s)', flush=True)
        for x in self.faults[:8]:
            print(f'#   {x}', flush=True)


def says(r, got):
    r.true('the word came', WORD in got.stdout and got.returncode == 0, (got.returncode, got.stdout[-600:], got.stderr[-600:]))


def clients(r):
    for name, needs, script in CLIENTS:
        if r.store.run('ws', f'{needs if " -" in needs else "command -v " + needs} >/dev/null 2>&1 </dev/null').returncode:
            print(f'ok # SKIP {name}: not installed on this machine')
            continue
        r.step(f'client: {name}', lambda: says(r, r.store.run('ws', script)))
    for scheme in ('http', 'https'):
        r.step(f'client: apt over {scheme}', lambda: says(r, r.store.run('ws', APT.format(scheme=scheme), user='root')))
    modules = pathlib.Path(__file__).resolve().parent.parent / 'clients' / 'node_modules'
    if (modules / 'ws').is_dir():
        r.store.must('exec', '-i', 'ws', '--', 'bash', '-c', 'mkdir -p /tmp/w/node_modules && cd /tmp/w && base64 -d | tar -x', input=pack(modules))
        r.step('client: ws, a WebSocket through TLS and a credential', lambda: r.same('echo', r.store.run('ws', f'cd /tmp/w && timeout 20 node ws_client.mjs /tmp/w wss://{API}/ws').stdout.strip(), 'hello'))
    else:
        print('ok # SKIP ws: run tools/install-packages test')


def pack(modules):
    import base64, io, tarfile
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as z:
        z.add(modules / 'ws', 'node_modules/ws')
        z.add(pathlib.Path(__file__).resolve().parent / 'ws_client.mjs', 'ws_client.mjs')
    return base64.b64encode(out.getvalue()).decode()


def refused(r):
    script = ''.join(f'timeout 5 bash -c "</dev/tcp/93.184.216.34/{port}" 2>&1 | grep -q refused && echo 1; ' for _, port in REFUSED)
    with r.silence('refused'):
        for user in ('user', 'root'):
            got = r.store.run('ws', script, user=user)
            r.same(f'other ports as {user}: refused by the kernel', got.stdout.split(), ['1'] * len(REFUSED))
            got = r.store.run('ws', f"{PY} -c \"\nimport socket\nfor p in (443, 123, 5353, 53000):\n s = socket.socket(2, 2); s.settimeout(3); s.connect(('8.8.8.8', p)); s.send(b'x')\n try: s.recv(1); print('answer')\n except Exception as e: print(type(e).__name__)\"", user=user)
            r.same(f'UDP as {user}', got.stdout.split(), ['ConnectionRefusedError'] * 4)
            got = r.store.run('ws', f'{PY} -c "import socket; print(socket.gethostbyname(\'data.evil.example.net\'))"; for h in evil.example.net 93.184.216.66 169.254.169.254 10.0.0.5 10.77.0.1 [::1] localhost; do curl -s -m 10 -o /dev/null -w "%{{http_code}} " http://$h/; done', user=user)
            r.same(f'names and requests as {user}', got.stdout.split(), ['198.18.0.1'] + ['403'] * 7)


def credentials(r):
    mark = r.world.mark()
    got = r.store.run('ws', f'curl -sS -H "Authorization: Bearer mine" https://{API}/echo')
    sent = b''.join(bytes(w.data) for w in r.world.seen(mark))
    r.true('the origin got the credential, once', sent.count(r.canaries.values['token'].encode()) == 1 and b'mine' not in sent, sent[-400:])


def attackers(r):
    """inside.py in both sandboxes, as root and as user."""
    import json
    here = pathlib.Path(__file__).resolve().parent
    for f in ('wire.py', 'inside.py'):
        r.store.must('exec', '-i', 'ws', '--', 'sh', '-c', f'cat >/tmp/{f}', input=(here / f).read_text())
    for user in ('root', 'user'):
        mark, canary = r.world.mark(), len(r.world.canary)
        got = r.store.run('ws', f'{PY} /tmp/inside.py other.example.org', user=user)
        try:
            d = json.loads(got.stdout)
        except ValueError:
            r.true(f'the attacker as {user} ran', False, got.stdout[-300:] + got.stderr[-900:])
            continue
        r.same(f'{user}: control', d['control'], '200')
        for what, word in d['attacks'].items():
            r.true(f'{user}: {what}', wire.refused(word), word)
        r.same(f'{user}: sockets of others', d['sockets'], [])
        r.same(f'{user}: ports of egress taken', d['bound'], [])
        r.true(f'{user}: raw sockets', all(x[:1] == [16] for x in d['raw']), d['raw'])
        r.same(f'{user}: who was reached', {(w.address, w.port) for w in r.world.seen(mark)}, {('93.184.216.34', 443)})
        r.same(f'{user}: inner services', r.world.canary[canary:], [])


HUNT = r'''
echo "== env"; env; cat /proc/*/environ 2>/dev/null | tr '\0' '\n'; cat /proc/*/cmdline /proc/*/maps /proc/*/mountinfo /proc/net/* 2>/dev/null
echo "== files"; find / -xdev \( -path /proc -o -path /usr \) -prune -o -type f -size -4M -print0 2>/dev/null | xargs -0r cat 2>/dev/null
echo "== dev"; cat /dev/ca-bundle.pem; ls -la /dev /dev/shm
echo "== sockets"; cat /proc/net/unix; ls -la /proc/self/fd
'''


def hunt(r):
    """An attacker inside looks for everything; then we look outside."""
    r.canaries.values['API token'] = (r.store.path / 'sandbox' / 'token').read_text().strip() if (r.store.path / 'sandbox' / 'token').exists() else r.canaries.new('no token')
    for user in ('root', 'user'):
        for box in ('ws', 'other'):
            got = r.store.run(box, HUNT, user=user)
            r.true(f'{box} as {user}: it saw something', 'BEGIN CERTIFICATE' in got.stdout)
            r.same(f'{box} as {user}: canaries', r.canaries.find((got.stdout + got.stderr).encode('latin-1')), [])
            r.true(f'{box} as {user}: no private key', 'PRIVATE KEY' not in got.stdout)
    ids = [b['id'] for b in r.store.api('GET', '/v1/sandbox')[1].get('sandboxes', [])] or ['ws', 'other']
    answers = [r.store.api('GET', p) for p in ['/v1/secret', '/v1/sandbox', '/health', *(f'/v1/sandbox/{i}{x}' for i in ids for x in ('', '/rules', '/egress-log', '/usage'))]]
    r.true('the API answers', all(s == 200 for s, _ in answers), [s for s, _ in answers])
    r.same('canaries in answers', r.canaries.find(repr(answers).encode()), [])
    for words in (('secret', 'list'), ('rules', 'ws'), ('egress-log', 'ws'), ('list', '--all'), ('show', 'ws')):
        got = r.store.c(*words)
        r.same(f'canaries in `coppice {" ".join(words)}`', r.canaries.find((got.stdout + got.stderr).encode('latin-1')), [])
    r.same('in logs', r.canaries.find(r.store.log()), [])
    for p in r.store.files():
        if p.name == 'token':
            continue
        found = r.canaries.find(p.read_bytes())
        r.same(f'in {p.relative_to(r.store.path)}', found, [])
        r.true(f'no key in {p.name}', not re.search(rb'-----BEGIN [A-Z ]*PRIVATE KEY-----', p.read_bytes()))
    for pid, comm in r.store.processes().items():
        for f in ('environ', 'cmdline'):
            try:
                r.same(f'{f} of {comm}', r.canaries.find(pathlib.Path(f'/proc/{pid}/{f}').read_bytes()), [])
            except OSError:
                pass
    exported = r.world.dir / 'out.tar'
    r.store.c('export', 'ws', exported)
    if exported.exists():
        r.same('in an export', r.canaries.find(exported.read_bytes()), [])


def forks_and_restarts(r):
    st = r.store
    pids = [p for p, c in st.processes().items() if c == 'egress']
    r.true('egress runs', len(pids) >= 1, st.processes())
    code = lambda name, host: st.run(name, f'curl -s -m 20 -o /dev/null -w "%{{http_code}}" https://{host}/word').stdout
    r.same('before', code('ws', API), '200')
    st.must('fork', 'ws', 'child')
    r.same('a fork inherits nothing that does not say so', code('child', API), '403')
    for what, act in (('egress killed', lambda: [os.kill(p, 9) for p, c in st.processes().items() if c == 'egress']), ('sandboxd killed', lambda: [os.kill(p, 9) for p, c in st.processes().items() if c == 'sandboxd'])):
        act()
        r.until(f'{what}: it is back', lambda: code('ws', API) == '200', 20)
        r.same(f'{what}: the same refusal', code('ws', 'evil.example.net'), '403')
        r.same(f'{what}: another sandbox has its own rules', code('other', API), '403')
    st.must('down')
    st.up()
    r.same('after down and up: the same rules', (code('ws', API), code('ws', 'evil.example.net'), code('other', API)), ('200', '403', '403'))


def api_and_previews(r):
    """The API is not reached from inside, not even by a rule that opens the host's private addresses; reserved ports have no preview."""
    st = r.store
    address = (st.path / 'sandbox' / 'listen').read_text().strip()
    port = address.rsplit(':', 1)[1]
    status, _ = st.api('PUT', '/v1/sandbox/other/rules', {'default': 'allow', 'rules': [{'name': 'in', 'allow': ['loop.example.com', 'host.example.com', '127.0.0.1'], 'schemes': ['http', 'https'], 'ports': [80, 443, 8080, int(port)], 'private': True}]})
    r.same('the rules are taken', status, 200)
    ask = lambda url: st.run('other', f'curl -s -m 20 -o /dev/null -w "%{{http_code}}" -x http://127.0.0.1:3128 {url}').stdout
    r.same('a private service of the host is reached', ask('http://loop.example.com:8080/'), '200')
    for host in ('loop.example.com', '127.0.0.1', 'host.example.com'):
        r.among(f'the API at {host}', ask(f'http://{host}:{port}/health'), ('403', '502'))
    r.true('its socket is not inside', 'api.sock' not in st.run('other', 'find / -xdev -name "*.sock" -not -path "/proc/*" 2>/dev/null', user='root').stdout)
    for p in (53, 80, 443, 3128):
        status, answer = st.api('POST', f'/v1/sandbox/ws/port/{p}', {})
        r.among(f'a preview of {p}', status, (400, 403, 409, 422))
    status, answer = st.api('POST', '/v1/sandbox/ws/port/8000', {})
    r.true('another port has one', status in (200, 201), (status, answer))
    st.api('PUT', '/v1/sandbox/other/rules', {'default': 'deny', 'rules': []})


def sleep_and_freeze(r):
    st = r.store
    for verb, back in (('sleep', 'wake'), ('freeze', 'wake')):
        got = st.c(verb, 'ws')
        r.true(verb, got.returncode == 0, got.stderr)
        r.same(f'after {verb}', st.run('ws', f'curl -sS https://{API}/word').stdout, WORD)


def main():
    coppice, static = sys.argv[1:3]
    if os.geteuid() != 0 or not os.access('/dev/fuse', os.W_OK):
        print('ok # SKIP egress_clients: needs root and /dev/fuse')
        return 77
    begun = time.monotonic()
    w = worlds.World()
    services.add(w)
    store = None
    try:
        store = Store(w, coppice)
        r = Run(w, store)
        store.must('create', 'ws')
        store.must('create', 'other')
        r.step('a secret is set', lambda: r.among('status', store.api('PUT', '/v1/secret/token', {'value': r.canaries.new('token')})[0], (200, 201, 204)))
        status, answer = store.api('PUT', '/v1/sandbox/ws/rules', RULES)
        r.step('rules are set', lambda: r.same('status', status, 200) if status == 200 else r.true(str(answer), False))
        store.must('exec', '-i', '--user', 'root', 'ws', '--', 'sh', '-c', 'base64 -d >/static_client && chmod 755 /static_client', input=__import__('base64').b64encode(open(static, 'rb').read()).decode())
        for what, f in (('clients', lambda: clients(r)),):
            f()
        r.step('ports, protocols, names and hosts that are not allowed: refused at once, and nobody hears of it', lambda: refused(r))
        r.step('attackers inside, as root and as user', lambda: attackers(r))
        r.step('the credential is added outside', lambda: credentials(r))
        r.step('forks, kill -9, restarts: the same rules', lambda: forks_and_restarts(r))
        r.step('the API is not reached from inside; no previews of reserved ports', lambda: api_and_previews(r))
        r.step('sleep and freeze', lambda: sleep_and_freeze(r))
        r.step('canaries: sandboxes, /proc, API, command, logs, files at rest, exports', lambda: hunt(r))
    finally:
        if store:
            if os.environ.get('KEEP_LOG'):
                pathlib.Path(os.environ['KEEP_LOG']).write_bytes(store.log())
            store.close()
        w.close()
    good, bad = r.results['all']
    print(f'egress_clients: {good} passed, {bad} failed, {time.monotonic() - begun:.0f} s')
    return 1 if bad or not good else 0


code = main()
sys.stdout.flush()
os._exit(code)
