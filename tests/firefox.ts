/**
 * A page in headless Firefox, spoken to over a socket in Marionette's protocol: a message is its length in bytes, a colon and
 * JSON (Firefox Source Docs, "Marionette: Protocol"). The commands are WebDriver's.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BROWSER_LIMIT, LAST_CALL, type Screen, type TestBrowser } from './browser.ts';

/** Debian's name for it, and Mozilla's. */
const NAMES = ['firefox-esr', 'firefox'];
/** A window becomes no narrower, in pixels. */
const NARROWEST = 500;
/** Any free port, which the file of this name in the profile then has. */
const PREFERENCES = 'user_pref("marionette.port", 0);\n';
const PORT_FILE = 'MarionetteActivePort';

/** The program's name, or undefined where none is installed. */
export function findFirefox(): string | undefined {
  return NAMES.find(name => {
    try {
      // Where it starts at all: a name may be there without what it is for.
      execFileSync(name, ['--version'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

interface Failure {
  error: string;
  message: string;
}

type Answer = [kind: 1, id: number, error: Failure | null, result: unknown];

export class Firefox implements TestBrowser {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #socket: Socket | undefined;
  #last = 0;

  private constructor(program: string) {
    this.#folder = mkdtempSync(join(tmpdir(), 'polyvisor-firefox-'));
    writeFileSync(join(this.#folder, 'user.js'), PREFERENCES);
    this.#child = spawn(
      program,
      ['--headless', '--no-remote', '--marionette', '--profile', this.#folder, 'about:blank'],
      // It asks that its user's home is that user's own, and writes there.
      { stdio: 'ignore', env: { ...process.env, HOME: this.#folder } },
    );
  }

  /** @throws Error, later, where it does not come up */
  static async start(program: string): Promise<Firefox> {
    const browser = new Firefox(program);
    try {
      browser.#socket = await browser.#connect();
      await browser.#call('WebDriver:NewSession', {});
      await browser.#call('WebDriver:SetTimeouts', { script: BROWSER_LIMIT, pageLoad: BROWSER_LIMIT });
      return browser;
    } catch (error) {
      await browser.close();
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async open(url: string, screen: Screen): Promise<void> {
    await this.show(screen);
    await this.#call('WebDriver:Navigate', { url });
  }

  /** @throws RangeError for what only Chromium does here */
  async show({ width, height, dark = false }: Screen): Promise<void> {
    if (dark || width < NARROWEST) throw new RangeError('Firefox shows no dark page here, and none of a phone');
    // A window's size is that of its frame, too, which is as large as it is.
    const [wide, high] = await this.evaluate<[number, number]>('[outerWidth - innerWidth, outerHeight - innerHeight]');
    await this.#call('WebDriver:SetWindowRect', { width: width + wide, height: height + high });
  }

  async evaluate<T>(expression: string): Promise<T> {
    // Without a name for its sandbox, a script sees the page's own variables.
    const { value } = (await this.#call('WebDriver:ExecuteScript', {
      script: `return (${expression});`,
      args: [],
      sandbox: null,
      newSandbox: true,
    })) as { value: T };
    return value;
  }

  async picture(): Promise<Buffer> {
    const { value } = (await this.#call('WebDriver:TakeScreenshot', { full: false })) as { value: string };
    return Buffer.from(value, 'base64');
  }

  async close(): Promise<void> {
    const ended = this.#child.exitCode !== null || this.#child.signalCode !== null || !this.#child.pid;
    const closed = ended ? undefined : new Promise(resolve => this.#child.once('close', resolve));
    if (this.#socket) void this.#call('Marionette:Quit', { flags: ['eForceQuit'] }).catch(() => {});
    else this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LAST_CALL);
    await closed;
    clearTimeout(timer);
    this.#socket?.destroy();
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 });
  }

  async #connect(): Promise<Socket> {
    for (const start = Date.now(); ; await sleep(50)) {
      const port = Number(this.#read(PORT_FILE));
      if (port > 0) return this.#listen(connect(port, '127.0.0.1'));
      if (this.#child.exitCode !== null) throw new Error(`Firefox ended with status ${this.#child.exitCode}`);
      if (Date.now() - start > BROWSER_LIMIT) throw new Error('Firefox opens no port');
    }
  }

  #read(name: string): string {
    try {
      return readFileSync(join(this.#folder, name), 'utf8');
    } catch {
      return '';
    }
  }

  /** Fulfilled when Firefox has greeted. */
  #listen(socket: Socket): Promise<Socket> {
    let pieces: Buffer[] = [];
    let size = 0;
    let wanted = 0;
    return new Promise((resolve, reject) => {
      socket.on('error', reject);
      socket.on('data', piece => {
        pieces.push(piece);
        size += piece.length;
        if (size < wanted) return;
        let bytes = Buffer.concat(pieces);
        wanted = 0;
        for (let colon = bytes.indexOf(':'); colon > 0; colon = bytes.indexOf(':')) {
          const end = colon + 1 + Number(bytes.toString('latin1', 0, colon));
          if (bytes.length < end) {
            wanted = end;
            break;
          }
          const message = JSON.parse(bytes.toString('utf8', colon + 1, end)) as Answer | object;
          bytes = bytes.subarray(end);
          if (Array.isArray(message)) this.#waiting.get((message as Answer)[1])?.(message as Answer);
          else resolve(socket);
        }
        pieces = [bytes];
        size = bytes.length;
      });
    });
  }

  #call(command: string, parameters: object): Promise<unknown> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${command}: no answer`)), BROWSER_LIMIT);
      this.#waiting.set(id, ([, , failure, result]) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        if (failure) reject(new Error(`${command}: ${failure.error}: ${failure.message}`));
        else resolve(result);
      });
      const text = JSON.stringify([0, id, command, parameters]);
      this.#socket!.write(`${Buffer.byteLength(text)}:${text}`);
    });
  }
}
