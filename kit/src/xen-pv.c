/* Xen's paravirtual guests: nothing privileged can be executed, and everything is a hypercall. */
#include "xen.h"

#define SIF_INITDOMAIN 2 /* xen/include/public/xen.h: this is dom0, and its console is Xen's own */

extern long pv_xen_syscall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
extern uint8_t pv_xen_stubs[], pv_xen_event[], pv_secondary_pv[];
extern struct pv_cpu *pv_starting;

/* Machine frames are not the physical ones: start_info says where the list is. */
static uint64_t frame_of(const volatile void *address) {
  return ((uint64_t *)pv_xen_start_info->mfn_list)[(uint64_t)address >> 12];
}

static volatile uint8_t *upcall_mask(void) { return pv_xen_info(pv_this_cpu()->id) + 1; }

static void xen_pv_disable(void) { *upcall_mask() = 1; }

static void xen_pv_enable(void) {
  *upcall_mask() = 0;
  __asm__ volatile("" : : : "memory");
  if (*pv_xen_info(pv_this_cpu()->id)) CALL(xen_version, 0, 0, 0); /* any call has waiting events delivered */
}

static bool xen_pv_is_open(void) { return !*upcall_mask(); }

static void xen_pv_halt(void) { CALL(sched_op, SCHEDOP_block, 0, 0); }

static void xen_pv_flush_tlb(uint64_t cpus, const void *address) {
  uint64_t uids = 0;
  FOR_EACH_CPU(cpu, cpus) uids |= 1ull << pv_cpus[cpu].uid;
  uint64_t operation[3] = {MMUEXT_INVLPG_MULTI, (uint64_t)address, (uint64_t)&uids};
  pv_xen_hypercall(HYPERVISOR_mmuext_op, (uint64_t)operation, 1, 0, DOMID_SELF);
}

static uint8_t traps[257 * sizeof(struct trap_info)] __attribute__((aligned(8)));

static void fill_traps(void) {
  for (unsigned vector = 0; vector < 32; vector++) {
    struct trap_info *trap = (struct trap_info *)traps + vector;
    *trap = (struct trap_info){vector, 4 /* closes events */, FLAT_RING3_CS64, (uint64_t)(pv_xen_stubs + 16 * vector)};
  }
}

static bool xen_pv_start(unsigned id, void (*entry)(void), void *stack_top) {
  struct pv_cpu *cpu = &pv_cpus[id];
  if (id >= pv_cpu_count || cpu->online) return false;
  cpu->entry = entry;
  cpu->stack_top = stack_top;
  pv_starting = cpu;
  pv_xen_place_info(id, frame_of(pv_xen_infos));
  static uint8_t context[VCPU_GUEST_CONTEXT_SIZE] __attribute__((aligned(16)));
  for (unsigned i = 0; i < sizeof context; i++) context[i] = 0;
  store32(context + VCPU_GUEST_CONTEXT_FLAGS, VGCF_IN_KERNEL);
  store64(context + VCPU_GUEST_CONTEXT_RIP, (uint64_t)pv_secondary_pv);
  store64(context + VCPU_GUEST_CONTEXT_CS, FLAT_RING3_CS64);
  store64(context + VCPU_GUEST_CONTEXT_RFLAGS, 0x202);
  store64(context + VCPU_GUEST_CONTEXT_RSP, (uint64_t)stack_top);
  store64(context + VCPU_GUEST_CONTEXT_SS, FLAT_RING3_SS32);
  store64(context + VCPU_GUEST_CONTEXT_KERNEL_SS, FLAT_RING3_SS32);
  store64(context + VCPU_GUEST_CONTEXT_KERNEL_SP, (uint64_t)stack_top);
  for (unsigned i = 0; i < 32 * sizeof(struct trap_info); i++) context[VCPU_GUEST_CONTEXT_TRAPS + i] = traps[i];
  store64(context + VCPU_GUEST_CONTEXT_CONTROL_REGISTERS + 8 * 3, frame_of((void *)pv_xen_start_info->pt_base) << 12);
  store64(context + VCPU_GUEST_CONTEXT_EVENT_CALLBACK, (uint64_t)pv_xen_event);
  store64(context + VCPU_GUEST_CONTEXT_FAILSAFE_CALLBACK, (uint64_t)pv_xen_event);
  store64(context + VCPU_GUEST_CONTEXT_GS_BASE_KERNEL, (uint64_t)cpu);
  if (CALL(vcpu_op, VCPUOP_initialise, cpu->uid, context) != 0) return false;
  pv_xen_info(id)[1] = 1; /* events closed */
  CALL(vcpu_op, VCPUOP_up, cpu->uid, 0);
  for (uint64_t start = pv_ops.time.clock(); !cpu->online && pv_ops.time.clock() - start < 1000000000;)
    CALL(sched_op, SCHEDOP_yield, 0, 0);
  return cpu->online;
}

static bool detect(void) { return pv_xen_start_info != 0; }

static void init(void) {
  pv_xen_hypercall = pv_xen_syscall;
  CALL(set_segment_base, SEGBASE_GS_KERNEL, &pv_cpus[0], 0);
  CALL(update_va_mapping, pv_xen_shared_info, pv_xen_start_info->shared_info | 3, UVMF_INVLPG);
  fill_traps();
  CALL(set_trap_table, traps, 0, 0);
  CALL(set_callbacks, pv_xen_event, pv_xen_event, 0);
  volatile uint8_t *console = 0;
  if (!(pv_xen_start_info->flags & SIF_INITDOMAIN) && pv_xen_start_info->console_evtchn) {
    /* The ring is one of our pages: the page with that frame. */
    for (uint64_t page = 0; page < pv_xen_start_info->nr_pages; page++)
      if (((uint64_t *)pv_xen_start_info->mfn_list)[page] == pv_xen_start_info->console_mfn) console = (uint8_t *)(page << 12);
  }
  pv_xen_init(console, pv_xen_start_info->console_evtchn);
  PV_SET(irq.enable, xen_pv_enable);
  PV_SET(irq.disable, xen_pv_disable);
  PV_SET(irq.is_open, xen_pv_is_open);
  PV_SET(irq.halt, xen_pv_halt);
  PV_SET(mmu.flush_tlb, xen_pv_flush_tlb);
  PV_SET(smp.start, xen_pv_start);
  for (pv_cpu_count = 1; pv_cpu_count < PV_MAX_CPUS && CALL(vcpu_op, VCPUOP_is_up, pv_cpu_count, 0) >= 0;) pv_cpu_count++;
  for (unsigned i = 0; i < pv_cpu_count; i++) pv_cpus[i].uid = i;
}

const struct pv_hypervisor pv_xen_pv = {"Xen PV", detect, init, pv_xen_init_cpu};
