/* VMware's differences (VMware KB 1009458; Linux arch/x86/kernel/cpu/vmware.c): known frequencies, and a steal clock. */
#include "internal.h"

/* The other instruction, of processors that have no VMMCALL. */
#define CPUID_VMWARE_FEATURES_ECX_VMCALL 2

static uint32_t way; /* ECX of the features leaf: VMMCALL, VMCALL or, with neither, the port */
static uint64_t steal[PV_MAX_CPUS][8] __attribute__((aligned(64))); /* in ticks of the TSC */

static uint32_t command(uint32_t number, uint64_t high, uint64_t low) {
  uint64_t result = VMWARE_HYPERVISOR_MAGIC, b = 0, c = number, d = VMWARE_HYPERVISOR_PORT;
  if (way & CPUID_VMWARE_FEATURES_ECX_VMMCALL)
    __asm__ volatile("vmmcall" : "+a"(result), "+b"(b), "+c"(c), "+d"(d), "+S"(high), "+D"(low) : : "memory");
  else if (way & CPUID_VMWARE_FEATURES_ECX_VMCALL)
    __asm__ volatile("vmcall" : "+a"(result), "+b"(b), "+c"(c), "+d"(d), "+S"(high), "+D"(low) : : "memory");
  else __asm__ volatile("inl %%dx" : "+a"(result), "+b"(b), "+c"(c), "+d"(d), "+S"(high), "+D"(low) : : "memory");
  return result;
}

static uint64_t vmware_steal_clock(unsigned cpu) {
  uint64_t frequency = pv_tsc_frequency();
  return frequency ? (unsigned __int128)load64(steal[cpu]) * ((1000000000ull << 32) / frequency) >> 32 : 0;
}

static bool detect(void) {
  if (pv_cpuid_base("VMwareVMware", 0) != CPUID_VMWARE_INFO_LEAF) return false;
  if (cpuid(CPUID_VMWARE_INFO_LEAF, 0).eax >= CPUID_VMWARE_FEATURES_LEAF) way = cpuid(CPUID_VMWARE_FEATURES_LEAF, 0).ecx;
  return true;
}

static void init_cpu(void) {
  uint64_t at = (uint64_t)steal[pv_this_cpu()->id];
  if (PV_OP_NAME(time.steal_clock)[0] == 'v') command(VMWARE_CMD_STEALCLOCK, at >> 32, (uint32_t)at);
}

static void init(void) {
  struct pv_cpuid leaf = {0, 0, 0, 0};
  if (cpuid(CPUID_VMWARE_INFO_LEAF, 0).eax >= CPUID_VMWARE_FEATURES_LEAF) leaf = cpuid(CPUID_VMWARE_FEATURES_LEAF, 0);
  pv_known_tsc_frequency = leaf.eax * 1000ull;
  pv_known_apic_frequency = leaf.ebx * 1000ull;
  uint64_t at = (uint64_t)steal[0];
  if (command(VMWARE_CMD_STEALCLOCK, at >> 32, (uint32_t)at) == STEALCLOCK_ENABLED)
    PV_SET(time.steal_clock, vmware_steal_clock);
}

const struct pv_hypervisor pv_vmware = {"VMware", detect, init, init_cpu};
