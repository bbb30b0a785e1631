/** What the files with KVM's hypercalls share: how a call is answered, and the errors (Linux uapi/linux/kvm_para.h). */
import type { Hypercall } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';

export const KVM_EPERM = 1;
export const KVM_EFAULT = 14;
export const KVM_EINVAL = 22;
export const KVM_EOPNOTSUPP = 95;
export const KVM_ENOSYS = 1000;

export interface Call extends Hypercall {
  /**
   * @param values what RBX, RCX, RDX and RSI hold; their lower halves, if the caller is not in 64-bit mode
   * @returns for RAX; negative for an error
   */
  run(cpu: Processor, values: readonly [bigint, bigint, bigint, bigint]): number;
}

/** By number. */
export type Calls = Readonly<Record<number, Call>>;
