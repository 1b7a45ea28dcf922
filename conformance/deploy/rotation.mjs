// Callers that go on while a token is rotated: none of their requests may be refused.
//
//     node rotation.mjs CONFIG
//
// Lines on stdin say when to change over to the new token, and when to stop.

import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { config, open, send } from './server.mjs';

const SESSIONS = 2;
const CALLERS = 8;
// Of these there have to be some with either token, or nothing was shown.
const ENOUGH = 50;

const { front } = config;
let token = config.old;
let going = true;
const sent = new Map();
const refused = [];
let id = 0;

function count(used, what, status) {
  sent.set(used, (sent.get(used) ?? 0) + 1);
  if (status !== 200) refused.push(`${what}: ${status}`);
}

async function call(session) {
  while (going) {
    const used = token;
    try {
      const message = { id: ++id, method: 'ping' };
      count(used, 'ping', (await send(front, { token: used, session, message })).status);
    } catch (error) {
      count(used, 'ping', String(error.cause ?? error));
    }
    // Load, not as much as there can be.
    await sleep(10);
  }
}

async function begin() {
  while (going) {
    const used = token;
    try {
      await open(front, used);
      count(used, 'initialize', 200);
    } catch (error) {
      count(used, 'initialize', String(error));
    }
    await sleep(1000);
  }
}

const sessions = [];
for (let number = 0; number < SESSIONS; number++) sessions.push(await open(front, token));
const callers = Array.from({ length: CALLERS }, (_, number) => call(sessions[number % SESSIONS]));
callers.push(begin());
console.log('going');

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'stop') break;
  token = line;
}
going = false;
await Promise.all(callers);
console.log(`${sent.get(config.old)} requests with the old token, ${sent.get(token)} with the new one`);
assert.deepEqual(refused, []);
assert.notEqual(token, config.old);
assert.ok(sent.get(config.old) > ENOUGH && sent.get(token) > ENOUGH);
