// What our parser of HTTP accepts, llhttp (Node's parser, in strict mode; the build that undici bundles) must accept, and understand the same: method, target, version, headers, body,
// trailers, where the message ends, whether the connection goes on. On all tables of cases/ and on mutations of them. What only we refuse is fine, and counted by reason.
// llhttp.mjs HTTP_ANSWERS [MUTATIONS]; COPPICE_SEED as in tests/lib/seed.h.
import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { random } from './random.mjs'

const [program, mutations = '20000'] = process.argv.slice(2), cases = new URL('cases', import.meta.url).pathname
const PAUSED = 21, PAUSED_UPGRADE = 22, INVALID_METHOD = 6

// ---- llhttp ----
let messages, current, memory
const text = (at, n) => Buffer.from(memory.buffer, at, n).toString('latin1')
const cstring = at => { const b = Buffer.from(memory.buffer, at); return b.toString('latin1', 0, b.indexOf(0)) }
const wasm = new WebAssembly.Instance(new WebAssembly.Module(createRequire(import.meta.url)('undici/lib/llhttp/llhttp-wasm.js')), {
  env: {
    wasm_on_message_begin: () => { current = { url: '', fields: [], trailers: [], body: '', head: false }; return 0 },
    wasm_on_url: (p, at, n) => { current.url += text(at, n); return 0 },
    wasm_on_status: () => 0,
    wasm_on_header_field: (p, at, n) => { (current.head ? current.trailers : current.fields).push([text(at, n), '']); return 0 },
    wasm_on_header_value: (p, at, n) => { (current.head ? current.trailers : current.fields).at(-1)[1] += text(at, n); return 0 },
    wasm_on_headers_complete: (p, status, upgrade, keep) => {
      Object.assign(current, { head: true, status, keep, upgrade, minor: wasm.llhttp_get_http_minor(p), method: cstring(wasm.llhttp_method_name(wasm.llhttp_get_method(p))) })
      messages.push(current)
      return 0
    },
    wasm_on_body: (p, at, n) => { current.body += text(at, n); return 0 },
    wasm_on_message_complete: () => { current.done = true; return PAUSED }
  }
}).exports
memory = wasm.memory
wasm._initialize()

function llhttp (bytes, responses) {
  const parser = wasm.llhttp_alloc(responses ? 2 : 1), start = wasm.malloc(bytes.length || 1)
  Buffer.from(memory.buffer, start, bytes.length).set(bytes)
  messages = []
  let at = 0, error = 0
  while (at < bytes.length) {
    error = wasm.llhttp_execute(parser, start + at, bytes.length - at)
    if (error !== PAUSED && error !== PAUSED_UPGRADE) break
    at = wasm.llhttp_get_error_pos(parser) - start
    messages.at(-1).end ??= at
    if (error === PAUSED_UPGRADE) wasm.llhttp_resume_after_upgrade(parser)
    else wasm.llhttp_resume(parser)
    error = 0
  }
  if (!error && responses) {
    const before = messages.at(-1)
    error = wasm.llhttp_finish(parser)
    if (error === PAUSED) { error = 0; before.end ??= bytes.length }
  }
  wasm.llhttp_free(parser)
  wasm.free(start)
  return { messages, error }
}

// ---- ours ----
function parse (report) {
  const list = []
  let refused = null, more = false
  for (const line of report.split('\n')) {
    const space = line.indexOf(' '), kind = line.slice(0, space), rest = line.slice(space + 1)
    const pair = () => { const i = rest.indexOf(': '); return [rest.slice(0, i), rest.slice(i + 2).replace(/\\x(..)/g, (m, h) => String.fromCharCode(parseInt(h, 16)))] }
    if (kind === 'request') {
      const [, minor, keep, method, url] = rest.match(/^1\.(.) keep=(.) upgrade=. (\S+) (\S+)$/)
      list.push({ minor: +minor, keep: +keep, method, url, fields: [], trailers: [] })
    } else if (kind === 'answer') {
      const [, minor, status, keep] = rest.match(/^1\.(.) (...) keep=(.)/)
      list.push({ minor: +minor, status: +status, keep: +keep, fields: [], trailers: [] })
    } else if (kind === 'header') list.at(-1).fields.push(pair())
    else if (kind === 'trailer') list.at(-1).trailers.push(pair())
    else if (kind === 'body') {
      const [, how, , end, data] = rest.match(/^(\S+) (\d+) @(\d+) (.*)$/)
      Object.assign(list.at(-1), { how, end: +end, body: data.replace(/\\x(..)/g, (m, h) => String.fromCharCode(parseInt(h, 16))), done: true })
    } else if (kind === 'refused') refused = rest
    else if (line === 'more') more = true
  }
  return { list, refused, more }
}

function ours (inputs) {
  const records = inputs.map(({ bytes, responses }) => {
    const b = Buffer.alloc(5 + bytes.length)
    b.writeUInt32LE(bytes.length + 1)
    b[4] = (responses ? 'r' : 'q').charCodeAt(0)
    b.set(bytes, 5)
    return b
  })
  const run = spawnSync(program, [], { input: Buffer.concat(records), maxBuffer: 1 << 30 })
  if (run.status !== 0) throw new Error(`${program}: status ${run.status}, signal ${run.signal}: ${run.stderr}`)
  const reports = []
  for (let at = 0; at < run.stdout.length;) {
    const n = run.stdout.readUInt32LE(at)
    reports.push(run.stdout.toString('latin1', at + 4, at + 4 + n))
    at += 4 + n
  }
  if (reports.length !== inputs.length) throw new Error(`${reports.length} answers to ${inputs.length} inputs`)
  return reports
}

// ---- comparing ----
const trim = fields => JSON.stringify(fields.map(([n, v]) => [n, v.replace(/^[ \t]+|[ \t]+$/g, '')]))
const count = { same: 0, 'refused by both': 0, 'refused by us only': 0, 'method unknown to llhttp': 0, messages: 0 }
const reasons = new Map()

// How the two differ about a message that we accept; null if they do not.
function differs (a, b, responses) {
  if (!b) return 'llhttp refuses it'
  for (const key of responses ? ['minor', 'status'] : ['minor', 'method', 'url']) if (a[key] !== b[key]) return `${key}: ${a[key]} and ${b[key]}`
  if (trim(a.fields) !== trim(b.fields)) return `headers: ${trim(a.fields)} and ${trim(b.fields)}`
  if (!a.done) return b.done ? 'llhttp sees an end of the body' : null
  if (!b.done) return 'llhttp sees no end of the body'
  if (a.body !== b.body) return `body: ${a.body} and ${b.body}`
  if (trim(a.trailers) !== trim(b.trailers)) return 'trailers'
  if (a.end !== b.end) return `end: ${a.end} and ${b.end}`
  if (a.keep && !b.keep) return 'llhttp closes the connection'
  return null
}

function compare (input, report) {
  const a = parse(report), b = llhttp(input.bytes, input.responses)
  for (let i = 0; i < a.list.length; i++) {
    count.messages++
    if (!b.messages[i] && b.error === INVALID_METHOD) { count['method unknown to llhttp']++; return null }
    const why = differs(a.list[i], b.messages[i], input.responses)
    // The body is what we refuse: llhttp saw a head like ours, and may say of the rest what it likes.
    if (why && !(a.refused && i === a.list.length - 1 && !a.list[i].done && why.startsWith('llhttp sees'))) return `message ${i}: ${why}`
    if (!a.list[i].keep || !b.messages[i].keep) { count.same++; return null }
  }
  const last = a.list.at(-1), k = last && !last.done ? a.list.length - 1 : a.list.length
  if (!a.refused) count.same++
  else if (b.messages[k]?.done) {
    count['refused by us only']++
    reasons.set(a.refused, (reasons.get(a.refused) ?? 0) + 1)
  } else count['refused by both']++
  return null
}

// ---- inputs ----
const unescape = s => Buffer.from(s.replace(/\\x(..)|\\(.)|\{(\d+)\*(.)\}/g, (m, hex, c, n, repeated) =>
  hex ? String.fromCharCode(parseInt(hex, 16)) : c ? { r: '\r', n: '\n', t: '\t', 0: '\0', '\\': '\\' }[c] : repeated.repeat(+n)), 'latin1')
const inputs = []
for (const file of ['smuggling', 'malformed', 'request_line', 'headers', 'line_endings', 'chunks', 'garden', 'clients', 'responses']) {
  for (const line of readFileSync(`${cases}/${file}.txt`, 'utf8').split('\n')) {
    if (!line || line.startsWith('#')) continue
    const [name, , bytes] = line.split(' | ')
    inputs.push({ name: `${file} ${name}`, responses: file === 'responses', bytes: unescape(bytes ?? '') })
  }
}
if (readdirSync(cases).length < 8 || inputs.length < 400) throw new Error('the tables are not there')
const bases = inputs.filter(x => x.bytes.length && x.bytes.length < 2000)
const odd = ['a', 'B', '7', '.', '~', '', '\r', '\n', '\r\n', ' ', '\t', ':', ',', ';', '\0', '\x0b', '\x7f', '\x80', '\xff', '0', '-', '+', '_', '=', '"', '\\', '#', '@', '/', '\r\n ', '\r\n\r\n', 'chunked', 'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n', 'Connection: close\r\n', 'Connection: keep-alive\r\n', 'X-A: b\r\n', 'Host: b.test\r\n', 'Content-Length:', '0\r\n\r\n', '1\r\nx\r\n', 'HTTP/1.0', 'HTTP/1.1', 'GET / HTTP/1.1\r\n']
const bytesOf = s => Buffer.from(s, 'latin1')
function mutate (from) {
  let b = from.bytes
  for (let n = 1 + random(3); n > 0; n--) {
    const at = random(b.length + 1), end = Math.min(b.length, at + random(12))
    const cut = (...parts) => { b = Buffer.concat([b.subarray(0, at), ...parts.map(x => typeof x === 'string' ? bytesOf(x) : x)]) }
    switch (random(6)) {
      case 0: cut(odd[random(odd.length)], b.subarray(at)); break
      case 1: cut(b.subarray(end)); break
      case 2: cut(odd[random(odd.length)], b.subarray(Math.min(b.length, at + 1))); break
      case 3: cut(b.subarray(at, end), b.subarray(at)); break
      case 4: { const o = bases[random(bases.length)].bytes, i = random(o.length); cut(o.subarray(i, i + random(40)), b.subarray(end)); break }
      default: { const lines = b.toString('latin1').split('\r\n'), i = random(lines.length), k = random(lines.length); [lines[i], lines[k]] = [lines[k], lines[i]]; b = bytesOf(lines.join('\r\n')) }
    }
  }
  return { name: `mutation of ${from.name}`, responses: from.responses, bytes: b }
}
const accepted = ours(bases).map(report => !parse(report).refused), good = bases.filter((x, i) => accepted[i])
for (let i = 0; i < +mutations; i++) inputs.push(mutate(i % 4 ? good[random(good.length)] : bases[random(bases.length)]))

const reports = ours(inputs)
let failed = 0
inputs.forEach((input, i) => {
  const why = compare(input, reports[i])
  if (why && ++failed <= 20) console.log(`FAILED: ${input.name}: ${why}\n  ${JSON.stringify(input.bytes.toString('latin1'))}`)
})
console.log(`${inputs.length} inputs, ${count.messages} messages accepted by us:`, JSON.stringify(count))
for (const [why, n] of [...reasons].sort((x, y) => y[1] - x[1])) console.log(`  ${String(n).padStart(6)} refused by us only: ${why}`)
if (count.same < 1000 || count['refused by both'] < 1000) { console.log('FAILED: too little was compared'); failed++ }
console.log(`${inputs.length - failed} passed, ${failed} failed`)
process.exit(failed ? 1 : 0)
