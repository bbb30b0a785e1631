/**
 * HYPERVISOR_mmuext_op of two operations in WebAssembly: the kernel's root and the user's, which Linux changes together, each time that
 * it goes on with another program. It stands for `newBaseptr` and `newUserBaseptr` (baseptr.ts).
 */
import type { PathCode } from '../../paravirt/fast-paths.ts';
import type { Value } from '../../wasm/code.ts';
import { abi64 } from './abi64.ts';
import * as cells from './cells.ts';
import { Frames, listOf } from './fast-updates.ts';
import { MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR } from './mmu-hypercalls.ts';
import { OWNED, PGT_l4_page_table } from './page-info.ts';

/** Bytes of a struct mmuext_op, and where in it the frame's number is. */
const OPERATION = abi64.mmuextSize;
const FRAME = 8;

/** CR3 for a root's frame. */
export const rootOf = ({ code }: PathCode, frame: Value): Value => code.shl(code.wide(frame), 12);

export function newRoots(path: PathCode): void {
  const { code } = path;
  const frames = new Frames(path);
  const at = code.variable(path.reach(listOf(path, 2), 2 * OPERATION, 'read')).last();
  const [kernel, user] = [MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR].map((command, index) => {
    path.refuseIf(code.ne(code.fetch('i32.load', at, OPERATION * index), command));
    const frame = code.variable(code.fetch('i64.load', at, OPERATION * index + FRAME)).last();
    path.refuseIf(code.geu(frame, BigInt(path.pages)));
    return code.variable(code.narrow(frame)).last();
  }) as [Value, Value];
  const before = [path.cell(cells.KERNEL_ROOT), path.cell(cells.USER_ROOT)].map(root => code.variable(root).last());
  const [oldKernel, oldUser] = before as [Value, Value];
  // One that stays, and one that is both.
  for (const frame of [kernel, user]) for (const root of before) path.refuseIf(code.eq(frame, root));
  path.refuseIf(code.either(code.eq(kernel, user), code.eq(oldKernel, oldUser)));
  const refuseUnlessRoot = (frame: Value) => {
    path.refuseIf(code.no(code.and(frames.byte('flags', frame), OWNED)));
    frames.refuseUnlessTyped(frame, PGT_l4_page_table);
  };
  // The last reference would free the table.
  const refuseIfLast = (frame: Value) => {
    path.refuseIf(code.leu(frames.word('typeCount', frame), 1));
    path.refuseIf(code.leu(frames.word('references', frame), 1));
  };
  // Each has Xen's entry for the machine-to-physical table already, or lacks it as it should.
  const entry = (root: Value) =>
    code.fetch('i32.load', path.physical(code.add(code.shl(root, 12), 8 * abi64.xenSlots.first)));
  refuseUnlessRoot(kernel);
  refuseIfLast(oldKernel);
  path.refuseIf(code.ne(entry(kernel), entry(oldKernel)));
  // Kernel threads have no user's root.
  code.when(user, () => {
    refuseUnlessRoot(user);
    code.when(path.cell(cells.M2P_STRICT), () => path.refuseIf(entry(user)));
  });
  code.when(oldUser, () => refuseIfLast(oldUser));
  const space = path.space(rootOf(path, kernel));

  const count = (frame: Value, amount: number) => {
    frames.add('references', frame, amount);
    frames.add('typeCount', frame, amount);
  };
  count(kernel, 1);
  count(oldKernel, -1);
  code.when(user, () => count(user, 1));
  code.when(oldUser, () => count(oldUser, -1));
  path.setCell(cells.KERNEL_ROOT, kernel);
  path.setCell(cells.USER_ROOT, user);
  path.switchTo(space);
}
