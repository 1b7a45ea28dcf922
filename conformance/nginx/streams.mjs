// An official client uses event streams through nginx, which buffers.
//
//     node streams.mjs CONFIG

import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  ElicitRequestSchema,
  ResourceUpdatedNotificationSchema
} from '@modelcontextprotocol/sdk/types.js';
import { check, runChecks } from './checks.mjs';
import { config } from './server.mjs';

const { front, token } = config;
const clients = [];

async function connect() {
  const client = new Client(
    { name: 'behind nginx', version: '1.0.0' },
    { capabilities: { elicitation: { form: {} } } }
  );
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(front), { requestInit }));
  clients.push(client);
  return client;
}

check('progress arrives while the call goes on', async () => {
  const client = await connect();
  const called = new AbortController();
  let steps = 0;
  // All of it would take a day, and fill no buffer within the time of a check.
  const call = client.callTool(
    { name: 'count', arguments: { label: 'slow', steps: 43_200, pause_ms: 2000 } },
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

check('a call waits for the answer to a question that it asked', async () => {
  const client = await connect();
  client.setRequestHandler(ElicitRequestSchema, async ({ params }) => ({
    action: 'accept',
    content: { reply: `to ${params.message}` }
  }));
  const { content } = await client.callTool({
    name: 'ask',
    arguments: { question: 'who is there', after_ms: 0 }
  });
  assert.equal(content[0].text, 'accept: to who is there');
});

check('what happens between calls arrives on the stream that stays open', async () => {
  const client = await connect();
  const updated = new Promise(resolve =>
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) =>
      resolve(params.uri)
    )
  );
  await client.subscribeResource({ uri: 'bench://changing' });
  await client.callTool({ name: 'change', arguments: { text: 'new', after_ms: 100 } });
  assert.equal(await updated, 'bench://changing');
});

check('a long answer comes whole', async () => {
  const client = await connect();
  const { content } = await client.callTool({
    name: 'repeat',
    arguments: { text: '0123456789abcdef', times: 65_536 }
  });
  assert.equal(content[0].text.length, 1024 * 1024);
});

await runChecks(() => Promise.allSettled(clients.splice(0).map(client => client.close())));
