/**
 * What a binary can do: the functions it may import, all of them. A name, its parameters and result, what it does, and
 * how. They see the guest through the waist's contract of a processor and copy between the guest's memory and the
 * binary's; there is no other way out. docs/write-a-hypervisor.md has this table. A new function is an entry here and a
 * new minor version in abi.ts.
 */
import type { Exception } from '../paravirt/processor.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import * as vectors from '../x86/vectors.ts';
import { NO_CODE, type Wire } from './abi.ts';
import type { BinaryGuest } from './binary-guest.ts';

export interface Import {
  parameters: readonly (readonly [name: string, type: Wire])[];
  result: Wire | undefined;
  does: string;
  // biome-ignore lint/suspicious/noExplicitAny: numbers and bigints, as `parameters` says
  call(guest: BinaryGuest, ...values: any[]): unknown;
}

/** `'cpu i32, value i64 > i64'`, and what stands in the table. */
function entry(signature: string, does: string, call: Import['call']): Import {
  const [before, result] = signature.split('>').map(part => part.trim());
  const parameters = before === '' ? [] : before.split(', ').map(part => part.split(' ') as [string, Wire]);
  return { parameters, result: result ? (result as Wire) : undefined, does, call };
}

const u32 = (value: number) => value >>> 0;
const u64 = (value: bigint) => BigInt.asUintN(64, value);

/**
 * Layout of a segment in the binary's memory: base u64, limit u32, attributes u32, selector u16, 6 bytes of nothing.
 */
const SEGMENT_SIZE = 24;
const CPUID_SIZE = 16;
const REQUESTS = ['power-off', 'reset', 'crash'] as const;

export const imports: Readonly<Record<string, Import>> = {
  // Registers.
  get_register: entry('cpu i32, register i32 > i64', 'A register.', (guest, cpu, register) =>
    guest.processor(cpu).get(guest.register(register)),
  ),
  set_register: entry('cpu i32, register i32, value i64', 'Sets one, unchecked.', (guest, cpu, register, value) =>
    guest.processor(cpu).set(guest.register(register), u64(value)),
  ),
  get_segment: entry('cpu i32, segment i32, into i32', 'Writes 24 bytes to `into`.', (guest, cpu, segment, into) => {
    const { selector, base, limit, attributes } = guest.processor(cpu).segment(guest.segment(segment));
    const view = guest.view(into, SEGMENT_SIZE);
    view.setBigUint64(0, base, true);
    view.setUint32(8, limit, true);
    view.setUint32(12, attributes, true);
    view.setUint16(16, selector, true);
  }),
  set_segment: entry('cpu i32, segment i32, from i32', 'Reads them from `from`.', (guest, cpu, segment, from) => {
    const view = guest.view(from, SEGMENT_SIZE);
    guest.processor(cpu).setSegment(guest.segment(segment), {
      base: view.getBigUint64(0, true),
      limit: view.getUint32(8, true),
      attributes: view.getUint32(12, true),
      selector: view.getUint16(16, true),
    });
  }),
  privilege_level: entry('cpu i32 > i32', 'CPL, 0-3.', (guest, cpu) => guest.processor(cpu).cpl),
  code_size: entry('cpu i32 > i32', 'Code size: 16, 32 or 64.', (guest, cpu) => guest.processor(cpu).mode),

  // The guest's memory, by copy.
  memory_size: entry('> i64', 'RAM in bytes.', guest => BigInt(guest.context.memory.size)),
  read_physical: entry(
    'address i64, into i32, length i32 > i32',
    'Copies guest-physical memory out. 0: not all of it is RAM, and nothing was copied.',
    (guest, address, into, length) => {
      const target = guest.bytes(into, length);
      const at = guest.ram(address, target.length);
      if (at === undefined) return 0;
      target.set(guest.context.memory.bytes.subarray(at, at + target.length));
      return 1;
    },
  ),
  write_physical: entry(
    'address i64, from i32, length i32 > i32',
    'Copies into guest-physical memory. 0 as above.',
    (guest, address, from, length) => {
      const source = guest.bytes(from, length);
      const at = guest.ram(address, source.length);
      if (at === undefined) return 0;
      guest.context.memory.copyIn(at, source);
      return 1;
    },
  ),
  read_linear: entry(
    'cpu i32, linear i64, into i32, length i32, user i32 > i32',
    "The same through the guest's page tables, with a program's rights if `user` is not 0.",
    (guest, cpu, linear, into, length, user) => {
      const target = guest.bytes(into, length);
      const data = guest.processor(cpu).read(u64(linear), target.length, { user: user !== 0 });
      if (data) target.set(data);
      return data ? 1 : 0;
    },
  ),
  write_linear: entry(
    'cpu i32, linear i64, from i32, length i32, user i32 > i32',
    'All or nothing; 0: nothing.',
    (guest, cpu, linear, from, length, user) =>
      guest.processor(cpu).write(u64(linear), guest.bytes(from, length), { user: user !== 0 }) ? 1 : 0,
  ),
  translate: entry(
    'cpu i32, linear i64, access i32 > i64',
    'Guest-physical address, or -1. `access`: 1 write, 2 user, 4 execute.',
    (guest, cpu, linear, access) => {
      const rights = { write: (access & 1) !== 0, user: (access & 2) !== 0, execute: (access & 4) !== 0 };
      const physical = guest.processor(cpu).translate(u64(linear), rights);
      return typeof physical === 'number' ? BigInt(physical) : -1n;
    },
  ),
  invalidate_page: entry('cpu i32, linear i64', "Drops one page's translations.", (guest, cpu, linear) =>
    guest.processor(cpu).invalidatePage(u64(linear)),
  ),
  flush: entry('cpu i32, all i32', 'Drops those of the current address space, or all.', (guest, cpu, all) =>
    guest.processor(cpu).flush(all !== 0),
  ),
  switch_root: entry('cpu i32, cr3 i64', 'Loads a root without dropping any.', (guest, cpu, cr3) =>
    guest.processor(cpu).switchRoot(u64(cr3)),
  ),
  flush_root: entry('cpu i32, cr3 i64', 'Drops those held for a root.', (guest, cpu, cr3) =>
    guest.processor(cpu).flushRoot(u64(cr3)),
  ),
  step_with_writable: entry(
    'cpu i32, page i64 > i32',
    'Executes one instruction with a write-protected page writable; 1 if it retired.',
    (guest, cpu, page) => {
      const at = guest.ram(page, PAGE_SIZE);
      if (at === undefined || at % PAGE_SIZE !== 0) throw new Error('step_with_writable: no page of RAM');
      return guest.processor(cpu).stepWithWritable(at) ? 1 : 0;
    },
  ),

  // CPUID.
  cpuid_natively: entry(
    'into i32',
    "Within cpu_cpuid: the processor's own answer, EAX, EBX, ECX, EDX, to `into`.",
    (guest, into) => {
      const { natively } = guest.frame;
      if (!natively) throw new Error('cpuid_natively is for cpu_cpuid alone');
      const { eax, ebx, ecx, edx } = natively();
      const view = guest.view(into, CPUID_SIZE);
      for (const [index, value] of [eax, ebx, ecx, edx].entries()) view.setUint32(4 * index, value, true);
    },
  ),
  answer_cpuid: entry(
    'eax i32, ebx i32, ecx i32, edx i32',
    'Within cpu_cpuid: the answer. cpu_cpuid then returns 1; 0 means: not our leaf.',
    (guest, eax, ebx, ecx, edx) => {
      guest.frame.cpuid = { eax: u32(eax), ebx: u32(ebx), ecx: u32(ecx), edx: u32(edx) };
    },
  ),

  // Exceptions and interrupts.
  raise: entry(
    'cpu i32, vector i32, code i32, address i64',
    'Delivers an exception through the IDT. `code` -1: has none. `address`: for #PF.',
    (guest, cpu, vector, code, address) => {
      const exception: Exception = { vector: guest.vector(vector, 31) };
      if (code !== NO_CODE) exception.code = u32(code);
      if (vector === vectors.PF) exception.address = u64(address);
      guest.processor(cpu).raise(exception);
    },
  ),
  interrupt: entry('cpu i32, vector i32', 'Delivers an interrupt, whatever IF says.', (guest, cpu, vector) =>
    guest.processor(cpu).interrupt(guest.vector(vector, 255)),
  ),
  request_interrupt: entry('cpu i32, vector i32', 'Requests one at the local APIC.', (guest, cpu, vector) =>
    guest.processor(cpu).interrupts?.request(guest.vector(vector, 255)),
  ),
  interrupt_pending: entry('cpu i32 > i32', 'Has the local APIC one to deliver?', (guest, cpu) =>
    guest.processor(cpu).interrupts?.pending() ? 1 : 0,
  ),
  acknowledge_interrupt: entry(
    'cpu i32 > i32',
    'Takes it: its vector, or -1.',
    (guest, cpu) => guest.processor(cpu).interrupts?.acknowledge() ?? -1,
  ),
  end_of_interrupt: entry('cpu i32', 'As a write to the EOI register.', (guest, cpu) =>
    guest.processor(cpu).interrupts?.endOfInterrupt(),
  ),
  can_defer_end_of_interrupt: entry('cpu i32 > i32', 'Would nobody miss that write for now?', (guest, cpu) =>
    guest.processor(cpu).interrupts?.canDeferEndOfInterrupt() ? 1 : 0,
  ),
  attention: entry('cpu i32', 'Has irq.deliver asked at the next instruction boundary.', (guest, cpu) =>
    guest.processor(cpu).attention(),
  ),
  halt: entry('cpu i32', 'Stops executing until an interrupt or `wake`.', (guest, cpu) => guest.processor(cpu).halt()),
  wake: entry('cpu i32', 'Ends that.', (guest, cpu) => guest.processor(cpu).wake()),
  start: entry('cpu i32', 'Starts a processor that waits for it: from its registers on.', (guest, cpu) =>
    guest.processor(cpu).start(),
  ),
  stop: entry('cpu i32', 'It executes nothing after this instruction, until it is started.', (guest, cpu) =>
    guest.processor(cpu).stop(),
  ),
  started: entry('cpu i32 > i32', 'Does it not wait to be started?', (guest, cpu) =>
    guest.processor(cpu).started ? 1 : 0,
  ),
  running: entry('cpu i32 > i32', 'Has it the turn: does it, and no other, execute now?', (guest, cpu) =>
    guest.processor(cpu).running ? 1 : 0,
  ),
  yield_turn: entry('cpu i32', 'Gives the rest of its turn to other processors.', (guest, cpu) =>
    guest.processor(cpu).yield(),
  ),
  waited: entry('cpu i32 > i64', 'Nanoseconds in which it could have executed and did not.', (guest, cpu) =>
    BigInt(Math.floor(guest.processor(cpu).waited)),
  ),
  nmi: entry('cpu i32', 'A non-maskable interrupt.', (guest, cpu) => guest.processor(cpu).nmi()),

  // Time, in nanoseconds.
  now: entry('> i64', 'Since the start of the machine.', guest => BigInt(Math.floor(guest.context.clock.now()))),
  epoch: entry('> i64', 'The wall-clock time of that start, since 1970.', guest => guest.context.clock.epoch),
  read_tsc: entry('cpu i32 > i64', 'The time-stamp counter.', (guest, cpu) => guest.processor(cpu).tsc.read()),
  tsc_frequency: entry('cpu i32 > i64', 'Its ticks a second.', (guest, cpu) =>
    BigInt(Math.floor(guest.processor(cpu).tsc.frequency)),
  ),
  set_alarm: entry('at i64, token i32 > i32', 'Calls the export `alarm` then; an id.', (guest, at, token) =>
    guest.setAlarm(Number(at), token),
  ),
  cancel_alarm: entry('id i32', 'Unless it has rung.', (guest, id) => guest.cancelAlarm(id)),

  // Devices of its own.
  claim_ports: entry(
    'first i32, count i32, token i32 > i32',
    'Answers these I/O ports with device_read and device_write. 0: somebody has them.',
    (guest, first, count, token) => guest.claim('ports', BigInt(u32(first)), BigInt(u32(count)), token),
  ),
  claim_mmio: entry(
    'address i64, size i64, token i32 > i32',
    'The same for addresses outside RAM.',
    (guest, address, size, token) => guest.claim('mmio', u64(address), u64(size), token),
  ),
  console_write: entry('from i32, length i32', "To the guest's console.", (guest, from, length) =>
    guest.context.console.write(guest.bytes(from, length).slice()),
  ),
  console_read: entry('into i32, length i32 > i32', 'What was typed; the number of bytes.', (guest, into, length) =>
    guest.takeTyped(guest.bytes(into, length)),
  ),

  // The machine.
  log: entry('from i32, length i32', 'A line for --verbose, once each.', (guest, from, length) =>
    guest.log(guest.text(from, length)),
  ),
  kill: entry('from i32, length i32', 'Ends the guest, with a reason.', (guest, from, length) =>
    guest.kill(guest.text(from, length)),
  ),
  request: entry('what i32', 'The guest wants it: 0 power off, 1 reset, 2 crash.', (guest, what) => {
    const known = REQUESTS[what];
    if (!known) throw new Error(`request: there is no ${what}`);
    guest.context.request(known);
  }),
};
