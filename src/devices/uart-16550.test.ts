import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateStore } from '../state/state.ts';
import { ManualClock, RecordingLine } from './manual-clock.ts';
import { Uart16550 } from './uart-16550.ts';

function setUp() {
  const clock = new ManualClock();
  const line = new RecordingLine();
  const written: string[] = [];
  let take: (data: Uint8Array) => void = () => {};
  const uart = new Uart16550({
    states: new StateStore(),
    clock,
    line,
    console: {
      write: data => void written.push(Buffer.from(data).toString('latin1')),
      onInput: f => {
        take = f;
      },
    },
  });
  return {
    clock,
    line,
    uart,
    written,
    type: (text: string) => take(Buffer.from(text, 'latin1')),
    read: (offset: number) => uart.readByte(offset),
    write: (offset: number, value: number) => uart.writeByte(offset, value),
    print: (text: string) => {
      for (const c of text) uart.writeByte(0, c.charCodeAt(0));
    },
  };
}

test('output is gathered to lines, and what has no line end follows after a moment', () => {
  const { print, written, clock } = setUp();
  print('one\ntwo');
  assert.deepEqual(written, ['one\n']);
  clock.advance(4e6);
  assert.deepEqual(written, ['one\n']);
  clock.advance(2e6);
  assert.deepEqual(written, ['one\n', 'two']);
  assert.equal(clock.armed, 0);
});

test('nothing is lost at power-off, or in a long line', () => {
  const { print, written, uart } = setUp();
  print('x'.repeat(3000));
  uart.flush();
  assert.equal(written.join(''), 'x'.repeat(3000));
  uart.flush();
  assert.ok(written.every(chunk => chunk.length > 0));
});

test('whoever takes what there is changes nothing of when the rest comes', () => {
  const { print, written, uart, clock } = setUp();
  print('a');
  const { next } = clock;
  uart.flush();
  assert.deepEqual([written, clock.next], [['a'], next]);
  print('b');
  assert.equal(clock.next, next, 'the timer goes on');
  clock.advance(6e6);
  assert.deepEqual(written, ['a', 'b']);
  assert.equal(clock.armed, 0);
});

test('looks like a 16550A to the probe of drivers', () => {
  const { read, write } = setUp();
  write(7, 0x5a);
  assert.equal(read(7), 0x5a);
  write(1, 0xff);
  assert.equal(read(1), 0x0f); // no XScale, no sleep bits
  write(1, 0);
  write(4, 0x10 | 0x0a); // loopback with OUT2 and RTS
  assert.equal(read(6) & 0xf0, 0x90);
  write(4, 0);
  assert.equal(read(2) >> 6, 0);
  write(2, 0x01);
  assert.equal(read(2), 0xc1);
  write(3, 0x80);
  write(2, 0x21); // a 16750 would turn its 64-byte FIFO on
  assert.equal(read(2) >> 5, 6);
  write(0, 0x01);
  write(1, 0x00);
  assert.equal(read(0), 1);
  write(3, 0x03);
  assert.equal(read(3), 3);
  assert.equal(read(1), 0); // IER again, not the divisor
});

test('loopback: 16 bytes fit, the others are an overrun, nothing leaves the chip', () => {
  const { read, write, written, uart } = setUp();
  write(2, 0x07);
  write(4, 0x10);
  for (let i = 0; i < 256; i++) write(0, i);
  const got: number[] = [];
  assert.equal(read(5) & 0x02, 0x02);
  while (read(5) & 1) got.push(read(0));
  assert.deepEqual(got, [...Array(16).keys()]);
  uart.flush();
  assert.deepEqual(written, []);
});

test('the transmitter interrupt: raised by enabling it, cleared by reading IIR, raised by every byte', () => {
  const { read, write, line } = setUp();
  write(4, 0x08);
  write(1, 0x02);
  assert.equal(line.high, true);
  assert.equal(read(2) & 0x0f, 0x02);
  assert.equal(line.high, false);
  assert.equal(read(2) & 0x0f, 0x01);
  const before = line.edges;
  write(0, 0x41);
  assert.equal(line.high, true);
  assert.equal(line.edges, before + 1);
  write(0, 0x42); // again an edge, though the first was not acknowledged
  assert.equal(line.edges, before + 2);
  write(1, 0);
  assert.equal(line.high, false);
  write(1, 0x02); // Linux tests for chips that fail to raise it the second time
  assert.equal(read(2) & 0x0f, 0x02);
});

test('without OUT2 the interrupt line is not connected', () => {
  const { write, line } = setUp();
  write(1, 0x02);
  assert.equal(line.high, false);
  write(4, 0x08);
  assert.equal(line.high, true);
});

test('reading IIR clears the transmitter interrupt only when it is the one reported', () => {
  const { read, write, type } = setUp();
  write(4, 0x0b);
  write(1, 0x03);
  type('a');
  assert.equal(read(2) & 0x0f, 0x04);
  assert.equal(read(0), 0x61);
  assert.equal(read(2) & 0x0f, 0x02);
});

test('typed bytes wait until the guest is ready, then come in FIFO-fulls with the trigger level and the time-out', () => {
  const { read, write, type, line, clock } = setUp();
  const text = 'The quick brown fox jumps over the dog';
  type(text);
  write(2, 0x07);
  write(2, 0x87); // clears the FIFO, trigger at 8
  assert.equal(read(5) & 1, 0);
  write(4, 0x0b);
  write(1, 0x01);
  assert.equal(line.high, true);
  let got = '';
  let interrupts = 0;
  for (let i = 0; i < 1000 && got.length < text.length; i++) {
    clock.advance(50_000);
    if (!line.high) continue;
    interrupts++;
    const cause = read(2) & 0x0f;
    assert.ok(cause === 0x04 || cause === 0x0c);
    while (read(5) & 1) got += String.fromCharCode(read(0));
  }
  assert.equal(got, text);
  assert.equal(interrupts, 3); // 16, 16, and 6 by time-out
  assert.equal(line.high, false);
  assert.equal(clock.armed, 0);
});

test('a few bytes below the trigger level are announced by the time-out only', () => {
  const { read, write, type, line, clock } = setUp();
  write(2, 0xc1);
  write(4, 0x0b);
  write(1, 0x01);
  type('abc');
  assert.equal(line.high, false);
  clock.advance(400_000);
  assert.equal(line.high, true);
  assert.equal(read(2), 0xcc);
  assert.equal(read(0), 0x61);
  assert.equal(line.high, false); // a read restarts the time-out
  clock.advance(400_000);
  assert.equal(line.high, true);
});

test('a pasted file never comes faster than the pace, and whole', () => {
  const { read, write, type, clock } = setUp();
  write(2, 0x01);
  write(4, 0x03);
  type('y'.repeat(10_000));
  let count = 0;
  for (let i = 0; i < 1000; i++) {
    while (read(5) & 1) {
      read(0);
      count++;
    }
    clock.advance(1e5);
  }
  assert.ok(count <= 8_000 + 16 && count > 7_000, `${count} bytes in 100 ms`);
});

test('without FIFOs a byte is a byte', () => {
  const { read, write, type, clock } = setUp();
  write(4, 0x03);
  type('ab');
  assert.equal(read(0), 0x61);
  assert.equal(read(5) & 1, 0);
  clock.advance(1e6);
  assert.equal(read(0), 0x62);
});

test('a guest of three wires finds typed bytes when it looks for them', () => {
  const { read, write, type, clock } = setUp();
  type('ab');
  assert.equal(read(5) & 1, 1);
  assert.equal(read(0), 0x61);
  clock.advance(1e9);
  assert.equal(read(5) & 1, 1);
  assert.equal(read(0), 0x62);
  assert.equal(read(5) & 1, 0);
  write(4, 1); // DTR alone: it knows the modem lines and does not want any yet.
  type('c');
  assert.equal(read(5) & 1, 0);
  write(4, 3);
  clock.advance(1e9);
  assert.equal(read(5) & 1, 1);
});

test('a reset flushes output and forgets the rest', () => {
  const { print, written, uart, read, write, line } = setUp();
  write(4, 0x08);
  write(1, 0x02);
  print('bye');
  uart.reset();
  assert.deepEqual(written, ['bye']);
  assert.equal(line.high, false);
  assert.equal(read(1), 0);
  assert.equal(read(5), 0x60);
});
