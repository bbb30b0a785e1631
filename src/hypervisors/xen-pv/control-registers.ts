/** Control registers of a PV guest's processors: what they hold from the beginning, and what of CR4 is the guest's. */
import {
  CR0_AM,
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_PE,
  CR0_PG,
  CR0_WP,
  CR4_DE,
  CR4_FSGSBASE,
  CR4_MCE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_TSD,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
} from '../../x86/control.ts';
import type { PvVcpu } from './pv-vcpu.ts';

export const CR0 = BigInt(CR0_PG) | BigInt(CR0_AM | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
/** Without PGE, since global pages would outlive a root. */
export const CR4 = BigInt(CR4_OSXSAVE | CR4_OSXMMEXCPT | CR4_OSFXSR | CR4_MCE | CR4_PAE);
export const EFER = BigInt(EFER_NXE | EFER_LMA | EFER_LME | EFER_SCE);

/** What the guest chooses. OSXSAVE is always on for real. */
const CR4_GUEST = BigInt(CR4_TSD | CR4_DE | CR4_FSGSBASE | CR4_OSXSAVE);
/** What of the guest's choice the processor gets. */
const CR4_LOADED = BigInt(CR4_TSD | CR4_DE | CR4_FSGSBASE);
const CR4_SHOWN = BigInt(CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT);

/** CR4 as the guest reads it. */
export const visibleCr4 = ({ cpu, state }: PvVcpu): bigint => (cpu.get('cr4') & CR4_SHOWN) | state.cr4;

/** The guest writes CR4. Bits that are not its own stay. */
export function chooseCr4({ cpu, state }: PvVcpu, value: bigint): void {
  state.cr4 = value & CR4_GUEST;
  cpu.set('cr4', (cpu.get('cr4') & ~CR4_LOADED) | (state.cr4 & CR4_LOADED));
}
