/**
 * The calls of VMI's API 3, as Linux 2.6.21 to 2.6.36 numbers them (arch/x86/include/asm/vmi.h), and how a ROM answers
 * where a call is to be found. A call's place in the list is its number.
 */

// biome-ignore format: a table
export const VMI_CALLS = [
  'CPUID', 'WRMSR', 'RDMSR', 'SetGDT', 'SetLDT', 'SetIDT', 'SetTR', 'GetGDT', 'GetLDT', 'GetIDT', // 0
  'GetTR', 'WriteGDTEntry', 'WriteLDTEntry', 'WriteIDTEntry', 'UpdateKernelStack', // 10
  'SetCR0', 'SetCR2', 'SetCR3', 'SetCR4', 'GetCR0', 'GetCR2', 'GetCR3', 'GetCR4', // 15
  'WBINVD', 'SetDR', 'GetDR', 'RDPMC', 'RDTSC', 'CLTS', // 23
  'EnableInterrupts', 'DisableInterrupts', 'GetInterruptMask', 'SetInterruptMask', // 29
  'IRET', 'SYSEXIT', 'Halt', 'Reboot', 'Shutdown', // 33
  'SetPxE', 'SetPxELong', 'UpdatePxE', 'UpdatePxELong', 'MachineToPhysical', 'PhysicalToMachine', // 38
  'AllocatePage', 'ReleasePage', 'InvalPage', 'FlushTLB', 'SetLinearMapping', // 44
  'INL', 'INB', 'INW', 'INSL', 'INSB', 'INSW', 'OUTL', 'OUTB', 'OUTW', 'OUTSL', 'OUTSB', 'OUTSW', // 49
  'SetIOPLMask', 'SetInitialAPState', 'APICWrite', 'APICRead', 'IODelay', // 61
  'GetCycleFrequency', 'GetCycleCounter', 'SetAlarm', 'CancelAlarm', 'GetWallclockTime', 'WallclockUpdated', // 66
  'SetCallbacks', 'SetLazyMode', // 72
] as const;
export type CallName = (typeof VMI_CALLS)[number];

/** What this ROM asks its hypervisor besides the guest's calls. The numbers are our own: no guest sees them. */
export const PRIVATE_CALLS = { Initialize: 0x80, ApplyDeferred: 0x81 } as const;
export type PrivateCallName = keyof typeof PRIVATE_CALLS;

export function numberOf(name: CallName | PrivateCallName): number {
  return name in PRIVATE_CALLS ? PRIVATE_CALLS[name as PrivateCallName] : VMI_CALLS.indexOf(name as CallName);
}

/** Relocation types: what the kernel is to do with the places in its code at which it would make the call. */
export const VMI_RELOCATION_NONE = 0;
export const VMI_RELOCATION_CALL_REL = 1;
export const VMI_RELOCATION_JUMP_REL = 2;
export const VMI_RELOCATION_NOP = 3;

/** Flags of AllocatePage and ReleasePage, and, in their low bits, of the page-table calls. */
export const VMI_PAGE_PAE = 0x10;
export const VMI_PAGE_CLONE = 0x20;
/** A hint at most: Linux sets it for page directories that are in use already. */
export const VMI_PAGE_ZEROED = 0x40;
/** Page table, page directory, page-directory pointers, and the level above. */
export const VMI_PAGE_LEVELS = 0x0f;

/** SetLazyMode: nothing may be deferred; page-table updates may; what a context switch does may. */
export const VMI_LAZY_MMU_UPDATES = 1;
export const VMI_LAZY_CPU_STATE = 2;

/** SetAlarm's and CancelAlarm's flags. */
export const VMI_ALARM_COUNTER_MASK = 0xff;
export const VMI_ALARM_IS_PERIODIC = 0x100;
export const VMI_ALARM_WIRED_LVTT = 0x10000;

/** The counters of cycles: what has passed, what this processor had of it, and what was taken from it. */
export const VMI_CYCLES_REAL = 0;
export const VMI_CYCLES_AVAILABLE = 1;
export const VMI_CYCLES_STOLEN = 2;
