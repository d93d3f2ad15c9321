// An agent as programs for E2B are written: a model says which tool to use, the tool works in a sandbox, its result goes back to the model.
// Nothing in it knows of coppice. Without an API key of a model, a fixed script plays the model, so that it runs anywhere.
//
//   npm install @e2b/code-interpreter
//   coppice up --listen 127.0.0.1:8421
//   export E2B_API_URL=http://127.0.0.1:8421 E2B_SANDBOX_URL=http://127.0.0.1:8421 E2B_API_KEY=e2b_$(cat STORE/sandbox/token)
//   node e2b-agent.mjs
import { Sandbox } from '@e2b/code-interpreter';

const tools = {
    async run_python(sandbox, { code }) {
        const r = await sandbox.runCode(code);
        return r.error ? `${r.error.name}: ${r.error.value}` : [...r.logs.stdout, r.text ?? ''].join('').trim();
    },
    async run_command(sandbox, { command }) {
        const r = await sandbox.commands.run(command);
        return r.stdout.trim();
    },
    async write_file(sandbox, { path, content }) {
        await sandbox.files.write(path, content);
        return `wrote ${path}`;
    },
};

async function openai(messages) {
    const spec = Object.keys(tools).map((name) => ({ type: 'function', function: { name, parameters: { type: 'object', additionalProperties: true } } }));
    const r = await fetch('https://api.openai.com/v1/chat/completions', {
        method: 'POST',
        headers: { Authorization: `Bearer ${process.env.OPENAI_API_KEY}`, 'Content-Type': 'application/json' },
        body: JSON.stringify({ model: process.env.OPENAI_MODEL, messages, tools: spec }),
    });
    return (await r.json()).choices[0].message;
}

const script = [
    ['write_file', { path: 'sales.csv', content: 'month,units\njan,120\nfeb,90\nmar,210\n' }],
    ['run_python', { code: 'import csv\nrows = list(csv.DictReader(open("sales.csv")))\nbest = max(rows, key=lambda r: int(r["units"]))\nbest["month"]' }],
    ['run_python', { code: 'sum(int(r["units"]) for r in rows)' }],
    ['run_command', { command: 'wc -l < sales.csv' }],
];
async function scripted(messages) {
    const results = messages.filter((m) => m.role === 'tool').map((m) => m.content);
    if (results.length < script.length) {
        const [name, args] = script[results.length];
        return { role: 'assistant', tool_calls: [{ id: `call_${results.length}`, type: 'function', function: { name, arguments: JSON.stringify(args) } }] };
    }
    return { role: 'assistant', content: `The best month was ${results[1]}, ${results[2]} units were sold in all, the file has ${results[3]} lines.` };
}

const model = process.env.OPENAI_API_KEY ? openai : scripted;
const sandbox = await Sandbox.create({ metadata: { agent: 'sales' }, timeoutMs: 300_000 });
const messages = [{ role: 'user', content: 'Which month sold most, and how much was sold in all? Write the figures to sales.csv first.' }];
try {
    for (;;) {
        const message = await model(messages);
        messages.push(message);
        if (!message.tool_calls) {
            console.log(message.content);
            break;
        }
        for (const call of message.tool_calls) {
            const content = await tools[call.function.name](sandbox, JSON.parse(call.function.arguments)).catch((e) => `failed: ${e.message}`);
            console.log(`${call.function.name} -> ${content}`);
            messages.push({ role: 'tool', tool_call_id: call.id, content });
        }
    }
} finally {
    await sandbox.kill();
}
process.exit();
