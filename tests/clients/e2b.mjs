// The unmodified package e2b against a running sandboxd. Usage: E2B_API_URL=... E2B_SANDBOX_URL=... E2B_API_KEY=... node e2b.mjs e2b | e2b-old [WHAT...]
// Parts of one run go side by side, each with a sandbox of its own. A method that the older package does not have is left out, and that is said.
import assert from 'node:assert/strict';
import http from 'node:http';
import { gzipSync } from 'node:zlib';
import { steps } from './steps.mjs';

const [pkg, ...only] = process.argv.slice(2);
const e2b = await import(pkg);
const { Sandbox, CommandExitError, NotFoundError, TimeoutError, AuthenticationError, InvalidArgumentError, SandboxError } = e2b;
const FileNotFoundError = e2b.FileNotFoundError ?? NotFoundError, SandboxNotFoundError = e2b.SandboxNotFoundError ?? NotFoundError;
const apiUrl = process.env.E2B_API_URL;
const old = pkg === 'e2b-old';
const { step, end } = steps(pkg, { goOn: true });
const has = (object, method, what) => {
    const there = typeof object[method] === 'function';
    if (!there) console.log(`# ${pkg} has no ${method}: ${what} is not tried with it`);
    return there;
};
const until = async (what, fn, limit = 20000) => {
    for (const end = Date.now() + limit; Date.now() < end;) {
        const r = await fn();
        if (r) return r;
        await new Promise((wake) => setTimeout(wake, 50));
    }
    throw new Error(`did not come: ${what}`);
};
const text = (bytes) => new TextDecoder().decode(bytes);

// The older package's instances tell nothing; its class does.
const kill = (s) => (old ? Sandbox.kill(s.sandboxId) : s.kill());

async function life() {
    const metadata = { purpose: 'test of life', odd: 'a=b&c d+é', run: String(process.pid) + pkg };
    const s = await Sandbox.create('base', { metadata, envs: { FROM_CREATE: 'yes' }, timeoutMs: 120_000 });
    await step('create: an id, envs at commands, and no trace of them in the tree', async () => {
        assert.match(s.sandboxId, /^[a-z2-7]{26}$/);
        assert.equal((await s.commands.run('echo $FROM_CREATE')).stdout, 'yes\n');
        await assert.rejects(s.commands.run('grep -rqs FROM_CREATE /etc /home /root /var /workspace'), CommandExitError);
    });
    await step('isRunning, getInfo, setTimeout', async () => {
        assert.equal(await s.isRunning(), true);
        const info = await s.getInfo();
        assert.equal(info.sandboxId, s.sandboxId);
        assert.equal(info.templateId, 'base');
        assert.deepEqual(info.metadata, metadata);
        assert.equal(info.state, 'running');
        assert.ok(info.endAt > info.startedAt && info.endAt - Date.now() > 60_000 && info.endAt - Date.now() <= 120_000);
        await s.setTimeout(600_000);
        assert.ok((await s.getInfo()).endAt - Date.now() > 500_000);
        await s.setTimeout(60_000);
        assert.ok((await s.getInfo()).endAt - Date.now() < 61_000);
    });
    await step('list with filters and pages', async () => {
        const others = await Promise.all([1, 2].map((n) => Sandbox.create({ metadata: { ...metadata, n: String(n) } })));
        const pages = Sandbox.list({ query: { metadata: { odd: metadata.odd, run: metadata.run } }, limit: 2 });
        const found = [];
        let count = 0;
        while (pages.hasNext) {
            found.push(...await pages.nextItems());
            count++;
        }
        assert.equal(count, 2);
        assert.deepEqual(found.map((i) => i.sandboxId).sort(), [s, ...others].map((i) => i.sandboxId).sort());
        const paused = Sandbox.list({ query: { metadata: { run: metadata.run }, state: ['paused'] } });
        assert.deepEqual(await paused.nextItems(), []);
        const one = await Sandbox.list({ query: { metadata: { run: metadata.run, n: '2' }, state: ['running'] } }).nextItems();
        assert.deepEqual(one.map((i) => [i.sandboxId, i.metadata.n]), [[others[1].sandboxId, '2']]);
        for (const o of others) assert.equal(await kill(o), true);
    });
    await step('connect, static and of an instance, and to one that runs', async () => {
        const again = await Sandbox.connect(s.sandboxId);
        await s.files.write('shared.txt', 'seen');
        assert.equal(await again.files.read('shared.txt'), 'seen');
        assert.equal(await (await again.connect({ timeoutMs: 300_000 })).isRunning(), true);
        assert.ok((await s.getInfo()).endAt - Date.now() > 200_000);
        await s.connect({ timeoutMs: 1000 });
        assert.ok((await s.getInfo()).endAt - Date.now() > 200_000, 'connect never makes the time shorter');
    });
    if (has(s, old ? 'betaPause' : 'pause', 'pause and connect')) await step('pause: files stay, processes end; again is false; connect wakes it', async () => {
        const pause = () => (old ? s.betaPause() : s.pause());
        const background = await s.commands.run('sleep 1000', { background: true });
        assert.equal(await pause(), true);
        await background.disconnect();
        assert.equal(await pause(), false);
        assert.equal(await s.isRunning(), false);
        assert.equal((await s.getInfo()).state, 'paused');
        await assert.rejects(s.files.read('shared.txt'), TimeoutError);
        await assert.rejects(s.commands.run('true'), (e) => e instanceof SandboxNotFoundError || e instanceof TimeoutError || e instanceof NotFoundError);
        const back = await Sandbox.connect(s.sandboxId);
        assert.equal(await back.files.read('shared.txt'), 'seen');
        assert.deepEqual((await back.commands.list()).length, 0);
        assert.equal(await s.isRunning(), true);
    });
    await step('a timeout ends in sleep, not in loss', async () => {
        const t = await Sandbox.create({ timeoutMs: 60_000 });
        await t.files.write('kept.txt', 'kept');
        await t.setTimeout(1000);
        await until('the end of its time', async () => !(await t.isRunning()));
        assert.equal((await t.getInfo()).state, 'paused');
        const back = await Sandbox.connect(t.sandboxId, { timeoutMs: 60_000 });
        assert.equal(await back.files.read('kept.txt'), 'kept');
        assert.equal(await kill(back), true);
    });
    if (!old) await step('autoResume: a request wakes what was paused', async () => {
        const t = await Sandbox.create({ lifecycle: { onTimeout: 'pause', autoResume: true } });
        await t.files.write('kept.txt', 'kept');
        assert.equal(await t.pause(), true);
        assert.equal(await t.files.read('kept.txt'), 'kept');
        assert.equal(await kill(t), true);
    });
    if (has(s, 'fork', 'fork')) await step('fork: several from one moment, their own from then on; the source goes on', async () => {
        const stream = await s.commands.run('while read -r x; do echo "<$x>"; done', { background: true, stdin: true });
        await s.files.write('shared.txt', 'at the fork');
        const forks = await s.fork({ count: 3 });
        assert.equal(forks.length, 3);
        await s.files.write('shared.txt', 'later');
        for (const f of forks) {
            assert.equal(await f.files.read('shared.txt'), 'at the fork');
            assert.equal((await f.commands.run('echo $FROM_CREATE')).stdout, 'yes\n');
            assert.deepEqual((await f.getInfo()).metadata, metadata);
        }
        await forks[0].files.write('shared.txt', 'mine');
        assert.equal(await forks[1].files.read('shared.txt'), 'at the fork');
        await s.commands.sendStdin(stream.pid, 'still here\n');
        await until('the source goes on', () => stream.stdout.includes('<still here>'));
        await stream.kill();
        for (const f of forks) assert.equal(await kill(f), true);
    });
    if (has(s, 'createSnapshot', 'snapshots')) await step('snapshots: create, named again, list in pages, create from one after the source was killed, delete', async () => {
        const source = await Sandbox.create();
        await source.files.write('/home/user/state.txt', 'one');
        const first = await source.createSnapshot();
        await source.files.write('/home/user/state.txt', 'two');
        const named = await source.createSnapshot({ name: 'kept-state' });
        assert.deepEqual(named.names, ['kept-state']);
        await source.files.write('/home/user/state.txt', 'three');
        const newer = await source.createSnapshot({ name: 'kept-state' });
        assert.notEqual(newer.snapshotId, named.snapshotId);
        const pages = source.listSnapshots({ limit: 1 }), seen = [];
        while (pages.hasNext) seen.push(...await pages.nextItems());
        assert.deepEqual(seen.map((i) => i.snapshotId).sort(), [newer.snapshotId, first.snapshotId].sort());
        assert.equal(await kill(source), true);
        assert.equal(await kill(source), false);
        assert.equal(await source.isRunning(), false);
        const from = await Sandbox.create(first.snapshotId);
        assert.equal(await from.files.read('state.txt'), 'one');
        assert.equal((await from.getInfo()).templateId, first.snapshotId);
        await from.kill();
        assert.equal(await Sandbox.deleteSnapshot(first.snapshotId), true);
        assert.equal(await Sandbox.deleteSnapshot(first.snapshotId), false);
        assert.equal(await Sandbox.deleteSnapshot(newer.snapshotId), true);
        await assert.rejects(Sandbox.create(first.snapshotId), SandboxError);
    });
    await step('kill, and what is left of it', async () => {
        assert.equal(await kill(s), true);
        assert.equal(await kill(s), false);
        assert.equal(await s.isRunning(), false);
        await assert.rejects(Sandbox.getInfo(s.sandboxId), NotFoundError);
        await assert.rejects(Sandbox.connect(s.sandboxId), NotFoundError);
        await assert.rejects(s.files.read('shared.txt'), TimeoutError);
    });
    await step('errors of who asks', async () => {
        await assert.rejects(Sandbox.create({ apiKey: `e2b_${'0'.repeat(64)}` }), AuthenticationError);
        assert.equal(await Sandbox.kill('nosuchsandbox'), false);
        const other = await Sandbox.create();
        const [a, b] = [await Sandbox.create(), other];
        const mixed = await Sandbox.connect(a.sandboxId);
        mixed.envdApi = b.envdApi;
        const r = await fetch(`${apiUrl}/files?path=/etc/hostname`, { headers: { 'E2b-Sandbox-Id': a.sandboxId, 'X-Access-Token': b.envdAccessToken ?? 'x' } });
        assert.equal(r.status, 401, 'the token of another sandbox');
        assert.equal((await r.json()).code, 401);
        assert.equal((await fetch(`${apiUrl}/files?path=/etc/hostname`, { headers: { 'E2b-Sandbox-Id': a.sandboxId } })).status, 401);
        assert.equal((await fetch(`${apiUrl}/v2/templates`, { method: 'POST', headers: { 'X-API-KEY': process.env.E2B_API_KEY } })).status, 501);
        await Promise.all([a.kill(), b.kill()]);
    });
}

async function commands() {
    const s = await Sandbox.create();
    await step('run: output by callbacks, status, user, directory, environment', async () => {
        const out = [], err = [];
        const r = await s.commands.run('echo one; echo two >&2; echo $A', { onStdout: (x) => out.push(x), onStderr: (x) => err.push(x), envs: { A: 'ä' } });
        assert.deepEqual([r.exitCode, r.stdout, r.stderr, out.join(''), err.join('')], [0, 'one\nä\n', 'two\n', 'one\nä\n', 'two\n']);
        assert.equal((await s.commands.run('pwd; whoami; echo $HOME')).stdout, '/home/user\nuser\n/home/user\n');
        assert.equal((await s.commands.run('pwd; whoami', { cwd: '/tmp', user: 'root' })).stdout, '/tmp\nroot\n');
        await s.files.makeDir('below');
        assert.equal((await s.commands.run('pwd', { cwd: 'below' })).stdout, '/home/user/below\n');
    });
    await step('run: a status that is not 0 is CommandExitError with all of it', async () => {
        await assert.rejects(s.commands.run('echo so far; echo why >&2; exit 7'), (e) =>
            e instanceof CommandExitError && e.exitCode === 7 && e.stdout === 'so far\n' && e.stderr === 'why\n' && /exit status 7/.test(e.message));
    });
    await step('run: what cannot be', async () => {
        await assert.rejects(s.commands.run('true', { cwd: '/no/such/dir' }), InvalidArgumentError);
        await assert.rejects(s.commands.run('true', { user: 'nobody-of-this-name' }), (e) => e instanceof AuthenticationError || e instanceof InvalidArgumentError);
    });
    await step('run: much output, in bytes that are cut anywhere', async () => {
        const r = await s.commands.run("python3 -c \"print('äöü€' * 300000)\"");
        assert.equal(r.stdout, 'äöü€'.repeat(300000) + '\n');
    });
    await step('run: its timeout ends it', async () => {
        await assert.rejects(s.commands.run('echo $$ > pid; exec sleep 1000', { timeoutMs: 600 }), TimeoutError);
        const pid = (await s.files.read('pid')).trim();
        await until('the process is gone', async () => (await s.commands.run(`kill -0 ${pid} 2>/dev/null && echo there || echo gone`)).stdout === 'gone\n');
    });
    await step('background: list, kill, wait', async () => {
        const h = await s.commands.run('echo begun; sleep 1000', { background: true, envs: { MARK: 'm' }, cwd: '/tmp' });
        const found = (await s.commands.list()).find((p) => p.pid === h.pid);
        assert.deepEqual([found.cmd, found.args.at(-1), found.envs.MARK, found.cwd], ['/bin/bash', 'echo begun; sleep 1000', 'm', '/tmp']);
        await until('its output', () => h.stdout === 'begun\n');
        assert.equal(await h.kill(), true);
        await assert.rejects(h.wait(), (e) => e instanceof CommandExitError && e.exitCode === -1 && /signal: killed/.test(e.message));
        assert.equal(await s.commands.kill(h.pid), false);
        assert.ok(!(await s.commands.list()).some((p) => p.pid === h.pid));
    });
    await step('background: a client that leaves does not end it; connect sees what comes from then on', async () => {
        const h = await s.commands.run('while read -r x; do echo "got $x"; done; exit 3', { background: true, stdin: true });
        await s.commands.sendStdin(h.pid, 'first\n');
        await until('the first line', () => h.stdout === 'got first\n');
        await h.disconnect();
        const lines = [];
        const again = await s.commands.connect(h.pid, { onStdout: (x) => lines.push(x) });
        await s.commands.sendStdin(h.pid, 'second\n');
        await until('the second line', () => lines.join('') === 'got second\n');
        if (has(s.commands, 'closeStdin', 'closeStdin')) {
            await s.commands.closeStdin(h.pid);
            await assert.rejects(again.wait(), (e) => e instanceof CommandExitError && e.exitCode === 3);
        } else await again.kill();
        await assert.rejects(s.commands.connect(h.pid), NotFoundError);
    });
    await step('stdin: without it programs read the end', async () => {
        assert.equal((await s.commands.run('cat; echo ended')).stdout, 'ended\n');
        const h = await s.commands.run('sleep 100', { background: true });
        await assert.rejects(s.commands.sendStdin(h.pid, 'x'), SandboxError);
        await h.kill();
    });
    await step('stdin: more than any buffer', async () => {
        const h = await s.commands.run('head -c 3000000 | sha256sum', { background: true, stdin: true });
        await s.commands.sendStdin(h.pid, 'x'.repeat(3_000_000));
        const { createHash } = await import('node:crypto');
        assert.equal((await h.wait()).stdout.split(' ')[0], createHash('sha256').update('x'.repeat(3_000_000)).digest('hex'));
    });
    await step('pty: output, input, size, end', async () => {
        let seen = '';
        const t = await s.pty.create({ cols: 90, rows: 30, envs: { MARK: 'in pty' }, onData: (d) => { seen += text(d); } });
        const say = (x) => s.pty.sendInput(t.pid, new TextEncoder().encode(x));
        await say('stty size; echo "[$MARK] $TERM"\n');
        await until('its answer', () => /30 90[^]*\[in pty\] xterm-256color/.test(seen));
        await s.pty.resize(t.pid, { cols: 100, rows: 40 });
        await say('stty size\n');
        await until('the new size', () => seen.includes('40 100'));
        if (has(s.pty, 'connect', 'pty.connect')) {
            let other = '';
            const c = await s.pty.connect(t.pid, { onData: (d) => { other += text(d); } });
            await say('echo "to"" both"\n');
            await until('both see it', () => other.includes('to both') && seen.includes('to both'));
            await c.disconnect();
        }
        assert.equal(await s.pty.kill(t.pid), true);
        await assert.rejects(t.wait(), CommandExitError);
        assert.equal(await s.pty.kill(t.pid), false);
    });
    await s.kill();
}

async function files() {
    const s = await Sandbox.create();
    const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 7919) & 255);
    await step('write and read: text, bytes, blob, stream', async () => {
        const w = await s.files.write('dir/new/a.txt', 'Zeile ä\n');
        assert.deepEqual([w.name, w.path, w.type], ['a.txt', '/home/user/dir/new/a.txt', 'file']);
        assert.equal(await s.files.read('/home/user/dir/new/a.txt'), 'Zeile ä\n');
        await s.files.write('bytes', bytes.buffer);
        assert.deepEqual(await s.files.read('bytes', { format: 'bytes' }), bytes);
        await s.files.write('blob', new Blob([bytes]));
        assert.equal((await s.files.read('blob', { format: 'blob' })).size, bytes.length);
        await s.files.write('stream', new Blob([bytes, bytes]).stream());
        let n = 0;
        for await (const piece of await s.files.read('stream', { format: 'stream' })) n += piece.length;
        assert.equal(n, 2 * bytes.length);
        await s.files.write('empty', '');
        assert.equal(await s.files.read('empty'), '');
        await s.files.write('/tmp/of-root', 'x', { user: 'root' });
        assert.equal((await s.files.getInfo('/tmp/of-root')).owner, 'root');
    });
    await step('write: several in one request, over what is there, odd names', async () => {
        const names = ['/home/user/m/ä ö.txt', 'm/#1 %20.txt', '/tmp/m "q".txt', 'm/plain'];
        const w = await s.files.write(names.map((path, i) => ({ path, data: `content ${i}` })));
        assert.equal(w.length, 4);
        for (const [i, name] of names.entries()) assert.equal(await s.files.read(name), `content ${i}`);
        await s.files.write('m/plain', 'shorter');
        assert.equal(await s.files.read('m/plain'), 'shorter');
        assert.equal((await s.files.list('m')).length, 3);
    });
    await step('many MiB, with a boundary-like content', async () => {
        const big = Buffer.alloc(24 << 20, '\r\n------formdata-undici-0\r\n--');
        await s.files.write('big', big.buffer.slice(big.byteOffset, big.byteOffset + big.length));
        assert.ok(Buffer.from(await s.files.read('big', { format: 'bytes' })).equals(big));
    });
    if (!old) await step('gzip both ways, octet-stream', async () => {
        await s.files.write('z', 'packed '.repeat(10000), { gzip: true });
        assert.equal(await s.files.read('z', { gzip: true }), 'packed '.repeat(10000));
        await s.files.write('o', 'octets', { useOctetStream: true });
        assert.equal(await s.files.read('o'), 'octets');
        const r = await fetch(`${apiUrl}/files?path=broken`, { method: 'POST', body: gzipSync('x'.repeat(5000)).subarray(0, 20),
            headers: { 'Content-Type': 'application/octet-stream', 'Content-Encoding': 'gzip', 'E2b-Sandbox-Id': s.sandboxId, 'X-Access-Token': s.envdAccessToken } });
        assert.equal(r.status, 400);
        assert.equal(await s.files.exists('broken'), false, 'half an upload is none');
    });
    if (!old) await step('metadata', async () => {
        const w = await s.files.write('meta', 'x', { metadata: { author: 'me', 'x-2': 'b c' } });
        assert.deepEqual(w.metadata, { author: 'me', 'x-2': 'b c' });
        assert.deepEqual((await s.files.getInfo('meta')).metadata, { author: 'me', 'x-2': 'b c' });
        assert.deepEqual((await s.files.list('.')).find((e) => e.name === 'meta').metadata, { author: 'me', 'x-2': 'b c' });
        assert.equal((await s.commands.run('getfattr --only-values -n user.e2b.author meta 2>/dev/null || python3 -c "import os; print(os.getxattr(\'meta\', \'user.e2b.author\').decode(), end=\'\')"')).stdout, 'me');
    });
    await step('list with depth, exists, getInfo', async () => {
        await s.commands.run('mkdir -p t/a/b && echo 1 > t/a/f && ln -s a/f t/link && chmod 640 t/a/f');
        const links = old ? [] : [['link', false, '/home/user/t/link']];      /* the older one leaves out what it has no name for */
        assert.deepEqual((await s.files.list('t')).map((e) => [e.name, e.type === 'dir', e.path]), [['a', true, '/home/user/t/a'], ...links]);
        assert.deepEqual((await s.files.list('t', { depth: 3 })).map((e) => e.path.slice('/home/user/t/'.length)), ['a', 'a/b', 'a/f', ...links.map((l) => l[0])]);
        assert.equal(await s.files.exists('t/a/f'), true);
        assert.equal(await s.files.exists('t/none'), false);
        const info = await s.files.getInfo('t/a/f');
        assert.deepEqual([info.name, info.type, info.size, info.mode, info.permissions, info.owner, info.group], ['f', 'file', 2, 0o640, '-rw-r-----', 'user', 'user']);
        assert.ok(Math.abs(info.modifiedTime - Date.now()) < 60_000);
        assert.equal((await s.files.getInfo('t/link')).symlinkTarget, '/home/user/t/a/f');
    });
    await step('makeDir, rename, remove', async () => {
        assert.equal(await s.files.makeDir('d/e/f'), true);
        assert.equal(await s.files.makeDir('d/e/f'), false);
        const moved = await s.files.rename('d/e', 'd/g');
        assert.deepEqual([moved.path, moved.type], ['/home/user/d/g', 'dir']);
        assert.equal(await s.files.exists('d/g/f'), true);
        await s.files.remove('d');
        assert.equal(await s.files.exists('d'), false);
    });
    await step('errors have their classes', async () => {
        await assert.rejects(s.files.read('absent'), FileNotFoundError);
        await assert.rejects(s.files.getInfo('absent'), FileNotFoundError);
        await assert.rejects(s.files.list('absent'), FileNotFoundError);
        await assert.rejects(s.files.rename('absent', 'b'), FileNotFoundError);
        await assert.rejects(s.files.list('t/a/f'), InvalidArgumentError);
        await assert.rejects(s.files.read('t'), InvalidArgumentError);
        await assert.rejects(s.files.write('t', 'over a directory'), InvalidArgumentError);
        await assert.rejects(s.files.read('/root/.profile'), SandboxError);
        await assert.rejects(s.files.read('x', { user: 'nobody-of-this-name' }), AuthenticationError);
    });
    await step('a full disk is NotEnoughSpaceError; a sandbox of the native API by connect', async () => {
        const made = await (await fetch(`${apiUrl}/v1/sandbox`, { method: 'POST', body: '{"limits": {"disk_mb": 8}}', headers: { 'Content-Type': 'application/json', 'X-API-KEY': process.env.E2B_API_KEY } })).json();
        const small = await Sandbox.connect(made.id);
        await assert.rejects(small.files.write('large', new Uint8Array(16 << 20).buffer), e2b.NotEnoughSpaceError);
        assert.equal(await kill(small), true);
    });
    await step('signed URLs: download and upload, for one operation and path, until their time', async () => {
        await s.files.write('signed.txt', 'by url');
        const down = await s.downloadUrl('/home/user/signed.txt', { useSignatureExpiration: 60 });
        assert.equal(await (await fetch(down)).text(), 'by url');
        assert.equal(await (await fetch(await s.downloadUrl('signed.txt'))).text(), 'by url');
        assert.equal((await fetch(down.replace('signed.txt', 'other.txt'))).status, 401);
        assert.equal((await fetch(down.replace(/signature_expiration=\d+/, 'signature_expiration=9999999999'))).status, 401);
        assert.equal((await fetch(await s.downloadUrl('/home/user/signed.txt', { useSignatureExpiration: -10 }))).status, 401);
        const up = await s.uploadUrl('/home/user/up.txt', { useSignatureExpiration: 60 });
        const form = new FormData();
        form.append('file', new Blob(['uploaded']), 'name.txt');
        assert.equal((await fetch(up, { method: 'POST', body: form })).status, 200);
        assert.equal(await s.files.read('up.txt'), 'uploaded');
        assert.equal((await fetch(up)).status, 401);
    });
    await s.kill();
}

async function watching() {
    const s = await Sandbox.create();
    await s.commands.run('mkdir -p w/sub');
    await step('watchDir: recursive, all kinds, names relative to the directory; stop', async () => {
        const events = [];
        let ended = false;
        const h = await s.files.watchDir('w', (e) => { events.push(`${e.type} ${e.name}`); }, { recursive: true, onExit: () => { ended = true; } });
        await s.commands.run('cd w && echo 1 > sub/a && mv sub/a sub/b && chmod 600 sub/b && rm sub/b && mkdir new && echo 2 > new/c');
        const want = ['create sub/a', 'write sub/a', 'rename sub/a', 'create sub/b', 'chmod sub/b', 'remove sub/b', 'create new', 'create new/c'];
        await until(`events: ${want}`, () => want.every((w) => events.includes(w))).catch((e) => { throw new Error(`${e.message}; came: ${events}`); });
        await h.stop();
        await until('the end of the stream', () => ended);
    });
    if (!old) await step('watchDir: entries, not recursive', async () => {
        const events = [];
        const h = await s.files.watchDir('w', (e) => { events.push(e); }, { includeEntry: true, allowNetworkMounts: true });
        await s.commands.run('cd w && echo deep > sub/deep && echo 12345 > top');
        const e = await until('an event with its entry', () => events.find((i) => i.name === 'top' && i.entry?.size === 6));
        assert.deepEqual([e.entry.path, e.entry.type, e.entry.owner], ['/home/user/w/top', 'file', 'user']);
        assert.ok(!events.some((i) => i.name.includes('deep')));
        await h.stop();
    });
    await step('watchDir: what is not a directory', async () => {
        await assert.rejects(s.files.watchDir('none', () => {}), NotFoundError);
        await s.files.write('plain', '');
        await assert.rejects(s.files.watchDir('plain', () => {}), InvalidArgumentError);
    });
    await step('watchers that are polled (the Python package)', async () => {
        const rpc = async (method, body) => {
            const r = await fetch(`${apiUrl}/filesystem.Filesystem/${method}`, { method: 'POST', body: JSON.stringify(body),
                headers: { 'Content-Type': 'application/json', 'Connect-Protocol-Version': '1', 'E2b-Sandbox-Id': s.sandboxId, 'X-Access-Token': s.envdAccessToken ?? '' } });
            return [r.status, await r.json()];
        };
        const [status, { watcherId }] = await rpc('CreateWatcher', { path: 'w', recursive: true });
        assert.equal(status, 200);
        await s.files.write('w/polled', 'x');
        await until('its event', async () => (await rpc('GetWatcherEvents', { watcherId }))[1].events.some((e) => e.name === 'polled' && e.type === 'EVENT_TYPE_CREATE'));
        assert.deepEqual(await rpc('RemoveWatcher', { watcher_id: watcherId }), [200, {}]);
        const [gone, error] = await rpc('GetWatcherEvents', { watcherId });
        assert.deepEqual([gone, error.code], [404, 'not_found']);
    });
    await s.kill();
}

// A request with a Host of its own; fetch does not allow that.
const withHost = (url, host, headers = {}) => new Promise((done, failed) => {
    http.get(url, { headers: { ...headers, Host: host } }, (r) => {
        let body = '';
        r.setEncoding('utf8').on('data', (d) => { body += d; }).on('end', () => done({ status: r.statusCode, body }));
    }).on('error', failed);
});

// The native API tells what is in force.
const rulesOf = async (s) => (await fetch(`${apiUrl}/v1/sandbox/${s.sandboxId}/rules`, { headers: { 'X-API-KEY': process.env.E2B_API_KEY } })).json();

async function network() {
    const s = await Sandbox.create({ network: { allowOut: ['api.example.com', '*.example.org'], denyOut: ['0.0.0.0/0'],
        rules: { 'api.example.com': [{ transform: { headers: { 'X-Team': 'a', Authorization: 'Bearer ${e2b.secrets.SOME}' } } }] } } });
    const rules = () => rulesOf(s);
    await step('network options are rules of egress, headers are put in behind the sandbox', async () => {
        const r = await rules();
        assert.equal(r.default, 'deny');
        assert.deepEqual(r.rules[0].allow, ['api.example.com']);
        assert.deepEqual(r.rules[0].set_headers, { 'X-Team': 'a' });
        assert.deepEqual(r.rules[0].inject, [{ header: 'Authorization', secret: 'SOME', format: 'Bearer {}' }]);
        assert.deepEqual(r.rules.at(-1).allow, ['api.example.com', '*.example.org']);
        if (!old) assert.deepEqual((await s.getInfo()).network.allowOut, ['api.example.com', '*.example.org']);
    });
    if (has(s, 'updateNetwork', 'updateNetwork')) await step('updateNetwork', async () => {
        await s.updateNetwork({ denyOut: ['8.8.8.8'] });
        const r = await rules();
        assert.deepEqual([r.default, r.rules.map((i) => i.deny)], ['allow', [['8.8.8.8']]]);
        await assert.rejects(s.updateNetwork({ denyOut: ['10.0.0.0/8'] }), SandboxError);
        assert.equal((await rules()).default, 'allow');
    });
    await step('getHost: a server of the sandbox at its host', async () => {
        await s.commands.run('mkdir -p www && echo served > www/index.html && cd www && exec python3 -m http.server 8000', { background: true, timeoutMs: 0 });
        const host = s.getHost(8000);
        assert.match(host, new RegExp(`^8000-${s.sandboxId}\\.`));
        const r = await until('an answer', async () => { const a = await withHost(apiUrl, host); return a.status === 200 && a; });
        assert.equal(r.body, 'served\n');
    });
    await s.kill();
    await step('internet access: allowed if nothing is said, and not if it is', async () => {
        const [a, b] = await Promise.all([Sandbox.create(), Sandbox.create({ allowInternetAccess: false })]);
        assert.deepEqual([(await rulesOf(a)).default, (await rulesOf(b)).default], ['allow', 'deny']);
        await Promise.all([a.kill(), b.kill()]);
    });
    if (!old) await step('getHost with allowPublicTraffic false: only with the traffic token', async () => {
        const t = await Sandbox.create({ network: { allowPublicTraffic: false } });
        await t.commands.run('echo private > index.html && exec python3 -m http.server 8000', { background: true, timeoutMs: 0 });
        const r = await until('an answer', async () => { const a = await withHost(apiUrl, t.getHost(8000), { 'E2B-Traffic-Access-Token': t.trafficAccessToken }); return a.status === 200 && a; });
        assert.equal(r.body, 'private\n');
        assert.notEqual((await withHost(apiUrl, t.getHost(8000))).status, 200);
        await t.kill();
    });
}

const parts = { life, commands, files, watching, network };
await Promise.all(Object.entries(parts).filter(([name]) => !only.length || only.includes(name)).map(([name, fn]) => fn().catch((err) => step(`${name}: ${err}`, () => { throw err; }))));
end();
process.exit();
