/* ACRN, a user VM: it says how fast the TSC runs. */
#include "internal.h"

static uint32_t base;

static bool detect(void) {
  base = pv_cpuid_base("ACRNACRNACRN", ACRN_CPUID_TIMING_INFO - ACRN_CPUID_SIGNATURE);
  return base != 0;
}

static void init(void) {
  pv_known_tsc_frequency = cpuid(base + ACRN_CPUID_TIMING_INFO - ACRN_CPUID_SIGNATURE, 0).eax * 1000ull;
}

const struct pv_hypervisor pv_acrn = {"ACRN", detect, init, 0};
