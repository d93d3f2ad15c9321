// The unmodified E2BSandboxClient of @openai/agents-extensions against a running sandboxd. Usage: E2B_API_URL=... E2B_SANDBOX_URL=... E2B_API_KEY=... node e2b_agents.mjs
import assert from 'node:assert/strict';
import { E2BSandboxClient } from '@openai/agents-extensions/sandbox/e2b';
import { empty, manifest, oddFiles, terminal, text } from './agents_sdk.mjs';
import { steps } from './steps.mjs';

const { step, end } = steps('agents');
const client = new E2BSandboxClient({ timeout: 300, pauseOnExit: true, exposedPorts: [8000], env: { MARK: 'm' } });
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
    await oddFiles(session);
    assert.equal(await session.pathExists('nothing'), false);
    await assert.rejects(session.readFile({ path: 'absent' }));
});
await step('a terminal', () => terminal(session));
await step('persist and hydrate, as an archive', async () => {
    await session.execCommand({ cmd: 'mkdir -p tree && head -c 1000000 /dev/urandom > tree/big && sha256sum tree/big > tree/sum' });
    const archive = await session.persistWorkspace();
    const other = await client.create({ manifest: empty() });
    await other.hydrateWorkspace(archive);
    assert.match(await other.execCommand({ cmd: 'sha256sum -c tree/sum; cat notes/a.txt' }), /tree\/big: OK\nfrom the manifest/);
    await other.sandbox.kill();
});
await step('persist and hydrate, as a snapshot', async () => {
    const fast = await new E2BSandboxClient({ workspacePersistence: 'snapshot' }).create({ manifest: empty() });
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
end();
process.exit();
