/** FCOM, FUCOM, FICOM, FCOMI, FTST, FXAM (SDM 1, 8.3.6). */
import { CF, PF, ZF } from '../../../x86/flags.ts';
import type { Cpu } from '../cpu.ts';
import type { Helper } from '../helper.ts';
import { compare, EQUAL, GREATER, LESS, type Relation, UNORDERED } from '../softfloat/compare.ts';
import { FINITE, INFINITY, QUIET, setZero, UNSUPPORTED, ZERO } from '../softfloat/value.ts';
import { type Loader, memoryLoaders } from './operand.ts';
import * as unit from './unit.ts';
import { C0, C1, C2, C3, CONDITIONS, environment, left, right } from './unit.ts';

/** SDM 1, table 8-6. */
function conditions(relation: Relation): number {
  if (relation === GREATER) return 0;
  if (relation === LESS) return C0;
  return relation === EQUAL ? C3 : C0 | C2 | C3;
}

/** SDM 2A, FCOMI: the three flags that stand for the relation in RFLAGS. */
function flags(relation: Relation): number {
  if (relation === GREATER) return 0;
  if (relation === LESS) return CF;
  return relation === EQUAL ? ZF : CF | PF | ZF;
}

interface Comparison {
  /** Every NaN is invalid, not only a signalling one. */
  signalling: boolean;
  pops: 0 | 1 | 2;
  /** The answer goes to RFLAGS (RESULT[0]: CF, PF and ZF as they stand there) instead of C0, C2, C3. */
  toFlags: boolean;
}

/** Compares ST(0), in left, with right; `empty` when one of them is. */
function conclude(view: DataView, empty: boolean, { signalling, pops, toFlags }: Comparison): void {
  let relation: Relation = UNORDERED;
  if (toFlags) unit.keepC1(view);
  if (empty) unit.stackUnderflow();
  else relation = compare(left, right, signalling, environment);
  if (toFlags) unit.setResult(view, 0, flags(relation), 0);
  else unit.setConditions(view, CONDITIONS, conditions(relation));
  if (!unit.isUnmasked()) for (let n = 0; n < pops; n++) unit.pop(view);
  unit.finish(view);
}

function withRegister(comparison: Comparison, fixed?: number): Helper {
  return cpu => {
    const { view } = cpu;
    const i = fixed ?? unit.argument(view, 0);
    unit.begin(cpu);
    unit.loadRegister(view, 0, left);
    unit.loadRegister(view, i, right);
    conclude(view, unit.isEmpty(view, 0) || unit.isEmpty(view, i), comparison);
  };
}

function withOperand(load: Loader, comparison: Comparison): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(cpu);
    unit.loadRegister(view, 0, left);
    load(view, right);
    conclude(view, unit.isEmpty(view, 0), comparison);
  };
}

const COM: Comparison = { signalling: true, pops: 0, toFlags: false };

export const compareHelpers: Record<string, Helper> = {
  fcom_sti: withRegister(COM),
  fcomp_sti: withRegister({ ...COM, pops: 1 }),
  fcompp: withRegister({ ...COM, pops: 2 }, 1),
  fucom_sti: withRegister({ ...COM, signalling: false }),
  fucomp_sti: withRegister({ ...COM, signalling: false, pops: 1 }),
  fucompp: withRegister({ ...COM, signalling: false, pops: 2 }, 1),
  fcomi: withRegister({ ...COM, toFlags: true }),
  fcomip: withRegister({ ...COM, toFlags: true, pops: 1 }),
  fucomi: withRegister({ ...COM, signalling: false, toFlags: true }),
  fucomip: withRegister({ ...COM, signalling: false, toFlags: true, pops: 1 }),
  ftst: withOperand((_, value) => setZero(value, 0), COM),
  fxam,
};
for (const [suffix, load] of Object.entries(memoryLoaders)) {
  const mnemonic = suffix.endsWith('int') ? 'ficom' : 'fcom';
  compareHelpers[`${mnemonic}_${suffix}`] = withOperand(load, COM);
  compareHelpers[`${mnemonic}p_${suffix}`] = withOperand(load, { ...COM, pops: 1 });
}

/** Classifies ST(0) (SDM 1, table 8-7); C1 is its sign, even when it is empty. */
function fxam(cpu: Cpu): void {
  const { view } = cpu;
  unit.begin(cpu);
  unit.loadRegister(view, 0, left);
  let bits = left.sign || view.getUint8(unit.registerAddress(view, 0) + 9) >>> 7 ? C1 : 0;
  if (unit.isEmpty(view, 0)) bits |= C3 | C0;
  else if (left.kind === ZERO) bits |= C3;
  else if (left.kind === FINITE) bits |= left.denormal ? C3 | C2 : C2;
  else if (left.kind === INFINITY) bits |= C2 | C0;
  else if (left.kind >= QUIET && left.kind !== UNSUPPORTED) bits |= C0;
  unit.setConditions(view, CONDITIONS, bits);
}
