// An OAuth authorization server whose user says yes to everything.
//
//     node authorization_server.mjs OPAQUE JWT
//
// OPAQUE and JWT are the resources (RFC 8707) that it issues access tokens for: opaque ones for the
// first, and JWTs (RFC 9068) for the second; each has a neighbour below it. It prints one line of
// JSON: its issuer, and the client that may ask about tokens. It is alice who logs in, unless
// `login_hint` names someone else.
//
// Beside its own endpoints it has those that the checks need:
//
//     GET  /control/requests   what was asked of the OAuth endpoints, in order
//     POST /control/token      {user, resource, scope, seconds}: issues an access token
//     POST /control/sign       {header, claims, stranger, bring}: signs any JWT, or has a stranger
//                              sign it, and brings the key along in the header
//     POST /control/revoke     {token}: revokes an opaque access token, as its user would
//     POST /control/forget     {user}: takes back all that a user granted
//     POST /control/rotate     issues with a new key, and publishes no other
//     POST /control/answer     {how}: answers properly, or with an error, nonsense or nothing

import { once } from 'node:events';
import { createServer } from 'node:http';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';

// It tells its notices with this, and stdout is for the line that others read.
console.info = console.error;
const { default: Provider, errors } = await import('oidc-provider');

const [opaqueResource, jwtResource] = process.argv.slice(2);
const SCOPES = 'mcp:use mcp:delete';

// A secret that reads otherwise unless it is encoded for Basic (RFC 6749 section 2.3.1).
const gatewayClient = { client_id: 'the:gateway', client_secret: 'to:be%20 encoded+/=&' };

const opaque = { scope: SCOPES, accessTokenFormat: 'opaque' };
const jwt = { scope: SCOPES, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
const resourceServers = {
  [opaqueResource]: opaque,
  [`${opaqueResource}/neighbour`]: opaque,
  [jwtResource]: jwt,
  [`${jwtResource}/neighbour`]: jwt
};

const requests = [];
const grants = []; // { user, grant }

async function newKey() {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  const kid = crypto.randomUUID();
  return { privateKey, jwk: { ...(await exportJWK(privateKey)), kid, alg: 'RS256', use: 'sig' } };
}

/** An authorization server with this key. The package keeps one storage for all of them. */
function authorizationServer(issuer, { jwk }) {
  const provider = new Provider(issuer, {
    jwks: { keys: [jwk] },
    clients: [
      {
        ...gatewayClient,
        redirect_uris: [],
        response_types: [],
        grant_types: [],
        token_endpoint_auth_method: 'client_secret_basic'
      }
    ],
    // A client that was registered with `mcp:use` may ask for `mcp:delete` later on: it is not
    // held to what it registered with where a scope is only a resource's.
    scopes: ['openid', 'offline_access', 'mcp:use'],
    cookies: { keys: [crypto.randomUUID()] },
    findAccount: (_ctx, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    pkce: { required: () => true },
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: async () => false,
    renderError(ctx, out) {
      ctx.type = 'json';
      ctx.body = out;
    },
    features: {
      devInteractions: { enabled: false },
      registration: { enabled: true },
      revocation: { enabled: true },
      introspection: {
        enabled: true,
        allowedPolicy: async (_ctx, { clientId }) => clientId === gatewayClient.client_id
      },
      resourceIndicators: {
        enabled: true,
        // Clients of 2025-03-26 name no resource.
        defaultResource: async () => opaqueResource,
        useGrantedResource: async () => true,
        async getResourceServerInfo(_ctx, resource) {
          const known = resourceServers[resource];
          if (!known) throw new errors.InvalidTarget();
          return known;
        }
      }
    }
  });
  provider.use(async (ctx, next) => {
    await next();
    const { grant_type, scope, resource, code_challenge_method } = ctx.oidc?.params ?? {};
    requests.push({
      method: ctx.method,
      path: ctx.path,
      status: ctx.status,
      grant_type,
      scope,
      resource,
      code_challenge_method
    });
  });
  return provider;
}

async function granted(user, clientId, resource, scope) {
  const grant = new provider.Grant({ accountId: user, clientId });
  grant.addOIDCScope(scope);
  grant.addResourceScope(resource, scope);
  grants.push({ user, grant });
  return grant.save();
}

/** Logs in and consents, where a person would be shown a page. */
async function agree(request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const user = params.login_hint ?? 'alice';
  const resource = params.resource ?? opaqueResource;
  const grantId = await granted(user, params.client_id, resource, params.scope ?? '');
  await provider.interactionFinished(request, response, {
    login: { accountId: user },
    consent: { grantId }
  });
}

const answers = {
  properly: (request, response) => provider.callback()(request, response),
  error: (_request, response) => response.writeHead(500).end(),
  nonsense: (_request, response) => response.end('{"active": "perhaps"'),
  nothing: () => {}
};
let answer = answers.properly;

const controls = {
  requests: async () => requests,

  async token({ user = 'alice', resource, scope = 'mcp:use', seconds = 3600 }) {
    const client = await provider.Client.find(gatewayClient.client_id);
    const token = new provider.AccessToken({
      accountId: user,
      client,
      grantId: await granted(user, client.clientId, resource, scope),
      gty: 'authorization_code',
      scope,
      aud: resource,
      expiresIn: seconds
    });
    token.resourceServer = new provider.ResourceServer(resource, resourceServers[resource]);
    token.setAudience(resource);
    return { token: await token.save() };
  },

  async sign({ header = {}, claims, stranger = false, bring = false }) {
    const signer = stranger ? await newKey() : key;
    const { kty, n, e } = signer.jwk;
    const all = {
      alg: 'RS256',
      typ: 'at+jwt',
      kid: key.jwk.kid,
      ...(bring ? { jwk: { kty, n, e } } : {}),
      ...header
    };
    return { token: await new SignJWT(claims).setProtectedHeader(all).sign(signer.privateKey) };
  },

  async revoke({ token }) {
    await (await provider.AccessToken.find(token)).destroy();
  },

  async forget({ user }) {
    for (const { grant } of grants.filter(one => one.user === user)) await grant.destroy();
  },

  async rotate() {
    key = await newKey();
    provider = authorizationServer(issuer, key);
  },

  async answer({ how }) {
    answer = answers[how];
  }
};

async function control(request, response) {
  const run = controls[request.url.slice('/control/'.length)];
  const body = Buffer.concat(await request.toArray()).toString();
  const result = await run(body === '' ? {} : JSON.parse(body));
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(result ?? null));
}

const server = createServer((request, response) => {
  const failed = error => {
    console.error(error);
    response.writeHead(500).end();
  };
  if (request.url.startsWith('/control/')) control(request, response).catch(failed);
  else if (request.url.startsWith('/interaction/')) agree(request, response).catch(failed);
  else answer(request, response);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

const issuer = `http://127.0.0.1:${server.address().port}`;
let key = await newKey();
let provider = authorizationServer(issuer, key);
console.log(JSON.stringify({ issuer, ...gatewayClient }));
