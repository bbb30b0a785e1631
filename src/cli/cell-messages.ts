/** What the parent and a process of cells tell each other. */
import { isCellResult, isCost } from '../matrix/check-report.ts';
import type { CellResult } from '../matrix/result.ts';
import { type Check, shape, text } from '../matrix/shape.ts';
import type { CellProgress, CellSpec } from './cell.ts';

export interface CellOrder {
  spec: CellSpec;
  /** What the cell's first boot came to, if it is the second one that is wanted. */
  before?: CellResult | undefined;
  /** No other cell has a use for a second core. */
  spareCore: boolean;
}

export type CellMessage =
  | { kind: 'progress'; progress: CellProgress }
  | { kind: 'result'; result: CellResult }
  | { kind: 'mistake'; message: string };

const MESSAGES = new Map<unknown, Check>([
  ['progress', shape({ progress: shape({ phase: text, line: text, cost: isCost }) })],
  ['result', shape({ result: isCellResult })],
  ['mistake', shape({ message: text })],
]);

/** A hypervisor from a file runs in a cell's process, and can send what it likes in its place. */
export function isCellMessage(value: unknown): value is CellMessage {
  return shape({ kind: text })(value) && !!MESSAGES.get((value as CellMessage).kind)?.(value);
}
