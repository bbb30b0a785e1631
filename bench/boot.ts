/** From the start of the process to /init, and to the shell's prompt: the same kernel and initial RAM disk for everybody. */
import { ensureGuest } from '../src/host/node/guest.ts';
import type { Bench } from './bench.ts';
import { timeToMarks } from './console.ts';
import { ourselves, qemu, qemuVersion } from './peers.ts';

const MEMORY = 256;
/** Seconds. */
const LIMIT = 300;
const MARKS = { 'time to /init': /Run \/init as init process/, 'time to the shell': /~ [#$] / };

export const boot: Bench = {
  name: 'boot',
  title: "Debian's kernel and the default guest, from the start of the process",
  async run({ runs, progress, note }) {
    const guest = await ensureGuest({ progress: ({ text }) => progress(text) });
    note(`kernel ${guest.release}, ${MEMORY} MiB, bare`);
    const peers = [ourselves(guest, { memory: MEMORY })];
    const version = qemuVersion();
    if (version) peers.push(qemu(guest, { memory: MEMORY }));
    else note('qemu-system-x86_64 is not installed: no peer to compare with (apt-get install qemu-system-x86)');
    if (version) note(`qemu-tcg is version ${version}`);

    const rows = Object.keys(MARKS).map(name => ({ name, seconds: {} as Record<string, number[]> }));
    for (let attempt = 1; attempt <= runs; attempt++)
      for (const peer of peers) {
        progress(`${peer.name}, ${attempt} of ${runs}`);
        const times = await timeToMarks(peer, MARKS, LIMIT);
        for (const { name, seconds } of rows) (seconds[peer.name] ??= []).push(times[name]);
      }
    return rows;
  },
};
