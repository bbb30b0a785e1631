/* What both kinds of Xen's guests share (xen/include/public/{xen,vcpu,sched,event_channel}.h). */
#include "xen.h"

long (*pv_xen_hypercall)(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
volatile uint8_t pv_xen_shared_info[PAGE] __attribute__((aligned(PAGE)));
uint8_t pv_xen_infos[PAGE] __attribute__((aligned(PAGE)));

static volatile uint8_t *ring;
static uint32_t ring_port;
static struct vcpu_runstate_info runstate[PV_MAX_CPUS];

/* Event channels of each processor, and the vectors of interrupts that others have sent to it. */
static struct {
  uint32_t timer, ipi, kick;
  volatile uint64_t vectors[4];
} channels[PV_MAX_CPUS];

volatile uint8_t *pv_xen_info(unsigned cpu) {
  if (cpu < XEN_VCPUS_IN_SHARED_INFO) return pv_xen_shared_info + VCPU_INFO_SIZE * cpu;
  return pv_xen_infos + VCPU_INFO_SIZE * (cpu - XEN_VCPUS_IN_SHARED_INFO);
}

void pv_xen_place_info(unsigned cpu, uint64_t frame) {
  if (cpu < XEN_VCPUS_IN_SHARED_INFO) return;
  struct vcpu_register_vcpu_info where = {frame, VCPU_INFO_SIZE * (cpu - XEN_VCPUS_IN_SHARED_INFO), 0};
  CALL(vcpu_op, VCPUOP_register_vcpu_info, pv_cpus[cpu].uid, &where);
}

bool pv_is_xen(void) { return pv_xen_hypercall != 0; }

void pv_xen_memory_map(struct pv_boot_info *info) {
  static struct __attribute__((packed)) {
    uint64_t start, size;
    uint32_t type;
  } entries[PV_MAX_RANGES];
  struct xen_memory_map map = {PV_MAX_RANGES, (uint64_t)entries};
  if (CALL(memory_op, XENMEM_memory_map, &map, 0) != 0) return;
  for (info->ranges = 0; info->ranges < map.nr_entries; info->ranges++)
    info->range[info->ranges] =
        (struct pv_range){entries[info->ranges].start, entries[info->ranges].size, entries[info->ranges].type};
}

/* ---- Console ---------------------------------------------------------------------------------------------------------- */

static void xen_console_io(const char *text, size_t length) { CALL(console_io, CONSOLEIO_write, length, text); }

static void send(uint32_t port) {
  struct evtchn_port to = {port};
  CALL(event_channel_op, EVTCHNOP_send, &to, 0);
}

static void ring_put(char c) {
  volatile uint32_t *consumer = (volatile uint32_t *)(ring + XEN_CONSOLE_OUT_CONSUMER);
  volatile uint32_t *producer = (volatile uint32_t *)(ring + XEN_CONSOLE_OUT_PRODUCER);
  while (*producer - *consumer >= XEN_CONSOLE_OUT_SIZE) {
    send(ring_port);
    CALL(sched_op, SCHEDOP_yield, 0, 0);
  }
  ring[XEN_CONSOLE_OUT_DATA + *producer % XEN_CONSOLE_OUT_SIZE] = c;
  __atomic_store_n(producer, *producer + 1, __ATOMIC_RELEASE);
}

static void xen_console_ring(const char *text, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '\n') ring_put('\r');
    ring_put(text[i]);
  }
  send(ring_port);
}

static void xen_power_off(void) {
  /* The toolstack throws a console away that still has text in it. */
  if (ring)
    while (load32(ring + XEN_CONSOLE_OUT_CONSUMER) != load32(ring + XEN_CONSOLE_OUT_PRODUCER)) CALL(sched_op, SCHEDOP_yield, 0, 0);
  struct sched_shutdown why = {SHUTDOWN_poweroff};
  for (;;) CALL(sched_op, SCHEDOP_shutdown, &why, 0);
}

/* ---- Events ----------------------------------------------------------------------------------------------------------- */

/* Bits of word `word` of the pending events that are this processor's; another's stand in the same word. */
static uint64_t mine(unsigned word) {
  uint64_t bits = 0;
  const uint32_t ports[] = {channels[pv_this_cpu()->id].timer, channels[pv_this_cpu()->id].ipi};
  for (unsigned i = 0; i < 2; i++)
    if (ports[i] / 64 == word) bits |= 1ull << ports[i] % 64;
  return bits;
}

static void handle(uint32_t port) {
  unsigned me = pv_this_cpu()->id;
  if (port == channels[me].timer) return pv_dispatch(PV_TIMER_VECTOR);
  for (unsigned word = 0; word < 4; word++)
    for (uint64_t set = __atomic_exchange_n(&channels[me].vectors[word], 0, __ATOMIC_ACQUIRE); set; set &= set - 1)
      pv_dispatch(64 * word + __builtin_ctzll(set));
}

void pv_xen_upcall(void) {
  volatile uint8_t *info = pv_xen_info(pv_this_cpu()->id);
  volatile uint64_t *pending = (volatile uint64_t *)(pv_xen_shared_info + XEN_EVTCHN_PENDING);
  volatile uint64_t *masked = (volatile uint64_t *)(pv_xen_shared_info + XEN_EVTCHN_MASK);
  while (__atomic_exchange_n(info, 0, __ATOMIC_ACQ_REL)) {
    uint64_t selected = __atomic_exchange_n((volatile uint64_t *)(info + XEN_PENDING_SEL), 0, __ATOMIC_ACQ_REL);
    for (; selected; selected &= selected - 1) {
      unsigned word = __builtin_ctzll(selected);
      for (uint64_t set = pending[word] & ~masked[word] & mine(word); set; set &= set - 1) {
        unsigned bit = __builtin_ctzll(set);
        __atomic_fetch_and(&pending[word], ~(1ull << bit), __ATOMIC_ACQ_REL);
        handle(64 * word + bit);
      }
    }
  }
}

/* An event has no end: it was taken out before it was handled. */
static void xen_end(void) {}

static void xen_send_ipi(uint64_t cpus, uint8_t vector) {
  FOR_EACH_CPU(cpu, cpus) {
    __atomic_fetch_or(&channels[cpu].vectors[vector / 64], 1ull << vector % 64, __ATOMIC_RELEASE);
    send(channels[cpu].ipi);
  }
}

static void open_port(uint32_t port) {
  volatile uint64_t *masked = (volatile uint64_t *)(pv_xen_shared_info + XEN_EVTCHN_MASK);
  __atomic_fetch_and(&masked[port / 64], ~(1ull << port % 64), __ATOMIC_ACQ_REL);
}

static void close_port(uint32_t port) {
  volatile uint64_t *masked = (volatile uint64_t *)(pv_xen_shared_info + XEN_EVTCHN_MASK);
  __atomic_fetch_or(&masked[port / 64], 1ull << port % 64, __ATOMIC_ACQ_REL);
}

/* ---- Time ------------------------------------------------------------------------------------------------------------- */

static uint64_t xen_clock(void) { return pv_read_pvclock(pv_xen_info(pv_this_cpu()->id) + VCPU_INFO_TIME); }

static uint64_t xen_wall_clock(void) {
  volatile const uint8_t *at = pv_xen_shared_info + XEN_WALLCLOCK;
  uint32_t version;
  uint64_t seconds, nanoseconds;
  do {
    version = load32(at) & ~1u;
    seconds = load32(at + 4) | (uint64_t)load32(pv_xen_shared_info + XEN_WALLCLOCK_HIGH) << 32;
    nanoseconds = load32(at + 8);
  } while (load32(at) != version);
  return seconds * 1000000000 + nanoseconds + xen_clock();
}

static void xen_set_timer(uint64_t at) {
  struct vcpu_set_singleshot_timer when = {at, 0};
  if (at) CALL(vcpu_op, VCPUOP_set_singleshot_timer, pv_this_cpu()->uid, &when);
  else CALL(vcpu_op, VCPUOP_stop_singleshot_timer, pv_this_cpu()->uid, 0);
}

/* Time in which it was ready to execute, and time in which it was taken away. */
static uint64_t xen_steal_clock(unsigned cpu) {
  volatile struct vcpu_runstate_info *at = &runstate[cpu];
  uint64_t entered, stolen;
  do {
    entered = at->state_entry_time;
    stolen = at->runnable + at->offline;
  } while (at->state_entry_time != entered);
  return stolen;
}

/* ---- Processors ------------------------------------------------------------------------------------------------------- */

static void xen_yield(unsigned to) {
  (void)to;
  CALL(sched_op, SCHEDOP_yield, 0, 0);
}

/* A masked port: it becomes pending, and its pending bit ends the poll. */
static void xen_wait(volatile uint32_t *word, uint32_t value) {
  uint32_t port = channels[pv_this_cpu()->id].kick;
  volatile uint64_t *pending = (volatile uint64_t *)(pv_xen_shared_info + XEN_EVTCHN_PENDING) + port / 64;
  for (;;) {
    __atomic_fetch_and(pending, ~(1ull << port % 64), __ATOMIC_ACQ_REL);
    if (*word != value) return;
    struct sched_poll poll = {(uint64_t)&port, 1, 0};
    CALL(sched_op, SCHEDOP_poll, &poll, 0);
  }
}

static void xen_kick(unsigned cpu) { send(channels[cpu].kick); }

static uint32_t bind_ipi(uint32_t uid) {
  struct evtchn_bind_ipi ipi = {uid, 0};
  CALL(event_channel_op, EVTCHNOP_bind_ipi, &ipi, 0);
  return ipi.port;
}

void pv_xen_init_cpu(void) {
  unsigned me = pv_this_cpu()->id;
  uint32_t uid = pv_this_cpu()->uid;
  struct evtchn_bind_virq timer = {VIRQ_TIMER, uid, 0};
  CALL(event_channel_op, EVTCHNOP_bind_virq, &timer, 0);
  channels[me].timer = timer.port;
  channels[me].ipi = bind_ipi(uid);
  channels[me].kick = bind_ipi(uid);
  close_port(channels[me].kick);
  open_port(channels[me].timer);
  open_port(channels[me].ipi);
  CALL(vcpu_op, VCPUOP_stop_periodic_timer, uid, 0);
  struct vcpu_register_memory_area area = {(uint64_t)&runstate[me]};
  CALL(vcpu_op, VCPUOP_register_runstate_memory_area, uid, &area);
}

void pv_xen_init(volatile uint8_t *console, uint32_t console_port) {
  ring = console;
  ring_port = console_port;
  if (ring) PV_SET(boot.console_write, xen_console_ring);
  else PV_SET(boot.console_write, xen_console_io);
  PV_SET(boot.power_off, xen_power_off);
  PV_SET(irq.end, xen_end);
  PV_SET(irq.send_ipi, xen_send_ipi);
  PV_SET(time.clock, xen_clock);
  PV_SET(time.wall_clock, xen_wall_clock);
  PV_SET(time.set_timer, xen_set_timer);
  PV_SET(time.steal_clock, xen_steal_clock);
  PV_SET(smp.yield, xen_yield);
  PV_SET(smp.wait, xen_wait);
  PV_SET(smp.kick, xen_kick);
  pv_known_tsc_frequency = pv_pvclock_frequency(pv_xen_info(0) + VCPU_INFO_TIME);
  pv_handle(PV_XEN_VECTOR, pv_xen_upcall);
}
