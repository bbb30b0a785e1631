/**
 * The loop's function, `run`: (record, or 0 for the block at RIP) -> why it returned (record.ts's EXIT_ numbers). A
 * br_table leads to the handler of a record: those of special records and of hot instructions are part of the function,
 * the others are called.
 */

import { Variable } from '../../wasm/code.ts';
import { Body } from '../../wasm/module.ts';
import { CS } from '../../x86/segments.ts';
import * as record from '../record.ts';
import { state } from '../x86/state.ts';
import { emitHandler, type Leaving, type Variant } from './handler.ts';
import { resolveBlock } from './look-up.ts';
import { LoopCode, type LoopParts } from './loop-code.ts';
import { specialHandlers } from './special-records.ts';
import { nameOf } from './variants.ts';

/** @param hot the variants whose handlers are part of the loop */
export function runBody(parts: LoopParts, hot: readonly Variant[]): Body {
  const b = new LoopCode(new Body(['i32'], ['i32']), parts);
  const { rec, to } = b;
  b.when(b.no(rec.get()), () => b.setTargetToRip());
  b.outerLoop(next => {
    to.next = next;
    b.outerBlock(enter => {
      to.enter = enter;
      b.outerBlock(resolve => {
        to.resolve = resolve;
        b.outerBlock((go, goLabel) => {
          to.go = go;
          b.outerBlock((fault, faultLabel) => {
            to.fault = fault;
            resolve(b.no(rec.get()));
            const leaving = leavingOf(b, goLabel, faultLabel);
            b.outerSwitch(
              () => b.field('i32.load16_u', record.HANDLER),
              [...specialHandlers(b), ...hot.map(variant => () => inlined(b, variant, leaving))],
              () => called(b),
            );
          });
          deliver(b);
        });
        end(b);
      });
      resolveBlock(b);
    });
    if (!parts.wide) keepWithinLimit(b);
    visit(b);
  });
  b.finish();
  b.body.unreachable();
  return b.body;
}

/** How a hot instruction leaves its handler. */
function leavingOf({ rec, target, slot }: LoopCode, goLabel: number, faultLabel: number): Leaving {
  return {
    record: rec.local,
    fault: b => b.leave(faultLabel),
    go(b, to, link) {
      new Variable(b, 'i64', target.local).set(to);
      const from = b.local('i32', rec.local);
      new Variable(b, 'i32', slot.local).set(link === undefined ? 0 : b.add(from, link));
      b.leave(goLabel);
    },
    resume(b) {
      this.go(b, b.state(state.RIP), undefined);
    },
  };
}

function inlined(b: LoopCode, variant: Variant, leaving: Leaving): void {
  try {
    if (emitHandler(b.body, variant, leaving, b.parts.functions)) b.advance();
    else b.body.unreachable();
  } catch (error) {
    throw new Error(`${nameOf(variant)}: ${(error as Error).message}`, { cause: error });
  }
}

/** A handler that is a function of its own says by its result how to go on (own-function.ts). */
function called(b: LoopCode): void {
  const { rec, slot } = b;
  const handler = b.field('i32.load16_u', record.HANDLER);
  const result = b.variable(b.invokeIndirect(b.parts.handlerType, handler, 'i32', rec.get()));
  b.when(b.no(result.get()), () => b.advance());
  b.go('fault', b.eq(result.get(), record.FAULTED));
  b.setTargetToRip();
  b.when(
    b.eq(result.get(), record.AT_RIP),
    () => slot.set(0),
    () => slot.set(b.add(rec.get(), b.sub(result.get(), record.AT_RIP))),
  );
  b.go('go');
}

/** A fault: delivered here or by the engine. */
function deliver(b: LoopCode): void {
  if (b.parts.functions.traps) {
    b.setTargetHere();
    b.saveRip();
    b.deliverFault(b.position());
  }
  b.exit(record.EXIT_FAULT);
}

/** The end of a block, whose instructions are charged for here. */
function end(b: LoopCode): void {
  b.exitIf(b.charge(b.add(b.position(), 1)));
  b.when(b.slot.get(), () => b.follow());
}

/** The start of a block: its visits are counted, because a block that is entered often is worth translating. */
function visit(b: LoopCode): void {
  const header = b.sub(b.rec.get(), record.HEADER);
  const visits = b.add(b.fetch('i32.load', header, record.HEADER_VISITS), 1);
  b.put('i32.store', header, visits, record.HEADER_VISITS);
  b.go('next', b.and(visits, b.state32(state.VISITS_MASK)));
  b.saveRip();
  b.rec.set(0);
  b.exit(record.EXIT_HOT);
}

/**
 * Code in a segment that is not flat goes no further than CS's limit (SDM 3A 5.3): the engine executes a block that reaches
 * beyond it one instruction at a time.
 */
function keepWithinLimit(b: LoopCode): void {
  b.when(b.no(b.and(b.state32(state.FLAT), 1 << CS)), () => {
    const end = b.fetch('i32.load', b.sub(b.rec.get(), record.HEADER), record.HEADER_END);
    const base = b.add(b.state32(state.SEGMENT_BASE + 8 * CS), 1);
    const last = b.sub(b.add(b.narrow(b.state(state.PAGE)), end), base);
    b.when(b.no(b.leu(last, b.state32(state.SEGMENT_LIMIT + 4 * CS))), () => {
      b.saveRip();
      b.rec.set(0);
      b.exit(record.EXIT_LIMIT);
    });
  });
}
