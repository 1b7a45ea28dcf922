// A call that is in flight while the service is told to stop has to be answered.
//
//     node drain.mjs CONFIG
//
// Prints a line when the call is under way, and ends well if it was answered.

import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { config } from './server.mjs';

const { front, token } = config;
const client = new Client({ name: 'in flight', version: '1.0.0' });
const requestInit = { headers: { authorization: `Bearer ${token}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(front), { requestInit }));

let steps = 0;
const { content } = await client.callTool(
  { name: 'trigger-long-running-operation', arguments: { duration: 5, steps: 5 } },
  undefined,
  {
    onprogress() {
      if (++steps === 1) console.log('under way');
    }
  }
);
assert.match(content[0].text, /completed/);
console.log(`answered after ${steps} steps`);
process.exit(0);
