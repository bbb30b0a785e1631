/**
 * The host asks the default guest for memory, which it hands over and gets back, and to switch itself off, each hypervisor by its own
 * means; what runs there ends in its own way first.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { ensureGuest, workerTranslator } from '../src/host/node/index.ts';
import { createMachine } from '../src/index.ts';

/** Under all but the first, the power button alone would not do: nobody in the guest listens to it. */
const HYPERVISORS = ['bare', 'hyperv', 'xen-pvh', 'xen-pv'] as const;

/** What is typed when the shell's prompt has come, and when the program has said that it is ready. */
const program = (deaf: boolean) =>
  `${deaf ? 'killall acpid 2>/dev/null; ' : ''}sh -c 'trap "echo fare\\"\\"well; exit 0" TERM; echo re""ady; while :; do sleep 0.1; done'\n`;

/** Waits until so many KiB are free, and says the word. */
const wait = (comparison: '-lt' | '-gt', kilobytes: number, word: string) =>
  `until [ $(awk '/MemFree/ { print $2 }' /proc/meminfo) ${comparison} ${kilobytes} ]; do sleep 0.1; done; echo "" ${word}\n`;

const MIB = 2 ** 20;

describe('a guest that is asked for memory, and to switch itself off, does so', () => {
  for (const hypervisor of HYPERVISORS)
    test(hypervisor, { timeout: 200_000 }, async () => {
      const guest = await ensureGuest();
      let text = '';
      const waits = [
        {
          after: '~ # ',
          act() {
            machine.request({ memory: 128 * MIB });
            machine.type(wait('-lt', 100_000, 'less'));
          },
        },
        {
          after: '\n less',
          act() {
            machine.request({ memory: 256 * MIB });
            machine.type(wait('-gt', 140_000, 'more'));
          },
        },
        { after: '\n more', act: () => machine.type(program(hypervisor !== 'bare')) },
        { after: 'ready\r\n', act: () => machine.request('shutdown') },
      ];
      const machine = await createMachine({
        ...{ kernel: readFileSync(guest.kernel), initrd: readFileSync(guest.initrd), hypervisor },
        translator: workerTranslator,
        console: {
          write(data) {
            text += new TextDecoder().decode(data);
            if (waits.length > 0 && text.includes(waits[0].after)) setImmediate(waits.shift()!.act);
          },
          onInput() {},
        },
      });
      const exit = await machine.run({ timeout: 60 });
      assert.deepEqual(exit, { kind: 'power-off' }, text.slice(-2000));
      assert.match(text, /farewell/);
    });
});
