// Checks in front of `workbench.mjs`, in whatever era it is.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { check, until } from './checks.mjs';
import {
  connect,
  equalProgress,
  era,
  names,
  serverName,
  variant,
  wholeList
} from './connection.mjs';
import { checkCrowd } from './crowd.mjs';

const MIB = 1024 * 1024;
// All clients share one server, unless each has a process of its own, of which a few say it all.
const CROWD = era === 'modern' || serverName === 'workbench-modern' ? 64 : 8;

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
  if (variant !== '1') return;
  // The 1.x client takes a stream that ended with an error for one to resume, and resumes it
  // again whenever that succeeds: the gateway has to tell it that there is nothing more.
  await sleep(4000);
  const resumed = connection.exchanges.filter(({ headers }) => headers.has('last-event-id')).length;
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

check('a cancelled call is cancelled in the server, and the client goes on', async () => {
  const connection = await connect();
  // The process that had the call may not be the one that has the next.
  const place = await mkdtemp(path.join(tmpdir(), 'cancelled-'));
  const file = path.join(place, 'label');
  const abort = new AbortController();
  const call = connection.call(
    'wait',
    { label: 'to be cancelled', seconds: 50, file },
    { signal: abort.signal }
  );
  const refused = assert.rejects(call);
  await sleep(300);
  abort.abort('no longer wanted');
  await refused;
  await until(() => existsSync(file), 'the server to see the cancellation');
  await rm(place, { recursive: true });
  assert.equal(await connection.text('wait', { label: 'next', seconds: 0.1 }), 'next');
});

check('the server asks the user and lists the roots', async () => {
  const connection = await connect();
  const asked = await connection.text('ask', { question: 'How so?', after_ms: 100 });
  assert.equal(asked, 'accept: the reply');
  assert.equal(connection.heard.elicitation[0].message, 'How so?');
  assert.match(await connection.text('roots'), /"the root"/);
});

check('the server asks the user before a resource is read', async () => {
  const { client } = await connect('Ada, in');
  const read = await client.readResource({ uri: 'bench://asking' });
  assert.equal(read.contents[0].text, 'read by Ada, in reply');
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

check('a user is asked in several rounds', async () => {
  const both = [await connect('one'), await connect('two')];
  const said = await Promise.all(
    both.map(({ ...connection }, client) =>
      connection.text('interview', { about: `client ${client}` })
    )
  );
  const turns = ['first', 'second', 'third'];
  for (const [client, who] of ['one', 'two'].entries()) {
    assert.deepEqual(
      JSON.parse(said[client]),
      turns.map(turn => `${who} ${turn}`)
    );
    assert.deepEqual(
      both[client].heard.elicitation.map(({ message }) => message),
      turns.map(turn => `The ${turn} about client ${client}?`)
    );
  }
});

checkCrowd(CROWD, true);

check('a client hears that lists have changed', async () => {
  const { heard, watch, ...connection } = await connect();
  const stop = await watch();
  await connection.call('change_lists');
  await until(() => heard.changes.length >= 2, 'both changes');
  assert.deepEqual(heard.changes.sort(), ['prompts', 'tools']);
  await stop();
});

check('a subscriber hears of changes, in a call and between calls', async () => {
  const uri = 'bench://changing';
  const { client, heard, watch, ...connection } = await connect();
  const stop = await watch(uri);
  await connection.call('change', { text: 'in a call', after_ms: 0 });
  await until(() => heard.updates.length === 1, 'the update in a call');
  await connection.call('change', { text: 'between calls', after_ms: 200 });
  await until(() => heard.updates.length === 2, 'the update between calls');
  assert.deepEqual(heard.updates, [uri, uri]);
  const read = await client.readResource({ uri });
  assert.equal(read.contents[0].text, 'between calls');
  await stop();
  await connection.call('change', { text: 'unheard', after_ms: 0 });
  await sleep(200);
  assert.equal(heard.updates.length, 2);
});

check('an answer of 5 MiB arrives whole', async () => {
  const connection = await connect();
  const answer = await connection.text('repeat', {
    text: '0123456789abcdef',
    times: (5 * MIB) / 16
  });
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
