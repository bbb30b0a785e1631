/** A serial port at a UNIX socket: one client at a time, both ways, at the port's pace. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { serialSocket } from './serial-socket.ts';
import { PathInUseError } from './unix-listener.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-serial-'));
after(() => rmSync(folder, { recursive: true }));
const bytes = (text: string) => Buffer.from(text);

test('a client talks both ways, a second one is cut off, and another one may follow', { timeout: 30_000 }, async () => {
  const path = join(folder, 'a');
  const serial = await serialSocket(path);
  // The guest: it sends back what arrives.
  serial.onInput(data => serial.write(data));
  serial.write(bytes('nobody hears this'));
  const [first, second] = [createConnection(path), createConnection(path)];
  await once(second.resume(), 'close');
  first.write('one');
  const [answer] = await once(first, 'data');
  assert.equal(String(answer), 'one');
  // What it sends last is not lost, and neither is what is sent back at once.
  first.end('two');
  const [last] = await once(first, 'data');
  assert.equal(String(last), 'two');
  await once(first, 'close');
  const third = createConnection(path);
  third.write('three');
  const [other] = await once(third, 'data');
  assert.equal(String(other), 'three');
  const closed = once(third, 'close');
  serial.close();
  await closed;
  assert.ok(!existsSync(path));
});

test('a client that does not read keeps no more than a bound of what is sent', { timeout: 30_000 }, async () => {
  const path = join(folder, 'b');
  const serial = await serialSocket(path);
  const client = createConnection(path);
  await once(client, 'connect');
  client.pause();
  // Its server knows of it when it has heard it.
  const heard = new Promise(resolve => serial.onInput(resolve));
  client.write('x');
  await heard;
  const piece = new Uint8Array(1 << 16);
  for (let sent = 0; sent < 256; sent++) serial.write(piece);
  let received = 0;
  client.on('data', data => void (received += data.length));
  client.resume();
  serial.close();
  await once(client, 'close');
  assert.ok(received < 4 << 20, `${received} bytes`);
});

test('a path that is taken, or where no socket can be, is told', { timeout: 30_000 }, async () => {
  const path = join(folder, 'c');
  const serial = await serialSocket(path);
  await assert.rejects(serialSocket(path), PathInUseError);
  serial.close();
  await assert.rejects(serialSocket(join(folder, 'missing', 'c')), /missing is not there, or you may not write to it/);
  writeFileSync(path, 'a file');
  await assert.rejects(serialSocket(path), /is there already, and is no socket/);
  assert.ok(existsSync(path), 'it is left alone');
});
