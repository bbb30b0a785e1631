/**
 * What a Xen host does around a domain before it starts: xenstored and xenconsoled take their ends of two event
 * channels, the toolstack (libxl) fills the store with what a guest looks for, and each disk, shared folder and network gets a back end.
 */
import type { BackEnd, BackendHost } from '../../devices/xen/backend.ts';
import { connectDisk } from '../../devices/xen/block-backend.ts';
import { ConsoleRing } from '../../devices/xen/console-ring.ts';
import { connectNetwork } from '../../devices/xen/network-backend.ts';
import { connectFolder } from '../../devices/xen/nine-p-backend.ts';
import { homeOf, type Permission, type Xenstore } from '../../devices/xen/xenstore.ts';
import { XenstoreRing } from '../../devices/xen/xenstore-ring.ts';
import { scoped } from '../../state/state.ts';
import type { Domain, SharedFrame } from './domain.ts';
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE } from './grant-table.ts';
import { DOMAIN_UUID } from './hypercalls/xen-version.ts';

/** What a Xen guest's disks and networks are plugged into. */
export const XEN_BUS = 'xen';

/** The names of the two daemons' ends of the event channels. */
const XENSTORED = 'xenstored';
const XENCONSOLED = 'xenconsoled';

/** Bytes of console output that a toolstack keeps. The guest finds the number in the store and does not use it. */
const CONSOLE_LIMIT = 1048576;

/**
 * Connects the domain to its console, its store, its disks and its networks. The rings' pages must be where the guest will find them:
 * `domain.consoleRing` and `domain.xenstoreRing` may be changed before, not after.
 */
export function connectToolstack(domain: Domain): void {
  const { id, context, memory, events, kind, states, store } = domain;
  for (const ring of [domain.xenstoreRing, domain.consoleRing])
    if (kind.hold(domain, kind.frameNumber(domain, ring.address), true) === undefined)
      throw new Error('a ring is to be where the guest has no page');

  const storeEnd = connectEnd(domain, XENSTORED, domain.xenstoreRing, GNTTAB_RESERVED_XENSTORE);
  domain.state.xenstorePort = storeEnd.port;
  const storeStates = scoped(states, XENSTORED);
  const storeRing = new XenstoreRing(storeStates, id, memory, domain.xenstoreRing, store, context.log, storeEnd.notify);
  events.register(XENSTORED, () => storeRing.onEvent());

  const consoleEnd = connectEnd(domain, XENCONSOLED, domain.consoleRing, GNTTAB_RESERVED_CONSOLE);
  domain.state.consolePort = consoleEnd.port;
  const consoleStates = scoped(states, XENCONSOLED);
  const consoleRing = new ConsoleRing(consoleStates, memory, domain.consoleRing, context.console, consoleEnd.notify);
  events.register(XENCONSOLED, () => consoleRing.onEvent());

  describeDomain(domain, store);
  const host = backendHost(domain, store);
  const { disks, folders, networks } = context.backEnds;
  for (const [index, disk] of disks.entries()) connectDisk(host, disk, index);
  const now = () => context.clock.epoch + BigInt(Math.floor(context.clock.now()));
  for (const [index, folder] of folders.entries()) connectFolder(host, folder, index, now);
  for (const [index, network] of networks.entries()) connectNetwork(host, network, index, domain.vcpus.length);
}

/** What `xl shutdown` does. @returns false if the guest has not said that it listens */
export function requestShutdown({ id, store }: Domain): boolean {
  const control = `${homeOf(id)}/control`;
  if (new TextDecoder().decode(store.read(0, `${control}/feature-poweroff`)) !== '1') return false;
  store.write(0, `${control}/shutdown`, 'poweroff');
  return true;
}

/** What `xl mem-set` does: the guest's balloon driver watches the target, whenever it comes. @returns true */
export function requestMemory({ id, store, pages }: Domain, bytes: number): boolean {
  const kilobytes = Math.min(Math.floor(bytes / 1024), pages * 4);
  store.write(0, `${homeOf(id)}/memory/target`, String(kilobytes));
  return true;
}

/** What back ends of devices stand on. */
function backendHost(domain: Domain, store: Xenstore): BackendHost {
  const { context, memory, grants, events, states } = domain;
  const backEnds = new Map<string, BackEnd>();
  // The token of a back end's watch is its name.
  store.listen(0, (_, token) => backEnds.get(token)?.onWatch());
  return {
    domain: domain.id,
    memory,
    store,
    log: context.log,
    clock: context.clock,
    state: (name, version, initial) => states.state(name, version, initial),
    register(name, backEnd) {
      backEnds.set(name, backEnd);
      events.register(name, () => backEnd.onEvent());
    },
    map: (reference, write) => grants.map(reference, write),
    unmap: page => grants.unmap(page),
    bind: (port, name) => events.bindHost(port, name),
    notify: (port, name) => events.notify(port, name),
    unbind: (port, name) => events.unbindHost(port, name),
  };
}

/** Allocates a port, takes its far end and grants the ring: the guest finds it connected. */
function connectEnd(
  domain: Domain,
  name: string,
  ring: SharedFrame,
  reference: number,
): { port: number; notify: () => void } {
  const { events, grants, kind } = domain;
  const port = events.allocateUnbound(0);
  events.bindHost(port, name);
  grants.set(reference, 0, kind.frameNumber(domain, ring.address));
  return { port, notify: () => events.notify(port, name) };
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
  put(`${home}/store/port`, domain.state.xenstorePort);
  put(`${home}/store/ring-ref`, kind.frameNumber(domain, domain.xenstoreRing.address));
  put(`${home}/console`, '');
  put(`${home}/console/backend`, `${homeOf(0)}/backend/console/${id}/0`);
  put(`${home}/console/backend-id`, 0);
  put(`${home}/console/limit`, CONSOLE_LIMIT);
  put(`${home}/console/type`, 'xenconsoled');
  put(`${home}/console/output`, 'pty');
  put(`${home}/console/tty`, '');
  put(`${home}/console/port`, domain.state.consolePort);
  put(`${home}/console/ring-ref`, kind.frameNumber(domain, domain.consoleRing.address));
}
