/** The target description (GDB manual, appendix G): which registers there are, by features that gdb knows. */
import type { TargetRegister } from './target.ts';

/** Names of bits, by number. */
const EFLAGS: Readonly<Record<string, number>> = {
  ...{ CF: 0, PF: 2, AF: 4, ZF: 6, SF: 7, TF: 8, IF: 9, DF: 10, OF: 11, NT: 14, RF: 16, VM: 17, AC: 18, VIF: 19 },
  ...{ VIP: 20, ID: 21 },
};
const MXCSR: Readonly<Record<string, number>> = {
  ...{ IE: 0, DE: 1, ZE: 2, OE: 3, UE: 4, PE: 5, DAZ: 6, IM: 7, DM: 8, ZM: 9, OM: 10, UM: 11, PM: 12, FZ: 15 },
};
const flags = (id: string, bits: Readonly<Record<string, number>>): string =>
  `<flags id="${id}" size="4">${Object.entries(bits)
    .map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`)
    .join('')}</flags>`;

/** Views of a vector: element's type and number. */
const VIEWS = {
  v4_float: ['ieee_single', 4],
  v2_double: ['ieee_double', 2],
  v16_int8: ['int8', 16],
  v8_int16: ['int16', 8],
  v4_int32: ['int32', 4],
  v2_int64: ['int64', 2],
} as const;
const vector = [
  ...Object.entries(VIEWS).map(([id, [type, count]]) => `<vector id="${id}" type="${type}" count="${count}"/>`),
  '<union id="vec128">',
  ...Object.keys(VIEWS).map(id => `<field name="${id}" type="${id}"/>`),
  '<field name="uint128" type="uint128"/></union>',
].join('');

/** Types that gdb does not have of its own; a feature defines those that its registers have. */
const TYPES: ReadonlyMap<string, string> = new Map([
  ['i386_eflags', flags('i386_eflags', EFLAGS)],
  ['i386_mxcsr', flags('i386_mxcsr', MXCSR)],
  ['vec128', vector],
]);

export function describeTarget(registers: readonly TargetRegister[]): string {
  const features = [...new Set(registers.map(({ feature }) => feature))];
  return [
    '<?xml version="1.0"?>',
    '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
    '<target version="1.0">',
    '<architecture>i386:x86-64</architecture>',
    ...features.map(feature => {
      const its = registers.filter(register => register.feature === feature);
      const types = [...new Set(its.map(({ type }) => type))].map(type => TYPES.get(type) ?? '').join('');
      const lines = its.map(
        ({ name, bits, type }) =>
          `<reg name="${name}" bitsize="${bits}" type="${type}" regnum="${registers.findIndex(one => one.name === name)}"/>`,
      );
      return `<feature name="${feature}">${types}${lines.join('')}</feature>`;
    }),
    '</target>',
  ].join('\n');
}
