/*
 * An i386 kernel that knows VMI as Linux 2.6.21 to 2.6.36 did. It looks for the ROM, has its own code patched with what the ROM
 * answers, checks every call, and turns itself off by one. With `second=1` it starts another processor, with `lethal=N` it makes one of the calls that end a guest, with
 * `reboot` it reboots at the end. Without a ROM it says so and halts.
 */
#include "guest.h"

#define ALIGNED __attribute__((aligned(4096)))
#define USER_PAGE 0x40000000u

static pte_t user_table[ENTRIES] ALIGNED, user_directory[ENTRIES] ALIGNED;
static u8 user_page[PAGE] ALIGNED;

static void set_pte(pte_t *entry, pte_t value, u32 flags) {
#ifdef PAE
  vmi_stack(VMI_SetPxELong, (u32)value, value >> 32, (u32)entry, flags, 0);
#else
  vmi(VMI_SetPxE, value, (u32)entry, flags);
#endif
}

static void write_msr(u32 index, u32 value) { asm volatile("wrmsr" : : "c"(index), "a"(value), "d"(0)); }

void check_user(void) {
  for (u8 *from = user_code, *to = user_page; from < user_code_end; from++, to++) *to = *from;
#ifdef PAE
  set_pte(&boot_pointers[1], physical(user_directory) | 1, 4);
  set_pte(&user_directory[0], physical(user_table) | 7, PAGE_PD);
  u32 cr3 = vmi(VMI_GetCR3, 0, 0, 0);
  vmi(VMI_SetCR3, cr3, 0, 0);
#else
  (void)user_directory;
  set_pte(&boot_directory[USER_PAGE >> 22], physical(user_table) | 7, PAGE_PD);
#endif
  set_pte(&user_table[0], physical(user_page) | 7, PAGE_PT);
  user_flag = USER_PAGE + 0xffc;
  write_msr(0x174, KERNEL_CS);
  write_msr(0x175, (u32)trap_stack_top);
  write_msr(0x176, (u32)sysenter_entry);
  u32 calls = system_calls;
  u32 seen = enter_user(USER_PAGE, USER_PAGE + 0xff0, USER_CS);
  check("IRET to user mode, and back by INT", seen & 1 && system_calls == calls + 3);
  check("SYSENTER, and back by SYSEXIT", seen & 2 && sysenters == 1);
  check("an alarm in user mode", seen & 4 && last_vector == VECTOR_SYSTEM_CALL);
  user_flag = 0;
  /* As Linux's remedy for programs that ruin what is returned to: it is looked up by the address of the kernel's IRET. */
  fixup = (u32)user_finished;
  enter_user(USER_PAGE, USER_PAGE + 0xff0, 0x1f3);
  check("an IRET that faults does so in the kernel", last_vector == 13 && fixed_up == (u32)return_site);
}

struct vmi_ap_state ap_state(void) {
  struct vmi_ap_state state = {0};
  state.cr0 = 0x80050023;
  state.cr3 = vmi(VMI_GetCR3, 0, 0, 0);
  state.cr4 = vmi(VMI_GetCR4, 0, 0, 0);
  state.eip = (u32)sysenter_entry;
  state.esp = (u32)trap_stack_top;
  state.cs = KERNEL_CS;
  state.ss = KERNEL_DS;
  state.ds = state.es = USER_DS;
  state.fs = PER_CPU;
  state.gdtr_limit = 0xff;
  state.gdtr_base = (u32)gdt;
  state.idtr_limit = 0x7ff;
  return state;
}

void lethal(u32 which) {
  struct vmi_ap_state state = ap_state();
  switch (which) {
    case 0: vmi(VMI_AllocatePage, 0x00ffffff, PAGE_PT, 0); break;
    case 1: vmi(VMI_AllocatePage, 16, PAGE_PT | 0x8000, 0); break;
    case 2: vmi_stack(VMI_AllocatePage, 16, PAGE_PD | PAGE_CLONE, 0x7fffffff, 0, 1); break;
    case 3: vmi(VMI_ReleasePage, 0xffffffff, PAGE_PT, 0); break;
    case 4: set_pte((pte_t *)0xfffff000, 0, PAGE_PT); break;
    case 5: vmi_stack(VMI_SetPxELong, 1, 0x100, (u32)user_table, PAGE_PT, 0); break;
    case 6: vmi(VMI_SetLinearMapping, 9, VIRTUAL_BASE, 1); break;
    case 7: vmi_stack(VMI_SetLinearMapping, 0, VIRTUAL_BASE, 0xfffff, 0xfffff, 0); break;
    case 8: vmi(VMI_SetLazyMode, 7, 0, 0); break;
    case 9: vmi(VMI_SetTR, 0xfff8, 0, 0); break;
    case 10: vmi(VMI_SetTR, KERNEL_CS, 0, 0); break;
    case 11: vmi(VMI_SetLDT, KERNEL_DS, 0, 0); break;
    case 12: vmi_stack(VMI_WriteGDTEntry, (u32)gdt, 8192, 0, 0, 0); break;
    case 13: vmi_stack(VMI_WriteIDTEntry, 0xfffff000, 1, 0, 0, 0); break;
    case 14: vmi(VMI_UpdateKernelStack, KERNEL_CS, 0, 0); break;
    case 15: vmi(VMI_SetDR, 9, 0, 0); break;
    case 16: vmi(VMI_SetAlarm, 77, 0, 0); break;
    case 17: vmi(VMI_SetInitialAPState, 0xfffff000, 0, 0); break;
    case 18: vmi(VMI_SetInitialAPState, (u32)&state, 200, 0); break;
    case 19: state.cs = KERNEL_DS; vmi(VMI_SetInitialAPState, (u32)&state, 0, 0); break;
    case 20: /* A queue that the ROM has not written, at a place that is nobody's business. */
      vmi(VMI_SetLazyMode, 1, 0, 0);
      *(u32 *)(VIRTUAL_BASE + 0xd1020) = 0xffffff0;
      *(u32 *)(VIRTUAL_BASE + 0xd1004) = 0xffffffff;
      vmi(VMI_SetLazyMode, 0, 0, 0);
      break;
  }
}

void main(void) {
  print("vmi guest, %s page tables\n", sizeof(pte_t) == 8 ? "PAE" : "two-level");
  set_up_traps();
  if (!probe()) {
    print("no VMI\n");
    return;
  }
  show_relocations();
  if (!activate()) return;
  check_processor();
  check_descriptors();
  if (option("lethal", ~0u) != ~0u) {
    lethal(option("lethal", 0));
    print("survived\n");
    return;
  }
  check_page_tables();
  check_time();
  check_user();
  check_ports();
  struct vmi_ap_state state = ap_state();
  vmi(VMI_SetInitialAPState, (u32)&state, 0, 0);
  check("SetInitialAPState", 1);
  if (option("second", 0)) check_second();
  check("no call spoils a register", spoiled == 0);
  print("checks: %d, failed: %d\n", checks, failed);
  if (option("reboot", 0)) vmi(VMI_Reboot, 1, 0, 0);
  vmi(VMI_Shutdown, 0, 0, 0);
  print("FAILED: Shutdown returned\n");
}
