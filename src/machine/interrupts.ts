/**
 * The interrupts of one processor: which wait, and their delivery between two instructions (SDM 3A 6.9). A hypervisor may
 * answer both questions itself; bare hardware has its local APIC answer.
 */
import type { LocalApic, ProcessorPins } from '../devices/local-apic.ts';
import type { Vcpu } from '../engine/vcpu.ts';
import { state } from '../engine/x86/state.ts';
import type { Questions } from '../paravirt/operations.ts';
import type { Processor } from '../paravirt/processor.ts';
import { NMI } from '../x86/vectors.ts';
import type { Count } from './counts.ts';

export interface InterruptsOptions {
  vcpu: Vcpu;
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
  readonly #vcpu: Vcpu;
  readonly #processor: Processor;
  readonly #questions: Questions;
  readonly #apic: LocalApic | undefined;
  readonly #delivered: Count;
  readonly #alwaysAttentive: boolean;

  constructor({ vcpu, processor, questions, apic, delivered, alwaysAttentive }: InterruptsOptions) {
    this.#vcpu = vcpu;
    this.#processor = processor;
    this.#questions = questions;
    this.#apic = apic;
    this.#delivered = delivered;
    this.#alwaysAttentive = alwaysAttentive;
    if (apic) apic.pins = this.#pins();
  }

  /** The processor's pins, as its local APIC sees them. */
  #pins(): ProcessorPins {
    return {
      onChange: () => this.#vcpu.requestExit(),
      nmi: () => this.#processor.nmi(),
      init: () => this.#init(),
      startUp: vector => this.#startUp(vector),
      ipi: () => this.#processor.noteIpi(),
    };
  }

  /**
   * INIT. The bootstrap processor goes on in firmware then, which starts the machine anew: ours knows no other reason to
   * come there (SDM 3A 9.4).
   */
  #init(): boolean {
    if (this.#vcpu.index === 0) this.#processor.request('reset');
    else return this.#vcpu.init();
    return true;
  }
  /** A start-up message: real mode, at the beginning of a page (SDM 3A 9.4.3). A processor that runs ignores it. */
  #startUp(vector: number): void {
    const vcpu = this.#vcpu;
    if (!vcpu.waitsForStart || this.#questions.startUp?.(vector)) return;
    const code = this.#processor.segment('cs');
    this.#processor.setSegment('cs', { ...code, selector: vector << 8, base: BigInt(vector << 12) });
    this.#processor.set('rip', 0n);
    vcpu.start();
  }

  get #nmiPending(): boolean {
    return this.#vcpu.cpu.get32(state.NMI_PENDING) !== 0;
  }
  set #nmiPending(pending: boolean) {
    this.#vcpu.cpu.set32(state.NMI_PENDING, pending ? 1 : 0);
  }
  get #nmiWaits(): boolean {
    return this.#nmiPending && !this.#vcpu.cpu.nmiBlocked;
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
    const { cpu, idle } = this.#vcpu;
    return this.wait() && (cpu.interruptFlag || idle || this.#questions.deliver !== undefined);
  }

  /** True if nothing can wake the processor when it halts now: no hypervisor delivers, IF is off, and no NMI waits. */
  get deaf(): boolean {
    const { cpu, idle } = this.#vcpu;
    return !cpu.interruptFlag && !idle && !this.#questions.deliver && !this.#nmiPending;
  }

  /** Between two instructions: delivers what is pending and allowed. */
  deliver(): void {
    if (this.#nmiWaits) this.#deliverNmi();
    else if (this.#questions.deliver) this.#deliverByHypervisor(this.#questions.deliver);
    // ATTENTION: something may be pending. It stays set while an interrupt waits for IF.
    else if (this.#vcpu.cpu.get32(state.ATTENTION)) this.#deliverByApic();
  }

  #setAttention(on: boolean): void {
    this.#vcpu.cpu.set32(state.ATTENTION, on ? 1 : 0);
  }

  #deliverNmi(): void {
    this.#nmiPending = false;
    this.#vcpu.cpu.nmiBlocked = true;
    this.#vcpu.halted = false;
    this.#processor.interrupt(NMI);
  }

  #deliverByHypervisor(deliver: () => boolean): void {
    this.#setAttention(this.#alwaysAttentive || this.wait());
    if (deliver()) this.#vcpu.halted = false;
  }

  #deliverByApic(): void {
    if (!this.wait()) return this.#setAttention(false);
    if (this.#vcpu.idle) this.#vcpu.halted = false;
    if (!this.#vcpu.cpu.interruptFlag) return;
    const vector = this.#apic!.acknowledge();
    if (vector < 0) return;
    this.#delivered.value++;
    this.#vcpu.halted = false;
    this.#processor.interrupt(vector);
    this.#setAttention(this.wait());
    this.#questions.delivered?.(vector);
  }
}
