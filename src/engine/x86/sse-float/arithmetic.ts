/** Arithmetic on lanes: ADD SUB MUL DIV SQRT MIN MAX, ADDSUB, HADD, HSUB, ROUND, DPPS and DPPD. */
import type { Cpu } from '../cpu.ts';
import type { Helper } from '../helper.ts';
import { add, type Binary, divide, multiply, squareRoot, subtract } from '../softfloat/arithmetic.ts';
import { round } from '../softfloat/rounding.ts';
import { setZero, Value } from '../softfloat/value.ts';
import { maximum, minimum, roundLane } from './lanes.ts';
import * as unit from './unit.ts';
import { ANSWER, DOUBLE, environment, FIRST, type Lane, OPERAND, SECOND, SINGLE } from './unit.ts';

const left = new Value();
const right = new Value();
/** Results stay here until the exceptions of all lanes are known. */
const results = [new Value(), new Value(), new Value(), new Value()];

/** One lane's work: two addresses and what to do with them. */
type Step = readonly [a: number, b: number, operation: Binary];

/** Does all steps, then rounds all of them, then stores them side by side. */
function compute(cpu: Cpu, lane: Lane, steps: readonly Step[], exact = false): void {
  const { view } = cpu;
  steps.forEach(([a, b, operation], i) => {
    unit.loadLane(view, a, lane, left);
    unit.loadLane(view, b, lane, right);
    operation(left, right, results[i]!, environment);
  });
  deliver(cpu, lane, steps.length, exact);
}

/** `exact`: the results are operands or whole numbers, and fit as they are. */
function deliver(cpu: Cpu, lane: Lane, count: number, exact = false): void {
  unit.checkOperands(cpu);
  if (!exact) for (let i = 0; i < count; i++) round(results[i]!, lane.format, environment);
  unit.finish(cpu);
  for (let i = 0; i < count; i++) lane.store(cpu.view, ANSWER + i * lane.bytes, results[i]!);
}

/** The steps of an operation on `count` lanes, each with its opposite. */
function lanewise(lane: Lane, count: number, operation: (i: number) => Binary): Step[] {
  return Array.from(
    { length: count },
    (_, i) => [FIRST + i * lane.bytes, SECOND + i * lane.bytes, operation(i)] as const,
  );
}

/** The steps of an operation on neighbours: those of the first operand, then those of the second. */
function horizontal(lane: Lane, operation: Binary): Step[] {
  const steps: Step[] = [];
  for (const operand of [FIRST, SECOND])
    for (let at = 0; at < 16; at += 2 * lane.bytes) steps.push([operand + at, operand + at + lane.bytes, operation]);
  return steps;
}

function helper(lane: Lane, steps: Step[], exact = false): Helper {
  return cpu => {
    unit.begin(cpu.view);
    compute(cpu, lane, steps, exact);
  };
}

/** A square root takes the second operand alone. */
const rootOfSecond: Binary = (_, b, out, surroundings) => squareRoot(b, out, surroundings);

const binaries: Record<string, Binary> = {
  add,
  sub: subtract,
  mul: multiply,
  div: divide,
  sqrt: rootOfSecond,
};

const selections: Record<string, Binary> = { min: minimum, max: maximum };

/** Suffix, lane and count of the four common forms. */
export const FORMS: readonly (readonly [string, Lane, number])[] = [
  ['ps', SINGLE, 4],
  ['pd', DOUBLE, 2],
  ['ss', SINGLE, 1],
  ['sd', DOUBLE, 1],
];

export const arithmeticHelpers: Record<string, Helper> = {};
for (const [suffix, lane, count] of FORMS) {
  for (const [name, operation] of Object.entries(binaries))
    arithmeticHelpers[name + suffix] = helper(
      lane,
      lanewise(lane, count, () => operation),
    );
  for (const [name, operation] of Object.entries(selections))
    arithmeticHelpers[name + suffix] = helper(
      lane,
      lanewise(lane, count, () => operation),
      true,
    );
  const rounding: Binary = (_, b, out, surroundings) => roundLane(b, immediate, out, surroundings);
  const steps = lanewise(lane, count, () => rounding);
  const inner = helper(lane, steps, true);
  arithmeticHelpers[`round${suffix}`] = cpu => {
    immediate = cpu.view.getUint8(OPERAND);
    inner(cpu);
  };
  if (count === 1) continue;
  arithmeticHelpers[`addsub${suffix}`] = helper(
    lane,
    lanewise(lane, count, i => (i & 1 ? add : subtract)),
  );
  arithmeticHelpers[`hadd${suffix}`] = helper(lane, horizontal(lane, add));
  arithmeticHelpers[`hsub${suffix}`] = helper(lane, horizontal(lane, subtract));
  arithmeticHelpers[`dp${suffix}`] = dotProduct(lane, count);
}

/** ROUNDPS's immediate while its lanes are done. */
let immediate = 0;

/**
 * DPPS and DPPD (SDM 2A): products where bits 4-7 of the immediate say so, added pairwise, the sum going where bits 0-3
 * say. Every step rounds, and its exceptions are those of an instruction of its own, but all are told together at the
 * end of the step that was unmasked.
 */
function dotProduct(lane: Lane, count: number): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(view);
    const mask = view.getUint8(OPERAND);
    for (let i = 0; i < count; i++) {
      const out = results[i]!;
      if ((mask >>> (4 + i)) & 1) {
        unit.loadLane(view, FIRST + i * lane.bytes, lane, left);
        unit.loadLane(view, SECOND + i * lane.bytes, lane, right);
        multiply(left, right, out, environment);
      } else setZero(out, 0);
    }
    deliver(cpu, lane, count);
    for (let width = 2; width <= count; width *= 2) {
      const pairs = Array.from({ length: count / width }, (_, i): Step => {
        const at = ANSWER + 2 * i * lane.bytes;
        return [at, at + lane.bytes, add];
      });
      compute(cpu, lane, pairs);
    }
    for (let i = 0; i < count; i++) {
      if ((mask >>> i) & 1) lane.store(view, ANSWER + i * lane.bytes, results[0]!);
      else unit.clear(view, ANSWER + i * lane.bytes, lane.bytes);
    }
  };
}
