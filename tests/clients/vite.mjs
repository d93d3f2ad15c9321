// Previews in headless Chromium: the real Vite with hot reload, cookies of two previews, what the path form may not do. Usage: node vite.mjs API-URL TOKEN SANDBOX VITE-URL COOKIE-URL-1 COOKIE-URL-2 PATH-URL
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [api, token, sandbox, vite, first, second, path] = process.argv.slice(2);
const write = (name, text) => fetch(`${api}/v1/sandbox/${sandbox}/file/workspace/web/${name}`, { method: 'PUT', headers: { Authorization: `Bearer ${token}` }, body: text }).then((r) => assert.ok(r.ok, `${name}: ${r.status}`));
const profile = mkdtempSync(join(tmpdir(), 'coppice-chromium-'));
const browser = await chromium.launchPersistentContext(profile, { executablePath: '/usr/bin/chromium', headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
let passed = 0;
const ok = (what) => { passed++; console.log(`ok ${what}`); };
const limit = { timeout: 20000 };

try {
    const page = await browser.newPage(), complaints = [];
    page.on('pageerror', (e) => complaints.push(String(e)));
    const connected = page.waitForEvent('console', { predicate: (m) => m.text().includes('[vite] connected'), ...limit });
    await page.goto(vite);
    await page.waitForFunction(() => document.querySelector('#app')?.textContent === 'first', null, limit);
    await connected;
    await page.evaluate(() => { window.mark = 'kept'; });
    await write('text.js', "export const text = 'second';\n");
    await page.waitForFunction(() => document.querySelector('#app').textContent === 'second', null, limit);
    assert.equal(await page.evaluate(() => window.mark), 'kept');
    await write('look.css', '#app { color: rgb(7, 8, 9); }\n');
    await page.waitForFunction(() => getComputedStyle(document.querySelector('#app')).color === 'rgb(7, 8, 9)', null, limit);
    assert.equal(await page.evaluate(() => window.mark), 'kept');
    ok('the real Vite: a file changed through the API, the page showed it without a reload');
    await write('main.js', "document.querySelector('#app').textContent = 'third';\n");
    await page.waitForFunction(() => document.querySelector('#app')?.textContent === 'third' && window.mark === undefined, null, limit);
    ok('Vite: what cannot be replaced reloads the page');
    assert.deepEqual(complaints, []);
    await page.close();

    const one = await browser.newPage(), two = await browser.newPage();
    await one.goto(`${first}cookie?set=one`);
    await two.goto(`${second}cookie?set=two`);
    await one.goto(`${first}cookie`);
    await two.goto(`${second}cookie`);
    assert.equal(await one.evaluate(() => document.cookie), 'name=one');
    assert.equal(await two.evaluate(() => document.cookie), 'name=two');
    assert.match(await one.locator('body').innerText(), /name=one/);
    assert.doesNotMatch(await two.locator('body').innerText(), /one/);
    const seen = await two.evaluate((u) => fetch(u, { credentials: 'include' }).then((r) => r.text(), (e) => String(e)), `${first}cookie`);
    assert.doesNotMatch(seen, /name=one/);
    ok('two previews do not see one another\'s cookies or pages');
    await one.goto(`${first}headers`);
    await one.evaluate((u) => { location.href = u; }, `${second}headers`);
    await one.waitForURL(`${second}headers`);
    assert.doesNotMatch(await one.locator('body').innerText(), /referer/i);
    ok('a preview\'s address is in no Referer');

    const below = await browser.newPage();
    await below.goto(`${path}cookie?set=three`);
    const can = await below.evaluate(async (base) => ({ origin: window.origin, cookie: (() => { try { return document.cookie; } catch (e) { return e.name; } })(),
        worker: await (async () => { try { await navigator.serviceWorker.register('/p/worker.js'); return 'registered'; } catch (e) { return e.name; } })(),
        api: await fetch(`${base}/health`).then((r) => r.text(), (e) => e.name) }), api);
    assert.deepEqual(can, { origin: 'null', cookie: 'SecurityError', worker: can.worker, api: 'TypeError' });
    assert.notEqual(can.worker, 'registered');
    await below.goto(`${path}cookie`);
    assert.doesNotMatch(await below.locator('body').innerText(), /three/);
    ok('a page of the path form has no part in the API\'s origin: no cookies, no answers, no service worker');
} finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
}
console.log(`previews in Chromium: ${passed} passed`);
