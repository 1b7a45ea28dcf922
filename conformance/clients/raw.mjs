// Drives a server through the gateway with plain HTTP requests, for what an SDK would hide.
//
//     node raw.mjs URL SERVER

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { check, runChecks, until } from './checks.mjs';

const [url, serverName] = process.argv.slice(2);
const REVISIONS = ['2025-03-26', '2025-06-18', '2025-11-25'];
const LATEST = REVISIONS.at(-1);

/** The data of the events in what came of an SSE stream, as they were sent. */
const eventData = stream =>
  stream
    .split(/\r?\n\r?\n/)
    .map(event =>
      event
        .split(/\r?\n/)
        .filter(line => line.startsWith('data:'))
        .map(line => line.slice(5).replace(/^ /, ''))
        .join('\n')
    )
    .filter(data => data !== '');

async function post(body, headers = {}, options = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers
    },
    body,
    ...options
  });
  const text = await response.text();
  const streamed = response.headers.get('content-type')?.startsWith('text/event-stream');
  return {
    status: response.status,
    headers: response.headers,
    messages: streamed ? eventData(text) : text === '' ? [] : [text]
  };
}

const initialize = protocolVersion =>
  JSON.stringify({
    jsonrpc: '2.0',
    id: 0,
    method: 'initialize',
    params: { protocolVersion, capabilities: {}, clientInfo: { name: 'raw', version: '1.0.0' } }
  });

const opened = [];

/** Opens a session; what it gives back posts in it. */
async function open(revision = LATEST) {
  const { status, headers, messages } = await post(initialize(revision));
  assert.equal(status, 200);
  assert.equal(JSON.parse(messages.at(-1)).result.protocolVersion, revision);
  const id = headers.get('mcp-session-id');
  assert.ok(id, 'no session id');
  const session = { 'mcp-session-id': id };
  // The header came with 2025-06-18.
  if (revision !== '2025-03-26') session['mcp-protocol-version'] = revision;
  opened.push(session);
  const inSession = (body, options) => post(body, session, options);
  const notified = await inSession('{"jsonrpc":"2.0","method":"notifications/initialized"}');
  assert.equal(notified.status, 202);
  return Object.assign(inSession, { headers: session });
}

async function endSessions() {
  await Promise.all(opened.splice(0).map(headers => fetch(url, { method: 'DELETE', headers })));
}

const call = (id, name, args = {}) =>
  JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: args } });

/** The text that a tool answered, out of the message that carried the answer. */
const answered = message => JSON.parse(message).result.content[0].text;

/** The line that the server got, after checking that it is what `write` makes of some id.
 *
 * The ids that the server sees are the gateway's own: nothing else of a request may change. */
function receivedAs(write, message) {
  const received = answered(message);
  assert.equal(received, write(JSON.parse(received).id));
}

/** JSON text without the white space between its tokens. */
const compact = json => json.replace(/("(?:[^"\\]|\\.)*")|\s+/g, '$1');

const serves = {
  verbatim() {
    check('an answer passes byte for byte', async () => {
      const send = await open();
      const result = [
        '{ "content": [ ] ,"isError":false',
        '"integer":123456789012345678901234567890',
        '"fraction":1.0',
        '"exponent":1E+2',
        '"escaped":"\\u00e9\\/\\u2028"',
        '"plain":"\u00e9/\u2028"',
        '"zebra":1,"ant":2',
        '"_meta":{"example.org/odd":9007199254740993},"unknown":{"deep":[null,{}]}}'
      ].join(',');
      const { messages } = await send(call(7, 'answer', { result }));
      assert.equal(messages.at(-1), `{"jsonrpc":"2.0","id":7,"result":${result}}`);
    });

    const oddRequest = id => [
      '{"params": { "zebra":1.0,"name":"line","ant":1E+2',
      '"arguments":{"id":1,"big":123456789012345678901234567890,"text":"\\u00e9\\/\u00e9 \u2028"}',
      '"_meta":{"example.org/odd":[9007199254740993]}}',
      `"unknown":null,"method":"tools/call","id":${id},"jsonrpc":"2.0"}`
    ].join(',');

    check('a request passes byte for byte', async () => {
      const send = await open();
      const { messages } = await send(oddRequest(8));
      receivedAs(oddRequest, messages.at(-1));
    });

    check('a request of several lines reaches the server as one', async () => {
      const send = await open();
      const pretty = oddRequest(8).replaceAll(',"', ' ,\r\n\t"').replaceAll('{"', '{\n  "');
      const { messages } = await send(pretty);
      const received = answered(messages.at(-1));
      assert.doesNotMatch(received, /[\r\n]/);
      assert.equal(compact(received), compact(oddRequest(JSON.parse(received).id)));
    });

    check('ids come back as they were written', async () => {
      const send = await open();
      const ids = ['0', '-1', '9007199254740993', '""', '"7"', '"\\u00e9 \\" \\/ \u00e9"', '7'];
      await Promise.all(
        ids.map(async id => {
          const { messages } = await send(`{"jsonrpc":"2.0","id":${id},"method":"ping"}`);
          assert.equal(messages.at(-1), `{"jsonrpc":"2.0","id":${id},"result":{}}`);
        })
      );
    });

    check('equal ids in two sessions get their own answers', async () => {
      const sessions = [await open(), await open()];
      const calls = sessions.flatMap((send, session) =>
        [1, 2, 3, 4, 5].map(async id => {
          const request = own => call(own, 'line', { session, id });
          const { messages } = await send(request(id));
          receivedAs(request, messages.at(-1));
          assert.equal(JSON.parse(messages.at(-1)).id, id);
        })
      );
      await Promise.all(calls);
    });

    check('a session of each revision', async () => {
      for (const revision of REVISIONS) {
        const send = await open(revision);
        const { status, messages } = await send(call(1, 'line'));
        assert.equal(status, 200, revision);
        receivedAs(id => call(id, 'line'), messages.at(-1));
      }
    });

    check('a batch is answered in 2025-03-26 and refused later', async () => {
      const requests = [call(1, 'line', { of: 1 }), call('two', 'line', { of: 'two' })];
      const batch = `[${requests.join(',{"jsonrpc":"2.0","method":"notifications/odd"},')}]`;
      const send = await open('2025-03-26');
      const { status, messages } = await send(batch);
      assert.equal(status, 200);
      const answers = messages.flatMap(message => JSON.parse(message));
      assert.deepEqual(answers.map(({ id }) => id).sort(), [1, 'two']);
      for (const answer of answers) {
        receivedAs(id => call(id, 'line', { of: answer.id }), JSON.stringify(answer));
      }
      for (const revision of ['2025-06-18', '2025-11-25']) {
        const sendLater = await open(revision);
        assert.equal((await sendLater(batch)).status, 400, revision);
      }
    });

    check('a revision that nobody knows is refused with those that need no session', async () => {
      const requested = '2031-01-01';
      const meta = {
        'io.modelcontextprotocol/protocolVersion': requested,
        'io.modelcontextprotocol/clientInfo': { name: 'raw', version: '1.0.0' },
        'io.modelcontextprotocol/clientCapabilities': {}
      };
      for (const method of ['server/discover', 'tools/list']) {
        const { status, headers, messages } = await post(
          JSON.stringify({ jsonrpc: '2.0', id: 5, method, params: { _meta: meta } }),
          { 'mcp-protocol-version': requested, 'mcp-method': method }
        );
        assert.equal(status, 400, method);
        assert.match(headers.get('content-type'), /^application\/json/);
        const { id, error } = JSON.parse(messages[0]);
        assert.equal(id, 5);
        assert.equal(error.code, -32022);
        assert.equal(error.data.requested, requested);
        assert.deepEqual(error.data.supported, ['2026-07-28']);
      }
    });

    check('a session that does not exist is 404, none at all 400', async () => {
      const ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
      const unknown = await post(ping, { 'mcp-session-id': 'no-such-session' });
      assert.equal(unknown.status, 404);
      assert.ok(JSON.parse(unknown.messages[0]));
      const none = await post(ping);
      assert.equal(none.status, 400);
      assert.ok(JSON.parse(none.messages[0]));
    });
  },

  workbench() {
    check('who disconnects has not cancelled', async () => {
      const send = await open();
      const abort = new AbortController();
      const left = send(call(1, 'wait', { label: 'left alone', seconds: 2 }), {
        signal: abort.signal
      });
      await sleep(300);
      abort.abort();
      await assert.rejects(left, { name: 'AbortError' });
      await sleep(700);
      const { messages } = await send(call(2, 'cancelled'));
      assert.equal(answered(messages.at(-1)), '[]');
    });

    check('of several streams a message goes to exactly one', async () => {
      const send = await open();
      const abort = new AbortController();
      const received = [];
      const closed = [];
      for (const number of [1, 2]) {
        const response = await fetch(url, {
          headers: { accept: 'text/event-stream', ...send.headers },
          signal: abort.signal
        });
        assert.equal(response.status, 200, `stream ${number}`);
        received.push('');
        closed.push(
          (async () => {
            for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
              received[number - 1] += chunk;
            }
          })().catch(error => assert.equal(error.name, 'AbortError'))
        );
      }
      const uri = 'bench://changing';
      await send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'resources/subscribe', params: { uri } }));
      await send(call(2, 'change', { text: 'new', after_ms: 200 }));
      const updates = () => received.join('').split('notifications/resources/updated').length - 1;
      await until(() => updates() > 0, 'the update');
      await sleep(300);
      assert.equal(updates(), 1);
      const { messages } = await send(call(3, 'repeat', { text: 'fine', times: 1 }));
      assert.equal(answered(messages.at(-1)), 'fine');
      abort.abort();
      await Promise.all(closed);
    });
  }
};

serves[serverName]();
await runChecks(endSessions);
