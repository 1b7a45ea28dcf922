// What tells whether answers, progress and questions are crossed between clients.

import assert from 'node:assert/strict';
import { check } from './checks.mjs';
import { connect } from './connection.mjs';

/**
 * Has that many clients call the workbench at once, with ids and progress tokens that are equal. All
 * that comes back names the client that it belongs to. With `asks`, users are asked too.
 */
export function checkCrowd(size, asks) {
  check(`${size} clients at once with equal ids get what is theirs`, async () => {
    const crowd = await Promise.all(
      Array.from({ length: size }, (_, client) => connect(`client ${client}:`))
    );
    const crossed = [];
    const mine = (label, got, expected) => {
      if (JSON.stringify(got) !== JSON.stringify(expected)) crossed.push([label, got]);
    };
    await Promise.all(
      crowd.map(async ({ heard, ...connection }, client) => {
        const label = `client ${client}`;
        const progress = [];
        const onprogress = ({ message }) => progress.push(message);
        const [repeated, counted, asked] = await Promise.all([
          connection.text('repeat', { text: `${label}. `, times: 3 }),
          connection.text('count', { label, steps: 4, pause_ms: 20 }, { onprogress }),
          asks ? connection.text('ask', { question: label, after_ms: 20 }) : undefined
        ]);
        mine(label, repeated, `${label}. `.repeat(3));
        mine(label, counted, label);
        mine(label, progress, Array(4).fill(label));
        mine(label, asked, asks ? `accept: ${label}: reply` : undefined);
        mine(
          label,
          heard.elicitation.map(({ message }) => message),
          asks ? [label] : []
        );
      })
    );
    assert.deepEqual(crossed, []);
    // These go out before anything is answered; what follows depends on the answers.
    const ids = crowd.map(({ exchanges }) =>
      exchanges
        .filter(({ message }) => message?.method === 'tools/call')
        .map(({ message }) => message.id)
        .sort((one, other) => one - other)
        .slice(0, asks ? 3 : 2)
    );
    for (const others of ids) assert.deepEqual(others, ids[0]);
  }, LIMIT_MS);
}
