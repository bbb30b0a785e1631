/**
 * Call gates of 32-bit guests. The processor runs these in compatibility mode, which knows 64-bit gates alone, so that their gates stand in
 * the tables with DPL 0 (descriptor-check.ts): every use is a #GP that names the gate, and the transfer is done here, as Xen's
 * pv_emulate_gate_op does it. A stack of an inner ring is known for the kernel's ring alone.
 */
import type { Exception, Segment } from '../../paravirt/processor.ts';
import {
  DESCRIPTOR_CODE,
  DESCRIPTOR_CONFORMING,
  DESCRIPTOR_DB,
  DESCRIPTOR_DPL,
  DESCRIPTOR_DPL_SHIFT,
  DESCRIPTOR_P,
  DESCRIPTOR_READABLE,
  DESCRIPTOR_S,
  DESCRIPTOR_WRITABLE,
  TYPE_CALL_GATE,
} from '../../x86/descriptors.ts';
import { SELECTOR_RPL } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { descriptorOf, hiddenPart } from './descriptors.ts';
import { instructionBytes } from './emulate.ts';
import { farTransfer, type MemoryOperand } from './far-transfer.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

interface Gate {
  selector: number;
  offset: number;
  dpl: number;
  present: boolean;
  /** 32-bit words that a call copies to an inner stack. */
  parameters: number;
}

/** Thrown for the exception that the guest is to have; never leaves this file. */
class Refusal {
  readonly exception: Exception;
  constructor(vector: number, code: number, address?: bigint) {
    this.exception = { vector, code, ...(address !== undefined && { address }) };
  }
}

/**
 * A #GP whose error code is `code`, not 0 and no vector's, at a far transfer perhaps.
 * @returns the exception that the guest is to have; undefined: the guest goes on behind the gate
 */
export function passGate(pv: PvDomain, v: PvVcpu, code: number): Exception | undefined {
  try {
    pass(pv, v, code);
    return undefined;
  } catch (thrown) {
    if (thrown instanceof Refusal) return thrown.exception;
    throw thrown;
  }
}

function pass(pv: PvDomain, v: PvVcpu, code: number): void {
  const { cpu } = v;
  const refuse = (): never => {
    throw new Refusal(vectors.GP, code);
  };
  const { cpl } = cpu;
  const gate = gateOf(pv, v, code);
  if (!gate || gate.dpl < cpl) return refuse();
  if (!gate.present) throw new Refusal(vectors.NP, code);
  const transfer = farTransfer(instructionBytes(pv, v), (cpu.segment('cs').attributes & DESCRIPTOR_DB) !== 0);
  if (!transfer) return refuse();
  const named = transfer.selector ?? readSelector(pv, v, transfer.operand!, refuse);
  if ((named & ~SELECTOR_RPL) !== code || gate.dpl < (named & SELECTOR_RPL)) return refuse();

  const target = segmentAt(pv, v, gate.selector);
  const isCode = target && (target.attributes & CODE) === CODE;
  const dpl = target ? dplOf(target) : 0;
  const mayGoInward = transfer.calls || (target && target.attributes & DESCRIPTOR_CONFORMING);
  if (!target || !isCode || (mayGoInward ? dpl > cpl : dpl !== cpl)) throw new Refusal(vectors.GP, gate.selector);
  if (!(target.attributes & DESCRIPTOR_P)) throw new Refusal(vectors.NP, gate.selector);
  if (gate.offset > target.limit) throw new Refusal(vectors.GP, 0);
  const inward = transfer.calls && dpl < cpl;
  if (transfer.calls) {
    const next = Number(BigInt.asUintN(32, cpu.get('rip'))) + transfer.length;
    if (!inward) pushOnSame(pv, v, next, code);
    else if (dpl === pv.abi.kernelRing) pushOnInner(pv, v, next, gate.parameters, code);
    else return refuse();
  }
  cpu.setSegment('cs', { ...target, selector: gate.selector | (inward ? dpl : cpl) });
  cpu.set('rip', BigInt(gate.offset));
}

const CODE = DESCRIPTOR_S | DESCRIPTOR_CODE;
const dplOf = ({ attributes }: Segment): number => (attributes & DESCRIPTOR_DPL) >>> DESCRIPTOR_DPL_SHIFT;

/** The gate that `selector` names, with the DPL that the guest has asked for: it stands in the RPL of the gate's selector. */
function gateOf(pv: PvDomain, v: PvVcpu, selector: number): Gate | undefined {
  const descriptor = selector < 4 ? undefined : descriptorOf(pv, v, selector);
  if (!descriptor) return undefined;
  const { low, high } = descriptor;
  if (((high >>> 8) & 0x1f) !== TYPE_CALL_GATE || high & DESCRIPTOR_DPL) return undefined;
  return {
    selector: (low >>> 16) & ~SELECTOR_RPL,
    offset: ((low & 0xffff) | (high & 0xffff0000)) >>> 0,
    dpl: (low >>> 16) & SELECTOR_RPL,
    present: (high & DESCRIPTOR_P) !== 0,
    parameters: high & 0x1f,
  };
}
function segmentAt(pv: PvDomain, v: PvVcpu, selector: number): Segment | undefined {
  const descriptor = selector < 4 ? undefined : descriptorOf(pv, v, selector);
  return descriptor && hiddenPart(selector, descriptor);
}

/** The selector of a far pointer in memory. */
function readSelector(pv: PvDomain, v: PvVcpu, operand: MemoryOperand, refuse: () => never): number {
  const { cpu } = v;
  const segment = cpu.segment(operand.segment);
  const offset = operand.offset(name => Number(BigInt.asUintN(32, cpu.get(name))));
  const readable = (segment.attributes & CODE) !== CODE || (segment.attributes & DESCRIPTOR_READABLE) !== 0;
  if (segment.selector >>> 2 === 0 || !readable || offset + 1 > segment.limit) refuse();
  const linear = BigInt.asUintN(32, segment.base + BigInt(offset));
  const bytes = new Uint8Array(2);
  if (!pv.copy.read(v.kernelRoot, linear, bytes)) throw new Refusal(vectors.PF, 0, linear);
  return bytes[0]! | (bytes[1]! << 8);
}

/** CS and EIP on the stack in use. */
function pushOnSame(pv: PvDomain, v: PvVcpu, next: number, code: number): void {
  const { cpu } = v;
  const stack = cpu.segment('ss');
  const esp = Number(BigInt.asUintN(32, cpu.get('rsp')));
  if (dplOf(stack) !== cpu.cpl) throw new Refusal(vectors.GP, code);
  if (!isWithin(stack, esp, 8)) throw new Refusal(vectors.SS, 0);
  push(pv, v, stack, esp, [cpu.segment('cs').selector, next]);
  cpu.set('rsp', BigInt((esp - 8) >>> 0));
}

/** SS, ESP, the parameters, CS and EIP on the kernel's stack, which becomes the stack. */
function pushOnInner(pv: PvDomain, v: PvVcpu, next: number, count: number, code: number): void {
  const { cpu } = v;
  const selector = v.kernelSs;
  const ring = pv.abi.kernelRing;
  const stack = segmentAt(pv, v, selector);
  const wrong = () => new Refusal(vectors.TS, selector & ~SELECTOR_RPL);
  if (!stack || (selector & SELECTOR_RPL) !== ring || dplOf(stack) !== ring || !isStack(stack)) throw wrong();
  const esp = Number(BigInt.asUintN(32, v.kernelSp));
  const bytes = 4 * (4 + count);
  if (!(stack.attributes & DESCRIPTOR_P) || !isWithin(stack, esp, bytes))
    throw new Refusal(vectors.SS, selector & ~SELECTOR_RPL);
  const outer = cpu.segment('ss');
  const outerEsp = Number(BigInt.asUintN(32, cpu.get('rsp')));
  const words = [outer.selector, outerEsp];
  if (count > 0) {
    if (dplOf(outer) !== cpu.cpl || !isStack(outer) || !isWithin(outer, outerEsp + 4 * count, 4 * count))
      throw new Refusal(vectors.GP, code);
    const parameters = new Uint32Array(count);
    const linear = BigInt.asUintN(32, outer.base + BigInt(outerEsp));
    if (!pv.copy.readWords(v.kernelRoot, linear, parameters)) throw new Refusal(vectors.PF, 0, linear);
    words.push(...parameters.reverse());
  }
  push(pv, v, stack, esp, [...words, cpu.segment('cs').selector, next]);
  cpu.setSegment('ss', stack);
  cpu.set('rsp', BigInt((esp - bytes) >>> 0));
}

const isStack = ({ attributes }: Segment): boolean =>
  (attributes & (CODE | DESCRIPTOR_WRITABLE)) === (DESCRIPTOR_S | DESCRIPTOR_WRITABLE);

/** Whether `bytes` below `esp` lie within a stack segment. */
function isWithin({ attributes, limit }: Segment, esp: number, bytes: number): boolean {
  const [low, last] = [(esp - bytes) >>> 0, (esp - 1) >>> 0];
  // In a data segment, bit 2 of the type is expand-down.
  return low < last && (attributes & DESCRIPTOR_CONFORMING ? low > limit : last <= limit);
}

/** Words in the order in which they are pushed, from `esp` down. */
function push(pv: PvDomain, v: PvVcpu, stack: Segment, esp: number, words: readonly number[]): void {
  words.forEach((word, index) => {
    const linear = BigInt.asUintN(32, stack.base + BigInt((esp - 4 * (index + 1)) >>> 0));
    if (!pv.copy.writeWords(v.kernelRoot, linear, Uint32Array.of(word), 1))
      throw new Refusal(vectors.PF, vectors.PAGE_FAULT_WR, linear);
  });
}
