/**
 * HYPERVISOR_console_io: text straight to the console, before a guest has any ring. A release build of Xen refuses it
 * to a domU; a debug build, and we, do not, which is what makes Linux' earlyprintk=xen work.
 */
import { __HYPERVISOR_console_io, EFAULT, ENOSYS } from '../constants.ts';
import type { HypercallTable } from '../hypercall.ts';

const CONSOLEIO_write = 0;
const CONSOLEIO_read = 1;
/** Bytes copied at a time, and at most in one call: what is longer is no text. */
const CHUNK = 4096;
const LIMIT = 1 << 16;

export const console_io: HypercallTable = {
  [__HYPERVISOR_console_io]: {
    name: 'HYPERVISOR_console_io',
    arguments: ['cmd', 'count', 'buffer'],
    status: 'partly',
    note: 'reading never finds anything: what is typed goes to the console ring',
    run(call) {
      const command = call.uint(0);
      if (command === CONSOLEIO_read) return 0;
      if (command !== CONSOLEIO_write) return -ENOSYS;
      const count = Math.min(call.uint(1), LIMIT);
      for (let done = 0; done < count; done += CHUNK) {
        const text = call.read(call.argument(2) + BigInt(done), Math.min(CHUNK, count - done));
        if (!text) return -EFAULT;
        call.domain.context.console.write(text);
      }
      return 0;
    },
  },
};
