/* What the parts of the guest share. Numbers and structures: xen/include/public/xen.h and arch-x86/xen-x86_32.h. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define VIRT_BASE 0xc0000000u
#define PAGE 4096u

#define FLAT_RING1_CS 0xe019u
#define FLAT_RING1_DS 0xe021u
#define FLAT_RING3_CS 0xe02bu
#define FLAT_RING3_DS 0xe033u

/* HYPERVISOR_VIRT_START_PAE and where the machine-to-physical table stands */
#define HYPERVISOR_VIRT_START 0xf5800000u

#define HYPERVISOR_set_trap_table 0
#define HYPERVISOR_mmu_update 1
#define HYPERVISOR_set_gdt 2
#define HYPERVISOR_stack_switch 3
#define HYPERVISOR_set_callbacks 4
#define HYPERVISOR_set_debugreg 8
#define HYPERVISOR_update_descriptor 10
#define HYPERVISOR_memory_op 12
#define HYPERVISOR_multicall 13
#define HYPERVISOR_update_va_mapping 14
#define HYPERVISOR_set_timer_op 15
#define HYPERVISOR_xen_version 17
#define HYPERVISOR_console_io 18
#define HYPERVISOR_vm_assist 21
#define HYPERVISOR_iret 23
#define HYPERVISOR_set_segment_base 25
#define HYPERVISOR_mmuext_op 26
#define HYPERVISOR_sched_op 29
#define HYPERVISOR_callback_op 30
#define HYPERVISOR_event_channel_op 32
#define HYPERVISOR_physdev_op 33

#define MMUEXT_PIN_L1_TABLE 0
#define MMUEXT_PIN_L2_TABLE 1
#define MMUEXT_PIN_L3_TABLE 2
#define MMUEXT_PIN_L4_TABLE 3
#define MMUEXT_UNPIN_TABLE 4
#define MMUEXT_NEW_BASEPTR 5
#define MMUEXT_SET_LDT 13

#define DOMID_SELF 0x7ff0
#define EFAULT 14
#define EBUSY 16
#define EINVAL 22
#define ENOSYS 38

#define P 1u
#define RW 2u
#define US 4u

#define TRAP_DB 1
#define TRAP_BP 3
#define TRAP_UD 6
#define TRAP_NP 11
#define TRAP_GP 13
#define TRAP_PF 14

#define EFLAGS_TF 0x100u
#define EFLAGS_IF 0x200u
#define EFLAGS_IOPL 0x3000u
#define EFLAGS_VM 0x20000u

/* struct start_info of a 32-bit guest, as far as it is used */
struct start_info {
  char magic[32];
  u32 nr_pages, shared_info, flags, store_mfn, store_evtchn, console_mfn, console_evtchn;
  u32 pt_base, nr_pt_frames, mfn_list, mod_start, mod_len;
  char cmd_line[1024];
};

/* struct shared_info of a 32-bit guest; vcpu_info[0] first */
struct shared_info {
  u8 upcall_pending, upcall_mask;
  u8 pad[2];
  u32 pending_sel, cr2, pad_cr2[5];
  u8 time[32];
  u8 others[31 * 64];
  u32 evtchn_pending[32], evtchn_mask[32];
};

/* What a trap found on its stack; esp and ss count where it came from ring 3. */
struct frame {
  u32 vector, code, eip, cs, eflags, esp, ss;
};

extern struct frame frame;
extern u32 frame_stack, frame_ss, traps, resume, resume_skip, resume_flags, resume_clear;
extern u32 recover_stack;
extern struct {
  u32 eflags, esi, esp;
  u16 cs, ss, ds, gs;
} entry_state;
extern u8 hypercall_page[], stack_top[], user_page[], user_stack[], user_stack_top[], trap_stack_top[], trap_entries[];

long hypercall(u32 number, ...);
long hypercall_by_page(u32 number, u32 argument1, u32 argument2);
u32 guarded(void (*function)(u32), u32 argument);
void enter_natively(u32 eip, u32 cs, u32 eflags, u32 esp, u32 ss);
void enter(u32 eip, u32 cs, u32 eflags, u32 esp, u32 ss);

void print(const char *format, ...);
/* One check: said to be FAILED with both values if they differ. */
void expect(const char *what, u32 got, u32 wanted);

void check_traps(void);
void check_memory(struct start_info *start);
void check_user(void);
void check_segments(void);
void check_gates(u64 *gdt, u32 machine);
void check_events(struct shared_info *shared);
void fuzz(struct start_info *start, u32 seed, u32 rounds);
