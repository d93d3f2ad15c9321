// The unmodified package @e2b/code-interpreter against a running sandboxd. Usage: E2B_API_URL=... E2B_SANDBOX_URL=... E2B_API_KEY=... node e2b_code.mjs
import assert from 'node:assert/strict';
import { NotFoundError, Sandbox, TimeoutError } from '@e2b/code-interpreter';
import { steps } from './steps.mjs';

const { step, end } = steps('interpreter', { goOn: true });
const skip = (what) => console.log(`ok # SKIP interpreter: ${what}`);

const s = await Sandbox.create({ envs: { FROM_CREATE: 'yes' } });
await step('Python: state stays, the last value is the main result, output by callbacks', async () => {
    await s.runCode('x = 20');
    const out = [], err = [], results = [];
    const r = await s.runCode('import sys, os, time\nprint("one", os.environ["FROM_CREATE"])\nprint("two")\nprint("wrong", file=sys.stderr)\nos.getcwd(), x + 1',
        { onStdout: (m) => out.push(m.line), onStderr: (m) => err.push(m.line), onResult: (m) => results.push(m.text) });
    assert.deepEqual([r.logs.stdout.join(''), r.logs.stderr.join(''), r.text, r.error], ['one yes\ntwo\n', 'wrong\n', "('/home/user', 21)", undefined]);
    assert.deepEqual([out.join(''), err.join(''), results], ['one yes\ntwo\n', 'wrong\n', ["('/home/user', 21)"]]);
    assert.ok(r.results[0].isMainResult && r.executionCount >= 2);
});
await step('Python: an error has its name, value and traceback', async () => {
    let seen;
    const r = await s.runCode('def f():\n    return 1 / 0\nf()', { onError: (e) => { seen = e; } });
    assert.deepEqual([r.error.name, r.error.value], ['ZeroDivisionError', 'division by zero']);
    assert.match(r.error.traceback, /line 3[^]*line 2[^]*ZeroDivisionError: division by zero/);
    assert.equal(seen.name, 'ZeroDivisionError');
    assert.equal(r.text, undefined);
});
await step('Python: rich results', async () => {
    const r = await s.runCode(`class R:
    def _repr_html_(self): return '<b>h</b>'
    def _repr_markdown_(self): return '**m**'
    def _repr_latex_(self): return '$x$'
    def _repr_json_(self): return {'a': [1]}
    def __repr__(self): return 'plain'
display(R())
R()`);
    assert.equal(r.results.length, 2);
    assert.deepEqual(r.results.map((i) => i.isMainResult), [false, true]);
    assert.deepEqual([r.results[1].html, r.results[1].markdown, r.results[1].latex, r.results[1].json, r.text], ['<b>h</b>', '**m**', '$x$', { a: [1] }, 'plain']);
    assert.deepEqual(r.results[1].formats().sort(), ['html', 'json', 'latex', 'markdown']);
});
const there = async (module) => (await s.runCode(`import importlib.util; importlib.util.find_spec('${module}') is not None`)).text === 'True';
if (await there('matplotlib')) {
    await step('Python: a chart, as picture and as data', async () => {
        const r = await s.runCode("import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [3, 4])\nplt.title('T')\nplt.show()");
        const [chart] = r.results;
        assert.equal(Buffer.from(chart.png, 'base64').subarray(1, 4).toString(), 'PNG');
        assert.deepEqual([chart.chart.type, chart.chart.title, chart.chart.elements.map((e) => [e.label, e.value])], ['bar', 'T', [['a', 3], ['b', 4]]]);
    });
} else skip('charts: matplotlib is not installed on this host');
await step('JavaScript and TypeScript, by language and alias', async () => {
    assert.equal((await s.runCode('const y = 4; y ** 2', { language: 'js' })).text, '16');
    const r = await s.runCode('console.log("said"); await Promise.resolve(y + 1)', { language: 'javascript' });
    assert.deepEqual([r.text, r.logs.stdout.join('')], ['5', 'said\n']);
    assert.equal((await s.runCode('throw new TypeError("no")', { language: 'javascript' })).error.name, 'TypeError');
    assert.equal((await s.runCode('const z: number = 5; z + 1', { language: 'ts' })).text, '6');
    const other = await s.runCode('1 + 1', { language: 'r' });
    assert.match(other.error.value, /'r' is not offered/);
});
await step('variables of one run', async () => {
    const odd = `ü'"\\ \n€`;
    assert.equal((await s.runCode('import os, json; print(os.environ["V"], end="")', { envs: { V: odd } })).logs.stdout.join(''), odd);
    assert.equal((await s.runCode('os.environ.get("V", "gone")')).text, "'gone'");
    await s.runCode('os.environ["W"] = "own"');
    assert.equal((await s.runCode('os.environ["W"]', { envs: { W: 'other' } })).text, "'other'");
    assert.equal((await s.runCode('os.environ["W"]')).text, "'own'");
    assert.equal((await s.runCode('process.env.V === undefined', { language: 'js' })).text, 'true');
    assert.equal((await s.runCode('process.stdout.write(process.env.V); 0', { language: 'js', envs: { V: odd } })).logs.stdout.join(''), odd);
    assert.equal((await s.runCode('process.env.V === undefined', { language: 'js' })).text, 'true');
});
await step('contexts: own state, directory, restart, list, remove', async () => {
    const c = await s.createCodeContext({ language: 'python', cwd: '/tmp' });
    assert.deepEqual([c.language, c.cwd], ['python', '/tmp']);
    assert.equal((await s.runCode('import os; x = 5; os.getcwd()', { context: c })).text, "'/tmp'");
    assert.equal((await s.runCode('x')).text, '20');
    assert.ok((await s.listCodeContexts()).some((i) => i.id === c.id));
    assert.deepEqual((await s.listCodeContexts()).filter((i) => i.id === i.language).map((i) => i.id).sort().slice(0, 2), ['javascript', 'python']);
    await s.restartCodeContext(c);
    assert.equal((await s.runCode('x', { context: c })).error.name, 'NameError');
    await s.removeCodeContext(c);
    await assert.rejects(s.runCode('1', { context: c }), NotFoundError);
    await assert.rejects(s.removeCodeContext(c), NotFoundError);
});
await step('a timeout of the client', async () => {
    await assert.rejects(s.runCode('import time\ntime.sleep(30)', { timeoutMs: 500 }), TimeoutError);
    await s.restartCodeContext('python');
    assert.equal((await s.runCode('1 + 1')).text, '2');
});
await step('the base class works on it too: files and commands', async () => {
    await s.files.write('data.csv', 'a,b\n1,2\n');
    assert.equal((await s.runCode('print(open("data.csv").read(), end="")')).logs.stdout.join(''), 'a,b\n1,2\n');
    assert.equal((await s.commands.run('cat data.csv')).stdout, 'a,b\n1,2\n');
});
await step('a killed sandbox', async () => {
    assert.equal(await s.kill(), true);
    await assert.rejects(s.runCode('1'), TimeoutError);
});
end();
process.exit();
