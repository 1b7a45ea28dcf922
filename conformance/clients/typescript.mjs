// Drives a server through the gateway with an official TypeScript client.
//
//     node typescript.mjs URL SERVER SDK [DIRECTORY]
//
// SERVER names the server behind the URL, SDK is 1 or 2: the major version of the client. Version 2
// runs in its automatic mode, where it first asks for revision 2026-07-28. DIRECTORY is where the
// filesystem server may write.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { check, runChecks, until } from './checks.mjs';

const [url, serverName, sdkVersion, directory] = process.argv.slice(2);
const REVISION = '2025-11-25';
const MIB = 1024 * 1024;

const loaders = {
  async 1() {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import(
      '@modelcontextprotocol/sdk/client/streamableHttp.js'
    );
    const types = await import('@modelcontextprotocol/sdk/types.js');
    const schemas = {
      'sampling/createMessage': types.CreateMessageRequestSchema,
      'elicitation/create': types.ElicitRequestSchema,
      'roots/list': types.ListRootsRequestSchema,
      'notifications/message': types.LoggingMessageNotificationSchema,
      'notifications/resources/updated': types.ResourceUpdatedNotificationSchema
    };
    return {
      StreamableHTTPClientTransport,
      client: (info, options) => new Client(info, options),
      onRequest: (client, method, handler) => client.setRequestHandler(schemas[method], handler),
      onNotification: (client, method, handler) =>
        client.setNotificationHandler(schemas[method], handler),
      call: (client, params, options) => client.callTool(params, undefined, options)
    };
  },
  async 2() {
    const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
    return {
      StreamableHTTPClientTransport,
      client: (info, options) =>
        new Client(info, { ...options, versionNegotiation: { mode: 'auto' } }),
      onRequest: (client, method, handler) => client.setRequestHandler(method, handler),
      onNotification: (client, method, handler) => client.setNotificationHandler(method, handler),
      call: (client, params, options) => client.callTool(params, options)
    };
  }
};
const sdk = await loaders[sdkVersion]();

const connections = [];

/** A connected client that declares every capability, answers every request and keeps what it hears. */
async function connect() {
  const exchanges = []; // { message, resumes, status, body() } of every HTTP exchange, in order
  const transport = new sdk.StreamableHTTPClientTransport(new URL(url), {
    async fetch(target, init) {
      const message = init.body ? JSON.parse(init.body) : undefined;
      const response = await fetch(target, init);
      const copy = response.status >= 400 ? response.clone() : undefined;
      exchanges.push({
        message,
        resumes: new Headers(init.headers).has('last-event-id'),
        status: response.status,
        body: () => copy.json()
      });
      return response;
    }
  });
  const client = sdk.client(
    { name: `typescript-${sdkVersion}`, version: '1.0.0' },
    { capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } } }
  );
  const heard = { sampling: [], elicitation: [], logs: [], updates: [] };
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
      (params.requestedSchema.required ?? []).map(name => [name, `the ${name}`])
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
  await client.connect(transport);

  const connection = {
    client,
    transport,
    exchanges,
    heard,
    call: (name, args = {}, options) => sdk.call(client, { name, arguments: args }, options),
    async text(name, args, options) {
      const result = await this.call(name, args, options);
      assert.ok(!result.isError, `${name} failed: ${JSON.stringify(result).slice(0, 500)}`);
      return result.content.map(part => part.text).join('\n');
    },
    async close() {
      if (transport.sessionId) await transport.terminateSession();
      await client.close();
    }
  };
  connections.push(connection);
  return connection;
}

async function closeAll() {
  await Promise.allSettled(connections.splice(0).map(connection => connection.close()));
}

/** Every page of a list. The 2.x client puts the pages together itself, the 1.x client does not. */
async function wholeList(client, method, key) {
  const items = [];
  let cursor;
  do {
    const page = await client[method](cursor === undefined ? {} : { cursor });
    items.push(...page[key]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return items;
}

const names = list => list.map(({ name }) => name);

function includesAll(actual, expected) {
  for (const name of expected) assert.ok(actual.includes(name), `${name} is not in ${actual}`);
}

const equalProgress = (progress, steps, message) =>
  assert.deepEqual(
    progress.map(({ progress, total, message }) => [progress, total, message]),
    Array.from({ length: steps }, (_, index) => [index + 1, steps, message])
  );

// ---- What holds for every server ----

check(`a session of ${REVISION} opens and ends`, async () => {
  const connection = await connect();
  const { client, transport, exchanges } = connection;
  assert.equal(transport.protocolVersion, REVISION);
  assert.ok(transport.sessionId, 'no session id');
  if (sdkVersion === '2') {
    const probe = exchanges[0];
    assert.equal(probe.message.method, 'server/discover');
    assert.equal(probe.status, 400);
    const { error } = await probe.body();
    assert.equal(error.code, -32600);
    assert.match(error.message, new RegExp(REVISION));
    assert.equal(client.getProtocolEra(), 'legacy');
  }
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

// ---- What each server offers ----

const offers = {
  workbench() {
    check('lists come whole, in pages', async () => {
      const { client, exchanges } = await connect();
      for (const [method, key] of [
        ['listTools', 'tools'],
        ['listResources', 'resources'],
        ['listResourceTemplates', 'resourceTemplates'],
        ['listPrompts', 'prompts']
      ]) {
        const before = exchanges.length;
        const items = await wholeList(client, method, key);
        assert.equal(new Set(names(items)).size, 25, method);
        const pages = exchanges.slice(before).filter(({ message }) => message?.id !== undefined);
        assert.equal(pages.length, 3, `${method} took ${pages.length} pages`);
      }
    });

    check('prompts and resources are read', async () => {
      const { client } = await connect();
      const prompt = await client.getPrompt({ name: 'prompt_3' });
      assert.equal(prompt.messages[0].content.text, 'the text of prompt_3');
      const read = await client.readResource({ uri: 'bench://numbered/4' });
      assert.equal(read.contents[0].text, 'the text of bench://numbered/4');
    });

    check('an error of the server arrives as one', async () => {
      const connection = await connect();
      await assert.rejects(connection.call('no such tool'), /Unknown tool: no such tool/);
      assert.equal(await connection.text('repeat', { text: 'ab', times: 2 }), 'abab');
    });

    check('progress arrives before the answer, in order', async () => {
      const connection = await connect();
      const progress = [];
      const answer = await connection.text(
        'count',
        { label: 'one', steps: 10, pause_ms: 20 },
        { onprogress: step => progress.push(step) }
      );
      assert.equal(answer, 'one');
      equalProgress(progress, 10, 'one');
    });

    check('an error after progress ends the stream for good', async () => {
      const connection = await connect();
      const progress = [];
      const call = connection.call(
        'count',
        { label: 'to fail', steps: 3, pause_ms: 20, fail: true },
        { onprogress: step => progress.push(step) }
      );
      await assert.rejects(call, /Failed: to fail/);
      equalProgress(progress, 3, 'to fail');
      // The 1.x client takes a stream that ended with an error for one to resume, and resumes it
      // again whenever that succeeds: the gateway has to tell it that there is nothing more.
      await sleep(4000);
      const resumed = connection.exchanges.filter(({ resumes }) => resumes).length;
      assert.ok(resumed <= 1, `the stream was resumed ${resumed} times`);
    });

    check('two clients with equal ids and tokens get their own answers', async () => {
      const both = [await connect(), await connect()];
      const calls = both.map((connection, client) =>
        Promise.all(
          [1, 2, 3, 4, 5].map(async number => {
            const label = `client ${client}, call ${number}`;
            const progress = [];
            const answer = await connection.text(
              'count',
              { label, steps: 8, pause_ms: 25 },
              { onprogress: step => progress.push(step) }
            );
            assert.equal(answer, label);
            equalProgress(progress, 8, label);
          })
        )
      );
      await Promise.all(calls);
      const [first, second] = both.map(({ exchanges }) =>
        exchanges
          .filter(({ message }) => message?.method === 'tools/call')
          .map(({ message }) => [message.id, message.params._meta.progressToken])
          .sort()
      );
      assert.equal(first.length, 5);
      assert.deepEqual(first, second);
    });

    check('a cancelled call is cancelled in the server and the session goes on', async () => {
      const connection = await connect();
      const abort = new AbortController();
      const call = connection.call(
        'wait',
        { label: 'to be cancelled', seconds: 50 },
        { signal: abort.signal }
      );
      const refused = assert.rejects(call);
      await sleep(300);
      abort.abort('no longer wanted');
      await refused;
      await until(
        async () => (await connection.text('cancelled')).includes('to be cancelled'),
        'the server to see the cancellation'
      );
      assert.equal(await connection.text('wait', { label: 'next', seconds: 0.1 }), 'next');
    });

    check('the server asks the user and lists the roots', async () => {
      const connection = await connect();
      const asked = await connection.text('ask', { question: 'How so?', after_ms: 100 });
      assert.equal(asked, 'accept: the reply');
      assert.equal(connection.heard.elicitation[0].message, 'How so?');
      assert.match(await connection.text('roots'), /"the root"/);
    });

    check('requests of the server reach the client whose call they belong to', async () => {
      const both = [await connect(), await connect()];
      await Promise.all(
        both.flatMap((connection, client) =>
          [1, 2, 3].map(async number => {
            const question = `client ${client}, question ${number}`;
            await connection.text('ask', { question, after_ms: 50 * number });
          })
        )
      );
      both.forEach(({ heard }, client) =>
        assert.deepEqual(
          heard.elicitation.map(({ message }) => message).sort(),
          [1, 2, 3].map(number => `client ${client}, question ${number}`)
        )
      );
    });

    check('a subscriber hears of changes, in a call and between calls', async () => {
      const uri = 'bench://changing';
      const { client, heard, ...connection } = await connect();
      await client.subscribeResource({ uri });
      await connection.call('change', { text: 'in a call', after_ms: 0 });
      await until(() => heard.updates.length === 1, 'the update in a call');
      await connection.call('change', { text: 'between calls', after_ms: 200 });
      await until(() => heard.updates.length === 2, 'the update between calls');
      assert.deepEqual(heard.updates, [uri, uri]);
      const read = await client.readResource({ uri });
      assert.equal(read.contents[0].text, 'between calls');
      await client.unsubscribeResource({ uri });
      await connection.call('change', { text: 'unheard', after_ms: 0 });
      await sleep(200);
      assert.equal(heard.updates.length, 2);
    });

    check('an answer of 5 MiB arrives whole', async () => {
      const connection = await connect();
      const answer = await connection.text('repeat', { text: '0123456789abcdef', times: (5 * MIB) / 16 });
      assert.equal(answer.length, 5 * MIB);
      assert.equal(answer, '0123456789abcdef'.repeat((5 * MIB) / 16));
    });

    check('a request of 3 MiB arrives whole', async () => {
      const connection = await connect();
      const text = 'fedcba9876543210'.repeat((3 * MIB) / 16);
      const measured = JSON.parse(await connection.text('measure', { text }));
      assert.deepEqual(measured, {
        length: text.length,
        sha256: createHash('sha256').update(text).digest('hex')
      });
    });
  },

  // The same server behind a gateway that closes the stream of a long call.
  polling() {
    check('a call survives its stream being closed', async () => {
      const connection = await connect();
      const progress = [];
      const answer = await connection.text(
        'count',
        { label: 'polled', steps: 15, pause_ms: 200 },
        { onprogress: step => progress.push(step) }
      );
      assert.equal(answer, 'polled');
      equalProgress(progress, 15, 'polled');
    });

    check('a call with nothing to say survives too', async () => {
      const connection = await connect();
      assert.equal(await connection.text('wait', { label: 'silent', seconds: 2.5 }), 'silent');
    });

    check('a question asked while the stream is closed arrives', async () => {
      const connection = await connect();
      const asked = await connection.text('ask', { question: 'Still there?', after_ms: 700 });
      assert.equal(asked, 'accept: the reply');
    });

    check('polled calls at once get their own answers', async () => {
      const connection = await connect();
      await Promise.all(
        [1, 2, 3].map(async number => {
          const label = `call ${number}`;
          const progress = [];
          const answer = await connection.text(
            'count',
            { label, steps: 6, pause_ms: 150 * number },
            { onprogress: step => progress.push(step) }
          );
          assert.equal(answer, label);
          equalProgress(progress, 6, label);
        })
      );
    });
  },

  fixture() {
    check('contents of every type arrive', async () => {
      const connection = await connect();
      const { content } = await connection.call('test_multiple_content_types');
      assert.deepEqual(content.map(({ type }) => type), ['text', 'image', 'resource']);
      const audio = await connection.call('test_audio_content');
      assert.equal(Buffer.from(audio.content[0].data, 'base64').toString('latin1', 0, 4), 'RIFF');
      const failed = await connection.call('test_error_handling');
      assert.equal(failed.isError, true);
    });

    check('log messages arrive, from the level that was set', async () => {
      const { client, heard, ...connection } = await connect();
      await client.setLoggingLevel('debug');
      await connection.call('test_tool_with_logging');
      await until(() => heard.logs.length === 3, 'three log messages');
      assert.deepEqual(
        heard.logs.map(({ data }) => data),
        ['Tool execution started', 'Tool processing data', 'Tool execution completed']
      );
    });

    check('the model and the user are asked', async () => {
      const connection = await connect();
      const sampled = await connection.text('test_sampling', { prompt: 'What now?' });
      assert.equal(sampled, 'LLM response: said by the model');
      assert.equal(connection.heard.sampling[0].messages[0].content.text, 'What now?');
      const asked = await connection.text('test_elicitation', { message: 'Who are you?' });
      assert.equal(
        asked,
        'User response: action=accept, content={"username":"the username","email":"the email"}'
      );
    });

    check('completion', async () => {
      const { client } = await connect();
      const { completion } = await client.complete({
        ref: { type: 'ref/prompt', name: 'test_prompt_with_arguments' },
        argument: { name: 'arg1', value: 'par' }
      });
      assert.deepEqual(completion.values, ['paris', 'park', 'party']);
    });
  },

  everything() {
    check('lists', async () => {
      const { client } = await connect();
      includesAll(names(await wholeList(client, 'listTools', 'tools')), ['echo', 'get-sum']);
      includesAll(names(await wholeList(client, 'listPrompts', 'prompts')), ['args-prompt']);
      assert.ok((await wholeList(client, 'listResources', 'resources')).length > 0);
      const templates = await wholeList(client, 'listResourceTemplates', 'resourceTemplates');
      includesAll(templates.map(({ uriTemplate }) => uriTemplate), [
        'demo://resource/dynamic/text/{resourceId}'
      ]);
    });

    check('calls, prompts, resources, completion', async () => {
      const { client, ...connection } = await connect();
      assert.equal(await connection.text('echo', { message: 'h\u00e9llo' }), 'Echo: h\u00e9llo');
      assert.match(await connection.text('get-sum', { a: 2, b: 40 }), /42/);
      const { structuredContent } = await connection.call('get-structured-content', {
        location: 'Chicago'
      });
      assert.equal(typeof structuredContent.temperature, 'number');
      const prompt = await client.getPrompt({ name: 'args-prompt', arguments: { city: 'Bern' } });
      assert.match(prompt.messages[0].content.text, /Bern/);
      const read = await client.readResource({ uri: 'demo://resource/dynamic/text/7' });
      assert.match(read.contents[0].text, /Resource 7/);
      const { completion } = await client.complete({
        ref: { type: 'ref/prompt', name: 'completable-prompt' },
        argument: { name: 'department', value: 'S' }
      });
      includesAll(completion.values, ['Sales', 'Support']);
    });

    check('progress', async () => {
      const connection = await connect();
      const progress = [];
      await connection.text(
        'trigger-long-running-operation',
        { duration: 1, steps: 5 },
        { onprogress: step => progress.push(step) }
      );
      equalProgress(progress, 5, undefined);
    });

    check('sampling, elicitation, roots', async () => {
      const { client, heard, ...connection } = await connect();
      // These tools appear only once the server has seen what the client can do.
      await until(
        async () => names(await wholeList(client, 'listTools', 'tools')).includes('get-roots-list'),
        'the tools that need a capable client'
      );
      const sampled = await connection.text('trigger-sampling-request', { prompt: 'Well?' });
      assert.match(sampled, /said by the model/);
      assert.match(heard.sampling[0].messages[0].content.text, /Well\?/);
      assert.match(await connection.text('trigger-elicitation-request'), /the name/);
      assert.equal(heard.elicitation.length, 1);
      assert.match(await connection.text('get-roots-list'), /the root/);
    });

    check('logging', async () => {
      const { client, heard, ...connection } = await connect();
      await client.setLoggingLevel('debug');
      await connection.call('toggle-simulated-logging');
      await until(() => heard.logs.some(({ data }) => /level.message/i.test(data)), 'a message');
    });

    check('subscription', async () => {
      const { client, heard, ...connection } = await connect();
      const uri = 'demo://resource/dynamic/text/1';
      await client.subscribeResource({ uri });
      await connection.call('toggle-subscriber-updates');
      // The first is sent at once, the second five seconds later, when no call is in flight.
      await until(() => heard.updates.length >= 2, 'two updates');
      assert.equal(heard.updates[0], uri);
    });

    check('cancellation', async () => {
      const connection = await connect();
      const abort = new AbortController();
      const call = connection.call(
        'trigger-long-running-operation',
        { duration: 3, steps: 3 },
        { signal: abort.signal, onprogress: () => abort.abort('no longer wanted') }
      );
      await assert.rejects(call);
      assert.equal(await connection.text('echo', { message: 'on' }), 'Echo: on');
    });
  },

  filesystem() {
    const file = name => path.join(directory, `typescript-${sdkVersion}-${name}`);

    check('lists', async () => {
      const { client, ...connection } = await connect();
      const tools = names(await wholeList(client, 'listTools', 'tools'));
      includesAll(tools, ['read_text_file', 'write_file', 'list_directory']);
      assert.match(await connection.text('list_allowed_directories'), /files/);
    });

    check('files are written and read', async () => {
      const connection = await connect();
      const content = 'first line\nsecond line \u2028 \u{1f980}\n';
      await connection.text('write_file', { path: file('small.txt'), content });
      assert.equal(await readFile(file('small.txt'), 'utf8'), content);
      const read = await connection.call('read_text_file', { path: file('small.txt') });
      assert.equal(read.content[0].text, content);
      assert.match(await connection.text('list_directory', { path: directory }), /small\.txt/);
    });

    check('a file of 3 MiB is written, one of 5 MiB of text and structure read', async () => {
      const connection = await connect();
      const large = 'a line of thirty-one characters\n'.repeat((3 * MIB) / 32);
      await connection.text('write_file', { path: file('large.txt'), content: large });
      assert.equal(await readFile(file('large.txt'), 'utf8'), large);
      // The server answers the text twice, so this makes an answer of 5 MiB.
      const half = large.slice(0, 2.5 * MIB);
      await writeFile(file('half.txt'), half);
      const read = await connection.call('read_text_file', { path: file('half.txt') });
      assert.equal(read.content[0].text, half);
      assert.equal(read.structuredContent.content, half);
    });

    check('a path outside the root is refused', async () => {
      const connection = await connect();
      const refused = await connection.call('read_text_file', { path: '/etc/passwd' });
      assert.equal(refused.isError, true);
      assert.match(refused.content[0].text, /denied/i);
    });
  },

  memory() {
    check('a graph is kept', async () => {
      const { client, ...connection } = await connect();
      includesAll(names(await wholeList(client, 'listTools', 'tools')), ['create_entities']);
      const ada = `Ada of client ${sdkVersion}`;
      const engine = `Engine of client ${sdkVersion}`;
      await connection.text('create_entities', {
        entities: [
          { name: ada, entityType: 'person', observations: ['wrote notes'] },
          { name: engine, entityType: 'machine', observations: [] }
        ]
      });
      await connection.text('create_relations', {
        relations: [{ from: ada, to: engine, relationType: 'programmed' }]
      });
      const found = await connection.call('search_nodes', { query: ada });
      assert.deepEqual(names(found.structuredContent.entities), [ada]);
      const other = await connect();
      assert.match(await other.text('read_graph'), new RegExp(engine));
      await connection.text('delete_entities', { entityNames: [ada, engine] });
      assert.doesNotMatch(await other.text('read_graph'), new RegExp(engine));
    });
  },

  time() {
    check('times are told and converted', async () => {
      const { client, ...connection } = await connect();
      const tools = await wholeList(client, 'listTools', 'tools');
      includesAll(names(tools), ['get_current_time', 'convert_time']);
      const now = JSON.parse(await connection.text('get_current_time', { timezone: 'UTC' }));
      assert.ok(Math.abs(Date.parse(now.datetime) - Date.now()) < 60_000, now.datetime);
      const converted = await connection.text('convert_time', {
        source_timezone: 'Asia/Tokyo',
        time: '12:30',
        target_timezone: 'UTC'
      });
      assert.match(converted, /03:30/);
    });

    check('a wrong time zone is an error of the tool', async () => {
      const connection = await connect();
      const refused = await connection.call('get_current_time', { timezone: 'Nowhere/At_all' });
      assert.equal(refused.isError, true);
    });
  }
};

offers[serverName]();
await runChecks(closeAll);
