// The terminal page. The token stays in this page's memory: it opens a ticket (one use, 30 s), and the ticket opens the WebSocket; neither is ever in a URL.
'use strict';
(() => {
    const id = decodeURIComponent(location.pathname.split('/')[2] || '');
    const session = new URLSearchParams(location.hash.slice(1)).get('session');
    const base = '/v1/sandbox/' + encodeURIComponent(id) + '/pty';
    const $ = (name) => document.getElementById(name);
    const AGAIN_MS = [250, 500, 1000, 2000, 5000];
    let token = '', socket = null, tries = 0, ended = false, name = session || 'web-' + Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, '0')).join('');

    const term = new Terminal({ cursorBlink: true, scrollback: 5000, fontSize: 14, linkHandler: { activate() {} } });
    const fit = new FitAddon.FitAddon();
    term.loadAddon(fit);
    term.parser.registerOscHandler(52, () => true);      // a workload must not write the clipboard
    $('name').textContent = id;

    function show(state, text) {
        $('state').dataset.state = state;
        $('state').textContent = text;
    }
    function ask(why) {
        token = '';
        $('why').textContent = why;
        $('ask').hidden = false;
        $('screen').hidden = true;
        show('refused', 'waiting for a token');
        $('token').focus();
    }
    function send(value) {
        if (socket && socket.readyState === WebSocket.OPEN) socket.send(value);
    }

    async function ticket() {
        const r = await fetch(base + '/ticket', { method: 'POST', headers: { Authorization: 'Bearer ' + token, 'Content-Type': 'application/json' }, body: '{}', referrerPolicy: 'no-referrer' });
        const answer = await r.json();
        if (r.ok) return answer.ticket;
        const error = new Error(answer.error);
        error.fatal = true;
        throw error;
    }

    function control(message) {
        if (message.type === 'ready') {
            tries = 0;
            show('open', 'connected');
            send(JSON.stringify({ type: 'resize', cols: term.cols, rows: term.rows }));
        } else if (message.type === 'exit') {
            ended = true;
            show('ended', message.signal ? 'ended by ' + message.signal : 'ended with status ' + message.code);
        } else if (message.type === 'error') show('refused', message.message);
    }

    async function open() {
        show('again', tries ? 'connecting again' : 'connecting');
        let one;
        try {
            one = await ticket();
        } catch (e) {
            if (e.fatal) ask(e.message); else later();
            return;
        }
        $('ask').hidden = true;
        $('screen').hidden = false;
        fit.fit();
        const s = new WebSocket(location.origin.replace(/^http/, 'ws') + base + '?cols=' + term.cols + '&rows=' + term.rows + '&session=' + encodeURIComponent(name), ['coppice.terminal', 'ticket.' + one]);
        s.binaryType = 'arraybuffer';
        socket = s;
        let first = true;
        s.onmessage = (event) => {
            if (typeof event.data === 'string') { control(JSON.parse(event.data)); return; }
            if (first) { first = false; term.reset(); }      // the screen comes anew
            term.write(new Uint8Array(event.data));
        };
        s.onclose = () => { if (socket === s) { socket = null; if (!ended) later(); } };
        term.focus();
    }
    function later() {
        show('again', 'connection lost, trying again');
        setTimeout(open, AGAIN_MS[Math.min(tries++, AGAIN_MS.length - 1)]);
    }

    term.open($('screen'));
    term.onData((text) => send(new TextEncoder().encode(text)));
    term.onBinary((text) => send(Uint8Array.from(text, (ch) => ch.charCodeAt(0))));
    term.onResize((size) => send(JSON.stringify({ type: 'resize', cols: size.cols, rows: size.rows })));
    new ResizeObserver(() => { if (!$('screen').hidden) fit.fit(); }).observe($('screen'));
    $('ask').addEventListener('submit', (event) => {
        event.preventDefault();
        token = $('token').value.trim();
        $('token').value = '';
        $('why').textContent = '';
        tries = 0;
        ended = false;
        open();
    });
    $('token').focus();
})();
