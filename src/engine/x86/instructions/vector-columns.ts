/** Columns that many rows of MMX and SSE have in common, by name, so that a row of theirs is one line. */
import type { Meaning, Row } from './row.ts';

type Columns = Partial<Row>;

/** A row of the table: its own columns, then those it shares. */
export function row(name: string, opcode: number, operands: string, meaning: Meaning, ...columns: Columns[]): Row {
  return Object.assign({ name, opcode, operands, meaning }, ...columns);
}

/** Mandatory prefixes. */
export const none = { prefix: 'none' } as const;
export const x66 = { prefix: '66' } as const;
export const f3 = { prefix: 'f3' } as const;
export const f2 = { prefix: 'f2' } as const;

export const register = { form: 'register' } as const;
export const memory = { form: 'memory' } as const;
export const unaligned = { unaligned: true } as const;
export const hot = { hot: true } as const;
/** Writes none of its operands. */
export const reads = { writes: [] } as const;

/** Vector instructions by the extension that brought them. */
export const sse = { feature: 'sse', unit: 'sse' } as const;
export const sse2 = { feature: 'sse2', unit: 'sse' } as const;
export const sse3 = { feature: 'sse3', unit: 'sse' } as const;
export const ssse3 = { feature: 'ssse3', unit: 'sse' } as const;
export const sse41 = { feature: 'sse4_1', unit: 'sse' } as const;
export const sse42 = { feature: 'sse4_2', unit: 'sse' } as const;

/** Those that read or write an MMX register, and so switch the x87. */
export const mmx = { feature: 'mmx', unit: 'mmx' } as const;
export const sseMmx = { feature: 'sse', unit: 'mmx' } as const;
export const sse2Mmx = { feature: 'sse2', unit: 'mmx' } as const;
export const ssse3Mmx = { feature: 'ssse3', unit: 'mmx' } as const;
