import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ManualClock } from '../../devices/manual-clock.ts';
import { createLog } from '../log.ts';
import { joinSwitch } from './switch-socket.ts';

const before = process.env.XDG_RUNTIME_DIR;
const folder = mkdtempSync(join(tmpdir(), 'polyvisor-switch-'));
process.env.XDG_RUNTIME_DIR = folder;
after(() => {
  if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = before;
  rmSync(folder, { recursive: true });
});

const frame = (to: number, from: number, text: string) =>
  Uint8Array.from([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0, ...Buffer.from(text)]);

async function member(name: string) {
  process.env.XDG_RUNTIME_DIR = folder;
  const network = await joinSwitch(name);
  const heard: string[] = [];
  const receive = (bytes: Uint8Array) => void heard.push(Buffer.from(bytes.subarray(14)).toString());
  network.connect({ clock: new ManualClock(), log: createLog(), receive });
  return { network, heard };
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 200 && !condition(); tries++) await new Promise(resolve => setTimeout(resolve, 10));
  assert.ok(condition());
}

test('who joins a switch of one name hears the others; when the first goes, another is the switch', async () => {
  const [a, b, c] = [await member('x'), await member('x'), await member('x')];
  const other = await member('y');
  a.network.send(frame(255, 1, 'a to all')); // nobody knows 255
  await until(() => b.heard.length === 1 && c.heard.length === 1);
  b.network.send(frame(1, 2, 'b to a'));
  await until(() => a.heard.includes('b to a'));
  c.network.send(frame(2, 3, 'c to b'));
  await until(() => b.heard.includes('c to b'));
  assert.deepEqual([a.heard, c.heard, other.heard], [['b to a'], ['a to all'], []]);
  a.network.close!();
  other.network.close!();
  for (let tries = 0; tries < 100 && !c.heard.includes('still here'); tries++) {
    b.network.send(frame(3, 2, 'still here'));
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  assert.ok(c.heard.includes('still here'));
  for (const { network } of [b, c]) network.close!();
});
