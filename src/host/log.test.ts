import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from './log.ts';

test('what is asked for again is noted once, and a guest that tries all numbers does not fill the memory', () => {
  const heard: string[] = [];
  const log = createLog(line => void heard.push(line));
  log.once('a', 'first');
  log.once('a', 'second');
  assert.deepEqual(log.lines, ['first']);
  for (let number = 0; number < 20_000; number++) log.once(`port ${number}`, `port ${number}`);
  assert.ok(log.lines.length <= 10_001, `${log.lines.length} lines`);
  assert.match(log.lines.at(-1)!, /full/);
  assert.deepEqual(heard, log.lines);
});
