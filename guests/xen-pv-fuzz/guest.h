/* What the parts of the guest share. Numbers and structures: xen/include/public/xen.h. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define VIRT_BASE 0xffffffff80000000ul
#define PAGE 4096ul

#define HYPERVISOR_set_trap_table 0
#define HYPERVISOR_mmu_update 1
#define HYPERVISOR_set_gdt 2
#define HYPERVISOR_set_callbacks 4
#define HYPERVISOR_set_debugreg 8
#define HYPERVISOR_update_descriptor 10
#define HYPERVISOR_memory_op 12
#define HYPERVISOR_multicall 13
#define HYPERVISOR_update_va_mapping 14
#define HYPERVISOR_xen_version 17
#define HYPERVISOR_console_io 18
#define HYPERVISOR_iret 23
#define HYPERVISOR_vcpu_op 24
#define HYPERVISOR_set_segment_base 25
#define HYPERVISOR_mmuext_op 26
#define HYPERVISOR_sched_op_compat 6
#define HYPERVISOR_sched_op 29
#define HYPERVISOR_event_channel_op 32

#define MMUEXT_PIN_L1_TABLE 0
#define MMUEXT_PIN_L4_TABLE 3
#define MMUEXT_UNPIN_TABLE 4
#define MMUEXT_NEW_BASEPTR 5
#define MMUEXT_SET_LDT 13
#define MMUEXT_NEW_USER_BASEPTR 15

#define DOMID_SELF 0x7ff0
#define XEN_VERSION ((4 << 16) | 17)

#define EPERM 1
#define EFAULT 14
#define EBUSY 16
#define EINVAL 22
#define ENOSYS 38

#define P 1ul
#define RW 2ul
#define US 4ul
#define PSE 0x80ul

/* xen/include/public/xen.h, struct start_info, as far as it is used */
struct start_info {
  char magic[32];
  u64 nr_pages, shared_info;
  u32 flags, pad0;
  u64 store_mfn;
  u32 store_evtchn, pad1;
  u64 console_mfn;
  u32 console_evtchn, pad2;
  u64 pt_base, nr_pt_frames, mfn_list, mod_start, mod_len;
  char cmd_line[1024];
};

extern struct start_info *start;
extern u64 trapped;
extern u8 hypercall_page[];

long hypercall(u64 number, ...);
long hypercall_by_page(u64 number, ...);
long guarded(void (*function)(u64), u64 argument);

void print(const char *format, ...);
void finish(u32 reason) __attribute__((noreturn));

/* Frames that nothing uses, mapped writable at VIRT_BASE + frame * PAGE. */
#define POOL 32
u64 pool(u32 index);
static inline u64 *at(u64 frame) { return (u64 *)(VIRT_BASE + frame * PAGE); }
static inline u64 pte(u64 frame, u64 flags) { return frame << 12 | flags; }

long update(u64 frame, u32 index, u64 value);
long extended(u32 command, u64 argument1, u64 argument2);
/* What VIRT_BASE + frame * PAGE maps: that frame, with `flags`. */
long remap(u64 frame, u64 flags);

/* Makes the pool what it was: all frames writable, untyped, zero. */
void restore_pool(void);
void install_traps(void);
u32 attack(void);
void lethal(u32 which);
void fuzz(u64 seed, u64 rounds);
