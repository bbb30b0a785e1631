/*
 * A paravirtual guest that misbehaves. With `attacks` on its command line it tries a fixed list of things a guest must not
 * get away with; with `rounds=N seed=N` it makes N random hypercalls; with `lethal=N` it does one of the things that end
 * a guest. It says on the console what came of it, and powers itself off.
 */
#include "guest.h"

struct start_info *start;

static char line[256];
static u32 used;

static void put(char c) {
  line[used++] = c;
  if (c != '\n' && used < sizeof line) return;
  hypercall(HYPERVISOR_console_io, 0, (u64)used, line, 0, 0);
  used = 0;
}

#include "../print.h"

void finish(u32 reason) {
  hypercall(HYPERVISOR_sched_op, 2ul, &reason, 0, 0, 0);
  for (;;) {
  }
}

void unexpected(u64 vector) {
  print("unexpected trap %d\n", vector);
  finish(3);
}

static u64 option(const char *name, u64 otherwise) { return option_in(start->cmd_line, name, otherwise); }

static u64 first_free;

u64 pool(u32 index) { return first_free + index; }

long update(u64 frame, u32 index, u64 value) {
  u64 request[2] = {frame * PAGE + index * 8, value};
  return hypercall(HYPERVISOR_mmu_update, request, 1ul, 0ul, (u64)DOMID_SELF, 0ul);
}

long extended(u32 command, u64 argument1, u64 argument2) {
  u64 operation[3] = {command, argument1, argument2};
  return hypercall(HYPERVISOR_mmuext_op, operation, 1ul, 0ul, (u64)DOMID_SELF, 0ul);
}

long remap(u64 frame, u64 flags) {
  return hypercall(HYPERVISOR_update_va_mapping, VIRT_BASE + frame * PAGE, pte(frame, flags), 2ul, 0ul, 0ul);
}

void restore_pool(void) {
  extended(MMUEXT_NEW_USER_BASEPTR, 0, 0);
  extended(MMUEXT_SET_LDT, 0, 0);
  hypercall(HYPERVISOR_set_debugreg, 7ul, 0ul, 0ul, 0ul, 0ul);
  hypercall(HYPERVISOR_set_gdt, 0ul, 0ul, 0ul, 0ul, 0ul);
  for (u32 i = 0; i < POOL; i++) extended(MMUEXT_UNPIN_TABLE, pool(i), 0);
  for (u32 i = 0; i < POOL; i++) {
    /* What one frame of the pool maps may hold another: the second round finds all of them free. */
    hypercall(HYPERVISOR_update_va_mapping, VIRT_BASE + pool(i) * PAGE, 0ul, 2ul, 0ul, 0ul);
  }
  for (u32 i = 0; i < POOL; i++) {
    if (remap(pool(i), P | RW) != 0) continue;
    for (u32 n = 0; n < 512; n++) at(pool(i))[n] = 0;
  }
}

extern u8 trap_entries[];

void install_traps(void) {
  struct {
    u8 vector, flags;
    u16 cs;
    u32 pad;
    u64 address;
  } table[33];
  for (u32 i = 0; i < 32; i++) {
    table[i].vector = i;
    table[i].flags = 4;
    table[i].cs = 0xe033;
    table[i].address = (u64)trap_entries + 16 * i;
  }
  table[32].address = 0;
  hypercall(HYPERVISOR_set_trap_table, table, 0ul, 0ul, 0ul, 0ul);
}

void main(struct start_info *info) {
  start = info;
  /* Behind the page tables and the stack at least 512 KiB are mapped that nothing uses. */
  first_free = ((info->pt_base - VIRT_BASE) / PAGE) + info->nr_pt_frames + 1;
  install_traps();
  print("xen-pv-fuzz: %s, %d pages\n", info->magic, info->nr_pages);
  if (option("lethal", ~0ul) != ~0ul) {
    lethal(option("lethal", 0));
    print("survived\n");
    finish(0);
  }
  if (option("attacks", 0)) print("attacks failed: %d\n", (long)attack());
  u64 rounds = option("rounds", 0);
  if (rounds) fuzz(option("seed", 1), rounds);
  print("done\n");
  finish(0);
}
