/** A kernel in a page: 30 lines, for any bundler. The kernel and its RAM disk stand beside the page. */
import { Terminal } from '@xterm/xterm';
import { createMachine } from 'polyvisor';
import { browserClock, terminalConsole } from 'polyvisor/browser';

async function bytes(path: string): Promise<Uint8Array> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

const terminal = new Terminal();
terminal.open(document.body);
const [kernel, initrd] = await Promise.all([bytes('vmlinuz'), bytes('initrd')]);
const machine = await createMachine({
  kernel,
  initrd,
  hypervisor: 'kvm',
  clock: browserClock,
  console: terminalConsole(terminal),
});
terminal.focus();
const exit = await machine.run();
terminal.write(`\r\nThe guest has ended: ${exit.kind}\r\n`);
