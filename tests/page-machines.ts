/** The machines of the page in a browser: waits for their prompts, types, reads what they answer. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestBrowser } from './browser.ts';

/** A boot takes some ten seconds; the host may be busy. In milliseconds. */
export const LIMIT = 280_000;
/** After that long without an answer a command is typed once more. */
const AGAIN = 20_000;
const LOOK_EVERY = 200;

/** What a page says of itself when it has not become what was waited for, in characters. */
const TAIL = 4000;

export class PageMachines {
  readonly browser: TestBrowser;

  constructor(browser: TestBrowser) {
    this.browser = browser;
  }

  /** The expression of the machine under `hypervisor`, in the page. */
  of(hypervisor: string): string {
    return `polyvisor.machines.find(({ element }) => element.dataset.hypervisor === '${hypervisor}')`;
  }

  /** Asks until the answer is a true one. @returns it @throws Error with what the page says */
  async until<T>(expression: string, what: string, limit = LIMIT): Promise<T> {
    const value = await this.#wait<T>(expression, limit);
    if (value) return value;
    const seen = await this.browser.evaluate<string>(
      `[document.body.innerText, ...(globalThis.polyvisor?.machines ?? []).map(({ text }) => text.slice(-${TAIL}))].join('\\n---\\n')`,
    );
    throw new Error(`${what}: not within ${limit / 1000} s. The page says:\n${seen}`);
  }

  /** Until the shell answers. Then the kernel is kept from writing into the lines of whoever types. */
  async prompt(hypervisor: string): Promise<void> {
    await this.until(`${this.of(hypervisor)}?.text.includes('~ #')`, `${hypervisor}'s prompt`);
    await this.answer(hypervisor, 'echo 1 >/proc/sys/kernel/printk; echo quiet $((6*7))', 'quiet 42');
  }

  /**
   * Types a command until it has answered: what is typed while the shell starts may be lost, and the kernel may write into a line.
   * @param answer what the command prints and is not in the command: its echo would be taken for the answer
   */
  async answer(hypervisor: string, command: string, answer: string): Promise<void> {
    const said = `${this.of(hypervisor)}.text.includes(${JSON.stringify(answer)})`;
    for (const start = Date.now(); ; ) {
      await this.browser.evaluate(`${this.of(hypervisor)}.type(${JSON.stringify(`${command}\n`)})`);
      if (Date.now() - start + AGAIN > LIMIT) return void (await this.until(said, `${hypervisor}: ${answer}`, AGAIN));
      if (await this.#wait(said, AGAIN)) return;
    }
  }

  async #wait<T>(expression: string, limit: number): Promise<T | undefined> {
    for (const start = Date.now(); ; await sleep(LOOK_EVERY)) {
      const value = await this.browser.evaluate<T>(expression);
      if (value || Date.now() - start > limit) return value || undefined;
    }
  }
}
