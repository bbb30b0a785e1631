/*
 * A cell of Jailhouse's: a partition of a PC that no firmware describes. Its loader says in Linux's boot parameters what there is.
 * Whatever is not the cell's ends it when it is touched: no 8259, no 8254, no CMOS, no ACPI.
 */
#include "internal.h"

/* struct setup_data, a list (Linux Documentation/arch/x86/boot.rst). */
#define BOOT_PARAMS_SETUP_DATA 0x250
#define NODE_TYPE 8
#define NODE_LENGTH 12
#define NODE_DATA 16

static const uint8_t *cell;

bool pv_find_cell(uint64_t boot_params) {
  if (!boot_params || !pv_cpuid_base("Jailhouse\0\0", 1)) return false;
  uint64_t at = load64((const uint8_t *)boot_params + BOOT_PARAMS_SETUP_DATA);
  while (at && load32((const uint8_t *)at + NODE_TYPE) != SETUP_JAILHOUSE) at = load64((const uint8_t *)at);
  if (!at || load32((const uint8_t *)at + NODE_LENGTH) < JAILHOUSE_SETUP_FLAGS) return false;
  cell = (const uint8_t *)at + NODE_DATA;
  return true;
}

bool pv_is_cell(void) { return cell != 0; }

/* Version 1 does not say; then the UART is taken to be there. */
bool pv_cell_has_uart(void) {
  uint16_t version = cell[JAILHOUSE_SETUP_VERSION] | cell[JAILHOUSE_SETUP_VERSION + 1] << 8;
  return version < 2 || load32(cell + JAILHOUSE_SETUP_FLAGS) & 1;
}

unsigned pv_cell_processors(void) {
  unsigned count = 1, ids = cell[JAILHOUSE_SETUP_NUM_CPUS] | cell[JAILHOUSE_SETUP_NUM_CPUS + 1] << 8;
  pv_cpus[0].apic_id = pv_apic_id();
  for (unsigned i = 0; i < ids && count < PV_MAX_CPUS; i++)
    if (cell[JAILHOUSE_SETUP_CPU_IDS + i] != pv_cpus[0].apic_id) pv_cpus[count++].apic_id = cell[JAILHOUSE_SETUP_CPU_IDS + i];
  return count;
}

/* A cell is switched off from outside. */
static void jailhouse_power_off(void) {
  for (;;) __asm__ volatile("cli; hlt");
}

static void init(void) {
  pv_known_tsc_frequency = load32(cell + JAILHOUSE_SETUP_TSC_KHZ) * 1000ull;
  pv_known_apic_frequency = load32(cell + JAILHOUSE_SETUP_APIC_KHZ) * 1000ull;
  PV_SET(boot.power_off, jailhouse_power_off);
}

const struct pv_hypervisor pv_jailhouse = {"Jailhouse", pv_is_cell, init, 0};
