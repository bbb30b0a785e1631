import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateStore } from '../state/state.ts';
import { Pic8259 } from './pic-8259.ts';

/** Initialised as a PC does: vectors 0x20 and 0x28, all inputs open. */
function setUp(icw4 = 1) {
  const pic = new Pic8259(new StateStore());
  for (const [chip, base, wiring] of [[pic.first, 0x20, 4] as const, [pic.second, 0x28, 2] as const]) {
    chip.writeByte(0, 0x11);
    chip.writeByte(1, base);
    chip.writeByte(1, wiring);
    chip.writeByte(1, icw4);
    chip.writeByte(1, 0);
  }
  return pic;
}

test('is silent before it is initialised', () => {
  const pic = new Pic8259(new StateStore());
  pic.setLine(4, true);
  assert.equal(pic.output, false);
  assert.equal(pic.first.readByte(1), 0xff);
});

test('delivers by priority, nests, and ends', () => {
  const pic = setUp();
  pic.setLine(4, true);
  assert.equal(pic.output, true);
  assert.equal(pic.acknowledge(), 0x24);
  assert.equal(pic.output, false);
  pic.setLine(6, true);
  assert.equal(pic.output, false); // lower priority than the one in service
  pic.setLine(1, true);
  assert.equal(pic.acknowledge(), 0x21);
  pic.first.writeByte(0, 0x20); // ends 1
  assert.equal(pic.output, false);
  pic.first.writeByte(0, 0x20); // ends 4
  assert.equal(pic.acknowledge(), 0x26);
});

test('an edge counts once, a level as long as it lasts', () => {
  const pic = setUp();
  pic.setLine(5, true);
  assert.equal(pic.acknowledge(), 0x25);
  pic.first.writeByte(0, 0x65);
  assert.equal(pic.output, false);

  pic.edgeLevel.writeByte(1, 0x02);
  pic.setLine(9, true);
  for (let i = 0; i < 3; i++) {
    assert.equal(pic.acknowledge(), 0x29);
    pic.second.writeByte(0, 0x20);
    pic.first.writeByte(0, 0x20);
  }
  assert.equal(pic.output, true);
  pic.setLine(9, false);
  assert.equal(pic.output, false);
});

test('system lines stay edge-triggered', () => {
  const pic = setUp();
  pic.edgeLevel.writeByte(0, 0xff);
  pic.edgeLevel.writeByte(1, 0xff);
  assert.equal(pic.edgeLevel.readByte(0), 0xf8);
  assert.equal(pic.edgeLevel.readByte(1), 0xde);
});

test('two interrupts of the second chip come one after the other', () => {
  const pic = setUp();
  pic.setLine(12, true);
  pic.setLine(8, true);
  assert.equal(pic.acknowledge(), 0x28);
  assert.equal(pic.output, false);
  pic.second.writeByte(0, 0x20);
  assert.equal(pic.output, false); // the first chip still serves its input 2
  pic.first.writeByte(0, 0x20);
  assert.equal(pic.output, true);
  assert.equal(pic.acknowledge(), 0x2c);
});

test('a masked request waits; one that goes away is a spurious IR7', () => {
  const pic = setUp();
  pic.first.writeByte(1, 0x10);
  pic.setLine(4, true);
  assert.equal(pic.output, false);
  assert.equal(pic.first.readByte(0), 0x10);
  pic.first.writeByte(1, 0);
  assert.equal(pic.output, true);

  const other = setUp();
  other.edgeLevel.writeByte(0, 0x08);
  other.setLine(3, true);
  other.setLine(3, false);
  assert.equal(other.acknowledge(), 0x27);
  other.first.writeByte(0, 0x0b);
  assert.equal(other.first.readByte(0), 0); // nothing in service: the guest must not end it
});

test('IRR and ISR are read by OCW3', () => {
  const pic = setUp();
  pic.setLine(3, true);
  pic.acknowledge();
  pic.setLine(5, true);
  pic.first.writeByte(0, 0x0a);
  assert.equal(pic.first.readByte(0), 0x20);
  pic.first.writeByte(0, 0x0b);
  assert.equal(pic.first.readByte(0), 0x08);
});

test('automatic end of interrupt leaves nothing in service', () => {
  const pic = setUp(3);
  pic.setLine(3, true);
  assert.equal(pic.acknowledge(), 0x23);
  pic.setLine(6, true);
  assert.equal(pic.acknowledge(), 0x26);
});

test('rotation makes the input just served the last', () => {
  const pic = setUp();
  pic.setLine(1, true);
  pic.acknowledge();
  pic.first.writeByte(0, 0xa0); // end and rotate
  pic.setLine(1, false);
  pic.setLine(1, true);
  pic.setLine(3, true);
  assert.equal(pic.acknowledge(), 0x23);
});

test('special mask mode lets lower priorities through', () => {
  const pic = setUp();
  pic.setLine(1, true);
  pic.acknowledge();
  pic.setLine(5, true);
  assert.equal(pic.output, false);
  pic.first.writeByte(1, 0x02);
  pic.first.writeByte(0, 0x68);
  assert.equal(pic.output, true);
  assert.equal(pic.acknowledge(), 0x25);
});

test('a poll takes the interrupt without INTA', () => {
  const pic = setUp();
  pic.first.writeByte(0, 0x0c);
  assert.equal(pic.first.readByte(0), 0);
  pic.setLine(6, true);
  pic.first.writeByte(0, 0x0c);
  assert.equal(pic.first.readByte(0), 0x86);
  assert.equal(pic.output, false);
});

test('a nonsense initialisation does not upset it', () => {
  const pic = setUp();
  for (let i = 0; i < 4096; i++) {
    const chip = i & 1 ? pic.first : pic.second;
    chip.writeByte((i >> 1) & 1, (i * 37) & 0xff);
    pic.setLine(i % 16, (i & 32) !== 0);
    chip.readByte((i >> 2) & 1);
    const vector = pic.acknowledge();
    assert.ok(vector >= 0 && vector <= 255);
  }
});
