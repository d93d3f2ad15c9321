// The `ws` package through egress: a text there and back.
import { createRequire } from 'node:module';
const WebSocket = createRequire(process.argv[2] + '/')('ws');
const s = new WebSocket(process.argv[3]);
s.on('open', () => s.send('hello'));
s.on('message', (m) => { console.log(String(m)); s.close(); });
s.on('error', (e) => { console.log(String(e)); process.exit(1); });
