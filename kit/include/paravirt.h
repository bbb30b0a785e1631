/*
 * The guest's half of every hypervisor's interface, for kernels for x86-64: one table of operations, filled with what bare
 * hardware does and changed by a file for each hypervisor. See README.md.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Masks of processors have a bit for each. */
#define PV_MAX_CPUS 64

/* Vectors of interrupts that the kit takes for itself; the kernel may have 32 to 0xdf. */
#define PV_TIMER_VECTOR 0xec
#define PV_FLUSH_VECTOR 0xed
#define PV_XEN_VECTOR 0xf3
#define PV_SPURIOUS_VECTOR 0xff

/* ---- What the loader said --------------------------------------------------------------------------------------------- */

/* Under Xen PV only the image and half a MiB behind it are mapped at the start, whatever RAM there is. */
struct pv_range {
  uint64_t start, size;
  uint32_t type; /* as in the BIOS's E820: 1 is RAM */
};

struct pv_module {
  uint64_t start, size;
};

#define PV_MAX_RANGES 32
#define PV_MAX_MODULES 8

struct pv_boot_info {
  const char *entry; /* "PVH", "multiboot", "Linux" or "Xen PV": how the kernel was entered; null if by itself */
  char command_line[1024];
  uint64_t rsdp; /* the ACPI root pointer's physical address; 0: look for it */
  uint64_t boot_params; /* of Linux's, by the entry of that name; 0: none. A Jailhouse cell is described there */
  unsigned ranges, modules;
  struct pv_range range[PV_MAX_RANGES];
  struct pv_module module[PV_MAX_MODULES];
};

/* ---- Processors ------------------------------------------------------------------------------------------------------- */

struct pv_cpu {
  struct pv_cpu *self; /* at GS:0 */
  uint32_t id;         /* 0 is the one that was started first; a place in pv_cpus */
  uint32_t apic_id;
  uint32_t uid;        /* as ACPI numbers it, and Xen */
  uint32_t vp_index;   /* as Hyper-V numbers it */
  volatile uint32_t online;
  void *stack_top;
  void (*entry)(void);
};

extern struct pv_cpu pv_cpus[PV_MAX_CPUS];

/* The processor that executes this. */
static inline struct pv_cpu *pv_this_cpu(void) {
  struct pv_cpu *cpu;
  __asm__ volatile("mov %%gs:0, %0" : "=r"(cpu));
  return cpu;
}

/* ---- The table -------------------------------------------------------------------------------------------------------- */

/*
 * In pv_native, an operation that this machine cannot do natively is null. In pv_ops none is. Times are nanoseconds. Masks of
 * processors have bit N for pv_cpus[N].
 */
struct pv_ops {
  struct {
    void (*console_write)(const char *text, size_t length);
    void (*power_off)(void); /* does not return */
  } boot;
  struct {
    /* Removes the translation of `address` from the TLBs of other processors, which must have interrupts open. */
    void (*flush_tlb)(uint64_t cpus, const void *address);
  } mmu;
  struct {
    void (*enable)(void);
    void (*disable)(void);
    bool (*is_open)(void); /* whether interrupts may come */
    void (*halt)(void); /* opens interrupts and waits for one, without a gap between the two */
    void (*end)(void);  /* of an interrupt: the kit calls it behind each handler */
    void (*send_ipi)(uint64_t cpus, uint8_t vector);
  } irq;
  struct {
    uint64_t (*clock)(void);            /* never goes back; starts anywhere */
    uint64_t (*wall_clock)(void);       /* since 1970 */
    void (*set_timer)(uint64_t at);     /* one PV_TIMER_VECTOR on this processor when clock() is `at`; 0: none */
    uint64_t (*steal_clock)(unsigned cpu); /* for how long this processor wanted to execute and could not */
  } time;
  struct {
    unsigned (*count)(void);
    /* Has a processor call `entry` on its stack, with interrupts closed. False if it could not be started. */
    bool (*start)(unsigned cpu, void (*entry)(void), void *stack_top);
    void (*yield)(unsigned to); /* a hint: `to` has what is being waited for */
    /* Waits while *word is `value`; whoever changes it then kicks. */
    void (*wait)(volatile uint32_t *word, uint32_t value);
    void (*kick)(unsigned cpu);
  } smp;
};

extern struct pv_ops pv_ops;
extern struct pv_ops pv_native;
/* Who is underneath: "bare hardware", "KVM", "VMware", "Hyper-V", "Xen PVH", "Xen HVM", "Xen PV", "ACRN" or "Jailhouse". */
extern const char *pv_name;

/* The name of the function that an operation of pv_ops is: PV_OP_NAME(time.clock). */
extern const char *pv_op_names[sizeof(struct pv_ops) / sizeof(void *)];
#define PV_OP_NAME(op) pv_op_names[offsetof(struct pv_ops, op) / sizeof(void *)]

/* ---- What a kernel calls ---------------------------------------------------------------------------------------------- */

/*
 * Finds the hypervisor, fills the tables and takes over interrupts of this processor, which stay closed. The entries of
 * entry.S have called it before they call pv_main; a kernel with an entry of its own calls it first. Memory below 4 GiB must
 * be mapped where it is physically, with a mapping that can be written.
 */
void pv_init(const struct pv_boot_info *boot);

/* The kernel's: called on the first processor by the entries of entry.S. */
void pv_main(const struct pv_boot_info *boot);

/* Who is called for an interrupt, on any processor, with interrupts closed. */
void pv_handle(uint8_t vector, void (*handler)(void));

/* What the processor's time-stamp counter counts in a second. */
uint64_t pv_tsc_frequency(void);

static inline uint64_t pv_rdtsc(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return (uint64_t)high << 32 | low;
}

/* Closes interrupts, for a lock that handlers take too. @returns what pv_restore takes */
static inline bool pv_close(void) {
  bool was_open = pv_ops.irq.is_open();
  pv_ops.irq.disable();
  return was_open;
}
static inline void pv_restore(bool was_open) {
  if (was_open) pv_ops.irq.enable();
}

static inline void pv_pause(void) { __asm__ volatile("pause" : : : "memory"); }

/*
 * Text on the console, at once; any processor may call it, a handler too. \n becomes \r\n where that matters. %s, %c,
 * %u (unsigned), %lu, %x, %lx; a width, and - for left.
 */
void pv_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#ifdef __cplusplus
}
#endif
