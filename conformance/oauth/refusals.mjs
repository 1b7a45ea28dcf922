// Tokens that are refused and tokens that are not, sent without a client in between.
//
//     node refusals.mjs CONFIG

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { SignJWT } from 'jose';
import { check, runChecks, until } from './checks.mjs';
import {
  call,
  config,
  control,
  initialize,
  issue as issued,
  listen,
  open,
  ping,
  requestsOf,
  send,
  sign as signed
} from './server.mjs';

const { issuer, gateways } = config;

// Whatever the gateway is shown, none of it may be found in what it writes.
const shown = [];
const show = token => {
  shown.push(token);
  return token;
};
const issue = async wanted => show(await issued(wanted));
const sign = async wanted => show(await signed(wanted));

const now = () => Math.floor(Date.now() / 1000);

async function refused(url, token) {
  const { status, challenge, session } = await initialize(url, token);
  assert.equal(status, 401);
  assert.match(challenge, /^Bearer /);
  assert.ok(challenge.includes('error="invalid_token"'), challenge);
  assert.ok(challenge.includes('resource_metadata="'), challenge);
  assert.equal(session, null);
}

async function allowed(url, token) {
  const session = await open(url, token);
  assert.equal((await ping(url, token, session)).status, 200);
  await end(url, token, session);
}

async function end(url, token, session) {
  assert.equal((await send(url, { method: 'DELETE', token, session })).status, 204);
}

const refusedAtLast = (url, token, session, why) =>
  until(async () => (await ping(url, token, session)).status === 401, why, 20_000);

// ---- What holds for both kinds of tokens ----

for (const [kind, url] of Object.entries(gateways)) {
  const { origin, pathname } = new URL(url);

  check(`${kind}: what the gateway publishes`, async () => {
    const get = async path => {
      const response = await fetch(origin + path);
      assert.equal(response.status, 200, path);
      assert.match(response.headers.get('content-type'), /^application\/json/, path);
      return response.json();
    };
    for (const path of ['', pathname]) {
      const resource = await get(`/.well-known/oauth-protected-resource${path}`);
      assert.equal(resource.resource, url);
      assert.deepEqual(resource.authorization_servers, [issuer]);
      assert.ok(resource.scopes_supported.includes('mcp:use'));
    }
    const real = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
    for (const name of ['oauth-authorization-server', 'openid-configuration']) {
      for (const path of ['', pathname]) {
        assert.deepEqual(await get(`/.well-known/${name}${path}`), real);
      }
      assert.deepEqual(await get(`${pathname}/.well-known/${name}`), real);
    }
  });

  check(`${kind}: no token, and one where none is looked for`, async () => {
    const token = await issue({ resource: url });
    for (const target of [url, `${url}?access_token=${token}`]) {
      const { status, challenge, text } = await initialize(target);
      assert.equal(status, 401);
      assert.match(challenge, /^Bearer /);
      assert.doesNotMatch(challenge, /error=/);
      assert.doesNotThrow(() => JSON.parse(text));
    }
  });

  check(`${kind}: a token that nobody issued, and one for another resource`, async () => {
    await refused(url, show('nobody-issued-this-token'));
    await refused(url, await issue({ resource: `${url}/neighbour` }));
  });

  check(`${kind}: a session is its principal's`, async () => {
    const alice = await issue({ resource: url });
    const bob = await issue({ resource: url, user: 'bob' });
    const session = await open(url, alice);
    const unknown = await ping(url, bob, 'no-such-session');
    // Each request has an id of its own, made by the gateway.
    const alike = text =>
      text.replace(/"requestId":"[0-9a-f]{8}-\d+"/, '"requestId":"*"').replace('"id":2', '"id":1');
    for (const answer of [
      await ping(url, bob, session),
      await call(url, bob, session, 'repeat', { text: 'x', times: 1 })
    ]) {
      assert.equal(answer.status, 404);
      assert.equal(alike(answer.text), alike(unknown.text));
    }
    const others = await send(url, { method: 'DELETE', token: bob, session });
    assert.equal(others.status, 404);
    const stream = await listen(url, bob, session);
    assert.equal(stream.status, 404);
    await stream.body.cancel();

    // A further token of alice opens what the first did.
    const further = await issue({ resource: url });
    assert.equal((await ping(url, further, session)).status, 200);
    await end(url, alice, session);
  });

  check(`${kind}: a call needs the scopes that its rule names`, async () => {
    const less = await issue({ resource: url });
    const session = await open(url, less);
    const { status, challenge, text } = await call(url, less, session, 'filler_2');
    assert.equal(status, 403);
    assert.ok(challenge.includes('error="insufficient_scope"'), challenge);
    assert.match(challenge, /scope="[^"]*\bmcp:delete\b[^"]*"/);
    assert.equal(JSON.parse(text).id, 2);
    assert.equal((await call(url, less, session, 'cancelled')).status, 200);

    const more = await issue({ resource: url, scope: 'mcp:use mcp:delete' });
    const answer = await call(url, more, session, 'filler_2');
    assert.equal(answer.status, 200);
    assert.match(answer.text, /filler 2/);
    await end(url, more, session);

    const none = await initialize(url, await issue({ resource: url, scope: 'mcp:delete' }));
    assert.equal(none.status, 403);
    assert.ok(none.challenge.includes('error="insufficient_scope"'), none.challenge);
  });

  check(`${kind}: a token is good until its end, and so are its streams`, async () => {
    // The session is not bound to the token, and stays.
    const lasting = await issue({ resource: url });
    const session = await open(url, lasting);
    const token = await issue({ resource: url, seconds: 4 });
    const stream = await listen(url, token, session);
    assert.equal(stream.status, 200);
    for await (const _ of stream.body); // until the gateway ends it
    await refusedAtLast(url, token, session, 'the token to end');
    assert.equal((await ping(url, lasting, session)).status, 200);
    await end(url, lasting, session);
  });
}

// ---- Opaque tokens ----

check('opaque: a revoked token is refused within the life of a verdict', async () => {
  const url = gateways.opaque;
  const token = await issue({ resource: url });
  const session = await open(url, token);
  await control('revoke', { token });
  await refusedAtLast(url, token, session, 'the revoked token to be refused');
  await refused(url, token);
});

check('opaque: a token whose grant was taken back is refused', async () => {
  const url = gateways.opaque;
  const token = await issue({ resource: url, user: 'carol' });
  const session = await open(url, token);
  await control('forget', { user: 'carol' });
  await refusedAtLast(url, token, session, 'the token to be refused');
});

check('opaque: a herd of requests with one token asks once', async () => {
  const url = gateways.opaque;
  const token = await issue({ resource: url });
  const since = (await control('requests')).length;
  // No method that opens a session: this is about the token alone.
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => ping(url, token, 'no-such-session'))
  );
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([404]));
  assert.equal((await requestsOf('/token/introspection', since)).length, 1);
});

check('opaque: the authorization server is never shown a JWT of another issuer', async () => {
  const since = (await control('requests')).length;
  const claims = { iss: 'https://elsewhere.example', aud: gateways.opaque, sub: 'alice' };
  await refused(gateways.opaque, await sign({ claims: { ...claims, exp: now() + 60 } }));
  assert.deepEqual(await requestsOf('/token/introspection', since), []);
});

for (const how of ['error', 'nonsense', 'nothing']) {
  check(
    `opaque: nobody is let in on an answer that is ${how}, and nobody is kept out later`,
    async () => {
      const url = gateways.opaque;
      const token = await issue({ resource: url });
      await control('answer', { how });
      try {
        const { status, session, text } = await initialize(url, token);
        assert.equal(status, 503);
        assert.equal(session, null);
        assert.doesNotThrow(() => JSON.parse(text));
      } finally {
        await control('answer', { how: 'properly' });
      }
      await allowed(url, token);
    }
  );
}

check(
  'opaque: a JWT, which the authorization server tells nothing about, lets nobody in',
  async () => {
    const { status, session } = await initialize(
      gateways.opaque,
      await issue({ resource: gateways.jwt })
    );
    // The server's answer is an error of its own: that it introspects no such tokens.
    assert.equal(status, 401);
    assert.equal(session, null);
  }
);

// ---- JWTs ----

const claims = () => ({
  iss: issuer,
  aud: gateways.jwt,
  sub: 'alice',
  client_id: 'some client',
  scope: 'mcp:use',
  jti: crypto.randomUUID(),
  iat: now(),
  exp: now() + 600
});

check('jwt: one that is made by hand is as good as one that was issued', async () => {
  await allowed(gateways.jwt, await sign({ claims: claims() }));
  await allowed(
    gateways.jwt,
    await sign({ claims: { ...claims(), aud: [gateways.jwt, 'https://b'] } })
  );
});

const without = name => {
  const { [name]: _, ...rest } = claims();
  return rest;
};

const flaws = {
  'that has ended': () => ({ claims: { ...claims(), exp: now() - 600 } }),
  'that begins later': () => ({ claims: { ...claims(), nbf: now() + 600 } }),
  'of another issuer': () => ({ claims: { ...claims(), iss: 'https://elsewhere.example' } }),
  'for another audience': () => ({ claims: { ...claims(), aud: 'https://elsewhere.example/mcp' } }),
  'without an end': () => ({ claims: without('exp') }),
  'without an audience': () => ({ claims: without('aud') }),
  'without an issuer': () => ({ claims: without('iss') }),
  'without a subject': () => ({ claims: without('sub') }),
  'whose end is a text': () => ({ claims: { ...claims(), exp: String(now() + 600) } }),
  'of another type': () => ({ header: { typ: 'JWT' }, claims: claims() }),
  'that a stranger signed': () => ({ claims: claims(), stranger: true }),
  'that brings its key along': () => ({ claims: claims(), stranger: true, bring: true })
};

for (const [name, wanted] of Object.entries(flaws)) {
  check(`jwt: one ${name} is refused`, async () => {
    await refused(gateways.jwt, await sign(wanted()));
  });
}

check('jwt: one that nobody signed, or with what is public, is refused', async () => {
  const encode = part => Buffer.from(JSON.stringify(part)).toString('base64url');
  const unsigned = `${encode({ alg: 'none', typ: 'at+jwt' })}.${encode(claims())}.`;
  await refused(gateways.jwt, show(unsigned));
  const { keys } = await (await fetch(`${issuer}/jwks`)).json();
  const header = { alg: 'HS256', typ: 'at+jwt', kid: keys[0].kid };
  const secret = Buffer.from(JSON.stringify(keys[0]));
  await refused(
    gateways.jwt,
    show(await new SignJWT(claims()).setProtectedHeader(header).sign(secret))
  );
});

check('jwt: one whose grant was taken back is good until its end', async () => {
  const url = gateways.jwt;
  const token = await issue({ resource: url, user: 'dave' });
  await control('forget', { user: 'dave' });
  await allowed(url, token);
});

check('jwt: keys that are known need no authorization server', async () => {
  const url = gateways.jwt;
  const token = await issue({ resource: url });
  await control('answer', { how: 'error' });
  try {
    await allowed(url, token);
  } finally {
    await control('answer', { how: 'properly' });
  }
});

check('jwt: a new key of the authorization server is found', async () => {
  const url = gateways.jwt;
  // The gateway has not seen it, and so has no verdict on it.
  const before = await issue({ resource: url });
  await control('rotate', {});
  const after = await issue({ resource: url });
  await until(
    async () => (await initialize(url, after)).status === 200,
    'the new key to be known',
    25_000
  );
  await refused(url, before);
});

// ---- What the gateway wrote ----

check('neither audit records nor logs hold a token', async () => {
  for (const file of config.written) {
    const text = await readFile(file, 'utf8');
    assert.notEqual(text, '', file);
    for (const token of shown) assert.ok(!text.includes(token), `a token is in ${file}`);
    assert.ok(!text.includes(config.client_secret), `the client's secret is in ${file}`);
  }
  for (const file of config.audits) {
    const records = (await readFile(file, 'utf8'))
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line));
    assert.notEqual(records.length, 0, file);
  }
});

await runChecks();
