"""What real clients talk to: a git repository, a Python index, an npm registry and a Debian repository, each with one small thing in it. Made by the host's own git and dpkg-deb."""
import base64, gzip, hashlib, io, json, os, pathlib, subprocess, tarfile, zipfile
from origin import answer

WORD = 'from-the-world'
GIT = {'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_SYSTEM': '/dev/null', 'GIT_AUTHOR_NAME': 'x', 'GIT_AUTHOR_EMAIL': 'x@example.com', 'GIT_COMMITTER_NAME': 'x', 'GIT_COMMITTER_EMAIL': 'x@example.com'}


def git_repository(directory):
    work, bare = directory / 'work', directory / 'repo.git'
    run = lambda *words: subprocess.run(['git', *map(str, words)], check=True, capture_output=True, env={**os.environ, **GIT})
    run('init', '-q', '-b', 'main', work)
    (work / 'README').write_text(WORD + '\n')
    (work / 'big').write_bytes(os.urandom(300000))
    run('-C', work, 'add', '.')
    run('-C', work, 'commit', '-q', '-m', 'one')
    run('clone', '-q', '--bare', work, bare)
    return directory


def git_backend(directory):
    """git http-backend, as a CGI program."""
    def serve(wire, request):
        url, _, query = request.target.partition('?')
        env = {**os.environ, **GIT, 'GIT_PROJECT_ROOT': str(directory), 'GIT_HTTP_EXPORT_ALL': '1', 'PATH_INFO': url, 'QUERY_STRING': query, 'REQUEST_METHOD': request.method, 'CONTENT_TYPE': request.get('content-type') or '',
               'HTTP_CONTENT_ENCODING': request.get('content-encoding') or '', 'GIT_PROTOCOL': request.get('git-protocol') or '', 'REMOTE_ADDR': '-', 'CONTENT_LENGTH': str(len(request.body)),
               'GIT_CONFIG_COUNT': '1', 'GIT_CONFIG_KEY_0': 'safe.directory', 'GIT_CONFIG_VALUE_0': '*'}
        out = subprocess.run(['git', 'http-backend'], input=request.body, capture_output=True, env=env).stdout
        head, _, body = out.partition(b'\r\n\r\n')
        headers = [tuple(l.split(': ', 1)) for l in head.decode().split('\r\n') if ': ' in l]
        answer(wire, body, next((v for n, v in headers if n == 'Status'), '200 OK'), [h for h in headers if h[0] != 'Status'])
    return serve


def wheel():
    """tiny-1.0: one module that says WORD."""
    files = {'tiny_egress.py': f'WORD = "{WORD}"\n', 'tiny_egress-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: tiny-egress\nVersion: 1.0\n', 'tiny_egress-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n'}
    digest = lambda b: base64.urlsafe_b64encode(hashlib.sha256(b).digest()).rstrip(b'=').decode()
    record = ''.join(f'{n},sha256={digest(b.encode())},{len(b)}\n' for n, b in files.items()) + 'tiny_egress-1.0.dist-info/RECORD,,\n'
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        for n, b in {**files, 'tiny_egress-1.0.dist-info/RECORD': record}.items():
            z.writestr(n, b)
    return out.getvalue()


def tarball():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w:gz') as z:
        for n, text in (('package/package.json', json.dumps({'name': 'tiny-egress', 'version': '1.0.0', 'main': 'index.js'})), ('package/index.js', f'module.exports = "{WORD}";\n')):
            i = tarfile.TarInfo(n)
            i.size = len(text)
            z.addfile(i, io.BytesIO(text.encode()))
    return out.getvalue()


def debian(directory):
    """{path: bytes} of a flat repository with one package, its Release unsigned."""
    root = directory / 'deb'
    (root / 'DEBIAN').mkdir(parents=True)
    (root / 'usr/share/tiny').mkdir(parents=True)
    (root / 'usr/share/tiny/word').write_text(WORD)
    (root / 'DEBIAN/control').write_text('Package: tiny-egress\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n')
    deb = directory / 'tiny.deb'
    subprocess.run(['dpkg-deb', '--root-owner-group', '-b', root, deb], check=True, capture_output=True)
    data = deb.read_bytes()
    control = (root / 'DEBIAN/control').read_text().rstrip('\n')
    packages = f'{control}\nFilename: ./tiny.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n'.encode()
    release = f'Origin: x\nSuite: x\nArchitectures: all\nSHA256:\n {hashlib.sha256(packages).hexdigest()} {len(packages)} Packages\n'.encode()
    return {'/debian/./Packages': packages, '/debian/./Release': release, '/debian/./tiny.deb': data, '/debian/Packages': packages, '/debian/Release': release, '/debian/tiny.deb': data}


def file(body, kind='application/octet-stream'):
    return lambda wire, request: answer(wire, body, headers=[('Content-Type', kind)])


def missing(wire, request):
    answer(wire, b'not here', '404 Not Found')


def add(world):
    """All of them at pkg.example.com."""
    base = pathlib.Path(world.dir / 'services')
    base.mkdir()
    whl, tgz = wheel(), tarball()
    npm = {'name': 'tiny-egress', 'dist-tags': {'latest': '1.0.0'}, 'versions': {'1.0.0': {'name': 'tiny-egress', 'version': '1.0.0', 'dist': {'tarball': 'https://pkg.example.com/npm/tiny-egress/-/tiny-egress-1.0.0.tgz',
           'integrity': 'sha512-' + base64.b64encode(hashlib.sha512(tgz).digest()).decode()}}}}
    name = 'tiny_egress-1.0-py3-none-any.whl'
    world.paths.update({'/repo.git/*': git_backend(git_repository(base)), '/simple/tiny-egress/': file(f'<!DOCTYPE html><html><body><a href="/wheels/{name}#sha256={hashlib.sha256(whl).hexdigest()}">{name}</a></body></html>'.encode(), 'text/html'),
                        f'/wheels/{name}': file(whl), '/npm/tiny-egress': file(json.dumps(npm).encode(), 'application/json'), '/npm/tiny-egress/-/tiny-egress-1.0.0.tgz': file(tgz), '/npm/-/*': file(b'{}', 'application/json'),
                        '/word': file(WORD.encode(), 'text/plain')})
    for path, body in debian(base).items():
        world.paths[path] = file(body)
    world.paths['/debian/*'] = missing
