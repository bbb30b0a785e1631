/*
 * A kernel that uses all of the kit: starts every processor, says who is underneath and which function does what, checks that it
 * does so, measures what it costs, beside what bare hardware's way costs here, and switches the machine off.
 */
#include <paravirt.h>

#define IPI_VECTOR 0x40
#define ROUNDS 50
#define NOTHING 0

static uint8_t stacks[PV_MAX_CPUS][8192] __attribute__((aligned(16)));
static unsigned failures;

static void check(bool good, const char *what) {
  if (good) return;
  failures++;
  pv_print("example: FAILED: %s\n", what);
}

/* ---- The other processors: each waits for mail and answers it --------------------------------------------------------- */

static volatile uint32_t mail[PV_MAX_CPUS], answers[PV_MAX_CPUS];
static volatile uint32_t interrupts[PV_MAX_CPUS], ticks[PV_MAX_CPUS];

static void on_interrupt(void) { interrupts[pv_this_cpu()->id]++; }
static void on_tick(void) { ticks[pv_this_cpu()->id]++; }

static void worker(void) {
  unsigned me = pv_this_cpu()->id;
  pv_ops.irq.enable();
  for (;;) {
    pv_ops.smp.wait(&mail[me], NOTHING);
    mail[me] = NOTHING;
    answers[me]++;
  }
}

/* Writes to a processor, wakes it by `kick`, and waits for the answer. */
static void ask_by(void (*kick)(unsigned), unsigned cpu) {
  uint32_t before = answers[cpu];
  mail[cpu] = 1;
  kick(cpu);
  while (answers[cpu] == before) pv_pause();
}

/* ---- What is measured: each of these does an operation once ----------------------------------------------------------- */

static unsigned target;          /* another processor; ourselves if there is none */
static uint64_t least_end;       /* of the operation irq.end, which happens in an interrupt */
static void (*measured_end)(void);
static volatile uint64_t sink;

static void timed_end(void) {
  uint64_t start = pv_rdtsc();
  measured_end();
  uint64_t ticks_taken = pv_rdtsc() - start;
  if (ticks_taken < least_end) least_end = ticks_taken;
}

static void do_console_write(void) { pv_ops.boot.console_write(" ", 1); }
static void do_flush_tlb(void) { pv_ops.mmu.flush_tlb(1ull << target, stacks); }
static void do_disable_enable(void) {
  pv_ops.irq.disable();
  pv_ops.irq.enable();
}
static void do_send_ipi(void) {
  uint32_t before = interrupts[target];
  pv_ops.irq.send_ipi(1ull << target, IPI_VECTOR);
  while (interrupts[target] == before) pv_pause();
}
static void do_clock(void) { sink = pv_ops.time.clock(); }
static void do_wall_clock(void) { sink = pv_ops.time.wall_clock(); }
static void do_set_timer(void) { pv_ops.time.set_timer(pv_ops.time.clock() + 60000000000ull); }
static void do_steal_clock(void) { sink = pv_ops.time.steal_clock(pv_this_cpu()->id); }
static void do_yield(void) { pv_ops.smp.yield(target); }
static void do_kick(void) { ask_by(pv_ops.smp.kick, target); }

/* The least of some rounds, in ticks of the TSC. */
static uint64_t cost_of(void (*operation)(void)) {
  uint64_t least = ~0ull;
  for (unsigned round = 0; round < ROUNDS; round++) {
    uint64_t start = pv_rdtsc();
    operation();
    uint64_t taken = pv_rdtsc() - start;
    if (taken < least) least = taken;
  }
  return least;
}

enum { NEEDS_ANOTHER = 1 };

#define PLACE(op) (offsetof(struct pv_ops, op) / sizeof(void *))

static const struct {
  const char *name;
  unsigned place;
  void (*operation)(void);
  unsigned needs;
} rows[] = {
    {"boot.console_write", PLACE(boot.console_write), do_console_write, 0},
    {"mmu.flush_tlb", PLACE(mmu.flush_tlb), do_flush_tlb, NEEDS_ANOTHER},
    {"irq.disable, enable", PLACE(irq.enable), do_disable_enable, 0},
    {"irq.send_ipi, taken", PLACE(irq.send_ipi), do_send_ipi, 0},
    {"irq.end", PLACE(irq.end), 0, 0},
    {"time.clock", PLACE(time.clock), do_clock, 0},
    {"time.wall_clock", PLACE(time.wall_clock), do_wall_clock, 0},
    {"time.set_timer", PLACE(time.set_timer), do_set_timer, 0},
    {"time.steal_clock", PLACE(time.steal_clock), do_steal_clock, 0},
    {"smp.start", PLACE(smp.start), 0, 0},
    {"smp.yield", PLACE(smp.yield), do_yield, NEEDS_ANOTHER},
    {"smp.kick, answered", PLACE(smp.kick), do_kick, NEEDS_ANOTHER},
};
#define ROWS (sizeof rows / sizeof *rows)

/* Ticks; 0: it cannot be done here. The first column is what pv_ops was filled with, the second bare hardware's. */
static uint64_t costs[ROWS][2];

static void *member(const struct pv_ops *table, unsigned place) { return ((void *const *)table)[place]; }

/* Makes `table` that of all processors; where it has nothing, what was there stays. */
static void use(const struct pv_ops *table) {
  void (*kick)(unsigned) = pv_ops.smp.kick;
  for (unsigned place = 0; place < sizeof pv_ops / sizeof(void *); place++)
    if (member(table, place)) ((void **)&pv_ops)[place] = member(table, place);
  /* A processor waits in the way that was in the table when it began to. */
  if (target) ask_by(kick, target);
}

static void measure_all(const struct pv_ops *table, unsigned column) {
  least_end = ~0ull;
  measured_end = pv_ops.irq.end;
  pv_ops.irq.end = timed_end;
  for (unsigned i = 0; i < ROWS; i++) {
    if (!rows[i].operation || !member(table, rows[i].place) || (rows[i].needs && !target)) continue;
    costs[i][column] = cost_of(rows[i].operation);
  }
  pv_ops.time.set_timer(0);
  pv_ops.irq.end = measured_end;
  for (unsigned i = 0; i < ROWS; i++)
    if (rows[i].place == PLACE(irq.end) && least_end != ~0ull) costs[i][column] = least_end;
}

/* ---- Checks ----------------------------------------------------------------------------------------------------------- */

/* The timer rings once, not before its time, and ends a halt. */
static void check_timer(void) {
  uint32_t before = ticks[0];
  uint64_t due = pv_ops.time.clock() + 2000000, now;
  pv_ops.irq.disable();
  pv_ops.time.set_timer(due);
  while (ticks[0] == before) {
    pv_ops.irq.halt();
    pv_ops.irq.disable();
  }
  now = pv_ops.time.clock();
  pv_ops.irq.enable();
  check(now + 1000 >= due, "the timer rang too early");
  check(ticks[0] == before + 1, "the timer rang more than once");
}

/* Each processor gets exactly the interrupts that are sent to it. */
static void check_interrupts(void) {
  unsigned count = pv_ops.smp.count();
  for (unsigned cpu = 0; cpu < count; cpu++) {
    if (cpu && !pv_cpus[cpu].online) continue;
    uint32_t before = interrupts[cpu];
    pv_ops.irq.send_ipi(1ull << cpu, IPI_VECTOR);
    for (uint64_t start = pv_ops.time.clock(); interrupts[cpu] == before && pv_ops.time.clock() - start < 5000000000;)
      pv_pause();
    check(interrupts[cpu] == before + 1, "an interrupt was lost or doubled");
  }
}

/* The clock goes on, and the wall clock with it: this is not 1970, unless there is no clock on the wall. */
static void check_clocks(void) {
  uint64_t clock = pv_ops.time.clock(), wall = pv_ops.time.wall_clock();
  for (unsigned i = 0; i < 1000; i++) {
    uint64_t now = pv_ops.time.clock();
    check(now >= clock, "the clock went back");
    clock = now;
  }
  bool has_none = PV_OP_NAME(time.wall_clock)[0] == 'n' && PV_OP_NAME(time.wall_clock)[1] == 'o'; /* no_wall_clock: a cell */
  check(has_none || wall / 1000000000 > 1500000000, "the wall clock is wrong");
  check(pv_ops.time.wall_clock() + 1000000000 >= wall, "the wall clock went back");
}

static unsigned start_others(void) {
  unsigned count = pv_ops.smp.count(), started = 1;
  for (unsigned cpu = 1; cpu < count; cpu++) {
    /* Of three or more, the last is started in bare hardware's way, where there is one. */
    unsigned column = cpu > 1 && cpu == count - 1 && pv_native.smp.start ? 1 : 0;
    bool (*start)(unsigned, void (*)(void), void *) = column ? pv_native.smp.start : pv_ops.smp.start;
    uint64_t before = pv_rdtsc();
    bool is_up = start(cpu, worker, stacks[cpu] + sizeof stacks[cpu]);
    uint64_t taken = pv_rdtsc() - before;
    check(is_up, "a processor did not start");
    if (!is_up) continue;
    started++;
    ask_by(pv_ops.smp.kick, cpu);
    for (unsigned i = 0; i < ROWS; i++)
      if (rows[i].place == PLACE(smp.start)) costs[i][column] = taken;
  }
  return started;
}

static void print_cost(uint64_t cost) {
  if (cost) pv_print("%10lu", cost);
  else pv_print("%10s", "-");
}

void pv_main(const struct pv_boot_info *boot) {
  uint64_t memory = 0;
  for (unsigned i = 0; i < boot->ranges; i++)
    if (boot->range[i].type == 1) memory += boot->range[i].size;
  pv_print("example: on %s, entered by %s, %lu MiB, TSC %lu kHz, \"%s\"\n", pv_name, boot->entry, memory >> 20,
           pv_tsc_frequency() / 1000, boot->command_line);
  pv_handle(IPI_VECTOR, on_interrupt);
  pv_handle(PV_TIMER_VECTOR, on_tick);
  pv_ops.irq.enable();
  unsigned count = pv_ops.smp.count(), started = start_others();
  target = started > 1 ? 1 : 0;
  pv_print("example: %u of %u processors execute\n", started, count);

  struct pv_ops here = pv_ops;
  measure_all(&here, 0);
  if (pv_native.irq.end) { /* where there is none, nothing native can be done */
    use(&pv_native);
    measure_all(&pv_native, 1);
    use(&here);
  }
  pv_print("\n\nexample: ticks of the TSC\n%-20s %-24s%10s%10s\n", "operation", "function", "here", "natively");
  for (unsigned i = 0; i < ROWS; i++) {
    pv_print("%-20s %-24s", rows[i].name, pv_op_names[rows[i].place]);
    print_cost(costs[i][0]);
    print_cost(costs[i][1]);
    pv_print("\n");
  }
  check_timer();
  check_interrupts();
  check_clocks();
  if (failures) pv_print("example: %u checks failed\n", failures);
  else pv_print("example: all is well\n");
  pv_ops.boot.power_off();
}
