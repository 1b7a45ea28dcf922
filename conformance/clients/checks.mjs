// Named checks, run one after the other; each prints one line.

import { setTimeout as sleep } from 'node:timers/promises';

const LIMIT_MS = 30_000;
const checks = [];

/** Registers a check, which may take `limit` milliseconds. */
export const check = (name, run, limit = LIMIT_MS) => checks.push({ name, run, limit });

/** Waits for `condition` to give something true, and gives that back. */
export async function until(condition, what, limit = 10_000) {
  const deadline = Date.now() + limit;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited ${limit} ms in vain for ${what}`);
    await sleep(20);
  }
}

/** Runs every check, with `after` after each, and ends the process with the verdict. */
export async function runChecks(after = () => {}) {
  if (checks.length === 0) throw new Error('no checks for this server');
  let failed = 0;
  for (const { name, run, limit } of checks) {
    const clock = new AbortController();
    const late = sleep(limit, undefined, { signal: clock.signal }).then(
      () => Promise.reject(new Error(`took longer than ${limit} ms`)),
      () => {}
    );
    try {
      await Promise.race([run(), late]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`not ok ${name}: ${String(error.stack ?? error).replaceAll('\n', '\n    ')}`);
    }
    clock.abort();
    await after();
  }
  process.exit(failed > 0 ? 1 : 0);
}
