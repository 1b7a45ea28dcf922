// Checks in front of the fixtures of the official suite, in whatever era they are.

import assert from 'node:assert/strict';
import { check, until } from './checks.mjs';
import { connect, era } from './connection.mjs';

check('contents of every type arrive', async () => {
  const connection = await connect();
  const { content } = await connection.call('test_multiple_content_types');
  assert.deepEqual(
    content.map(({ type }) => type),
    ['text', 'image', 'resource']
  );
  const audio = await connection.call('test_audio_content');
  assert.equal(Buffer.from(audio.content[0].data, 'base64').toString('latin1', 0, 4), 'RIFF');
  const failed = await connection.call('test_error_handling');
  assert.equal(failed.isError, true);
});

check('log messages arrive, from the level that was set', async () => {
  const { heard, ...connection } = await connect();
  await connection.log('debug');
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
  const content = asked.replace(/^User response: action=accept, content=/, '');
  assert.deepEqual(JSON.parse(content), { username: 'the username', email: 'the email' });
});

check('completion', async () => {
  const { client } = await connect();
  const { completion } = await client.complete({
    ref: { type: 'ref/prompt', name: 'test_prompt_with_arguments' },
    argument: { name: 'arg1', value: 'par' }
  });
  assert.deepEqual(completion.values, ['paris', 'park', 'party']);
});

check('parameters that are mirrored into headers arrive', async () => {
  const { client, exchanges, ...connection } = await connect();
  // The client learns from the list which parameters these are.
  await client.listTools();
  const args = { region: ' Z\u00fcrich \u2603', count: 42, nested: { urgent: true } };
  assert.deepEqual(JSON.parse(await connection.text('test_header_parameters', args)), args);
  const { headers } = exchanges.findLast(({ message }) => message?.method === 'tools/call');
  assert.equal(headers.has('mcp-param-region'), era === 'modern');
});

check('a prompt and several at once are asked for', async () => {
  const { client, heard, ...connection } = await connect();
  const prompt = await client.getPrompt({ name: 'test_input_required_result_prompt' });
  assert.match(prompt.messages[0].content.text, /the context/);
  await connection.text('test_input_required_result_multiple_inputs');
  assert.equal(heard.sampling.length, 1);
  assert.equal(heard.elicitation.length, 2);
});
