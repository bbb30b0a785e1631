import { readFileSync } from 'node:fs';
import { createMachine } from 'polyvisor';
import { ensureGuest, nodeClock } from 'polyvisor/node';

const guest = await ensureGuest(); // Debian's kernel, fetched the first time
let seen = '';
let look = () => {};

const machine = await createMachine({
  kernel: readFileSync(guest.kernel),
  initrd: readFileSync(guest.initrd),
  hypervisor: 'kvm',
  clock: nodeClock,
  console: {
    write(data) {
      seen += new TextDecoder().decode(data);
      look();
    },
    onInput() {}, // machine.type() is enough here
  },
});

/** Waits for `text` on the console and returns what stood before it. */
const until = (text: string) =>
  new Promise<string>(resolve => {
    look = () => {
      const at = seen.indexOf(text);
      if (at < 0) return;
      const before = seen.slice(0, at);
      seen = seen.slice(at + text.length);
      look = () => {};
      resolve(before);
    };
    look();
  });

const ended = machine.run();
await until('~ # ');
machine.type('uname -sr\n');
await until('uname -sr\r\n');
console.log(`The guest says: ${await until('\r\n')}`);
machine.stop();
console.log(`It ended: ${(await ended).kind}, after ${machine.statistics.instructions} instructions`);
