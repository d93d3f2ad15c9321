// A SandboxAgent of the OpenAI Agents SDK that works in a sandbox of E2B's client; nothing in it knows of coppice. A fixed script plays the model, so that it runs without a key:
// leave out `model` and set OPENAI_API_KEY to have a real one.
//
//   npm install @openai/agents-core @openai/agents-extensions e2b
//   coppice up --listen 127.0.0.1:8421
//   export E2B_API_URL=http://127.0.0.1:8421 E2B_SANDBOX_URL=http://127.0.0.1:8421 E2B_API_KEY=e2b_$(cat STORE/sandbox/token)
//   node openai-agents-e2b.mjs
import { Runner, Usage, setTracingDisabled } from '@openai/agents-core';
import { Manifest, SandboxAgent } from '@openai/agents-core/sandbox';
import { E2BSandboxClient } from '@openai/agents-extensions/sandbox/e2b';

const script = ['cat notes.txt', 'tr a-z A-Z < notes.txt > loud.txt && cat loud.txt'];
const model = {
    async getResponse(request) {
        const results = (Array.isArray(request.input) ? request.input : []).filter((i) => i.type === 'function_call_result');
        const text = (i) => (typeof i.output === 'string' ? i.output : i.output?.text ?? JSON.stringify(i.output));
        const output = results.length < script.length
            ? [{ type: 'function_call', callId: `call_${results.length}`, name: 'exec_command', status: 'completed', arguments: JSON.stringify({ cmd: script[results.length] }) }]
            : [{ type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: `It says now: ${/[A-Z]{3,}[^\n]*/.exec(text(results.at(-1)))?.[0]}` }] }];
        return { usage: new Usage(), output };
    },
};

setTracingDisabled(true);
const agent = new SandboxAgent({ name: 'Shouter', instructions: 'Work in the sandbox.', model,
    defaultManifest: new Manifest({ root: '/workspace', entries: { 'notes.txt': { type: 'file', content: 'quiet words\n' } } }) });
const result = await new Runner().run(agent, 'Make the notes loud.', { sandbox: { client: new E2BSandboxClient({ timeout: 300 }) } });
console.log(result.finalOutput);
process.exit();
