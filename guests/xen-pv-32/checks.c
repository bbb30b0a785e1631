/* Traps, user mode, segments and events. */
#include "guest.h"

extern u8 refused_int[], permitted_int[], after_permitted_int[], breakpoint[], after_breakpoint[], after_syscall[];
extern u8 user_system_call[], after_system_call[], user_reads[], user_load[], user_hypercall[], stepped_privileged[];
void do_refused_int(u32), do_permitted_int(u32), do_breakpoint(u32), do_syscall(u32);
u32 stepped(u32 count), step_privileged(void);
extern u8 after_held_breakpoint[], held_stack[], after_int1[];
void do_held_breakpoint(u32), do_int1(u32);

static void undefined(u32 unused) { __asm__ volatile("ud2"); }
static void load(u32 address) { (void)*(volatile u32 *)address; }
static void store(u32 address) { *(volatile u32 *)address = 0; }
static void write_fs_base(u32 value) { __asm__ volatile("wrmsr" : : "a"(value), "d"(0), "c"(0xc0000100)); }
static void load_ds(u32 selector) { __asm__ volatile("mov %0, %%fs" : : "r"(selector)); }
static void cli(u32 unused) { __asm__ volatile("cli"); }

/* The frame of a trap from the kernel: no stack pointer in it, which is where the trap left it. */
static void kernel_frame(const char *what, u32 eip, u32 code) {
  expect(what, frame.eip, eip);
  expect(what, frame.code, code);
  expect(what, frame.cs & 0xffff, FLAT_RING1_CS);
  expect(what, frame_ss & 0xffff, FLAT_RING1_DS);
}

static void go_virtual_8086(u32 unused) { enter(0x1000, 0x100, EFLAGS_VM | EFLAGS_IF, 0x2000, 0x200); }

static void check_iret(void) {
  /* IOPL is Xen's until the assist is asked for; then HYPERVISOR_iret loads it, and frames show it. */
  u32 iopl = 1;
  expect("set_iopl", hypercall(HYPERVISOR_physdev_op, 6, &iopl, 0, 0, 0), 0);
  expect("CLI with IOPL 1", guarded(cli, 0), -1);
  guarded(undefined, 0);
  expect("IOPL in a frame", frame.eflags & EFLAGS_IOPL, 0);
  expect("vm_assist architectural_iopl", hypercall(HYPERVISOR_vm_assist, 0, 4, 0, 0, 0), 0);
  guarded(undefined, 0);
  expect("IOPL in a frame, with the assist", frame.eflags & EFLAGS_IOPL, 0x1000);
  expect("CLI with IOPL 1, with the assist", guarded(cli, 0), -1);
  resume = 1, resume_skip = 2, resume_flags = 0x3000, resume_clear = 0;
  undefined(0);
  resume = 0;
  guarded(undefined, 0);
  expect("IOPL after an iret with IOPL 3", frame.eflags & EFLAGS_IOPL, 0x3000);
  resume = 1, resume_flags = 0, resume_clear = 0x3000;
  undefined(0);
  resume = 0;
  guarded(undefined, 0);
  expect("IOPL after an iret with IOPL 0", frame.eflags & EFLAGS_IOPL, 0);
  /* The assist makes IOPL 0 the kernel's own level, as on a processor whose kernel runs in ring 0. */
  expect("CLI with IOPL 0, with the assist", guarded(cli, 0), -1);
  hypercall(HYPERVISOR_vm_assist, 1, 4, 0, 0, 0);
  expect("CLI with IOPL 0, without the assist", guarded(cli, 0), TRAP_GP);
  hypercall(HYPERVISOR_physdev_op, 6, &iopl, 0, 0, 0);

  /* Virtual-8086 mode is not to be had: #GP where it would have begun. */
  u32 stack = (u32)trap_stack_top;
  expect("stack_switch", hypercall(HYPERVISOR_stack_switch, FLAT_RING1_DS, stack, 0, 0, 0), 0);
  expect("iret to virtual-8086 mode", guarded(go_virtual_8086, 0), TRAP_GP);
  expect("its error code", frame.code, 0);
  expect("its EIP", frame.eip, 0x1000);
  expect("its EFLAGS", frame.eflags & EFLAGS_VM, EFLAGS_VM);
}

static void check_steps(void) {
  resume = 1, resume_skip = 0, resume_flags = 0, resume_clear = 0;
  /* A trap after each of seven iterations, and after the PUSHF, the AND and the POPF that ends it. */
  expect("single steps of REP MOVSB", stepped(7), 7 + 3);
  u32 iopl = 1;
  hypercall(HYPERVISOR_physdev_op, 6, &iopl, 0, 0, 0);
  expect("single steps over CLI", step_privileged(), 1 + 1 + 3);
  expect("set_debugreg", hypercall(HYPERVISOR_set_debugreg, 0, held_stack, 0, 0, 0), 0);
  expect("set_debugreg of DR7", hypercall(HYPERVISOR_set_debugreg, 7, 0xf0001, 0, 0, 0), 0);
  traps = 0;
  do_held_breakpoint(0);
  expect("a breakpoint held off until INT3: traps", traps, 1);
  expect("a breakpoint held off until INT3: the trap", frame.vector, TRAP_BP);
  expect("a breakpoint held off until INT3: where", frame.eip, (u32)after_held_breakpoint);
  hypercall(HYPERVISOR_set_debugreg, 7, 0, 0, 0, 0);
  resume = 0;
  expect("INT1", guarded(do_int1, 0), TRAP_DB);
  kernel_frame("frame of INT1", (u32)after_int1, 0xdead);
}

void check_traps(void) {
  expect("UD2", guarded(undefined, 0), TRAP_UD);
  kernel_frame("frame of UD2", (u32)undefined, 0xdead);
  expect("INT 90h", guarded(do_refused_int, 0), TRAP_GP);
  kernel_frame("frame of INT 90h", (u32)refused_int, 0x90 * 8 + 2);
  expect("INT 91h", guarded(do_permitted_int, 0), 0x91);
  kernel_frame("frame of INT 91h", (u32)after_permitted_int, 0xdead);
  expect("INT3", guarded(do_breakpoint, 0), TRAP_BP);
  kernel_frame("frame of INT3", (u32)after_breakpoint, 0xdead);
  /* SYSCALL is nobody's here: #GP at the instruction, as if from ring 3. */
  expect("SYSCALL", guarded(do_syscall, 0), TRAP_GP);
  expect("frame of SYSCALL", frame.eip, (u32)after_syscall - 2);
  expect("frame of SYSCALL", frame.cs & 0xffff, FLAT_RING3_CS);
  expect("a load from nowhere", guarded(load, 0x10), TRAP_PF);
  kernel_frame("frame of a page fault", (u32)load + (frame.eip - (u32)load), 0);
  u32 cr2;
  __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
  expect("CR2", cr2, 0x10);
  expect("a store to nowhere", guarded(store, 0x20), TRAP_PF);
  expect("its error code", frame.code, 2);
  expect("a store into Xen's area", guarded(store, HYPERVISOR_VIRT_START), TRAP_PF);
  expect("its error code", frame.code, 3);
  expect("a load above the table", guarded(load, 0xfffff000), TRAP_PF);
  expect("WRMSR of FS_BASE", guarded(write_fs_base, 0), TRAP_GP);
  expect("frame_stack", frame_stack & 3, 0);
  check_iret();
  check_steps();
}

/* Runs user code at `address`; the vector of the trap that ended it. */
static u32 user_address;
static void go(u32 unused) { enter(user_address, FLAT_RING3_CS, EFLAGS_IF | 2, (u32)user_stack_top, FLAT_RING3_DS); }
static u32 user(u8 *address) {
  user_address = (u32)address;
  return guarded(go, 0);
}

static void go_natively(u32 unused) {
  enter_natively(user_address, FLAT_RING3_CS, EFLAGS_IF | 2, (u32)user_stack_top, FLAT_RING3_DS);
}
static void go_with_data(u32 selector) {
  __asm__ volatile("mov %0, %%fs" : : "r"(selector));
  go(0);
}

static void user_frame(const char *what, u32 eip, u32 code) {
  expect(what, frame.eip, eip);
  expect(what, frame.code, code);
  expect(what, frame.cs & 0xffff, FLAT_RING3_CS);
  expect(what, frame.ss, FLAT_RING3_DS);
  expect(what, frame.esp, (u32)user_stack_top);
  expect(what, frame_stack, (u32)trap_stack_top - 7 * 4);
  expect(what, frame_ss & 0xffff, FLAT_RING1_DS);
}

void check_user(void) {
  u32 frames[2] = {(u32)user_page - VIRT_BASE, (u32)user_stack - VIRT_BASE};
  for (u32 i = 0; i < 2; i++)
    expect("map for ring 3",
           hypercall(HYPERVISOR_update_va_mapping, frames[i] + VIRT_BASE, frames[i] | P | RW | US, 0, 2, 0), 0);
  expect("stack_switch", hypercall(HYPERVISOR_stack_switch, FLAT_RING1_DS & ~3, trap_stack_top, 0, 0, 0), 0);
  expect("INT 80h of ring 3", user(user_system_call), 0x80);
  user_frame("frame of INT 80h", (u32)after_system_call, 0xdead);
  expect("HLT of ring 3", user(after_system_call), TRAP_GP);
  user_frame("frame of HLT", (u32)after_system_call, 0);
  /* The processor's own US bit tells ring 3 from ring 1. */
  expect("a load of ring 3", user(user_reads), TRAP_PF);
  user_frame("frame of a page fault of ring 3", (u32)user_load, 4);
  user_address = (u32)undefined;
  expect("the kernel's code in ring 3", guarded(go, 0), TRAP_PF);
  expect("its error code", frame.code & 7, 5);
  expect("INT 82h of ring 3", user(user_hypercall), TRAP_GP);
  user_frame("frame of INT 82h", (u32)user_hypercall, 0x82 * 8 + 2);
  user_address = (u32)user_system_call;
  expect("INT 80h of ring 3, reached by IRET", guarded(go_natively, 0), 0x80);
  user_frame("frame of INT 80h after IRET", (u32)after_system_call, 0xdead);
  /* A data segment of ring 1 does not outlive the way to ring 3. */
  user_address = (u32)user_system_call;
  expect("INT 80h with FS of ring 1", guarded(go_with_data, FLAT_RING1_DS), 0x80);
  u32 fs;
  __asm__ volatile("mov %%fs, %0" : "=r"(fs));
  expect("FS of ring 1 after ring 3", fs & 0xffff, 0);
}

static u8 gdt_page[4096] __attribute__((aligned(4096)));

void check_segments(void) {
  u64 *gdt = (u64 *)gdt_page;
  gdt[2] = 0x00cf92000000ffff; /* flat data, DPL 0: lifted to 1 */
  gdt[3] = 0x00cfb2000000ffff; /* flat data, DPL 1 */
  gdt[4] = 0x0040f2c000001fff; /* DPL 3, base 0xc0000000 >> ... with a byte limit */
  gdt[5] = 0x00cf920000006fff | 0x000f000000000000ull; /* flat, but ends at 0xf6ff...: extended */
  u32 frame_number = ((u32)gdt_page - VIRT_BASE) >> 12;
  u32 machine = frame_number << 12;
  expect("set_gdt while writable", hypercall(HYPERVISOR_set_gdt, &frame_number, 512, 0, 0, 0), -EINVAL);
  expect("read-only", hypercall(HYPERVISOR_update_va_mapping, gdt_page, machine | P, 0, 2, 0), 0);
  expect("set_gdt", hypercall(HYPERVISOR_set_gdt, &frame_number, 512, 0, 0, 0), 0);
  expect("DPL 0 is lifted", (gdt[2] >> 45) & 3, 1);
  expect("DPL 3 stays", (gdt[4] >> 45) & 3, 3);
  expect("a limit behind the table is extended", gdt[5] & 0xffff, 0xffff);
  expect("load DPL 1", guarded(load_ds, 3 * 8 + 1), -1);
  expect("load DPL 0 that was lifted", guarded(load_ds, 2 * 8 + 1), -1);
  expect("load nothing", guarded(load_ds, 9 * 8 + 1), TRAP_GP);
  expect("its error code", frame.code, 9 * 8);
  expect("update_descriptor",
         hypercall(HYPERVISOR_update_descriptor, machine + 9 * 8, 0, 0x0000ffff, 0x00cf9200, 0), 0);
  expect("load it", guarded(load_ds, 9 * 8 + 1), -1);
  expect("a 64-bit segment", hypercall(HYPERVISOR_update_descriptor, machine + 9 * 8, 0, 0x0000ffff, 0x00afba00, 0),
         -EINVAL);
  expect("a gate", hypercall(HYPERVISOR_update_descriptor, machine + 9 * 8, 0, 0xe0080000, 0x00008e00, 0), -EINVAL);
  check_gates(gdt, machine);
  guarded(load_ds, 0);
  expect("no GDT", hypercall(HYPERVISOR_set_gdt, 0, 0, 0, 0, 0), 0);
}

static volatile u32 upcalls;
static void upcall(void) {
  upcalls++;
}
__asm__(
    "event_entry:\n"
    "  push %eax\n  push %ecx\n  push %edx\n"
    "  call upcall_c\n"
    "  pop %edx\n  pop %ecx\n  pop %eax\n"
    "  jmp hypercall_page + 23 * 32\n"
    "failsafe_entry:\n"
    "  mov $99, %eax\n"
    "  mov recover_stack, %esp\n"
    "  jmp back\n");
extern u8 event_entry[], failsafe_entry[];
static struct shared_info *shared_page;
void upcall_c(void) __attribute__((used));
void upcall_c(void) {
  upcall();
  shared_page->upcall_pending = 0;
  for (u32 i = 0; i < 32; i++) shared_page->evtchn_pending[i] = 0;
  shared_page->pending_sel = 0;
}

static void iret_to_null(u32 unused) { enter(user_address, 0x53, EFLAGS_IF, (u32)user_stack_top, FLAT_RING3_DS); }

void check_events(struct shared_info *shared) {
  shared_page = shared;
  struct {
    u16 type, flags;
    u32 cs, eip;
  } callback = {7, 0, FLAT_RING1_CS, (u32)event_entry};
  expect("set_callbacks",
         hypercall(HYPERVISOR_set_callbacks, FLAT_RING1_CS, event_entry, FLAT_RING1_CS, failsafe_entry, 0), 0);
  expect("callback_op of syscall32", hypercall(HYPERVISOR_callback_op, 0, &callback, 0, 0, 0), 0);
  callback.type = 2;
  expect("callback_op of the 64-bit syscall", hypercall(HYPERVISOR_callback_op, 0, &callback, 0, 0, 0), -ENOSYS);
  expect("masked at the start", shared->upcall_mask, 1);
  struct {
    u32 virq, vcpu, port;
  } bind = {0, 0, 0};
  expect("bind_virq", hypercall(HYPERVISOR_event_channel_op, 1, &bind, 0, 0, 0), 0);
  /* System time starts at 0: one nanosecond is past, and the timer fires at once. */
  expect("set_timer_op", hypercall(HYPERVISOR_set_timer_op, 1, 0, 0, 0, 0), 0);
  expect("pending", shared->upcall_pending, 1);
  expect("pending_sel", shared->pending_sel, 1);
  expect("evtchn_pending", shared->evtchn_pending[0], 1u << bind.port);
  expect("none while masked", upcalls, 0);
  shared->upcall_mask = 0;
  hypercall(HYPERVISOR_xen_version, 0, 0, 0, 0, 0);
  expect("one when unmasked", upcalls, 1);
  expect("the mask after its iret", shared->upcall_mask, 0);
  /* 2^32 ns and a second: both halves of the time count. */
  expect("set_timer_op far away", hypercall(HYPERVISOR_set_timer_op, 0, 0x7fffffff, 0, 0, 0), 0);
  expect("no event yet", upcalls, 1);
  shared->upcall_mask = 1;
  expect("set_timer_op", hypercall(HYPERVISOR_set_timer_op, 1, 0, 0, 0, 0), 0);
  expect("sched_op block", hypercall(HYPERVISOR_sched_op, 1, 0, 0, 0, 0), 0);
  expect("two", upcalls, 2);
  expect("a page fault", guarded(load, 0x30), TRAP_PF);
  expect("vcpu_info.arch.cr2", shared->cr2, 0x30);
  shared->upcall_mask = 1;
  expect("iret to no segment", guarded(iret_to_null, 0), 99);
}
