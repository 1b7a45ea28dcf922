// Checks in front of published servers, all of which know only the handshake.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { check, until } from './checks.mjs';
import {
  connect,
  directory,
  equalProgress,
  era,
  includesAll,
  names,
  variant,
  wholeList
} from './connection.mjs';

const MIB = 1024 * 1024;

export const published = {
  everything() {
    check('lists', async () => {
      const { client } = await connect();
      includesAll(names(await wholeList(client, 'listTools', 'tools')), ['echo', 'get-sum']);
      includesAll(names(await wholeList(client, 'listPrompts', 'prompts')), ['args-prompt']);
      assert.ok((await wholeList(client, 'listResources', 'resources')).length > 0);
      const templates = await wholeList(client, 'listResourceTemplates', 'resourceTemplates');
      includesAll(
        templates.map(({ uriTemplate }) => uriTemplate),
        ['demo://resource/dynamic/text/{resourceId}']
      );
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
      // The server asks for the roots in between. A client of the modern era answers in the call, and
      // reports that itself.
      const steps = era === 'modern' ? progress.filter(({ total }) => total !== undefined) : progress;
      equalProgress(steps, 5, undefined);
    });

    check('sampling, elicitation, roots', async () => {
      const { client, heard, ...connection } = await connect();
      // These tools appear only once the server has seen what the client can do.
      await until(
        async () =>
          names(await wholeList(client, 'listTools', 'tools')).includes(
            'trigger-elicitation-request'
          ),
        'the tools that need a capable client'
      );
      const sampled = await connection.text('trigger-sampling-request', { prompt: 'Well?' });
      assert.match(sampled, /said by the model/);
      assert.match(heard.sampling[0].messages[0].content.text, /Well\?/);
      assert.match(await connection.text('trigger-elicitation-request'), /the name/);
      assert.equal(heard.elicitation.length, 1);
      // It asks for them outside of any call, which a client of the modern era cannot be asked in.
      if (era === 'legacy') assert.match(await connection.text('get-roots-list'), /the root/);
    });

    // It logs between calls, which a client of the modern era has no stream for.
    if (era === 'legacy') {
      check('logging', async () => {
        const { heard, ...connection } = await connect();
        await connection.log('debug');
        await connection.call('toggle-simulated-logging');
        await until(() => heard.logs.some(({ data }) => /level.message/i.test(data)), 'a message');
      });
    }

    check('subscription', async () => {
      const { heard, ...connection } = await connect();
      const uri = 'demo://resource/dynamic/text/1';
      await connection.watch(uri);
      // Another client of the same server may have left them on.
      const toggled = await connection.text('toggle-subscriber-updates');
      if (toggled.startsWith('Stopped')) await connection.text('toggle-subscriber-updates');
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
    const file = name => path.join(directory, `typescript-${variant}-${name}`);

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
      const ada = `Ada of client ${variant}`;
      const engine = `Engine of client ${variant}`;
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
