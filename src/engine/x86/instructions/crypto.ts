/** AES-NI, PCLMULQDQ and the SHA extensions: helpers all (engine/x86/crypto.ts). */
import { VECTOR, XMM } from '../state.ts';
import type { Feature, Meaning, Row } from './row.ts';
import { high, low } from './vector.ts';

const computed =
  (name: string): Meaning =>
  (b, dst, src, immediate) => {
    b.setState(VECTOR + 16, src!.get(), 128);
    b.setState(VECTOR, dst!.get(), 128);
    if (immediate) b.helper(name, immediate.get());
    else b.helper(name);
    dst!.set(b.state(VECTOR + 48, 128));
  };

const sha256rnds2: Meaning = (b, dst, src) => {
  b.setState(VECTOR + 32, b.state(XMM, 128), 128);
  computed('sha256rnds2')(b, dst!, src!);
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

function row(name: string, opcode: number, feature: Feature, columns: Partial<Row> = {}): Row {
  return { name, opcode, operands: 'Vx,Wx', meaning: computed(name), feature, unit: 'sse', ...columns };
}
const x66 = { prefix: '66' } as const;
// AMD's processors take any alignment here, whatever SDM 2D, table 2-21 says of the type.
const none = { prefix: 'none', unaligned: true } as const;
const withImmediate = { operands: 'Vx,Wx,Ib' };

export const cryptoRows: Row[] = [
  row('pclmulqdq', 0x0f3a44, 'pclmulqdq', { ...x66, ...withImmediate, meaning: pclmulqdq }),
  row('aesimc', 0x0f38db, 'aes', x66),
  row('aesenc', 0x0f38dc, 'aes', x66),
  row('aesenclast', 0x0f38dd, 'aes', x66),
  row('aesdec', 0x0f38de, 'aes', x66),
  row('aesdeclast', 0x0f38df, 'aes', x66),
  row('aeskeygenassist', 0x0f3adf, 'aes', { ...x66, ...withImmediate }),
  row('sha1nexte', 0x0f38c8, 'sha', none),
  row('sha1msg1', 0x0f38c9, 'sha', none),
  row('sha1msg2', 0x0f38ca, 'sha', none),
  row('sha256rnds2', 0x0f38cb, 'sha', { ...none, meaning: sha256rnds2 }),
  row('sha256msg1', 0x0f38cc, 'sha', none),
  row('sha256msg2', 0x0f38cd, 'sha', none),
  row('sha1rnds4', 0x0f3acc, 'sha', { ...none, ...withImmediate }),
];
