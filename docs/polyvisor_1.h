/* Version 1.3 of Polyvisor's binary interface for hypervisors: see docs/write-a-hypervisor.md. Made by npm run docs. */
#pragma once
#include <stdint.h>

#define POLYVISOR_IMPORT(name) __attribute__((import_module("polyvisor_1"), import_name(#name)))
#define POLYVISOR_EXPORT(name) __attribute__((export_name(#name)))

enum polyvisor_register {
  REGISTER_rax = 0,
  REGISTER_rcx = 1,
  REGISTER_rdx = 2,
  REGISTER_rbx = 3,
  REGISTER_rsp = 4,
  REGISTER_rbp = 5,
  REGISTER_rsi = 6,
  REGISTER_rdi = 7,
  REGISTER_r8 = 8,
  REGISTER_r9 = 9,
  REGISTER_r10 = 10,
  REGISTER_r11 = 11,
  REGISTER_r12 = 12,
  REGISTER_r13 = 13,
  REGISTER_r14 = 14,
  REGISTER_r15 = 15,
  REGISTER_rip = 16,
  REGISTER_flags = 17,
  REGISTER_cr0 = 18,
  REGISTER_cr2 = 19,
  REGISTER_cr3 = 20,
  REGISTER_cr4 = 21,
  REGISTER_cr8 = 22,
  REGISTER_efer = 23,
  REGISTER_dr0 = 24,
  REGISTER_dr1 = 25,
  REGISTER_dr2 = 26,
  REGISTER_dr3 = 27,
  REGISTER_dr6 = 28,
  REGISTER_dr7 = 29,
  REGISTER_fsBase = 30,
  REGISTER_gsBase = 31,
  REGISTER_kernelGsBase = 32,
  REGISTER_star = 33,
  REGISTER_lstar = 34,
  REGISTER_cstar = 35,
  REGISTER_fmask = 36,
  REGISTER_gdtBase = 37,
  REGISTER_gdtLimit = 38,
  REGISTER_idtBase = 39,
  REGISTER_idtLimit = 40,
  REGISTER_ldtBase = 41,
  REGISTER_trBase = 42,
  REGISTER_xcr0 = 43,
  REGISTER_pat = 44,
  REGISTER_tscAux = 45,
};

/* A register. */
POLYVISOR_IMPORT(get_register) int64_t get_register(int32_t cpu, int32_t register);
/* Sets one, unchecked. */
POLYVISOR_IMPORT(set_register) void set_register(int32_t cpu, int32_t register, int64_t value);
/* Writes 24 bytes to `into`. */
POLYVISOR_IMPORT(get_segment) void get_segment(int32_t cpu, int32_t segment, void *into);
/* Reads them from `from`. */
POLYVISOR_IMPORT(set_segment) void set_segment(int32_t cpu, int32_t segment, const void *from);
/* CPL, 0-3. */
POLYVISOR_IMPORT(privilege_level) int32_t privilege_level(int32_t cpu);
/* Code size: 16, 32 or 64. */
POLYVISOR_IMPORT(code_size) int32_t code_size(int32_t cpu);
/* RAM in bytes. */
POLYVISOR_IMPORT(memory_size) int64_t memory_size(void);
/* Copies guest-physical memory out. 0: not all of it is RAM, and nothing was copied. */
POLYVISOR_IMPORT(read_physical) int32_t read_physical(int64_t address, void *into, int32_t length);
/* Copies into guest-physical memory. 0 as above. */
POLYVISOR_IMPORT(write_physical) int32_t write_physical(int64_t address, const void *from, int32_t length);
/* The same through the guest's page tables, with a program's rights if `user` is not 0. */
POLYVISOR_IMPORT(read_linear) int32_t read_linear(int32_t cpu, int64_t linear, void *into, int32_t length, int32_t user);
/* All or nothing; 0: nothing. */
POLYVISOR_IMPORT(write_linear) int32_t write_linear(int32_t cpu, int64_t linear, const void *from, int32_t length, int32_t user);
/* Guest-physical address, or -1. `access`: 1 write, 2 user, 4 execute. */
POLYVISOR_IMPORT(translate) int64_t translate(int32_t cpu, int64_t linear, int32_t access);
/* Drops one page's translations. */
POLYVISOR_IMPORT(invalidate_page) void invalidate_page(int32_t cpu, int64_t linear);
/* Drops those of the current address space, or all. */
POLYVISOR_IMPORT(flush) void flush(int32_t cpu, int32_t all);
/* Loads a root without dropping any. */
POLYVISOR_IMPORT(switch_root) void switch_root(int32_t cpu, int64_t cr3);
/* Drops those held for a root. */
POLYVISOR_IMPORT(flush_root) void flush_root(int32_t cpu, int64_t cr3);
/* Executes one instruction with a write-protected page writable; 1 if it retired. */
POLYVISOR_IMPORT(step_with_writable) int32_t step_with_writable(int32_t cpu, int64_t page);
/* Within cpu_cpuid: the processor's own answer, EAX, EBX, ECX, EDX, to `into`. */
POLYVISOR_IMPORT(cpuid_natively) void cpuid_natively(void *into);
/* Within cpu_cpuid: the answer. cpu_cpuid then returns 1; 0 means: not our leaf. */
POLYVISOR_IMPORT(answer_cpuid) void answer_cpuid(int32_t eax, int32_t ebx, int32_t ecx, int32_t edx);
/* Delivers an exception through the IDT. `code` -1: has none. `address`: for #PF. */
POLYVISOR_IMPORT(raise) void raise(int32_t cpu, int32_t vector, int32_t code, int64_t address);
/* Delivers an interrupt, whatever IF says. */
POLYVISOR_IMPORT(interrupt) void interrupt(int32_t cpu, int32_t vector);
/* Requests one at the local APIC. */
POLYVISOR_IMPORT(request_interrupt) void request_interrupt(int32_t cpu, int32_t vector);
/* Has the local APIC one to deliver? */
POLYVISOR_IMPORT(interrupt_pending) int32_t interrupt_pending(int32_t cpu);
/* Takes it: its vector, or -1. */
POLYVISOR_IMPORT(acknowledge_interrupt) int32_t acknowledge_interrupt(int32_t cpu);
/* As a write to the EOI register. */
POLYVISOR_IMPORT(end_of_interrupt) void end_of_interrupt(int32_t cpu);
/* Would nobody miss that write for now? */
POLYVISOR_IMPORT(can_defer_end_of_interrupt) int32_t can_defer_end_of_interrupt(int32_t cpu);
/* Has irq.deliver asked at the next instruction boundary. */
POLYVISOR_IMPORT(attention) void attention(int32_t cpu);
/* Stops executing until an interrupt or `wake`. */
POLYVISOR_IMPORT(halt) void halt(int32_t cpu);
/* Ends that. */
POLYVISOR_IMPORT(wake) void wake(int32_t cpu);
/* Starts a processor that waits for it: from its registers on. */
POLYVISOR_IMPORT(start) void start(int32_t cpu);
/* It executes nothing after this instruction, until it is started. */
POLYVISOR_IMPORT(stop) void stop(int32_t cpu);
/* Does it not wait to be started? */
POLYVISOR_IMPORT(started) int32_t started(int32_t cpu);
/* Has it the turn: does it, and no other, execute now? */
POLYVISOR_IMPORT(running) int32_t running(int32_t cpu);
/* Gives the rest of its turn to other processors. */
POLYVISOR_IMPORT(yield_turn) void yield_turn(int32_t cpu);
/* Nanoseconds in which it could have executed and did not. */
POLYVISOR_IMPORT(waited) int64_t waited(int32_t cpu);
/* A non-maskable interrupt. */
POLYVISOR_IMPORT(nmi) void nmi(int32_t cpu);
/* Since the start of the machine. */
POLYVISOR_IMPORT(now) int64_t now(void);
/* The wall-clock time of that start, since 1970. */
POLYVISOR_IMPORT(epoch) int64_t epoch(void);
/* The time-stamp counter. */
POLYVISOR_IMPORT(read_tsc) int64_t read_tsc(int32_t cpu);
/* Its ticks a second. */
POLYVISOR_IMPORT(tsc_frequency) int64_t tsc_frequency(int32_t cpu);
/* Calls the export `alarm` then; an id. */
POLYVISOR_IMPORT(set_alarm) int32_t set_alarm(int64_t at, int32_t token);
/* Unless it has rung. */
POLYVISOR_IMPORT(cancel_alarm) void cancel_alarm(int32_t id);
/* Answers these I/O ports with device_read and device_write. 0: somebody has them. */
POLYVISOR_IMPORT(claim_ports) int32_t claim_ports(int32_t first, int32_t count, int32_t token);
/* The same for addresses outside RAM. */
POLYVISOR_IMPORT(claim_mmio) int32_t claim_mmio(int64_t address, int64_t size, int32_t token);
/* To the guest's console. */
POLYVISOR_IMPORT(console_write) void console_write(const void *from, int32_t length);
/* What was typed; the number of bytes. */
POLYVISOR_IMPORT(console_read) int32_t console_read(void *into, int32_t length);
/* A line for --verbose, once each. */
POLYVISOR_IMPORT(log) void log(const void *from, int32_t length);
/* Ends the guest, with a reason. */
POLYVISOR_IMPORT(kill) void kill(const void *from, int32_t length);
/* The guest wants it: 0 power off, 1 reset, 2 crash. */
POLYVISOR_IMPORT(request) void request(int32_t what);

/* What may be exported: define those that the manifest names. */
POLYVISOR_EXPORT(cpu_cpuid) int32_t cpu_cpuid(int32_t cpu, int32_t leaf, int32_t subleaf);
POLYVISOR_EXPORT(cpu_hypercall) int32_t cpu_hypercall(int32_t cpu);
POLYVISOR_EXPORT(cpu_syscall) void cpu_syscall(int32_t cpu);
POLYVISOR_EXPORT(mmu_pageFault) int32_t mmu_pageFault(int32_t cpu, int32_t vector, int32_t code, int64_t address);
POLYVISOR_EXPORT(irq_exception) int32_t irq_exception(int32_t cpu, int32_t vector, int32_t code, int64_t address);
POLYVISOR_EXPORT(irq_softwareInterrupt) void irq_softwareInterrupt(int32_t cpu, int32_t vector, int64_t next);
POLYVISOR_EXPORT(irq_deliver) int32_t irq_deliver(int32_t cpu);
POLYVISOR_EXPORT(irq_pending) int32_t irq_pending(int32_t cpu);
POLYVISOR_EXPORT(irq_halt) void irq_halt(int32_t cpu);
POLYVISOR_EXPORT(irq_delivered) void irq_delivered(int32_t cpu, int32_t vector);
POLYVISOR_EXPORT(irq_catchUp) void irq_catchUp(int32_t cpu);
POLYVISOR_EXPORT(time_resumed) void time_resumed(int32_t cpu, int64_t nanoseconds);
POLYVISOR_EXPORT(time_tscMoved) void time_tscMoved(int32_t cpu);
POLYVISOR_EXPORT(smp_startUp) int32_t smp_startUp(int32_t cpu, int32_t vector);
POLYVISOR_EXPORT(smp_scheduledIn) void smp_scheduledIn(int32_t cpu);
POLYVISOR_EXPORT(smp_scheduledOut) void smp_scheduledOut(int32_t cpu);
