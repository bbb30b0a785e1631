/** The thread in which a machine runs: makes one as it is told, runs it, and reports. `createRemoteMachine` is at the other end. */
import { ImageError } from '../boot/image-error.ts';
import type { TranslatorFactory } from '../engine/jit/translator.ts';
import type { ArtifactCache } from '../host/artifact-cache.ts';
import type { BackEnds } from '../host/back-ends.ts';
import type { HostClock } from '../host/clock.ts';
import type { Compression } from '../host/compression.ts';
import { findHypervisor } from '../hypervisors/list.ts';
import { createMachine } from '../machine/machine.ts';
import type { Machine, RunLimits } from '../machine/options.ts';
import { type Crossing, traced } from '../paravirt/trace.ts';
import { Snapshot } from '../snapshot/snapshot.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import type { FromRemote, RemoteOptions, Report, SentError, ToRemote } from './messages.ts';
import type { RemotePort } from './port.ts';

/** Host time between two reports, in nanoseconds. */
const REPORT_EVERY = 100e6;
/** Console bytes that are sent at once. */
const CONSOLE_BATCH = 1 << 14;

/** What the thread has for its machine. */
export interface RemoteHost {
  clock: HostClock;
  compression: Compression;
  translator?: TranslatorFactory | undefined;
  cache?: ArtifactCache | undefined;
  backEnds?: Partial<BackEnds> | undefined;
}

/** Serves one machine at the port. @param host makes what the thread has, of the extras in the options */
export function serveMachine(port: RemotePort, host: (extras: unknown) => RemoteHost | Promise<RemoteHost>): void {
  // What comes while the machine is being made waits for it.
  let making: Promise<Served | undefined> | undefined;
  const send: Send = (message, transfer = []) => port.postMessage(message, transfer);
  port.addEventListener('message', async ({ data }) => {
    const message = data as ToRemote;
    if (message.kind === 'make') {
      making ??= make(message.options, host, send).catch(error => {
        send({ kind: 'failed', error: sendable(error) });
        return undefined;
      });
      return;
    }
    const served = await making;
    if (served) await obey(served, message, send);
  });
}

type Send = (message: FromRemote, transfer?: ArrayBuffer[]) => void;

interface Served {
  machine: Machine;
  host: RemoteHost;
  report(): Report;
  flush(): void;
}

async function make(
  options: RemoteOptions,
  hostOf: (extras: unknown) => RemoteHost | Promise<RemoteHost>,
  send: Send,
): Promise<Served> {
  const { hypervisor: name, clock = 'host', snapshot: file, crossings: most = 0, extras, ...rest } = options;
  const host = await hostOf(extras);
  const { compression, translator, cache, backEnds = {} } = host;
  const snapshot = file && (await Snapshot.decode(file, compression));
  const hypervisor = findHypervisor(name ?? snapshot?.header.hypervisor ?? 'bare');
  if (!hypervisor) throw new Error(`no hypervisor ${name}`);
  let latest: Crossing[] = [];
  const note = (crossing: Crossing) => {
    // Trimmed now and then, and not for each.
    if (latest.push(crossing) > 16 * most) latest = latest.slice(-most);
  };
  const output = createOutput(data => send({ kind: 'console', data }, [data.buffer]));
  let ready = false;
  const log: string[] = [];
  const machine = await createMachine({
    ...rest,
    hypervisor: most > 0 ? traced(hypervisor, note, { brief: true }) : hypervisor,
    clock: clock === 'host' ? host.clock : 'virtual',
    console: { write: output.add, onInput() {} },
    backEnds,
    ...(snapshot && { snapshot }),
    ...(translator && { translator }),
    ...(cache && { cache }),
    onLog: line => (ready ? send({ kind: 'log', line }) : void log.push(line)),
  });
  const report = () => {
    const crossings = latest.slice(-most);
    latest = [];
    return { statistics: machine.statistics, crossings };
  };
  ready = true;
  send({ kind: 'ready', report: report(), log });
  return { machine, host, report, flush: output.flush };
}

/** Gathers what the guest writes byte by byte into pieces that are worth a message. */
function createOutput(deliver: (data: Uint8Array<ArrayBuffer>) => void) {
  const buffer = new Uint8Array(CONSOLE_BATCH);
  let used = 0;
  const flush = () => {
    if (used === 0) return;
    const piece = buffer.slice(0, used);
    used = 0;
    deliver(piece);
  };
  return {
    flush,
    add(data: Uint8Array) {
      if (data.length > CONSOLE_BATCH - used) flush();
      if (data.length > CONSOLE_BATCH) return deliver(data.slice());
      buffer.set(data, used);
      used += data.length;
    },
  };
}

async function obey(served: Served, message: ToRemote, send: Send): Promise<void> {
  const { machine, host } = served;
  switch (message.kind) {
    case 'run':
      return run(served, message.limits, send);
    case 'stop':
      return machine.stop();
    case 'request':
      return machine.request(message.what);
    case 'type':
      return machine.type(message.data);
    case 'describe':
      return send({ kind: 'description', text: machine.describe() });
    case 'snapshot':
      try {
        const bytes = await machine.snapshot().encode(host.compression);
        return send({ kind: 'snapshot', bytes }, [bytes.buffer]);
      } catch (error) {
        return send({ kind: 'not-saved', error: sendable(error) });
      }
  }
}

async function run({ machine, host, report, flush }: Served, limits: RunLimits, send: Send): Promise<void> {
  let over = false;
  // In the turns that the loop gives, so that no timer of the host's is needed; a guest that sleeps is not woken for it.
  const watch = async () => {
    for (let next = host.clock.now(); !over; ) {
      await host.clock.turn();
      flush();
      if (host.clock.now() < next) {
        await host.clock.sleep(CONSOLE_EVERY).over;
        continue;
      }
      next = host.clock.now() + REPORT_EVERY;
      if (!over) send({ kind: 'report', report: report() });
    }
  };
  try {
    void watch();
    const exit = await machine.run(limits);
    over = true;
    flush();
    send({ kind: 'exit', exit, report: report() });
  } catch (error) {
    over = true;
    flush();
    send({ kind: 'failed', error: sendable(error) });
  }
}

/** How soon what the guest has written is sent, in nanoseconds. */
const CONSOLE_EVERY = 10e6;

function sendable(error: unknown): SentError {
  const kind = error instanceof ImageError ? 'image' : error instanceof SnapshotError ? 'snapshot' : 'other';
  const known = error instanceof Error;
  return { kind, message: known ? error.message : String(error), stack: known ? error.stack : undefined };
}
