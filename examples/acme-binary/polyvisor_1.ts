/** Version 1.3 of Polyvisor's binary interface for hypervisors: see docs/write-a-hypervisor.md. Made by npm run docs. */

/** A register. */
export declare function get_register(cpu: i32, register: i32): i64;
/** Sets one, unchecked. */
export declare function set_register(cpu: i32, register: i32, value: i64): void;
/** Writes 24 bytes to `into`. */
export declare function get_segment(cpu: i32, segment: i32, into: usize): void;
/** Reads them from `from`. */
export declare function set_segment(cpu: i32, segment: i32, from: usize): void;
/** CPL, 0-3. */
export declare function privilege_level(cpu: i32): i32;
/** Code size: 16, 32 or 64. */
export declare function code_size(cpu: i32): i32;
/** RAM in bytes. */
export declare function memory_size(): i64;
/** Copies guest-physical memory out. 0: not all of it is RAM, and nothing was copied. */
export declare function read_physical(address: i64, into: usize, length: i32): i32;
/** Copies into guest-physical memory. 0 as above. */
export declare function write_physical(address: i64, from: usize, length: i32): i32;
/** The same through the guest's page tables, with a program's rights if `user` is not 0. */
export declare function read_linear(cpu: i32, linear: i64, into: usize, length: i32, user: i32): i32;
/** All or nothing; 0: nothing. */
export declare function write_linear(cpu: i32, linear: i64, from: usize, length: i32, user: i32): i32;
/** Guest-physical address, or -1. `access`: 1 write, 2 user, 4 execute. */
export declare function translate(cpu: i32, linear: i64, access: i32): i64;
/** Drops one page's translations. */
export declare function invalidate_page(cpu: i32, linear: i64): void;
/** Drops those of the current address space, or all. */
export declare function flush(cpu: i32, all: i32): void;
/** Loads a root without dropping any. */
export declare function switch_root(cpu: i32, cr3: i64): void;
/** Drops those held for a root. */
export declare function flush_root(cpu: i32, cr3: i64): void;
/** Executes one instruction with a write-protected page writable; 1 if it retired. */
export declare function step_with_writable(cpu: i32, page: i64): i32;
/** Within cpu_cpuid: the processor's own answer, EAX, EBX, ECX, EDX, to `into`. */
export declare function cpuid_natively(into: usize): void;
/** Within cpu_cpuid: the answer. cpu_cpuid then returns 1; 0 means: not our leaf. */
export declare function answer_cpuid(eax: i32, ebx: i32, ecx: i32, edx: i32): void;
/** Delivers an exception through the IDT. `code` -1: has none. `address`: for #PF. */
export declare function raise(cpu: i32, vector: i32, code: i32, address: i64): void;
/** Delivers an interrupt, whatever IF says. */
export declare function interrupt(cpu: i32, vector: i32): void;
/** Requests one at the local APIC. */
export declare function request_interrupt(cpu: i32, vector: i32): void;
/** Has the local APIC one to deliver? */
export declare function interrupt_pending(cpu: i32): i32;
/** Takes it: its vector, or -1. */
export declare function acknowledge_interrupt(cpu: i32): i32;
/** As a write to the EOI register. */
export declare function end_of_interrupt(cpu: i32): void;
/** Would nobody miss that write for now? */
export declare function can_defer_end_of_interrupt(cpu: i32): i32;
/** Has irq.deliver asked at the next instruction boundary. */
export declare function attention(cpu: i32): void;
/** Stops executing until an interrupt or `wake`. */
export declare function halt(cpu: i32): void;
/** Ends that. */
export declare function wake(cpu: i32): void;
/** Starts a processor that waits for it: from its registers on. */
export declare function start(cpu: i32): void;
/** It executes nothing after this instruction, until it is started. */
export declare function stop(cpu: i32): void;
/** Does it not wait to be started? */
export declare function started(cpu: i32): i32;
/** Has it the turn: does it, and no other, execute now? */
export declare function running(cpu: i32): i32;
/** Gives the rest of its turn to other processors. */
export declare function yield_turn(cpu: i32): void;
/** Nanoseconds in which it could have executed and did not. */
export declare function waited(cpu: i32): i64;
/** A non-maskable interrupt. */
export declare function nmi(cpu: i32): void;
/** Since the start of the machine. */
export declare function now(): i64;
/** The wall-clock time of that start, since 1970. */
export declare function epoch(): i64;
/** The time-stamp counter. */
export declare function read_tsc(cpu: i32): i64;
/** Its ticks a second. */
export declare function tsc_frequency(cpu: i32): i64;
/** Calls the export `alarm` then; an id. */
export declare function set_alarm(at: i64, token: i32): i32;
/** Unless it has rung. */
export declare function cancel_alarm(id: i32): void;
/** Answers these I/O ports with device_read and device_write. 0: somebody has them. */
export declare function claim_ports(first: i32, count: i32, token: i32): i32;
/** The same for addresses outside RAM. */
export declare function claim_mmio(address: i64, size: i64, token: i32): i32;
/** To the guest's console. */
export declare function console_write(from: usize, length: i32): void;
/** What was typed; the number of bytes. */
export declare function console_read(into: usize, length: i32): i32;
/** A line for --verbose, once each. */
export declare function log(from: usize, length: i32): void;
/** Ends the guest, with a reason. */
export declare function kill(from: usize, length: i32): void;
/** The guest wants it: 0 power off, 1 reset, 2 crash. */
export declare function request(what: i32): void;
