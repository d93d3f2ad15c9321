// The unmodified CloudflareSandboxClient of @openai/agents-extensions against a running sandboxd. Usage: node cloudflare.mjs URL TOKEN
import assert from 'node:assert/strict';
import { CloudflareSandboxClient } from '@openai/agents-extensions/sandbox/cloudflare';
import { Manifest } from '@openai/agents-core/sandbox';

const [url, token] = process.argv.slice(2);
const client = new CloudflareSandboxClient({ workerUrl: url, apiKey: token });
const text = (bytes) => new TextDecoder().decode(bytes);
let passed = 0;
async function step(what, fn) {
    await fn();
    passed++;
    console.log(`ok client: ${what}`);
}

const manifest = new Manifest({ root: '/workspace', entries: { 'notes/a.txt': { type: 'file', content: 'from the manifest\n' }, sub: { type: 'dir' } } });
let session;
await step('create with a manifest', async () => {
    session = await client.create({ manifest });
    assert.match(session.state.sandboxId, /^[a-z2-7]{26}$/);
});
await step('running', async () => assert.equal(await session.running(), true));
await step('exec: output, status, working directory', async () => {
    const r = await session.execCommand({ cmd: 'echo hello there; pwd; echo wrong >&2; exit 3', workdir: 'notes' });
    assert.match(r, /hello there\n\/workspace\/notes/);
    assert.match(r, /wrong/);
    assert.match(r, /exit(ed)?( with)? code:? 3/i);
});
await step('the manifest is there', async () => {
    assert.equal(text(await session.readFile({ path: 'notes/a.txt' })), 'from the manifest\n');
    assert.equal(await session.directoryExists('sub'), true);
    assert.equal(await session.pathExists('nothing'), false);
});
await step('files with odd names and bytes', async () => {
    const editor = session.createEditor();
    await editor.createFile({ type: 'create_file', path: 'odd name #1 %20.txt', diff: '+one\n+two\n' });
    assert.equal(text(await session.readFile({ path: 'odd name #1 %20.txt' })).trimEnd(), 'one\ntwo');
    await session.materializeEntry({ path: 'deep/er/binary', entry: { type: 'file', content: new Uint8Array([0, 255, 10, 13, 128]) } });
    assert.deepEqual([...await session.readFile({ path: 'deep/er/binary' })], [0, 255, 10, 13, 128]);
    await assert.rejects(session.readFile({ path: 'absent' }), /not found/i);
    await assert.rejects(session.readFile({ path: '../etc/passwd' }));
});
await step('a terminal: command, input, end', async () => {
    let out = await session.execCommand({ cmd: 'read -r x; echo "got <$x>"; tty', tty: true, yieldTimeMs: 1500 });
    const id = Number(/session (?:id )?(\d+)/i.exec(out)?.[1]);
    assert.ok(Number.isInteger(id), out);
    for (let i = 0; i < 60 && !/pts.\d/.test(out); i++) out += await session.writeStdin({ sessionId: id, chars: i ? '' : 'typed\n', yieldTimeMs: 500 });
    assert.match(out, /got <typed>/);
    assert.match(out, /\/dev\/pts\/\d+/);
});
let archive;
await step('persist', async () => {
    await session.execCommand({ cmd: 'mkdir -p tree/x && printf abc > tree/x/f && ln -s f tree/x/l && chmod 755 tree/x/f && head -c 3000000 /dev/urandom > tree/big && sha256sum tree/big > tree/sum' });
    archive = await session.persistWorkspace();
    assert.ok(archive.byteLength > 3000000);
});
await step('hydrate into another sandbox', async () => {
    const other = await client.create({ manifest: new Manifest({ root: '/workspace' }) });
    await other.hydrateWorkspace(archive);
    const r = await other.execCommand({ cmd: 'sha256sum -c tree/sum; cat tree/x/l; stat -c %a tree/x/f; cat notes/a.txt' });
    assert.match(r, /tree\/big: OK\nabc755\nfrom the manifest/);
    await other.close();
    assert.equal(await other.running(), false);
});
await step('close, and again', async () => {
    await session.close();
    await session.close();
    assert.equal(await session.running(), false);
});
await step('a wrong token is refused', async () => {
    await assert.rejects(new CloudflareSandboxClient({ workerUrl: url, apiKey: 'wrong' }).create({ manifest: new Manifest({ root: '/workspace' }) }), /token/);
});
console.log(`client: ${passed} passed`);
