/**
 * HYPERVISOR_vcpu_op (public/vcpu.h): starting and stopping processors, their timers and runstates, and where the guest
 * keeps its vcpu_info. How a processor gets its first registers differs by kind of guest: VCPUOP_initialise is theirs.
 */
import { PAGE_SIZE } from '../../../x86/paging.ts';
import { __HYPERVISOR_vcpu_op, EEXIST, EFAULT, EINVAL, ENOENT, ENXIO } from '../constants.ts';
import type { Vcpu } from '../domain.ts';
import { type Call, type HypercallTable, type Operation, type Operations, operate } from '../hypercall.ts';
import { VCPU_INFO_SIZE } from '../shared-info.ts';
import { structure } from '../structures.ts';

export const VCPUOP_initialise = 0;
const VCPUOP_up = 1;
const VCPUOP_down = 2;
const VCPUOP_is_up = 3;
const VCPUOP_get_runstate_info = 4;
const VCPUOP_register_runstate_memory_area = 5;
const VCPUOP_set_periodic_timer = 6;
const VCPUOP_stop_periodic_timer = 7;
const VCPUOP_set_singleshot_timer = 8;
const VCPUOP_stop_singleshot_timer = 9;
const VCPUOP_register_vcpu_info = 10;
export const VCPUOP_send_nmi = 11;
const VCPUOP_get_physid = 12;
const VCPUOP_register_vcpu_time_memory_area = 13;

const vcpu_register_memory_area = structure({ address: 'u64' });
const vcpu_set_periodic_timer = structure({ period_ns: 'u64' });
const vcpu_set_singleshot_timer = structure({ timeout_abs_ns: 'u64', flags: 'u32' });
const vcpu_register_vcpu_info = structure({ mfn: 'u64', offset: 'u32', rsvd: 'u32' });

/** What the offset of a vcpu_info within its page is a multiple of: that of its first long. */
const INFO_ALIGNMENT = { 32: 4, 64: 8 } as const;

/** An operation on a processor that is there; `argument` is the pointer to its structure. */
export type VcpuOperation = (call: Call, vcpu: Vcpu, argument: bigint) => number;

/** The processor that argument 1 names. */
const onVcpu =
  (run: VcpuOperation): Operation =>
  (call, argument) =>
    run(call, call.domain.vcpus[call.uint(1)]!, argument);

/** A 32-bit guest's pointers are half of the structure's union. */
function pointer(call: Call, address: bigint): bigint {
  return BigInt.asUintN(call.width, address);
}

/** VCPUOP_register_vcpu_info: once for each processor, to wherever the guest likes it within a page. */
function registerVcpuInfo(call: Call, vcpu: Vcpu, argument: bigint): number {
  const op = call.load(argument, vcpu_register_vcpu_info);
  if (!op) return -EFAULT;
  if (op.offset > PAGE_SIZE - VCPU_INFO_SIZE) return -ENXIO;
  if (op.offset % INFO_ALIGNMENT[call.width] !== 0) return -ENXIO;
  if (vcpu.state.registeredInfo !== undefined) return -EINVAL;
  // That of a processor which executes may only be moved by itself.
  if (vcpu !== call.vcpu && vcpu.cpu.started) return -EINVAL;
  const { memory, kind, layout } = vcpu.domain;
  const frame = op.mfn <= 0xffffffffffn ? kind.hold(vcpu.domain, Number(op.mfn), true) : undefined;
  if (frame === undefined) return -EINVAL;
  const old = memory.copyOut(vcpu.info, VCPU_INFO_SIZE);
  vcpu.state.registeredInfo = frame + op.offset;
  memory.copyIn(vcpu.info, old);
  // Everything is marked pending so that no event is lost in the move; the guest copes with a spurious one.
  memory.write8(vcpu.info, 1);
  memory.fill(vcpu.info + layout.pendingSel, layout.width / 8, 0xff);
  vcpu.time.updateRecord(true);
  kind.upcall(vcpu);
  return 0;
}

/** VCPUOP_initialise: `set` gives the processor its first registers, and what comes with them. 0 or a negated error. */
export const initialise =
  (set: VcpuOperation): VcpuOperation =>
  (call, vcpu, argument) => {
    if (!vcpu.hasInfo) return -EINVAL;
    if (vcpu.state.initialised) return -EEXIST;
    const error = set(call, vcpu, argument);
    if (error === 0) vcpu.state.initialised = true;
    return error;
  };

function up(_: Call, vcpu: Vcpu): number {
  if (!vcpu.state.initialised) return -EINVAL;
  if (!vcpu.cpu.started) vcpu.start();
  return 0;
}

/** VCPUOP_down: of oneself, too; the call then ends when the processor is up again. */
function down(_: Call, vcpu: Vcpu): number {
  vcpu.stop();
  return 0;
}

const operations: Readonly<Record<number, VcpuOperation>> = {
  [VCPUOP_up]: up,
  [VCPUOP_down]: down,
  [VCPUOP_is_up]: (_, vcpu) => (vcpu.cpu.started ? 1 : 0),
  [VCPUOP_get_runstate_info]: (call, vcpu, argument) =>
    call.write(argument, vcpu.time.runstateInfo(call.width)) ? 0 : -EFAULT,
  [VCPUOP_register_runstate_memory_area]: (call, vcpu, argument) => {
    const op = call.load(argument, vcpu_register_memory_area);
    if (!op) return -EFAULT;
    return vcpu.time.registerRunstateArea(pointer(call, op.address), call.width, call.vcpu) ? 0 : -EFAULT;
  },
  [VCPUOP_set_periodic_timer]: (call, vcpu, argument) => {
    const op = call.load(argument, vcpu_set_periodic_timer);
    return op ? vcpu.time.setPeriodic(Number(op.period_ns)) : -EFAULT;
  },
  [VCPUOP_stop_periodic_timer]: (_, vcpu) => {
    vcpu.time.stopPeriodic();
    return 0;
  },
  // Of the calling processor only.
  [VCPUOP_set_singleshot_timer]: (call, vcpu, argument) => {
    if (vcpu !== call.vcpu) return -EINVAL;
    const op = call.load(argument, vcpu_set_singleshot_timer);
    if (!op) return -EFAULT;
    // The flag VCPU_SSHOTTMR_future, by which a time that has passed was once -ETIME, is ignored, as Xen 4.17 does.
    vcpu.time.setSingleshot(Number(BigInt.asIntN(64, op.timeout_abs_ns)));
    return 0;
  },
  [VCPUOP_stop_singleshot_timer]: (call, vcpu) => {
    if (vcpu !== call.vcpu) return -EINVAL;
    vcpu.time.stopSingleshot();
    return 0;
  },
  [VCPUOP_register_vcpu_info]: registerVcpuInfo,
  // Only for a processor that is pinned to a physical one.
  [VCPUOP_get_physid]: () => -EINVAL,
  [VCPUOP_register_vcpu_time_memory_area]: (call, vcpu, argument) => {
    const op = call.load(argument, vcpu_register_memory_area);
    if (!op) return -EFAULT;
    return vcpu.time.registerTimeArea(pointer(call, op.address), call.vcpu) ? 0 : -EFAULT;
  },
};

/**
 * The vcpu_op entry, with the operations that one kind of guest adds.
 * @param note what is missing in them
 */
export function vcpu_op(differences: Readonly<Record<number, VcpuOperation>>, note?: string): HypercallTable {
  const all: Operations = Object.fromEntries(
    Object.entries({ ...operations, ...differences }).map(([command, run]) => [command, onVcpu(run)]),
  );
  return {
    [__HYPERVISOR_vcpu_op]: {
      name: 'HYPERVISOR_vcpu_op',
      arguments: ['cmd', 'vcpuid', 'extra_args'],
      ...(note === undefined ? { status: 'done' } : { status: 'partly', note }),
      // Xen looks for the processor before it looks at the command.
      run: call =>
        call.domain.vcpus[call.uint(1)] ? operate('vcpu_op', all, call, call.uint(0), call.argument(2)) : -ENOENT,
    },
  };
}
