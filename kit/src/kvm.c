/* KVM's differences (Linux Documentation/virt/kvm/x86/cpuid.rst, msr.rst, hypercalls.rst). */
#include "internal.h"

static uint32_t features;
static struct {
  uint8_t clock[64], steal[64];
  volatile uint32_t eoi;
} __attribute__((aligned(64))) record[PV_MAX_CPUS];

static long hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  long result;
  if (pv_uses_vmmcall)
    __asm__ volatile("vmmcall" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
  else __asm__ volatile("vmcall" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
  return result;
}

static uint64_t kvm_clock(void) { return pv_read_pvclock(record[pv_this_cpu()->id].clock); }

static uint64_t kvm_wall_clock(void) {
  static volatile uint32_t started[3] __attribute__((aligned(16))); /* version, seconds, nanoseconds */
  wrmsr(MSR_KVM_WALL_CLOCK_NEW, (uint64_t)started);
  return started[1] * 1000000000ull + started[2] + kvm_clock();
}

static uint64_t kvm_steal_clock(unsigned cpu) {
  volatile const uint8_t *at = record[cpu].steal;
  uint32_t version;
  uint64_t stolen;
  do {
    version = load32(at + KVM_STEAL_VERSION) & ~1u;
    stolen = load64(at);
  } while (load32(at + KVM_STEAL_VERSION) != version);
  return stolen;
}

/* The host sets bit 0 of the word where nothing waits for the end of the interrupt. */
static void kvm_end(void) {
  if (!__atomic_fetch_and(&record[pv_this_cpu()->id].eoi, ~1u, __ATOMIC_ACQ_REL)) native_end();
}

/* A call reaches 128 APIC ids, from the one it says. */
static void kvm_send_ipi(uint64_t cpus, uint8_t vector) {
  while (cpus) {
    uint32_t lowest = ~0u;
    FOR_EACH_CPU(cpu, cpus) if (pv_cpus[cpu].apic_id < lowest) lowest = pv_cpus[cpu].apic_id;
    uint64_t bitmap[2] = {0, 0}, left = 0;
    FOR_EACH_CPU(cpu, cpus) {
      uint32_t bit = pv_cpus[cpu].apic_id - lowest;
      if (bit < 128) bitmap[bit / 64] |= 1ull << bit % 64;
      else left |= 1ull << cpu;
    }
    hypercall(KVM_HC_SEND_IPI, bitmap[0], bitmap[1], lowest, vector);
    cpus = left;
  }
}

/* A processor that does not execute now has its TLB flushed before it does: a bit in its record asks for that. */
static void kvm_flush_tlb(uint64_t cpus, const void *address) {
  FOR_EACH_CPU(cpu, cpus) {
    volatile uint8_t *preempted = record[cpu].steal + KVM_STEAL_PREEMPTED;
    uint8_t state = *preempted;
    if (state & KVM_VCPU_PREEMPTED &&
        __atomic_compare_exchange_n(preempted, &state, state | KVM_VCPU_FLUSH_TLB, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
      cpus &= ~(1ull << cpu);
  }
  native_flush_tlb(cpus, address);
}

static void kvm_yield(unsigned to) { hypercall(KVM_HC_SCHED_YIELD, pv_cpus[to].apic_id, 0, 0, 0); }

/* A kick that comes before the HLT ends it at once. */
static void kvm_wait(volatile uint32_t *word, uint32_t value) {
  while (*word == value)
    if (interrupts_open()) {
      __asm__ volatile("cli");
      if (*word == value) native_halt();
      else __asm__ volatile("sti");
    } else __asm__ volatile("hlt");
}

static void kvm_kick(unsigned cpu) { hypercall(KVM_HC_KICK_CPU, 0, pv_cpus[cpu].apic_id, 0, 0); }

static bool detect(void) {
  uint32_t base = pv_cpuid_base("KVMKVMKVM\0\0\0", 1);
  if (base) features = cpuid(base | 1, 0).eax;
  return base != 0;
}

static void init_cpu(void) {
  unsigned me = pv_this_cpu()->id;
  if (features & KVM_FEATURE_CLOCKSOURCE2) wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (uint64_t)record[me].clock | 1);
  if (features & KVM_FEATURE_STEAL_TIME) wrmsr(MSR_KVM_STEAL_TIME, (uint64_t)record[me].steal | 1);
  if (features & KVM_FEATURE_PV_EOI) wrmsr(MSR_KVM_PV_EOI_EN, (uint64_t)&record[me].eoi | 1);
}

static void init(void) {
  if (features & KVM_FEATURE_CLOCKSOURCE2) {
    wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (uint64_t)record[0].clock | 1);
    pv_known_tsc_frequency = pv_pvclock_frequency(record[0].clock);
    PV_SET(time.clock, kvm_clock);
    PV_SET(time.wall_clock, kvm_wall_clock);
  }
  if (features & KVM_FEATURE_STEAL_TIME) PV_SET(time.steal_clock, kvm_steal_clock);
  if (features & KVM_FEATURE_PV_EOI) PV_SET(irq.end, kvm_end);
  if (features & KVM_FEATURE_PV_SEND_IPI) PV_SET(irq.send_ipi, kvm_send_ipi);
  if (features & KVM_FEATURE_PV_TLB_FLUSH && features & KVM_FEATURE_STEAL_TIME) PV_SET(mmu.flush_tlb, kvm_flush_tlb);
  if (features & KVM_FEATURE_PV_SCHED_YIELD) PV_SET(smp.yield, kvm_yield);
  if (features & KVM_FEATURE_PV_UNHALT) {
    PV_SET(smp.wait, kvm_wait);
    PV_SET(smp.kick, kvm_kick);
  }
}

const struct pv_hypervisor pv_kvm = {"KVM", detect, init, init_cpu};
