// Limits hold for the client that is behind nginx, and for no other.
//
//     node limits.mjs CONFIG
//
// Linux has all of 127/8: each client has an address of its own there.

import assert from 'node:assert/strict';
import http from 'node:http';
import { check, runChecks } from './checks.mjs';
import { config } from './server.mjs';

const { front, gateway, token } = config;
// The gateway allows this many credentials that fail, a minute.
const ALLOWED = 10;
const TRIED = 3 * ALLOWED;

const body = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'limits', version: '1.0.0' }
  }
});

/** Sends a request from an address, as if it had been forwarded for another. */
function send(url, from, credential, forwardedFor) {
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    authorization: `Bearer ${credential}`,
    ...(forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor })
  };
  return new Promise((resolve, reject) => {
    const request = http.request(url, {
      method: 'POST',
      localAddress: from,
      agent: false,
      headers
    });
    request.on('error', reject);
    request.on('response', response => {
      response.resume();
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers }));
    });
    request.end(body);
  });
}

/** The statuses of requests with bad tokens, each another one, from one address. */
async function attack(url, from, forwardedFor = () => undefined) {
  const statuses = [];
  for (let attempt = 0; attempt < TRIED; attempt++) {
    const { status } = await send(url, from, `bad-${from}-${attempt}`, forwardedFor(attempt));
    statuses.push(status);
  }
  return statuses;
}

/** Refused as what they are, until they are too many: once that is so, nothing else comes. */
function limited(statuses) {
  const first = statuses.indexOf(429);
  assert.ok(first >= ALLOWED, `${statuses}`);
  assert.ok(
    statuses.slice(0, first).every(status => status === 401),
    `${statuses}`
  );
  // Time goes on, so that one more may be let through.
  const letThrough = statuses.slice(first).filter(status => status !== 429);
  assert.ok(letThrough.length < ALLOWED, `${statuses}`);
}

check('who tries too many tokens is told to wait, and when to come back', async () => {
  limited(await attack(front, '127.0.0.2'));
  const { status, headers } = await send(front, '127.0.0.2', 'bad-again');
  assert.equal(status, 429);
  assert.match(headers['retry-after'], /^[1-9]\d*$/);
});

check('another client behind the same nginx is not held to it', async () => {
  assert.equal((await send(front, '127.0.0.3', 'bad-once')).status, 401);
  assert.equal((await send(front, '127.0.0.3', token)).status, 200);
});

check('a client does not escape by what it writes into X-Forwarded-For', async () => {
  const forged = ['127.0.0.3', '203.0.113.7', '203.0.113.7, 127.0.0.3', '127.0.0.1', 'unknown', ''];
  for (const forwardedFor of forged) {
    const { status } = await send(front, '127.0.0.2', `bad-${forwardedFor.length}`, forwardedFor);
    assert.equal(status, 429, forwardedFor);
  }
  limited(await attack(front, '127.0.0.4', attempt => `203.0.113.${attempt}`));
});

check("nor does it spend what is another client's", async () => {
  limited(await attack(front, '127.0.0.5', () => '127.0.0.6'));
  assert.equal((await send(front, '127.0.0.6', 'bad-once')).status, 401);
});

check('who comes past nginx is not believed', async () => {
  limited(await attack(gateway, '127.0.0.7', attempt => `203.0.113.${attempt}`));
  assert.equal((await send(gateway, '127.0.0.8', 'bad-once', '127.0.0.7')).status, 401);
});

await runChecks();
