import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { createBatch } from '../remote/batch.ts';
import { createTypedInput } from './typed-input.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

// Hooks of one file: at the top they would be every file's, since these tests share a process.
describe('typed input', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
  afterEach(() => mock.timers.reset());

  function setUp() {
    let sent = '';
    const input = createTypedInput(data => void (sent += new TextDecoder().decode(data)));
    return { input, sent: () => sent };
  }

  test('input waits for a prompt, and then for a moment of silence', () => {
    const { input, sent } = setUp();
    input.push(bytes('uname\n'));
    input.output('[    0.0] Linux version 6.1 (gcc) #');
    mock.timers.tick(100);
    input.output('');
    mock.timers.tick(6000);
    assert.equal(sent(), '', 'a line that went on was no prompt');
    input.output('~ # ');
    input.push(bytes('poweroff\n'));
    mock.timers.tick(200);
    assert.equal(sent(), 'uname\npoweroff\n');
    input.push(bytes('more'));
    assert.equal(sent(), 'uname\npoweroff\nmore', 'from then on it waits no more');
  });

  test('a guest that says nothing more is taken to be waiting', () => {
    const { input, sent } = setUp();
    input.push(bytes('x'));
    mock.timers.tick(60_000);
    assert.equal(sent(), '', 'one that has said nothing at all is not');
    input.output('Continue? ');
    mock.timers.tick(4000);
    assert.equal(sent(), '', 'that is no prompt');
    mock.timers.tick(2000);
    assert.equal(sent(), 'x');
  });

  test('a login and a password are asked for by prompts, too', () => {
    for (const prompt of ['debian login: ', 'Password: ']) {
      const { input, sent } = setUp();
      input.push(bytes('root\n'));
      input.output(prompt);
      mock.timers.tick(200);
      assert.equal(sent(), 'root\n');
    }
  });

  test('the end is typed whenever the guest waits, until it has understood', () => {
    const { input, sent } = setUp();
    input.push(bytes('cat\n'));
    input.end(bytes('^D'));
    input.output('~ # ');
    mock.timers.tick(200);
    assert.equal(sent(), 'cat\n');
    input.output('');
    mock.timers.tick(31_000);
    assert.equal(sent(), 'cat\n^D', 'cat has read it');
    input.output('~ # ');
    mock.timers.tick(200);
    assert.equal(sent(), 'cat\n^D^D');
  });

  test('an end that comes while the guest already waits is typed, too', () => {
    const { input, sent } = setUp();
    input.output('~ # ');
    mock.timers.tick(1000);
    input.end(bytes('^D'));
    mock.timers.tick(1000);
    assert.equal(sent(), '^D');
  });

  test('nothing is sent after the close', () => {
    const { input, sent } = setUp();
    input.push(bytes('x'));
    input.output('~ # ');
    input.close();
    mock.timers.tick(60_000);
    assert.equal(sent(), '');
  });

  test('bytes that come one by one are delivered together, in order, and none is lost', async () => {
    const pieces: Uint8Array[] = [];
    const batch = createBatch(piece => void pieces.push(piece), setImmediate);
    const all = Uint8Array.from({ length: 200_000 }, (_, index) => index % 251);
    for (let at = 0; at < 70_000; at++) batch.add(all.subarray(at, at + 1));
    batch.add(all.subarray(70_000));
    batch.flush();
    assert.ok(pieces.length < 10, `${pieces.length} pieces`);
    assert.deepEqual(Buffer.concat(pieces), Buffer.from(all));
    batch.add(bytes('later'));
    await new Promise(resolve => setImmediate(resolve));
    assert.equal(new TextDecoder().decode(pieces.at(-1)), 'later');
  });
});
