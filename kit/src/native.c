/* What bare hardware does: an answer for each operation. */
#include "internal.h"

struct pv_cpu *pv_starting;
uint64_t pv_known_tsc_frequency;

/* ---- Console: a UART 16550 (or none, and then text goes nowhere), and the end ----------------------------------------- */

#define COM1 0x3f8

static bool has_uart(void) {
  outb(COM1 + 7, 0x5a); /* the scratch register */
  return inb(COM1 + 7) == 0x5a;
}

static void uart_put(char c) {
  while (!(inb(COM1 + 5) & 0x20)) pv_pause();
  outb(COM1, c);
}

static void native_console_write(const char *text, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '\n') uart_put('\r');
    uart_put(text[i]);
  }
}

static void no_console_write(const char *text, size_t length) { (void)text, (void)length; }

static void native_power_off(void) {
  pv_acpi_power_off();
  outb(0x64, 0xfe); /* no such thing: a reset by the keyboard controller, which small machine monitors take for the end */
  for (;;) __asm__ volatile("cli; hlt");
}

/* ---- TLBs: an interrupt to the others, and waiting for all of them ---------------------------------------------------- */

static struct {
  uint32_t lock;
  const void *volatile address;
  volatile uint64_t waiting;
} flush;

static void flush_for_another(void) {
  uint64_t me = 1ull << pv_this_cpu()->id;
  if (!(flush.waiting & me)) return;
  invlpg((const void *)flush.address);
  __atomic_fetch_and(&flush.waiting, ~me, __ATOMIC_RELEASE);
}

void native_flush_tlb(uint64_t cpus, const void *address) {
  cpus &= ~(1ull << pv_this_cpu()->id);
  if (!cpus) return;
  while (__atomic_exchange_n(&flush.lock, 1, __ATOMIC_ACQUIRE)) {
    flush_for_another(); /* whoever has the lock may be waiting for us */
    pv_pause();
  }
  flush.address = address;
  __atomic_store_n(&flush.waiting, cpus, __ATOMIC_RELEASE);
  pv_ops.irq.send_ipi(cpus, PV_FLUSH_VECTOR);
  while (flush.waiting) pv_pause();
  __atomic_store_n(&flush.lock, 0, __ATOMIC_RELEASE);
}

/* ---- Interrupts; the local APIC's part is in apic.c ------------------------------------------------------------------- */

static void native_enable(void) { __asm__ volatile("sti" : : : "memory"); }
static void native_disable(void) { __asm__ volatile("cli" : : : "memory"); }
static bool native_is_open(void) { return interrupts_open(); }
void native_halt(void) { __asm__ volatile("sti; hlt" : : : "memory"); }

/* ---- Time: the TSC, measured by the 8254, and the CMOS clock ---------------------------------------------------------- */

#define PIT_FREQUENCY 1193182
#define PIT_COUNT 11932 /* about 10 ms */

/* Counter 2 counts down once, and its output shows at port 0x61. 0: there is none. */
static uint64_t measured_by_pit(void) {
  outb(0x61, (inb(0x61) & ~2) | 1);
  outb(0x43, 0xb0);
  outb(0x42, PIT_COUNT & 0xff);
  outb(0x42, PIT_COUNT >> 8);
  if (inb(0x61) & 0x20) return 0; /* it is up at once: nobody counts */
  uint64_t start = pv_rdtsc();
  while (!(inb(0x61) & 0x20)) pv_pause();
  return (pv_rdtsc() - start) * PIT_FREQUENCY / PIT_COUNT;
}

/* SDM 2A, CPUID: leaf 15H, and its nominal frequency alone. */
static uint64_t said_by_cpuid(void) {
  if (cpuid(0, 0).eax < 0x15) return 0;
  struct pv_cpuid leaf = cpuid(0x15, 0);
  return leaf.eax && leaf.ebx && leaf.ecx ? (uint64_t)leaf.ecx * leaf.ebx / leaf.eax : 0;
}

uint64_t pv_tsc_frequency(void) {
  static uint64_t frequency;
  if (!frequency) frequency = pv_known_tsc_frequency;
  if (!frequency && !pv_xen_start_info) frequency = said_by_cpuid();
  if (!frequency && !pv_xen_start_info) frequency = measured_by_pit();
  if (!frequency) frequency = 1000000000; /* nobody tells */
  return frequency;
}

uint64_t native_clock(void) {
  return (uint64_t)((unsigned __int128)pv_rdtsc() * ((1000000000ull << 32) / pv_tsc_frequency()) >> 32);
}

static uint8_t cmos(uint8_t index) {
  outb(0x70, index);
  return inb(0x71);
}

static unsigned decimal(uint8_t bcd, bool is_binary) { return is_binary ? bcd : (bcd >> 4) * 10 + (bcd & 15); }

static bool has_cmos(void) { return cmos(0x0d) != 0xff; }

static uint64_t native_wall_clock(void) {
  static const uint16_t days_before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  uint8_t at[6], again;
  do {
    while (cmos(0x0a) & 0x80) pv_pause(); /* it is counting on */
    at[0] = cmos(0), at[1] = cmos(2), at[2] = cmos(4), at[3] = cmos(7), at[4] = cmos(8), at[5] = cmos(9);
    again = cmos(0);
  } while (again != at[0]);
  bool is_binary = cmos(0x0b) & 4;
  unsigned year = 2000 + decimal(at[5], is_binary), month = decimal(at[4], is_binary);
  uint64_t days = (year - 1970) * 365ull + (year - 1969) / 4 + decimal(at[3], is_binary) - 1;
  if (month >= 1 && month <= 12) days += days_before[month - 1] + (month > 2 && year % 4 == 0);
  uint64_t minutes = (days * 24 + decimal(at[2], is_binary)) * 60 + decimal(at[1], is_binary);
  return (minutes * 60 + decimal(at[0], is_binary)) * 1000000000ull;
}

/* Without a clock on the wall it is 1970. */
static uint64_t no_wall_clock(void) { return pv_ops.time.clock(); }

static uint64_t native_steal_clock(unsigned cpu) { return (void)cpu, 0; }

/* ---- Other processors; how one is started is in apic.c ---------------------------------------------------------------- */

static unsigned native_count(void) { return pv_cpu_count; }
static void native_yield(unsigned to) { (void)to, pv_pause(); }
static void native_wait(volatile uint32_t *word, uint32_t value) {
  while (*word == value) pv_pause();
}
static void native_kick(unsigned cpu) { (void)cpu; }

void pv_native_init(const struct pv_boot_info *boot) {
  PV_SET(boot.console_write, no_console_write);
  PV_SET(boot.power_off, native_power_off);
  PV_SET(mmu.flush_tlb, native_flush_tlb);
  PV_SET(irq.enable, native_enable);
  PV_SET(irq.disable, native_disable);
  PV_SET(irq.is_open, native_is_open);
  PV_SET(irq.halt, native_halt);
  PV_SET(irq.end, native_end);
  PV_SET(irq.send_ipi, native_send_ipi);
  PV_SET(time.clock, native_clock);
  PV_SET(time.wall_clock, no_wall_clock);
  PV_SET(time.set_timer, native_set_timer);
  PV_SET(time.steal_clock, native_steal_clock);
  PV_SET(smp.count, native_count);
  PV_SET(smp.start, native_start);
  PV_SET(smp.yield, native_yield);
  PV_SET(smp.wait, native_wait);
  PV_SET(smp.kick, native_kick);
  pv_handle(PV_FLUSH_VECTOR, flush_for_another);
  if (pv_xen_start_info) return; /* nothing native can be done there */

  native_disable();
  bool is_cell = pv_find_cell(boot->boot_params);
  if ((!is_cell || pv_cell_has_uart()) && has_uart()) PV_SET(boot.console_write, native_console_write);
  if (!is_cell && has_cmos()) PV_SET(time.wall_clock, native_wall_clock);
  pv_apic_init();
  pv_cpu_count = is_cell ? pv_cell_processors() : pv_acpi_init(boot->rsdp);
  pv_native = pv_ops;
  if (pv_ops.boot.console_write == no_console_write) pv_native.boot.console_write = 0;
  if (pv_ops.time.wall_clock == no_wall_clock) pv_native.time.wall_clock = 0;
}
