import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateStore } from '../state/state.ts';
import { Wire } from './wire.ts';

test('an edge is one whatever the level, and the level stays', () => {
  const levels: boolean[] = [];
  const wire = new Wire(new StateStore(), 'wire', high => void levels.push(high));
  wire.edge();
  assert.deepEqual(levels.splice(0), [true, false]);
  const line = wire.connect();
  line.set(true);
  wire.edge();
  assert.deepEqual(levels.splice(0), [true, false, true]);
  line.set(false);
  assert.deepEqual(levels, [false]);
});
