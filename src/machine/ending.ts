/** How a guest's run ends: the first reason wins. */
import type { Exit } from '../exits.ts';

export class Ending {
  /** Undefined while the guest may go on. */
  exit: Exit | undefined;
  readonly #onEnd: () => void;

  /** @param onEnd called so that the processors stop soon */
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  end = (exit: Exit): void => {
    this.exit ??= exit;
    this.#onEnd();
  };

  /** The guest asked the impossible. */
  kill = (reason: string): void => this.end({ kind: 'killed', reason });

  /** The guest asked for it. @param detail a crash's reason, or the exit status that goes with a power-off */
  request = (what: 'power-off' | 'reset' | 'crash', detail?: number | string): void => {
    switch (what) {
      case 'crash':
        return this.end({
          kind: 'panic',
          reason: typeof detail === 'string' ? detail : 'the guest reported a crash',
        });
      case 'reset':
        return this.end({ kind: 'reset' });
      case 'power-off':
        return this.end({ kind: 'power-off', ...(typeof detail === 'number' ? { status: detail } : {}) });
    }
  };
}
