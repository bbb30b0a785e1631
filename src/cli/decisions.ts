/** Who ends a run: keys, signals, the time limit, a panic. They only stop the machine; here it is remembered why. */
import { constants } from 'node:os';
import type { Exit, Machine } from '../index.ts';

/** A kernel that has printed its panic, and for this long (ms) nothing more, is dead; else somebody was quoting one. */
const PANIC_SILENCE = 1000;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

type Decision = 'quit' | 'monitor' | 'timeout' | 'panic' | 'grace' | (typeof SIGNALS)[number] | 'SIGPIPE';

/** Before there is a machine to stop, a signal ends the process with the same line and status. @returns what takes that back */
export function endBySignals(): () => void {
  const onSignal = (signal: NodeJS.Signals) => {
    process.stderr.write(`polyvisor: ended by ${signal}\n`);
    process.exit(128 + constants.signals[signal]);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return () => {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}

/** What was written before a run ended may fail later, when it decides nothing any more. */
const ignore = () => {};

/** The first who ends the run for good wins; a wish for the monitor gives way to everything. */
export function createDecisions() {
  let machine: Machine | undefined;
  let decision: Decision | undefined;
  const timers: NodeJS.Timeout[] = [];

  const decide = (what: Decision) => {
    if (decision === undefined || decision === 'monitor') decision = what;
    machine?.stop();
  };
  const later = (milliseconds: number, work: () => void) => void timers.push(setTimeout(work, milliseconds));
  /** Takes signals instead of us, each once: whoever sends one again means us. */
  let taker: ((signal: (typeof SIGNALS)[number]) => void) | undefined;
  const handedOver = new Set<NodeJS.Signals>();
  const onSignal = (signal: NodeJS.Signals) => {
    const known = SIGNALS.find(name => name === signal)!;
    if (taker && !handedOver.has(signal)) {
      handedOver.add(signal);
      return taker(known);
    }
    if (decision === known) process.exit(130); // Asked twice: not even the machine is waited for.
    decide(known);
  };
  /** Whoever read our output has gone: nobody is left to run for. */
  const onPipe = (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') decide('SIGPIPE');
    else throw error;
  };

  return {
    decide,
    /** True once, if `what` was decided. */
    take(what: Decision): boolean {
      if (decision !== what) return false;
      decision = undefined;
      return true;
    },
    get ended() {
      return decision !== undefined && decision !== 'monitor';
    },
    get signal() {
      return decision === 'SIGPIPE' ? decision : SIGNALS.find(name => name === decision);
    },
    /** Signals are for `take` from now on, or for us again. */
    handOver: (take: typeof taker) => void (taker = take),
    stopIn: (milliseconds: number) => later(milliseconds, () => decide('grace')),
    /** A panicked kernel spins for ever; one that halts or prints goes on living. */
    suspectPanic(stillBelieved: () => string | undefined) {
      const halted = machine?.statistics.haltedTime;
      later(PANIC_SILENCE, () => {
        if (stillBelieved() !== undefined && machine?.statistics.haltedTime === halted) decide('panic');
      });
    },
    start(started: Machine, timeout: number | undefined) {
      machine = started;
      if (timeout !== undefined) later(timeout * 1000, () => decide('timeout'));
      for (const signal of SIGNALS) process.on(signal, onSignal);
      process.stdout.on('error', onPipe);
    },
    finish() {
      for (const timer of timers) clearTimeout(timer);
      for (const signal of SIGNALS) process.off(signal, onSignal);
      process.stdout.off('error', onPipe).off('error', ignore).on('error', ignore);
    },
    /** What the machine's exit means, given who stopped it and what the console last said. */
    explain(exit: Exit, panic: string | undefined): Exit {
      const timedOut = exit.kind === 'stopped' && decision === 'timeout';
      const stuck = timedOut || decision === 'panic' || ['reset', 'triple-fault', 'dead-halt'].includes(exit.kind);
      if (stuck && panic !== undefined) return { kind: 'panic', reason: panic };
      return timedOut ? { kind: 'timeout' } : exit;
    },
  };
}
