// The JavaScript and TypeScript driver of code contexts. sandboxd sends this text to a `node -e` over the channel (descriptor 3, a socket of its own beside stdout and stderr), then
// acorn and, for TypeScript, the compiler, then orders; see docs/code.md for the messages. Node 18 or newer.
//
// Code is evaluated by V8 itself in REPL mode, through an inspector session on this thread (no port is opened): let and class may be declared again by a later run, await works at the top, the last expression's value comes out, and positions are the user's. The text is changed only where V8 cannot do it (transform): static
// imports become await import(), import() goes through this driver, a name that was first declared by var or function stays of that kind, and const becomes let with assignments that
// throw (V8 would not let it become anything else later). TypeScript is compiled first; positions
// are mapped back. console and process.stdout write to the channel, in order with results; descriptors 1 and 2 are for children and native code.
//
// Interrupts: a worker reads the channel. It tells the main thread; if that does not answer it is busy, and is stopped through the inspector. Code that is stopped in the middle of a
// promise leaves the promise pending, so a run's end does not depend on it (`settle`).
(function (require, part, dynamicImport) {
  'use strict';
  const fs = require('fs'), inspector = require('inspector'), Module = require('module'), path = require('path'), url = require('url'), util = require('util'), vm = require('vm');
  const { Worker } = require('worker_threads');
  const { StringDecoder } = require('string_decoder');
  const CHANNEL = 3, MESSAGE_MAX = 8 << 20, ROOM = MESSAGE_MAX - (64 << 10), TEXT_MAX = 64 << 10, JSON_MAX = 64 << 10, FILE = 'coppice:driver';
  const { stringify, parse } = JSON, { isArray } = Array, ObjectPrototype = Object.prototype, getPrototypeOf = Object.getPrototypeOf;
  const writeSync = fs.writeSync, BufferFrom = Buffer.from, alloc = Buffer.allocUnsafe, concat = Buffer.concat, realImmediate = setImmediate, realTimeout = setTimeout;
  const reallyExit = process.reallyExit.bind(process);

  // --- the channel ---
  const pause = new Int32Array(new SharedArrayBuffer(4));
  function send(message) {
    // a lone surrogate is no UTF-8; stringify writes it as \\udXXX, and only such
    const text = BufferFrom(stringify(message).replace(/(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g, '$1\\ufffd')), data = alloc(text.length + 4);
    data.writeUInt32LE(text.length, 0);
    text.copy(data, 4);
    for (let at = 0; at < data.length;) {
      try {
        at += writeSync(CHANNEL, data, at, data.length - at);
      } catch (e) {
        if (e.code === 'EAGAIN') Atomics.wait(pause, 0, 0, 1);  // the worker's reading made it so
        else if (e.code !== 'EINTR') reallyExit(70);
      }
    }
  }

  const init = parse(part().toString());          // {language}
  const acorn = library(part(), 'coppice:acorn');
  const ts = init.language === 'typescript' ? library(require('zlib').gunzipSync(part()), 'coppice:typescript') : null;

  function library(text, filename) {
    const module = { exports: {} };
    vm.runInThisContext('(function(exports,require,module,__filename,__dirname){' + text + '\n})', { filename })(module.exports, require, module, '/coppice.js', '/');
    return module.exports;
  }

  // --- stdout and stderr ---
  function capture(stream, number) {
    const decoder = new StringDecoder('utf8');
    stream.write = function (chunk, encoding, callback) {
      if (typeof encoding === 'function') { callback = encoding; encoding = undefined; }
      const text = typeof chunk === 'string' && (!encoding || encoding === 'utf8' || encoding === 'utf-8') ? chunk : decoder.write(BufferFrom(chunk, encoding));
      for (let at = 0; at < text.length; at += 1 << 20) send({ t: 'out', s: number, text: text.slice(at, at + (1 << 20)) });
      if (typeof callback === 'function') process.nextTick(callback);
      return true;
    };
    stream.end = function (chunk, encoding, callback) { if (chunk !== undefined && typeof chunk !== 'function') stream.write(chunk, encoding, callback); return stream; };
    stream._destroy = (error, callback) => callback(null);
  }
  capture(process.stdout, 1);
  capture(process.stderr, 2);

  // --- positions: the user's, in every stack ---
  const runs = new Map();                          // name -> { position(line, column) }
  const RUNS_KEPT = 1000;
  const PLACE = /\b(run-\d+):(\d+)(?::(\d+))?/g;
  const mapped = (text) => text.replace(PLACE, (all, name, line, column) => {
    const at = runs.get(name)?.position(+line, +(column || 1));
    return at ? `${name}:${at[0]}` + (column ? `:${at[1]}` : '') : all;
  });
  const ours = (text) => text.includes(FILE) || text.includes('node:inspector');
  Error.prepareStackTrace = (error, frames) => {
    let head;
    try { head = String(error); } catch { head = 'Error'; }
    const lines = [];
    let unsure = [], below = false;                // unsure: built-in callers, perhaps of ours; below: of ours
    for (const frame of frames) {
      const text = String(frame);
      if (ours(text)) {
        if (lines.length) break;
        unsure = [];
        below = true;
      } else if (below && !lines.length && !/run-\d+:/.test(text)) {
        continue;
      } else if (text.endsWith('(<anonymous>)')) {
        unsure.push('\n    at ' + text);
      } else {
        lines.push(...unsure, '\n    at ' + mapped(text));
        unsure = [];
      }
    }
    return head + lines.join('');
  };

  const VLQ = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  // Per generated line: [generated column, source line, source column], all from 0.
  function decodeMappings(text) {
    let line = 0, column = 0;
    return text.split(';').map((part) => {
      let generated = 0;
      return part.split(',').filter(Boolean).map((segment) => {
        const values = [];
        for (let i = 0, shift = 0, value = 0; i < segment.length; i++) {
          const digit = VLQ.indexOf(segment[i]);
          value |= (digit & 31) << shift;
          shift += 5;
          if (!(digit & 32)) { values.push(value & 1 ? -(value >> 1) : value >> 1); value = shift = 0; }
        }
        generated += values[0];
        line += values[2] || 0;
        column += values[3] || 0;
        return [generated, line, column];
      });
    });
  }

  // --- from the user's text to V8's ---
  class UserSyntaxError extends Error {}
  function compileTypeScript(code, name) {
    const out = ts.transpileModule(code, { fileName: name + '.ts', reportDiagnostics: true, compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true, sourceMap: true, experimentalDecorators: true, useDefineForClassFields: true, removeComments: false } });
    const bad = out.diagnostics.find((d) => d.category === ts.DiagnosticCategory.Error && d.start !== undefined);
    if (bad) {
      const { line, character } = bad.file.getLineAndCharacterOfPosition(bad.start);
      throw syntaxError(ts.flattenDiagnosticMessageText(bad.messageText, '\n'), code, name, line + 1, character + 1);
    }
    const lines = decodeMappings(parse(out.sourceMapText).mappings);
    const position = (line, column) => {
      let found = null;
      for (const segment of lines[line - 1] || []) if (segment[0] <= column - 1 || !found) found = segment;
      return found && [found[1] + 1, found[2] + 1 + Math.max(0, column - 1 - found[0])];
    };
    return { text: out.outputText.replace(/\n\/\/# sourceMappingURL=.*\s*$/, '\n'), position };
  }

  function syntaxError(message, code, name, line, column) {
    const error = new UserSyntaxError(message);
    error.place = `${name}:${line}:${column}\n${code.split('\n')[line - 1] ?? ''}\n${' '.repeat(Math.max(0, column - 1))}^\n`;
    return error;
  }

  const IMPORT = '$imp0rt', CONSTANT = '$c0nst';   // hidden globals of this driver
  const constant = new Set();                      // names at the top that may not be assigned to
  const lexical = new Set(), vars = new Set();     // names at the top, by the kind that they were first declared as

  function names(pattern, out = []) {
    if (!pattern) return out;
    if (pattern.type === 'Identifier') out.push(pattern.name);
    else if (pattern.type === 'ObjectPattern') for (const p of pattern.properties) names(p.value || p.argument, out);
    else if (pattern.type === 'ArrayPattern') for (const p of pattern.elements) names(p, out);
    else names(pattern.left || pattern.argument, out);
    return out;
  }

  function walk(node, visit) {
    if (!node || typeof node.type !== 'string') return;
    visit(node);
    for (const key in node) {
      const value = node[key];
      if (isArray(value)) for (const item of value) walk(item, visit);
      else if (value && typeof value.type === 'string') walk(value, visit);
    }
  }

  function importText(node) {
    const from = `${IMPORT}(${node.source.raw})`, parts = [];
    let all = null;
    for (const s of node.specifiers) {
      if (s.type === 'ImportNamespaceSpecifier') all = s.local.name;
      else parts.push(`${s.type === 'ImportDefaultSpecifier' ? 'default' : s.imported.raw || s.imported.name}:${s.local.name}`);
    }
    const word = (list) => (list.some((n) => vars.has(n)) ? 'var' : 'let');
    const locals = node.specifiers.filter((s) => s.local.name !== all).map((s) => s.local.name);
    if (!node.specifiers.length) return `await ${from};`;
    return (all ? `${word([all])} ${all}=await ${from};` : '') + (parts.length ? `${word(locals)} {${parts.join(',')}}=await ${from};` : '');
  }

  // Names that something below the top declares too: their assignments are left to V8.
  function innerNames(tree) {
    const found = new Set(), top = new Set(tree.body.map((n) => n.declaration || n));
    const add = (pattern) => names(pattern).forEach((n) => found.add(n));
    walk(tree, (node) => {
      if (node.type === 'VariableDeclaration' && !top.has(node)) node.declarations.forEach((d) => add(d.id));
      else if (/Function/.test(node.type)) { node.params.forEach(add); if (node.id && !top.has(node)) add(node.id); }
      else if (node.type === 'CatchClause') add(node.param);
      else if (/^Class/.test(node.type) && !top.has(node)) add(node.id);
    });
    return found;
  }

  function declareConstants(tree) {
    for (let node of tree.body) {
      if (node.type === 'ImportDeclaration') node.specifiers.forEach((s) => constant.add(s.local.name));
      node = node.declaration || node;
      const list = node.type === 'VariableDeclaration' ? node.declarations.flatMap((d) => names(d.id)) : /^(Function|Class)Declaration$/.test(node.type) && node.id ? [node.id.name] : [];
      for (const n of list) node.kind === 'const' ? constant.add(n) : constant.delete(n);
    }
  }

  // Edits of the text: [start, end, new text]. No edit adds or takes away a line.
  function editsOf(tree, text) {
    const edits = [], lines = (s) => '\n'.repeat(s.split('\n').length - 1);
    declareConstants(tree);
    const inner = innerNames(tree);
    const target = (node) => {
      if (!node) return;
      if (node.type === 'Identifier') { if (constant.has(node.name) && !inner.has(node.name)) edits.push([node.start, node.end, `${CONSTANT}.${node.name}`]); }
      else if (node.type === 'ArrayPattern') node.elements.forEach(target);
      else if (node.type === 'ObjectPattern') node.properties.forEach((p) => { if (!p.shorthand) target(p.value || p.argument); });
      else if (node.type === 'AssignmentPattern' || node.type === 'RestElement') target(node.left || node.argument);
    };
    walk(tree, (node) => {
      if (node.type === 'ImportExpression') edits.push([node.start, node.start + 6, IMPORT]);
      else if (node.type === 'AssignmentExpression') target(node.left);
      else if (node.type === 'UpdateExpression') target(node.argument);
    });
    for (let node of tree.body) {
      if (node.type === 'ImportDeclaration') {
        edits.push([node.start, node.end, importText(node) + lines(text.slice(node.start, node.end))]);
        for (const s of node.specifiers) if (!vars.has(s.local.name)) lexical.add(s.local.name);
        continue;
      }
      if (node.type === 'ExportNamedDeclaration' || node.type === 'ExportDefaultDeclaration') {
        const inner = node.declaration;
        if (!inner) { edits.push([node.start, node.end, lines(text.slice(node.start, node.end))]); continue; }
        edits.push([node.start, inner.start, ' '.repeat(0) + lines(text.slice(node.start, inner.start))]);
        if (!inner.id && inner.type !== 'VariableDeclaration') { edits[edits.length - 1][2] = '('; edits.push([inner.end, inner.end, ')']); continue; }
        node = inner;
      }
      if (node.type === 'VariableDeclaration') {
        const list = node.declarations.flatMap((d) => names(d.id)), isVar = node.kind === 'var';
        if (isVar && list.some((n) => lexical.has(n))) edits.push([node.start, node.start + 3, 'let']);
        else if (!isVar && list.some((n) => vars.has(n))) edits.push([node.start, node.start + node.kind.length, 'var']);
        else if (node.kind === 'const') edits.push([node.start, node.start + 5, 'let']);
        for (const n of list) if (!lexical.has(n) && !vars.has(n)) (isVar ? vars : lexical).add(n);
      } else if (node.type === 'ClassDeclaration' && node.id) {
        if (vars.has(node.id.name)) edits.push([node.start, node.start, `var ${node.id.name}=`], [node.end, node.end, ';']);
        else lexical.add(node.id.name);
      } else if (node.type === 'FunctionDeclaration' && node.id) {
        if (lexical.has(node.id.name)) edits.push([node.start, node.start, `let ${node.id.name}=`], [node.end, node.end, ';']);
        else vars.add(node.id.name);
      }
    }
    return edits.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  }

  function apply(text, edits) {
    const starts = [0], shifts = new Map();
    for (let i = 0; i < text.length; i++) if (text[i] === '\n') starts.push(i + 1);
    let out = '', at = 0, line = 0, lineShift = 0;
    for (const [start, end, put] of edits) {
      while (line + 1 < starts.length && starts[line + 1] <= start) { line++; lineShift = 0; }
      const column = start - starts[line] + lineShift, change = put.length - (end - start);
      if (!shifts.has(line)) shifts.set(line, []);
      shifts.get(line).push([column + put.length, change, column]);
      lineShift += change;
      out += text.slice(at, start) + put;
      at = end;
    }
    const position = (l, c) => {
      let change = 0;
      for (const [from, by, begin] of shifts.get(l - 1) || []) {
        if (c - 1 >= from) change += by;
        else if (c - 1 > begin) return [l, begin - change + 1];
      }
      return [l, Math.max(1, c - change)];
    };
    return { text: out + text.slice(at), position };
  }

  function transform(code, name) {
    let text = code, back = null;
    if (ts) ({ text, position: back } = compileTypeScript(code, name));
    let tree;
    try {
      tree = acorn.parse(text, { ecmaVersion: 'latest', sourceType: 'module', allowAwaitOutsideFunction: true, allowReturnOutsideFunction: false, allowHashBang: true });
    } catch {
      try {
        tree = acorn.parse(text, { ecmaVersion: 'latest', sourceType: 'script', allowAwaitOutsideFunction: true, allowHashBang: true });      // sloppy: with, octal, ...
      } catch {
        runs.set(name, { position: (l, c) => (back ? back(l, c) : [l, c]) });
        return text;                               // V8 says what is wrong with it
      }
    }
    const edited = apply(text, editsOf(tree, text));
    runs.set(name, { position: (l, c) => { const p = edited.position(l, c); return back ? back(...p) || p : p; } });
    for (const key of runs.keys()) { if (runs.size <= RUNS_KEPT) break; runs.delete(key); }
    return edited.text;
  }

  // --- what a value looks like ---
  const MIMES = { html: 'text/html', markdown: 'text/markdown', svg: 'image/svg+xml', png: 'image/png', jpeg: 'image/jpeg', latex: 'text/latex', json: 'application/json',
    javascript: 'application/javascript', text: 'text/plain', pdf: 'application/pdf' };
  const DISPLAY = Symbol.for('Jupyter.display');

  function plain(value) {
    if (value === null || typeof value !== 'object') return false;
    const proto = getPrototypeOf(value);
    return proto === ObjectPrototype || proto === null || isArray(value);
  }

  async function bundleOf(value) {
    if (value !== null && (typeof value === 'object' || typeof value === 'function')) {
      let method;
      try { method = value[DISPLAY]; } catch { method = null; }
      if (typeof method === 'function') {
        const out = await method.call(value);
        if (out && typeof out === 'object') return out;
      }
    }
    const out = { 'text/plain': util.inspect(value) };
    if (plain(value)) {
      try {
        const text = stringify(value);
        if (text.length <= JSON_MAX) out['application/json'] = parse(text);
      } catch {}
    }
    return out;
  }

  function publish(bundle, main) {
    const data = {}, sizes = new Map();
    for (const mime of Object.keys(bundle).slice(0, 32)) {
      let value = bundle[mime];
      if (value === undefined || value === null) continue;
      if (ArrayBuffer.isView(value)) value = BufferFrom(value.buffer, value.byteOffset, value.byteLength).toString('base64');
      else if (value instanceof ArrayBuffer) value = BufferFrom(value).toString('base64');
      let size;
      try { size = Buffer.byteLength(stringify(value) ?? 'null'); } catch { value = util.inspect(value); size = Buffer.byteLength(stringify(value)); }
      data[mime] = value;
      sizes.set(mime, size);
    }
    for (let sum = [...sizes.values()].reduce((a, b) => a + b, 0); sum > ROOM; sum = [...sizes.values()].reduce((a, b) => a + b, 0)) {
      const [worst, size] = [...sizes].reduce((a, b) => (b[1] > a[1] ? b : a));
      delete data[worst];
      sizes.delete(worst);
      data['text/plain'] ??= `the ${worst} of this result is left out: it has ${size} bytes, more than the ${ROOM} that one result may have`;
      sizes.set('text/plain', Buffer.byteLength(stringify(data['text/plain'])));
    }
    send({ t: 'result', data, main });
  }

  async function display(value, options) {
    publish(options && options.raw ? value : await bundleOf(value), false);
  }
  for (const [name, mime] of Object.entries(MIMES)) display[name] = (value) => publish({ [mime]: value }, false);
  display.mime = (bundle) => publish(bundle, false);

  // --- errors ---
  function shown(error) {
    const text = util.inspect(error).split('\n').filter((line) => !ours(line)).join('\n');
    return /^\[[^\n]*\]$/.test(text) ? text.slice(1, -1) : text;       // so inspect shows one without frames
  }

  function sendError(error, place = '') {
    let name = 'Error', value = '', text = '';
    try {
      if (util.types.isNativeError(error)) {
        name = error instanceof UserSyntaxError ? 'SyntaxError' : String(error.name);
        value = String(error.message);
        text = (error.place || place) + (error instanceof UserSyntaxError ? `SyntaxError: ${value}` : shown(error));
      } else {
        value = typeof error === 'string' ? error : util.inspect(error);
        text = 'Uncaught ' + util.inspect(error);
      }
    } catch (e) {
      text = text || 'an error that cannot be shown';
    }
    send({ t: 'error', name: name.slice(0, 1000), value: value.slice(0, TEXT_MAX), traceback: text.slice(0, 4 * TEXT_MAX) });
  }

  // --- running ---
  const session = new inspector.Session();
  session.connect();
  const post = (method, params) => new Promise((done, failed) => session.post(method, params, (e, r) => (e ? failed(e) : done(r))));
  let current = null, count = 0, receiver;

  function interrupted() {
    const error = new Error('the run was interrupted');
    error.name = 'Interrupted';
    error.stack = 'Interrupted: the run was interrupted';
    return error;
  }

  // The value that the inspector speaks of.
  async function fetchValue(remote) {
    const argument = remote.objectId ? { objectId: remote.objectId } : 'unserializableValue' in remote ? { unserializableValue: remote.unserializableValue } : { value: remote.value };
    let got;
    hand = (value) => { got = value; };
    await post('Runtime.callFunctionOn', { objectId: receiver, functionDeclaration: 'function(v){this(v)}', arguments: [argument], silent: true });
    return got;
  }
  let hand = null;
  const receive = (value) => hand(value);

  function settle(run, error, failed, place) {
    if (current !== run) return;                   // it ended before, by an interrupt
    current = null;
    if (failed) sendError(error, place);
    send({ t: 'done', count: run.count, ok: !failed });
  }

  async function execute(run, code, name) {
    const out = await post('Runtime.evaluate', { expression: transform(code, name) + `\n//# sourceURL=${name}`, replMode: true, awaitPromise: true, objectGroup: name, silent: true });
    if (current !== run) return;
    const details = out.exceptionDetails;
    if (details) {
      const error = await fetchValue(details.exception || out.result);
      let place = '';
      if (util.types.isNativeError(error) && error.name === 'SyntaxError' && details.scriptId && !/run-\d+:/.test(error.stack || '')) {
        const [line, column] = runs.get(name).position(details.lineNumber + 1, details.columnNumber + 1) || [details.lineNumber + 1, details.columnNumber + 1];
        place = syntaxError('', code, name, line, column).place;
      }
      settle(run, error, true, place);
    } else {
      const value = out.result.type === 'undefined' ? undefined : await fetchValue(out.result);
      if (value !== undefined && !/;\s*$/.test(code)) {
        const bundle = await bundleOf(value);
        if (current === run) publish(bundle, true);
      }
      settle(run);
    }
    session.post('Runtime.releaseObjectGroup', { objectGroup: name });
  }

  function start(order) {
    const run = { count: ++count }, name = `run-${count}`;
    current = run;
    execute(run, order.code, name).catch((error) => settle(run, /Execution was terminated/.test(error?.message) ? interrupted() : error, true));
  }

  // --- the user's world ---
  function stray(error, what) {
    try { process.stderr.write(`${what} ${util.inspect(error)}\n`); } catch {}
  }
  process.on('uncaughtException', (error) => stray(error, 'Uncaught (outside of the run\'s own flow)'));
  process.on('unhandledRejection', (error) => stray(error, 'Unhandled rejection:'));
  process.on('SIGINT', () => {});                  // for children of the same group; the interrupt itself comes over the channel

  const hidden = (name, value) => Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
  const base = () => path.join(process.cwd(), 'code.js');
  const userRequire = Module.createRequire(base());
  hidden('require', userRequire);
  hidden('display', display);
  hidden(CONSTANT, new Proxy({}, {
    get: (target, name) => vm.runInThisContext(name),
    set: () => { throw new TypeError('Assignment to constant variable.'); },
  }));
  hidden(IMPORT, async (spec, ...more) => {
    spec = String(spec);
    return dynamicImport(/^\.{0,2}\//.test(spec) ? url.pathToFileURL(path.resolve(spec)).href : spec, ...more);
  });
  const refuse = () => { throw new Error('input is not available here: nobody is at the keyboard of a code context. Put the values into variables, or run the program as a command with its own stdin (exec)'); };
  hidden('prompt', refuse);
  hidden('alert', (...text) => console.log(...text));
  // A timer's callback runs as a promise job: there it can be stopped without harm to node's own timers.
  for (const name of ['setTimeout', 'setInterval', 'setImmediate']) {
    const real = globalThis[name], wrapped = function (callback, ...rest) {
      if (typeof callback !== 'function') return real(callback, ...rest);
      const job = function (...given) { queueMicrotask(() => callback.apply(this, given)); };
      return real(job, ...rest);
    };
    Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(real));
    hidden(name, wrapped);
  }

  // --- the worker: reads orders, stops what does not answer ---
  const flag = new Int32Array(new SharedArrayBuffer(4));        // counts the interrupts that the main thread has seen
  const worker = new Worker(`
    const { workerData: flag, parentPort } = require('worker_threads'), inspector = require('inspector'), net = require('net');
    let rest = Buffer.alloc(0), seen = 0;
    function stop() {
      parentPort.postMessage({ op: 'interrupt', n: ++seen });
      Atomics.wait(flag, 0, seen - 1, 50);
      if (Atomics.load(flag, 0) >= seen) return parentPort.postMessage({ op: 'interrupted' });
      const session = new inspector.Session();                  // not longer than needed: node does not exit while one is there
      session.connectToMainThread();
      for (let tries = 0; tries < 20 && Atomics.load(flag, 0) < seen; tries++) {
        session.post('Runtime.terminateExecution');
        Atomics.wait(flag, 0, seen - 1, 50);
        if (Atomics.load(flag, 0) < seen) parentPort.postMessage({ op: 'interrupt', n: seen });      // the first may have been stopped instead
      }
      session.disconnect();
      parentPort.postMessage({ op: 'interrupted' });
    }
    const gone = () => process.kill(process.pid, 'SIGKILL');    // sandboxd has let go of this interpreter
    new net.Socket({ fd: ${CHANNEL}, readable: true, writable: false }).on('data', (data) => {
      rest = rest.length ? Buffer.concat([rest, data]) : data;
      while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32LE(0)) {
        const end = 4 + rest.readUInt32LE(0), order = JSON.parse(rest.toString('utf8', 4, end));
        rest = rest.subarray(end);
        if (order.op === 'interrupt') stop();
        else parentPort.postMessage(order);
      }
    }).on('end', gone).on('error', gone);
    parentPort.postMessage({ op: 'ready' });`, { eval: true, workerData: flag, env: process.env, execArgv: [] });
  if (ts) transform('let warm: number = 1', 'run-0');
  worker.on('error', () => reallyExit(71));
  worker.on('message', (order) => {
    if (order.op === 'ready') {
      send({ t: 'ready', driver: 'node', version: process.versions.node });
    } else if (order.op === 'run') {
      start(order);
    } else if (order.op === 'interrupt') {
      Atomics.store(flag, 0, order.n);
      Atomics.notify(flag, 0);
    } else if (order.op === 'interrupted') {
      if (current) settle(current, interrupted(), true);
    }
  });
  process.argv.splice(1);
  hidden('__filename', undefined);
  session.post('Runtime.evaluate', { expression: '0' });
  globalThis[IMPORT + '_'] = receive;
  session.post('Runtime.evaluate', { expression: `globalThis['${IMPORT}_']` }, (e, r) => { receiver = r.result.objectId; });
  delete globalThis[IMPORT + '_'];
  realImmediate(() => {});
  realTimeout(() => {}, 0);
})
