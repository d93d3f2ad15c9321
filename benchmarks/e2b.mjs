// What public leaderboards of sandboxes measure, through the unmodified package e2b: Sandbox.create(), then the first command (node -v), until its output is there.
// One after the other, and all at once. Usage: E2B_API_URL=... E2B_SANDBOX_URL=... E2B_API_KEY=... node benchmarks/e2b.mjs [ROUNDS (50)] [AT_ONCE (100)] [FILE.json]
// Run it from a directory with the package (tests/clients). Prints a table, and JSON as the last line.
import { createRequire } from 'node:module';
import { cpus, totalmem, loadavg } from 'node:os';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const require = createRequire(join(process.cwd(), 'x.js'));
const { Sandbox } = require('e2b');
const rounds = Number(process.argv[2] ?? 50), atOnce = Number(process.argv[3] ?? 100), file = process.argv[4];

async function one() {
    const begin = performance.now();
    const s = await Sandbox.create({ timeoutMs: 600_000 });
    const created = performance.now();
    const r = await s.commands.run('node -v');
    const end = performance.now();
    if (!/^v\d+/.test(r.stdout)) throw new Error(`node -v said ${r.stdout}`);
    return { s, create: created - begin, command: end - created, total: end - begin };
}
const at = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * p) - 1)];
const summary = (runs, key) => {
    const v = runs.map((r) => r[key]).sort((a, b) => a - b), ms = (x) => Math.round(x * 10) / 10;
    return { p50: ms(at(v, 0.5)), p95: ms(at(v, 0.95)), p99: ms(at(v, 0.99)), max: ms(v.at(-1)), n: v.length };
};
const all = (runs) => ({ create: summary(runs, 'create'), command: summary(runs, 'command'), total: summary(runs, 'total') });

const warm = await one();
await warm.s.kill();
const sequential = [];
for (let i = 0; i < rounds; i++) {
    const r = await one();
    sequential.push(r);
    await r.s.kill();
}
const load = loadavg()[0];
const begin = performance.now();
const settled = await Promise.allSettled(Array.from({ length: atOnce }, one));
const wall = performance.now() - begin;
const burst = settled.filter((r) => r.status === 'fulfilled').map((r) => r.value);
await Promise.all(burst.map((r) => r.s.kill()));
const out = { what: 'Sandbox.create(), then commands.run("node -v")', package: `e2b ${require('e2b/package.json').version}`, cpus: cpus().length, cpu: cpus()[0].model, memory_mb: Math.round(totalmem() / 2 ** 20),
    node: process.version, load_before_burst: load, sequential: all(sequential), at_once: { ...all(burst), asked: atOnce, failed: atOnce - burst.length, wall_ms: Math.round(wall) } };
console.log('milliseconds                    p50      p95      p99      max');
for (const [name, part] of [['one after the other', out.sequential], [`${atOnce} at once`, out.at_once]])
    for (const key of ['create', 'command', 'total'])
        console.log(`${`${name}: ${key}`.padEnd(28)}${['p50', 'p95', 'p99', 'max'].map((p) => String(part[key][p]).padStart(8)).join(' ')}`);
console.log(`failed: ${out.at_once.failed} of ${atOnce}; all of them within ${out.at_once.wall_ms} ms`);
console.log(JSON.stringify(out));
if (file) writeFileSync(file, `${JSON.stringify(out, null, 1)}\n`);
process.exit(out.at_once.failed ? 1 : 0);
