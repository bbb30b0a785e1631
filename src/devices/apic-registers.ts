/** The local APIC's registers: where they are and what their bits are called (SDM 3A 11.4.1 and following). */

/** Register offsets (SDM 3A table 11-1). In x2APIC mode the same register is MSR 0x800 + offset / 16. */
export const ID = 0x020;
export const VERSION = 0x030;
export const TPR = 0x080;
export const APR = 0x090;
export const PPR = 0x0a0;
export const EOI = 0x0b0;
export const LDR = 0x0d0;
export const DFR = 0x0e0;
export const SVR = 0x0f0;
export const ISR = 0x100;
export const TMR = 0x180;
export const IRR = 0x200;
export const ESR = 0x280;
export const ICR_LOW = 0x300;
export const ICR_HIGH = 0x310;
export const LVT_TIMER = 0x320;
export const LVT_ERROR = 0x370;
export const INITIAL_COUNT = 0x380;
export const CURRENT_COUNT = 0x390;
export const DIVIDE = 0x3e0;
/** Exists in x2APIC mode only. */
export const SELF_IPI = 0x3f0;

/** Integrated APIC, six LVT entries, no EOI-broadcast suppression. */
export const VERSION_VALUE = 0x00050014;

export const IA32_APIC_BASE = 0x1b;
export const X2APIC_FIRST = 0x800;
export const X2APIC_LAST = 0x83f;
export const IA32_TSC_DEADLINE = 0x6e0;

const eightOf = (name: string) => Array.from({ length: 8 }, (_, i) => `${name}${i}`);
/** From MSR 800h on; '' is none. */
const X2APIC_NAMES = [
  ...['', '', 'APICID', 'VERSION', '', '', '', '', 'TPR', '', 'PPR', 'EOI', '', 'LDR', '', 'SIVR'],
  ...[...eightOf('ISR'), ...eightOf('TMR'), ...eightOf('IRR')],
  ...['ESR', '', '', '', '', '', '', 'LVT_CMCI', 'ICR', '', 'LVT_TIMER', 'LVT_THERMAL', 'LVT_PMI', 'LVT_LINT0'],
  ...['LVT_LINT1', 'LVT_ERROR', 'INIT_COUNT', 'CUR_COUNT', '', '', '', '', 'DIV_CONF', 'SELF_IPI'],
];

/** The local APIC's MSRs by number, with the manual's names (SDM 4 table 2-2). */
export const APIC_MSRS: Readonly<Record<number, { name: string }>> = Object.fromEntries([
  [IA32_APIC_BASE, { name: 'IA32_APIC_BASE' }],
  [IA32_TSC_DEADLINE, { name: 'IA32_TSC_DEADLINE' }],
  ...X2APIC_NAMES.map((name, index) => [X2APIC_FIRST + index, { name: `IA32_X2APIC_${name}` }] as const).filter(
    (_, index) => X2APIC_NAMES[index] !== '',
  ),
]);

/** IA32_APIC_BASE bits. */
export const BSP = 1 << 8;
export const EXTENDED = 1 << 10;
export const ENABLED = 1 << 11;

export const SOFTWARE_ENABLED = 1 << 8;
export const LVT_MASKED = 1 << 16;
export const LVT_LEVEL = 1 << 15;
export const LVT_REMOTE_IRR = 1 << 14;
/** What can be written in the entries: timer, thermal, performance, LINT0, LINT1, error. */
export const LVT_WRITABLE = [0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff];
export const TIMER = 0;
export const LINT0 = 3;
export const LINT1 = 4;
export const ERROR = 5;

/** Error status bits. */
export const SEND_ILLEGAL_VECTOR = 1 << 5;
export const RECEIVE_ILLEGAL_VECTOR = 1 << 6;
export const ILLEGAL_REGISTER = 1 << 7;

/** The registers after a reset (SDM 3A 11.4.7.1), but for IA32_APIC_BASE, the timer's and those of a vector a bit. */
export const initialRegisters = () => ({
  tpr: 0,
  ldr: 0,
  dfr: 0xffffffff,
  svr: 0xff,
  esr: 0,
  /** Errors seen since ESR was last written. */
  errors: 0,
  icrLow: 0,
  icrHigh: 0,
  lvt: new Int32Array(LVT_WRITABLE.length).fill(LVT_MASKED),
});

/** The bits of a register that WRMSR may set in x2APIC mode; the rest are reserved and fault (SDM 3A table 11-6). */
export function writableInX2(offset: number): number {
  if (offset === TPR || offset === SELF_IPI) return 0xff;
  if (offset === EOI || offset === ESR) return 0;
  if (offset === SVR) return 0x3ff;
  if (offset === DIVIDE) return 0xb;
  if (offset === INITIAL_COUNT) return 0xffffffff;
  // The delivery-status and remote-IRR bits are read-only, so a value read back may be written.
  if (offset >= LVT_TIMER && offset <= LVT_ERROR) return LVT_WRITABLE[(offset - LVT_TIMER) >> 4] | 0x5000;
  return 0;
}
