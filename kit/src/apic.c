/* The local APIC (SDM 3A, chapter 11): interrupts between processors, the timer, and how a processor is started. */
#include "internal.h"

/* Offsets of its registers in memory; as MSRs they are 0x800 + offset / 16. */
#define ID 0x20
#define EOI 0xb0
#define SPURIOUS 0xf0
#define ICR_LOW 0x300
#define ICR_HIGH 0x310
#define LVT_TIMER 0x320
#define INITIAL_COUNT 0x380
#define CURRENT_COUNT 0x390
#define DIVIDE 0x3e0

#define IA32_APIC_BASE 0x1b
#define IA32_TSC_DEADLINE 0x6e0
#define LVT_MASKED (1 << 16)
#define LVT_TSC_DEADLINE (2 << 17)
#define ICR_BUSY (1 << 12)
#define ICR_INIT 0x4500
#define ICR_START_UP 0x4600

/* A page below 1 MiB that nobody needs once the kernel is entered. */
#ifndef PV_TRAMPOLINE
#define PV_TRAMPOLINE 0x8000
#endif

uint64_t pv_known_apic_frequency;

static volatile uint8_t *registers;
static bool is_x2apic, has_deadline;

static uint32_t apic_read(unsigned offset) {
  return is_x2apic ? rdmsr(0x800 + offset / 16) : load32(registers + offset);
}
static void apic_write(unsigned offset, uint32_t value) {
  if (is_x2apic) wrmsr(0x800 + offset / 16, value);
  else store32(registers + offset, value);
}

bool pv_has_apic(void) { return cpuid(1, 0).edx & 1 << 9; }

void pv_apic_init(void) {
  /* The 8259s' interrupts would come as exceptions: all of them are masked. */
  if (!pv_is_cell()) {
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
  }
  if (!pv_has_apic()) return;
  uint64_t base = rdmsr(IA32_APIC_BASE);
  registers = (volatile uint8_t *)(base & 0xffffff000);
  is_x2apic = base & 1 << 10;
  has_deadline = cpuid(1, 0).ecx & 1 << 24;
}

/* Its count in 10 ms, by the clock. */
static void measure_timer(void) {
  apic_write(INITIAL_COUNT, ~0u);
  uint64_t start = pv_ops.time.clock(), now;
  do now = pv_ops.time.clock();
  while (now - start < 10000000);
  uint64_t counted = ~0u - apic_read(CURRENT_COUNT);
  apic_write(INITIAL_COUNT, 0);
  pv_known_apic_frequency = counted * 1000000000 / (now - start);
}

void pv_apic_init_cpu(void) {
  if (!pv_has_apic()) return;
  if (is_x2apic) wrmsr(IA32_APIC_BASE, rdmsr(IA32_APIC_BASE) | 1 << 10);
  apic_write(SPURIOUS, 0x100 | PV_SPURIOUS_VECTOR);
  apic_write(LVT_TIMER, LVT_MASKED | PV_TIMER_VECTOR);
  apic_write(DIVIDE, 0xb); /* by 1 */
  if (!has_deadline && !pv_known_apic_frequency) measure_timer(); /* now, so that no timer waits for it */
}

uint32_t pv_apic_id(void) {
  if (!pv_has_apic()) return 0;
  uint32_t id = apic_read(ID);
  return is_x2apic ? id : id >> 24;
}

void native_end(void) { apic_write(EOI, 0); }

static void command(uint32_t target, uint32_t low) {
  if (is_x2apic) {
    __asm__ volatile("mfence" : : : "memory"); /* unlike a store, WRMSR does not wait for those before it */
    wrmsr(0x800 + ICR_LOW / 16, (uint64_t)target << 32 | low);
    return;
  }
  bool was_open = interrupts_open();
  __asm__ volatile("cli");
  apic_write(ICR_HIGH, target << 24);
  apic_write(ICR_LOW, low);
  while (apic_read(ICR_LOW) & ICR_BUSY) pv_pause();
  if (was_open) __asm__ volatile("sti");
}

void native_send_ipi(uint64_t cpus, uint8_t vector) {
  FOR_EACH_CPU(cpu, cpus) command(pv_cpus[cpu].apic_id, 0x4000 | vector);
}

/* ---- The timer -------------------------------------------------------------------------------------------------------- */

/* When each processor's timer is to ring, where it counts down; 0: not at all. */
static uint64_t alarms[PV_MAX_CPUS];

void native_set_timer(uint64_t at) {
  alarms[pv_this_cpu()->id] = has_deadline ? 0 : at;
  uint64_t now = pv_ops.time.clock(), ahead = at > now ? at - now : 1;
  if (has_deadline) {
    apic_write(LVT_TIMER, (at ? LVT_TSC_DEADLINE : LVT_MASKED) | PV_TIMER_VECTOR);
    __asm__ volatile("mfence" : : : "memory");
    if (ahead > 1ull << 62) ahead = 1ull << 62;
    uint64_t ticks = (uint64_t)((unsigned __int128)ahead * ((pv_tsc_frequency() << 32) / 1000000000) >> 32);
    wrmsr(IA32_TSC_DEADLINE, at ? pv_rdtsc() + ticks + 1 : 0);
    return;
  }
  /* What is more than a count away rings early, and is set again then. */
  if (ahead > 1000000000) ahead = 1000000000;
  uint64_t count = ahead * pv_known_apic_frequency / 1000000000 + 1;
  apic_write(LVT_TIMER, (at ? 0 : LVT_MASKED) | PV_TIMER_VECTOR);
  apic_write(INITIAL_COUNT, at ? count > ~0u ? ~0u : count : 0);
}

bool pv_apic_timer_is_early(void) {
  uint64_t at = alarms[pv_this_cpu()->id];
  if (!at || pv_ops.time.clock() >= at) return false;
  native_set_timer(at);
  return true;
}

/* ---- Other processors ------------------------------------------------------------------------------------------------- */

extern uint8_t pv_trampoline[], pv_trampoline_end[];
extern struct pv_cpu *pv_starting;

static void wait_for(uint64_t nanoseconds) {
  for (uint64_t start = pv_ops.time.clock(); pv_ops.time.clock() - start < nanoseconds;) pv_pause();
}

bool native_start(unsigned id, void (*entry)(void), void *stack_top) {
  struct pv_cpu *cpu = &pv_cpus[id];
  if (id >= pv_cpu_count || cpu->online) return false;
  volatile uint8_t *page = (volatile uint8_t *)PV_TRAMPOLINE;
  for (long i = 0; i < pv_trampoline_end - pv_trampoline; i++) page[i] = pv_trampoline[i];
  cpu->entry = entry;
  cpu->stack_top = stack_top;
  pv_starting = cpu;
  pv_note_starter();
  command(cpu->apic_id, ICR_INIT);
  wait_for(10000000);
  for (unsigned attempt = 0; attempt < 2 && !cpu->online; attempt++) {
    command(cpu->apic_id, ICR_START_UP | PV_TRAMPOLINE >> 12);
    wait_for(200000);
  }
  for (uint64_t start = pv_ops.time.clock(); !cpu->online && pv_ops.time.clock() - start < 1000000000;) pv_pause();
  return cpu->online;
}
