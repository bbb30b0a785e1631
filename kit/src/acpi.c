/* As much of ACPI as it takes to find processors (MADT) and the end (FADT, and the package \_S5 of the DSDT). */
#include "internal.h"

static const uint8_t *fadt, *madt;

static bool begins(const uint8_t *at, const char *with) {
  for (; *with; at++, with++)
    if (*at != (uint8_t)*with) return false;
  return true;
}

static const uint8_t *look_for_rsdp(uint64_t start, uint64_t end) {
  for (uint64_t at = start; at < end; at += 16)
    if (begins((const uint8_t *)at, "RSD PTR ")) return (const uint8_t *)at;
  return 0;
}

static void find_tables(const uint8_t *rsdp) {
  bool is_wide = rsdp[15] >= 2 && load64(rsdp + 24);
  const uint8_t *root = (const uint8_t *)(is_wide ? load64(rsdp + 24) : load32(rsdp + 16));
  unsigned size = is_wide ? 8 : 4;
  for (const uint8_t *at = root + 36; at + size <= root + load32(root + 4); at += size) {
    const uint8_t *table = (const uint8_t *)(is_wide ? load64(at) : load32(at));
    if (begins(table, "FACP")) fadt = table;
    if (begins(table, "APIC")) madt = table;
  }
}

static void add(unsigned *count, uint32_t apic_id, uint32_t uid) {
  struct pv_cpu *cpu = apic_id == pv_cpus[0].apic_id ? &pv_cpus[0] : *count < PV_MAX_CPUS ? &pv_cpus[(*count)++] : 0;
  if (cpu) cpu->apic_id = apic_id, cpu->uid = uid;
}

unsigned pv_acpi_init(uint64_t given) {
  unsigned count = 1;
  pv_cpus[0].apic_id = pv_apic_id();
  const uint8_t *rsdp = (const uint8_t *)given;
  if (!rsdp) rsdp = look_for_rsdp(0xe0000, 0x100000);
  if (!rsdp) {
    uint64_t at = 0x40e; /* the segment of the BIOS's extended data */
    __asm__("" : "+r"(at)); /* a compiler may take it for a mistake */
    uint64_t ebda = (uint64_t)*(volatile uint16_t *)at << 4;
    rsdp = look_for_rsdp(ebda, ebda + 1024);
  }
  if (rsdp) find_tables(rsdp);
  if (!madt) return count;
  for (const uint8_t *at = madt + 44; at < madt + load32(madt + 4) && at[1]; at += at[1]) {
    if (at[0] == 0 && load32(at + 4) & 1) add(&count, at[3], at[2]);
    if (at[0] == 9 && load32(at + 8) & 1) add(&count, load32(at + 4), load32(at + 12));
  }
  return count;
}

void pv_acpi_power_off(void) {
  if (!fadt) return;
  const uint8_t *dsdt = (const uint8_t *)(uint64_t)load32(fadt + 40);
  uint16_t pm1a = load32(fadt + 64), pm1b = load32(fadt + 68);
  if (!dsdt || !pm1a) return;
  for (const uint8_t *at = dsdt + 36; at + 8 < dsdt + load32(dsdt + 4); at++) {
    if (!begins(at, "_S5_\x12")) continue;
    at += 5;
    at += (*at >> 6) + 2; /* the package's length, and how many elements it has */
    uint8_t type_a = *at == 0x0a ? at[1] : *at;
    at += *at == 0x0a ? 2 : 1;
    uint8_t type_b = *at == 0x0a ? at[1] : *at;
    outw(pm1a, 1 << 13 | type_a << 10);
    if (pm1b) outw(pm1b, 1 << 13 | type_b << 10);
    return;
  }
}
