/**
 * The backdoor: a command in ECX, made known by a magic number in EAX, and asked for by reading an I/O port, by VMCALL
 * or by VMMCALL. The answer is in EAX to EDI (open-vm-tools lib/include/backdoor_def.h; Linux
 * arch/x86/kernel/cpu/vmware.c).
 */
import type { BusHandler } from '../../memory/bus.ts';
import type { Hypercall, HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor, RegisterName } from '../../paravirt/processor.ts';

export const VMWARE_HYPERVISOR_PORT = 0x5658;
/** "VMXh". */
export const VMWARE_HYPERVISOR_MAGIC = 0x564d5868;
/**
 * EDX: asks for the high-bandwidth form, which moves strings and is not here. That form has a port of its own, the
 * next.
 */
const HIGH_BANDWIDTH = 1 << 0;

/** EAX after a command that is not there or not allowed. */
export const REFUSED = 0xffffffff;

/** A command; `run` answers with EAX, an unsigned number, and sets the other registers itself. */
export interface Command extends Hypercall {
  run(cpu: Processor): number;
}
export type Commands = Readonly<Record<number, Command>>;

export interface Backdoor {
  /** Adds to the commands that are answered. Call it while the hypervisor is made. @returns `commands` */
  serve(commands: Commands): Commands;
  /** Does what the registers ask for. @returns EAX; undefined where EAX has not the magic number: nobody was called. */
  call(cpu: Processor): number | undefined;
}

/** A register's lower half, unsigned. */
export const low = (cpu: Processor, register: RegisterName): number => Number(BigInt.asUintN(32, cpu.get(register)));

/** The command about to be asked for: the upper half of ECX is an argument's. */
export const commandOf = (cpu: Processor): number => low(cpu, 'rcx') & 0xffff;

/** The backdoor, open at its port. The groups bring the commands. */
export function createBackdoor({ ports }: HypervisorContext): Backdoor {
  const all: Record<number, Command> = {};
  const backdoor: Backdoor = {
    serve: commands => {
      Object.assign(all, commands);
      return commands;
    },
    call(cpu) {
      if (low(cpu, 'rax') !== VMWARE_HYPERVISOR_MAGIC) return undefined;
      const number = commandOf(cpu);
      const command = all[number];
      if (command && !(low(cpu, 'rdx') & HIGH_BANDWIDTH)) return command.run(cpu);
      cpu.log.once(`vmware-command-${number}`, `VMware backdoor command ${number}: not implemented`);
      return REFUSED;
    },
  };
  /** Reads without the magic number, or narrower than four bytes, find nothing there. */
  const port: BusHandler = {
    read(offset, width, from) {
      const nothing = 2 ** (8 * width) - 1;
      return offset === 0 && width === 4 ? (backdoor.call(from) ?? nothing) : nothing;
    },
    write: () => {},
  };
  ports.map('vmware-backdoor', VMWARE_HYPERVISOR_PORT, 4, port);
  return backdoor;
}
