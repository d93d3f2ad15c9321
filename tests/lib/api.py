"""The API of sandboxd by its Unix socket, for system tests: api.py SOCKET METHOD PATH [BODY], or RUN NAME SHELL (the output of a command; its status is this one's),
EACH N PREFIX SHELL (in PREFIX-1 .. PREFIX-N at once; one line of output for each), DELALL N PREFIX. A status of 400 or more is exit status 1, the answer still printed."""
import concurrent.futures, http.client, json, socket, sys


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost', timeout=300)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(self.path)


def ask(method, path, body=None, accept=None):
    """A connection cut before any answer (sandboxd was killed) is asked again: GETs only."""
    for again in range(50):
        c = Connection(SOCKET)
        try:
            headers = {'Accept': accept} if accept else {}
            if body is not None:
                headers['Content-Type'] = 'application/json'
            c.request(method, path, body, headers)
            r = c.getresponse()
            return r.status, r.read()
        except (ConnectionError, http.client.RemoteDisconnected, FileNotFoundError):
            if method != 'GET' or again == 49:
                raise
        finally:
            c.close()


def run(name, shell):
    status, body = ask('POST', f'/v1/sandbox/{name}/exec', json.dumps({'shell': shell}), 'application/json')
    d = json.loads(body)
    if status >= 400:
        return 255, d.get('error', '') + '\n'
    return d.get('exit_code', 254), d['stdout'] + d['stderr']


def many(n, what):
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        return list(pool.map(what, range(1, int(n) + 1)))


SOCKET, verb, args = sys.argv[1], sys.argv[2], sys.argv[3:]
if verb == 'RUN':
    code, text = run(*args)
    sys.stdout.write(text)
    sys.exit(code)
if verb == 'EACH':
    for code, text in many(args[0], lambda i: run(f'{args[1]}-{i}', args[2])):
        print(' '.join(text.split()))
elif verb == 'DELALL':
    bad = [r for r in many(args[0], lambda i: ask('DELETE', f'/v1/sandbox/{args[1]}-{i}')) if r[0] != 204]
    print(bad[:3])
    sys.exit(bool(bad))
else:
    status, body = ask(verb, args[0], args[1] if len(args) > 1 else None)
    sys.stdout.buffer.write(body + (b'\n' if not body.endswith(b'\n') else b''))
    sys.exit(status >= 400)
