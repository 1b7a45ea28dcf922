// Checks in front of `workbench.mjs` behind a gateway that closes the stream of a long call.

import assert from 'node:assert/strict';
import { check } from './checks.mjs';
import { connect, equalProgress } from './connection.mjs';

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
