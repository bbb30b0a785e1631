/*
 * Random hypercalls: by the thousand, with arguments that are right in part, since what is all wrong is refused at once.
 * Tables and descriptor pages are made of the pool's frames; the guest's own tables and stack are named only as targets.
 * Left out is what ends, stops or upsets a guest by design: iret, shutdown, block, poll, the last processor going down, vcpu_info
 * elsewhere, NMIs, and a new trap table, which this guest needs for the faults that it makes itself.
 */
#include "guest.h"

/* xorshift64*, Vigna 2016 */
static u64 state;
static u64 random64(void) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dul;
}
static u64 below(u64 limit) { return random64() % limit; }

/* A frame to point to. Of the guest's own only its tables: what it pointed to at random it would write to at random. */
static u64 frame(void) {
  switch (below(8)) {
    case 0: return pool(0) + below(start->nr_pages + 512 - pool(0));
    case 1: return (start->pt_base - VIRT_BASE) / PAGE + below(start->nr_pt_frames);
    case 2: return (random64() >> below(64)) | start->nr_pages;
    default: return pool(below(POOL));
  }
}

/* A frame to change: not the guest's own tables, code and stack, which it needs to go on. */
static u64 target(void) {
  switch (below(8)) {
    case 0: return start->nr_pages + below(512);
    case 1: return random64() | start->nr_pages;
    default: return pool(below(POOL));
  }
}

/*
 * What the pool's own addresses come to map. The guest stores there, so not its tables (a store into one is an update), nor
 * shared_info (it would open itself to events).
 */
static u64 mapping(void) {
  static const u64 flags[] = {P, P | RW, P | RW, P | RW | US, P | RW | PSE, P | 1ul << 63, 0, 0xfff};
  u64 where = below(8) ? pool(below(POOL)) : start->nr_pages + 80 + below(64);
  return below(32) ? pte(where, flags[below(8)]) : (random64() & ~(0xffffful << 12)) | start->nr_pages << 13;
}

static u64 entry(void) {
  switch (below(8)) {
    case 0: return 0;
    case 1: return random64();
    case 2: return pte(frame(), below(4096));
    case 3: return pte(frame(), P | RW | PSE | US);
    case 4: return pte(frame(), P | RW);
    case 5: return pte(frame(), P | RW | US);
    default: return pte(frame(), P | US);
  }
}

/* Memory for structures: the pool's upper half, whether it is mapped at the moment or not; or nowhere. */
static u64 pointer(void) {
  switch (below(6)) {
    case 0: return random64();
    case 1: return 0xffff800000000000ul + below(0x80000000000ul);
    default: return VIRT_BASE + pool(POOL / 2 + below(POOL / 2)) * PAGE + below(PAGE);
  }
}

static u64 bad_pointer(void) {
  static const u64 bad[] = {0x800000000000ul, 0xffff7ffffffff000ul, 0xffff800000000000ul, 0xffff87fffffffffful, 0xfffffffffffffff9ul, 0};
  return bad[below(sizeof bad / sizeof *bad)];
}

static u64 argument(void) {
  switch (below(8)) {
    case 0: return 0;
    case 1: return below(64);
    case 2: return frame();
    case 3: return entry();
    case 4: return DOMID_SELF;
    case 5: return random64();
    default: return pointer();
  }
}

static void random_store(u64 where) {
  volatile u64 *word = (u64 *)where;
  switch (below(4)) {
    case 0: *word = entry(); break;
    case 1: __atomic_exchange_n(word, entry(), __ATOMIC_SEQ_CST); break;
    case 2: __atomic_fetch_and(word, ~(1ul << below(64)), __ATOMIC_SEQ_CST); break;
    default: *(volatile u32 *)where = entry(); break;
  }
}

static void random_load(u64 where) { (void)*(volatile u64 *)where; }

/* One hypercall, as a multicall takes it (struct multicall_entry). */
struct call {
  u64 number, result, arguments[6];
};

/* Calls are made up in batches of at most this many, each with memory of its own for what it points to. */
#define BATCH 8
static struct call calls[BATCH];
static u64 requests[BATCH][16];

static void make(struct call *call, u64 number, u64 a, u64 b, u64 c, u64 d, u64 e) {
  *call = (struct call){number, 0, {a, b, c, d, e, 0}};
}

static u64 domain(void) { return below(32) ? DOMID_SELF : random64(); }

static void make_update(struct call *call, u64 *list) {
  u64 count = 1 + below(8);
  for (u64 i = 0; i < count; i++) {
    list[2 * i] = (target() << 12 | below(512) << 3 | below(4)) ^ (below(32) == 0 ? below(8) : 0);
    list[2 * i + 1] = entry();
  }
  make(call, HYPERVISOR_mmu_update, below(32) ? (u64)list : bad_pointer(), count, below(8) ? 0 : pointer(), domain(), 0);
}

/* MMUEXT_NEW_BASEPTR is left out: any empty page is a valid root, and the guest would be gone. */
static void make_extended(struct call *call, u64 *list) {
  static const u8 commands[] = {0, 0, 1, 2, 3, 4, 4, 4, 6, 7, 10, 13, 15, 15, 16, 17, 18, 19, 99};
  u64 count = 1 + below(4);
  for (u64 i = 0; i < count; i++) {
    u8 command = commands[below(sizeof commands)];
    list[3 * i] = command;
    list[3 * i + 1] = command == MMUEXT_SET_LDT ? pointer() & ~(below(4) ? 0xffful : 0ul) : target();
    list[3 * i + 2] = below(4) ? frame() : argument();
  }
  make(call, HYPERVISOR_mmuext_op, below(32) ? (u64)list : bad_pointer(), count, below(8) ? 0 : pointer(), domain(), 0);
}

static void make_mapping(struct call *call) {
  u64 where = below(8) ? VIRT_BASE + pool(below(POOL)) * PAGE : (random64() | 0x800000000000ul) & ~(0x7ful << 40);
  make(call, HYPERVISOR_update_va_mapping, where, mapping(), below(16), 0, 0);
}

/* Any other hypercall. What would end or stop the guest by design becomes something else. */
static void make_other(struct call *call) {
  u64 number = below(8) ? below(48) : random64();
  u64 a = argument();
  switch (number) {
    case HYPERVISOR_mmu_update:
    case HYPERVISOR_multicall:
    case HYPERVISOR_mmuext_op:
      a = bad_pointer();
      break;
    case HYPERVISOR_set_trap_table:
    case HYPERVISOR_console_io:
    case HYPERVISOR_iret:
      number = HYPERVISOR_xen_version;
      break;
    case HYPERVISOR_memory_op:
      a = below(32);
      break;
    case HYPERVISOR_vcpu_op:
      a = below(16);
      if (a == 2 || a == 10 || a == 11) a = 3;
      break;
    case HYPERVISOR_sched_op_compat:
    case HYPERVISOR_sched_op:
      a = below(2) ? 0 : 5 + below(20);
      break;
    case HYPERVISOR_event_channel_op:
      a = below(16);
      if (a == 3 || a == 10) a = 5;
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
      make_extended(&calls[slot], requests[slot]);
      break;
    case 5:
      make_mapping(&calls[slot]);
      break;
    default:
      make_other(&calls[slot]);
      break;
  }
}

/* Fills one page of structures with likely words. */
static void fill(u64 where) {
  u64 *words = (u64 *)where;
  for (u32 i = 0; i < 64; i++) words[below(512)] = argument();
}

void fuzz(u64 seed, u64 rounds) {
  u64 refused = 0, faults = 0, done = 0;
  state = seed * 0x9e3779b97f4a7c15ul | 1;
  restore_pool();
  for (u64 turn = 0; done < rounds; turn++) {
    switch (below(8)) {
      case 0:
        if (guarded(random_store, VIRT_BASE + pool(below(POOL)) * PAGE + 8 * below(512)) >= 0) faults++;
        break;
      case 1:
        if (guarded(random_load, below(4) ? VIRT_BASE + pool(below(POOL)) * PAGE : random64()) >= 0) faults++;
        break;
      case 2:
        if (guarded(fill, VIRT_BASE + pool(POOL / 2 + below(POOL / 2)) * PAGE) >= 0) faults++;
        break;
      case 3: {
        u32 count = 1 + below(BATCH);
        for (u32 i = 0; i < count; i++) make_any(i);
        hypercall(HYPERVISOR_multicall, calls, (u64)count, 0, 0, 0);
        for (u32 i = 0; i < count; i++) refused += (long)calls[i].result < 0;
        done += count;
        break;
      }
      default: {
        make_any(0);
        const u64 *a = calls[0].arguments;
        refused += hypercall(calls[0].number, a[0], a[1], a[2], a[3], a[4]) < 0;
        done++;
        break;
      }
    }
    if (hypercall(HYPERVISOR_xen_version, 0ul, 0ul, 0ul, 0ul, 0ul) != XEN_VERSION) print("FAILED: hypercalls do not answer\n");
    if (turn % 256 == 255) restore_pool();
  }
  print("fuzz: %d hypercalls, %d refused, %d faults\n", (long)done, (long)refused, (long)faults);
}
