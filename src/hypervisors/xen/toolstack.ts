/**
 * What a Xen host does around a domain before it starts: xenstored and xenconsoled take their ends of two event channels,
 * the toolstack (libxl) fills the store with what a guest looks for, and each disk gets a back end.
 */
import type { BackendHost, EventPort } from '../../devices/xen/backend.ts';
import { BlockBackend } from '../../devices/xen/block-backend.ts';
import { ConsoleRing } from '../../devices/xen/console-ring.ts';
import { homeOf, type Permission, Xenstore } from '../../devices/xen/xenstore.ts';
import { XenstoreRing } from '../../devices/xen/xenstore-ring.ts';
import type { Domain } from './domain.ts';
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE } from './grant-table.ts';
import { DOMAIN_UUID } from './hypercalls/xen-version.ts';

/** Size of the console's backlog in bytes that a toolstack keeps: told to the guest, who does not mind. */
const CONSOLE_LIMIT = 1048576;

/**
 * Connects the domain to its console, its store and its disks. The rings' pages must be where the guest will find them:
 * `domain.consoleRing` and `domain.xenstoreRing` may be changed before, not after.
 */
export function connectToolstack(domain: Domain): Xenstore {
  const { context, memory, grants, kind } = domain;
  const store = new Xenstore();
  for (const ring of [domain.xenstoreRing, domain.consoleRing])
    if (kind.hold(domain, kind.frameNumber(domain, ring.address), true) === undefined)
      throw new Error('a ring is to be where the guest has no page');
  const host: BackendHost = {
    domain: domain.id,
    memory,
    store,
    log: context.log,
    map: (reference, write) => grants.map(reference, write),
    bind: (port, onEvent) => domain.events.bindHost(port, onEvent),
  };

  const xenstorePort = openPort(domain, () => storeRing.onEvent());
  domain.xenstorePort = xenstorePort.port;
  const storeRing = new XenstoreRing(domain.id, memory, domain.xenstoreRing, store, context.log, xenstorePort.notify);
  grants.set(GNTTAB_RESERVED_XENSTORE, 0, kind.frameNumber(domain, domain.xenstoreRing.address));

  const consolePort = openPort(domain, () => consoleRing.onEvent());
  domain.consolePort = consolePort.port;
  const consoleRing = new ConsoleRing(memory, domain.consoleRing, context.console, consolePort.notify);
  grants.set(GNTTAB_RESERVED_CONSOLE, 0, kind.frameNumber(domain, domain.consoleRing.address));

  describeDomain(domain, store);
  for (const [index, disk] of context.backEnds.disks.entries()) new BlockBackend(host, disk, index);
  return store;
}

/** Allocates a port and takes its far end: the guest finds it connected. */
function openPort(domain: Domain, onEvent: () => void): { port: number; notify: () => void } {
  const port = domain.events.allocateUnbound(0);
  const end: EventPort = domain.events.bindHost(port, onEvent)!;
  return { port, notify: () => end.notify() };
}

/** The nodes libxl makes for a domU, with the permissions it gives them. */
function describeDomain(domain: Domain, store: Xenstore): void {
  const { id, kind } = domain;
  const home = homeOf(id);
  const readable: Permission[] = ['n0', `r${id}`];
  const own: Permission[] = [`n${id}`];
  const put = (path: string, value: string | number, permissions = readable) => {
    store.write(0, path, String(value));
    store.setPermissions(0, path, permissions);
  };
  const kilobytes = domain.pages * 4;

  put(`/vm/${DOMAIN_UUID}`, '');
  put(`/vm/${DOMAIN_UUID}/uuid`, DOMAIN_UUID);
  put(`/vm/${DOMAIN_UUID}/name`, 'polyvisor');
  put(home, '');
  put(`${home}/vm`, `/vm/${DOMAIN_UUID}`);
  put(`${home}/name`, 'polyvisor');
  put(`${home}/domid`, id);
  for (const vcpu of domain.vcpus) put(`${home}/cpu/${vcpu.id}/availability`, 'online');
  put(`${home}/cpu`, '');
  put(`${home}/memory`, '');
  put(`${home}/memory/static-max`, kilobytes);
  put(`${home}/memory/target`, kilobytes);
  put(`${home}/device`, '');
  put(`${home}/device/suspend`, '');
  put(`${home}/device/suspend/event-channel`, '', own);
  put(`${home}/control`, '');
  for (const name of ['shutdown', 'feature-poweroff', 'feature-reboot', 'feature-suspend', 'sysrq'])
    put(`${home}/control/${name}`, '', own);
  put(`${home}/control/platform-feature-multiprocessor-suspend`, 1);
  put(`${home}/control/platform-feature-xs_reset_watches`, 1);
  for (const name of ['data', 'drivers', 'feature', 'attr', 'error']) put(`${home}/${name}`, '', own);
  put(`${home}/store`, '');
  put(`${home}/store/port`, domain.xenstorePort);
  put(`${home}/store/ring-ref`, kind.frameNumber(domain, domain.xenstoreRing.address));
  put(`${home}/console`, '');
  put(`${home}/console/backend`, `${homeOf(0)}/backend/console/${id}/0`);
  put(`${home}/console/backend-id`, 0);
  put(`${home}/console/limit`, CONSOLE_LIMIT);
  put(`${home}/console/type`, 'xenconsoled');
  put(`${home}/console/output`, 'pty');
  put(`${home}/console/tty`, '');
  put(`${home}/console/port`, domain.consolePort);
  put(`${home}/console/ring-ref`, kind.frameNumber(domain, domain.consoleRing.address));
}
