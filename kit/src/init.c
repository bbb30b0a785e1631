/* Who is underneath: the list of hypervisors, and the table they change. */
#include "internal.h"

/* The first that is there counts. A hypervisor that also answers as another, as many do as Hyper-V, stands before that one. */
static const struct pv_hypervisor *const hypervisors[] = {&pv_xen_pv, &pv_xen_hvm, &pv_kvm,  &pv_vmware,
                                                       &pv_hyperv, &pv_acrn,   &pv_jailhouse};

struct pv_ops pv_ops, pv_native;
const char *pv_op_names[sizeof(struct pv_ops) / sizeof(void *)];
const char *pv_name = "bare hardware";
struct pv_cpu pv_cpus[PV_MAX_CPUS];
unsigned pv_cpu_count = 1;
bool pv_uses_vmmcall;
/* Set by the entry of Xen PV (boot.c). */
struct start_info *pv_xen_start_info;
bool pv_is_pvh;

static const struct pv_hypervisor *found;

extern struct pv_cpu *pv_starting;

/* What a processor that is started takes over from the one that starts it. */
static struct {
  uint64_t cr3, cr4, efer;
} starter;

#define IA32_EFER 0xc0000080

void pv_note_starter(void) {
  __asm__ volatile("mov %%cr3, %0" : "=r"(starter.cr3));
  __asm__ volatile("mov %%cr4, %0" : "=r"(starter.cr4));
  starter.efer = rdmsr(IA32_EFER);
}

static void become_like_starter(void) {
  wrmsr(IA32_EFER, starter.efer);
  __asm__ volatile("mov %0, %%cr4" : : "r"(starter.cr4));
  __asm__ volatile("mov %0, %%cr3" : : "r"(starter.cr3) : "memory");
}

uint32_t pv_cpuid_base(const char *signature, uint32_t least_leaves) {
  for (uint32_t base = 0x40000000; base < 0x40010000; base += 0x100) {
    struct pv_cpuid leaf = cpuid(base, 0);
    uint32_t words[3] = {leaf.ebx, leaf.ecx, leaf.edx};
    bool same = true;
    for (unsigned i = 0; i < 12; i++) same &= ((const char *)words)[i] == signature[i];
    if (same && (leaf.eax == 0 || leaf.eax - base >= least_leaves)) return base;
  }
  return 0;
}

static void init_cpu(void) {
  if (!pv_xen_start_info) {
    wrmsr(0xc0000101, (uint64_t)pv_starting); /* IA32_GS_BASE */
    pv_load_idt();
    pv_apic_init_cpu();
  }
  if (found && found->init_cpu) found->init_cpu();
  pv_this_cpu()->online = 1;
}

static bool is_hypervisor_at_all(void) { return pv_xen_start_info || cpuid(1, 0).ecx >> 31; }

void pv_init(const struct pv_boot_info *boot) {
  struct pv_cpuid vendor = cpuid(0, 0);
  pv_uses_vmmcall = vendor.ebx == 0x68747541 || vendor.ebx == 0x6f677948; /* "Auth", "Hygo" */
  pv_starting = &pv_cpus[0];
  pv_is_pvh = boot->entry && boot->entry[0] == 'P' && boot->entry[1] == 'V' && boot->entry[2] == 'H' && !boot->entry[3];
  for (unsigned i = 0; i < PV_MAX_CPUS; i++) pv_cpus[i].self = &pv_cpus[i], pv_cpus[i].id = i;
  pv_native_init(boot);
  for (unsigned i = 0; is_hypervisor_at_all() && !found && i < sizeof hypervisors / sizeof *hypervisors; i++)
    if (hypervisors[i]->detect()) found = hypervisors[i];
  if (found) {
    pv_name = found->name;
    found->init();
  }
  init_cpu();
}

void pv_secondary(struct pv_cpu *cpu) {
  if (!pv_xen_start_info) become_like_starter();
  init_cpu();
  cpu->entry();
  pv_ops.irq.disable();
  for (;;) pv_ops.irq.halt();
}
