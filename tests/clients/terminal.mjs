// The terminal page in headless Chromium: a token, a command, the screen, a new size, a lost connection. Usage: node terminal.mjs URL TOKEN
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [url, token] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
const api = (path, body, method = 'POST') => fetch(url + path, { method, headers, body: body && JSON.stringify(body) }).then(async (r) => (r.status === 204 ? {} : r.json()));
const { id } = await api('/v1/sandbox', {});
const profile = mkdtempSync(join(tmpdir(), 'coppice-chromium-'));
const browser = await chromium.launchPersistentContext(profile, { executablePath: '/usr/bin/chromium', headless: true, viewport: { width: 900, height: 600 }, permissions: ['clipboard-read'],
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
let passed = 0;
const ok = (what) => { passed++; console.log(`ok terminal page: ${what}`); };
const page = await browser.newPage();
await page.addInitScript(() => { window.sockets = []; window.WebSocket = class extends WebSocket { constructor(...a) { super(...a); window.sockets.push(this); } }; });
const elsewhere = [], urls = [], complaints = [];
page.on('request', (r) => { urls.push(r.url()); if (!r.url().startsWith(url)) elsewhere.push(r.url()); });
page.on('websocket', (w) => urls.push(w.url()));
page.on('console', (m) => { if (m.type() === 'error') complaints.push(m.text()); });
page.on('pageerror', (e) => complaints.push(String(e)));
const screen = () => page.locator('.xterm-rows').innerText().then((t) => t.replaceAll('\u00a0', ' '));
const shows = (pattern) => page.waitForFunction((source) => new RegExp(source).test((document.querySelector('.xterm-rows')?.innerText ?? '').replaceAll('\u00a0', ' ')), pattern.source, { timeout: 20000 });
const state = (name) => page.waitForSelector(`#state[data-state="${name}"]`, { timeout: 20000 });
const type = async (text) => { await page.locator('.xterm-helper-textarea').focus(); await page.keyboard.type(text + '\n'); };

try {
    await page.goto(`${url}/terminal/${id}`);
    await page.fill('#token', 'wrong');
    await page.click('button');
    await page.waitForFunction(() => document.querySelector('#why').textContent.includes('token'));
    assert.equal(await page.locator('#screen').isVisible(), false);
    ok('a wrong token is refused');

    await page.fill('#token', token);
    await page.click('button');
    await state('open');
    await type('echo sum=$((6*7)); export MARK=kept');
    await shows(/sum=42/);
    ok('a typed command runs and its output is on the screen');

    let asked = 0;                            // each answer has its own mark: the one before may still be on the screen
    const size = async () => {
        const mark = `size${++asked}=`, answer = new RegExp(`${mark}(\\d+) (\\d+)`);
        await type(`clear; echo ${mark}$(stty size)`);
        await shows(answer);
        return answer.exec(await screen()).slice(1).map(Number);
    };
    const before = await size();
    await page.setViewportSize({ width: 600, height: 400 });
    await page.waitForFunction((rows) => document.querySelector('.xterm-rows').children.length < rows, before[0]);
    await type('clear');
    const after = await size();
    assert.ok(after[0] < before[0] && after[1] < before[1], `${before} -> ${after}`);
    ok(`the window's size reaches the program: ${before.join('x')} to ${after.join('x')}`);

    await type("clear; printf '\\033[31mred\\033[0m line\\n'; echo before=$MARK");
    await shows(/before=kept/);
    await page.evaluate(() => { document.querySelector('#state').dataset.state = 'marked'; for (const s of window.sockets) s.close(); });
    await state('open');
    await shows(/red line[\s\S]*before=kept/);
    assert.equal(await page.locator('.xterm-rows .xterm-fg-1', { hasText: 'red' }).count(), 1);
    await type('echo after=$MARK');
    await shows(/after=kept/);
    assert.ok(await page.evaluate(() => window.sockets.length) >= 2);
    ok('a lost connection is made again: the screen with its colours, and the same shell');

    await type("printf '\\033]52;c;c3RvbGVu\\007'; echo tr$((1))ied");
    await shows(/tr1ied/);
    assert.notEqual(await page.evaluate(() => navigator.clipboard.readText().catch(() => '')), 'stolen');
    ok('the workload cannot write the clipboard');

    await type('exit 7');
    await state('ended');
    assert.match(await page.locator('#state').innerText(), /status 7/);
    ok('the end of the shell is shown');

    await page.reload();
    assert.equal(await page.locator('#ask').isVisible(), true);
    ok('loaded anew it has no token');
    assert.deepEqual(complaints.filter((c) => !/401|favicon/.test(c)), []);
} finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
    await api(`/v1/sandbox/${id}?snapshots=true`, undefined, 'DELETE');
}
assert.deepEqual(elsewhere, []);
assert.ok(!urls.some((u) => u.includes(token) || u.includes('ticket.')), 'a token in a URL');
ok('nothing was loaded from elsewhere, no URL held the token');
console.log(`terminal page: ${passed} passed`);
