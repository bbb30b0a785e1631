/* Page tables of a 32-bit guest: three levels, the last of the four entries of a root with Xen in its table. */
#include "guest.h"

static u32 first_free;
static u64 *at(u32 index) { return (u64 *)(VIRT_BASE + (first_free + index) * PAGE); }
static u64 pte(u32 index, u32 flags) { return ((u64)(first_free + index) << 12) | flags; }

static long update(u32 frame, u32 index, u64 value) {
  u64 request[2] = {(u64)frame * PAGE + index * 8, value};
  return hypercall(HYPERVISOR_mmu_update, request, 1, 0, DOMID_SELF, 0);
}

static long extended(u32 command, u32 frame) {
  u32 operation[3] = {command, frame, 0};
  return hypercall(HYPERVISOR_mmuext_op, operation, 1, 0, DOMID_SELF, 0);
}

static long remap(u32 index, u32 flags) {
  u64 entry = pte(index, flags);
  return hypercall(HYPERVISOR_update_va_mapping, at(index), (u32)entry, (u32)(entry >> 32), 2, 0);
}

static u32 read(u32 address) { return *(volatile u32 *)address; }
static void load(u32 address) { read(address); }
static void store_large(u32 address) { *(volatile u32 *)address = 0x83; }

void check_memory(struct start_info *start) {
  u32 root = (start->pt_base - VIRT_BASE) / PAGE;
  u64 *root_entries = (u64 *)start->pt_base;
  first_free = root + start->nr_pt_frames + 1;
  const u32 *list = (u32 *)start->mfn_list, *m2p = (u32 *)HYPERVISOR_VIRT_START;
  expect("the list of frames", list[0x123], 0x123);
  expect("the machine-to-physical table", m2p[0x123], 0x123);
  u64 request[2] = {(0x123u << 12) | 1, 0x456};
  expect("MMU_MACHPHYS_UPDATE", hypercall(HYPERVISOR_mmu_update, request, 1, 0, DOMID_SELF, 0), 0);
  expect("the table after it", m2p[0x123], 0x456);
  request[1] = 0x123;
  hypercall(HYPERVISOR_mmu_update, request, 1, 0, DOMID_SELF, 0);

  /* Plain stores into an L1 table: each half is 4 bytes, and the lower one is the one that counts. */
  u32 l1_frame = (u32)(((u64 *)(VIRT_BASE + (u32)(root_entries[3] & ~0xfffull)))[0] >> 12);
  volatile u32 *l1 = (u32 *)(VIRT_BASE + l1_frame * PAGE);
  u32 page = first_free + 1;
  at(0)[0] = 0x1111, at(1)[0] = 0x2222;
  /* The first L1 table of the mapping maps pages 0 to 511: page 5 is nobody's. */
  u32 slot = 5, window = VIRT_BASE + slot * PAGE;
  l1[2 * slot] = 0;
  l1[2 * slot + 1] = 0;
  expect("unmapped by a store", guarded(load, window), TRAP_PF);
  l1[2 * slot + 1] = 0;
  l1[2 * slot] = (page << 12) | P;
  expect("mapped by a store", read(window), 0x2222);
  expect("an entry stands as it was written", l1[2 * slot] & ~0x60u, (page << 12) | P);

  /* The upper half of an entry that is present, and makes it one of no frame: first of the two stores, says Xen. */
  l1[2 * slot + 1] = 0x000fffff;
  expect("an upper half that comes first", l1[2 * slot] & P, 0);
  l1[2 * slot + 1] = 0;
  l1[2 * slot] = (page << 12) | P;
  expect("mapped again", read(window), 0x2222);
  /* An entry that is not allowed has not been stored: the fault is the guest's. */
  expect("a store of a large page", guarded(store_large, (u32)&l1[2 * slot]), TRAP_PF);

  /* A root of our own: its four tables, the last with a copy of the kernel's. */
  for (u32 i = 2; i < 7; i++)
    for (u32 n = 0; n < 512; n++) at(i)[n] = 0;
  u64 *kernel_l2 = (u64 *)(VIRT_BASE + (u32)(root_entries[3] & ~0xfffull));
  for (u32 i = 0; i < 428; i++) at(3)[i] = kernel_l2[i];
  at(4)[0] = pte(5, P | RW | US);
  at(5)[7] = pte(1, P | US);
  at(2)[0] = pte(4, P);
  at(2)[400] = 0x12345;
  for (u32 i = 2; i < 6; i++) remap(i, P);
  expect("a root without its last table", extended(MMUEXT_PIN_L3_TABLE, first_free + 2), -EINVAL);
  remap(2, P | RW);
  at(2)[3] = pte(3, P);
  remap(2, P);
  expect("pin a root", extended(MMUEXT_PIN_L3_TABLE, first_free + 2), 0);
  expect("what is behind its four entries is cleared", (u32)at(2)[400], 0);
  expect("pin the last table", extended(MMUEXT_PIN_L2_TABLE, first_free + 3), -EINVAL);
  expect("pin as L4: nothing to do", extended(MMUEXT_PIN_L4_TABLE, first_free + 2), 0);
  expect("change the last entry", update(first_free + 2, 3, pte(4, P)), -EINVAL);
  expect("change Xen's entries", update(first_free + 3, 428, 0), -EINVAL);
  expect("change an entry below them", update(first_free + 3, 427, 0), 0);
  expect("an entry of a root with NX", update(first_free + 2, 1, pte(4, P) | 1ull << 63), -EINVAL);
  expect("map a table writable", remap(5, P | RW), -EBUSY);
  expect("NEW_BASEPTR", extended(MMUEXT_NEW_BASEPTR, first_free + 2), 0);
  expect("read by the new root", read(7 * PAGE), 0x2222);
  expect("the machine-to-physical table there", m2p[0x123], 0x123);
  u32 cr3;
  __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
  expect("CR3", cr3, (first_free + 2) << 12);
  expect("update an L1 entry", update(first_free + 5, 7, pte(0, P | US)), 0);
  expect("read the change", read(7 * PAGE), 0x1111);
  expect("take the table away", update(first_free + 2, 0, 0), 0);
  expect("nothing is there", guarded(load, 7 * PAGE), TRAP_PF);
  __asm__ volatile("mov %0, %%cr3" : : "r"(root << 12));
  expect("unpin", extended(MMUEXT_UNPIN_TABLE, first_free + 2), 0);
  expect("a root that is free again", remap(2, P | RW), 0);
  expect("its entries are PAE's again", (u32)at(2)[3] & 0x26, 0);
}
