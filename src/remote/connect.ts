/** The user's end of the talk with a machine in another thread (messages.ts). `serve` is at the other end. */
import type { Exit } from '../exits.ts';
import type { MachineRequest, RunLimits } from '../machine/options.ts';
import type { FromMachine, Protocol, ToMachine } from './messages.ts';
import type { RemotePort } from './port.ts';

export interface Listener<P extends Protocol> {
  /** What the guest writes to its console. */
  console(data: Uint8Array): void;
  log(line: string): void;
  /** How the machine stands when it is ready, now and then, and at the end of a run. */
  report(report: P['report']): void;
  /** Whatever else the machine tells. */
  news?(message: P['news']): void;
  /** An error again, as the class that says whose it is. */
  received(error: P['error']): Error;
  /** The machine could not be made, or a run ended by a mistake. Default: the making, or the run, fails with that. */
  failed?(error: P['error']): void;
}

export interface Connection<P extends Protocol> {
  /** Fulfilled when the machine is made. @throws Error, later: it could not be */
  readonly ready: Promise<void>;
  run(limits: RunLimits): Promise<Exit>;
  stop(): void;
  request(what: MachineRequest): void;
  type(data: Uint8Array): void;
  /** @throws Error, later: what the machine says is in the way */
  ask<K extends keyof P['questions']>(
    question: K,
    given: P['questions'][K]['given'],
  ): Promise<P['questions'][K]['answer']>;
  tell(command: P['commands']): void;
  /** Ends a run from this end: nothing more is expected of the other. */
  finish(exit: Exit): void;
  /** The same for a run, or the making of the machine, that has gone wrong. */
  fail(error: Error): void;
}

/** Somebody who waits for an answer. */
interface Waiting<T> {
  done(value: T): void;
  failed(error: Error): void;
}

/** @param transfer parts of the options that are handed over and not copied */
export function connect<P extends Protocol>(
  port: RemotePort,
  options: P['options'],
  listener: Listener<P>,
  transfer: object[] = [],
): Connection<P> {
  const send = (message: ToMachine<P>, handed: object[] = []) => port.postMessage(message, handed);
  let making: Waiting<void>;
  const ready = new Promise<void>((done, failed) => {
    making = { done, failed };
  });
  let running: Waiting<Exit> | undefined;
  const asked = new Map<number, Waiting<unknown>>();
  let questions = 0;

  const finish = (exit: Exit) => {
    running?.done(exit);
    running = undefined;
  };
  const fail = (error: Error) => {
    (running ?? making).failed(error);
    running = undefined;
  };
  const answered = (number: number) => {
    const waiting = asked.get(number);
    asked.delete(number);
    return waiting;
  };

  port.addEventListener('message', ({ data }) => {
    const message = data as Exclude<FromMachine<P>, P['news']> | { kind: 'news' };
    switch (message.kind) {
      case 'ready':
        listener.report(message.report);
        return making.done();
      case 'failed':
        return listener.failed ? listener.failed(message.error) : fail(listener.received(message.error));
      case 'console':
        return listener.console(message.data);
      case 'log':
        return listener.log(message.line);
      case 'report':
        return listener.report(message.report);
      case 'exit':
        listener.report(message.report);
        return finish(message.exit);
      case 'answer':
        return answered(message.number)?.done(message.answer);
      case 'refused':
        return answered(message.number)?.failed(listener.received(message.error));
      default:
        return listener.news?.(data as P['news']);
    }
  });
  send({ kind: 'make', options }, transfer);

  return {
    ready,
    run: limits =>
      new Promise((done, failed) => {
        if (running) return failed(new Error('the machine runs already'));
        running = { done, failed };
        send({ kind: 'run', limits });
      }),
    stop: () => send({ kind: 'stop' }),
    request: what => send({ kind: 'request', what }),
    type: data => send({ kind: 'type', data }),
    ask: (question, given) =>
      new Promise((done, failed) => {
        const number = ++questions;
        asked.set(number, { done, failed });
        send({ kind: 'ask', number, question, given });
      }),
    tell: send,
    finish,
    fail,
  };
}
