/** HYPERVISOR_sched_op (public/sched.h): waiting, and the end. */
import { __HYPERVISOR_sched_op, EFAULT, EINVAL, EPERM, ESRCH, RUNSTATE_blocked } from '../constants.ts';
import type { Vcpu } from '../domain.ts';
import { type Call, type HypercallTable, type Operations, operate } from '../hypercall.ts';
import { structure } from '../structures.ts';

export const SCHEDOP_yield = 0;
export const SCHEDOP_block = 1;
export const SCHEDOP_shutdown = 2;
const SCHEDOP_poll = 3;
const SCHEDOP_remote_shutdown = 4;
const SCHEDOP_shutdown_code = 5;
const SCHEDOP_pin_override = 7;

const sched_shutdown = structure({ reason: 'u32' });
const sched_remote_shutdown = structure({ domain_id: 'u16', reason: 'u32' });
const sched_poll = structure({ ports: 'handle', nr_ports: 'u32', timeout: 'u64' });

const SHUTDOWN_poweroff = 0;
const SHUTDOWN_reboot = 1;
const SHUTDOWN_suspend = 2;
const SHUTDOWN_crash = 3;
const SHUTDOWN_watchdog = 4;
const SHUTDOWN_soft_reset = 5;

/** Ports one SCHEDOP_poll may name. */
const MAX_POLL_PORTS = 128;

function halt(vcpu: Vcpu): number {
  vcpu.time.setRunstate(RUNSTATE_blocked);
  vcpu.cpu.halt();
  return 0;
}

/** SCHEDOP_block: opens the upcall mask and waits for an event. */
function block(call: Call): number {
  call.vcpu.upcallMask = false;
  return call.domain.kind.upcallDeliverable(call.vcpu) ? 0 : halt(call.vcpu);
}

/** SCHEDOP_shutdown: the reason says what becomes of the machine. */
function shutdown(call: Call, argument: bigint): number {
  const op = call.load(argument, sched_shutdown);
  return op ? shutDown(call, op.reason & 0xff) : -EFAULT;
}

/** The end, for a reason (SHUTDOWN_*). @returns what the guest is told if it goes on */
export function shutDown(call: Call, reason: number): number {
  switch (reason) {
    case SHUTDOWN_poweroff:
      call.vcpu.cpu.request('power-off');
      return 0;
    case SHUTDOWN_reboot:
    case SHUTDOWN_soft_reset:
      call.vcpu.cpu.request('reset');
      return 0;
    case SHUTDOWN_suspend:
      // Nobody to save the domain: 1 tells the guest that the suspend was cancelled.
      return 1;
    case SHUTDOWN_crash:
    case SHUTDOWN_watchdog:
      call.vcpu.cpu.request('crash');
      return 0;
    default:
      return -EINVAL;
  }
}

/** SCHEDOP_poll: waits until one of some ports is pending, masked or not, or an event can be delivered, or a time. */
function poll(call: Call, argument: bigint): number {
  const op = call.load(argument, sched_poll);
  if (!op) return -EFAULT;
  if (op.nr_ports > MAX_POLL_PORTS) return -EINVAL;
  const { vcpu, domain } = call;
  const { events, kind } = domain;
  if (kind.upcallDeliverable(vcpu)) return 0;
  const bytes = call.read(op.ports, op.nr_ports * 4);
  if (!bytes) return -EFAULT;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const ports = Array.from({ length: op.nr_ports }, (_, index) => view.getUint32(index * 4, true));
  for (const port of ports) {
    // A port that is bound to nothing is none to wait for.
    if (!events.get(port)) return -EINVAL;
    if (events.pending(port)) return 0;
  }
  if (op.timeout !== 0n) {
    const at = Number(BigInt.asIntN(64, op.timeout));
    if (at <= vcpu.time.now) return 0;
    vcpu.pollTimeout.at(at);
  }
  vcpu.state.polling = ports;
  return halt(vcpu);
}

export const schedOperations: Operations = {
  [SCHEDOP_yield](call) {
    call.vcpu.cpu.yield();
    return 0;
  },
  [SCHEDOP_block]: block,
  [SCHEDOP_shutdown]: shutdown,
  [SCHEDOP_poll]: poll,
  // The guest tells beforehand with which reason it will end.
  [SCHEDOP_shutdown_code]: (call, argument) => (call.load(argument, sched_shutdown) ? 0 : -EFAULT),
  // Not for an ordinary domain, not even of itself; and DOMID_SELF is no domain here.
  [SCHEDOP_remote_shutdown](call, argument) {
    const op = call.load(argument, sched_remote_shutdown);
    if (!op) return -EFAULT;
    return op.domain_id === 0 || op.domain_id === call.domain.id ? -EPERM : -ESRCH;
  },
  [SCHEDOP_pin_override]: () => -EPERM,
};

export const sched_op: HypercallTable = {
  [__HYPERVISOR_sched_op]: {
    name: 'HYPERVISOR_sched_op',
    arguments: ['cmd', 'arg'],
    status: 'partly',
    note: 'SCHEDOP_watchdog answers -ENOSYS; a suspend is always cancelled',
    run: call => operate('sched_op', schedOperations, call),
  },
};
