/** CMPPS and its kin, COMISS, UCOMISS, COMISD, UCOMISD. */
import { CF, PF, ZF } from '../../../x86/flags.ts';
import type { Helper } from '../helper.ts';
import { compare, EQUAL, GREATER, LESS } from '../softfloat/compare.ts';
import { Value } from '../softfloat/value.ts';
import { FORMS } from './arithmetic.ts';
import { predicate } from './lanes.ts';
import * as unit from './unit.ts';
import { ANSWER, environment, FIRST, type Lane, OPERAND, SCALAR_ANSWER, SECOND } from './unit.ts';

const left = new Value();
const right = new Value();

/** All ones in the lanes for which the predicate in ARGUMENT[0] holds. */
function cmp(lane: Lane, count: number): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(view);
    const code = view.getUint8(OPERAND);
    for (let i = 0; i < count; i++) {
      unit.loadLane(view, FIRST + i * lane.bytes, lane, left);
      unit.loadLane(view, SECOND + i * lane.bytes, lane, right);
      const mask = predicate(left, right, code, environment) ? 0xffffffff : 0;
      for (let at = 0; at < lane.bytes; at += 4) view.setUint32(ANSWER + i * lane.bytes + at, mask, true);
    }
    unit.finish(cpu);
  };
}

/** The relation of the low lanes as RFLAGS has it, in RESULT. */
function comi(lane: Lane, signalling: boolean): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(view);
    unit.loadLane(view, FIRST, lane, left);
    unit.loadLane(view, SECOND, lane, right);
    const relation = compare(left, right, signalling, environment);
    unit.finish(cpu);
    let flags = ZF | PF | CF;
    if (relation === GREATER) flags = 0;
    else if (relation === LESS) flags = CF;
    else if (relation === EQUAL) flags = ZF;
    view.setUint32(SCALAR_ANSWER, flags, true);
    view.setUint32(SCALAR_ANSWER + 4, 0, true);
  };
}

export const compareHelpers: Record<string, Helper> = {};
for (const [suffix, lane, count] of FORMS) {
  compareHelpers[`cmp${suffix}`] = cmp(lane, count);
  if (count > 1) continue;
  compareHelpers[`comi${suffix}`] = comi(lane, true);
  compareHelpers[`ucomi${suffix}`] = comi(lane, false);
}
