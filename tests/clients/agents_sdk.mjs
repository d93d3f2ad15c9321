// What is tried with each client of @openai/agents-extensions, as they all give the same sessions.
import assert from 'node:assert/strict';
import { Manifest } from '@openai/agents-core/sandbox';

export const text = (bytes) => new TextDecoder().decode(bytes);
export const empty = () => new Manifest({ root: '/workspace' });
export const manifest = new Manifest({ root: '/workspace', entries: { 'notes/a.txt': { type: 'file', content: 'from the manifest\n' }, sub: { type: 'dir' } } });

export async function oddFiles(session) {
    const editor = session.createEditor();
    await editor.createFile({ type: 'create_file', path: 'odd name #1 %20.txt', diff: '+one\n+two\n' });
    assert.equal(text(await session.readFile({ path: 'odd name #1 %20.txt' })).trimEnd(), 'one\ntwo');
    await session.materializeEntry({ path: 'deep/er/binary', entry: { type: 'file', content: new Uint8Array([0, 255, 10, 13, 128]) } });
    assert.deepEqual([...await session.readFile({ path: 'deep/er/binary' })], [0, 255, 10, 13, 128]);
}

// A command that waits for a line is given it, and ends.
export async function terminal(session) {
    let out = await session.execCommand({ cmd: 'read -r x; echo "got <$x>"; tty', tty: true, yieldTimeMs: 1500 });
    const id = Number(/session (?:id )?(\d+)/i.exec(out)?.[1]);
    assert.ok(Number.isInteger(id), out);
    for (let i = 0; i < 60 && !/pts.\d/.test(out); i++) out += await session.writeStdin({ sessionId: id, chars: i ? '' : 'typed\n', yieldTimeMs: 500 });
    assert.match(out, /got <typed>/);
    assert.match(out, /\/dev\/pts\/\d+/);
}
