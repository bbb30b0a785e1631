/** Hypercalls by which a processor reaches others (Documentation/virt/kvm/x86/hypercalls.rst), which it names by APIC id. */
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { type Calls, KVM_EINVAL } from './call.ts';
import type { Unhalt } from './unhalt.ts';

const KVM_HC_KICK_CPU = 5;
const KVM_HC_SEND_IPI = 10;
const KVM_HC_SCHED_YIELD = 11;

/** Of the low word of an interrupt command (SDM 3A 11.6.1). */
const VECTOR = 0xffn;
const DELIVERY_MODE_SHIFT = 8n;
const DELIVERY_MODE = 7n;
const LOGICAL_DESTINATION = 0x800n;
const ASSERT = 0x4000n;
const LEVEL_TRIGGERED = 0x8000n;
const SHORTHAND = 0xc0000n;

export function createProcessorCalls({ cpus }: HypervisorContext, unhalt: Unhalt): Calls {
  const byApicId = (id: bigint): Processor | undefined => cpus.find(({ interrupts }) => interrupts?.id === Number(id));

  /**
   * @param bitmaps of processors; the first one's bit 0 is APIC id `lowest`
   * @param command an interrupt command's low word, with a physical destination
   * @returns how many have got it
   */
  function sendIpi(bitmaps: readonly bigint[], width: bigint, lowest: bigint, command: bigint): number {
    if (command & (LOGICAL_DESTINATION | SHORTHAND)) return -KVM_EINVAL;
    const level = (command & LEVEL_TRIGGERED) !== 0n;
    if (level && !(command & ASSERT)) return 0;
    const mode = Number((command >> DELIVERY_MODE_SHIFT) & DELIVERY_MODE);
    const vector = Number(command & VECTOR);
    let delivered = 0;
    for (const target of cpus) {
      const { interrupts } = target;
      if (!interrupts) continue;
      const bit = BigInt(interrupts.id) - lowest;
      if (bit < 0n || bit >= 2n * width) continue;
      const isMeant = (bitmaps[Number(bit / width)] >> (bit % width)) & 1n;
      if (!isMeant || !interrupts.accept(mode, vector, level)) continue;
      target.noteIpi();
      delivered++;
    }
    return delivered;
  }

  return {
    [KVM_HC_KICK_CPU]: {
      name: 'KVM_HC_KICK_CPU',
      arguments: ['flags', 'apic_id'],
      status: 'done',
      run(_cpu, [_flags, apicId]) {
        const target = byApicId(apicId);
        if (target) unhalt.kick(target);
        return 0;
      },
    },
    [KVM_HC_SEND_IPI]: {
      name: 'KVM_HC_SEND_IPI',
      arguments: ['bitmap_low', 'bitmap_high', 'lowest_apic_id', 'icr'],
      status: 'done',
      run(cpu, [low, high, lowest, icr]) {
        const width = cpu.mode === 64 ? 64n : 32n;
        return sendIpi([low, high], width, BigInt.asUintN(32, lowest), icr);
      },
    },
    [KVM_HC_SCHED_YIELD]: {
      name: 'KVM_HC_SCHED_YIELD',
      arguments: ['apic_id'],
      status: 'done',
      run(cpu, [apicId]) {
        const target = byApicId(apicId);
        if (target && target !== cpu && !target.halted) cpu.yield();
        return 0;
      },
    },
  };
}
