"""Real sandboxes in the world: coppice's daemons in `host`, everything through the command and the API. What is left of them goes even when the test is killed."""
import http.client, json, os, pathlib, shlex, socket, subprocess


JANITOR = r'''
read -r _
"$1" --store "$2" down >/dev/null 2>&1
for f in "$2"/*/*.pid "$2"/*.pid; do [ -f "$f" ] && kill -9 "$(cat "$f")" 2>/dev/null; done
rm -rf "$3"
'''


class Store:
    def __init__(self, world, coppice, *up):
        self.world, self.coppice, self.path = world, coppice, world.dir / 's'
        self.env = {**os.environ, 'COPPICE_STORE': str(self.path)}
        os.chmod(world.dir, 0o755)
        for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'no_proxy', 'NO_PROXY'):
            self.env.pop(name, None)
        self.janitor = subprocess.Popen(['sh', '-c', JANITOR, 'janitor', coppice, str(self.path), str(world.dir)], stdin=subprocess.PIPE, start_new_session=True)
        self.up(*up)

    def up(self, *more):
        self.must('up', '--resolver', self.world.resolver, '--upstream-roots', self.world.roots, '--secret-key', self.world.dir / 'key', *more)

    def c(self, *words, input=None, timeout=120):
        return subprocess.run([self.coppice, *map(str, words)], env=self.env, input=input, capture_output=True, encoding='latin-1', timeout=timeout)

    def must(self, *words, input=None):
        r = self.c(*words, input=input)
        if r.returncode:
            raise RuntimeError(f'coppice {" ".join(map(str, words))}: {r.returncode}: {r.stderr[-1500:]}')
        return r.stdout

    def run(self, name, script, user=None, timeout=120, env=()):
        more = (['--user', user] if user else []) + [x for e in env for x in ('--env', e)]
        return self.c('exec', name, *more, '--', 'bash', '-c', script, timeout=timeout)

    def api(self, method, path, body=None, headers=()):
        c = Local(str(self.path / 'sandbox' / 'api.sock'))
        c.request(method, path, None if body is None else json.dumps(body), {**({'Content-Type': 'application/json'} if body is not None else {}), **dict(headers)})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, json.loads(data) if data[:1] in (b'{', b'[') else data.decode('latin-1')

    def log(self):
        return b''.join(p.read_bytes() for p in (self.path / 'sandbox').glob('*.log'))

    def files(self):
        """Every file of the store that is not the tree of a workspace: at rest."""
        return [p for p in self.path.rglob('*') if p.is_file() and not p.is_symlink()]

    def processes(self):
        """Our daemons: {name: pid} of what runs with this store, or is a child of such."""
        out, parents = {}, {}
        for p in pathlib.Path('/proc').glob('[0-9]*'):
            try:
                stat = (p / 'stat').read_text().rsplit(') ', 1)
                parents[int(p.name)] = int(stat[1].split()[1])
                if str(self.path).encode() in (p / 'cmdline').read_bytes() and stat[0].split('(', 1)[1] != 'sh':
                    out[int(p.name)] = stat[0].split('(', 1)[1]
            except OSError:
                continue
        grown = True
        while grown:
            grown = False
            for pid, parent in parents.items():
                if parent in out and pid not in out:
                    try:
                        out[pid] = pathlib.Path(f'/proc/{pid}/comm').read_text().strip()
                        grown = True
                    except OSError:
                        pass
        return out

    def close(self):
        self.c('down')
        self.janitor.stdin.close()
        self.janitor.wait()


class Local(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost', timeout=60)
        self.unix = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.unix)
