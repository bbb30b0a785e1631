/* What the kit's files share, and no kernel needs. */
#pragma once
#include <interface.h>
#include <paravirt.h>

/* A hypervisor: how it is known, and what it changes in pv_ops. */
struct pv_hypervisor {
  const char *name;
  bool (*detect)(void);
  void (*init)(void);     /* on the first processor */
  void (*init_cpu)(void); /* on each processor, with its own pv_this_cpu(); may be null */
};

extern const struct pv_hypervisor pv_kvm, pv_vmware, pv_hyperv, pv_acrn, pv_jailhouse, pv_xen_hvm, pv_xen_pv;
/* The entry that was taken is Xen's own: nothing privileged can be executed. */
extern struct start_info *pv_xen_start_info;
extern bool pv_is_pvh;
bool pv_is_xen(void);
void pv_xen_memory_map(struct pv_boot_info *info);

/* States a difference: PV_SET(time.clock, kvm_clock). */
#define PV_SET(op, function) (pv_ops.op = (function), PV_OP_NAME(op) = #function)

/* ---- native.c, apic.c, acpi.c ----------------------------------------------------------------------------------------- */

void pv_native_init(const struct pv_boot_info *boot);
/* Hertz, where a hypervisor knows them; 0: to be measured. */
extern uint64_t pv_known_tsc_frequency, pv_known_apic_frequency;
uint64_t native_clock(void);
void native_flush_tlb(uint64_t cpus, const void *address);
void native_send_ipi(uint64_t cpus, uint8_t vector);
void native_end(void);
void native_set_timer(uint64_t at);
/* @returns true if the timer has rung before its time, which a short counter does: it is set again */
bool pv_apic_timer_is_early(void);
void native_halt(void);
bool native_start(unsigned cpu, void (*entry)(void), void *stack_top);
void pv_apic_init(void);     /* finds out how the local APIC is reached */
void pv_apic_init_cpu(void); /* opens this processor's */
uint32_t pv_apic_id(void);
bool pv_has_apic(void);
/* Fills pv_cpus behind the first. @returns how many processors there are */
unsigned pv_acpi_init(uint64_t rsdp);
/* Switches the machine off, if ACPI says how. */
void pv_acpi_power_off(void);
extern unsigned pv_cpu_count;

/* ---- jailhouse.c: asked before anything else is touched, for what is not a cell's ends it ------------------------------- */

/* @param boot_params Linux's, or 0. @returns true if this is a cell that says what it has */
bool pv_find_cell(uint64_t boot_params);
bool pv_is_cell(void);
bool pv_cell_has_uart(void);
/* Fills pv_cpus behind the first. @returns how many processors there are */
unsigned pv_cell_processors(void);

/* ---- interrupts.c ----------------------------------------------------------------------------------------------------- */

/* What the stubs of processor.S leave on the stack. */
struct pv_frame {
  uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
  uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
void pv_load_idt(void);
void pv_interrupt(struct pv_frame *frame);
/* Calls the handler of a vector, without an end of interrupt. */
void pv_dispatch(uint8_t vector);
/* Called on each processor but the first, from processor.S. */
void pv_secondary(struct pv_cpu *cpu) __attribute__((noreturn));
/* Called by whoever starts another processor: the page tables and features of the one are the other's, too. */
void pv_note_starter(void);
void pv_boot(uint32_t entry, uint64_t information) __attribute__((noreturn));
void pv_die(const char *what) __attribute__((noreturn));

/* ---- print.c ---------------------------------------------------------------------------------------------------------- */

/* Prints although whoever printed was interrupted for good. */
void pv_print_anyway(void);

/* ---- pvclock.c -------------------------------------------------------------------------------------------------------- */

/* Nanoseconds, from a record that KVM or Xen keeps. */
uint64_t pv_read_pvclock(volatile const uint8_t *record);
/* Hertz of the TSC, from the same. */
uint64_t pv_pvclock_frequency(volatile const uint8_t *record);
/* What came last from any processor, so that time never goes back. */
uint64_t pv_monotonic(uint64_t now);

/* ---- Instructions ----------------------------------------------------------------------------------------------------- */

struct pv_cpuid {
  uint32_t eax, ebx, ecx, edx;
};
static inline struct pv_cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
  struct pv_cpuid r;
  __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
  return r;
}
static inline uint64_t rdmsr(uint32_t index) {
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index) : "memory");
  return (uint64_t)high << 32 | low;
}
static inline void wrmsr(uint32_t index, uint64_t value) {
  __asm__ volatile("wrmsr" : : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}
static inline uint8_t inb(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline void outb(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void outw(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline uint64_t flags_register(void) {
  uint64_t flags;
  __asm__ volatile("pushfq; pop %0" : "=r"(flags));
  return flags;
}
static inline void invlpg(const void *address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }
static inline bool interrupts_open(void) { return flags_register() & 1 << 9; }

static inline uint32_t load32(volatile const void *at) { return *(volatile const uint32_t *)at; }
static inline uint64_t load64(volatile const void *at) { return *(volatile const uint64_t *)at; }
static inline void store32(volatile void *at, uint32_t value) { *(volatile uint32_t *)at = value; }
static inline void store64(volatile void *at, uint64_t value) { *(volatile uint64_t *)at = value; }

/* For each processor of a mask. */
#define FOR_EACH_CPU(cpu, mask) \
  for (uint64_t mask_of_##cpu = (mask); mask_of_##cpu; mask_of_##cpu &= mask_of_##cpu - 1) \
    for (unsigned once = 1, cpu = __builtin_ctzll(mask_of_##cpu); once; once = 0)

/* The leaf at which a signature of CPUID stands, 0 if nowhere. */
uint32_t pv_cpuid_base(const char *signature, uint32_t least_leaves);
/* True on a processor where a call is VMMCALL (AMD's and Hygon's), not VMCALL. */
extern bool pv_uses_vmmcall;
