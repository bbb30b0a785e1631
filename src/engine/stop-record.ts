/**
 * The exact stop: a decoded record whose handler is STOP for as long as one run in WebAssembly takes. The run then ends before
 * the instruction of that record.
 */

import { RECORD_SIZE } from './layout.ts';
import * as record from './record.ts';
import type { Cpu } from './x86/cpu.ts';
import { state } from './x86/state.ts';

export class StopRecord {
  readonly #cpu: Cpu;
  /** Address of the record, or 0; and the handler that it had. */
  #at = 0;
  #handler = 0;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  /** Stops before the record at `at`, unless a stop has been planted already. */
  plant(at: number): void {
    if (this.#at) return;
    this.#at = at;
    this.#handler = this.#cpu.view.getUint16(at + record.HANDLER, true);
    this.#cpu.view.setUint16(at + record.HANDLER, record.STOP, true);
  }
  /** Stops before the instruction after the one being executed, and not at the end of a budget. The last one of a block ends the run by itself. */
  plantAfterThis(): void {
    const { bytes } = this.#cpu;
    const next = this.#cpu.get32(state.RECORD) + RECORD_SIZE;
    if (bytes[next + record.POSITION] !== bytes[next - RECORD_SIZE + record.POSITION]! + 1) return;
    this.remove();
    this.plant(next);
  }
  /** Gives the record its handler back, unless its block has been invalidated meanwhile. */
  remove(): void {
    if (!this.#at) return;
    const { view } = this.#cpu;
    if (view.getUint16(this.#at + record.HANDLER, true) === record.STOP)
      view.setUint16(this.#at + record.HANDLER, this.#handler, true);
    this.#at = 0;
  }
}
