/** The keyboard controller and its keyboard, as IBM's reference says that they answer. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { StateStore } from '../state/state.ts';
import { I8042 } from './i8042.ts';

const OUTPUT_FULL = 1;

describe('i8042', () => {
  let edges = 0;
  let high = false;
  let resets = 0;
  let controller: I8042;
  beforeEach(() => {
    edges = resets = 0;
    high = false;
    const set = (to: boolean) => {
      if (to && !high) edges++;
      high = to;
    };
    controller = new I8042(new StateStore(), { set }, () => resets++);
  });

  /** Sends bytes to the data port, and reads all that comes back. */
  function data(...bytes: number[]): number[] {
    const answers: number[] = [];
    for (const byte of bytes) {
      controller.data.writeByte(0, byte);
      while (controller.command.readByte(0) & OUTPUT_FULL) answers.push(controller.data.readByte(0));
    }
    return answers;
  }
  function command(byte: number, ...parameters: number[]): number[] {
    controller.command.writeByte(0, byte);
    const answers = [];
    if (controller.command.readByte(0) & OUTPUT_FULL) answers.push(controller.data.readByte(0));
    return [...answers, ...data(...parameters)];
  }
  const configure = (value: number) => assert.deepEqual(command(0x60, value), []);

  test('tests itself and its ports: a keyboard, and no second port', () => {
    assert.deepEqual(command(0xaa), [0x55]);
    assert.deepEqual(command(0xab), [0]);
    assert.deepEqual(command(0xa9), [1]);
    assert.deepEqual(command(0xd3, 0x5a), [0x5a]);
    configure(0x05);
    assert.deepEqual(command(0x20), [0x05]);
  });

  test('the keyboard answers reset, identify, echo and unknown commands', () => {
    configure(0x04);
    assert.deepEqual(data(0xff), [0xfa, 0xaa]);
    assert.deepEqual(data(0xf2), [0xfa, 0xab, 0x83]);
    assert.deepEqual(data(0xee), [0xee]);
    assert.deepEqual(data(0xef), [0xfe]);
    assert.deepEqual(data(0x10), [0xfe]);
    assert.deepEqual(data(0xf4), [0xfa]);
    assert.deepEqual(data(0xf5), [0xfa]);
    assert.deepEqual(data(0xee, 0xfe), [0xee, 0xee]);
  });

  test('parameters: indicators, rate, scan code sets; a command takes the place of a parameter', () => {
    configure(0x04);
    assert.deepEqual(data(0xed, 0x07), [0xfa, 0xfa]);
    assert.deepEqual(data(0xf3, 0x00), [0xfa, 0xfa]);
    assert.deepEqual(data(0xf0, 0x00), [0xfa, 0xfa, 0x02]);
    assert.deepEqual(data(0xf0, 0x03, 0xf0, 0x00), [0xfa, 0xfa, 0xfa, 0xfa, 0x03]);
    assert.deepEqual(data(0xf0, 0x04), [0xfa, 0xfe]);
    assert.deepEqual(data(0xf0, 0xf2), [0xfa, 0xfa, 0xab, 0x83]);
    assert.deepEqual(data(0xf6, 0xf0, 0x00), [0xfa, 0xfa, 0xfa, 0x02]);
  });

  test('translation makes set 1 of what the keyboard sends', () => {
    configure(0x44);
    assert.deepEqual(data(0xf2), [0xfa, 0xab, 0x41]);
    assert.deepEqual(data(0xf0, 0x00), [0xfa, 0xfa, 0x41]);
  });

  test('each byte of the keyboard is an edge of the interrupt, if it is enabled', () => {
    configure(0x04);
    assert.deepEqual(data(0xf2), [0xfa, 0xab, 0x83]);
    assert.equal(edges, 0);
    configure(0x05);
    assert.deepEqual(data(0xf2), [0xfa, 0xab, 0x83]);
    assert.equal(edges, 3);
    assert.equal(high, false);
  });

  test('a keyboard that is off keeps its bytes; sending to it switches it on', () => {
    configure(0x04);
    controller.data.writeByte(0, 0xf2);
    assert.equal(controller.data.readByte(0), 0xfa);
    controller.command.writeByte(0, 0xad);
    assert.equal(controller.data.readByte(0), 0xab);
    assert.equal(controller.command.readByte(0) & OUTPUT_FULL, 0);
    controller.command.writeByte(0, 0xae);
    assert.equal(controller.data.readByte(0), 0x83);
    assert.deepEqual(command(0xad), []);
    assert.deepEqual(data(0xee), [0xee]);
    assert.deepEqual(command(0x20), [0x04]);
  });

  test('output line 0 resets the processor', () => {
    command(0xfe);
    command(0xd1, 0xfe);
    assert.equal(resets, 2);
  });
});
