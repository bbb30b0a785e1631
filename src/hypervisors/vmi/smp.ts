/**
 * SetInitialAPState: how another processor is to start, instead of in real mode, at the start-up IPI that follows. Without it
 * a processor starts as on bare hardware.
 */
import { type EntryState, enter } from '../../boot/entry.ts';
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import { AP_STATE_SIZE, parseApState } from './ap-state.ts';
import { type Call, hex } from './call.ts';
import type { PluggedRom } from './plugged-rom.ts';

export function createSmp(context: HypervisorContext, { calls }: PluggedRom): Group<'smp'> {
  /** By APIC id, which is the processor's id. */
  const states = perProcessor(context, 'vmi/initial-state', 1, () => ({ entry: undefined as EntryState | undefined }));
  return {
    // The vector is ignored. The state is for one start: a processor that goes off and comes back gets another.
    startUp(cpu) {
      const { entry } = states[cpu.id]!;
      if (!entry) return false;
      states[cpu.id]!.entry = undefined;
      enter(cpu, entry);
      cpu.start();
      return true;
    },
    hypercalls: calls.serve({
      SetInitialAPState: {
        name: 'SetInitialAPState',
        arguments: ['state', 'apicId'],
        status: 'done',
        run(call: Call) {
          const { cpu, eax: address, edx: id } = call;
          const bytes = cpu.read(BigInt(address), AP_STATE_SIZE);
          if (!bytes) return call.kill(`a state at ${hex(address)}, which cannot be read`);
          const state = states[id];
          if (!state) return call.kill(`no processor has APIC id ${id}`);
          const entry = parseApState(cpu, bytes);
          if (typeof entry === 'string') return call.kill(entry);
          state.entry = entry;
          return undefined;
        },
      },
    }),
  };
}
