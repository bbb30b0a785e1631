/** HYPERVISOR_event_channel_op (public/event_channel.h): the guest's hand on its event channels. */
import {
  __HYPERVISOR_event_channel_op,
  DOMID_FIRST_RESERVED,
  EFAULT,
  EINVAL,
  ENOSYS,
  EPERM,
  ESRCH,
} from '../constants.ts';
import {
  type Channel,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
} from '../event-channels.ts';
import { type Call, type HypercallTable, type Operation, type Operations, operate } from '../hypercall.ts';
import { type Fields, type Structure, structure } from '../structures.ts';

const EVTCHNOP_bind_interdomain = 0;
const EVTCHNOP_bind_virq = 1;
const EVTCHNOP_bind_pirq = 2;
const EVTCHNOP_close = 3;
const EVTCHNOP_send = 4;
const EVTCHNOP_status = 5;
const EVTCHNOP_alloc_unbound = 6;
const EVTCHNOP_bind_ipi = 7;
const EVTCHNOP_bind_vcpu = 8;
const EVTCHNOP_unmask = 9;
const EVTCHNOP_reset = 10;
const EVTCHNOP_init_control = 11;
const EVTCHNOP_expand_array = 12;
const EVTCHNOP_set_priority = 13;

const evtchn_bind_interdomain = structure({ remote_dom: 'u16', remote_port: 'u32', local_port: 'u32' });
const evtchn_bind_virq = structure({ virq: 'u32', vcpu: 'u32', port: 'u32' });
const evtchn_port = structure({ port: 'u32' });
const evtchn_status = structure({
  dom: 'u16',
  port: 'u32',
  status: 'u32',
  vcpu: 'u32',
  // A union: interdomain.dom or unbound.dom or virq…
  u0: 'u32',
  // …and interdomain.port.
  u1: 'u32',
});
const evtchn_alloc_unbound = structure({ dom: 'u16', remote_dom: 'u16', port: 'u32' });
const evtchn_bind_ipi = structure({ vcpu: 'u32', port: 'u32' });
const evtchn_bind_vcpu = structure({ port: 'u32', vcpu: 'u32' });
const evtchn_reset = structure({ dom: 'u16' });

/** Copies a new port out, or takes it back when the guest's pointer does not hold it. */
function returnPort<F extends Fields>(
  call: Call,
  argument: bigint,
  type: Structure<F>,
  field: keyof F,
  port: number,
): number {
  if (port < 0) return port;
  const values = { [field]: port } as Parameters<typeof call.store<F>>[2];
  const error = call.store(argument, type, values);
  if (error) call.domain.events.close(port);
  return error;
}

/** An operation whose structure is one port. */
const onPort =
  (run: (call: Call, port: number) => number): Operation =>
  (call, argument) => {
    const op = call.load(argument, evtchn_port);
    return op ? run(call, op.port) : -EFAULT;
  };

function status(channel: Channel | undefined): { status: number; vcpu: number; u0: number; u1: number } {
  const common = { vcpu: channel?.vcpu ?? 0, u0: 0, u1: 0 };
  switch (channel?.state) {
    case undefined:
      return { ...common, status: EVTCHNSTAT_closed };
    case 'unbound':
      return { ...common, status: EVTCHNSTAT_unbound, u0: channel.remoteDomain };
    case 'host':
      return { ...common, status: EVTCHNSTAT_interdomain, u0: 0, u1: channel.remotePort };
    case 'loopback':
      return { ...common, status: EVTCHNSTAT_interdomain, u0: 1, u1: channel.remotePort };
    case 'virq':
      return { ...common, status: EVTCHNSTAT_virq, u0: channel.virq };
    case 'ipi':
      return { ...common, status: EVTCHNSTAT_ipi };
  }
}

const operations: Operations = {
  [EVTCHNOP_bind_interdomain](call, argument) {
    const op = call.load(argument, evtchn_bind_interdomain);
    if (!op) return -EFAULT;
    if (op.remote_dom >= DOMID_FIRST_RESERVED && !call.domain.isSelf(op.remote_dom)) return -ESRCH;
    const port = call.domain.events.bindInterdomain(op.remote_dom, op.remote_port);
    return returnPort(call, argument, evtchn_bind_interdomain, 'local_port', port);
  },
  [EVTCHNOP_bind_virq](call, argument) {
    const op = call.load(argument, evtchn_bind_virq);
    if (!op) return -EFAULT;
    return returnPort(call, argument, evtchn_bind_virq, 'port', call.domain.events.bindVirq(op.virq, op.vcpu));
  },
  // There are no physical interrupts.
  [EVTCHNOP_bind_pirq]: () => -EPERM,
  [EVTCHNOP_close]: onPort((call, port) => call.domain.events.close(port)),
  [EVTCHNOP_send]: onPort((call, port) => call.domain.events.send(port)),
  [EVTCHNOP_status](call, argument) {
    const op = call.load(argument, evtchn_status);
    if (!op) return -EFAULT;
    if (!call.domain.isSelf(op.dom)) return op.dom === 0 ? -EPERM : -ESRCH;
    if (op.port >= call.domain.layout.ports) return -EINVAL;
    const channel = call.domain.events.get(op.port);
    const values = status(channel);
    if (channel?.state === 'loopback') values.u0 = call.domain.id;
    return call.store(argument, evtchn_status, values);
  },
  [EVTCHNOP_alloc_unbound](call, argument) {
    const op = call.load(argument, evtchn_alloc_unbound);
    if (!op) return -EFAULT;
    if (!call.domain.isSelf(op.dom)) return op.dom === 0 ? -EPERM : -ESRCH;
    const remote = call.domain.isSelf(op.remote_dom) ? call.domain.id : op.remote_dom;
    return returnPort(call, argument, evtchn_alloc_unbound, 'port', call.domain.events.allocateUnbound(remote));
  },
  [EVTCHNOP_bind_ipi](call, argument) {
    const op = call.load(argument, evtchn_bind_ipi);
    if (!op) return -EFAULT;
    return returnPort(call, argument, evtchn_bind_ipi, 'port', call.domain.events.bindIpi(op.vcpu));
  },
  [EVTCHNOP_bind_vcpu](call, argument) {
    const op = call.load(argument, evtchn_bind_vcpu);
    return op ? call.domain.events.bindVcpu(op.port, op.vcpu) : -EFAULT;
  },
  [EVTCHNOP_unmask]: onPort((call, port) => call.domain.events.unmask(port)),
  [EVTCHNOP_reset](call, argument) {
    const op = call.load(argument, evtchn_reset);
    if (!op) return -EFAULT;
    if (!call.domain.isSelf(op.dom)) return -EPERM;
    call.domain.events.reset();
    return 0;
  },
  // The FIFO ABI, which we do not offer. Linux then uses two levels.
  [EVTCHNOP_init_control]: () => -ENOSYS,
  [EVTCHNOP_expand_array]: () => -ENOSYS,
  [EVTCHNOP_set_priority]: () => -ENOSYS,
};

export const event_channel_op: HypercallTable = {
  [__HYPERVISOR_event_channel_op]: {
    name: 'HYPERVISOR_event_channel_op',
    arguments: ['cmd', 'arg'],
    status: 'partly',
    note: 'two-level ABI; the FIFO operations answer -ENOSYS',
    run: call => operate('event_channel_op', operations, call),
  },
};
