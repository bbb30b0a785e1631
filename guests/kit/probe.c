/*
 * A kernel on the kit that asks more of it than the example does: timers beyond a second, text out of handlers, interrupts from each
 * processor to each, page tables of its own, data in sections of other names. With `crash` on its command line it prints what is no text.
 */
#include <paravirt.h>

#define IPI 0x40
#define ROUNDS 10
#define NANOSECONDS 1000000000ull

static unsigned checks, failed;
static volatile unsigned ticks, arrived[PV_MAX_CPUS];
static volatile uint32_t ready, go;
static volatile uint64_t roots[PV_MAX_CPUS];
static uint8_t stacks[8][8192] __attribute__((aligned(16)));
static uint64_t top[512] __attribute__((aligned(4096)));
static volatile uint32_t placed __attribute__((section("other_data"))) = 42;

static void check(const char *what, bool passed) {
  checks++;
  failed += !passed;
  pv_print("%s %s\n", passed ? "ok" : "FAILED", what);
}

static uint64_t root(void) {
  uint64_t value;
  __asm__ volatile("mov %%cr3, %0" : "=r"(value));
  return value;
}

static void tick(void) {
  ticks++;
  pv_print("<%u>", ticks);
}
static void arrive(void) { arrived[pv_this_cpu()->id]++; }

static void wait_for_tick(unsigned before) {
  pv_ops.irq.disable();
  while (ticks == before) {
    pv_ops.irq.halt();
    pv_ops.irq.disable();
  }
}

static void check_timer(void) {
  uint64_t at = pv_ops.time.clock() + NANOSECONDS * 3 / 2;
  unsigned before = ticks;
  pv_ops.time.set_timer(at);
  wait_for_tick(before);
  check("a timer of a second and a half is not early", ticks == before + 1 && pv_ops.time.clock() >= at);
}

static void check_print(void) {
  unsigned before = ticks;
  uint64_t end = pv_ops.time.clock() + 5 * NANOSECONDS;
  for (unsigned seen = before - 1; ticks < before + 3 && pv_ops.time.clock() < end;) {
    if (seen != ticks) pv_ops.time.set_timer(pv_ops.time.clock() + 200000);
    seen = ticks;
    pv_ops.irq.enable();
    pv_print("%s", ".");
    pv_ops.irq.disable();
  }
  pv_print("\n");
  check("a handler prints, whoever it interrupts", ticks >= before + 3);
}

/* Whether each processor has had `count` interrupts, in five seconds of the clock at most. */
static bool all_arrived(unsigned count) {
  uint64_t end = pv_ops.time.clock() + 5 * NANOSECONDS;
  for (;;) {
    bool all = true;
    for (unsigned cpu = 0; cpu < pv_ops.smp.count(); cpu++) all &= arrived[cpu] >= count;
    if (all || pv_ops.time.clock() > end) return all;
    pv_ops.smp.yield(0);
  }
}

static void send_to_all(void) {
  for (unsigned round = 0; round < ROUNDS; round++)
    for (unsigned cpu = 0; cpu < pv_ops.smp.count(); cpu++)
      if (cpu != pv_this_cpu()->id) pv_ops.irq.send_ipi(1ull << cpu, IPI);
}

static void other(void) {
  bool is_pv = pv_ops.smp.start && pv_name[0] == 'X' && pv_name[4] == 'P' && pv_name[6] == 0;
  roots[pv_this_cpu()->id] = is_pv ? 0 : root();
  pv_ops.irq.enable();
  __atomic_fetch_add(&ready, 1, __ATOMIC_ACQ_REL);
  while (!go) pv_ops.smp.yield(0);
  send_to_all();
  for (;;) pv_ops.irq.halt();
}

static void check_processors(const struct pv_boot_info *boot) {
  unsigned count = pv_ops.smp.count();
  bool is_pv = boot->entry[0] == 'X';
  if (!is_pv) {
    for (unsigned i = 0; i < 512; i++) top[i] = ((uint64_t *)(root() & ~0xfffull))[i];
    __asm__ volatile("mov %0, %%cr3" : : "r"(top) : "memory");
  }
  for (unsigned cpu = 1; cpu < count; cpu++)
    check("a processor starts", pv_ops.smp.start(cpu, other, stacks[cpu - 1] + sizeof stacks[0]));
  while (ready < count - 1) pv_ops.smp.yield(0);
  bool same = true;
  for (unsigned cpu = 1; cpu < count; cpu++) same &= is_pv || roots[cpu] == (uint64_t)top;
  check("the others have the page tables of who starts them", same);

  pv_handle(IPI, arrive);
  pv_ops.irq.enable();
  arrived[0] = ~0u / 2;
  bool each = true;
  for (unsigned round = 1; round <= ROUNDS; round++) {
    for (unsigned cpu = 1; cpu < count; cpu++) pv_ops.irq.send_ipi(1ull << cpu, IPI);
    each &= all_arrived(round);
  }
  check("each interrupt arrives at each processor", each);
  /* Interrupts that are sent again before they are taken are one: at least one of each sender's is left. */
  for (unsigned cpu = 0; cpu < count; cpu++) arrived[cpu] = 0;
  go = 1;
  send_to_all();
  check("from all to all at once", all_arrived(1));
  for (unsigned cpu = 0; cpu < count; cpu++) arrived[cpu] = 0;
  pv_ops.irq.send_ipi((1ull << count) - 2, IPI);
  arrived[0] = 1;
  check("and one to all others", all_arrived(1));
}

static void check_saving(void) {
  pv_ops.irq.enable();
  bool outer = pv_close();
  bool inner = pv_close();
  bool closed = !pv_ops.irq.is_open();
  pv_restore(inner);
  closed &= !pv_ops.irq.is_open();
  pv_restore(outer);
  check("closing nests", outer && !inner && closed && pv_ops.irq.is_open());
  pv_ops.irq.disable();
}

void pv_main(const struct pv_boot_info *boot) {
  pv_print("probe on %s", pv_name);
  pv_print("\n");
  pv_handle(PV_TIMER_VECTOR, tick);
  for (const char *at = boot->command_line; *at; at++)
    if (at[0] == 'c' && at[1] == 'r' && at[2] == 'a' && at[3] == 's' && at[4] == 'h') pv_print("half a line and %s", (const char *)0x700000000000);
  check("data in a section of another name", placed == 42);
  check_saving();
  check_timer();
  check_print();
  check_processors(boot);
  pv_print("probe: %u checks, %u failed", checks, failed);
  pv_ops.boot.power_off();
}
