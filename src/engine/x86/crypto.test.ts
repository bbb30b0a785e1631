/** The crypto helpers compute what OpenSSL (node:crypto) computes, put together as programs put the instructions together. */
import assert from 'node:assert/strict';
import { createCipheriv, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { Cpu } from './cpu.ts';
import { cryptoHelpers } from './crypto.ts';
import { STATE, state } from './state.ts';

type Vector = Uint8Array<ArrayBuffer>;

const buffer = new ArrayBuffer(0x2000);
const view = new DataView(buffer);
const bytes = new Uint8Array(buffer);

/** Runs an instruction on vectors of 16 bytes. */
function run(name: string, operands: Vector[], immediate = 0): Vector {
  operands.forEach((operand, i) => bytes.set(operand, STATE + state.VECTOR + 16 * i));
  view.setUint32(STATE + state.ARGUMENT, immediate, true);
  cryptoHelpers[name]!({ view, bytes } as Cpu);
  return bytes.slice(STATE + state.VECTOR + 48, STATE + state.VECTOR + 64);
}
const xor = (a: Vector, b: Vector) => a.map((byte, i) => byte ^ b[i]!);
const vector = (...words: number[]) => new Uint8Array(Uint32Array.from(words).buffer);
const wordsOf = (x: Vector) => [...new Uint32Array(x.slice().buffer)];

/** The eleven round keys of AES-128, by AESKEYGENASSIST as the manual's white paper uses it. */
function expandKey(key: Vector): Vector[] {
  const keys = [key];
  let constant = 1;
  for (let round = 1; round <= 10; round++) {
    const previous = wordsOf(keys[round - 1]!);
    let word = wordsOf(run('aeskeygenassist', [new Uint8Array(16), keys[round - 1]!], constant))[3]!;
    keys.push(vector(...previous.map(part => (word ^= part) >>> 0)));
    constant = constant & 0x80 ? ((constant << 1) ^ 0x11b) & 0xff : constant << 1;
  }
  return keys;
}

test('AES-128 encrypts as OpenSSL does, and decrypts again', () => {
  for (let i = 0; i < 20; i++) {
    const key = new Uint8Array(randomBytes(16));
    const plain = new Uint8Array(randomBytes(16));
    const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false);
    const expected = new Uint8Array(cipher.update(plain));
    const keys = expandKey(key);
    let block = xor(plain, keys[0]!);
    for (let round = 1; round < 10; round++) block = run('aesenc', [block, keys[round]!]);
    block = run('aesenclast', [block, keys[10]!]);
    assert.deepEqual(block, expected);
    block = xor(block, keys[10]!);
    for (let round = 9; round > 0; round--)
      block = run('aesdec', [block, run('aesimc', [new Uint8Array(16), keys[round]!])]);
    assert.deepEqual(run('aesdeclast', [block, keys[0]!]), plain);
  }
});

test('PCLMULQDQ multiplies without carries', () => {
  for (let i = 0; i < 50; i++) {
    const a = randomBytes(8).readBigUInt64LE();
    const b = randomBytes(8).readBigUInt64LE();
    let product = 0n;
    for (let bit = 0n; bit < 64n; bit++) if ((b >> bit) & 1n) product ^= a << bit;
    view.setBigUint64(STATE + state.ARGUMENT, a, true);
    view.setBigUint64(STATE + state.ARGUMENT + 8, b, true);
    cryptoHelpers.pclmulqdq!({ view, bytes } as Cpu);
    const low = view.getBigUint64(STATE + state.VECTOR + 48, true);
    assert.equal((view.getBigUint64(STATE + state.VECTOR + 56, true) << 64n) | low, product);
  }
});
