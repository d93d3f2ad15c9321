"""Checks of code contexts over HTTP, for code.sh: code_checks.py SOCKET SANDBOX. Prints `ok` and `not ok` lines."""
import base64, concurrent.futures, http.client, json, os, socket, sys, time

SOCKET, BOX = sys.argv[1:3]


class Connection(http.client.HTTPConnection):
    def __init__(self):
        super().__init__('localhost', timeout=30)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(SOCKET)


def call(method, path, body=None, accept='application/json', box=BOX):
    c = Connection()
    c.request(method, f'/v1/sandbox/{box}{path}', json.dumps(body) if body is not None else None, {'Content-Type': 'application/json', 'Accept': accept})
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, json.loads(data) if data else None


class Run:
    """A run whose events are read as they come."""
    def __init__(self, cid, code, **more):
        self.c = Connection()
        self.c.request('POST', f'/v1/sandbox/{BOX}/context/{cid}/run', json.dumps(dict(code=code, **more)), {'Content-Type': 'application/json', 'Accept': 'application/x-ndjson'})
        self.r = self.c.getresponse()
        self.events = []

    def next(self):
        line = self.r.readline()
        if not line:
            return None
        self.events.append(json.loads(line))
        return self.events[-1]

    def until(self, text):
        while True:
            e = self.next()
            if e is None:
                raise EOFError(self.events)
            if text in e.get('text', ''):
                return e

    def finish(self):
        while self.next():
            pass
        self.c.close()
        return self

    def of(self, kind):
        return [e for e in self.events if e['event'] == kind]

    def text(self, kind='stdout'):
        return ''.join(e['text'] for e in self.of(kind))

    @property
    def value(self):
        return next((e['text/plain'] for e in self.of('result') if e.get('main')), None)

    @property
    def error(self):
        return (self.of('error') or [{}])[-1]

    @property
    def done(self):
        return (self.of('done') or [{}])[-1]


def run(cid, code, **more):
    return Run(cid, code, **more).finish()


def check(what, good, seen=None):
    print(('ok ' if good else 'not ok ') + what + ('' if good else ': ' + repr(seen)[:600].replace('\n', ' ')), flush=True)


def same(what, got, want):
    check(what, got == want, (got, want))


def new(language='python', **more):
    status, c = call('POST', '/context', dict(language=language, **more))
    if status != 201:
        raise RuntimeError((status, c))
    return c['id']


def delete(cid):
    return call('DELETE', f'/context/{cid}')[0]


def state():
    a, b = new(), new()
    r = run(a, 'x = 1\ndef f(): return x + 1\nimport math\nf()')
    same('the last value', (r.value, r.done['count'], r.done['ok'], r.of('start')[0]['fresh']), ('2', 1, True, True))
    same('variables, functions and imports stay', run(a, 'x = 5\n(f(), math.floor(2.5))').value, '(6, 2)')
    same('contexts are isolated', run(b, 'x').error.get('name'), 'NameError')
    same('the count goes on', run(a, '_').done['count'], 3)
    same('working directory and environment', run(new(cwd='/tmp', env={'WHO': 'me'}), 'import os; (os.getcwd(), os.environ["WHO"])').value, "('/tmp', 'me')")
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        ids = list(pool.map(lambda i: new(), range(10)))
        got = list(pool.map(lambda i: run(ids[i], f'import time; time.sleep(0.3); {i} * 10').value, range(10)))
    same('ten contexts at once', got, [str(i * 10) for i in range(10)])
    listed = call('GET', '/context')[1]['contexts']
    check('they are listed', set(ids) <= {c['id'] for c in listed}, listed)
    same('runs of one context take turns', run_turns(ids[0]), ['0', '1', '2', '3'])
    same('deleting', [delete(i) for i in ids], [204] * 10)
    same('a deleted one is gone', call('POST', f'/context/{ids[0]}/run', {'code': '1'})[0], 404)
    one = call('POST', f'/context/{a}/run', {'code': 'print("p"); import sys; print("q", file=sys.stderr); display(7); 8'})[1]
    same('one document', (one['stdout'], one['stderr'], [r['text/plain'] for r in one['results']], one['ok'], one['truncated']), ('p\n', 'q\n', ['7', '8'], True, False))
    delete(a), delete(b)


def run_turns(cid):
    first = Run(cid, 'import time; n = 0; print("on", flush=True); time.sleep(0.2); n')
    first.until('on')
    rest = [Run(cid, 'n += 1; n') for _ in range(3)]
    return [r.finish().value for r in [first, *rest]]


def streams():
    a = new()
    r = Run(a, 'import time\nprint("first", end="", flush=True)\nwhile True:\n    time.sleep(0.01)')
    r.until('first')
    check('output comes while the code runs, without a newline', not r.of('done'))
    same('interrupting', call('POST', f'/context/{a}/interrupt', {})[1], {'interrupted': True})
    same('it is KeyboardInterrupt', r.finish().error.get('name'), 'KeyboardInterrupt')
    same('nothing to interrupt', call('POST', f'/context/{a}/interrupt', {})[1], {'interrupted': False})
    r = run(a, 'import sys, os\nfor i in range(200):\n    print(i, file=sys.stdout if i % 2 else sys.stderr)\n    if i % 50 == 0: display(i)')
    lines = [line for e in r.events if e['event'] in ('stdout', 'stderr') for line in e['text'].split()]
    same('stdout and stderr keep their order', lines, [str(i) for i in range(200)])
    marks = [int(''.join(x.get('text', '') for x in r.events[:i]).split()[-1]) for i, e in enumerate(r.events) if e['event'] == 'result']
    same('results stand where they were shown', marks, [0, 50, 100, 150])
    r = run(a, 'import subprocess\nprint("before")\nsubprocess.run("echo child; echo bad >&2", shell=True)\nos.system("echo more")\nprint("after");')
    same('what children print counts, in its place', (r.text(), r.text('stderr')), ('before\nchild\nmore\nafter\n', 'bad\n'))
    r = run(a, 'os.write(1, "é".encode()[:1]); time.sleep(0.05); os.write(1, "é".encode()[1:] + b"\\xff\\n");')
    same('a character in two pieces, and what is none', r.text(), 'é\ufffd\n')
    r = run(a, 'import threading\nthreading.Timer(0.05, lambda: print("late")).start()')
    time.sleep(0.3)
    same('what comes between runs is told by the next', run(a, '1').text(), 'late\n')
    size = 0
    r = Run(a, 'for i in range(64): print("x" * (1 << 20))')
    while (e := r.next()):
        size += len(e.get('text', ''))
        r.events = r.events[-1:]
    same('64 MiB of output', (size, r.done.get('ok')), (64 * ((1 << 20) + 1), True))
    r = Run(a, 'n = 0\nfor n in range(1000): print("y" * (1 << 20))')
    r.next(), r.next()
    time.sleep(1)
    status, kb = call('POST', '/exec', {'shell': 'true'})
    r.r.close(), r.c.close()
    same('a client that leaves does not end the code', (status, run(a, 'n').value), (200, '999'))
    delete(a)


def rich():
    a = new()
    r = run(a, '''class R:
    def _repr_html_(self): return "<b>x</b>"
    def _repr_markdown_(self): return "**x**"
    def _repr_svg_(self): return "<svg/>"
    def _repr_png_(self): return b"PNG"
    def _repr_jpeg_(self): return b"JPG"
    def _repr_latex_(self): return "$x$"
    def _repr_json_(self): return {"a": [1, None]}
    def _repr_javascript_(self): return "alert(1)"
    def __repr__(self): return "R()"
R()''')
    bundle = r.of('result')[0]
    same('a bundle', {k: bundle.get(k) for k in ('text/plain', 'text/html', 'text/markdown', 'image/svg+xml', 'image/png', 'image/jpeg', 'text/latex', 'application/json', 'application/javascript')},
         {'text/plain': 'R()', 'text/html': '<b>x</b>', 'text/markdown': '**x**', 'image/svg+xml': '<svg/>', 'image/png': base64.b64encode(b'PNG').decode(), 'image/jpeg': base64.b64encode(b'JPG').decode(),
          'text/latex': '$x$', 'application/json': {'a': [1, None]}, 'application/javascript': 'alert(1)'})
    same('nothing is shown of None, or after a semicolon', (run(a, 'None').value, run(a, '5;').value), (None, None))
    same('await at the top', run(a, 'import asyncio\nawait asyncio.sleep(0.01, "slept")').value, "'slept'")
    r = run(a, 'def f():\n    return 1 / 0\n\nf()')
    check('an error has name, value, and traceback with the user\'s lines', r.error['name'] == 'ZeroDivisionError' and r.error['value'] == 'division by zero' and 'line 2' in r.error['traceback']
          or '----> 2' in r.error['traceback'], r.error)
    check('input() is refused, and says so', 'not available' in run(a, 'input("name? ")').error['value'])
    same('sys.exit ends the run only', (run(a, 'import sys; sys.exit(3)').error['name'], run(a, '1').done['count'] > 3), ('SystemExit', True))
    same('a huge result is left out with a word', 'left out' in run(a, 'display({"text/html": "h" * (9 << 20)}, raw=True)').of('result')[0]['text/plain'], True)
    if not os.path.exists('/usr/lib/python3/dist-packages/matplotlib'):
        print('ok # SKIP figures: python3-matplotlib is not installed (tools/install-packages test)')
    else:
        r = run(a, 'import matplotlib.pyplot as plt\nplt.plot([1, 2, 3], [4, 5, 6], label="a")\nplt.title("T"); plt.xlabel("t (s)")\nplt.show()')
        shown = r.of('result')[0]
        same('a figure is a PNG', base64.b64decode(shown['image/png'])[:4], b'\x89PNG')
        chart = shown['application/vnd.coppice.chart+json']
        same('and its data', (chart['type'], chart['title'], chart['x_label'], chart['x_unit'], chart['elements']), ('line', 'T', 't (s)', 's', [{'label': 'a', 'points': [[1, 4], [2, 5], [3, 6]]}]))
        charts = {'scatter': 'plt.scatter([1], [2])', 'bar': 'plt.bar(["p", "q"], [3, 4])', 'pie': 'plt.pie([1, 3], labels=["u", "v"])', 'box_and_whisker': 'plt.boxplot([1, 2, 3, 4, 20])'}
        got = {kind: next(r['application/vnd.coppice.chart+json'] for r in run(a, code + ';').of('result')) for kind, code in charts.items()}
        same('kinds of charts', {k: g['type'] for k, g in got.items()}, {k: k for k in charts})
        same('bars', [(e['label'], e['value']) for e in got['bar']['elements']], [('p', 3), ('q', 4)])
        same('slices', [(e['label'], round(e['angle'])) for e in got['pie']['elements']], [('u', 90), ('v', 270)])
        box = got['box_and_whisker']['elements'][0]
        same('boxes', (box['first_quartile'], box['median'], box['third_quartile'], box['min'], box['max'], box['outliers']), (2, 3, 4, 1, 4, [20]))
        same('a figure is shown once', len(run(a, 'fig = plt.figure(); fig.gca().plot([1]); fig').of('result')), 1)
    if not os.path.exists('/usr/lib/python3/dist-packages/pandas'):
        print('ok # SKIP tables: python3-pandas is not installed (tools/install-packages test)')
    else:
        table = run(a, 'import pandas as pd\npd.DataFrame({"a": [1, 2], "b": ["x", "y"]})').of('result')[0]
        check('a table is HTML', '<table' in table['text/html'] and table['application/vnd.coppice.data+json']['columns'] == ['a', 'b'], table)
    delete(a)


def javascript():
    for language in ('javascript', 'typescript'):
        a = new(language)
        same(f'{language}: declarations again', [run(a, code).value for code in ('const x = 1; let y = 2; x + y', 'const x = 10; let y = 20; x + y', 'class A {}; class A2 extends A {}; typeof new A2()', 'x')],
             ['3', '30', "'object'", '10'])
        same(f'{language}: functions keep their variables', [run(a, code).value for code in ('let n = 0; function up() { return ++n }', 'up(); up(); n')], [None, '2'])
        same(f'{language}: await at the top, and imports', [run(a, code).value for code in ('await new Promise((r) => setTimeout(() => r(7), 5))', 'import { basename } from "path"; basename("/a/b")',
             'require("os").EOL.length', '(await import("fs")).existsSync("/")')], ['7', "'b'", '1', 'true'])
        r = run(a, 'console.log("o"); console.error("e"); console.log("p"); ({a: 1})')
        same(f'{language}: output in order, and a value', ([e['event'] for e in r.events[1:-1]], r.text(), r.of('result')[0]['application/json']), (['stdout', 'stderr', 'stdout', 'result'], 'o\np\n', {'a': 1}))
        same(f'{language}: a child\'s output', run(a, 'require("child_process").execSync("echo child", {stdio: "inherit"}); console.log("after")').text(), 'child\nafter\n')
        r = run(a, 'display.html("<b>h</b>"); display.png(Buffer.from("P")); display.markdown("# m")')
        same(f'{language}: display', [list(e)[1] for e in r.of('result')], ['text/html', 'image/png', 'text/markdown'])
        for what, code in (('a loop', 'console.log("on"); for (;;) {}'), ('a loop after await', 'console.log("on"); await 0; for (;;) {}'), ('waiting', 'console.log("on"); await new Promise(() => {})'),
                           ('a loop in a timer', 'setTimeout(() => { console.log("on"); for (;;) {} }, 1); await new Promise(() => {})')):
            r = Run(a, code)
            r.until('on')
            call('POST', f'/context/{a}/interrupt', {})
            same(f'{language}: {what} is interrupted, state stays', (r.finish().error.get('name'), run(a, 'x').value), ('Interrupted', '10'))
        check(f'{language}: process.exit ends the interpreter', run(a, 'process.exit(3)').error['name'] == 'InterpreterDied')
        r = run(a, 'typeof x')
        same(f'{language}: a fresh one follows', (r.value, r.of('start')[0]['fresh']), ("'undefined'", True))
        delete(a)
    a = new('typescript')
    r = run(a, 'interface P { x: number }\n\ntype Q = P\nfunction f(p: Q): never {\n  throw new Error("bad " + p.x)\n}\nf({ x: 1 } as Q)')
    check('typescript: errors stand at the user\'s lines', r.error['value'] == 'bad 1' and ':5:9' in r.error['traceback'] and ':7:1' in r.error['traceback'], r.error)
    r = run(a, 'let a = 1\nlet b: = 2')
    check('typescript: so do syntax errors', r.error['name'] == 'SyntaxError' and ':2:8' in r.error['traceback'], r.error)
    same('typescript: enums and parameter properties', run(a, 'enum E { A = 1, B }\nclass C { constructor(public v: E) {} }\nnew C(E.B).v').value, '2')
    delete(a)


def hostile():
    a = new()
    for what, code in (('os._exit', 'import os; os._exit(7)'), ('SIGKILL', 'import os; os.kill(os.getpid(), 9)'), ('a crash', 'import ctypes; ctypes.string_at(0)'),
                       ('closing every descriptor', 'import os; os.closerange(0, 1000)')):
        r = run(a, 'keep = 1\n' + code)
        same(f'{what} ends the interpreter, the context goes on fresh', (r.error.get('name'), r.done.get('ok'), run(a, '"keep" in globals()').value), ('InterpreterDied', False, 'False'))
    same('lost descriptors 1 and 2 harm nobody', run(a, 'import os; os.close(1); os.close(2); 5').value, '5')
    call('POST', f'/context/{a}/restart', {})
    forge = 'import os, struct\nfor fd in range(3, 400):\n    try:\n        if "socket" in os.readlink(f"/proc/self/fd/{fd}"): os.write(fd, %s)\n    except OSError: pass\n1'
    pack = lambda m: 'struct.pack("<I", %d) + %r' % (len(m), m)
    for what, data in (('a length of 4 GiB', 'b"\\xff\\xff\\xff\\xff"'), ('no JSON', pack(b'{]')), ('a deep list', pack(b'[' * 100000)), ('another kind', pack(b'{"t":"ready","driver":5}')), ('a list', pack(b'[1]')),
                       ('a false done', pack(b'{"t":"done","count":-5}')), ('a bad result', pack(b'{"t":"result","data":{"a":{"b":[1e5,"\\u0000"]}},"main":1}'))):
        r = run(a, forge % data)
        call('POST', f'/context/{a}/restart', {})
        check(f'forged messages: {what}', run(a, '6 * 7').value == '42', r.events)
    same('a forked child says nothing of its own', [run(a, 'import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\n"parent" if pid else "child"').value, run(a, '2').value], ["'parent'", '2'])
    run(a, 'import builtins\nfor n in ("len", "isinstance", "print"): setattr(builtins, n, None)')
    same('builtins that were taken away come back', run(a, 'len("abc")').value, '3')
    r = run(a, 'import time\ntime.sleep(60)', timeout_ms=200)
    same('a timeout', (r.error.get('name'), run(a, '1').of('start')[0]['fresh']), ('Timeout', False))
    r = run(a, 'import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt: pass', timeout_ms=200)
    same('a timeout that is not heeded', (r.error.get('name'), 'variables are lost' in r.error.get('value', ''), run(a, '1').of('start')[0]['fresh']), ('Timeout', True, True))
    r = Run(a, 'print("on"); import time; time.sleep(60)')
    r.until('on')
    same('restart while it runs', (call('POST', f'/context/{a}/restart', {})[0], r.finish().error.get('name')), (200, 'ContextRestarted'))
    r = Run(a, 'print("on"); import time; time.sleep(60)')
    r.until('on')
    same('delete while it runs', (delete(a), r.finish().error.get('name')), (204, 'ContextDeleted'))


def requests():
    same('an unknown language', call('POST', '/context', {'language': 'cobol'})[0], 400)
    same('an unknown field', call('POST', '/context', {'speed': 1})[0], 400)
    same('a relative cwd', call('POST', '/context', {'cwd': 'tmp'})[0], 400)
    same('a cwd that is not there', call('POST', '/context', {'cwd': '/no/such'})[0], 400)
    same('no code', call('POST', '/context/python/run', {})[0], 400)
    same('code that is no string', call('POST', '/context/python/run', {'code': 5})[0], 400)
    same('an id of somebody else', call('POST', '/context/aaaaaaaaaaaaaaaaaaaaaaaaaa/run', {'code': '1'})[0], 404)
    same('short names of languages are for making only', call('POST', '/context/py/run', {'code': '1'})[0], 404)
    ids = []
    while len(ids) < 40:
        status, c = call('POST', '/context', {'language': 'python', 'env': {'COPPICE_CODE_PLAIN': '1'}})
        if status != 201:
            break
        ids.append(c['id'])
    same('contexts have a bound', (status, c.get('code')), (429, 'too_many'))
    for i in ids:
        delete(i)


def life():
    a = new()
    run(a, 'v = 5')
    same('a frozen sandbox keeps its contexts', (call('POST', '/freeze', {})[0], run(a, 'v').value), (200, '5'))
    r = Run(a, 'print("on"); import time; time.sleep(60)')
    r.until('on')
    status = call('POST', '/sleep', {})[0]
    same('sleep ends what runs, and says so', (status, r.finish().error.get('name')), (200, 'SandboxStopped'))
    status, answer = call('POST', f'/context/{a}/run', {'code': 'v'})
    check('a context does not survive sleep, and the answer says so', status == 404 and answer['code'] == 'not_found' and 'sleeps' in answer['error'], answer)
    same('none is left', call('GET', '/context')[1], {'contexts': []})
    r = run('python', '"v" in globals()')
    same('the default one is made anew', (r.value, r.of('start')[0]['fresh']), ('False', True))
    status, forks = call('POST', '/fork', {'count': 1, 'name': 'forked'})
    name = (forks if isinstance(forks, list) else forks.get('sandboxes', forks))[0]['name']
    same('a fork has no contexts', call('GET', '/context', box=name)[1], {'contexts': []})
    check('and says so', 'fork' in call('GET', '/context/python', box=name)[1]['error'])


for part in (state, streams, rich, javascript, hostile, requests, life):
    if len(sys.argv) > 3 and part.__name__ not in sys.argv[3:]:
        continue
    begin = time.monotonic()
    try:
        part()
    except Exception as e:
        import traceback
        check(f'{part.__name__}: {type(e).__name__}', False, traceback.format_exc()[-700:])
    print(f'# {part.__name__}: {time.monotonic() - begin:.1f} s', flush=True)
