// A client of an official TypeScript SDK: version 1.x, or version 2.x in one of its modes. Through the
// gateway, a client that asks first (`auto`) finds every server to be one of revision 2026-07-28.

import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

/** What the client program was started with. */
export const [url, serverName, variant, directory] = process.argv.slice(2);
/** The era that the client is to end up in. */
export const era = variant === '1' || variant === 'legacy' ? 'legacy' : 'modern';
export const REVISION = era === 'legacy' ? '2025-11-25' : '2026-07-28';

async function sdk1() {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } =
    await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const types = await import('@modelcontextprotocol/sdk/types.js');
  const schemas = {
    'sampling/createMessage': types.CreateMessageRequestSchema,
    'elicitation/create': types.ElicitRequestSchema,
    'roots/list': types.ListRootsRequestSchema,
    'notifications/message': types.LoggingMessageNotificationSchema,
    'notifications/resources/updated': types.ResourceUpdatedNotificationSchema,
    'notifications/tools/list_changed': types.ToolListChangedNotificationSchema,
    'notifications/prompts/list_changed': types.PromptListChangedNotificationSchema
  };
  return {
    StreamableHTTPClientTransport,
    client: (info, options) => new Client(info, options),
    onRequest: (client, method, handler) => client.setRequestHandler(schemas[method], handler),
    onNotification: (client, method, handler) =>
      client.setNotificationHandler(schemas[method], handler),
    call: (client, params, options) => client.callTool(params, undefined, options)
  };
}

async function sdk2() {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const mode = variant === 'modern' ? { pin: REVISION } : variant;
  return {
    StreamableHTTPClientTransport,
    client: (info, options) => new Client(info, { ...options, versionNegotiation: { mode } }),
    onRequest: (client, method, handler) => client.setRequestHandler(method, handler),
    onNotification: (client, method, handler) => client.setNotificationHandler(method, handler),
    call: (client, params, options) => client.callTool(params, options)
  };
}

const sdk = await (variant === '1' ? sdk1() : sdk2());
const connections = [];

/**
 * A connected client that declares every capability, answers every request and keeps what it hears.
 * To a question for a `reply` it answers `<who> reply`.
 */
export async function connect(who = 'the') {
  const exchanges = []; // of every HTTP exchange, in order
  const transport = new sdk.StreamableHTTPClientTransport(new URL(url), {
    async fetch(target, init) {
      const message = init.body ? JSON.parse(init.body) : undefined;
      const response = await fetch(target, init);
      exchanges.push({
        message,
        headers: new Headers(init.headers),
        status: response.status,
        session: response.headers.get('mcp-session-id')
      });
      return response;
    }
  });
  const client = sdk.client(
    { name: `typescript-${variant}`, version: '1.0.0' },
    { capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } } }
  );
  const heard = { sampling: [], elicitation: [], logs: [], updates: [], changes: [] };
  sdk.onRequest(client, 'sampling/createMessage', async ({ params }) => {
    heard.sampling.push(params);
    return {
      role: 'assistant',
      model: 'a-model',
      stopReason: 'endTurn',
      content: { type: 'text', text: 'said by the model' }
    };
  });
  sdk.onRequest(client, 'elicitation/create', async ({ params }) => {
    heard.elicitation.push(params);
    const content = Object.fromEntries(
      (params.requestedSchema.required ?? []).map(name => [name, `${who} ${name}`])
    );
    return { action: 'accept', content };
  });
  sdk.onRequest(client, 'roots/list', async () => ({
    roots: [{ uri: pathToFileURL(directory ?? '/').href, name: 'the root' }]
  }));
  sdk.onNotification(client, 'notifications/message', async ({ params }) => {
    heard.logs.push(params);
  });
  sdk.onNotification(client, 'notifications/resources/updated', async ({ params }) => {
    heard.updates.push(params.uri);
  });
  for (const list of ['tools', 'prompts']) {
    sdk.onNotification(client, `notifications/${list}/list_changed`, async () => {
      heard.changes.push(list);
    });
  }
  await client.connect(transport);

  let meta = {};
  const connection = {
    client,
    transport,
    exchanges,
    heard,
    call: (name, args = {}, options) =>
      sdk.call(client, { name, arguments: args, ...meta }, options),
    async text(name, args, options) {
      const result = await this.call(name, args, options);
      assert.ok(!result.isError, `${name} failed: ${JSON.stringify(result).slice(0, 500)}`);
      return result.content.map(part => part.text).join('\n');
    },
    /** Has the calls that follow log from this level on. */
    async log(level) {
      if (era === 'legacy') await client.setLoggingLevel(level);
      else meta = { _meta: { 'io.modelcontextprotocol/logLevel': level } };
    },
    /** Hears of changes of a resource, or of the lists without one, until what this gives is called. */
    async watch(uri) {
      if (era === 'modern') {
        const lists = { toolsListChanged: true, promptsListChanged: true };
        const subscription = await client.listen(uri ? { resourceSubscriptions: [uri] } : lists);
        return () => subscription.close();
      }
      if (uri) await client.subscribeResource({ uri });
      return async () => uri && client.unsubscribeResource({ uri });
    },
    async close() {
      if (transport.sessionId) await transport.terminateSession();
      await client.close();
    }
  };
  connections.push(connection);
  return connection;
}

/** Closes every connection that was made. */
export async function closeAll() {
  await Promise.allSettled(connections.splice(0).map(connection => connection.close()));
}

/** Every page of a list. The 2.x client puts the pages together itself, the 1.x client does not. */
export async function wholeList(client, method, key) {
  const items = [];
  let cursor;
  do {
    const page = await client[method](cursor === undefined ? {} : { cursor });
    items.push(...page[key]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return items;
}

export const names = list => list.map(({ name }) => name);

export function includesAll(actual, expected) {
  for (const name of expected) assert.ok(actual.includes(name), `${name} is not in ${actual}`);
}

export const equalProgress = (progress, steps, message) =>
  assert.deepEqual(
    progress.map(({ progress, total, message }) => [progress, total, message]),
    Array.from({ length: steps }, (_, index) => [index + 1, steps, message])
  );
