/**
 * The place for the domain of one machine. `boot.load` builds the domain, since only then the kernel is known; the
 * other ops, which are made before, find it here.
 */
export class DomainSlot<T> {
  /** Undefined until the domain is built. */
  built: T | undefined;

  /** @throws Error if the domain is not built: the machine has asked too early */
  get domain(): T {
    if (!this.built) throw new Error('the domain is built by boot.load, which has not been called');
    return this.built;
  }
}
