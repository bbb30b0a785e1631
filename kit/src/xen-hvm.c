/* Xen's guests on hardware's terms, PVH and HVM: hypercalls by VMCALL, events by a vector, processors by hypercall. */
#include "xen.h"

static uint32_t base;

static long hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  register uint64_t r10 __asm__("r10") = d;
  long result;
  if (pv_uses_vmmcall)
    __asm__ volatile("vmmcall" : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10) : "a"(number) : "r8", "memory");
  else
    __asm__ volatile("vmcall" : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10) : "a"(number) : "r8", "memory");
  return result;
}

static uint64_t parameter(uint32_t index) {
  struct xen_hvm_param get = {DOMID_SELF, index, 0};
  return CALL(hvm_op, HVMOP_get_param, &get, 0) == 0 ? get.value : 0;
}

/* All translations of all processors: Xen has no finer call for such guests. */
static void xen_hvm_flush_tlb(uint64_t cpus, const void *address) {
  if (CALL(hvm_op, HVMOP_flush_tlbs, 0, 0) != 0) native_flush_tlb(cpus, address);
}

extern uint8_t pv_secondary64[];
extern uint64_t pv_page_tables[];
extern struct pv_cpu *pv_starting;

static bool xen_hvm_start(unsigned id, void (*entry)(void), void *stack_top) {
  struct pv_cpu *cpu = &pv_cpus[id];
  if (id >= pv_cpu_count || cpu->online) return false;
  static struct vcpu_hvm_context context;
  cpu->entry = entry;
  cpu->stack_top = stack_top;
  pv_starting = cpu;
  pv_note_starter();
  pv_xen_place_info(id, (uint64_t)pv_xen_infos >> 12);
  context = (struct vcpu_hvm_context){.mode = VCPU_HVM_MODE_64B};
  context.rip = (uint64_t)pv_secondary64;
  context.flags = 2;
  context.cr0 = 0x80010001; /* PG, WP, PE */
  context.cr3 = (uint64_t)pv_page_tables;
  context.cr4 = 0x20;    /* PAE */
  context.efer = 0x500;  /* LME, LMA */
  if (CALL(vcpu_op, VCPUOP_initialise, cpu->uid, &context) != 0) return native_start(id, entry, stack_top);
  CALL(vcpu_op, VCPUOP_up, cpu->uid, 0);
  for (uint64_t start = pv_ops.time.clock(); !cpu->online && pv_ops.time.clock() - start < 1000000000;)
    CALL(sched_op, SCHEDOP_yield, 0, 0);
  return cpu->online;
}

static bool detect(void) {
  base = pv_xen_start_info ? 0 : pv_cpuid_base("XenVMMXenVMM", 2);
  return base != 0;
}

static void init(void) {
  pv_xen_hypercall = hypercall;
  struct xen_add_to_physmap place = {DOMID_SELF, 0, XENMAPSPACE_shared_info, 0, (uint64_t)pv_xen_shared_info >> 12};
  CALL(memory_op, XENMEM_add_to_physmap, &place, 0);
  struct xen_hvm_param callback = {DOMID_SELF, HVM_PARAM_CALLBACK_IRQ,
                                   (uint64_t)HVM_PARAM_CALLBACK_TYPE_VECTOR << 56 | PV_XEN_VECTOR};
  CALL(hvm_op, HVMOP_set_param, &callback, 0);
  uint64_t console = parameter(HVM_PARAM_CONSOLE_PFN);
  pv_xen_init((volatile uint8_t *)(console << 12), parameter(HVM_PARAM_CONSOLE_EVTCHN));
  PV_SET(mmu.flush_tlb, xen_hvm_flush_tlb);
  PV_SET(smp.start, xen_hvm_start);
  if (!pv_is_pvh) pv_name = "Xen HVM";
}

const struct pv_hypervisor pv_xen_hvm = {"Xen PVH", detect, init, pv_xen_init_cpu};
