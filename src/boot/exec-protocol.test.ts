import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCpio } from './cpio.ts';
import { commandArchive, commandMark, commandParameters, joinArchives, OutputParser } from './exec-protocol.ts';
import { ImageError } from './image-error.ts';

const COMMAND = 'echo hello';
const MARK = `\x1epolyvisor ${commandMark(COMMAND)}`;
const START = `${MARK} start\n`;

/** Feeds `text` in pieces of `size` bytes and returns what came out. */
function parse(text: string | Uint8Array, size = 1e9) {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  const result = { output: '', console: '', beforeFinish: '' };
  const decode = (part: Uint8Array) => Buffer.from(part).toString('latin1');
  const parser = new OutputParser(COMMAND, {
    output: part => (result.output += decode(part)),
    console: part => (result.console += decode(part)),
  });
  for (let at = 0; at < bytes.length; at += size) parser.feed(bytes.subarray(at, at + size));
  result.beforeFinish = result.output;
  parser.finish();
  return { ...result, status: parser.status, started: parser.started };
}

test('output stands between the marks, the kernel outside them', () => {
  const text = `[    0.1] Linux\r\n${START}hello\nworld${MARK} 3\n[    9.9] reboot: Power down\r\n`;
  for (const size of [1, 2, 3, 7, 1000]) {
    const { output, console, status } = parse(text, size);
    assert.equal(output, 'hello\nworld');
    assert.equal(console, '[    0.1] Linux\r\n[    9.9] reboot: Power down\r\n');
    assert.equal(status, 3);
  }
});

test('every byte value and mark-like output passes', () => {
  const all = Uint8Array.from({ length: 2048 }, (_, index) => (index * 7) & 0xff);
  const nearly = `\x1epolyvisor \x1e${MARK.slice(1, -2)}\x1e\x1epolyvisor 0123456789abcdef 1\n`;
  const body = Buffer.concat([all, Buffer.from(nearly), all]);
  const whole = Buffer.concat([Buffer.from(START), body, Buffer.from(`${MARK} 0\n`)]);
  for (const size of [1, 5, 4096]) {
    const { output, status } = parse(new Uint8Array(whole), size);
    assert.equal(output, body.toString('latin1'));
    assert.equal(status, 0);
  }
});

test('output is handed on at once, not at the end', () => {
  assert.equal(parse(`${START}working [50%] `).beforeFinish, 'working [50%] ');
  assert.equal(parse(`${START}[ 1] a [12.5`).beforeFinish, '[ 1] a ');
});

test('a panic in the middle is the kernel, and not when the end mark comes', () => {
  const panic = '[   12.345678] Kernel panic - not syncing: Attempted to kill init!\r\n[   12.4] more\r\n';
  for (const size of [1, 1000]) {
    const died = parse(`${START}so far${panic}`, size);
    assert.deepEqual([died.output, died.console, died.status], ['so far', panic, undefined]);
    const lived = parse(`${START}so far${panic}${MARK} 0\n`, size);
    assert.deepEqual([lived.output, lived.console, lived.status], [`so far${panic}`, '', 0]);
  }
});

test('without a start mark all is console; cut off, the output so far is output', () => {
  assert.deepEqual(parse(`abc${MARK} 3\n`), {
    output: '',
    console: `abc${MARK} 3\n`,
    beforeFinish: '',
    status: undefined,
    started: false,
  });
  assert.equal(parse(`${START}half`).output, 'half');
});

test('a large output behind a suspicious line takes linear time', () => {
  const line = '[    1.000000] BUG: in a log file\n';
  const body = line + 'x'.repeat(4 << 20);
  const started = Date.now();
  assert.equal(parse(`${START}${body}${MARK} 0\n`, 512).output.length, body.length);
  assert.ok(Date.now() - started < 5000);
});

test('the archive carries the command as it is', () => {
  const command = "printf 'a\\0b' | od -c # ümläut\nexit 4";
  const entries = Object.fromEntries(
    readCpio(commandArchive(command)).map(({ name, data }) => [name, new TextDecoder().decode(data as Uint8Array)]),
  );
  assert.equal(entries['polyvisor/command'], `${command}\n`);
  assert.equal(entries['polyvisor/mark'], `${commandMark(command)}\n`);
  assert.notEqual(commandMark('a'), commandMark('b'));
  assert.throws(() => commandArchive('x'.repeat(17 << 20)), ImageError);
});

test('archives are joined at multiples of four', () => {
  const joined = joinArchives(new Uint8Array([1, 2, 3]), new Uint8Array([4, 5, 6, 7, 8]));
  assert.deepEqual([...joined], [1, 2, 3, 0, 4, 5, 6, 7, 8, 0, 0, 0]);
});

test('only a quiet run silences the kernel', () => {
  assert.match(commandParameters(false), /quiet/);
  assert.equal(commandParameters(true), '');
});
