/*
 * A 32-bit paravirtual guest (PAE) that checks what it is given: its start, hypercalls, traps, user mode, page tables,
 * segments and events. It says on the console what is not as Xen has it, and powers itself off. With `rounds=N seed=N` on
 * its command line it makes N random hypercalls instead.
 */
#include "guest.h"

static char line[256];
static u32 used;
static u32 failures, checks;

static void put(char c) {
  line[used++] = c;
  if (c != '\n' && used < sizeof line) return;
  hypercall(HYPERVISOR_console_io, 0, used, line, 0, 0);
  used = 0;
}

#include "../print.h"

void expect(const char *what, u32 got, u32 wanted) {
  checks++;
  if (got == wanted) return;
  failures++;
  print("FAILED %s: 0x%x instead of 0x%x\n", what, got, wanted);
}

static void finish(u32 reason) {
  hypercall(HYPERVISOR_sched_op, 2, &reason, 0, 0, 0);
  for (;;) {
  }
}

void unexpected(u32 vector) {
  print("unexpected trap %d at 0x%x, code 0x%x\n", vector, frame.eip, frame.code);
  finish(3);
}

static void install_traps(void) {
  static struct {
    u8 vector, flags;
    u16 cs;
    u32 address;
  } table[257];
  for (u32 i = 0; i < 256; i++) {
    table[i].vector = i;
    /* 0x80 is for ring 3, 0x91 for the kernel alone; 0x90 is for nobody. All mask events. */
    table[i].flags = 4 | (i == 0x80 ? 3 : i == 0x91 ? 1 : 0);
    /* Ring 0 is lifted to ring 1. */
    table[i].cs = i & 1 ? FLAT_RING1_CS : FLAT_RING1_CS & ~3;
    table[i].address = (u32)trap_entries + 16 * i;
  }
  table[256].address = 0;
  expect("set_trap_table", hypercall(HYPERVISOR_set_trap_table, table, 0, 0, 0, 0), 0);
}

static void check_start(struct start_info *start) {
  const char *magic = "xen-3.0-x86_32p";
  for (u32 i = 0; i < 16; i++) expect("start_info.magic", start->magic[i], magic[i]);
  expect("CS at the start", entry_state.cs, FLAT_RING1_CS);
  expect("SS at the start", entry_state.ss, FLAT_RING1_DS);
  expect("DS at the start", entry_state.ds, FLAT_RING1_DS);
  expect("GS at the start", entry_state.gs, FLAT_RING1_DS);
  expect("EFLAGS at the start", entry_state.eflags, 0x202);
  expect("ESP at the start", entry_state.esp & 4095, 0);
  u32 cr3;
  __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
  expect("CR3 (xen_pfn_to_cr3)", cr3, start->pt_base - VIRT_BASE);
}

static void check_hypercalls(void) {
  expect("xen_version", hypercall(HYPERVISOR_xen_version, 0, 0, 0, 0, 0), (4 << 16) | 17);
  expect("xen_version by the page", hypercall_by_page(HYPERVISOR_xen_version, 0, 0), (4 << 16) | 17);
  expect("no such hypercall", hypercall(60, 0, 0, 0, 0, 0), -ENOSYS);
  expect("set_segment_base", hypercall(HYPERVISOR_set_segment_base, 0, 0, 0, 0, 0), -ENOSYS);
  u32 virt_start = 0;
  expect("platform_parameters", hypercall(HYPERVISOR_xen_version, 5, &virt_start, 0, 0, 0), 0);
  expect("virt_start", virt_start, HYPERVISOR_VIRT_START);
  u32 mapping[3] = {0, 0, 0};
  expect("machphys_mapping", hypercall(HYPERVISOR_memory_op, 12, mapping, 0, 0, 0), 0);
  expect("machphys_mapping.v_start", mapping[0], HYPERVISOR_VIRT_START);
  expect("machphys_mapping.v_end", mapping[1], 0xffe00000);
  expect("a pointer into Xen's area", hypercall(HYPERVISOR_xen_version, 5, HYPERVISOR_VIRT_START, 0, 0, 0), -EFAULT);
  expect("a pointer near 4 GiB", hypercall(HYPERVISOR_xen_version, 5, 0xfffffffe, 0, 0, 0), -EFAULT);
  u32 calls[2][8] = {{HYPERVISOR_xen_version, 1, 0, 0}, {60, 1, 0, 0}};
  expect("multicall", hypercall(HYPERVISOR_multicall, calls, 2, 0, 0, 0), 0);
  expect("the first result of a multicall", calls[0][1], (4 << 16) | 17);
  expect("the second result of a multicall", calls[1][1], -ENOSYS);
}

void main(void) {
  struct start_info *start = (struct start_info *)entry_state.esi;
  install_traps();
  print("xen-pv-32: %s, %d pages\n", start->magic, start->nr_pages);
  u32 rounds = option_in(start->cmd_line, "rounds", 0);
  if (rounds) {
    fuzz(start, option_in(start->cmd_line, "seed", 1), rounds);
    print("done\n");
    finish(0);
  }
  check_start(start);
  check_hypercalls();
  check_traps();
  check_user();
  check_segments();
  check_memory(start);
  struct shared_info *shared = (struct shared_info *)user_stack;
  u64 entry = start->shared_info | P | RW;
  expect("map shared_info", hypercall(HYPERVISOR_update_va_mapping, shared, (u32)entry, (u32)(entry >> 32), 2, 0), 0);
  check_events(shared);
  print("%d checks, %d failed\ndone\n", checks, failures);
  finish(0);
}
