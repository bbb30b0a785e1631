/*
 * Numbers and structures of the interfaces of hypervisors, by the names that their specifications give them,
 * for 64-bit guests. Made from Polyvisor's tables by npm run docs: do not edit.
 */
#pragma once
#include <stdint.h>

/* The clock record of KVM and Xen */

#define PVCLOCK_SIZE 0x20
#define PVCLOCK_VERSION 0x0
#define PVCLOCK_TSC_TIMESTAMP 0x8
#define PVCLOCK_SYSTEM_TIME 0x10
#define PVCLOCK_TSC_TO_SYSTEM_MUL 0x18
#define PVCLOCK_TSC_SHIFT 0x1c
#define PVCLOCK_FLAGS 0x1d
#define PVCLOCK_TSC_STABLE 0x1
#define PVCLOCK_GUEST_STOPPED 0x2

/* KVM */

#define MSR_KVM_WALL_CLOCK 0x11
#define MSR_KVM_SYSTEM_TIME 0x12
#define IA32_MISC_ENABLE 0x1a0
#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01
#define MSR_KVM_STEAL_TIME 0x4b564d03
#define MSR_KVM_PV_EOI_EN 0x4b564d04
#define KVM_HC_VAPIC_POLL_IRQ 0x1
#define KVM_HC_KICK_CPU 0x5
#define KVM_HC_CLOCK_PAIRING 0x9
#define KVM_HC_SEND_IPI 0xa
#define KVM_HC_SCHED_YIELD 0xb
#define KVM_CPUID_SIGNATURE 0x40000000
#define KVM_CPUID_FEATURES 0x40000001
#define KVM_CPUID_LAST 0x400000ff
#define KVM_FEATURE_CLOCKSOURCE 0x1
#define KVM_FEATURE_NOP_IO_DELAY 0x2
#define KVM_FEATURE_CLOCKSOURCE2 0x8
#define KVM_FEATURE_STEAL_TIME 0x20
#define KVM_FEATURE_PV_EOI 0x40
#define KVM_FEATURE_PV_UNHALT 0x80
#define KVM_FEATURE_PV_TLB_FLUSH 0x200
#define KVM_FEATURE_PV_SEND_IPI 0x800
#define KVM_FEATURE_PV_SCHED_YIELD 0x2000
#define KVM_FEATURE_CLOCKSOURCE_STABLE_BIT 0x1000000
#define KVM_VCPU_PREEMPTED 0x1
#define KVM_VCPU_FLUSH_TLB 0x2
#define KVM_STEAL_VERSION 0x8
#define KVM_STEAL_PREEMPTED 0x10

/* VMware */

#define VMWARE_CMD_GETVERSION 0xa
#define VMWARE_CMD_GETHZ 0x2d
#define VMWARE_CMD_GETVCPU_INFO 0x44
#define VMWARE_CMD_STEALCLOCK 0x5b
#define CPUID_VMWARE_INFO_LEAF 0x40000000
#define CPUID_VMWARE_FEATURES_LEAF 0x40000010
#define CPUID_VMWARE_FEATURES_ECX_VMMCALL 0x1
#define VMWARE_HYPERVISOR_PORT 0x5658
#define VMWARE_HYPERVISOR_MAGIC 0x564d5868
#define STEALCLOCK_DISABLE 0x1
#define STEALCLOCK_DISABLED 0x0
#define STEALCLOCK_ENABLED 0x1

/* Hyper-V */

#define HV_X64_MSR_GUEST_OS_ID 0x40000000
#define HV_X64_MSR_HYPERCALL 0x40000001
#define HV_X64_MSR_VP_INDEX 0x40000002
#define HV_X64_MSR_RESET 0x40000003
#define HV_X64_MSR_TIME_REF_COUNT 0x40000020
#define HV_X64_MSR_REFERENCE_TSC 0x40000021
#define HV_X64_MSR_TSC_FREQUENCY 0x40000022
#define HV_X64_MSR_APIC_FREQUENCY 0x40000023
#define HV_X64_MSR_EOI 0x40000070
#define HV_X64_MSR_ICR 0x40000071
#define HV_X64_MSR_TPR 0x40000072
#define HV_X64_MSR_VP_ASSIST_PAGE 0x40000073
#define HV_X64_MSR_SCONTROL 0x40000080
#define HV_X64_MSR_SVERSION 0x40000081
#define HV_X64_MSR_SIEFP 0x40000082
#define HV_X64_MSR_SIMP 0x40000083
#define HV_X64_MSR_EOM 0x40000084
#define HV_X64_MSR_SINT0 0x40000090
#define HV_X64_MSR_SINT1 0x40000091
#define HV_X64_MSR_SINT2 0x40000092
#define HV_X64_MSR_SINT3 0x40000093
#define HV_X64_MSR_SINT4 0x40000094
#define HV_X64_MSR_SINT5 0x40000095
#define HV_X64_MSR_SINT6 0x40000096
#define HV_X64_MSR_SINT7 0x40000097
#define HV_X64_MSR_SINT8 0x40000098
#define HV_X64_MSR_SINT9 0x40000099
#define HV_X64_MSR_SINT10 0x4000009a
#define HV_X64_MSR_SINT11 0x4000009b
#define HV_X64_MSR_SINT12 0x4000009c
#define HV_X64_MSR_SINT13 0x4000009d
#define HV_X64_MSR_SINT14 0x4000009e
#define HV_X64_MSR_SINT15 0x4000009f
#define HV_X64_MSR_STIMER0_CONFIG 0x400000b0
#define HV_X64_MSR_STIMER0_COUNT 0x400000b1
#define HV_X64_MSR_STIMER1_CONFIG 0x400000b2
#define HV_X64_MSR_STIMER1_COUNT 0x400000b3
#define HV_X64_MSR_STIMER2_CONFIG 0x400000b4
#define HV_X64_MSR_STIMER2_COUNT 0x400000b5
#define HV_X64_MSR_STIMER3_CONFIG 0x400000b6
#define HV_X64_MSR_STIMER3_COUNT 0x400000b7
#define HV_X64_MSR_GUEST_IDLE 0x400000f0
#define HV_X64_MSR_CRASH_P0 0x40000100
#define HV_X64_MSR_CRASH_P1 0x40000101
#define HV_X64_MSR_CRASH_P2 0x40000102
#define HV_X64_MSR_CRASH_P3 0x40000103
#define HV_X64_MSR_CRASH_P4 0x40000104
#define HV_X64_MSR_CRASH_CTL 0x40000105
#define HvCallFlushVirtualAddressSpace 0x2
#define HvCallFlushVirtualAddressList 0x3
#define HvCallNotifyLongSpinWait 0x8
#define HvCallSendSyntheticClusterIpi 0xb
#define HvCallFlushVirtualAddressSpaceEx 0x13
#define HvCallFlushVirtualAddressListEx 0x14
#define HvCallSendSyntheticClusterIpiEx 0x15
#define HvCallPostMessage 0x5c
#define HvCallSignalEvent 0x5d
#define HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS 0x40000000
#define HYPERV_CPUID_INTERFACE 0x40000001
#define HYPERV_CPUID_VERSION 0x40000002
#define HYPERV_CPUID_FEATURES 0x40000003
#define HYPERV_CPUID_ENLIGHTMENT_INFO 0x40000004
#define HYPERV_CPUID_IMPLEMENT_LIMITS 0x40000005
#define HYPERV_CPUID_NESTED_FEATURES 0x4000000a
#define HV_MSR_TIME_REF_COUNT_AVAILABLE 0x2
#define HV_MSR_SYNIC_AVAILABLE 0x4
#define HV_MSR_SYNTIMER_AVAILABLE 0x8
#define HV_MSR_APIC_ACCESS_AVAILABLE 0x10
#define HV_MSR_HYPERCALL_AVAILABLE 0x20
#define HV_MSR_VP_INDEX_AVAILABLE 0x40
#define HV_MSR_RESET_AVAILABLE 0x80
#define HV_MSR_REFERENCE_TSC_AVAILABLE 0x200
#define HV_MSR_GUEST_IDLE_AVAILABLE 0x400
#define HV_ACCESS_FREQUENCY_MSRS 0x800
#define HV_POST_MESSAGES 0x10
#define HV_SIGNAL_EVENTS 0x20
#define HV_FEATURE_FREQUENCY_MSRS_AVAILABLE 0x100
#define HV_FEATURE_GUEST_CRASH_MSR_AVAILABLE 0x400
#define HV_STIMER_DIRECT_MODE_AVAILABLE 0x80000
#define HV_X64_REMOTE_TLB_FLUSH_RECOMMENDED 0x4
#define HV_X64_APIC_ACCESS_RECOMMENDED 0x8
#define HV_X64_SYSTEM_RESET_RECOMMENDED 0x10
#define HV_X64_RELAXED_TIMING_RECOMMENDED 0x20
#define HV_DEPRECATING_AEOI_RECOMMENDED 0x200
#define HV_X64_CLUSTER_IPI_RECOMMENDED 0x400
#define HV_X64_EX_PROCESSOR_MASKS_RECOMMENDED 0x800
#define HV_STIMER_ENABLE 0x1
#define HV_STIMER_AUTO_ENABLE 0x8
#define HV_STIMER_DIRECT_MODE 0x1000
#define HV_REFERENCE_TSC_SCALE 0x8
#define HV_REFERENCE_TSC_OFFSET 0x10

/* ACRN */

#define ACRN_CPUID_SIGNATURE 0x40000000
#define ACRN_CPUID_FEATURES 0x40000001
#define ACRN_CPUID_TIMING_INFO 0x40000010

/* Jailhouse */

#define JAILHOUSE_HC_DISABLE 0x0
#define JAILHOUSE_HC_CELL_CREATE 0x1
#define JAILHOUSE_HC_CELL_START 0x2
#define JAILHOUSE_HC_CELL_SET_LOADABLE 0x3
#define JAILHOUSE_HC_CELL_DESTROY 0x4
#define JAILHOUSE_HC_HYPERVISOR_GET_INFO 0x5
#define JAILHOUSE_HC_CELL_GET_STATE 0x6
#define JAILHOUSE_HC_CPU_GET_INFO 0x7
#define JAILHOUSE_HC_DEBUG_CONSOLE_PUTC 0x8
#define JAILHOUSE_CPUID_SIGNATURE 0x40000000
#define JAILHOUSE_CPUID_FEATURES 0x40000001
#define SETUP_JAILHOUSE 0x6
#define JAILHOUSE_SETUP_VERSION 0x0
#define JAILHOUSE_SETUP_COMPATIBLE_VERSION 0x2
#define JAILHOUSE_SETUP_PM_TIMER_ADDRESS 0x4
#define JAILHOUSE_SETUP_NUM_CPUS 0x6
#define JAILHOUSE_SETUP_PCI_MMCONFIG_BASE 0x8
#define JAILHOUSE_SETUP_TSC_KHZ 0x10
#define JAILHOUSE_SETUP_APIC_KHZ 0x14
#define JAILHOUSE_SETUP_STANDARD_IOAPIC 0x18
#define JAILHOUSE_SETUP_CPU_IDS 0x19
#define JAILHOUSE_SETUP_FLAGS 0x118

/* Xen */

#define HYPERVISOR_set_trap_table 0x0
#define HYPERVISOR_mmu_update 0x1
#define HYPERVISOR_set_gdt 0x2
#define HYPERVISOR_stack_switch 0x3
#define HYPERVISOR_set_callbacks 0x4
#define HYPERVISOR_fpu_taskswitch 0x5
#define HYPERVISOR_sched_op_compat 0x6
#define HYPERVISOR_platform_op 0x7
#define HYPERVISOR_set_debugreg 0x8
#define HYPERVISOR_get_debugreg 0x9
#define HYPERVISOR_update_descriptor 0xa
#define HYPERVISOR_memory_op 0xc
#define HYPERVISOR_multicall 0xd
#define HYPERVISOR_update_va_mapping 0xe
#define HYPERVISOR_set_timer_op 0xf
#define HYPERVISOR_event_channel_op_compat 0x10
#define HYPERVISOR_xen_version 0x11
#define HYPERVISOR_console_io 0x12
#define HYPERVISOR_physdev_op_compat 0x13
#define HYPERVISOR_grant_table_op 0x14
#define HYPERVISOR_vm_assist 0x15
#define HYPERVISOR_update_va_mapping_otherdomain 0x16
#define HYPERVISOR_iret 0x17
#define HYPERVISOR_vcpu_op 0x18
#define HYPERVISOR_set_segment_base 0x19
#define HYPERVISOR_mmuext_op 0x1a
#define HYPERVISOR_nmi_op 0x1c
#define HYPERVISOR_sched_op 0x1d
#define HYPERVISOR_callback_op 0x1e
#define HYPERVISOR_event_channel_op 0x20
#define HYPERVISOR_physdev_op 0x21
#define HYPERVISOR_hvm_op 0x22
#define HYPERVISOR_sysctl 0x23
#define HYPERVISOR_domctl 0x24
#define HYPERVISOR_kexec_op 0x25
#define HYPERVISOR_xenpmu_op 0x28
#define HYPERVISOR_dm_op 0x29
#define HYPERVISOR_hypfs_op 0x2a
#define HYPERVISOR_mca 0x30
#define HYPERVISOR_paging_domctl_cont 0x31
#define XEN_HYPERCALL_MSR 0x40000000
#define DOMID_SELF 0x7ff0
#define VIRQ_TIMER 0x0
#define VCPU_INFO_SIZE 0x40
#define VCPU_INFO_TIME 0x20
#define XEN_VCPUS_IN_SHARED_INFO 0x20
#define VCPUOP_initialise 0x0
#define VCPUOP_up 0x1
#define VCPUOP_down 0x2
#define VCPUOP_is_up 0x3
#define VCPUOP_get_runstate_info 0x4
#define VCPUOP_register_runstate_memory_area 0x5
#define VCPUOP_set_periodic_timer 0x6
#define VCPUOP_stop_periodic_timer 0x7
#define VCPUOP_set_singleshot_timer 0x8
#define VCPUOP_stop_singleshot_timer 0x9
#define VCPUOP_register_vcpu_info 0xa
#define VCPUOP_send_nmi 0xb
#define VCPUOP_get_physid 0xc
#define VCPUOP_register_vcpu_time_memory_area 0xd
#define SCHEDOP_yield 0x0
#define SCHEDOP_block 0x1
#define SCHEDOP_shutdown 0x2
#define SCHEDOP_poll 0x3
#define SCHEDOP_remote_shutdown 0x4
#define SCHEDOP_shutdown_code 0x5
#define SCHEDOP_pin_override 0x7
#define SHUTDOWN_poweroff 0x0
#define SHUTDOWN_reboot 0x1
#define SHUTDOWN_suspend 0x2
#define SHUTDOWN_crash 0x3
#define SHUTDOWN_watchdog 0x4
#define SHUTDOWN_soft_reset 0x5
#define EVTCHNOP_bind_interdomain 0x0
#define EVTCHNOP_bind_virq 0x1
#define EVTCHNOP_bind_pirq 0x2
#define EVTCHNOP_close 0x3
#define EVTCHNOP_send 0x4
#define EVTCHNOP_status 0x5
#define EVTCHNOP_alloc_unbound 0x6
#define EVTCHNOP_bind_ipi 0x7
#define EVTCHNOP_bind_vcpu 0x8
#define EVTCHNOP_unmask 0x9
#define EVTCHNOP_reset 0xa
#define EVTCHNOP_init_control 0xb
#define EVTCHNOP_expand_array 0xc
#define EVTCHNOP_set_priority 0xd
#define EVTCHNOP_reset_cont 0xe
#define CONSOLEIO_write 0x0
#define CONSOLEIO_read 0x1
#define XENMEM_add_to_physmap 0x7
#define XENMEM_memory_map 0x9
#define XENMAPSPACE_shared_info 0x0
#define XENMAPSPACE_grant_table 0x1
#define XENMAPSPACE_gmfn 0x2
#define XENMAPSPACE_gmfn_range 0x3
#define XENMAPSPACE_gmfn_foreign 0x4
#define XENMAPSPACE_dev_mmio 0x5
#define HVMOP_set_param 0x0
#define HVMOP_get_param 0x1
#define HVMOP_flush_tlbs 0x5
#define HVMOP_pagetable_dying 0x9
#define HVMOP_get_time 0xa
#define HVMOP_set_evtchn_upcall_vector 0x17
#define HVMOP_guest_request_vm_event 0x18
#define HVM_PARAM_CALLBACK_IRQ 0x0
#define HVM_PARAM_STORE_PFN 0x1
#define HVM_PARAM_STORE_EVTCHN 0x2
#define HVM_PARAM_CONSOLE_PFN 0x11
#define HVM_PARAM_CONSOLE_EVTCHN 0x12
#define HVM_PARAM_VM86_TSS 0xf
#define HVM_PARAM_ACPI_IOPORTS_LOCATION 0x13
#define HVM_PARAM_VM_GENERATION_ID_ADDR 0x22
#define HVM_PARAM_ALTP2M 0x23
#define HVM_PARAM_X87_FIP_WIDTH 0x24
#define HVM_PARAM_VM86_TSS_SIZED 0x25
#define HVM_PARAM_CALLBACK_TYPE_VECTOR 0x2
#define VCPU_HVM_MODE_64B 0x1
#define FLAT_RING3_CS32 0xe023
#define FLAT_RING3_SS32 0xe02b
#define FLAT_RING3_CS64 0xe033
#define SEGBASE_FS 0x0
#define SEGBASE_GS_USER 0x1
#define SEGBASE_GS_KERNEL 0x2
#define SEGBASE_GS_USER_SEL 0x3
#define MMUEXT_PIN_L1_TABLE 0x0
#define MMUEXT_PIN_L4_TABLE 0x3
#define MMUEXT_UNPIN_TABLE 0x4
#define MMUEXT_NEW_BASEPTR 0x5
#define MMUEXT_TLB_FLUSH_LOCAL 0x6
#define MMUEXT_INVLPG_LOCAL 0x7
#define MMUEXT_TLB_FLUSH_MULTI 0x8
#define MMUEXT_INVLPG_MULTI 0x9
#define MMUEXT_TLB_FLUSH_ALL 0xa
#define MMUEXT_INVLPG_ALL 0xb
#define MMUEXT_FLUSH_CACHE 0xc
#define MMUEXT_SET_LDT 0xd
#define MMUEXT_NEW_USER_BASEPTR 0xf
#define MMUEXT_CLEAR_PAGE 0x10
#define MMUEXT_COPY_PAGE 0x11
#define MMUEXT_FLUSH_CACHE_GLOBAL 0x12
#define MMUEXT_MARK_SUPER 0x13
#define MMUEXT_UNMARK_SUPER 0x14
#define UVMF_FLUSHTYPE_MASK 0x3
#define UVMF_TLB_FLUSH 0x1
#define UVMF_INVLPG 0x2
#define UVMF_LOCAL 0x0
#define UVMF_ALL 0x4
#define VGCF_I387_VALID 0x1
#define VGCF_IN_KERNEL 0x4
#define VGCF_FAILSAFE_DISABLES_EVENTS 0x8
#define VGCF_SYSCALL_DISABLES_EVENTS 0x10
#define VGCF_ONLINE 0x20
#define VCPU_GUEST_CONTEXT_SIZE 0x1430
#define VCPU_GUEST_CONTEXT_FLAGS 0x200
#define VCPU_GUEST_CONTEXT_GENERAL 0x208
#define VCPU_GUEST_CONTEXT_RIP 0x288
#define VCPU_GUEST_CONTEXT_CS 0x290
#define VCPU_GUEST_CONTEXT_RFLAGS 0x298
#define VCPU_GUEST_CONTEXT_RSP 0x2a0
#define VCPU_GUEST_CONTEXT_SS 0x2a8
#define VCPU_GUEST_CONTEXT_ES 0x2b0
#define VCPU_GUEST_CONTEXT_DS 0x2b8
#define VCPU_GUEST_CONTEXT_FS 0x2c0
#define VCPU_GUEST_CONTEXT_GS 0x2c8
#define VCPU_GUEST_CONTEXT_TRAPS 0x2d0
#define VCPU_GUEST_CONTEXT_LDT_BASE 0x12d0
#define VCPU_GUEST_CONTEXT_LDT_ENTRIES 0x12d8
#define VCPU_GUEST_CONTEXT_GDT_FRAMES 0x12e0
#define VCPU_GUEST_CONTEXT_GDT_ENTRIES 0x1360
#define VCPU_GUEST_CONTEXT_KERNEL_SS 0x1368
#define VCPU_GUEST_CONTEXT_KERNEL_SP 0x1370
#define VCPU_GUEST_CONTEXT_CONTROL_REGISTERS 0x1378
#define VCPU_GUEST_CONTEXT_DEBUG_REGISTERS 0x13b8
#define VCPU_GUEST_CONTEXT_EVENT_CALLBACK 0x13f8
#define VCPU_GUEST_CONTEXT_FAILSAFE_CALLBACK 0x1400
#define VCPU_GUEST_CONTEXT_SYSCALL_CALLBACK 0x1408
#define VCPU_GUEST_CONTEXT_FS_BASE 0x1418
#define VCPU_GUEST_CONTEXT_GS_BASE_KERNEL 0x1420
#define VCPU_GUEST_CONTEXT_GS_BASE_USER 0x1428
#define VCPU_GUEST_CONTEXT_DESCRIPTORS_PER_PAGE 0x200
#define XEN_EVTCHN_PENDING 0x800
#define XEN_EVTCHN_MASK 0xa00
#define XEN_WALLCLOCK 0xc00
#define XEN_WALLCLOCK_HIGH 0xc0c
#define XEN_PENDING_SEL 0x8
#define XEN_CONSOLE_OUT_DATA 0x400
#define XEN_CONSOLE_OUT_SIZE 0x800
#define XEN_CONSOLE_OUT_CONSUMER 0xc08
#define XEN_CONSOLE_OUT_PRODUCER 0xc0c
struct vcpu_hvm_context {
  uint32_t mode, pad;
  uint64_t rax;
  uint64_t rcx;
  uint64_t rdx;
  uint64_t rbx;
  uint64_t rsp;
  uint64_t rbp;
  uint64_t rsi;
  uint64_t rdi;
  uint64_t rip;
  uint64_t flags;
  uint64_t cr0;
  uint64_t cr3;
  uint64_t cr4;
  uint64_t efer;
};
struct start_info {
  char magic[32];
  uint64_t nr_pages;
  uint64_t shared_info;
  uint32_t flags;
  uint64_t store_mfn;
  uint32_t store_evtchn;
  uint64_t console_mfn;
  uint32_t console_evtchn;
  uint64_t pt_base;
  uint64_t nr_pt_frames;
  uint64_t mfn_list;
  uint64_t mod_start;
  uint64_t mod_len;
  char cmd_line[1024];
  uint64_t first_p2m_pfn;
  uint64_t nr_p2m_frames;
};
struct vcpu_runstate_info {
  uint32_t state;
  uint64_t state_entry_time;
  uint64_t running;
  uint64_t runnable;
  uint64_t blocked;
  uint64_t offline;
};
struct vcpu_register_memory_area {
  uint64_t address;
};
struct vcpu_set_periodic_timer {
  uint64_t period_ns;
};
struct vcpu_set_singleshot_timer {
  uint64_t timeout_abs_ns;
  uint32_t flags;
};
struct vcpu_register_vcpu_info {
  uint64_t mfn;
  uint32_t offset;
  uint32_t rsvd;
};
struct sched_shutdown {
  uint32_t reason;
};
struct sched_remote_shutdown {
  uint16_t domain_id;
  uint32_t reason;
};
struct sched_poll {
  uint64_t ports;
  uint32_t nr_ports;
  uint64_t timeout;
};
struct evtchn_bind_virq {
  uint32_t virq;
  uint32_t vcpu;
  uint32_t port;
};
struct evtchn_port {
  uint32_t port;
};
struct evtchn_bind_ipi {
  uint32_t vcpu;
  uint32_t port;
};
struct xen_add_to_physmap {
  uint16_t domid;
  uint16_t size;
  uint32_t space;
  uint64_t idx;
  uint64_t gpfn;
};
struct xen_memory_map {
  uint32_t nr_entries;
  uint64_t buffer;
};
struct xen_hvm_param {
  uint16_t domid;
  uint32_t index;
  uint64_t value;
};
struct trap_info {
  uint8_t vector;
  uint8_t flags;
  uint16_t cs;
  uint64_t address;
};
