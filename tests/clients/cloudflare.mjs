// The unmodified CloudflareSandboxClient of @openai/agents-extensions against a running sandboxd. Usage: node cloudflare.mjs URL TOKEN
import assert from 'node:assert/strict';
import { CloudflareSandboxClient } from '@openai/agents-extensions/sandbox/cloudflare';
import { empty, manifest, oddFiles, terminal, text } from './agents_sdk.mjs';
import { steps } from './steps.mjs';

const [url, token] = process.argv.slice(2);
const client = new CloudflareSandboxClient({ workerUrl: url, apiKey: token });
const { step, end } = steps('client');

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
    await oddFiles(session);
    await assert.rejects(session.readFile({ path: 'absent' }), /not found/i);
    await assert.rejects(session.readFile({ path: '../etc/passwd' }));
});
await step('a terminal: command, input, end', () => terminal(session));
let archive;
await step('persist', async () => {
    await session.execCommand({ cmd: 'mkdir -p tree/x && printf abc > tree/x/f && ln -s f tree/x/l && chmod 755 tree/x/f && head -c 3000000 /dev/urandom > tree/big && sha256sum tree/big > tree/sum' });
    archive = await session.persistWorkspace();
    assert.ok(archive.byteLength > 3000000);
});
await step('hydrate into another sandbox', async () => {
    const other = await client.create({ manifest: empty() });
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
    await assert.rejects(new CloudflareSandboxClient({ workerUrl: url, apiKey: 'wrong' }).create({ manifest: empty() }), /token/);
});
end();
