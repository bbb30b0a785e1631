/* The clock record that KVM and Xen share: nanoseconds from the TSC, without asking anybody. */
#include "internal.h"

uint64_t pv_read_pvclock(volatile const uint8_t *record) {
  uint32_t version;
  uint64_t time;
  do {
    version = load32(record + PVCLOCK_VERSION) & ~1u; /* odd: it is being written */
    __asm__ volatile("lfence" : : : "memory");
    uint64_t passed = pv_rdtsc() - load64(record + PVCLOCK_TSC_TIMESTAMP);
    int8_t shift = record[PVCLOCK_TSC_SHIFT];
    passed = shift < 0 ? passed >> -shift : passed << shift;
    time = load64(record + PVCLOCK_SYSTEM_TIME) +
           (uint64_t)((unsigned __int128)passed * load32(record + PVCLOCK_TSC_TO_SYSTEM_MUL) >> 32);
    __asm__ volatile("" : : : "memory");
  } while (load32(record + PVCLOCK_VERSION) != version);
  return record[PVCLOCK_FLAGS] & PVCLOCK_TSC_STABLE ? time : pv_monotonic(time);
}

uint64_t pv_pvclock_frequency(volatile const uint8_t *record) {
  uint32_t mul = load32(record + PVCLOCK_TSC_TO_SYSTEM_MUL);
  int8_t shift = record[PVCLOCK_TSC_SHIFT];
  if (mul == 0) return 0;
  uint64_t shifted = (1000000000ull << 32) / mul;
  return shift < 0 ? shifted << -shift : shifted >> shift;
}

uint64_t pv_monotonic(uint64_t now) {
  static uint64_t latest;
  uint64_t seen = __atomic_load_n(&latest, __ATOMIC_RELAXED);
  while (seen < now)
    if (__atomic_compare_exchange_n(&latest, &seen, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return now;
  return seen;
}
