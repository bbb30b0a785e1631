/**
 * Xen's option hvm_fep: an instruction behind the prefix UD2, "xen" is emulated rather than executed, which is how test
 * suites reach Xen's emulator. The processor here is one already, so the prefix is passed over and no more. Without the
 * option, UD2 is #UD.
 */
import type { Group } from '../../paravirt/group.ts';
import { RF } from '../../x86/flags.ts';
import * as vectors from '../../x86/vectors.ts';

export const HVM_FEP = 'hvm_fep';

/** UD2, and the letters. */
const PREFIX = [0x0f, 0x0b, 0x78, 0x65, 0x6e];

export const forcedEmulation: Group<'irq'> = {
  exception(cpu, { vector }) {
    if (vector !== vectors.UD) return false;
    const rip = cpu.get('rip');
    const in64BitMode = cpu.mode === 64;
    const linear = in64BitMode ? rip : BigInt.asUintN(32, cpu.segment('cs').base + rip);
    const bytes = cpu.read(linear, PREFIX.length, { user: cpu.cpl === 3 });
    if (!bytes || !PREFIX.every((byte, index) => bytes[index] === byte)) return false;
    cpu.set('rip', BigInt.asUintN(in64BitMode ? 64 : 32, rip + BigInt(PREFIX.length)));
    // RF is for an instruction that is tried again.
    cpu.set('flags', cpu.get('flags') & ~BigInt(RF));
    return true;
  },
};
