// The unmodified E2BSandboxClient of @openai/agents-extensions against a running sandboxd. Usage: E2B_API_URL=... E2B_SANDBOX_URL=... E2B_API_KEY=... node e2b_agents.mjs
import assert from 'node:assert/strict';
import { E2BSandboxClient } from '@openai/agents-extensions/sandbox/e2b';
import { Manifest } from '@openai/agents-core/sandbox';

let passed = 0;
const text = (bytes) => new TextDecoder().decode(bytes);
async function step(what, fn) {
    await fn();
    passed++;
    console.log(`ok agents: ${what}`);
}
const client = new E2BSandboxClient({ timeout: 300, pauseOnExit: true, exposedPorts: [8000], env: { MARK: 'm' } });
const manifest = new Manifest({ root: '/workspace', entries: { 'notes/a.txt': { type: 'file', content: 'from the manifest\n' }, sub: { type: 'dir' } } });
let session;
await step('create with a manifest', async () => {
    session = await client.create({ manifest });
    assert.match(session.state.sandboxId, /^[a-z2-7]{26}$/);
    assert.equal(text(await session.readFile({ path: 'notes/a.txt' })), 'from the manifest\n');
});
await step('exec: output, status, directory, environment', async () => {
    const r = await session.execCommand({ cmd: 'pwd; echo $MARK; echo wrong >&2; exit 3', workdir: 'notes' });
    assert.match(r, /\/workspace\/notes\nm/);
    assert.match(r, /wrong/);
    assert.match(r, /exit(ed)?( with)? code:? 3/i);
});
await step('files', async () => {
    const editor = session.createEditor();
    await editor.createFile({ type: 'create_file', path: 'odd name #1 %20.txt', diff: '+one\n+two\n' });
    assert.equal(text(await session.readFile({ path: 'odd name #1 %20.txt' })).trimEnd(), 'one\ntwo');
    await session.materializeEntry({ path: 'deep/er/binary', entry: { type: 'file', content: new Uint8Array([0, 255, 10, 13, 128]) } });
    assert.deepEqual([...await session.readFile({ path: 'deep/er/binary' })], [0, 255, 10, 13, 128]);
    assert.equal(await session.pathExists('nothing'), false);
    await assert.rejects(session.readFile({ path: 'absent' }));
});
await step('a terminal', async () => {
    let out = await session.execCommand({ cmd: 'read -r x; echo "got <$x>"; tty', tty: true, yieldTimeMs: 1500 });
    const id = Number(/session (?:id )?(\d+)/i.exec(out)?.[1]);
    assert.ok(Number.isInteger(id), out);
    for (let i = 0; i < 60 && !/pts.\d/.test(out); i++) out += await session.writeStdin({ sessionId: id, chars: i ? '' : 'typed\n', yieldTimeMs: 500 });
    assert.match(out, /got <typed>/);
    assert.match(out, /\/dev\/pts\/\d+/);
});
await step('persist and hydrate, as an archive', async () => {
    await session.execCommand({ cmd: 'mkdir -p tree && head -c 1000000 /dev/urandom > tree/big && sha256sum tree/big > tree/sum' });
    const archive = await session.persistWorkspace();
    const other = await client.create({ manifest: new Manifest({ root: '/workspace' }) });
    await other.hydrateWorkspace(archive);
    assert.match(await other.execCommand({ cmd: 'sha256sum -c tree/sum; cat notes/a.txt' }), /tree\/big: OK\nfrom the manifest/);
    await other.sandbox.kill();
});
await step('persist and hydrate, as a snapshot', async () => {
    const fast = await new E2BSandboxClient({ workspacePersistence: 'snapshot' }).create({ manifest: new Manifest({ root: '/workspace' }) });
    await fast.execCommand({ cmd: 'echo before > state' });
    const ref = await fast.persistWorkspace();
    await fast.execCommand({ cmd: 'echo after > state' });
    await fast.hydrateWorkspace(ref);
    assert.equal(text(await fast.readFile({ path: 'state' })), 'before\n');
    await fast.close();
});
await step('the address of a port', async () => {
    const e = await session.resolveExposedPort(8000);
    assert.match(e.host ?? e.url ?? String(e), new RegExp(`8000-${session.state.sandboxId}`));
});
await step('close pauses, resume brings it back', async () => {
    const state = await client.serializeSessionState(session.state);
    await session.close();
    const again = await client.resume(await client.deserializeSessionState(state));
    assert.equal(again.state.sandboxId, session.state.sandboxId);
    assert.equal(text(await again.readFile({ path: 'notes/a.txt' })), 'from the manifest\n');
    await again.sandbox.kill();
});
console.log(`agents: ${passed} passed`);
process.exit();
