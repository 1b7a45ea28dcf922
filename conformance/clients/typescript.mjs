// Drives a server through the gateway with an official TypeScript client.
//
//     node typescript.mjs URL SERVER VARIANT [DIRECTORY]
//
// SERVER names the server behind the URL: its checks are those of the name before the dash. VARIANT
// is 1 for version 1.x of the client, or the mode of version 2.x: `legacy` sends `initialize`, `auto`
// asks for revision 2026-07-28 first, `modern` takes nothing else. DIRECTORY is where the filesystem
// server may write.

import assert from 'node:assert/strict';
import { check, runChecks } from './checks.mjs';
import { closeAll, connect, era, REVISION, serverName, url } from './connection.mjs';

if (era === 'legacy') {
  check(`a session of ${REVISION} opens and ends`, async () => {
    const { client, transport } = await connect();
    assert.equal(transport.protocolVersion, REVISION);
    assert.ok(transport.sessionId, 'no session id');
    await client.ping();
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-session-id': transport.sessionId,
      'mcp-protocol-version': REVISION
    };
    await transport.terminateSession();
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
    const { status } = await fetch(url, { method: 'POST', headers, body });
    assert.equal(status, 404);
  });
} else {
  check(`requests of ${REVISION} need no session`, async () => {
    const { client, exchanges } = await connect();
    assert.equal(client.getProtocolEra(), 'modern');
    await client.listTools();
    assert.deepEqual(
      exchanges.slice(0, 2).map(({ message: { method }, status }) => [method, status]),
      [
        ['server/discover', 200],
        ['tools/list', 200]
      ]
    );
    for (const { headers, session } of exchanges) {
      assert.equal(headers.get('mcp-protocol-version'), REVISION);
      assert.equal(session, null);
    }
  });
}

const [family] = serverName.split('-');
const { published } = await import('./published.mjs');
if (family in published) published[family]();
else await import(`./${family}.mjs`);
await runChecks(closeAll);
