/** HYPERVISOR_event_channel_op (public/event_channel.h): the guest's hand on its event channels. */
import { __HYPERVISOR_event_channel_op, EBUSY, EFAULT, EINVAL, EPERM, ESRCH } from '../constants.ts';
import {
  type Channel,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_pirq,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
} from '../event-channels.ts';
import { EVTCHN_FIFO_LINK_BITS } from '../fifo-ports.ts';
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
export const EVTCHNOP_unmask = 9;
const EVTCHNOP_reset = 10;
const EVTCHNOP_init_control = 11;
const EVTCHNOP_expand_array = 12;
const EVTCHNOP_set_priority = 13;
const EVTCHNOP_reset_cont = 14;

const evtchn_bind_interdomain = structure({ remote_dom: 'u16', remote_port: 'u32', local_port: 'u32' });
const evtchn_bind_virq = structure({ virq: 'u32', vcpu: 'u32', port: 'u32' });
const evtchn_bind_pirq = structure({ pirq: 'u32', flags: 'u32', port: 'u32' });
const evtchn_port = structure({ port: 'u32' });
const evtchn_status = structure({
  dom: 'u16',
  port: 'u32',
  status: 'u32',
  vcpu: 'u32',
  // A union: unbound.dom or interdomain.dom, or the lower half of pirq or virq…
  dom_or_low: 'u16',
  // …the upper half…
  high: 'u16',
  // …and interdomain.port.
  remote_port: 'u32',
});
const evtchn_alloc_unbound = structure({ dom: 'u16', remote_dom: 'u16', port: 'u32' });
const evtchn_bind_ipi = structure({ vcpu: 'u32', port: 'u32' });
const evtchn_bind_vcpu = structure({ port: 'u32', vcpu: 'u32' });
const evtchn_reset = structure({ dom: 'u16' });
const evtchn_init_control = structure({
  control_gfn: 'u64',
  offset: 'u32',
  vcpu: 'u32',
  link_bits: 'u8',
  _pad0: 'u8',
  _pad1: 'u16',
  _pad2: 'u32',
});
const evtchn_expand_array = structure({ array_gfn: 'u64' });
const evtchn_set_priority = structure({ port: 'u32', priority: 'u32' });

/** Copies a new port out. Where the guest's pointer does not hold it, it stays bound, as in Xen. */
function returnPort<F extends Fields>(
  call: Call,
  argument: bigint,
  type: Structure<F>,
  field: keyof F,
  port: number,
): number {
  if (port < 0) return port;
  return call.store(argument, type, { [field]: port } as Parameters<typeof call.store<F>>[2]);
}

/** What an unprivileged domain is told when it names another: 0 if it named itself. */
function otherDomain(call: Call, domid: number): number {
  if (call.domain.isSelf(domid)) return 0;
  return call.domain.exists(domid) ? -EPERM : -ESRCH;
}

/** An operation whose structure is one port. */
const onPort =
  (run: (call: Call, port: number) => number): Operation =>
  (call, argument) => {
    const op = call.load(argument, evtchn_port);
    return op ? run(call, op.port) : -EFAULT;
  };

interface StatusFields {
  status: number;
  vcpu: number;
  dom_or_low?: number;
  high?: number;
  remote_port?: number;
}

/** What EVTCHNOP_status stores. Nothing is stored in the parts of the union that do not belong to the state. */
function status(call: Call, channel: Channel | undefined): StatusFields {
  const { vcpu } = channel ?? { vcpu: 0 };
  switch (channel?.state) {
    case undefined:
      return { vcpu, status: EVTCHNSTAT_closed };
    case 'unbound':
      return { vcpu, status: EVTCHNSTAT_unbound, dom_or_low: channel.remoteDomain };
    case 'host':
      return { vcpu, status: EVTCHNSTAT_interdomain, dom_or_low: 0, remote_port: channel.remotePort };
    case 'loopback':
      return { vcpu, status: EVTCHNSTAT_interdomain, dom_or_low: call.domain.id, remote_port: channel.remotePort };
    case 'pirq':
      return { vcpu, status: EVTCHNSTAT_pirq, dom_or_low: channel.pirq, high: 0 };
    case 'virq':
      return { vcpu, status: EVTCHNSTAT_virq, dom_or_low: channel.virq, high: 0 };
    case 'ipi':
      return { vcpu, status: EVTCHNSTAT_ipi };
  }
}

/** EVTCHNOP_reset, and EVTCHNOP_reset_cont, with which Xen goes on with one that it interrupted: ours never are. */
const reset =
  (resuming: boolean): Operation =>
  (call, argument) => {
    const op = call.load(argument, evtchn_reset);
    if (!op) return -EFAULT;
    const error = otherDomain(call, op.dom);
    if (error || resuming) return error || -EBUSY;
    call.domain.events.reset();
    return 0;
  };

export const eventChannelOperations: Operations = {
  [EVTCHNOP_bind_interdomain](call, argument) {
    const op = call.load(argument, evtchn_bind_interdomain);
    if (!op) return -EFAULT;
    const port = call.domain.events.bindInterdomain(op.remote_dom, op.remote_port);
    return returnPort(call, argument, evtchn_bind_interdomain, 'local_port', port);
  },
  [EVTCHNOP_bind_virq](call, argument) {
    const op = call.load(argument, evtchn_bind_virq);
    if (!op) return -EFAULT;
    return returnPort(call, argument, evtchn_bind_virq, 'port', call.domain.events.bindVirq(op.virq, op.vcpu));
  },
  [EVTCHNOP_bind_pirq](call, argument) {
    const op = call.load(argument, evtchn_bind_pirq);
    if (!op) return -EFAULT;
    return returnPort(call, argument, evtchn_bind_pirq, 'port', call.domain.events.bindPirq(op.pirq));
  },
  [EVTCHNOP_close]: onPort((call, port) => call.domain.events.close(port)),
  [EVTCHNOP_send]: onPort((call, port) => call.domain.events.send(port)),
  [EVTCHNOP_status](call, argument) {
    const op = call.load(argument, evtchn_status);
    if (!op) return -EFAULT;
    const { events } = call.domain;
    // Of domain 0's ports, too, it is first looked whether they are valid; its lowest ones always are.
    if (call.domain.exists(op.dom) && !events.isValid(op.port)) return -EINVAL;
    const error = otherDomain(call, op.dom);
    return error || call.store(argument, evtchn_status, status(call, events.get(op.port)));
  },
  [EVTCHNOP_alloc_unbound](call, argument) {
    const op = call.load(argument, evtchn_alloc_unbound);
    if (!op) return -EFAULT;
    const error = otherDomain(call, op.dom);
    if (error) return error;
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
  [EVTCHNOP_reset]: reset(false),
  [EVTCHNOP_reset_cont]: reset(true),
  [EVTCHNOP_init_control](call, argument) {
    const op = call.load(argument, evtchn_init_control);
    if (!op) return -EFAULT;
    const error = call.domain.events.initControl(op.vcpu, op.control_gfn, op.offset);
    return error || call.store(argument, evtchn_init_control, { link_bits: EVTCHN_FIFO_LINK_BITS });
  },
  [EVTCHNOP_expand_array](call, argument) {
    const op = call.load(argument, evtchn_expand_array);
    return op ? call.domain.events.expandArray(op.array_gfn) : -EFAULT;
  },
  [EVTCHNOP_set_priority](call, argument) {
    const op = call.load(argument, evtchn_set_priority);
    return op ? call.domain.events.setPriority(op.port, op.priority) : -EFAULT;
  },
};

export const event_channel_op: HypercallTable = {
  [__HYPERVISOR_event_channel_op]: {
    name: 'HYPERVISOR_event_channel_op',
    arguments: ['cmd', 'arg'],
    status: 'done',
    run: call => operate('event_channel_op', eventChannelOperations, call),
  },
};
