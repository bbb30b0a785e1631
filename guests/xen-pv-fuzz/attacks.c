/* Things a guest must not get away with, and what must come of each. */
#include "guest.h"

static u32 failures;

static void expect(const char *what, long got, long wanted) {
  if (got == wanted) return;
  failures++;
  print("FAILED %s: %d instead of %d\n", what, got, wanted);
}

/* For things that may be refused in more than one way. */
static void expect_refused(const char *what, long got) {
  if (got < 0) return;
  failures++;
  print("FAILED %s: not refused (%d)\n", what, got);
}

#define TRAP_UD 6
#define TRAP_GP 13
#define TRAP_PF 14

static void store(u64 address) { *(volatile u64 *)address = 0; }
static void load(u64 address) { (void)*(volatile u64 *)address; }
static void jump(u64 address) { ((void (*)(void))address)(); }

/* A tree of the pool's first four frames (L4 first) that maps its fifth, read-only, at address 0; made read-only themselves. */
static void build_tree(u64 leaf) {
  restore_pool();
  for (u32 i = 0; i < 3; i++) at(pool(i))[0] = pte(pool(i + 1), P | RW | US);
  at(pool(3))[0] = leaf;
}

static void protect_tree(void) {
  for (u32 i = 0; i < 4; i++) remap(pool(i), P);
}

static void page_types(void) {
  build_tree(pte(pool(4), P));
  expect("pin a table that is mapped writable", extended(MMUEXT_PIN_L4_TABLE, pool(0), 0), -EINVAL);
  protect_tree();
  expect("pin a tree", extended(MMUEXT_PIN_L4_TABLE, pool(0), 0), 0);
  expect("pin it twice", extended(MMUEXT_PIN_L4_TABLE, pool(0), 0), -EINVAL);
  for (u32 i = 0; i < 4; i++) {
    expect("map a table writable", remap(pool(i), P | RW), -EBUSY);
    expect("map a table writable in the tree", update(pool(3), 1, pte(pool(i), P | RW)), -EBUSY);
    for (u32 level = 0; level < 4; level++)
      if (level != 3 - i) expect("a table of two levels", extended(level, pool(i), 0), -EINVAL);
    expect("decrease and go on", update(pool(3), 2, pte(pool(i), P)), 0);
  }
  for (u32 slot = 256; slot < 272; slot++) {
    expect("map the hypervisor's range", update(pool(0), slot, pte(pool(1), P | RW | US)), -EINVAL);
    expect("unmap the hypervisor's range", update(pool(0), slot, 0), -EINVAL);
  }
  expect("a large page", update(pool(2), 1, pte(0x200, P | RW | PSE)), -EINVAL);
  expect("a huge page", update(pool(1), 1, P | RW | PSE), -EINVAL);
  expect("a writable linear table", update(pool(0), 1, pte(pool(0), P | RW)), -EINVAL);
  expect("a linear table", update(pool(0), 1, pte(pool(0), P)), 0);
  expect("no linear table", update(pool(0), 1, 0), 0);
  expect("a frame past the end", update(pool(3), 3, pte(0xfffff0, P)), -EPERM);
  expect("no frame", update(pool(3), 3, 0xffffffffff000ul | P), -EINVAL);
  expect("the machine-to-physical table", update(pool(3), 3, pte(start->shared_info / PAGE + 80, P)), -EBUSY);
  expect("a descriptor page of a table", hypercall(HYPERVISOR_set_gdt, (u64[]){pool(3)}, 512ul, 0ul, 0ul, 0ul), -EINVAL);
  expect("unpin", extended(MMUEXT_UNPIN_TABLE, pool(0), 0), 0);
  expect("unpin twice", extended(MMUEXT_UNPIN_TABLE, pool(0), 0), -EINVAL);
  expect("unpin what never was", extended(MMUEXT_UNPIN_TABLE, pool(20), 0), -EINVAL);
  expect("shared_info as a table", extended(0, start->shared_info / PAGE, 0), -EINVAL);
}

static void stores(void) {
  build_tree(pte(pool(4), P));
  protect_tree();
  expect("pin", extended(MMUEXT_PIN_L4_TABLE, pool(0), 0), 0);
  volatile u64 *l1 = at(pool(3));
  l1[5] = pte(pool(4), P | RW);
  expect("a plain store into an L1 table", (l1[5] & 0xffffffffff003ul) == pte(pool(4), P | RW), 1);
  u64 old = __atomic_exchange_n(&l1[5], 0, __ATOMIC_SEQ_CST);
  expect("an exchange", (old & 3) == 3 && l1[5] == 0, 1);
  l1[5] = pte(pool(4), P | RW);
  __asm__ volatile("lock btrl $1, %0" : "+m"(l1[5]));
  expect("a bit cleared", l1[5] & 3, 1);
  ((volatile u8 *)&l1[5])[0] &= ~1;
  expect("a byte", l1[5] & 1, 0);
  l1[5] = 0;
  for (u32 i = 0; i < 3; i++) expect("a store into a higher table", guarded(store, (u64)at(pool(i))), TRAP_PF);
  expect("a store of nothing into L1", guarded(store, (u64)&l1[0]), -1);
  l1[0] = pte(pool(4), P);
  /* The linear address `l1` is mapped by the kernel's own tables; a bad entry must not get in by way of it. */
  __asm__ volatile("" ::: "memory");
  struct {
    u64 value;
  } bad[] = {{pte(pool(3), P | RW)}, {pte(pool(0), P | RW)}, {pte(0xfffff0, P)}, {pte(pool(5), P | PSE)}};
  for (u32 i = 0; i < sizeof bad / sizeof *bad; i++) {
    u64 before = l1[0];
    extern void store_bad(u64);
    extern u64 bad_value;
    bad_value = bad[i].value;
    expect("a bad entry by a store", guarded(store_bad, (u64)&l1[0]), TRAP_PF);
    expect("which left nothing", l1[0] == before, 1);
  }
  /* Two entries at once. */
  extern void store_two(u64);
  u64 before = l1[0];
  expect("two entries by one store", guarded(store_two, (u64)&l1[0] + 4), TRAP_PF);
  expect("which left nothing either", l1[0] == before && l1[1] == 0, 1);
}

u64 bad_value;
void store_bad(u64 address) { *(volatile u64 *)address = bad_value; }
void store_two(u64 address) { *(volatile u64 *)address = 0x123456789abcdef0ul; }

static void forbidden_memory(void) {
  expect("read the machine-to-physical table", guarded(load, 0xffff800000000000ul), -1);
  expect("write it", guarded(store, 0xffff800000000000ul), TRAP_PF);
  expect("read past it", guarded(load, 0xffff803ffffff000ul), TRAP_PF);
  expect("read Xen's descriptor tables", guarded(load, 0xffff820000000000ul), TRAP_PF);
  expect("write them", guarded(store, 0xffff82000000e000ul), TRAP_PF);
  expect("read a linear address of no meaning", guarded(load, 0x0000900000000000ul), TRAP_GP);
  expect("jump into Xen", guarded(jump, 0xffff820000000000ul), TRAP_PF);
  remap(pool(6), P);
  expect("write what is read-only", guarded(store, (u64)at(pool(6))), TRAP_PF);
  remap(pool(6), P | RW | 1ul << 63);
  *at(pool(6)) = 0xc3;
  expect("execute what is not executable", guarded(jump, (u64)at(pool(6))), TRAP_PF);
  remap(pool(6), P | RW);
  expect("a right regained", guarded(jump, (u64)at(pool(6))), -1);
}

#define INSTRUCTION(name, text) \
  static void name(u64 a) { __asm__ volatile(text : : "a"(a), "c"(a), "d"(0ul) : "memory"); }
INSTRUCTION(hlt, "hlt")
INSTRUCTION(lgdt, "lgdt (%%rsp)")
INSTRUCTION(lidt, "lidt (%%rsp)")
INSTRUCTION(ltr, "ltr %%ax")
INSTRUCTION(lldt, "lldt %%ax")
INSTRUCTION(cli, "cli")
INSTRUCTION(in, "inb $0x60, %%al")
INSTRUCTION(wrmsr, "wrmsr")
INSTRUCTION(mov_cr0, "mov %%rax, %%cr0")
INSTRUCTION(mov_cr3, "mov %%rax, %%cr3")
INSTRUCTION(mov_cr8, "mov %%cr8, %%rax")
INSTRUCTION(invlpg, "invlpg (%%rax)")
INSTRUCTION(swapgs, "swapgs")
INSTRUCTION(int80, "int $0x80")
INSTRUCTION(ud2, "ud2")
INSTRUCTION(load_ss, "mov %%ax, %%ss")

static void instructions(void) {
  expect("HLT", guarded(hlt, 0), TRAP_GP);
  expect("LGDT", guarded(lgdt, 0), TRAP_GP);
  expect("LIDT", guarded(lidt, 0), TRAP_GP);
  expect("LTR", guarded(ltr, 0), TRAP_GP);
  expect("LLDT", guarded(lldt, 0), TRAP_GP);
  expect("CLI", guarded(cli, 0), TRAP_GP);
  expect("IN", guarded(in, 0), TRAP_GP);
  expect("WRMSR of LSTAR", guarded(wrmsr, 0xc0000082), TRAP_GP);
  expect("WRMSR of EFER", guarded(wrmsr, 0xc0000080), TRAP_GP);
  expect("CR0", guarded(mov_cr0, 0), TRAP_GP);
  expect("CR3", guarded(mov_cr3, 0x123000), TRAP_GP);
  expect("CR8", guarded(mov_cr8, 0), TRAP_GP);
  expect("INVLPG", guarded(invlpg, 0), TRAP_GP);
  expect("SWAPGS", guarded(swapgs, 0), TRAP_GP);
  expect("INT 0x80", guarded(int80, 0), TRAP_GP);
  expect("UD2", guarded(ud2, 0), TRAP_UD);
  expect("a selector past the GDT", guarded(load_ss, 0xffff), TRAP_GP);
  expect("Xen's own code segment", guarded(load_ss, 0xe008), TRAP_GP);
}

static void descriptors(void) {
  restore_pool();
  u64 *gdt = at(pool(7));
  static const u64 bad[] = {0x0000820000000067ul, 0x0000890000000067ul, 0x00008e0000330000ul, 0x00008c00e0080000ul};
  for (u32 i = 0; i < 4; i++) {
    remap(pool(7), P | RW);
    gdt[1] = bad[i];
    expect("a GDT that can be written", hypercall(HYPERVISOR_set_gdt, (u64[]){pool(7)}, 512ul, 0ul, 0ul, 0ul), -EINVAL);
    remap(pool(7), P);
    expect("a bad descriptor", hypercall(HYPERVISOR_set_gdt, (u64[]){pool(7)}, 512ul, 0ul, 0ul, 0ul), -EINVAL);
    expect("a bad descriptor by itself", hypercall(HYPERVISOR_update_descriptor, pool(8) * PAGE, bad[i], 0ul, 0ul, 0ul), -EINVAL);
  }
  remap(pool(7), P | RW);
  gdt[1] = 0x00cf92000000fffful; /* data, DPL 0 */
  remap(pool(7), P);
  expect("a good GDT", hypercall(HYPERVISOR_set_gdt, (u64[]){pool(7)}, 512ul, 0ul, 0ul, 0ul), 0);
  expect("lifted to CPL 3", gdt[1] >> 45 & 3, 3);
  expect("and usable", guarded(load_ss, 0xb), -1);
  expect("and locked", remap(pool(7), P | RW), -EBUSY);
  expect("its segment put back", guarded(load_ss, 0xe02b), -1);
  expect("no GDT", hypercall(HYPERVISOR_set_gdt, 0ul, 0ul, 0ul, 0ul, 0ul), 0);
}

static void pointers(void) {
  static const u64 bad[] = {0x800000000000ul, 0xffff7ffffffffffful, 0xffff800000000000ul, 0xffff87fffffffffful,
                            0xfffffffffffffff8ul, 0x1000ul,          0xffff820000000000ul};
  for (u32 i = 0; i < sizeof bad / sizeof *bad; i++) {
    expect("mmu_update from nowhere", hypercall(HYPERVISOR_mmu_update, bad[i], 1ul, 0ul, (u64)DOMID_SELF, 0ul), -EFAULT);
    expect("mmuext_op from nowhere", hypercall(HYPERVISOR_mmuext_op, bad[i], 1ul, 0ul, (u64)DOMID_SELF, 0ul), -EFAULT);
    expect("multicall from nowhere", hypercall(HYPERVISOR_multicall, bad[i], 1ul, 0ul, 0ul, 0ul), -EFAULT);
    expect("a trap table from nowhere", hypercall(HYPERVISOR_set_trap_table, bad[i], 0ul, 0ul, 0ul, 0ul), -EFAULT);
    expect("a version to nowhere", hypercall(HYPERVISOR_xen_version, 1ul, bad[i], 0ul, 0ul, 0ul), -EFAULT);
    expect_refused("an event from nowhere", hypercall(HYPERVISOR_event_channel_op, 6ul, bad[i], 0ul, 0ul, 0ul));
    expect_refused("a GDT from nowhere", hypercall(HYPERVISOR_set_gdt, bad[i], 512ul, 0ul, 0ul, 0ul));
  }
  remap(pool(9), P);
  expect("a version into a read-only page", hypercall(HYPERVISOR_xen_version, 1ul, at(pool(9)), 0ul, 0ul, 0ul), -EFAULT);
  hypercall(HYPERVISOR_update_va_mapping, at(pool(9)), 0ul, 2ul, 0ul, 0ul);
  expect("a version over a page's end", hypercall(HYPERVISOR_xen_version, 1ul, (u64)at(pool(9)) - 8, 0ul, 0ul, 0ul), -EFAULT);
  restore_pool();
}

u32 attack(void) {
  expect("a hypercall", hypercall(HYPERVISOR_xen_version, 0ul, 0ul, 0ul, 0ul, 0ul), XEN_VERSION);
  expect("by the page", hypercall_by_page(HYPERVISOR_xen_version, 0ul, 0ul, 0ul, 0ul), XEN_VERSION);
  expect("an unknown one", hypercall(77, 0ul, 0ul, 0ul, 0ul, 0ul), -ENOSYS);
  static const struct {
    const char *name;
    void (*run)(void);
  } groups[] = {
      {"page types", page_types},     {"stores", stores},           {"forbidden memory", forbidden_memory},
      {"instructions", instructions}, {"descriptors", descriptors}, {"pointers", pointers},
  };
  for (u32 i = 0; i < sizeof groups / sizeof *groups; i++) {
    print("attacks: %s\n", groups[i].name);
    groups[i].run();
    restore_pool();
  }
  return failures;
}

/* Each ends the guest, and the hypervisor says why. */
void lethal(u32 which) {
  static u64 frame[9];
  switch (which) {
    case 0: /* iret to user mode without page tables for it */
      frame[4] = 0x1000, frame[5] = 0xe033, frame[8] = 0xe02b;
      __asm__ volatile("mov %0, %%rsp; mov $23, %%eax; syscall" : : "r"(frame) : "memory");
      break;
    case 1: /* iret from a stack that is not there */
      __asm__ volatile("mov $0x1000, %%esp; mov $23, %%eax; syscall" : : : "memory");
      break;
    case 2: /* an exception with no stack to push it on */
      __asm__ volatile("mov $0xffff820000001000, %%rax; mov %%rax, %%rsp; ud2" : : : "memory");
      break;
    case 3: /* an exception that nobody handles */
      hypercall(HYPERVISOR_set_trap_table, 0ul, 0ul, 0ul, 0ul, 0ul);
      __asm__ volatile("ud2");
      break;
    case 4: /* page tables that map nothing */
      restore_pool();
      remap(pool(0), P);
      extended(MMUEXT_NEW_BASEPTR, pool(0), 0);
      break;
  }
}
