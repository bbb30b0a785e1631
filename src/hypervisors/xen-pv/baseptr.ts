/** The two roots of a PV guest: MMUEXT_NEW_BASEPTR and MMUEXT_NEW_USER_BASEPTR, and MOV to CR3. */
import { EINVAL, VMASST_TYPE_m2p_strict } from '../xen/constants.ts';
import { PGT_l4_page_table } from './page-info.ts';
import { NO_FRAME } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** The kernel's root becomes the table `frame`. 0 or -errno. */
export function newBaseptr(pv: PvDomain, v: PvVcpu, frame: number): number {
  if (frame === v.kernelRoot) return 0;
  if (pv.types.get(frame, pv.abi.levels) !== 0) return -EINVAL;
  const old = v.kernelRoot;
  v.kernelRoot = frame;
  if (pv.abi.levels === 4) showM2p(pv, frame, true);
  if (v.inKernel) v.loadRoot();
  if (old !== NO_FRAME) pv.types.put(old);
  return 0;
}

/** User code's root becomes L4 table `frame`, or none for 0. 0 or -errno. */
export function newUserBaseptr(pv: PvDomain, v: PvVcpu, frame: number): number {
  if (frame === v.userRoot) return 0;
  if (frame !== 0 && pv.types.get(frame, PGT_l4_page_table) !== 0) return -EINVAL;
  const old = v.userRoot;
  v.userRoot = frame;
  if (frame !== 0 && pv.domain.state.assists.has(VMASST_TYPE_m2p_strict)) showM2p(pv, frame, false);
  if (old !== 0) pv.types.put(old);
  return 0;
}

/** The processor gives its roots back: it has not been started, and is not to be with these. */
export function dropBaseptrs(pv: PvDomain, v: PvVcpu): void {
  const { kernelRoot, userRoot } = v;
  v.kernelRoot = NO_FRAME;
  v.userRoot = 0;
  if (kernelRoot !== NO_FRAME) pv.types.put(kernelRoot);
  if (userRoot !== 0) pv.types.put(userRoot);
}

/** With m2p_strict the machine-to-physical table is in the kernel's address space only. */
function showM2p(pv: PvDomain, root: number, shown: boolean): void {
  const at = root * 1024 + 2 * pv.abi.xenSlots.first;
  const low = shown ? pv.area.slots[0] : 0;
  if (pv.info.words[at] === low) return;
  pv.info.words[at] = low;
  pv.types.tlb.root(root);
}
