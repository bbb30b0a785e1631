/**
 * The backdoor: a command in ECX, made known by a magic number in EAX, and asked for by reading an I/O port, by VMCALL or by
 * VMMCALL. The answer is in EAX to EDI (open-vm-tools lib/include/backdoor_def.h; Linux arch/x86/kernel/cpu/vmware.c).
 */
import { APIC_TIMER_FREQUENCY } from '../../devices/apic-timer.ts';
import type { BusHandler } from '../../memory/bus.ts';
import type { Hypercall, HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor, RegisterName } from '../../paravirt/processor.ts';

export const VMWARE_HYPERVISOR_PORT = 0x5658;
/** "VMXh". */
const VMWARE_HYPERVISOR_MAGIC = 0x564d5868;
/** EDX: the high-bandwidth form, which moves strings and is not here. It has a port of its own, one further. */
const HIGH_BANDWIDTH = 1 << 0;

const VMWARE_CMD_GETVERSION = 10;
const VMWARE_CMD_GETHZ = 45;
const VMWARE_CMD_GETVCPU_INFO = 68;

const VMX_VERSION = 6;
/** GETVERSION's ECX: which product. */
const VMX_TYPE_SCALABLE_SERVER = 2;
/** GETVCPU_INFO's EAX: x2APIC mode works although no interrupt is remapped. */
const VCPU_LEGACY_X2APIC = 1 << 3;

/** What a command that is not there, or not allowed, answers in EAX. */
export const REFUSED = 0xffffffff;

/** A command; `run` answers with EAX, an unsigned number, and sets the other registers itself. */
export interface Command extends Hypercall {
  run(cpu: Processor): number;
}

export interface Backdoor {
  readonly commands: Readonly<Record<number, Command>>;
  /** Does what the registers ask for. @returns EAX; undefined where EAX has not the magic number: nobody was called. */
  call(cpu: Processor): number | undefined;
}

/** A register's lower half, unsigned. */
export const low = (cpu: Processor, register: RegisterName): number => Number(BigInt.asUintN(32, cpu.get(register)));

/** The command about to be asked for: the upper half of ECX is an argument's. */
export const commandOf = (cpu: Processor): number => low(cpu, 'rcx') & 0xffff;

/** What Linux asks at its start. */
const identification: Readonly<Record<number, Command>> = {
  [VMWARE_CMD_GETVERSION]: {
    name: 'VMWARE_CMD_GETVERSION',
    arguments: [],
    status: 'done',
    run(cpu) {
      cpu.set('rbx', BigInt(VMWARE_HYPERVISOR_MAGIC));
      cpu.set('rcx', BigInt(VMX_TYPE_SCALABLE_SERVER));
      return VMX_VERSION;
    },
  },
  [VMWARE_CMD_GETHZ]: {
    name: 'VMWARE_CMD_GETHZ',
    arguments: [],
    status: 'done',
    /** EBX:EAX the TSC's frequency, ECX that of the local APIC's timer, both in Hz. */
    run(cpu) {
      const { frequency } = cpu.tsc;
      cpu.set('rbx', BigInt(Math.floor(frequency / 2 ** 32)));
      cpu.set('rcx', BigInt(APIC_TIMER_FREQUENCY));
      return frequency % 2 ** 32;
    },
  },
  [VMWARE_CMD_GETVCPU_INFO]: {
    name: 'VMWARE_CMD_GETVCPU_INFO',
    arguments: [],
    status: 'done',
    run: () => VCPU_LEGACY_X2APIC,
  },
};

export function createBackdoor(more: Readonly<Record<number, Command>>): Backdoor {
  const commands: Backdoor['commands'] = { ...identification, ...more };
  return {
    commands,
    call(cpu) {
      if (low(cpu, 'rax') !== VMWARE_HYPERVISOR_MAGIC) return undefined;
      const number = commandOf(cpu);
      const command = commands[number];
      if (command && !(low(cpu, 'rdx') & HIGH_BANDWIDTH)) return command.run(cpu);
      cpu.log.once(`vmware-command-${number}`, `VMware backdoor command ${number}: not implemented`);
      return REFUSED;
    },
  };
}

/** The port. Who reads it without the magic number, or fewer than four bytes, finds nothing there. */
export function connectPort({ ports, cpus }: HypervisorContext, backdoor: Backdoor): void {
  const handler: BusHandler = {
    read(offset, width) {
      const nothing = 2 ** (8 * width) - 1;
      return offset === 0 && width === 4 ? (backdoor.call(cpus[0]) ?? nothing) : nothing;
    },
    write: () => {},
  };
  ports.map('vmware-backdoor', VMWARE_HYPERVISOR_PORT, 4, handler);
}
