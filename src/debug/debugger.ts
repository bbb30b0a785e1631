/**
 * A machine that a debugger runs. It stands still before its first instruction, until a client lets it go on; one client at a
 * time. A client that comes stops the guest. One that goes takes its breakpoints along and leaves the guest as it is: it goes
 * on if it was going, and stands still if it was.
 */
import type { Exit } from '../exits.ts';
import type { HostSockets, Listener } from '../host/sockets.ts';
import type { Machine, RunLimits } from '../machine/options.ts';
import { Protocol } from './protocol.ts';
import type { History, StopReason, Target } from './target.ts';

/** Bytes that a client has not read; one with more does not mean to. */
const MOST_PENDING = 4 << 20;

/** What a client's connection is told. */
export interface DebugClient {
  receive(bytes: Uint8Array): void;
  gone(): void;
}
/** How a client is reached. */
export interface DebugConnection {
  send(bytes: Uint8Array): void;
  close(): void;
}

export class Debugger {
  readonly #machine: Machine;
  readonly #target: Target;
  readonly #say: (line: string) => void;
  readonly #whyNoHistory: string;
  #client: { protocol: Protocol; connection: DebugConnection } | undefined;
  /** The guest goes on as soon as `run` is called; and by one instruction of that processor alone. */
  #going = false;
  #step: number | undefined;
  /** The guest is to go back. */
  #back: 'step' | 'continue' | undefined;
  /** How the guest has ended, while a client may still go back. */
  #ended: Exit | undefined;
  #interrupted = false;
  /** Whoever may have stopped the machine, we have. */
  #hasStopped = false;
  #killed = false;
  #stopping = false;
  #wake = () => {};

  /**
   * @param say what a person may want to know
   * @param whyNoHistory what a client is told that wants to go back, where the machine cannot
   * @throws Error if that kind of machine cannot be debugged
   */
  constructor(
    machine: Machine,
    say: (line: string) => void = () => {},
    whyNoHistory = 'this machine keeps no history',
  ) {
    this.#machine = machine;
    this.#target = machine.debug();
    this.#say = say;
    this.#whyNoHistory = whyNoHistory;
  }

  /** Undefined: there is a client already. */
  connect(connection: DebugConnection): DebugClient | undefined {
    if (this.#client) return undefined;
    const protocol = new Protocol(
      this.#target,
      {
        resume: step => this.#resume(step),
        interrupt: () => this.#interrupt(),
        back: how => this.#goBack(how),
        detach: () => {
          this.#leave();
          this.#resume();
          this.#say('the debugger has left: the guest goes on');
        },
        kill: () => this.#kill(),
      },
      bytes => connection.send(bytes),
    );
    this.#client = { protocol, connection };
    this.#target.history?.keep(true);
    if (this.#going) this.#interrupt();
    this.#say('a debugger has come: the guest stands still');
    return {
      receive: bytes => {
        if (this.#client?.protocol === protocol) protocol.receive(bytes);
      },
      gone: () => {
        if (this.#client?.protocol !== protocol) return;
        this.#leave();
        this.#say(`the debugger has gone: the guest ${this.#going ? 'goes on' : 'stands still until one comes'}`);
      },
    };
  }
  #goBack(how: 'step' | 'continue'): void {
    this.#resume();
    this.#back = how;
  }
  #resume(step?: number): void {
    this.#step = step;
    this.#back = undefined;
    this.#interrupted = false;
    this.#going = true;
    this.#wake();
  }
  #interrupt(): void {
    this.#interrupted = true;
    this.#hasStopped = true;
    this.#machine.stop();
  }
  #kill(): void {
    this.#killed = true;
    this.#machine.stop();
    this.#wake();
  }
  #leave(): void {
    this.#client = undefined;
    if (this.#back) this.#machine.stop();
    this.#target.setBreakpoints(new Set(), []);
    this.#target.history?.keep(false);
    // Nobody can go back any more.
    if (this.#ended) this.#wake();
  }

  /** As `Machine.run`; while the guest stands still, no time passes for `limits`. */
  async run(limits: RunLimits = {}): Promise<Exit> {
    const { instructions = Number.POSITIVE_INFINITY } = limits;
    const last = this.#machine.instructions + instructions;
    this.#stopping = false;
    for (;;) {
      if (this.#stopping || this.#killed) return { kind: 'stopped' };
      if (this.#ended && !this.#back && (this.#going || !this.#client)) {
        this.#end(this.#ended);
        return this.#ended;
      }
      if (!this.#going) {
        await new Promise<void>(resolve => {
          this.#wake = resolve;
        });
        continue;
      }
      if (this.#back && !this.#interrupted) {
        await this.#wayBack(this.#back);
        continue;
      }
      const exit: Exit = this.#interrupted
        ? { kind: 'stopped' }
        : await this.#goOn({ ...limits, instructions: last - this.#machine.instructions });
      if (exit.kind !== 'stopped' || this.#target.history?.isOver) {
        this.#ended = exit;
        // Who can go back sees how it came to this.
        if (!this.#client || !this.#target.history) continue;
        this.#client.protocol.say(`${describeEnd(exit)}; it can go back, and is gone when it goes on`);
        this.#standStill({ kind: 'end', processor: this.#target.current });
        continue;
      }
      const stop = this.#target.takeStop();
      const isOurs = this.#hasStopped || stop !== undefined || this.#step !== undefined;
      this.#hasStopped = false;
      if (this.#client && (stop || this.#interrupted)) {
        this.#standStill(stop);
      } else if (!isOurs || this.#machine.instructions >= last) return exit;
    }
  }
  #standStill(stop: StopReason | undefined): void {
    this.#going = false;
    this.#interrupted = false;
    this.#step = this.#back = undefined;
    this.#client?.protocol.stopped(stop);
  }
  async #goOn(limits: RunLimits): Promise<Exit> {
    if (this.#step !== undefined) {
      if (this.#target.step(this.#step)) return { kind: 'stopped' };
    } else this.#client?.protocol.applyBreakpoints();
    return this.#machine.run(limits);
  }
  async #wayBack(how: 'step' | 'continue'): Promise<void> {
    this.#client?.protocol.applyBreakpoints();
    const { history, current } = this.#target;
    let result: Awaited<ReturnType<History['back']>> = 'beginning';
    try {
      if (!history) throw new Error(`reverse execution needs a run that repeats: ${this.#whyNoHistory}`);
      result = await history.back(how);
      this.#ended = undefined;
    } catch (error) {
      this.#client?.protocol.say(error instanceof Error ? error.message : String(error));
    }
    const stop = this.#target.takeStop();
    this.#hasStopped = false;
    this.#standStill(result === 'beginning' ? { kind: 'beginning', processor: current } : stop);
  }
  #end(exit: Exit): void {
    const failed = exit.kind !== 'power-off' && exit.kind !== 'reset';
    this.#client?.protocol.ended(describeEnd(exit), failed);
    this.#client?.connection.close();
    this.#client = undefined;
  }

  /** As `Machine.stop`. */
  stop(): void {
    this.#stopping = true;
    this.#machine.stop();
    this.#wake();
  }
}

function describeEnd(exit: Exit): string {
  if (exit.kind === 'stopped') return 'the recording has ended';
  const reason = 'reason' in exit && exit.reason ? `: ${exit.reason}` : '';
  return `the guest has ended (${exit.kind}${reason})`;
}

/** Lets clients come by TCP. @throws ListenError, later */
export function serveDebugger(
  subject: Debugger,
  sockets: HostSockets,
  { address, port }: { address: string; port: number },
): Promise<Listener> {
  return sockets.listenTcp(address, port, socket => {
    const client = subject.connect({
      send(bytes) {
        socket.write(bytes);
        if (socket.pending > MOST_PENDING) socket.reset();
      },
      close: () => socket.end(),
    });
    socket.resume();
    if (!client) socket.reset();
    return {
      data: bytes => client?.receive(bytes),
      ended() {
        client?.gone();
        socket.end();
      },
      drained() {},
      closed: () => client?.gone(),
    };
  });
}
