/** The thread in which a machine runs: makes one as it is told, runs it, and reports. `createRemoteMachine` is at the other end. */
import { ImageError } from '../boot/image-error.ts';
import type { TranslatorFactory } from '../engine/jit/translator.ts';
import type { ArtifactCache } from '../host/artifact-cache.ts';
import type { BackEnds } from '../host/back-ends.ts';
import type { HostClock } from '../host/clock.ts';
import type { Compression } from '../host/compression.ts';
import { findHypervisor } from '../hypervisors/list.ts';
import { createMachine } from '../machine/machine.ts';
import { type Crossing, traced } from '../paravirt/trace.ts';
import { Snapshot } from '../snapshot/snapshot.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { createBatch } from './batch.ts';
import type { MachineProtocol, RemoteOptions, SentError } from './machine-protocol.ts';
import type { RemotePort } from './port.ts';
import { type Served, serve, type Tell } from './serve.ts';

/** Host time between two reports, in nanoseconds. */
const REPORT_EVERY = 100e6;
/** How soon what the guest has written is sent, in nanoseconds. */
const CONSOLE_EVERY = 10e6;

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
  serve<MachineProtocol>(port, async (options, tell) => make(options, await host(options.extras), tell), sendable);
}

async function make(
  options: RemoteOptions,
  host: RemoteHost,
  tell: Tell<MachineProtocol>,
): Promise<Served<MachineProtocol>> {
  const { hypervisor: name, clock = 'host', snapshot: file, crossings: most = 0, extras: _, ...rest } = options;
  const { compression, translator, cache, backEnds = {} } = host;
  const snapshot = file && (await Snapshot.decode(file, compression));
  const hypervisor = findHypervisor(name ?? snapshot?.header.hypervisor ?? 'bare');
  if (!hypervisor) throw new Error(`no hypervisor ${name}`);
  let latest: Crossing[] = [];
  const note = (crossing: Crossing) => {
    // Trimmed now and then, and not for each.
    if (latest.push(crossing) > 16 * most) latest = latest.slice(-most);
  };
  const { add, flush } = createBatch(data => tell({ kind: 'console', data }, [data.buffer]));
  const machine = await createMachine({
    ...rest,
    hypervisor: most > 0 ? traced(hypervisor, note, { brief: true }) : hypervisor,
    clock: clock === 'host' ? host.clock : 'virtual',
    console: { write: add, onInput() {} },
    backEnds,
    ...(snapshot && { snapshot }),
    ...(translator && { translator }),
    ...(cache && { cache }),
    onLog: line => tell({ kind: 'log', line }),
  });
  const report = () => {
    const crossings = latest.slice(-most);
    latest = [];
    return { statistics: machine.statistics, crossings };
  };
  /** In the turns that the loop gives, so that no timer of the host's is needed; a guest that sleeps is not woken for it. */
  const reportUntil = async (isOver: () => boolean) => {
    for (let next = host.clock.now(); !isOver(); ) {
      await host.clock.turn();
      flush();
      if (host.clock.now() < next) {
        await host.clock.sleep(CONSOLE_EVERY).over;
        continue;
      }
      next = host.clock.now() + REPORT_EVERY;
      if (!isOver()) tell({ kind: 'report', report: report() });
    }
  };
  return {
    async run(limits) {
      let over = false;
      void reportUntil(() => over);
      return machine.run(limits).finally(() => {
        over = true;
      });
    },
    stop: () => machine.stop(),
    request: what => machine.request(what),
    type: data => machine.type(data),
    report,
    flush,
    answers: {
      snapshot: () => machine.snapshot().encode(compression),
      describe: () => machine.describe(),
    },
  };
}

function sendable(error: unknown): SentError {
  const kind = error instanceof ImageError ? 'image' : error instanceof SnapshotError ? 'snapshot' : 'other';
  const known = error instanceof Error;
  return { kind, message: known ? error.message : String(error), stack: known ? error.stack : undefined };
}
