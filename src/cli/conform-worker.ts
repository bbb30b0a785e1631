/** The thread in which the conformance suite asks a hypervisor: see conform.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { check } from '../conformance/suite.ts';
import { loadHypervisor } from '../host/node/load-hypervisor.ts';
import { findHypervisor } from '../hypervisors/list.ts';
import type { ConformStart, FromConform } from './conform.ts';
import { status } from './exit-status.ts';
import { withFileLater } from './failure.ts';
import { sendable } from './thread-messages.ts';
import { createWatch } from './watch.ts';

const { cells, hypervisor, checks } = workerData as ConformStart;
const send = (message: FromConform) => parentPort!.postMessage(message);

async function checkAll(): Promise<void> {
  try {
    let fault: string | undefined;
    const watch = createWatch(cells, name => send({ kind: 'operation', name }));
    watch.fault = reason => void (fault ??= reason);
    const module =
      findHypervisor(hypervisor) ??
      (await withFileLater(hypervisor, status.noInput, () => loadHypervisor(hypervisor, watch)));
    send({ kind: 'loaded', name: module.name, title: module.title });
    for (const name of checks) {
      fault = undefined;
      send({ kind: 'begin', name });
      send({ kind: 'checked', result: await check(module, name, () => fault) });
    }
    send({ kind: 'done' });
  } catch (error) {
    send({ kind: 'failed', error: sendable(error) });
  }
}

void checkAll();
