/** The check of privilege, which comes before all that an instruction does (SDM 2, "Exceptions" of each). */
import { CR4_OSXSAVE, EFER_SCE } from '../../../x86/control.ts';
import { VM } from '../../../x86/flags.ts';
import { GP, UD } from '../../../x86/vectors.ts';
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import type { Row } from './row.ts';

/** Outside of level 0: #UD if the instruction is not there, else #GP(0). */
export function checkPrivilege(b: Builder, { privileged }: Row): void {
  if (!privileged) return;
  const outer = b.no(b.no(b.state32(state.CPL)));
  const raiseIfAbsent = (absent: Value) => b.raiseIf(b.both(outer, absent), UD);
  if (privileged === 'with SCE') raiseIfAbsent(b.no(b.flag(state.EFER, EFER_SCE)));
  if (privileged === 'with OSXSAVE') raiseIfAbsent(b.no(b.flag(state.CR4, CR4_OSXSAVE)));
  if (privileged === 'in protected mode') raiseIfAbsent(b.flag(state.FLAGS_REST, VM));
  b.raiseIf(outer, GP, 0);
}
