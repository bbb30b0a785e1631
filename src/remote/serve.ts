/** The machine's end of the talk with its user (messages.ts): makes one as it is told, runs it, and answers. `connect` is at the other end. */
import type { Exit } from '../exits.ts';
import type { Machine, RunLimits } from '../machine/options.ts';
import type { FromMachine, Protocol, ToMachine } from './messages.ts';
import type { RemotePort } from './port.ts';

/** @param handed parts of the message that are handed over and not copied */
export type Tell<P extends Protocol> = (message: FromMachine<P>, handed?: object[]) => void;

/** A machine as it is served. */
export interface Served<P extends Protocol> extends Pick<Machine, 'stop' | 'request' | 'type'> {
  /** It may tell reports on the way. */
  run(limits: RunLimits): Promise<Exit>;
  report(): P['report'];
  /** Tells what the guest has written and was kept back for a while. */
  flush(): void;
  readonly answers: {
    [K in keyof P['questions']]: (
      given: P['questions'][K]['given'],
    ) => P['questions'][K]['answer'] | Promise<P['questions'][K]['answer']>;
  };
  /** Is told something else. */
  command?(command: P['commands']): void;
}

/**
 * Serves one machine at the port.
 * @param make as the first message says
 * @param sendable an error, as it is sent
 */
export function serve<P extends Protocol>(
  port: RemotePort,
  make: (options: P['options'], tell: Tell<P>) => Promise<Served<P>>,
  sendable: (error: unknown) => P['error'],
): void {
  const tell: Tell<P> = (message, handed = []) => port.postMessage(message, handed);
  const begin = async (options: P['options']) => {
    try {
      const served = await make(options, tell);
      tell({ kind: 'ready', report: served.report() });
      return served;
    } catch (error) {
      tell({ kind: 'failed', error: sendable(error) });
      return undefined;
    }
  };
  // What comes while the machine is being made waits for it.
  let making: Promise<Served<P> | undefined> | undefined;
  port.addEventListener('message', async ({ data }) => {
    const message = data as Exclude<ToMachine<P>, P['commands']> | { kind: 'command' };
    if (message.kind === 'make') {
      making ??= begin(message.options);
      return;
    }
    const served = await making;
    if (!served) return;
    switch (message.kind) {
      case 'run':
        return run(served, message.limits);
      case 'stop':
        return served.stop();
      case 'request':
        return served.request(message.what);
      case 'type':
        return served.type(message.data);
      case 'ask':
        return answer(served, message.number, message.question, message.given);
      default:
        return served.command?.(data as P['commands']);
    }
  });

  const run = async (served: Served<P>, limits: RunLimits) => {
    try {
      const exit = await served.run(limits);
      served.flush();
      tell({ kind: 'exit', exit, report: served.report() });
    } catch (error) {
      served.flush();
      tell({ kind: 'failed', error: sendable(error) });
    }
  };
  const answer = async (served: Served<P>, number: number, question: keyof P['questions'], given: unknown) => {
    try {
      const value = await served.answers[question](given);
      // A file of bytes is made for the answer: nobody here needs it any more.
      tell({ kind: 'answer', number, answer: value }, value instanceof Uint8Array ? [value.buffer] : []);
    } catch (error) {
      tell({ kind: 'refused', number, error: sendable(error) });
    }
  };
}
