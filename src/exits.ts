/** Why a machine stopped. Questions that the guest asks on the way (ports, MSRs, hypercalls) are calls, not exits. */

export type Exit =
  /** The guest powered itself off. `status` where a device of the embedder's gave one. */
  | { kind: 'power-off'; status?: number }
  /** The guest asked for a reset. */
  | { kind: 'reset' }
  /** The guest reported its own crash to the hypervisor, or its console showed a kernel panic. */
  | { kind: 'panic'; reason: string }
  /** The guest asked the impossible (machine.kill): the first reason. */
  | { kind: 'killed'; reason: string }
  /** Three faults on top of each other (SDM 3A 6.15, shutdown). */
  | { kind: 'triple-fault'; reason: string }
  /** Halted with interrupts off and nothing that could wake it. */
  | { kind: 'dead-halt' }
  /** `stop()` was called or the time limit passed. */
  | { kind: 'stopped' | 'timeout' };
