/* Hyper-V's differences (Hypervisor Top Level Functional Specification 6.0b, TLFS). */
#include "internal.h"

#define PAGE 4096
#define REFERENCE_UNIT 100 /* nanoseconds */
#define FAST (1ull << 16)
#define VPS_IN_MASK 64
#define HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES 2 /* TLFS 10.5.2 */

static struct pv_cpuid features, hints;
static uint8_t hypercall_page[PAGE] __attribute__((aligned(PAGE)));
static volatile uint8_t reference_tsc[PAGE] __attribute__((aligned(PAGE)));
static volatile uint8_t assist[PV_MAX_CPUS][PAGE] __attribute__((aligned(PAGE)));
/* A call's input must not cross a page. */
static struct {
  uint64_t words[8];
} input[PV_MAX_CPUS] __attribute__((aligned(64)));

/* Input value in RCX, input (or, in a fast call, its first half) in RDX, output or the second half in R8. */
static uint16_t hypercall(uint64_t value, uint64_t first, uint64_t second) {
  register uint64_t r8 __asm__("r8") = second;
  uint64_t result;
  __asm__ volatile("call *%4"
                   : "=a"(result), "+c"(value), "+d"(first), "+r"(r8)
                   : "r"(hypercall_page)
                   : "r9", "r10", "r11", "memory", "cc");
  return result;
}

static uint64_t hyperv_clock(void) {
  uint32_t sequence;
  uint64_t units;
  do {
    sequence = load32(reference_tsc);
    if (sequence == 0) return rdmsr(HV_X64_MSR_TIME_REF_COUNT) * REFERENCE_UNIT;
    __asm__ volatile("lfence" : : : "memory");
    units = (uint64_t)((unsigned __int128)pv_rdtsc() * load64(reference_tsc + HV_REFERENCE_TSC_SCALE) >> 64) +
            load64(reference_tsc + HV_REFERENCE_TSC_OFFSET);
  } while (load32(reference_tsc) != sequence);
  return units * REFERENCE_UNIT;
}

static uint64_t hyperv_clock_by_register(void) { return rdmsr(HV_X64_MSR_TIME_REF_COUNT) * REFERENCE_UNIT; }

/* Synthetic timer 0, with an interrupt of the local APIC. A count of 0 stops it. */
static void hyperv_set_timer(uint64_t at) {
  wrmsr(HV_X64_MSR_STIMER0_CONFIG, HV_STIMER_DIRECT_MODE | HV_STIMER_AUTO_ENABLE | PV_TIMER_VECTOR << 4);
  wrmsr(HV_X64_MSR_STIMER0_COUNT, at ? at / REFERENCE_UNIT + 1 : 0);
}

/* Bit 0 of the assist page: nothing waits for the end of this interrupt. */
static void hyperv_end(void) {
  volatile uint32_t *word = (volatile uint32_t *)assist[pv_this_cpu()->id];
  if (!__atomic_fetch_and(word, ~1u, __ATOMIC_ACQ_REL)) wrmsr(HV_X64_MSR_EOI, 0);
}

static bool mask_of(uint64_t cpus, uint64_t *mask) {
  *mask = 0;
  FOR_EACH_CPU(cpu, cpus) {
    if (pv_cpus[cpu].vp_index >= VPS_IN_MASK) return false;
    *mask |= 1ull << pv_cpus[cpu].vp_index;
  }
  return true;
}

static void hyperv_send_ipi(uint64_t cpus, uint8_t vector) {
  uint64_t mask;
  if (!mask_of(cpus, &mask) || hypercall(HvCallSendSyntheticClusterIpi | FAST, vector, mask) != 0)
    native_send_ipi(cpus, vector);
}

static void hyperv_flush_tlb(uint64_t cpus, const void *address) {
  uint64_t mask, *words = input[pv_this_cpu()->id].words;
  if (mask_of(cpus, &mask)) {
    bool were_open = interrupts_open(); /* whoever interrupts us may use the input, too */
    __asm__ volatile("cli");
    words[0] = 0, words[1] = HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES, words[2] = mask;
    words[3] = (uint64_t)address & ~(PAGE - 1ull); /* one page: the low bits say how many follow it */
    uint16_t status = hypercall(HvCallFlushVirtualAddressList | 1ull << 32, (uint64_t)words, 0);
    if (were_open) __asm__ volatile("sti");
    if (status == 0) return;
  }
  native_flush_tlb(cpus, address);
}

static void hyperv_yield(unsigned to) {
  (void)to;
  hypercall(HvCallNotifyLongSpinWait | FAST, hints.ebx, 0);
}

static bool detect(void) {
  if (pv_cpuid_base("Microsoft Hv", 5) != HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS) return false;
  features = cpuid(HYPERV_CPUID_FEATURES, 0);
  hints = cpuid(HYPERV_CPUID_ENLIGHTMENT_INFO, 0);
  return features.eax & HV_MSR_HYPERCALL_AVAILABLE;
}

static void init_cpu(void) {
  struct pv_cpu *me = pv_this_cpu();
  if (features.eax & HV_MSR_VP_INDEX_AVAILABLE) me->vp_index = rdmsr(HV_X64_MSR_VP_INDEX);
  if (features.eax & HV_MSR_APIC_ACCESS_AVAILABLE) wrmsr(HV_X64_MSR_VP_ASSIST_PAGE, (uint64_t)assist[me->id] | 1);
}

static void init(void) {
  /* Bit 63: an operating system that is open source; the kernel's author may put a number of theirs into the rest. */
  wrmsr(HV_X64_MSR_GUEST_OS_ID, 1ull << 63 | 1);
  wrmsr(HV_X64_MSR_HYPERCALL, (uint64_t)hypercall_page | 1);
  if (features.eax & HV_ACCESS_FREQUENCY_MSRS && features.edx & HV_FEATURE_FREQUENCY_MSRS_AVAILABLE) {
    pv_known_tsc_frequency = rdmsr(HV_X64_MSR_TSC_FREQUENCY);
    pv_known_apic_frequency = rdmsr(HV_X64_MSR_APIC_FREQUENCY);
  }
  if (features.eax & HV_MSR_TIME_REF_COUNT_AVAILABLE) {
    if (features.eax & HV_MSR_REFERENCE_TSC_AVAILABLE) {
      wrmsr(HV_X64_MSR_REFERENCE_TSC, (uint64_t)reference_tsc | 1);
      PV_SET(time.clock, hyperv_clock);
    } else PV_SET(time.clock, hyperv_clock_by_register);
    if (features.eax & HV_MSR_SYNTIMER_AVAILABLE && features.edx & HV_STIMER_DIRECT_MODE_AVAILABLE)
      PV_SET(time.set_timer, hyperv_set_timer);
  }
  if (features.eax & HV_MSR_APIC_ACCESS_AVAILABLE) PV_SET(irq.end, hyperv_end);
  if (!(features.eax & HV_MSR_VP_INDEX_AVAILABLE)) return;
  if (hints.eax & HV_X64_CLUSTER_IPI_RECOMMENDED) PV_SET(irq.send_ipi, hyperv_send_ipi);
  if (hints.eax & HV_X64_REMOTE_TLB_FLUSH_RECOMMENDED) PV_SET(mmu.flush_tlb, hyperv_flush_tlb);
  if (hints.ebx != ~0u) PV_SET(smp.yield, hyperv_yield); /* all ones: never ask */
}

const struct pv_hypervisor pv_hyperv = {"Hyper-V", detect, init, init_cpu};
