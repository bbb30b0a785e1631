/** AES-NI and PCLMULQDQ: helpers all (engine/x86/crypto.ts). */
import { VECTOR } from '../state.ts';
import type { Meaning, Row } from './row.ts';
import { high, low } from './vector.ts';
import { row, x66 } from './vector-columns.ts';

const computed =
  (name: string): Meaning =>
  (b, dst, src, immediate) => {
    b.setState(VECTOR + 16, src!.get(), 128);
    b.setState(VECTOR, dst!.get(), 128);
    if (immediate) b.helper(name, immediate.get());
    else b.helper(name);
    dst!.set(b.state(VECTOR + 48, 128));
  };

/** Bits 0 and 4 of the immediate choose a half of each operand. */
const pclmulqdq: Meaning = (b, dst, src, immediate) => {
  const y = src!.get();
  const x = dst!.get();
  const control = immediate!.get();
  const bit = (n: number) => b.narrow(b.and(b.shr(control, b.const(n)), b.const(1)));
  b.helper('pclmulqdq', b.select(bit(0), high(b, x), low(b, x)), b.select(bit(4), high(b, y), low(b, y)));
  dst!.set(b.state(VECTOR + 48, 128));
};

const aes = { prefix: '66', feature: 'aes', unit: 'sse' } as const;

export const cryptoRows: Row[] = [
  row('pclmulqdq', 0x0f3a44, 'Vx,Wx,Ib', pclmulqdq, x66, { feature: 'pclmulqdq', unit: 'sse' }),
  row('aesimc', 0x0f38db, 'Vx,Wx', computed('aesimc'), aes),
  row('aesenc', 0x0f38dc, 'Vx,Wx', computed('aesenc'), aes),
  row('aesenclast', 0x0f38dd, 'Vx,Wx', computed('aesenclast'), aes),
  row('aesdec', 0x0f38de, 'Vx,Wx', computed('aesdec'), aes),
  row('aesdeclast', 0x0f38df, 'Vx,Wx', computed('aesdeclast'), aes),
  row('aeskeygenassist', 0x0f3adf, 'Vx,Wx,Ib', computed('aeskeygenassist'), aes),
];
