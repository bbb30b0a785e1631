/**
 * HYPERVISOR_physdev_op (public/physdev.h) of a PV guest: a domU without devices may set its I/O privilege level and
 * bitmap, and little more. Who asks is looked at last, or first, as Xen has it for each operation.
 */
import {
  __HYPERVISOR_physdev_op,
  EBUSY,
  EFAULT,
  EINVAL,
  ENODEV,
  EPERM,
  ESRCH,
  HYPERVISOR_VIRT_END,
} from '../constants.ts';
import { NR_GSIS, NR_PIRQS } from '../event-channels.ts';
import { type Call, type HypercallTable, type Operation, type Operations, operate } from '../hypercall.ts';
import { type Fields, type Structure, structure, type Values } from '../structures.ts';

export const PHYSDEVOP_IRQ_UNMASK_NOTIFY = 4;
const PHYSDEVOP_irq_status_query = 5;
const PHYSDEVOP_set_iopl = 6;
const PHYSDEVOP_set_iobitmap = 7;
const PHYSDEVOP_apic_read = 8;
const PHYSDEVOP_apic_write = 9;
export const PHYSDEVOP_alloc_irq_vector = 10;
const PHYSDEVOP_eoi = 12;
const PHYSDEVOP_map_pirq = 13;
const PHYSDEVOP_unmap_pirq = 14;
const PHYSDEVOP_manage_pci_add = 15;
const PHYSDEVOP_manage_pci_remove = 16;
const PHYSDEVOP_pirq_eoi_gmfn_v1 = 17;
const PHYSDEVOP_restore_msi = 19;
const PHYSDEVOP_manage_pci_add_ext = 20;
const PHYSDEVOP_setup_gsi = 21;
const PHYSDEVOP_pci_mmcfg_reserved = 24;
const PHYSDEVOP_pci_device_add = 25;
const PHYSDEVOP_pci_device_remove = 26;
const PHYSDEVOP_restore_msi_ext = 27;
const PHYSDEVOP_pirq_eoi_gmfn_v2 = 28;
const PHYSDEVOP_dbgp_op = 29;
const PHYSDEVOP_prepare_msix = 30;
const PHYSDEVOP_release_msix = 31;

const physdev_set_iopl = structure({ iopl: 'u32' });
const physdev_set_iobitmap = structure({ bitmap: 'handle', nr_ports: 'u32' });
const physdev_irq_status_query = structure({ irq: 'u32', flags: 'u32' });
const physdev_apic = structure({ apic_physbase: 'ulong', reg: 'u32', value: 'u32' });
const physdev_irq = structure({ irq: 'u32', vector: 'u32' });
const physdev_eoi = structure({ irq: 'u32' });
const physdev_map_pirq = structure({
  domid: 'u16',
  type: 'u32',
  index: 'u32',
  pirq: 'u32',
  bus: 'u32',
  devfn: 'u32',
  entry_nr: 'u32',
  table_base: 'u64',
});
const physdev_unmap_pirq = structure({ domid: 'u16', pirq: 'u32' });
const physdev_manage_pci = structure({ bus: 'u8', devfn: 'u8' });
const physdev_manage_pci_ext = structure({ bus: 'u8', devfn: 'u8', is_extfn: 'u32', is_virtfn: 'u32', physfn: 'u16' });
const physdev_pci_device = structure({ seg: 'u16', bus: 'u8', devfn: 'u8' });
const physdev_pci_device_add = structure({ seg: 'u16', bus: 'u8', devfn: 'u8', flags: 'u32', physfn: 'u16' });
const physdev_pirq_eoi_gmfn = structure({ gmfn: 'ulong' });
const physdev_setup_gsi = structure({ gsi: 'u32', triggering: 'u8', polarity: 'u8' });

const MAX_PORTS = 65536;
/** XENIRQSTAT_needs_eoi. */
const XENIRQSTAT_needs_eoi = 1;

/** An operation with a structure, copied in first. */
const withStructure =
  <F extends Fields>(type: Structure<F>, run: (call: Call, op: Values<F>, argument: bigint) => number): Operation =>
  (call, argument) => {
    const op = call.load(argument, type);
    return op ? run(call, op, argument) : -EFAULT;
  };

/** One that is domain 0's, once its structure was copied in. */
const refused = <F extends Fields>(type: Structure<F>): Operation => withStructure(type, () => -EPERM);

/** What comes of an operation on the interrupts of a domain. */
const refusedFor = (call: Call, { domid }: { domid: number }) => (call.domain.exists(domid) ? -EPERM : -ESRCH);

/** A page with a bit for each interrupt: whether its end is to be told. There are no interrupts, but a page is kept. */
const eoiMap = withStructure(physdev_pirq_eoi_gmfn, (call, { gmfn }) => {
  const { domain } = call;
  const page = domain.hold(gmfn);
  if (page === undefined) return -EINVAL;
  if (domain.state.pirqEoiMap !== undefined) {
    domain.kind.release(domain, page, true);
    return -EBUSY;
  }
  domain.state.pirqEoiMap = page;
  return 0;
});

export const physdevOperations: Operations = {
  [PHYSDEVOP_IRQ_UNMASK_NOTIFY]: () => 0,
  [PHYSDEVOP_irq_status_query]: withStructure(physdev_irq_status_query, (call, { irq }, argument) =>
    irq < NR_PIRQS ? call.store(argument, physdev_irq_status_query, { flags: XENIRQSTAT_needs_eoi }) : -EINVAL,
  ),
  [PHYSDEVOP_set_iopl]: withStructure(physdev_set_iopl, (call, { iopl }) => {
    if (iopl > 3) return -EINVAL;
    call.vcpu.state.iopl = iopl;
    return 0;
  }),
  [PHYSDEVOP_set_iobitmap]: withStructure(physdev_set_iobitmap, (call, { bitmap, nr_ports }) => {
    const inXen = bitmap >= 1n << 47n && bitmap < HYPERVISOR_VIRT_END;
    if (inXen || nr_ports > MAX_PORTS) return -EINVAL;
    call.vcpu.state.ioBitmap = { address: bitmap, ports: nr_ports };
    return 0;
  }),
  [PHYSDEVOP_apic_read]: refused(physdev_apic),
  [PHYSDEVOP_apic_write]: refused(physdev_apic),
  [PHYSDEVOP_alloc_irq_vector]: refused(physdev_irq),
  // None is bound.
  [PHYSDEVOP_eoi]: withStructure(physdev_eoi, () => -EINVAL),
  [PHYSDEVOP_map_pirq]: withStructure(physdev_map_pirq, refusedFor),
  [PHYSDEVOP_unmap_pirq]: withStructure(physdev_unmap_pirq, refusedFor),
  [PHYSDEVOP_manage_pci_add]: refused(physdev_manage_pci),
  [PHYSDEVOP_manage_pci_remove]: refused(physdev_manage_pci),
  [PHYSDEVOP_manage_pci_add_ext]: withStructure(physdev_manage_pci_ext, (_, { is_extfn, is_virtfn }) =>
    is_extfn > 1 || is_virtfn > 1 ? -EINVAL : -EPERM,
  ),
  [PHYSDEVOP_pirq_eoi_gmfn_v1]: eoiMap,
  [PHYSDEVOP_pirq_eoi_gmfn_v2]: eoiMap,
  [PHYSDEVOP_restore_msi]: withStructure(physdev_manage_pci, () => -ENODEV),
  [PHYSDEVOP_restore_msi_ext]: withStructure(physdev_pci_device, () => -ENODEV),
  [PHYSDEVOP_setup_gsi]: withStructure(physdev_setup_gsi, (_, { gsi }) => (gsi < NR_GSIS ? -EPERM : -EINVAL)),
  [PHYSDEVOP_pci_mmcfg_reserved]: () => -EPERM,
  [PHYSDEVOP_pci_device_add]: refused(physdev_pci_device_add),
  [PHYSDEVOP_pci_device_remove]: refused(physdev_pci_device),
  [PHYSDEVOP_dbgp_op]: () => -EPERM,
  [PHYSDEVOP_prepare_msix]: refused(physdev_pci_device),
  [PHYSDEVOP_release_msix]: refused(physdev_pci_device),
};

export const physdev_op: HypercallTable = {
  [__HYPERVISOR_physdev_op]: {
    name: 'HYPERVISOR_physdev_op',
    arguments: ['cmd', 'arg'],
    status: 'partly',
    note: 'no physical interrupts: PHYSDEVOP_get_free_pirq answers -ENOSYS',
    run: call => operate('physdev_op', physdevOperations, call),
  },
};
