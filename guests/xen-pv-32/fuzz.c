/*
 * Random hypercalls of a 32-bit guest: by the thousand, with arguments that are right in part, since what is all wrong is
 * refused at once. Tables and descriptor pages are made of frames that nothing else uses; the guest's own tables are named
 * only as what others point to. Left out is what ends, stops or upsets a guest by design: iret, shutdown, block, poll,
 * another root, vcpu_info elsewhere or overwritten (shared_info is the frame at `pages`), NMIs, and a new trap table.
 */
#include "guest.h"

#define POOL 24
#define PSE 0x80u

static u32 first, pages, tables, table_count;

/* xorshift32, Marsaglia 2003 */
static u32 state;
static u32 random32(void) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}
static u32 below(u32 limit) { return random32() % limit; }
static u32 pool(u32 index) { return first + index; }
static u64 *at(u32 frame) { return (u64 *)(VIRT_BASE + frame * PAGE); }
static u64 pte(u32 frame, u32 flags) { return (u64)frame << 12 | flags; }

static long map(u32 address, u64 entry) {
  return hypercall(HYPERVISOR_update_va_mapping, address, (u32)entry, (u32)(entry >> 32), 2, 0);
}

static long extended(u32 command, u32 argument1, u32 argument2) {
  u32 operation[3] = {command, argument1, argument2};
  return hypercall(HYPERVISOR_mmuext_op, operation, 1, 0, DOMID_SELF, 0);
}

/* Makes the pool what it was: all frames writable, untyped. */
static void restore_pool(void) {
  extended(MMUEXT_SET_LDT, 0, 0);
  hypercall(HYPERVISOR_set_gdt, 0, 0, 0, 0, 0);
  for (u32 i = 0; i < POOL; i++) extended(MMUEXT_UNPIN_TABLE, pool(i), 0);
  for (u32 i = 0; i < POOL; i++) map(VIRT_BASE + pool(i) * PAGE, 0);
  for (u32 i = 0; i < POOL; i++) map(VIRT_BASE + pool(i) * PAGE, pte(pool(i), P | RW));
}

/* A frame to point to. Of the guest's own only its tables: what it pointed to at random it would write to at random. */
static u32 any_frame(void) {
  switch (below(8)) {
    case 0: return pages + 1 + below(511);
    case 1: return tables + below(table_count);
    case 2: return (random32() >> below(32)) | (pages + 1);
    default: return pool(below(POOL));
  }
}

/* A frame to change: not the guest's own tables, code and stack, which it needs to go on. */
static u32 target(void) {
  switch (below(8)) {
    case 0: return pages + 1 + below(511);
    case 1: return random32() | (pages + 1);
    default: return pool(below(POOL));
  }
}

static u64 entry(void) {
  switch (below(8)) {
    case 0: return 0;
    case 1: return (u64)random32() << 32 | random32();
    case 2: return pte(any_frame(), below(4096));
    case 3: return pte(any_frame(), P | RW | PSE | US);
    case 4: return pte(any_frame(), P | RW);
    case 5: return pte(any_frame(), P | RW | US);
    case 6: return pte(any_frame(), P) | 1ull << 63;
    default: return pte(any_frame(), P);
  }
}

/* What the pool's own addresses come to map: the pool, or Xen's frames behind shared_info and the grant table. */
static u64 mapping(void) {
  static const u32 flags[] = {P, P | RW, P | RW, P | RW | US, P | RW | PSE, 0, 0xfff};
  u32 where = below(8) ? pool(below(POOL)) : pages + 80 + below(64);
  return pte(where, flags[below(7)]) | (below(8) ? 0 : 1ull << 63);
}

/* Memory for structures: the pool's upper half, whether it is mapped at the moment or not; or nowhere. */
static u32 pointer(void) {
  switch (below(6)) {
    case 0: return random32() | 0xf0000000;
    case 1: return HYPERVISOR_VIRT_START + below(0xa800000);
    default: return VIRT_BASE + pool(POOL / 2 + below(POOL / 2)) * PAGE + below(PAGE);
  }
}

static u32 bad_pointer(void) {
  static const u32 bad[] = {HYPERVISOR_VIRT_START, HYPERVISOR_VIRT_START - 1, 0xfffffff9, 0xffffffff, 0x10, 0};
  return bad[below(sizeof bad / sizeof *bad)];
}

static u32 argument(void) {
  switch (below(8)) {
    case 0: return 0;
    case 1: return below(64);
    case 2: return any_frame();
    case 3: return (u32)entry();
    case 4: return DOMID_SELF;
    case 5: return random32();
    default: return pointer();
  }
}

/* One hypercall, as a multicall takes it (struct multicall_entry). */
struct call {
  u32 number, result, arguments[6];
};

#define BATCH 8
static struct call calls[BATCH];
static u64 requests[BATCH][16];

static void make(struct call *call, u32 number, u32 a, u32 b, u32 c, u32 d, u32 e) {
  *call = (struct call){number, 0, {a, b, c, d, e, 0}};
}

static u32 domain(void) { return below(32) ? DOMID_SELF : random32(); }

static void make_update(struct call *call, u64 *list) {
  u32 count = 1 + below(8);
  for (u32 i = 0; i < count; i++) {
    u32 index = below(4) ? below(512) : below(5);
    list[2 * i] = ((u64)target() << 12 | index << 3 | below(4)) ^ (below(32) == 0 ? below(8) : 0);
    list[2 * i + 1] = entry();
  }
  u32 pointed = below(32) ? (u32)list : bad_pointer();
  make(call, HYPERVISOR_mmu_update, pointed, count, below(8) ? 0 : pointer(), domain(), 0);
}

static void make_extended(struct call *call, u32 *list) {
  static const u8 commands[] = {0, 0, 1, 2, 2, 3, 4, 4, 4, 6, 7, 10, 13, 15, 16, 17, 18, 19, 99};
  u32 count = 1 + below(4);
  for (u32 i = 0; i < count; i++) {
    u8 command = commands[below(sizeof commands)];
    list[3 * i] = command;
    list[3 * i + 1] = command == MMUEXT_SET_LDT ? pointer() & ~(below(4) ? 0xfffu : 0u) : target();
    list[3 * i + 2] = below(4) ? any_frame() : argument();
  }
  u32 pointed = below(32) ? (u32)list : bad_pointer();
  make(call, HYPERVISOR_mmuext_op, pointed, count, below(8) ? 0 : pointer(), domain(), 0);
}

/* Any other hypercall. What would end or stop the guest by design becomes something else. */
static void make_other(struct call *call) {
  u32 number = below(8) ? below(48) : random32();
  u32 a = argument();
  switch (number) {
    case HYPERVISOR_mmu_update:
    case HYPERVISOR_multicall:
    case HYPERVISOR_mmuext_op:
      a = bad_pointer();
      break;
    case HYPERVISOR_set_trap_table:
    case 6: /* sched_op_compat: its block takes no pointer */
    case HYPERVISOR_update_va_mapping:
    case 22: /* update_va_mapping_otherdomain */
    case HYPERVISOR_console_io:
    case HYPERVISOR_iret:
      number = HYPERVISOR_xen_version;
      break;
    case HYPERVISOR_memory_op:
      a = below(32);
      break;
    case 24: /* vcpu_op: down, register_vcpu_info, send_nmi */
      a = below(16);
      if (a == 2 || a == 10 || a == 11) a = 3;
      break;
    case HYPERVISOR_sched_op:
      a = below(2) ? 0 : 5 + below(20);
      break;
    case HYPERVISOR_event_channel_op:
      a = below(16);
      if (a == 3 || a == 10) a = 5;
      break;
    case 16: /* event_channel_op_compat */
      number = HYPERVISOR_xen_version;
      break;
  }
  make(call, number, a, argument(), argument(), argument(), argument());
}

static void make_any(u32 slot) {
  switch (below(8)) {
    case 0:
    case 1:
    case 2:
      make_update(&calls[slot], requests[slot]);
      break;
    case 3:
    case 4:
      make_extended(&calls[slot], (u32 *)requests[slot]);
      break;
    case 5: {
      u64 value = mapping();
      u32 where = below(8) ? VIRT_BASE + pool(below(POOL)) * PAGE : random32() | 0xe0000000;
      make(&calls[slot], HYPERVISOR_update_va_mapping, where, (u32)value, (u32)(value >> 32), below(16), 0);
      break;
    }
    default:
      make_other(&calls[slot]);
      break;
  }
}

static void random_store(u32 where) {
  volatile u32 *word = (u32 *)where;
  switch (below(3)) {
    case 0: word[below(2)] = (u32)entry(); break;
    case 1: __atomic_exchange_n(word, (u32)entry(), __ATOMIC_SEQ_CST); break;
    default: __atomic_fetch_and(word, ~(1u << below(32)), __ATOMIC_SEQ_CST); break;
  }
}

static void random_load(u32 where) { (void)*(volatile u32 *)where; }

/* Fills one page of structures with likely words. */
static void fill(u32 where) {
  u32 *words = (u32 *)where;
  for (u32 i = 0; i < 64; i++) words[below(1024)] = argument();
}

/* Trees of tables: what random words alone would never make. */
static void make_tree(void) {
  u32 root = below(POOL - 4);
  u64 *kernel = at((u32)(at(tables)[3] >> 12));
  for (u32 i = 0; i < 4; i++) map(VIRT_BASE + pool(root + i) * PAGE, pte(pool(root + i), P | RW));
  for (u32 i = 0; i < 4; i++) {
    u64 *table = at(pool(root + i));
    for (u32 n = 0; n < 512; n++) table[n] = i == 1 && n < 428 ? kernel[n] : 0;
  }
  at(pool(root))[3] = pte(pool(root + 1), P);
  at(pool(root))[below(3)] = pte(pool(root + 2), P);
  at(pool(root + 2))[below(512)] = pte(pool(root + 3), P | RW | US);
  for (u32 i = 0; i < 4; i++) map(VIRT_BASE + pool(root + i) * PAGE, pte(pool(root + i), P));
  extended(MMUEXT_PIN_L3_TABLE, pool(root), 0);
}

void fuzz(struct start_info *start, u32 seed, u32 rounds) {
  u32 refused = 0, faults = 0, done = 0;
  state = seed * 0x9e3779b9u | 1;
  tables = (start->pt_base - VIRT_BASE) / PAGE;
  table_count = start->nr_pt_frames;
  pages = start->nr_pages;
  first = tables + table_count + 1;
  restore_pool();
  for (u32 turn = 0; done < rounds; turn++) {
    u32 where = VIRT_BASE + pool(below(POOL)) * PAGE + 8 * below(512);
    switch (below(8)) {
      case 0:
        if (guarded(random_store, where) != -1u) faults++;
        break;
      case 1:
        if (guarded(random_load, below(4) ? where : random32()) != -1u) faults++;
        break;
      case 2:
        if (guarded(fill, VIRT_BASE + pool(POOL / 2 + below(POOL / 2)) * PAGE) != -1u) faults++;
        break;
      case 3: {
        u32 count = 1 + below(BATCH);
        for (u32 i = 0; i < count; i++) make_any(i);
        hypercall(HYPERVISOR_multicall, calls, count, 0, 0, 0);
        for (u32 i = 0; i < count; i++) refused += (int)calls[i].result < 0;
        done += count;
        break;
      }
      default: {
        make_any(0);
        const u32 *a = calls[0].arguments;
        refused += hypercall(calls[0].number, a[0], a[1], a[2], a[3], a[4]) < 0;
        done++;
        break;
      }
    }
    if (hypercall(HYPERVISOR_xen_version, 0, 0, 0, 0, 0) != ((4 << 16) | 17)) print("FAILED: hypercalls do not answer\n");
    if (turn % 64 == 63) guarded((void (*)(u32))make_tree, 0);
    if (turn % 256 == 255) restore_pool();
  }
  print("fuzz: %d hypercalls, %d refused, %d faults\n", done, refused, faults);
}
