// Canonical paths (E29): no two of them are one path for a server, in any of these ways to read paths: the URL standard (WHATWG: node's own), nginx (decoded once, then dot segments and
// doubled slashes), Java's servlets (parameters cut off, then decoded, then dot segments), and a careless one (decoded twice, backslashes are slashes).
// What is canonical comes out of all as it went in (decoded), and no two alike. paths.mjs HTTP_ANSWERS [PATHS]
import { spawnSync } from 'node:child_process'
import { random } from './random.mjs'

const [program, paths = '100000'] = process.argv.slice(2)

const decode = s => s.replace(/%([0-9a-f]{2})/gi, (m, h) => String.fromCharCode(parseInt(h, 16)))
function dots (path) {
  const out = []
  const parts = path.split('/').slice(1)
  parts.forEach((p, i) => {
    const last = i === parts.length - 1
    if (p === '..') { out.pop(); if (last) out.push('') } else if (p === '.') { if (last) out.push('') } else out.push(p)
  })
  return '/' + out.join('/')
}
const merge = path => path.replace(/\/+/g, '/')
const readers = {
  url: p => decode(new URL('http://h.test' + p).pathname),
  nginx: p => merge(dots(merge(decode(p.split(/[?#]/)[0])))),
  servlet: p => merge(dots(decode(p.split('/').map(s => s.split(';')[0]).join('/')))),
  careless: p => merge(dots(merge(decode(decode(p)).replace(/\\/g, '/'))))
}

const known = ['/..;/', '/a/..;/b', '/%2e%2e/', '/a/%2e%2e/b', '/.%2e/b', '/a%2fb', '/a%2Fb', '//a', '/a//b', '/a\\b', '/a%5cb', '/a;b=c', '/a;/b', '/%252e%252e/', '/a%252fb', '/A', '/a/.', '/a/./b', '/a/..',
  '/%61', '/%C0%AE%C0%AE/', '/%E0%80%AF', '/a%00', '/a%0d', '/a?b', '/a#b', '/a%3Fb', '/a%23b', '/a%3bb', '/%EF%BC%8F', '/a/b', '/', '/a/', '/a%20b', '/%C3%A9', '/%c3%a9', '/a+b', '/a%2Bb', '/a:b', '/a%3Ab']
const parts = ['/', '/', 'a', 'b', '.', '..', '%2e', '%2E', '%2F', '%2f', '%5C', '\\', ';', ';x=y', '%3B', '%41', 'A', '%25', '2e', '2f', '%20', '%C3%A9', '%C0%AE', ':', '%3A', '//', '%00', '%', '%E2%80%A4']
const list = [...known]
while (list.length < +paths) list.push('/' + Array.from({ length: random(7) }, () => parts[random(parts.length)]).join(''))

const run = spawnSync(program, [], { maxBuffer: 1 << 28, input: Buffer.concat(list.map(p => { const b = Buffer.alloc(5 + p.length); b.writeUInt32LE(p.length + 1); b[4] = 112; b.write(p, 5, 'latin1'); return b })) })
if (run.status !== 0) throw new Error(`${program}: ${run.status} ${run.signal}`)
const canonical = new Set()
for (let at = 0, i = 0; at < run.stdout.length; i++) {
  const n = run.stdout.readUInt32LE(at)
  if (n === 3) canonical.add(list[i])
  at += 4 + n
}
let failed = 0
const fail = text => { if (++failed <= 20) console.log('FAILED: ' + text) }
for (const [name, reader] of Object.entries(readers)) {
  const seen = new Map()
  for (const path of canonical) {
    const read = reader(path)
    if (read !== decode(path)) fail(`${name} reads ${path} as ${read}`)
    if (seen.has(read)) fail(`${name} reads ${path} and ${seen.get(read)} as the same`)
    seen.set(read, path)
  }
}
// The other way: it is not canonical because one of them reads it as something else, or it is one more spelling; the plain ones are.
for (const good of ['/', '/a', '/a/', '/a/b', '/a%20b', '/%C3%A9', '/a:b', '/a+b']) if (list.includes(good) && !canonical.has(good)) fail(`${good} is refused`)
if (canonical.size < 200) fail(`only ${canonical.size} canonical paths`)
console.log(`${list.length} paths, ${canonical.size} different canonical ones, ${Object.keys(readers).length} readers; ${failed} failed`)
process.exit(failed ? 1 : 0)
