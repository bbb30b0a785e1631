/**
 * A page in headless Chromium, spoken to over a pipe in its DevTools protocol: enough to open a file, ask what is drawn where
 * and in which colour, and take a picture.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

/** Debian's names for it, and others'. */
const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
/** A browser that has not answered by then never will, in ms: it may have to share its processor. */
export const BROWSER_LIMIT = 120_000;
/** How long it may take to end, in ms. */
export const LAST_CALL = 10_000;

/** The program's name, or undefined where none is installed. */
export function findChromium(): string | undefined {
  return NAMES.find(name => {
    try {
      execFileSync(name, ['--version'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

export interface Screen {
  width: number;
  height: number;
  dark?: boolean;
}

/** A browser with one page. */
export interface TestBrowser {
  /** Its first process. */
  readonly pid: number;
  open(url: string, screen: Screen): Promise<void>;
  /** The page stays as it is, on another screen. */
  show(screen: Screen): Promise<void>;
  /** The value of an expression in the page, or what its promise is fulfilled with; it must survive JSON. */
  evaluate<T>(expression: string): Promise<T>;
  /** A PNG of what is on the screen. */
  picture(): Promise<Buffer>;
  close(): Promise<void>;
}

interface Answer {
  id?: number;
  result?: Record<string, unknown>;
  error?: { message: string };
  method?: string;
}

export class Browser implements TestBrowser {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #events = new Map<string, () => void>();
  #last = 0;
  #session: string | undefined;

  private constructor(program: string) {
    this.#folder = mkdtempSync(join(tmpdir(), 'polyvisor-browser-'));
    const options = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run'];
    this.#child = spawn(
      program,
      [...options, `--user-data-dir=${this.#folder}`, '--remote-debugging-pipe', 'about:blank'],
      {
        stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
      },
    );
    let pieces: string[] = [];
    (this.#child.stdio[4] as Readable).setEncoding('utf8').on('data', (piece: string) => {
      pieces.push(piece);
      // A snapshot comes in a thousand pieces: only the new one is looked at.
      if (!piece.includes('\0')) return;
      let text = pieces.join('');
      for (let end = text.indexOf('\0'); end >= 0; end = text.indexOf('\0')) {
        const answer = JSON.parse(text.slice(0, end)) as Answer;
        text = text.slice(end + 1);
        if (answer.id !== undefined) this.#waiting.get(answer.id)?.(answer);
        else if (answer.method) this.#events.get(answer.method)?.();
      }
      pieces = [text];
    });
  }

  static async start(program: string): Promise<Browser> {
    const browser = new Browser(program);
    const { targetInfos } = (await browser.#call('Target.getTargets')) as {
      targetInfos: { type: string; targetId: string }[];
    };
    const { targetId } = targetInfos.find(({ type }) => type === 'page')!;
    const attached = await browser.#call('Target.attachToTarget', { targetId, flatten: true });
    browser.#session = attached.sessionId as string;
    await browser.#call('Page.enable');
    return browser;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  #call(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method}: no answer`)), BROWSER_LIMIT);
      this.#waiting.set(id, ({ result, error }) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        if (error) reject(new Error(`${method}: ${error.message}`));
        else resolve(result ?? {});
      });
      const message = { id, method, params, ...(this.#session && { sessionId: this.#session }) };
      (this.#child.stdio[3] as Writable).write(`${JSON.stringify(message)}\0`);
    });
  }

  async open(url: string, screen: Screen): Promise<void> {
    await this.show(screen);
    const loaded = new Promise<void>(resolve => this.#events.set('Page.loadEventFired', resolve));
    await this.#call('Page.navigate', { url });
    await loaded;
  }

  async show({ width, height, dark = false }: Screen): Promise<void> {
    await this.#call('Emulation.setDeviceMetricsOverride', {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: width < 600,
    });
    const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }];
    await this.#call('Emulation.setEmulatedMedia', { features });
  }

  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.#call('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })) as {
      result: { value: T };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails)
      throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  async picture(): Promise<Buffer> {
    const { data } = await this.#call('Page.captureScreenshot', { format: 'png' });
    return Buffer.from(data as string, 'base64');
  }

  async close(): Promise<void> {
    const closed = new Promise(resolve => this.#child.once('close', resolve));
    // Asked, it ends its other processes, too; killed, it would leave them writing into the folder for a while.
    (this.#child.stdio[3] as Writable).write(`${JSON.stringify({ id: ++this.#last, method: 'Browser.close' })}\0`);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LAST_CALL);
    await closed;
    clearTimeout(timer);
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 });
  }
}
