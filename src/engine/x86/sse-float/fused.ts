/**
 * FMA and F16C in software (SDM 1, 14.4 and 14.5). FMA's operands stand in three vectors: the factors, then what is added; ARGUMENT[0] has
 * FUSED_ bits.
 */
import type { Helper } from '../helper.ts';
import { loadFloat16, storeFloat16 } from '../softfloat/formats.ts';
import { multiplyAdd } from '../softfloat/fused.ts';
import { answerUnaryNan, raiseDenormal } from '../softfloat/operands.ts';
import { FLOAT16, round } from '../softfloat/rounding.ts';
import { copy, Value } from '../softfloat/value.ts';
import { FUSED_NEGATES_PRODUCT, FUSED_SUBTRACTS_EVEN, FUSED_SUBTRACTS_ODD } from './fused-signs.ts';
import * as unit from './unit.ts';
import { ANSWER, DOUBLE, environment, FIRST, type Lane, OPERAND, SECOND, SINGLE } from './unit.ts';

const THIRD = SECOND + 16;

const [x, y, z] = [new Value(), new Value(), new Value()];
const results = [new Value(), new Value(), new Value(), new Value()];

function fused(lane: Lane): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(view);
    const how = view.getUint8(OPERAND);
    const count = 16 / lane.bytes;
    for (let i = 0; i < count; i++) {
      const at = i * lane.bytes;
      unit.loadLane(view, FIRST + at, lane, x);
      unit.loadLane(view, SECOND + at, lane, y);
      unit.loadLane(view, THIRD + at, lane, z);
      const signs = {
        negateProduct: (how & FUSED_NEGATES_PRODUCT) !== 0,
        negateAddend: (how & (i & 1 ? FUSED_SUBTRACTS_ODD : FUSED_SUBTRACTS_EVEN)) !== 0,
      };
      multiplyAdd(x, y, z, signs, results[i]!, environment);
    }
    unit.checkOperands(cpu);
    for (let i = 0; i < count; i++) round(results[i]!, lane.format, environment);
    unit.finish(cpu);
    for (let i = 0; i < count; i++) lane.store(view, ANSWER + i * lane.bytes, results[i]!);
  };
}

/** VCVTPH2PS: four halves to singles. Denormal ones raise nothing, and count whatever DAZ says. */
const fromHalves: Helper = cpu => {
  const { view } = cpu;
  unit.begin(view);
  for (let i = 0; i < 4; i++) {
    loadFloat16(view, SECOND + 2 * i, x);
    if (!answerUnaryNan(x, results[i]!, environment)) copy(x, results[i]!);
  }
  unit.checkOperands(cpu);
  unit.finish(cpu);
  for (let i = 0; i < 4; i++) SINGLE.store(view, ANSWER + 4 * i, results[i]!);
};

/** VCVTPS2PH: the immediate has a rounding mode in bits 0-1, or MXCSR's is used (bit 2). FTZ does not count. */
const toHalves: Helper = cpu => {
  const { view } = cpu;
  unit.begin(view);
  const immediate = view.getUint8(OPERAND);
  if (!(immediate & 4)) environment.rounding = immediate & 3;
  environment.flushToZero = false;
  for (let i = 0; i < 4; i++) {
    unit.loadLane(view, SECOND + 4 * i, SINGLE, x);
    if (answerUnaryNan(x, results[i]!, environment)) continue;
    raiseDenormal(x, x, environment);
    copy(x, results[i]!);
    results[i]!.denormal = false;
  }
  unit.checkOperands(cpu);
  for (let i = 0; i < 4; i++) round(results[i]!, FLOAT16, environment);
  unit.finish(cpu);
  unit.clear(view, ANSWER, 16);
  for (let i = 0; i < 4; i++) storeFloat16(view, ANSWER + 2 * i, results[i]!);
};

export const fusedHelpers: Record<string, Helper> = {
  fmaps: fused(SINGLE),
  fmapd: fused(DOUBLE),
  cvtph2ps: fromHalves,
  cvtps2ph: toHalves,
};
