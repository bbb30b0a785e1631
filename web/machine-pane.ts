/** One machine of the page: its thread, its terminal, its buttons, and what is shown of it. */
import type { Exit } from '../src/exits.ts';
import { findHypervisor } from '../src/hypervisors/list.ts';
import type { Statistics } from '../src/machine/options.ts';
import { createRemoteMachine, type RemoteMachine } from '../src/remote/client.ts';
import type { RemoteOptions } from '../src/remote/machine-protocol.ts';
import { button, element } from './dom.ts';
import { saveFile } from './files.ts';
import type { Extras } from './machine-worker.ts';
import { seconds, short } from './numbers.ts';
import { createTerminal, type PageTerminal } from './terminal.ts';
import { createTimeline } from './timeline.ts';
import { createWaistView } from './waist-view.ts';

/** Crossings that a report brings along. */
const CROSSINGS = 20;

export interface PaneOptions {
  hypervisor: string;
  /** Pause when so many instructions have been executed; 0 for never. */
  until: number;
  /** The names of the workers' scripts. */
  scripts: { machine: string; translator: string };
  disks: File[];
  cable: MessagePort | undefined;
  /** Hears of each report, and of each change of what the machine does. */
  onChange(): void;
}

/** What it does: `held` is a pause that keeps it in step with another one. */
export type Activity = 'starting' | 'running' | 'paused' | 'held' | 'ended';

/** The buffers of a machine's images: a kernel and its RAM disk may stand in one. */
function buffersOf({ kernel, initrd, snapshot }: RemoteOptions): ArrayBuffer[] {
  const images = [kernel, initrd, snapshot].filter(image => image instanceof Uint8Array);
  return [...new Set(images.map(({ buffer }) => buffer as ArrayBuffer))];
}

const NAMED: Record<Activity, string> = {
  starting: 'starting',
  running: 'running',
  paused: 'paused',
  held: 'waits for the other',
  ended: 'ended',
};

export class MachinePane {
  readonly element: HTMLElement;
  readonly #options: PaneOptions;
  readonly #worker: Worker;
  readonly #terminal: PageTerminal;
  readonly #waist;
  readonly #timeline = createTimeline();
  readonly #status = element('span', { class: 'status', role: 'status' });
  readonly #values: Record<'instructions' | 'guestTime' | 'speed' | 'halted', HTMLElement>;
  readonly #pause = button('Pause', 'Pause this machine, or let it go on', () => this.pause(!this.#paused));
  readonly #save = button('Snapshot', 'Save this machine as it is now to a file', () => void this.#saveFile());
  readonly #off = button('Shut down', 'Ask the guest to switch itself off', () => this.#machine?.request('shutdown'));
  #machine: RemoteMachine | undefined;
  #activity: Activity = 'starting';
  #paused = false;
  #held = false;
  /** Called when the machine may go on. */
  #goOn = () => {};
  #last: { statistics: Statistics; at: number } | undefined;

  constructor(place: HTMLElement, options: PaneOptions) {
    this.#options = options;
    const { hypervisor, scripts } = options;
    this.#worker = new Worker(scripts.machine, { type: 'module', name: hypervisor });
    this.#waist = createWaistView(hypervisor);
    const terminal = element('div', { class: 'screen', 'aria-label': `The console of ${hypervisor}` });
    const value = (name: string) => element('dd', { 'data-value': name }, '–');
    this.#values = {
      ...{ instructions: value('instructions'), guestTime: value('guestTime') },
      ...{ speed: value('speed'), halted: value('halted') },
    };
    const counter = (name: string, of: HTMLElement) => element('div', {}, element('dt', {}, name), of);
    const counters = element(
      'dl',
      { class: 'counters' },
      counter('instructions', this.#values.instructions),
      counter('guest time', this.#values.guestTime),
      counter('instructions a second', this.#values.speed),
      counter('halted', this.#values.halted),
    );
    const left = element('div', { class: 'left' }, terminal, counters, this.#timeline.element);
    const actions = element('div', { class: 'actions' }, this.#pause, this.#save, this.#off);
    const title = findHypervisor(hypervisor)?.title ?? '';
    this.element = element(
      'section',
      { class: 'machine', 'aria-label': `The machine under ${hypervisor}`, 'data-hypervisor': hypervisor },
      element('header', {}, element('h2', { title }, hypervisor), this.#status, actions),
      element('div', { class: 'body' }, left, this.#waist.element),
    );
    place.append(this.element);
    // Beside the terminal the waist needs some room, too.
    const room = this.element.clientWidth;
    const beside = matchMedia('(min-width: 1121px)').matches && !place.classList.contains('pair');
    this.#terminal = createTerminal(terminal, beside ? Math.min(room, 672) : room, () => this.#pause.focus());
    this.#terminal.onData(text => this.#machine?.type(text));
    this.#show('starting');
  }

  get parameters(): string {
    return this.#terminal.parameters;
  }
  get activity(): Activity {
    return this.#activity;
  }
  get statistics(): Statistics | undefined {
    return this.#machine?.statistics;
  }
  /** All that the console shows, and has shown. */
  get text(): string {
    return this.#terminal.text();
  }

  /**
   * @param isLast nobody needs the images any more: they are handed over, and the page does not keep them
   * @throws ImageError, SnapshotError, Error, later: the pane says so, too
   */
  async start(options: RemoteOptions, isLast = true): Promise<void> {
    const { scripts, disks, cable } = this.#options;
    const extras: Extras = {
      translator: scripts.translator,
      disks: disks.map(file => ({ name: file.name, file })),
      cable,
    };
    const failed = new Promise<never>((_, reject) => {
      this.#worker.addEventListener('error', event => reject(new Error(event.message || 'its thread has not started')));
    });
    const made = createRemoteMachine(
      this.#worker,
      { ...options, hypervisor: this.#options.hypervisor, crossings: CROSSINGS, extras },
      {
        console: data => this.#terminal.write(data),
        report: (statistics, crossings) => this.#take(statistics, crossings),
      },
      [...(cable ? [cable] : []), ...(isLast ? buffersOf(options) : [])],
    );
    try {
      this.#machine = await Promise.race([made, failed]);
      this.#terminal.focus();
      void Promise.race([this.#run(this.#machine), failed]).catch(error => this.#fail(error));
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  pause(paused: boolean): void {
    this.#paused = paused;
    this.#changed();
  }
  /** Pauses it for another machine's sake. */
  hold(held: boolean): void {
    if (held === this.#held) return;
    this.#held = held;
    this.#changed();
  }
  type(text: string): void {
    this.#machine?.type(text);
  }
  /** @throws Error, later */
  snapshot(): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.#machine) return Promise.reject(new Error('there is no machine yet'));
    return this.#machine.snapshot();
  }
  close(): void {
    this.#worker.terminate();
    this.#terminal.dispose();
    this.element.remove();
  }

  #changed(): void {
    if (this.#activity === 'ended') return;
    if (this.#paused || this.#held) this.#machine?.stop();
    else this.#goOn();
  }

  async #run(machine: RemoteMachine): Promise<void> {
    const { until } = this.#options;
    for (;;) {
      this.#show('running');
      const left = until - machine.statistics.instructions;
      const exit = await machine.run(until > 0 && left > 0 ? { instructions: left } : {});
      if (exit.kind !== 'stopped') return this.#end(exit);
      if (until > 0 && left > 0 && machine.statistics.instructions >= until) this.#paused = true;
      while (this.#paused || this.#held) {
        this.#show(this.#paused ? 'paused' : 'held');
        await new Promise<void>(resolve => (this.#goOn = resolve));
      }
    }
  }

  #end(exit: Exit): void {
    this.#show('ended', 'reason' in exit ? `${exit.kind}: ${exit.reason}` : exit.kind);
    this.#worker.terminate();
  }

  #fail(error: unknown): void {
    this.#show('ended', error instanceof Error ? error.message : String(error));
    this.#worker.terminate();
  }

  #show(activity: Activity, reason = ''): void {
    this.#activity = activity;
    this.#status.textContent = reason ? `${NAMED[activity]}: ${reason}` : NAMED[activity];
    this.element.dataset.activity = activity;
    this.#pause.textContent = this.#paused ? 'Go on' : 'Pause';
    const idle = activity === 'starting' || activity === 'ended';
    for (const each of [this.#pause, this.#save, this.#off]) each.disabled = idle;
    this.#options.onChange();
  }

  #take(statistics: Statistics, crossings: Parameters<ReturnType<typeof createWaistView>['update']>[1]): void {
    const now = performance.now();
    const last = this.#last;
    this.#timeline.add(this.#waist.update(statistics, crossings));
    this.#values.instructions.textContent = short(statistics.instructions);
    this.#values.guestTime.textContent = `${seconds(statistics.guestTime)} s`;
    if (last && now - last.at > 50) {
      const rate = ((statistics.instructions - last.statistics.instructions) / (now - last.at)) * 1000;
      const halted = (statistics.haltedTime - last.statistics.haltedTime) / ((now - last.at) * 1e6);
      this.#values.speed.textContent = short(Math.max(0, rate));
      this.#values.halted.textContent = `${Math.round(Math.min(1, Math.max(0, halted)) * 100)} %`;
    }
    this.#last = { statistics, at: now };
    // For whoever looks on from outside, tests above all.
    this.element.dataset.instructions = String(statistics.instructions);
    this.#options.onChange();
  }

  async #saveFile(): Promise<void> {
    this.#save.disabled = true;
    try {
      const bytes = await this.snapshot();
      saveFile(`${this.#options.hypervisor}.snapshot`, bytes);
    } catch (error) {
      this.#status.textContent = `not saved: ${error instanceof Error ? error.message : String(error)}`;
    } finally {
      this.#save.disabled = this.#activity === 'ended';
    }
  }
}
