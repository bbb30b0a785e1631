/** Exceptions on their way to the guest: the hypervisor is asked first, then the IDT is (SDM 3A 6.12, 6.15). */
import type { Exception } from '../paravirt/processor.ts';
import { CR0_NE } from '../x86/control.ts';
import { RF } from '../x86/flags.ts';
import * as vectors from '../x86/vectors.ts';
import type { Vcpu } from './vcpu.ts';
import type { Cpu } from './x86/cpu.ts';
import { deliverException } from './x86/event-delivery.ts';
import { noteException, SHOWS_RF } from './x86/exceptions.ts';
import { state } from './x86/state.ts';

/** Takes the fault out of the state, where whoever raised it has left it. */
export function takeFault(cpu: Cpu): Exception {
  const vector = cpu.get32(state.FAULT) & 0xff;
  cpu.set32(state.FAULT, 0);
  return {
    vector,
    ...(vectors.hasErrorCode(vector) ? { code: cpu.get32(state.FAULT_CODE) } : {}),
    ...(vector === vectors.PF ? { address: cpu.get64(state.CR2) } : {}),
  };
}

/** Delivers the fault that the state holds. */
export function deliverFault(vcpu: Vcpu): void {
  const exception = takeFault(vcpu.cpu);
  if (exception.vector === vectors.PF) {
    if (vcpu.environment.pageFault?.(exception as Exception & { address: bigint })) return vcpu.faultHandled();
  }
  vcpu.budget.executed++; // so that a guest that only faults still gets through its budget
  if (exception.vector === vectors.MF && goesToBoard(vcpu)) return;
  deliver(vcpu, exception);
}

/**
 * With CR0.NE clear an x87 error is the board's (SDM 1, 8.7.2): it interrupts, and the instruction is tried again until that
 * arrives; or the handler has asked it to have the error ignored, and the instruction is executed. False: #MF.
 */
function goesToBoard(vcpu: Vcpu): boolean {
  if (vcpu.cpu.get32(state.CR0) & CR0_NE) return false;
  const answer = vcpu.environment.coprocessorError?.(true);
  if (answer === 'ignore') vcpu.stepIgnoringError();
  return answer !== undefined;
}

/** Delivers an exception at RIP. */
export function deliver(vcpu: Vcpu, exception: Exception): void {
  const { cpu } = vcpu;
  vcpu.countDelivery();
  const { vector, code, address } = exception;
  const { rip, cpl } = cpu;
  noteException(cpu, { vector, code, address, rip, cpl, instructions: vcpu.instructions });
  if ((SHOWS_RF >>> vector) & 1) cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) | RF);
  if (vcpu.environment.exception?.(exception)) return;
  if (vector === vectors.PF && address !== undefined) cpu.set64(state.CR2, address);
  if (!deliverException(cpu, vector, code, 'exception')) {
    vcpu.environment.tripleFault();
    vcpu.stopForGood();
  }
}
