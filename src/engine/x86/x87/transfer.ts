/**
 * Loads, stores, exchange, conditional moves and constants (SDM 1, 8.3.3 and 8.3.4).
 *
 * A store has two helpers. The first, `fst_m32` and the like, computes the bits into RESULT and changes nothing else
 * that the guest sees. The row then writes memory, which may fault, but only if FPU_WRITES says so: an unmasked invalid
 * operation, overflow or underflow leaves memory alone. The second, `fst_commit` or `fstp_commit`, lets the exceptions
 * and the pop happen.
 */
import type { Helper } from '../helper.ts';
import { fromPackedDecimal, toPackedDecimal } from '../softfloat/bcd.ts';
import { IE, OE, PE, TO_ZERO, UE } from '../softfloat/environment.ts';
import { storeFloat32, storeFloat64 } from '../softfloat/formats.ts';
import { answerUnaryNan, raiseDenormal } from '../softfloat/operands.ts';
import { FLOAT32, FLOAT64, type Format, integer, round, toInteger } from '../softfloat/rounding.ts';
import { copy, setFinite, setZero, UNSUPPORTED, type Value } from '../softfloat/value.ts';
import { STATE, state } from '../state.ts';
import { type Loader, loadM16int, loadM32, loadM32int, loadM64, loadM64int } from './operand.ts';
import * as unit from './unit.ts';
import { ANSWER, environment, left, OPERAND, result } from './unit.ts';

export const transferHelpers: Record<string, Helper> = {};

// ── loads ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Pushes what `compute` leaves in result. An unmasked denormal does not keep it from being loaded. */
function pushing(compute: (view: DataView) => void): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(cpu);
    if (unit.isEmpty(view, -1)) compute(view);
    else unit.stackOverflow();
    if ((environment.flags & ~environment.masks & IE) === 0) {
      unit.push(view);
      unit.storeRegister(view, 0, result);
    }
    unit.finish(view);
  };
}

/** A float of a smaller format becomes an 80-bit one, always exactly. */
function widening(load: Loader): Helper {
  return pushing(view => {
    load(view, left);
    if (answerUnaryNan(left, result, environment)) return;
    raiseDenormal(left, left, environment);
    copy(left, result);
  });
}

transferHelpers.fld_m32 = widening(loadM32);
transferHelpers.fld_m64 = widening(loadM64);
transferHelpers.fild_m16int = pushing(view => loadM16int(view, result));
transferHelpers.fild_m32int = pushing(view => loadM32int(view, result));
transferHelpers.fild_m64int = pushing(view => loadM64int(view, result));
transferHelpers.fbld = pushing(view => fromPackedDecimal(view, OPERAND, result));

/** Copies ten bytes that nobody looks at. */
function copyRaw(view: DataView, from: number, to: number): void {
  view.setUint32(to, view.getUint32(from, true), true);
  view.setUint32(to + 4, view.getUint32(from + 4, true), true);
  view.setUint16(to + 8, view.getUint16(from + 8, true), true);
}

/** Pushes ten bytes from `address` (asked for before the push) as they are. */
function pushingRaw(address: (view: DataView) => number, mayBeEmpty: (view: DataView) => boolean): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(cpu);
    const from = address(view);
    if (mayBeEmpty(view)) unit.stackUnderflow();
    else if (!unit.isEmpty(view, -1)) unit.stackOverflow();
    else {
      unit.push(view);
      copyRaw(view, from, unit.registerAddress(view, 0));
      unit.finish(view);
      return;
    }
    if (!unit.isUnmasked()) {
      unit.push(view);
      unit.storeRegister(view, 0, result);
    }
    unit.finish(view);
  };
}

transferHelpers.fld_m80 = pushingRaw(
  () => OPERAND,
  () => false,
);
transferHelpers.fld_sti = pushingRaw(
  view => unit.registerAddress(view, unit.argument(view, 0)),
  view => unit.isEmpty(view, unit.argument(view, 0)),
);

/**
 * FLD1 FLDL2T FLDL2E FLDPI FLDLG2 FLDLN2: exponent, the first 64 bits of the significand, and the bits that follow, by
 * which RC decides (SDM 2A, FLD1: from a 66-bit internal constant).
 */
const constants: Record<string, readonly [number, number, number, number]> = {
  fld1: [0, 0x80000000, 0, 0],
  fldl2t: [1, 0xd49a784b, 0xcd1b8afe, 0x492bf6ff],
  fldl2e: [0, 0xb8aa3b29, 0x5c17f0bb, 0xbe87fed0],
  fldpi: [1, 0xc90fdaa2, 0x2168c234, 0xc4c6628b],
  fldlg2: [-2, 0x9a209a84, 0xfbcff798, 0x8f8959ac],
  fldln2: [-1, 0xb17217f7, 0xd1cf79ab, 0xc9e3b398],
};

for (const [name, [exponent, high, low, rest]] of Object.entries(constants)) {
  transferHelpers[name] = pushing(() => {
    setFinite(result, 0, exponent, high, low, rest);
    // RC decides the last bit, and nothing tells that it did.
    round(result, { precision: 64, minExponent: -16382, maxExponent: 16383 }, environment);
    environment.flags = 0;
    environment.roundedUp = false;
  });
}
transferHelpers.fldz = pushing(() => setZero(result, 0));

// ── stores ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The first half of a store of ST(0): `compute` gets it in left and puts the bits to write at ANSWER. */
function storing(compute: (view: DataView) => void, underflow: (view: DataView) => void, stops: number): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(cpu);
    if (unit.isEmpty(view, 0)) {
      unit.stackUnderflow();
      underflow(view);
    } else {
      unit.loadRegister(view, 0, left);
      compute(view);
    }
    view.setUint32(STATE + state.FPU_PENDING, unit.nextStatus(view), true);
    view.setUint32(STATE + state.FPU_WRITES, (environment.flags & ~environment.masks & stops) === 0 ? 1 : 0, true);
  };
}

/** These forbid a store when unmasked; an inexact result is written all the same. */
const STOPS = IE | OE | UE;

function narrowing(format: Format, store: (view: DataView, address: number, value: Value) => void): Helper {
  return storing(
    view => {
      if (!answerUnaryNan(left, result, environment)) {
        copy(left, result);
        environment.wrapExponent = false;
        round(result, format, environment);
        environment.wrapExponent = true;
        if ((environment.flags & ~environment.masks & (OE | UE)) !== 0) {
          // Nothing is written, so nothing was inexact.
          environment.flags &= ~PE;
          environment.roundedUp = false;
        }
      }
      store(view, ANSWER, result);
    },
    view => store(view, ANSWER, result),
    STOPS,
  );
}

/** `rounding` undefined: as RC says. */
function toIntegerOf(size: 16 | 32 | 64, rounding?: number): Helper {
  const convert = (view: DataView) => {
    toInteger(left, size, rounding ?? environment.rounding, environment);
    unit.setResult(view, 0, integer.low, integer.high);
  };
  return storing(
    convert,
    view => {
      left.kind = UNSUPPORTED;
      convert(view);
    },
    STOPS,
  );
}

function tenBytes(from: (view: DataView) => number): (view: DataView) => void {
  return view => {
    unit.setResult(view, 1, 0, 0);
    copyRaw(view, from(view), ANSWER);
  };
}

transferHelpers.fst_m32 = narrowing(FLOAT32, storeFloat32);
transferHelpers.fst_m64 = narrowing(FLOAT64, storeFloat64);
transferHelpers.fst_m80 = storing(
  tenBytes(view => unit.registerAddress(view, 0)),
  view => {
    unit.setResult(view, 0, 0, 0xc0000000);
    unit.setResult(view, 1, 0xffff, 0);
  },
  STOPS,
);
for (const size of [16, 32, 64] as const) {
  transferHelpers[`fist_m${size}int`] = toIntegerOf(size);
  transferHelpers[`fistt_m${size}int`] = toIntegerOf(size, TO_ZERO);
}
transferHelpers.fbst = storing(
  view => toPackedDecimal(left, view, ANSWER, environment),
  view => {
    left.kind = UNSUPPORTED;
    toPackedDecimal(left, view, ANSWER, environment);
  },
  STOPS,
);

/** The second half. */
function commit(pops: boolean): Helper {
  return ({ view }) => {
    const before = view.getUint16(STATE + state.FPU_STATUS, true);
    const pending = view.getUint32(STATE + state.FPU_PENDING, true);
    if (pending !== before) view.setUint16(STATE + state.FPU_STATUS, pending, true);
    if (pops && view.getUint32(STATE + state.FPU_WRITES, true) !== 0) unit.pop(view);
  };
}
transferHelpers.fst_commit = commit(false);
transferHelpers.fstp_commit = commit(true);

// ── among registers ─────────────────────────────────────────────────────────────────────────────────────────────────

/** FST ST(i) and FSTP ST(i). */
function toRegister(pops: boolean): Helper {
  return cpu => {
    const { view } = cpu;
    const i = unit.argument(view, 0);
    unit.begin(cpu);
    if (unit.isEmpty(view, 0)) {
      unit.stackUnderflow();
      if (!unit.isUnmasked()) unit.storeRegister(view, i, result);
    } else {
      copyRaw(view, unit.registerAddress(view, 0), unit.registerAddress(view, i));
      unit.markFull(view, i);
    }
    if (pops && !unit.isUnmasked()) unit.pop(view);
    unit.finish(view);
  };
}
transferHelpers.fst_sti = toRegister(false);
transferHelpers.fstp_sti = toRegister(true);

transferHelpers.fxch = cpu => {
  const { view } = cpu;
  const i = unit.argument(view, 0);
  unit.begin(cpu);
  const empty = unit.isEmpty(view, 0) || unit.isEmpty(view, i);
  if (empty) unit.stackUnderflow();
  if (!unit.isUnmasked()) {
    if (empty) for (const n of [0, i]) if (unit.isEmpty(view, n)) unit.storeRegister(view, n, result);
    const a = unit.registerAddress(view, 0);
    const b = unit.registerAddress(view, i);
    copyRaw(view, a, ANSWER);
    copyRaw(view, b, a);
    copyRaw(view, ANSWER, b);
  }
  unit.finish(view);
};

/** FCMOVcc ST(0), ST(i): the register's number and whether the condition holds. */
transferHelpers.fcmov = cpu => {
  const { view } = cpu;
  const i = unit.argument(view, 0);
  unit.begin(cpu);
  unit.keepC1(view);
  if (unit.isEmpty(view, 0) || unit.isEmpty(view, i)) {
    unit.stackUnderflow();
    if (!unit.isUnmasked()) unit.storeRegister(view, 0, result);
  } else if (unit.argument(view, 1) !== 0) {
    copyRaw(view, unit.registerAddress(view, i), unit.registerAddress(view, 0));
  }
  unit.finish(view);
};
