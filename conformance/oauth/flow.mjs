// An official TypeScript client obtains its tokens by itself.
//
//     node flow.mjs CONFIG VARIANT
//
// CONFIG names the JSON file that says where everything is. VARIANT is 1 for version 1.x of the
// client, or the mode of version 2.x: `legacy` has a session, `auto` becomes a client of the modern
// era, which has none.

import assert from 'node:assert/strict';
import { check, runChecks, until } from './checks.mjs';
import { userOf } from './client.mjs';
import { config, control, ping, requestsOf, sign } from './server.mjs';

const variant = process.argv[3];
const isModern = variant === 'auto';
const { issuer, gateways } = config;
const open = [];

async function connect(user, url) {
  const connection = await user.connect(url);
  open.push(connection);
  return connection;
}

const text = ({ content }) => content.map(part => part.text).join('\n');

/** The requests as lines, each run of equal ones as one: a client may probe before it connects. */
function told(exchanges) {
  const line = ({ method, url, status, message }) =>
    [method, url, message?.method, status].filter(part => part !== undefined).join(' ');
  return exchanges.map(line).filter((one, index, all) => one !== all[index - 1]);
}

for (const [kind, url] of Object.entries(gateways)) {
  const { origin, pathname } = new URL(url);
  const metadata = `${origin}/.well-known/oauth-protected-resource${pathname}`;

  check(`${kind}: from the first 401 to a call`, async () => {
    const since = (await control('requests')).length;
    const user = await userOf(variant);
    const { call, transport } = await connect(user, url);
    assert.equal(text(await call('repeat', { text: 'ab', times: 2 })), 'abab');
    assert.equal(transport.sessionId === undefined, isModern);

    const first = isModern ? 'server/discover' : 'initialize';
    const all = told(user.exchanges);
    assert.deepEqual(all.slice(0, 5), [
      `POST ${url} ${first} 401`,
      `GET ${metadata} 200`,
      `GET ${issuer}/.well-known/oauth-authorization-server 200`,
      `POST ${issuer}/reg 201`,
      `POST ${issuer}/token 200`
    ]);
    const refused = user.exchanges.filter(({ status }) => status === 401);
    assert.equal(refused.length, 1, 'more than the first request was refused');
    assert.match(refused[0].challenge, /^Bearer /);
    assert.ok(refused[0].challenge.includes(`resource_metadata="${metadata}"`));
    assert.ok(refused[0].challenge.includes('scope="mcp:use"'));
    assert.doesNotMatch(refused[0].challenge, /error=/);
    assert.ok(all.includes(`POST ${url} ${first} 200`));

    const [authorization] = await requestsOf('/auth', since);
    assert.equal(authorization.resource, url);
    assert.equal(authorization.code_challenge_method, 'S256');
    const [exchange] = await requestsOf('/token', since);
    assert.equal(exchange.grant_type, 'authorization_code');
    assert.equal(exchange.resource, url);
    const opaque = user.storage.tokens().access_token.split('.').length === 1;
    assert.equal(opaque, kind === 'opaque');
  });

  const goesOn = isModern ? 'calls go on' : 'the session goes on';
  check(`${kind}: a token that has ended is refreshed, and ${goesOn}`, async () => {
    const user = await userOf(variant);
    const { call, transport } = await connect(user, url);
    const { sessionId } = transport;
    const { storage } = user;
    const first = storage.tokens().access_token;
    if (kind === 'opaque') {
      await control('revoke', { token: first });
      await until(
        async () => (await ping(url, first, sessionId)).status === 401,
        'the revoked token to be refused'
      );
    } else {
      const claims = JSON.parse(Buffer.from(first.split('.')[1], 'base64url'));
      const ended = await sign({ claims: { ...claims, exp: claims.iat - 3600 } });
      storage.saveTokens({ ...storage.tokens(), access_token: ended });
    }
    const since = (await control('requests')).length;
    const before = user.exchanges.length;
    assert.equal(text(await call('repeat', { text: 'c', times: 3 })), 'ccc');

    const requests = (await requestsOf('/token', since)).map(({ grant_type }) => grant_type);
    assert.deepEqual(requests, ['refresh_token']);
    assert.deepEqual(await requestsOf('/auth', since), []);
    assert.notEqual(storage.tokens().access_token, first);
    if (!isModern) assert.equal(transport.sessionId, sessionId);
    const challenges = user.exchanges.slice(before).map(({ challenge }) => challenge);
    assert.ok(challenges.some(challenge => challenge?.includes('error="invalid_token"')));
  });

  check(`${kind}: a scope that is missing is asked for when it is needed`, async () => {
    // Version 1 refreshes where it has to ask, and then gives up.
    const user = await userOf(variant, { refreshes: variant !== '1' });
    const { call, transport } = await connect(user, url);
    assert.equal(text(await call('repeat', { text: 'd', times: 1 })), 'd');
    const { sessionId } = transport;
    const since = (await control('requests')).length;
    assert.equal(text(await call('filler_1')), 'filler 1');

    const refused = user.exchanges.filter(({ status }) => status === 403);
    assert.equal(refused.length, 1);
    assert.ok(refused[0].challenge.includes('error="insufficient_scope"'));
    assert.match(refused[0].challenge, /scope="[^"]*\bmcp:delete\b[^"]*"/);
    assert.ok(refused[0].challenge.includes(`resource_metadata="${metadata}"`));
    const [authorization] = await requestsOf('/auth', since);
    assert.match(authorization.scope, /\bmcp:delete\b/);
    if (!isModern) assert.equal(transport.sessionId, sessionId);
  });

  // Who has no session has none that another could use.
  if (isModern) continue;
  check(`${kind}: two users have sessions of their own`, async () => {
    const [alice, bob] = [await userOf(variant), await userOf(variant, { user: 'bob' })];
    const [of_alice, of_bob] = [await connect(alice, url), await connect(bob, url)];
    const token = bob.storage.tokens().access_token;
    assert.equal((await ping(url, token, of_bob.transport.sessionId)).status, 200);
    assert.equal((await ping(url, token, of_alice.transport.sessionId)).status, 404);
    assert.equal(text(await of_alice.call('repeat', { text: 'e', times: 1 })), 'e');
  });
}

// Version 2 wants the issuer of the metadata to be where it got them from.
if (variant === '1') {
  check('a client of 2025-03-26 finds the authorization server behind the gateway', async () => {
    const user = await userOf(variant, { hide: /oauth-protected-resource/ });
    const { call } = await connect(user, gateways.opaque);
    assert.equal(text(await call('repeat', { text: 'f', times: 2 })), 'ff');
    const { origin } = new URL(gateways.opaque);
    const all = told(user.exchanges);
    assert.ok(all.includes(`GET ${origin}/.well-known/oauth-authorization-server 200`));
    assert.ok(all.includes(`POST ${issuer}/reg 201`));
  });
}

await runChecks(() => Promise.allSettled(open.splice(0).map(connection => connection.close())));
