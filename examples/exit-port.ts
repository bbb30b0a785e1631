import { readFileSync } from 'node:fs';
import { createMachine, type Device, type Slot } from 'polyvisor';
import { ensureGuest } from 'polyvisor/node';

const PORT = 0x501;

/** A device of our own: a byte written to its port ends the run with that status. */
function exitPort(slot: Slot): Device {
  slot.ports('exit port', PORT, 1, {
    read: () => 0xff,
    write: (_offset, _width, status) => slot.request('power-off', status),
  });
  return { name: 'exit port', reset() {} };
}

const guest = await ensureGuest();
let line = '';
const machine = await createMachine({
  kernel: readFileSync(guest.kernel),
  initrd: readFileSync(guest.initrd),
  devices: slot => [exitPort(slot)],
  console: {
    write(data) {
      line = (line + new TextDecoder().decode(data)).split('\n').at(-1)!;
      if (line === '~ # ') machine.type(`printf '\\005' | dd of=/dev/port bs=1 seek=${PORT}\n`);
    },
    onInput() {},
  },
});
console.log(await machine.run()); // { kind: 'power-off', status: 5 }
