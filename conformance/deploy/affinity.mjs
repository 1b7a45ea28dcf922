// Sessions through an ingress in front of two gateways: each request has to reach the gateway that has the
// session. Without affinity this has to fail, or the check would say nothing.
//
//     node affinity.mjs CONFIG

import assert from 'node:assert/strict';
import http from 'node:http';
import { check, runChecks, until } from './checks.mjs';
import { config } from './server.mjs';

const SESSIONS = 20;
const REQUESTS = 10;
const { front, token, host, sticky } = config;

/** One request, on a connection of its own. */
function send(method, session, message) {
  const headers = {
    host,
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    authorization: `Bearer ${token}`,
    ...(session === undefined ? {} : { 'mcp-session-id': session })
  };
  return new Promise((resolve, reject) => {
    const request = http.request(front, { method, agent: false, headers }, response => {
      let text = '';
      response.on('data', data => (text += data));
      response.on('end', () =>
        resolve({ status: response.statusCode, session: response.headers['mcp-session-id'], text })
      );
    });
    request.on('error', reject);
    request.end(message && JSON.stringify({ jsonrpc: '2.0', ...message }));
  });
}

const INITIALIZE = {
  id: 0,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'affinity', version: '1.0.0' }
  }
};

async function open() {
  const { status, session, text } = await until(async () => {
    const answer = await send('POST', undefined, INITIALIZE);
    // The ingress has not yet seen that its pods are well.
    return answer.status === 503 ? undefined : answer;
  }, 'a session');
  assert.equal(status, 200, text);
  return session;
}

/** The statuses of all requests of one session. */
async function use(session) {
  const statuses = [];
  statuses.push((await send('POST', session, { method: 'notifications/initialized' })).status);
  for (let id = 1; id <= REQUESTS; id++) {
    statuses.push((await send('POST', session, { id, method: 'ping' })).status);
  }
  return statuses;
}

let sessions;

check(`${SESSIONS} sessions begin`, async () => {
  sessions = await Promise.all(Array.from({ length: SESSIONS }, open));
  assert.equal(new Set(sessions).size, SESSIONS);
});

if (sticky) {
  check('every request of a session reaches its gateway', async () => {
    for (const statuses of await Promise.all(sessions.map(use))) {
      assert.deepEqual(statuses, [202, ...Array(REQUESTS).fill(200)]);
    }
  });
  check('an id that no gateway made is 404', async () => {
    assert.equal((await send('POST', 'no-such-session', { id: 1, method: 'ping' })).status, 404);
  });
} else {
  check('without affinity requests reach the other gateway', async () => {
    const statuses = (await Promise.all(sessions.map(use))).flat();
    assert.ok(statuses.includes(404), `${statuses}`);
  });
}

await runChecks();
