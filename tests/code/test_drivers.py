"""The drivers of code contexts alone, as the agent runs them (driver.py). test_drivers.py DIRECTORY: where the build has put the driver_*.bin files."""
import os, shutil, sys, unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from driver import NODE_BOOT, PYTHON_BOOT, Driver, Gone

BUILT = sys.argv.pop(1)
HAS_IPYTHON = os.path.exists('/usr/lib/python3/dist-packages/IPython')


def part(name):
    with open(os.path.join(BUILT, f'driver_{name}.bin'), 'rb') as f:
        return f.read()


def value(events):
    return next((e['data']['text/plain'] for e in events if e['t'] == 'result' and e['main']), None)


def error(events):
    return next((e for e in events if e['t'] == 'error'), None)


class Python(unittest.TestCase):
    env = {'COPPICE_CODE_PLAIN': '1'}

    def setUp(self):
        self.d = Driver(['/usr/bin/python3', '-c', PYTHON_BOOT], [part('driver_python')], env=self.env, cwd='/')
        self.addCleanup(self.d.close)

    def test_state_and_last_value(self):
        self.assertEqual([value(self.d.run(c)) for c in ('x = 1', 'x + 1', 'def f():\n    return x\nf()', 'None', '7;')], [None, '2', '1', None, None])

    def test_future_statements_hold_for_later_runs(self):
        self.d.run('from __future__ import annotations')
        self.assertEqual(value(self.d.run('def f(a: nosuch): pass\nf.__annotations__')), "{'a': 'nosuch'}")

    def test_an_error_has_the_lines_of_the_user_and_not_of_the_driver(self):
        e = error(self.d.run('def f():\n    return 1 / 0\n\nf()'))
        self.assertEqual((e['name'], e['value']), ('ZeroDivisionError', 'division by zero'))
        self.assertNotIn('coppice', e['traceback'])
        self.assertIn('return 1', e['traceback'])

    def test_a_chain_of_errors_is_told(self):
        e = error(self.d.run('try:\n    {}["k"]\nexcept KeyError as e:\n    raise ValueError("v") from e'))
        self.assertIn("KeyError: 'k'", e['traceback'])
        self.assertIn('direct cause', e['traceback'])

    def test_an_error_that_cannot_be_shown(self):
        e = error(self.d.run('class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E'))
        self.assertEqual(e['name'], 'E')
        self.assertEqual(value(self.d.run('1')), '1')

    def test_interrupts(self):
        for code in ('print("on"); import time; time.sleep(60)', 'print("on")\nwhile True: pass', 'print("on"); import asyncio; await asyncio.sleep(60)',
                     'import subprocess; subprocess.run(["sh", "-c", "echo on; exec sleep 60"])'):
            self.d.start(code)
            self.d.wait_output('on')
            self.d.interrupt()
            self.assertEqual(error(self.d.finish())['name'], 'KeyboardInterrupt', code)
        self.d.interrupt()
        self.assertEqual(value(self.d.run('"alive"')), "'alive'")

    def test_an_interrupt_before_the_code_has_begun(self):
        self.d.start('import time; time.sleep(60)')
        self.d.message('began')
        self.d.interrupt()
        self.assertEqual(error(self.d.finish())['name'], 'KeyboardInterrupt')

    def test_output_of_children_stands_in_its_place(self):
        events = self.d.run('import os, sys\nprint("a")\nos.system("echo b")\ndisplay(1)\nos.system("echo c >&2")\nprint("d");')
        told = [e.get('text') or e['t'] for e in events if e['t'] not in ('began', 'done')]
        self.assertEqual((''.join(told[:told.index('result')]), told[told.index('result') + 1:]), ('a\nb\n', ['c\n', 'd\n']))

    def test_a_child_does_not_speak_on_the_channel(self):
        events = self.d.run('import os\nif not os.fork():\n    display("child")\n    os._exit(0)\nos.wait(); "parent"')
        self.assertEqual([e['data']['text/plain'] for e in events if e['t'] == 'result'], ["'parent'"])

    def test_bundles_that_misbehave(self):
        self.d.run('class B:\n    def _repr_html_(self): raise ValueError\n    def _repr_json_(self): return {1: float("nan")}\n    def _repr_png_(self): return b"\\0"\n    def __repr__(self): return "B"')
        data = next(e['data'] for e in self.d.run('B()') if e['t'] == 'result')
        self.assertEqual((data.get('image/png', '').strip(), data['text/plain']), ('AA==', 'B'))
        self.assertNotIn('text/html', data)

    def test_lone_surrogates_and_control_characters_pass(self):
        data = next(e['data'] for e in self.d.run('display({"text/plain": "a\\udc80\\0b"}, raw=True)') if e['t'] == 'result')
        self.assertEqual(data['text/plain'], 'a?\0b')

    def test_the_end_of_the_channel_ends_it(self):
        self.d.channel.shutdown(1)
        with self.assertRaises(Gone):
            self.d.message('never', 20)

    def test_the_working_directory_is_on_the_path_after_the_driver_has_loaded(self):
        self.assertEqual(value(self.d.run('import sys; sys.path[0]')), "''")


@unittest.skipUnless(HAS_IPYTHON, 'python3-ipython is not installed (tools/install-packages test)')
class IPython(Python):
    env = {}

    def setUp(self):
        super().setUp()
        self.d.run('%matplotlib inline')     # only IPython runs it: it is loaded now

    def test_magics(self):
        events = self.d.run('!echo shell\nq = 5\n%who_ls int')
        self.assertEqual(''.join(e['text'] for e in events if e['t'] == 'stdout'), 'shell\n')
        self.assertEqual(value(events), "['q']")
        self.assertIn('['"'"'q'"'"']', value(self.d.run('Out')))


@unittest.skipUnless(shutil.which('node'), 'node is not installed')
class JavaScript(unittest.TestCase):
    language = 'javascript'

    def setUp(self):
        parts = [part('driver_node'), b'{"language":"%s"}' % self.language.encode(), part('acorn')]
        if self.language == 'typescript':
            parts.append(part('typescript'))
        self.d = Driver(['node', '-e', NODE_BOOT], parts, cwd='/')
        self.addCleanup(self.d.close)

    def values(self, *codes):
        return [value(self.d.run(c)) for c in codes]

    def test_declarations_of_every_kind_after_every_other(self):
        kinds = {'let': 'let NAME = 1', 'const': 'const NAME = 1', 'var': 'var NAME = 1', 'function': 'function NAME() {}', 'class': 'class NAME {}', 'import': 'import NAME from "fs"; NAME'}
        for a in kinds:
            for b in kinds:
                events = [self.d.run(kinds[k].replace('NAME', f'{a}_{b}')) for k in (a, b)]
                self.assertIsNone(error(events[1]), (a, b, error(events[1])))
                self.assertEqual(value(self.d.run(f'typeof {a}_{b} !== "undefined"')), 'true', (a, b))

    def test_constants_stay_constant_until_declared_again(self):
        self.d.run('const k = 1')
        for code in ('k = 2', 'k++', '[k] = [2]', '({k: k} = {k: 2})'):
            self.assertEqual(error(self.d.run(code))['value'], 'Assignment to constant variable.', code)
        self.assertEqual(self.values('(function (k) { k = 5; return k })(1)', 'k', 'let k = 3; k = 4; k'), ['5', '1', '4'])

    def test_positions_are_the_users(self):
        e = error(self.d.run('import fs from "fs"; fs.x;\nconst z = 1; class Y {}\nfunction f() {\n  return z + nope\n}\nf()'))
        self.assertIn('run-1:4:14', e['traceback'])
        self.assertIn('run-1:6:1', e['traceback'])
        self.assertNotIn('coppice', e['traceback'])
        e = error(self.d.run('let ok = 1\nlet 3bad'))
        self.assertEqual(e['name'], 'SyntaxError')
        self.assertIn('run-2:2:', e['traceback'])

    def test_values(self):
        self.assertEqual(self.values('1n', 'NaN', 'null', 'undefined', '-0', 'Symbol.for("s")', 'new Map([[1, 2]])', '"s"', '`a\nb`'),
                         ['1n', 'NaN', 'null', None, '-0', 'Symbol(s)', 'Map(1) { 1 => 2 }', "'s'", "'a\\nb'"])

    def test_rejections_and_late_errors_are_told_and_survived(self):
        self.assertEqual(error(self.d.run('await Promise.reject(new TypeError("t"))'))['name'], 'TypeError')
        events = self.d.run('setTimeout(() => { throw new Error("late") }, 1); Promise.reject(new Error("lost")); await new Promise((r) => setTimeout(r, 30)); 1')
        told = ''.join(e['text'] for e in events if e['t'] == 'stderr')
        self.assertIn('late', told)
        self.assertIn('lost', told)
        self.assertEqual(value(events), '1')

    def test_lone_surrogates(self):
        events = self.d.run(r'console.log("a\ud800b\\ud800c")')
        self.assertEqual(events[0]['text'], 'a\ufffdb\\ud800c\n')

    def test_interrupts(self):
        self.d.run('var kept = 6')
        for code in ('console.log("on"); for (;;) {}', 'console.log("on"); await 0; for (;;) {}', 'console.log("on"); await new Promise(() => {})',
                     'require("child_process").spawnSync("sh", ["-c", "echo on; exec sleep 60"], { stdio: "inherit" }); await new Promise(() => {})'):
            self.d.start(code)
            self.d.wait_output('on')
            self.d.interrupt()
            self.assertEqual(error(self.d.finish())['name'], 'Interrupted', code)
            self.assertEqual(value(self.d.run('kept')), '6')

    def test_the_exit_status_of_process_exit(self):
        self.d.start('process.exit(3)')
        with self.assertRaises(Gone) as g:
            self.d.finish()
        self.assertEqual(g.exception.args[0], 3)


class TypeScript(JavaScript):
    language = 'typescript'

    def test_types(self):
        self.assertEqual(self.values('enum E { A = 2 }\nE.A', 'const g = <T,>(v: T): T => v\ng<number>(4)', 'let u = 5 as unknown as string; u', 'namespace N { export const q = 1 }\nN.q'), ['2', '4', '5', '1'])
        e = error(self.d.run('type A = {\n  a: number\n}\nlet x: = 3'))
        self.assertIn('run-5:4:8', e['traceback'])


if __name__ == '__main__':
    unittest.main(verbosity=1)
