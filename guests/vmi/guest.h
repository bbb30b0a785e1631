/*
 * What the parts of the guest share. VMI's numbers and structures: Linux 2.6.32, arch/x86/include/asm/vmi.h. All functions take
 * their first three arguments in EAX, EDX and ECX (-mregparm=3), which is VMI's convention as well.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define ARRAY(name) (sizeof name / sizeof name[0])
#define VIRTUAL_BASE 0xc0000000u
#define PAGE 4096u
static inline u32 physical(const void *address) { return (u32)address - VIRTUAL_BASE; }
static inline u32 page_of(const void *address) { return physical(address) / PAGE; }

/* Segments, at Linux's places. */
#define KERNEL_CS 0x60
#define KERNEL_DS 0x68
#define USER_CS 0x73
#define USER_DS 0x7b
#define TSS 0x80
#define LDT 0x88
#define PER_CPU 0xd8

/* Vectors: the 8259s' first input, and the local timer's as Linux has it. */
#define VECTOR_IRQ0 0x30
#define VECTOR_LVTT 0x41
#define VECTOR_SYSTEM_CALL 0x80

#define FLAG_IF 0x200

enum {
  VMI_CPUID, VMI_WRMSR, VMI_RDMSR, VMI_SetGDT, VMI_SetLDT, VMI_SetIDT, VMI_SetTR, VMI_GetGDT, VMI_GetLDT, VMI_GetIDT,
  VMI_GetTR, VMI_WriteGDTEntry, VMI_WriteLDTEntry, VMI_WriteIDTEntry, VMI_UpdateKernelStack,
  VMI_SetCR0, VMI_SetCR2, VMI_SetCR3, VMI_SetCR4, VMI_GetCR0, VMI_GetCR2, VMI_GetCR3, VMI_GetCR4,
  VMI_WBINVD, VMI_SetDR, VMI_GetDR, VMI_RDPMC, VMI_RDTSC, VMI_CLTS,
  VMI_EnableInterrupts, VMI_DisableInterrupts, VMI_GetInterruptMask, VMI_SetInterruptMask,
  VMI_IRET, VMI_SYSEXIT, VMI_Halt, VMI_Reboot, VMI_Shutdown,
  VMI_SetPxE, VMI_SetPxELong, VMI_UpdatePxE, VMI_UpdatePxELong, VMI_MachineToPhysical, VMI_PhysicalToMachine,
  VMI_AllocatePage, VMI_ReleasePage, VMI_InvalPage, VMI_FlushTLB, VMI_SetLinearMapping,
  VMI_INL, VMI_INB, VMI_INW, VMI_INSL, VMI_INSB, VMI_INSW, VMI_OUTL, VMI_OUTB, VMI_OUTW, VMI_OUTSL, VMI_OUTSB, VMI_OUTSW,
  VMI_SetIOPLMask, VMI_SetInitialAPState, VMI_APICWrite, VMI_APICRead, VMI_IODelay,
  VMI_GetCycleFrequency, VMI_GetCycleCounter, VMI_SetAlarm, VMI_CancelAlarm, VMI_GetWallclockTime, VMI_WallclockUpdated,
  VMI_SetCallbacks, VMI_SetLazyMode, VMI_CALLS
};

#define RELOCATION_NONE 0
#define RELOCATION_CALL 1
#define RELOCATION_JUMP 2
#define RELOCATION_NOP 3

#define PAGE_PT 1
#define PAGE_PD 2
#define PAGE_CURRENT_AS 0x10
#define PAGE_CLONE 0x20
#define PAGE_ZEROED 0x40
#ifdef PAE
#define PAGE_PAE 0x10
typedef u64 pte_t;
#else
#define PAGE_PAE 0
typedef u32 pte_t;
#endif
#define ENTRIES (PAGE / sizeof(pte_t))

#define CYCLES_REAL 0
#define CYCLES_AVAILABLE 1
#define CYCLES_STOLEN 2
#define ALARM_PERIODIC 0x100
#define ALARM_LVTT 0x10000

/* entry.S */
struct registers { u32 eax, ecx, edx, ebx, esi, edi, ebp; };
/* Calls `function` with these registers and up to four words on its stack; afterwards they are what it left. */
void call_with(struct registers *registers, u32 function, const u32 *stack);
/* Runs user code from its start to its system call FINISH. @returns EBX then */
u32 enter_user(u32 eip, u32 esp, u32 cs);
extern u8 return_site[], user_finished[], user_code[], user_code_end[], boot_stack_top[], trap_stack_top[], sysenter_entry[], vectors[];
extern pte_t boot_directory[], boot_pointers[];
extern u64 gdt[];
extern u32 multiboot_information;

struct frame {
  u32 fs, es, ds, edi, esi, ebp, unused, ebx, edx, ecx, eax, vector, code, eip, cs, flags, esp, ss;
};

/* Operations at which the kernel's code is patched: what is called there before and, patched or not, afterwards. */
struct operations { u32 save_flags, restore_flags, disable, enable, iret, sysexit; };
extern struct operations operations;
enum { SITE_SAVE_FLAGS, SITE_RESTORE_FLAGS, SITE_DISABLE, SITE_ENABLE, SITE_IRET, SITE_SYSEXIT };
struct site { u32 address; u8 operation, length; u16 clobbers; };
extern struct site parainstructions[], parainstructions_end[];

/* A place in C that is patched: an indirect call, and a record of where it is. */
#define SITE(operation, number)                                                                         \
  "771: call *" operation "\n772:\n"                                                                    \
  ".pushsection .parainstructions, \"a\"\n.long 771b\n.byte " #number ", 772b - 771b\n.short 7\n.popsection\n"
static inline u32 save_flags(void) {
  u32 flags;
  asm volatile(SITE("operations", 0) : "=a"(flags) : : "ecx", "edx", "memory", "cc");
  return flags;
}
static inline void restore_flags(u32 flags) {
  asm volatile(SITE("operations + 4", 1) : "+a"(flags) : : "ecx", "edx", "memory", "cc");
}
static inline void disable(void) { asm volatile(SITE("operations + 8", 2) : : : "eax", "ecx", "edx", "memory", "cc"); }
static inline void enable(void) { asm volatile(SITE("operations + 12", 3) : : : "eax", "ecx", "edx", "memory", "cc"); }

/* console.c */
void print(const char *format, ...);
void check(const char *what, int passed);
extern u32 checks, failed;
/* The value of NAME= on the command line, or `otherwise`. */
u32 option(const char *name, u32 otherwise);

/* vmi.c */
int probe(void);
void show_relocations(void);
int activate(void);
u32 relocation(u32 number, u32 *type);
/* The code of a call that has some, 0 otherwise. */
u32 function(u32 number);
/* Makes a call with up to three arguments in registers. @returns EDX:EAX; notes registers that it should not have changed */
u64 vmi(u32 number, u32 eax, u32 edx, u32 ecx);
u64 vmi_stack(u32 number, u32 eax, u32 edx, u32 ecx, u32 first, u32 second);
extern u32 spoiled;

/* traps.c */
void set_up_traps(void);
extern volatile u32 ticks[2], last_vector, system_calls, sysenters;
extern volatile u64 tick_time[2];
extern volatile u32 user_flag;
/* Where a trap goes on that was expected, and where it came from. */
extern volatile u32 fixup, fixed_up;
/* Whether reading the word at `address` faults, with a page fault; the word otherwise. */
int read_faults(const volatile u32 *address, u32 *value);
int vmcall_faults(void);
u64 gate(u32 vector, u32 privilege);
u32 interrupt_table(void);

/* The checks */
void check_processor(void);
void check_descriptors(void);
void check_page_tables(void);
void check_time(void);
void check_user(void);
void check_ports(void);
void lethal(u32 which);

/* In which another processor is to start. */
struct vmi_ap_state {
  u32 cr0, cr2, cr3, cr4;
  u64 efer;
  u32 eip, eflags, eax, ebx, ecx, edx, esp, ebp, esi, edi;
  u16 cs, ss, ds, es, fs, gs, ldtr, gdtr_limit;
  u32 gdtr_base, idtr_base;
  u16 idtr_limit;
};
/* One like the first's own, at an entry and a stack that are others' still. */
struct vmi_ap_state ap_state(void);
void check_second(void);

static inline u8 in(u16 port) {
  u8 value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline void out(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
