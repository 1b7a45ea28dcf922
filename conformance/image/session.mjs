// Has a session with the demo server.
//
//     node session.mjs URL TOKEN SDK
//
// SDK is 1 or 2: the major version of the official client.

import assert from 'node:assert/strict';
import { check, runChecks } from './checks.mjs';

const [url, token, version] = process.argv.slice(2);
const from =
  version === '1'
    ? {
        ...(await import('@modelcontextprotocol/sdk/client/index.js')),
        ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js'))
      }
    : await import('@modelcontextprotocol/client');

async function connect(authorization) {
  const transport = new from.StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers: { authorization } }
  });
  const client = new from.Client({ name: 'image', version: '1' });
  await client.connect(transport);
  return { client, transport };
}

check('tools are listed and called, with progress', async () => {
  const { client, transport } = await connect(`Bearer ${token}`);
  const { tools } = await client.listTools();
  assert.ok(tools.some(({ name }) => name === 'add'));
  const steps = [];
  const params = { name: 'slow-with-progress', arguments: { steps: 5, milliseconds: 50 } };
  const options = { onprogress: ({ progress }) => steps.push(progress) };
  const call = version === '1' ? [params, undefined, options] : [params, options];
  const { isError, content } = await client.callTool(...call);
  assert.ok(!isError, JSON.stringify(content));
  assert.deepEqual(steps, [1, 2, 3, 4, 5]);
  await transport.terminateSession();
  await client.close();
});

check('without the token there is none', async () => {
  await assert.rejects(connect('Bearer not-the-token'));
});

await runChecks();
