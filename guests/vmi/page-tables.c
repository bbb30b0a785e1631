/* The page-table calls: updates at once, updates in lazy mode, and every way to make sure of them. */
#include "guest.h"

#define WINDOW 0xd0000000u
#define P_RW 3
#define GLOBAL 0x100
#ifdef PAE
#define DIRECTORY_INDEX ((WINDOW & 0x3fffffff) >> 21)
#define FIRST_KERNEL_ENTRY 3
#define KERNEL_ENTRIES 1
#else
#define DIRECTORY_INDEX (WINDOW >> 22)
#define FIRST_KERNEL_ENTRY 768
#define KERNEL_ENTRIES 256
#endif
#define ALIGNED __attribute__((aligned(4096)))

static pte_t table[ENTRIES] ALIGNED, other_root[ENTRIES] ALIGNED;
static u32 page_a[1024] ALIGNED, page_b[1024] ALIGNED;

static void set_pte(pte_t *entry, pte_t value, u32 flags) {
#ifdef PAE
  vmi_stack(VMI_SetPxELong, (u32)value, value >> 32, (u32)entry, flags, 0);
#else
  vmi(VMI_SetPxE, value, (u32)entry, flags);
#endif
}

static volatile u32 *window(u32 page) { return (volatile u32 *)(WINDOW + page * PAGE); }
static void map(u32 page, const void *target, u32 rights) {
  set_pte(&table[page], target ? physical(target) | rights : 0, PAGE_PT | PAGE_CURRENT_AS | (WINDOW + page * PAGE));
}
static int reads(u32 page, u32 expected) {
  u32 value;
  return !read_faults(window(page), &value) && value == expected;
}
static int faults(u32 page) {
  u32 value;
  return read_faults(window(page), &value);
}

static void check_direct(void) {
  vmi_stack(VMI_AllocatePage, page_of(table), PAGE_PT | PAGE_ZEROED | PAGE_PAE, 0, 0, 0);
  set_pte(&boot_directory[DIRECTORY_INDEX], physical(table) | P_RW, PAGE_PD);
  check("an entry that is not there faults", faults(0));
  map(0, page_a, P_RW);
  check("SetPxE maps a page", reads(0, 'a'));
  *window(0) = 'A';
  int written = page_a[0] == 'A';
  page_a[0] = 'a';
  check("which can be written", written && (table[0] & 0x60) == 0x60);
  map(0, page_b, P_RW);
  vmi(VMI_InvalPage, WINDOW, 0, 0);
  check("InvalPage shows another page", reads(0, 'b'));
  map(0, page_a, P_RW);
  vmi(VMI_FlushTLB, 1, 0, 0);
  check("FlushTLB does", reads(0, 'a'));
  map(0, page_b, P_RW | GLOBAL);
  vmi(VMI_FlushTLB, 1, 0, 0);
  int first = reads(0, 'b');
  map(0, page_a, P_RW | GLOBAL);
  vmi(VMI_FlushTLB, 3, 0, 0);
  check("FlushTLB of global pages does", first && reads(0, 'a'));
  map(0, 0, 0);
  vmi(VMI_InvalPage, WINDOW, 0, 0);
  check("an entry that is gone faults", faults(0));
  table[0] = physical(page_b) | P_RW;
  u32 type;
  relocation(sizeof(pte_t) == 8 ? VMI_UpdatePxELong : VMI_UpdatePxE, &type);
  if (type == RELOCATION_CALL) vmi(sizeof(pte_t) == 8 ? VMI_UpdatePxELong : VMI_UpdatePxE, (u32)&table[0], PAGE_PT, 0);
  check("UpdatePxE: an entry changed in place", reads(0, 'b'));
  map(0, 0, 0);
  vmi(VMI_InvalPage, WINDOW, 0, 0);
}

/* One update in lazy mode, then `finish`: it must have been made. */
static int after(u32 number, u32 eax) {
  vmi(VMI_SetLazyMode, 1, 0, 0);
  map(1, page_a, P_RW);
  vmi(number, eax, 0, 0);
  int made = table[1] != 0 && reads(1, 'a');
  vmi(VMI_SetLazyMode, 0, 0, 0);
  map(1, 0, 0);
  vmi(VMI_InvalPage, WINDOW + PAGE, 0, 0);
  return made;
}

static void check_lazy(void) {
  vmi(VMI_SetLazyMode, 1, 0, 0);
  map(1, page_a, P_RW);
  int deferred = table[1] == 0;
  vmi(VMI_SetLazyMode, 0, 0, 0);
  /* With several processors none is: the ROM's code does not know whose mode it would be. */
  check("lazy mode defers an update", deferred == !option("second", 0));
  check("its end makes it", table[1] != 0 && reads(1, 'a'));
  map(1, 0, 0);
  vmi(VMI_InvalPage, WINDOW + PAGE, 0, 0);
  u32 cr3 = vmi(VMI_GetCR3, 0, 0, 0);
  check("so does InvalPage", after(VMI_InvalPage, WINDOW + PAGE));
  check("so does FlushTLB", after(VMI_FlushTLB, 1));
  check("so does SetCR3", after(VMI_SetCR3, cr3));
  check("so does another mode", after(VMI_SetLazyMode, 2));

  vmi(VMI_SetLazyMode, 1, 0, 0);
  map(2, page_b, P_RW);
  check("so does a page fault", reads(2, 'b'));
  check("which is one if nothing waits", faults(3));
  u32 flags = save_flags();
  enable();
  map(3, page_a, P_RW);
  int on = (save_flags() & FLAG_IF) != 0;
  restore_flags(flags);
  check("deferring keeps the interrupt flag", on);
  map(3, page_b, P_RW);
  vmi(VMI_SetLazyMode, 0, 0, 0);
  check("the last update of an entry counts", reads(3, 'b'));

  /* More than any queue holds. */
  vmi(VMI_SetLazyMode, 1, 0, 0);
  for (u32 round = 0; round < 3; round++)
    for (u32 page = 4; page < ENTRIES; page++) map(page, page & 1 ? page_a : page_b, P_RW);
  vmi(VMI_SetLazyMode, 0, 0, 0);
  int all = 1;
  for (u32 page = 4; page < ENTRIES; page++) all &= reads(page, page & 1 ? 'a' : 'b');
  check("thousands of updates are made", all);
  for (u32 page = 0; page < ENTRIES; page++) map(page, 0, 0);
  vmi(VMI_FlushTLB, 1, 0, 0);

  /* A page table seen at another place, as a kernel does with those in high memory. */
  map(5, table, P_RW);
  vmi_stack(VMI_SetLinearMapping, 1, WINDOW + 5 * PAGE, 1, page_of(table), 0);
  vmi(VMI_SetLazyMode, 1, 0, 0);
  set_pte((pte_t *)(WINDOW + 5 * PAGE) + 6, physical(page_a) | P_RW, PAGE_PT);
  vmi(VMI_SetLazyMode, 0, 0, 0);
  check("a page table at another address", reads(6, 'a'));
}

static void check_roots(void) {
#ifdef PAE
  pte_t *root = boot_pointers;
#else
  pte_t *root = boot_directory;
#endif
  for (u32 i = 0; i < ENTRIES; i++) other_root[i] = root[i];
  vmi_stack(VMI_AllocatePage, page_of(other_root), PAGE_PD | PAGE_CLONE | PAGE_ZEROED | PAGE_PAE, page_of(root),
            FIRST_KERNEL_ENTRY, KERNEL_ENTRIES);
  u32 cr3 = vmi(VMI_GetCR3, 0, 0, 0);
  vmi(VMI_SetCR3, physical(other_root), 0, 0);
  int there = reads(6, 'a') && (u32)vmi(VMI_GetCR3, 0, 0, 0) == physical(other_root);
  vmi(VMI_SetCR3, cr3, 0, 0);
  check("another root, and back", there && reads(6, 'a'));
  vmi(VMI_ReleasePage, page_of(other_root), PAGE_PD | PAGE_ZEROED | PAGE_PAE, 0);
  vmi(VMI_ReleasePage, page_of(other_root), PAGE_PD | PAGE_ZEROED | PAGE_PAE, 0);
  check("ReleasePage, even twice", 1);
}

void check_page_tables(void) {
  page_a[0] = 'a';
  page_b[0] = 'b';
  check_direct();
  check_lazy();
  check_roots();
}
