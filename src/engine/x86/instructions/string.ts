/**
 * String instructions (SDM 1, 5.1.8). With REP one execution does one element, or a bulk of them where `bulk_…` can,
 * and then the instruction jumps to itself: so interrupts and faults come between elements, as the manual has it.
 */
import { DF, RF } from '../../../x86/flags.ts';
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import type { ListMeaning, Meaning, Operand, Row } from './row.ts';

const movs: Meaning = (b, dst, src) => {
  dst.set(src.get());
  src.step();
  dst.step();
  void b;
};
const stos: Meaning = (b, dst) => {
  dst.set(b.gpr(0, dst.bits));
  dst.step();
};
const lods: Meaning = (b, src) => {
  const x = src.get();
  src.step();
  b.setGpr(0, x, src.bits);
};
const cmps: Meaning = (b, src, dst) => {
  const x = src.get();
  const y = dst.get();
  b.flagsSub(src.bits, x, y, b.sub(x, y));
  src.step();
  dst.step();
};
const scas: Meaning = (b, dst) => {
  const x = b.gpr(0, dst.bits);
  const y = dst.get();
  b.flagsSub(dst.bits, x, y, b.sub(x, y));
  dst.step();
};
const ins: Meaning = (b, dst) => {
  b.helper('check_port', b.gpr(2, 16), b.const(dst.bits));
  // The destination is checked before the device is asked: a read may have side effects.
  b.loadForWrite(dst.address(), dst.bits);
  const value = b.helper('port_in', b.gpr(2, 16), b.const(dst.bits));
  b.store(dst.address(), dst.bits, value);
  dst.step();
};
const outs: Meaning = (b, src) => {
  b.helper('check_port', b.gpr(2, 16), b.const(src.bits));
  const value = src.get();
  b.helper('port_out', b.gpr(2, 16), b.const(src.bits), value);
  src.step();
};

/** Below this many elements a call costs more than it saves. */
const BULK = 16;

/**
 * REP: `until` says when REPE/REPNE stop early; `bulk` says how the tier can do as many elements as lie in one page at
 * once. The permission for a `port` is checked even where the count is 0.
 */
interface Repetition {
  until?: 'zero' | 'nonzero';
  bulk?: 'movs' | 'stos';
  port?: boolean;
}
function repeated(one: ListMeaning, options: Repetition): ListMeaning {
  return (b: Builder, ...operands: Operand[]) => {
    const counter = operands.at(-1)!;
    const strings = operands.slice(0, -1);
    const { bits } = strings[0]!;
    const again = b.variable(b.i32(0));
    const count = counter.get();
    if (options.port) b.helper('check_port', b.gpr(2, 16), b.const(bits));
    const single = () => {
      one(b, ...strings);
      const left: Value = b.zx(b.sub(counter.get(), b.const(1)), counter.bits);
      counter.set(left);
      let more = b.no(b.eqz(left));
      if (options.until === 'zero') more = b.both(more, b.no(b.zero()));
      if (options.until === 'nonzero') more = b.both(more, b.zero());
      again.set(more);
    };
    b.when(b.no(b.eqz(count)), () => {
      // Offsets of 16 bits may wrap in the middle of a page.
      if (!options.bulk || counter.bits === 16) return single();
      // Both ways below use the addresses: they are worked out before the ways part. Where that may fault (and a
      // source's page fault comes before its destination's limit) a bulk is for flat segments, and offsets do.
      const { flat } = b.tier;
      const { bulk } = options;
      const address = (operand: Operand) => (flat ? operand.address() : operand.offset());
      if (flat) for (const operand of strings) operand.address();
      const done = b.variable(b.const(0));
      b.when(b.no(b.ltu(count, b.const(BULK))), () => {
        const [to, from] = strings as [Operand, Operand?];
        const source = from ? address(from) : b.gpr(0, bits);
        done.set(b.tier.bulk(b, bulk, bits / 8, address(to), source, count));
      });
      b.when(b.eqz(done.get()), single, () => {
        for (const operand of strings) operand.advance(b.mul(done.get(), b.const(bits / 8)));
        const left = b.zx(b.sub(counter.get(), done.get()), counter.bits);
        counter.set(left);
        again.set(b.no(b.eqz(left)));
      });
    });
    // Between two elements RF is set, so that the frame of an interrupt there shows it (SDM 3B 17.3.1.1). Afterwards it is clear.
    const rest = b.both(b.state32(state.FLAGS_REST), b.i32(~RF));
    b.setState32(state.FLAGS_REST, b.either(rest, b.select(again.get(), b.i32(RF), b.i32(0))));
    b.tier.branch(b, again.get(), b.tier.here(b));
  };
}

interface StringForm {
  name: string;
  opcode: number;
  operands: string;
  meaning: Meaning;
  compares?: true;
  writes: readonly number[];
  bulk?: 'movs' | 'stos';
  untested?: string;
}
const FORMS: readonly StringForm[] = [
  { name: 'movs', opcode: 0xa4, operands: 'Y,X', meaning: movs, writes: [0], bulk: 'movs' },
  { name: 'cmps', opcode: 0xa6, operands: 'X,Y', meaning: cmps, writes: [], compares: true },
  { name: 'stos', opcode: 0xaa, operands: 'Y', meaning: stos, writes: [0], bulk: 'stos' },
  { name: 'lods', opcode: 0xac, operands: 'X', meaning: lods, writes: [] },
  { name: 'scas', opcode: 0xae, operands: 'Y', meaning: scas, writes: [], compares: true },
  { name: 'ins', opcode: 0x6c, operands: 'Y', meaning: ins, writes: [0], untested: 'port I/O' },
  { name: 'outs', opcode: 0x6e, operands: 'X', meaning: outs, writes: [], untested: 'port I/O' },
];

export const stringRows: Row[] = FORMS.flatMap(form => {
  const sized = (size: string) =>
    form.operands
      .split(',')
      .map(letter => letter + size)
      .join(',');
  // INS and OUTS know no 64-bit size; a port may ask for attention.
  const port = form.untested ? ({ untested: form.untested, ends: true } as const) : {};
  return (['b', form.untested ? 'z' : 'v'] as const).flatMap((size, index): Row[] => {
    const common = { opcode: form.opcode + index, writes: form.writes, ...port };
    const rep = { ...common, operands: `${sized(size)},CX`, ends: true, debug: { repeats: true } } as const;
    return [
      { ...common, name: form.name, operands: sized(size), meaning: form.meaning },
      {
        ...rep,
        name: form.compares ? `repe ${form.name}` : `rep ${form.name}`,
        prefix: 'f3',
        meaning: repeated(form.meaning, {
          port: form.untested !== undefined,
          ...(form.compares ? { until: 'nonzero' as const } : {}),
          ...(form.bulk ? { bulk: form.bulk } : {}),
        }),
      },
      {
        ...rep,
        name: form.compares ? `repne ${form.name}` : `rep ${form.name}`,
        prefix: 'f2',
        meaning: repeated(form.meaning, {
          port: form.untested !== undefined,
          ...(form.compares ? { until: 'zero' as const } : {}),
          ...(form.bulk ? { bulk: form.bulk } : {}),
        }),
      },
    ];
  });
});

export const flagRows: Row[] = [
  { name: 'clc', opcode: 0xf8, operands: '', meaning: b => b.flagsFromBits(b.both(b.arithmeticFlags(), b.i32(~1))) },
  { name: 'stc', opcode: 0xf9, operands: '', meaning: b => b.flagsFromBits(b.either(b.arithmeticFlags(), b.i32(1))) },
  {
    name: 'cmc',
    opcode: 0xf5,
    operands: '',
    meaning: b => b.flagsFromBits(b.xor(b.arithmeticFlags(), b.i32(1))),
  },
  {
    name: 'cld',
    opcode: 0xfc,
    operands: '',
    meaning: b => b.setState32(state.FLAGS_REST, b.both(b.state32(state.FLAGS_REST), b.i32(~DF))),
  },
  {
    name: 'std',
    opcode: 0xfd,
    operands: '',
    meaning: b => b.setState32(state.FLAGS_REST, b.either(b.state32(state.FLAGS_REST), b.i32(DF))),
  },
  // AL = CF ? 0xff : 0 (SDM 3B 22.15 names it; old 16-bit programs use it).
  {
    name: 'salc',
    opcode: 0xd6,
    operands: 'AL',
    meaning: (b, al) => al.set(b.sub(b.const(0), b.wide(b.carry()))),
    mode: 'i64',
  },
];
