// What the checks ask of the authorization server and of the gateway by themselves, without a client
// in between.

import { readFile } from 'node:fs/promises';

export const config = JSON.parse(await readFile(process.argv[2], 'utf8'));

const REVISION = '2025-11-25';

/** Asks the authorization server for one of those things that only checks need. */
export async function control(what, body) {
  const response = await fetch(`${config.issuer}/control/${what}`, {
    method: body === undefined ? 'GET' : 'POST',
    ...(body === undefined ? {} : { body: JSON.stringify(body) })
  });
  if (!response.ok) throw new Error(`${what}: ${response.status}`);
  return response.json();
}

/** What was asked of the authorization server's path, since some request of its own. */
export async function requestsOf(path, since = 0) {
  return (await control('requests')).slice(since).filter(request => request.path === path);
}

/** Issues a token. */
export const issue = async wanted => (await control('token', wanted)).token;

/** Signs a JWT. */
export const sign = async wanted => (await control('sign', wanted)).token;

const headers = (token, session) => ({
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  ...(session === undefined ? {} : { 'mcp-session-id': session, 'mcp-protocol-version': REVISION })
});

/** One request to the MCP endpoint: its status, challenge, new session and text. */
export async function send(url, { method = 'POST', token, session, message }) {
  const body =
    message === undefined ? {} : { body: JSON.stringify({ jsonrpc: '2.0', ...message }) };
  const response = await fetch(url, { method, headers: headers(token, session), ...body });
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate'),
    session: response.headers.get('mcp-session-id'),
    text: await response.text()
  };
}

/** Asks for a session: everything that a token is judged by happens here. */
export const initialize = (url, token) =>
  send(url, {
    token,
    message: {
      id: 0,
      method: 'initialize',
      params: {
        protocolVersion: REVISION,
        capabilities: {},
        clientInfo: { name: 'raw', version: '1.0.0' }
      }
    }
  });

/** A session of this token. */
export async function open(url, token) {
  const { status, session, text } = await initialize(url, token);
  if (status !== 200) throw new Error(`initialize: ${status} ${text}`);
  await send(url, { token, session, message: { method: 'notifications/initialized' } });
  return session;
}

export const ping = (url, token, session) =>
  send(url, { token, session, message: { id: 1, method: 'ping' } });

export const call = (url, token, session, name, args = {}) =>
  send(url, {
    token,
    session,
    message: { id: 2, method: 'tools/call', params: { name, arguments: args } }
  });

/** The event stream of a session. */
export const listen = (url, token, session) =>
  fetch(url, { headers: { ...headers(token, session), accept: 'text/event-stream' } });
