import { readFileSync } from 'node:fs';
import { createMachine, type Device, type Slot } from 'polyvisor';
import { ensureGuest } from 'polyvisor/node';

const PORT = 0x501;
/** The same for programs without access to ports: a register outside of RAM. */
const REGISTER = 0xd0000000;

/** A device of our own: a byte written to it ends the run with that status. */
function exitPort(slot: Slot): Device {
  const handler = {
    read: () => 0xff,
    write: (_offset: number, _width: number, status: number) => slot.request('power-off', status),
  };
  slot.ports('exit port', PORT, 1, handler);
  slot.mmio('exit port', REGISTER, 4096, handler);
  return { name: 'exit port', reset() {} };
}

const guest = await ensureGuest();
let line = '';
let typed = false;
const machine = await createMachine({
  kernel: readFileSync(guest.kernel),
  initrd: readFileSync(guest.initrd),
  devices: slot => [exitPort(slot)],
  console: {
    write(data) {
      line = (line + new TextDecoder().decode(data)).split('\n').at(-1)!;
      if (typed || !line.startsWith('~ # ')) return;
      typed = true;
      machine.type(`devmem ${REGISTER} 8 5\n`);
    },
    onInput() {},
  },
});
console.log(await machine.run()); // { kind: 'power-off', status: 5 }
