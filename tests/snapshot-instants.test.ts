/**
 * Debian's guest with 4 processors, saved at random instants of its boot, and restored in both tiers: from there on each does what the one that was
 * not interrupted does, by registers, whose turn it is, RAM, devices and console. With the interpreter all of that is compared on the way.
 *
 * POLYVISOR_INSTANTS=10 takes so many instants of the boot and a command, of every hypervisor, with 1 and with 4 processors: half an hour.
 * POLYVISOR_SEED draws others.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { commandArchive, commandParameters, joinArchives } from '../src/boot/exec-protocol.ts';
import { noCompression } from '../src/host/compression.ts';
import { diskCache, ensureGuest } from '../src/host/node/index.ts';
import { hypervisors } from '../src/hypervisors/list.ts';
import type { MachineOptions } from '../src/index.ts';
import { Snapshot } from '../src/index.ts';
import { type Assembled, compareMachines, differenceOf } from '../src/machine/compare-machines.ts';
import { assemble } from '../src/machine/machine.ts';

const LONG = process.env.POLYVISOR_INSTANTS !== undefined;
const INSTANTS = Number(process.env.POLYVISOR_INSTANTS ?? 2);
/** Up to which instants are drawn: a boot to its prompt has about 1.3 G, and the processors are started in its first third. */
const LAST = LONG ? 2_000_000_000 : 450_000_000;
/** Instructions after each that are compared. */
const RUN_ON = LONG ? 50_000_000 : 3_000_000;
const SEED = Number(process.env.POLYVISOR_SEED ?? 20);
const COMMAND =
  'cat /proc/uptime /proc/interrupts; for i in 1 2 3; do head -c 3000000 /dev/urandom | md5sum & done; wait';

const every = hypervisors.filter(({ isRelative }) => !isRelative).map(({ name }) => name);
const cases = LONG
  ? every.flatMap(name => [1, 4].map(cpus => ({ name, cpus })))
  : ['kvm', 'xen-pv', 'hyperv'].map(name => ({ name, cpus: 4 }));

/** Ascending, and far enough from each other. */
function instants(seed: number): number[] {
  let state = seed;
  const drawn = Array.from({ length: INSTANTS }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * LAST);
  });
  return drawn.sort((a, b) => a - b).map((at, index) => at + index * (RUN_ON + 1) + 1);
}

for (const [index, { name, cpus }] of cases.entries())
  test(`${name}, ${cpus} processors: saved and restored at ${INSTANTS} random instants`, async context => {
    const guest = await ensureGuest({ architecture: 'amd64' });
    const common: MachineOptions = { hypervisor: name, cpus, clock: 'virtual', cache: diskCache };
    let shown = '';
    const console = (text: (more: string) => void) => ({
      write: (data: Uint8Array) => text(String.fromCharCode(...data)),
      onInput() {},
    });
    const original = await assemble({
      ...common,
      kernel: readFileSync(guest.kernel),
      initrd: joinArchives(readFileSync(guest.initrd), commandArchive(COMMAND)),
      append: commandParameters(true),
      console: console(more => void (shown += more)),
    }).catch((error: Error) => (/at most|one processor/.test(error.message) ? error : Promise.reject(error)));
    if (original instanceof Error) return context.skip(original.message);
    let hasEnded = false;
    for (const at of instants(SEED + index)) {
      if (hasEnded) break; // It has done all it had to do.
      const exit = await original.machine.run({ instructions: at - original.machine.instructions });
      if (exit.kind !== 'stopped') break;
      const bytes = await original.machine.snapshot({ passing: true }).encode(noCompression);
      for (const engine of ['interpreter', 'jit'] as const) {
        const where = `${name}, ${cpus} processors, ${engine}, saved at ${at}`;
        // Of one tier it is compared as it runs on, of the other with where that has come to.
        const before = shown.length;
        let again = '';
        const snapshot = await Snapshot.decode(bytes, noCompression);
        const restored = await assemble({
          ...common,
          snapshot,
          engine,
          console: console(more => void (again += more)),
        });
        const difference = differenceOf(['restored', 'not interrupted']);
        if (engine === 'interpreter') {
          const both = compareMachines(restored, original, { what: 'restored and original', difference });
          const { kind, ...how } = await both.run({ instructions: RUN_ON });
          assert.notEqual(kind, 'killed', `${where}: ${JSON.stringify(how)}`);
          hasEnded = kind !== 'stopped';
          assert.equal(again, shown.slice(before), where);
        } else await restored.machine.run({ instructions: original.machine.instructions - at });
        assert.equal(difference(restored.engine, original.engine, true), undefined, where);
        const statesOf = ({ machine }: Assembled) =>
          hasEnded ? undefined : machine.snapshot({ passing: true }).states;
        // How far turns are accounted for depends on how the run was sliced, which the guest does not notice.
        if (engine === 'interpreter') assert.deepEqual(statesOf(restored), statesOf(original), where);
        restored.engine.core.close();
      }
    }
    original.engine.core.close();
  });
