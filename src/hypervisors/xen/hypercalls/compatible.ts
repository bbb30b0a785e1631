/**
 * The hypercalls of 2005, which PV guests still have (public/xen.h: sched_op_compat, event_channel_op_compat,
 * physdev_op_compat): the command stands in the structure, or there is none.
 */
import {
  __HYPERVISOR_event_channel_op_compat,
  __HYPERVISOR_physdev_op_compat,
  __HYPERVISOR_sched_op_compat,
  EFAULT,
  ENOSYS,
} from '../constants.ts';
import { type Call, type HypercallTable, operate } from '../hypercall.ts';
import { EVTCHNOP_unmask, eventChannelOperations } from './event-channel-op.ts';
import { PHYSDEVOP_alloc_irq_vector, PHYSDEVOP_IRQ_UNMASK_NOTIFY, physdevOperations } from './physdev-op.ts';
import { SCHEDOP_block, SCHEDOP_shutdown, SCHEDOP_yield, schedOperations, shutDown } from './sched-op.ts';

/** The command at the beginning of the structure at argument 0. */
function commandOf(call: Call): number | undefined {
  const bytes = call.read(call.argument(0), 4);
  return bytes && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}

/** Bytes from the command to what belongs to it: a struct evtchn_op's parts are of 32 bits. */
const EVTCHN_OP_STRUCTURE = 4n;

function eventChannelOp(call: Call): number {
  const command = commandOf(call);
  if (command === undefined) return -EFAULT;
  if (command > EVTCHNOP_unmask) return -ENOSYS;
  return operate('event_channel_op', eventChannelOperations, call, command, call.argument(0) + EVTCHN_OP_STRUCTURE);
}

function physdevOp(call: Call): number {
  const command = commandOf(call);
  if (command === undefined) return -EFAULT;
  if (command < PHYSDEVOP_IRQ_UNMASK_NOTIFY || command > PHYSDEVOP_alloc_irq_vector) return -ENOSYS;
  // Its parts have pointers, so they are aligned to one.
  return operate('physdev_op', physdevOperations, call, command, call.argument(0) + BigInt(call.width / 8));
}

function schedOp(call: Call): number {
  switch (call.uint(0)) {
    case SCHEDOP_yield:
    case SCHEDOP_block:
      return operate('sched_op', schedOperations, call);
    case SCHEDOP_shutdown:
      return shutDown(call, Number(call.argument(1) & 0xffn));
    default:
      return -ENOSYS;
  }
}

export const compatibleHypercalls: HypercallTable = {
  [__HYPERVISOR_sched_op_compat]: {
    name: 'HYPERVISOR_sched_op_compat',
    arguments: ['cmd', 'arg'],
    status: 'done',
    run: schedOp,
  },
  [__HYPERVISOR_event_channel_op_compat]: {
    name: 'HYPERVISOR_event_channel_op_compat',
    arguments: ['op'],
    status: 'done',
    run: eventChannelOp,
  },
  [__HYPERVISOR_physdev_op_compat]: {
    name: 'HYPERVISOR_physdev_op_compat',
    arguments: ['op'],
    status: 'done',
    run: physdevOp,
  },
};
