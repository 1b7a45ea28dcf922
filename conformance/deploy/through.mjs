// An official client uses the service as it was deployed: by its public name, over TLS, through nginx.
//
//     node through.mjs CONFIG

import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { check, runChecks } from './checks.mjs';
import { config } from './server.mjs';

const { front, token } = config;
const clients = [];

async function connect() {
  const client = new Client({ name: 'through nginx', version: '1.0.0' });
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(front), { requestInit }));
  clients.push(client);
  return client;
}

check('a session begins, and the server tells its tools', async () => {
  const client = await connect();
  const { tools } = await client.listTools();
  assert.ok(tools.some(({ name }) => name === 'echo'));
});

check('progress arrives while the call goes on', async () => {
  const client = await connect();
  const called = new AbortController();
  let steps = 0;
  // All of it would take a day, and fill no buffer within the time of a check.
  const call = client.callTool(
    { name: 'trigger-long-running-operation', arguments: { duration: 86_400, steps: 43_200 } },
    undefined,
    {
      signal: called.signal,
      onprogress() {
        steps += 1;
        called.abort(new Error('enough'));
      }
    }
  );
  await assert.rejects(call, /enough/);
  assert.equal(steps, 1);
});

check('a request of three megabytes comes through, and its answer too', async () => {
  const client = await connect();
  const message = '0123456789abcdef'.repeat(3 * 65_536);
  const { content } = await client.callTool({ name: 'echo', arguments: { message } });
  assert.ok(content[0].text.includes(message));
});

await runChecks(() => Promise.allSettled(clients.splice(0).map(client => client.close())));
