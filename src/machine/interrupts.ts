/**
 * The interrupts of one processor: which wait, and their delivery between two instructions (SDM 3A 6.9). A hypervisor may
 * answer both questions itself; bare hardware has its local APIC answer.
 */
import type { LocalApic, ProcessorPins } from '../devices/local-apic.ts';
import type { Engine } from '../engine/engine.ts';
import { state } from '../engine/x86/state.ts';
import type { Questions } from '../paravirt/operations.ts';
import type { Processor } from '../paravirt/processor.ts';
import { NMI } from '../x86/vectors.ts';
import type { Count } from './counts.ts';

export interface InterruptsOptions {
  engine: Engine;
  processor: Processor;
  questions: Questions;
  /** Undefined where the platform has none. */
  apic: LocalApic | undefined;
  /** Counts what the local APIC delivers. */
  delivered: Count;
  /** True: the hypervisor cannot tell whether something is pending, and is asked to deliver at every chance. */
  alwaysAttentive: boolean;
}

export class Interrupts {
  readonly #engine: Engine;
  readonly #processor: Processor;
  readonly #questions: Questions;
  readonly #apic: LocalApic | undefined;
  readonly #delivered: Count;
  readonly #alwaysAttentive: boolean;

  constructor({ engine, processor, questions, apic, delivered, alwaysAttentive }: InterruptsOptions) {
    this.#engine = engine;
    this.#processor = processor;
    this.#questions = questions;
    this.#apic = apic;
    this.#delivered = delivered;
    this.#alwaysAttentive = alwaysAttentive;
    if (apic) apic.pins = this.#pins();
  }

  /** The processor's pins, as its local APIC sees them. INIT and start-up reach no second processor: there is one. */
  #pins(): ProcessorPins {
    return {
      onChange: () => this.#engine.requestExit(),
      nmi: () => {
        this.#nmiPending = true;
        this.#engine.requestExit();
      },
      init: () => {},
      startUp: () => {},
    };
  }

  get #nmiPending(): boolean {
    return this.#engine.cpu.get32(state.NMI_PENDING) !== 0;
  }
  set #nmiPending(pending: boolean) {
    this.#engine.cpu.set32(state.NMI_PENDING, pending ? 1 : 0);
  }
  get #nmiWaits(): boolean {
    return this.#nmiPending && !this.#engine.cpu.nmiBlocked;
  }

  /** True if an interrupt waits, RFLAGS.IF aside. */
  wait(): boolean {
    if (this.#nmiWaits) return true;
    const { catchUp, pending } = this.#questions;
    catchUp?.();
    return pending ? pending() : (this.#apic?.pending() ?? false);
  }

  /** True if the halted processor is to go on now. */
  get awakens(): boolean {
    if (this.#nmiWaits) return true; // whatever IF is
    return this.wait() && (this.#engine.cpu.interruptFlag || this.#questions.deliver !== undefined);
  }

  /** True if nothing can wake the processor when it halts now: no hypervisor delivers, IF is off, and no NMI waits. */
  get deaf(): boolean {
    return !this.#engine.cpu.interruptFlag && !this.#questions.deliver && !this.#nmiPending;
  }

  /** Between two instructions: delivers what is pending and allowed. */
  deliver(): void {
    if (this.#nmiWaits) this.#deliverNmi();
    else if (this.#questions.deliver) this.#deliverByHypervisor(this.#questions.deliver);
    // ATTENTION: something may be pending. It stays set while an interrupt waits for IF.
    else if (this.#engine.cpu.get32(state.ATTENTION)) this.#deliverByApic();
  }

  #setAttention(on: boolean): void {
    this.#engine.cpu.set32(state.ATTENTION, on ? 1 : 0);
  }

  #deliverNmi(): void {
    this.#nmiPending = false;
    this.#engine.cpu.nmiBlocked = true;
    this.#engine.wake();
    this.#processor.interrupt(NMI);
  }

  #deliverByHypervisor(deliver: () => boolean): void {
    this.#setAttention(this.#alwaysAttentive || this.wait());
    if (deliver()) this.#engine.wake();
  }

  #deliverByApic(): void {
    if (!this.wait()) return this.#setAttention(false);
    if (!this.#engine.cpu.interruptFlag) return;
    const vector = this.#apic!.acknowledge();
    if (vector < 0) return;
    this.#delivered.value++;
    this.#engine.wake();
    this.#processor.interrupt(vector);
    this.#setAttention(this.wait());
    this.#questions.delivered?.(vector);
  }
}
