/**
 * gdb's remote protocol (GDB manual, appendix E) with one client: bytes in, bytes out, over a `Target`. All processors stop and
 * go on together; a processor is a thread, numbered from 1. What cannot be understood is answered as the protocol says: an
 * unknown packet by an empty one, a bad one by `E` and a number of errno's.
 */
import { describeTarget } from './description.ts';
import {
  ACKNOWLEDGED,
  fromHex,
  NOT_ACKNOWLEDGED,
  PACKET_SIZE,
  PacketReader,
  packet,
  textToHex,
  toHex,
} from './packets.ts';
import type { StopReason, Target, WatchedAccess } from './target.ts';

/** What the client wants of the machine. Nothing of this is done from within the call. */
export interface Wishes {
  /** Go on; with a processor: by one instruction of it alone. */
  resume(step?: number): void;
  interrupt(): void;
  /** Go back. */
  back(how: 'step' | 'continue'): void;
  /** The guest goes on without a debugger. */
  detach(): void;
  kill(): void;
}

const [FAULT, INVALID, TOO_MANY] = ['E0e', 'E16', 'E1c'];
const OK = 'OK';
/** Signals as gdb numbers them. */
const [SIGINT, SIGTRAP] = [2, 5];
/** More would only be somebody's mistake. */
const MOST_BREAKPOINTS = 4096;
const MOST_WATCHPOINTS = 64;
const LARGEST_WATCHED = 4096;
/** Also said where the machine cannot go back: the answer then says why. */
const REVERSE = 'ReverseStep+;ReverseContinue+';
/** What fits into an answer, as hexadecimal digits. */
const MOST_BYTES = PACKET_SIZE / 2 - 8;

const MONITOR = {
  help: 'this list',
  registers: 'the processors: registers, the last exceptions',
  ops: 'how often each op of the hypervisor was asked',
} as const;

interface Breakpoint {
  /** As in Z packets: 0 software, 1 hardware, 2 write, 3 read, 4 access. */
  readonly type: number;
  readonly address: bigint;
  readonly length: number;
}
const WATCHED: readonly (WatchedAccess | undefined)[] = [undefined, undefined, 'write', 'read', 'access'];
/** What gdb calls them in a stop reply. */
const WATCH_REASONS: Readonly<Record<WatchedAccess, string>> = { write: 'watch', read: 'rwatch', access: 'awatch' };

type Handler = (protocol: Protocol, rest: string) => string | undefined;

export class Protocol {
  readonly #target: Target;
  readonly #wishes: Wishes;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #reader = new PacketReader();
  readonly #description: string;
  readonly #breakpoints = new Map<
    string,
    Breakpoint & { watch?: { kind: WatchedAccess; address: bigint; length: number } }
  >();
  #acknowledges = true;
  /** Features of the client's, by name. */
  #swbreak = false;
  #hwbreak = false;
  /** It awaits a stop reply. */
  #running = false;
  /** Of `g`, `m` and the like, and of `c` and `s`. */
  #processor: number;
  #stepped: number;
  #stop: StopReason | undefined;
  #last = packet('');

  /** The guest stands still, or will in a moment. */
  constructor(target: Target, wishes: Wishes, send: (bytes: Uint8Array) => void) {
    this.#target = target;
    this.#wishes = wishes;
    this.#send = send;
    this.#description = describeTarget(target.registers);
    this.#processor = this.#stepped = target.current;
  }

  receive(bytes: Uint8Array): void {
    for (const received of this.#reader.read(bytes)) {
      switch (received.kind) {
        case 'interrupt':
          if (this.#running) this.#wishes.interrupt();
          break;
        case 'again':
          if (this.#acknowledges) this.#send(this.#last);
          break;
        case 'damaged':
          if (this.#acknowledges) this.#send(NOT_ACKNOWLEDGED);
          break;
        case 'oversized':
          if (this.#acknowledges) this.#send(ACKNOWLEDGED);
          this.#answer(INVALID);
          break;
        case 'packet':
          if (this.#acknowledges) this.#send(ACKNOWLEDGED);
          // While the guest runs there is nothing to ask.
          if (!this.#running) this.#answer(this.#handle(received.data));
      }
    }
  }
  #answer(data: string | undefined): void {
    if (data === undefined) return;
    this.#last = packet(data);
    this.#send(this.#last);
  }

  /** The guest stands still. @param reason undefined: because somebody wants it to */
  stopped(reason: StopReason | undefined): void {
    this.#stop = reason;
    this.#processor = this.#stepped = reason?.processor ?? this.#target.current;
    if (!this.#running) return;
    this.#running = false;
    this.#answer(this.#stopReply());
  }
  /** The guest is no more. @param failed not as it should be */
  ended(message: string, failed: boolean): void {
    this.say(message);
    this.#running = false;
    this.#answer(failed ? 'W01' : 'W00');
  }
  /** Breakpoints and watchpoints, as the target takes them. */
  applyBreakpoints(): void {
    const all = [...this.#breakpoints.values()];
    this.#target.setBreakpoints(
      new Set(all.filter(({ watch }) => !watch).map(({ address }) => address)),
      all.flatMap(({ watch }) => watch ?? []),
    );
  }

  #stopReply(): string {
    const stop = this.#stop;
    const signal = stop ? SIGTRAP : SIGINT;
    const reply = `T${toHex([signal])}thread:${hexId(this.#processor)};`;
    if (stop?.kind === 'beginning' || stop?.kind === 'end')
      return `${reply}replaylog:${stop.kind === 'end' ? 'end' : 'begin'};`;
    if (stop?.kind === 'watchpoint') return `${reply}${WATCH_REASONS[stop.watched]}:${stop.address.toString(16)};`;
    if (stop?.kind !== 'breakpoint') return reply;
    const rip = this.#rip(stop.processor);
    if (this.#breakpoints.has(keyOf(1, rip)) && this.#hwbreak) return `${reply}hwbreak:;`;
    return this.#swbreak ? `${reply}swbreak:;` : reply;
  }
  #register(name: string): number {
    return this.#target.registers.findIndex(register => register.name === name);
  }
  #rip(processor: number): bigint {
    const bytes = this.#target.readRegister(processor, this.#register('rip')) ?? [];
    return [...bytes].reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  }

  #handle(data: string): string | undefined {
    const named = NAMED.find(([name]) => data.startsWith(name));
    if (named) return named[1](this, data.slice(named[0].length));
    return LETTERS.get(data[0] ?? '')?.(this, data.slice(1)) ?? (SILENT.has(data[0] ?? '') ? undefined : '');
  }

  /** Processors by a thread's number: 0 is any, -1 all. */
  #thread(text: string): number | 'any' | undefined {
    if (/^(?:0|-1)$/.test(text)) return 'any';
    const number = /^[0-9a-f]{1,4}$/i.test(text) ? Number.parseInt(text, 16) - 1 : -1;
    return number >= 0 && number < this.#target.processors ? number : undefined;
  }
  selectThread(rest: string): string {
    const thread = this.#thread(rest.slice(1));
    if (thread === undefined) return INVALID;
    const processor = thread === 'any' ? this.#processor : thread;
    if (rest[0] === 'g') this.#processor = processor;
    else if (rest[0] === 'c') this.#stepped = processor;
    else return INVALID;
    return OK;
  }
  threadAlive(rest: string): string {
    return typeof this.#thread(rest) === 'number' ? OK : INVALID;
  }
  threads(): string {
    return `m${Array.from({ length: this.#target.processors }, (_, i) => hexId(i)).join(',')}`;
  }
  threadInfo(rest: string): string {
    const thread = this.#thread(rest);
    return typeof thread === 'number' ? textToHex(`processor ${thread}: ${this.#target.activity(thread)}`) : INVALID;
  }
  currentThread(): string {
    return `QC${hexId(this.#processor)}`;
  }
  whyStopped(): string {
    return this.#stopReply();
  }
  supported(rest: string): string {
    const features = rest.split(/[:;]/);
    this.#swbreak = features.includes('swbreak+');
    this.#hwbreak = features.includes('hwbreak+');
    const size = PACKET_SIZE.toString(16);
    return `PacketSize=${size};QStartNoAckMode+;qXfer:features:read+;vContSupported+;swbreak+;hwbreak+;${REVERSE}`;
  }
  noAcknowledgements(): string {
    this.#acknowledges = false;
    return OK;
  }
  features(rest: string): string {
    const [, annex, offset, length] = /^([^:]*):([0-9a-f]{1,8}),([0-9a-f]{1,8})$/i.exec(rest) ?? [];
    if (offset === undefined || length === undefined) return INVALID;
    if (annex !== 'target.xml') return 'E00';
    const from = Number.parseInt(offset, 16);
    if (from > this.#description.length) return INVALID;
    const part = this.#description.slice(from, from + Math.min(Number.parseInt(length, 16), PACKET_SIZE - 8));
    return `${from + part.length >= this.#description.length ? 'l' : 'm'}${part}`;
  }

  readRegisters(): string {
    const { registers } = this.#target;
    return registers.map((_, number) => toHex(this.#target.readRegister(this.#processor, number) ?? [])).join('');
  }
  writeRegisters(rest: string): string {
    const bytes = fromHex(rest);
    const { registers } = this.#target;
    const size = registers.reduce((sum, { bits }) => sum + bits / 8, 0);
    if (bytes?.length !== size) return INVALID;
    let failed = false;
    let at = 0;
    for (const [number, { bits }] of registers.entries()) {
      const value = bytes.subarray(at, (at += bits / 8));
      if (!this.#target.writeRegister(this.#processor, number, value)) failed = true;
    }
    return failed ? INVALID : OK;
  }
  readRegister(rest: string): string {
    const number = numberOf(rest);
    const bytes = number === undefined ? undefined : this.#target.readRegister(this.#processor, Number(number));
    return bytes ? toHex(bytes) : INVALID;
  }
  writeRegister(rest: string): string {
    const [name = '', value = ''] = rest.split('=');
    const [number, bytes] = [numberOf(name), fromHex(value)];
    if (number === undefined || !bytes) return INVALID;
    return this.#target.writeRegister(this.#processor, Number(number), bytes) ? OK : INVALID;
  }
  readMemory(rest: string): string {
    const [address, length] = rest.split(',').map(numberOf);
    if (address === undefined || length === undefined) return INVALID;
    const size = Number(length > BigInt(MOST_BYTES) ? BigInt(MOST_BYTES) : length);
    const bytes = this.#target.readMemory(this.#processor, address, size);
    return bytes.length === 0 && size > 0 ? FAULT : toHex(bytes);
  }
  writeMemory(rest: string, decode: (data: string) => Uint8Array | undefined): string {
    const colon = rest.indexOf(':');
    const [address, length] = rest.slice(0, Math.max(colon, 0)).split(',').map(numberOf);
    const bytes = decode(rest.slice(colon + 1));
    if (address === undefined || length === undefined || !bytes || BigInt(bytes.length) !== length) return INVALID;
    if (bytes.length === 0) return OK;
    return this.#target.writeMemory(this.#processor, address, bytes) ? OK : FAULT;
  }

  /** Z and z: `type,address,length`. Conditions of gdb's are not for us: it has not been told that we know any. */
  breakpoint(rest: string, insert: boolean): string {
    const [first = '', second = '', third = ''] = rest.split(';')[0]!.split(',');
    const [address, size] = [numberOf(second), numberOf(third)];
    if (!/^[0-4]$/.test(first)) return '';
    if (address === undefined || size === undefined) return INVALID;
    const type = Number(first);
    const kind = WATCHED[type];
    const key = keyOf(type, address, kind && size);
    if (!insert) {
      this.#breakpoints.delete(key);
      return OK;
    }
    if (this.#breakpoints.has(key)) return OK;
    const length = Number(size);
    if (kind && (length < 1 || length > LARGEST_WATCHED)) return INVALID;
    const alike = [...this.#breakpoints.values()].filter(({ watch }) => !watch === !kind).length;
    if (alike >= (kind ? MOST_WATCHPOINTS : MOST_BREAKPOINTS)) return TOO_MANY;
    this.#breakpoints.set(key, { type, address, length, ...(kind && { watch: { kind, address, length } }) });
    return OK;
  }

  /** c and s, with the address to go on at. */
  goOn(step: boolean, address: string): string | undefined {
    if (address !== '') {
      const at = numberOf(address);
      if (at === undefined) return INVALID;
      const bytes = Uint8Array.from({ length: 8 }, (_, i) => Number((at >> BigInt(8 * i)) & 0xffn));
      this.#target.writeRegister(this.#stepped, this.#register('rip'), bytes);
    }
    return this.#resume(step ? this.#stepped : undefined);
  }
  /** vCont: the first action that is a step counts; whatever the others are to do, they do not stand still for longer. */
  continueWith(rest: string): string | undefined {
    let step: number | undefined;
    for (const action of rest.split(';').slice(1)) {
      const [, letter, thread = '-1'] = /^([cCsS])(?:[0-9a-f]{2})?(?::([-0-9a-f]+))?$/i.exec(action) ?? [];
      const processor = this.#thread(thread);
      if (letter === undefined || processor === undefined) return INVALID;
      if (/s/i.test(letter)) step ??= processor === 'any' ? this.#stepped : processor;
    }
    if (rest.split(';').length < 2) return INVALID;
    return this.#resume(step);
  }
  #resume(step: number | undefined): undefined {
    this.#running = true;
    this.#stop = undefined;
    this.#wishes.resume(step);
  }
  /** bs and bc. The thread that is chosen does not matter: instructions are taken back in the order in which they were executed. */
  back(how: 'step' | 'continue'): undefined {
    this.#running = true;
    this.#stop = undefined;
    this.#wishes.back(how);
  }
  /** For the person at gdb, while the guest runs. */
  say(text: string): void {
    if (this.#running) this.#answer(`O${textToHex(`${text}\n`)}`);
  }
  detach(): string {
    this.#breakpoints.clear();
    this.#wishes.detach();
    return OK;
  }
  kill(): undefined {
    this.#wishes.kill();
  }
  monitor(rest: string): string {
    const bytes = fromHex(rest);
    if (!bytes) return INVALID;
    const command = new TextDecoder().decode(bytes).trim();
    const text =
      command === 'registers'
        ? this.#target.describe()
        : command === 'ops'
          ? this.#target.operations()
          : command === 'help' || command === ''
            ? Object.entries(MONITOR)
                .map(([name, what]) => `${name.padEnd(10)} ${what}`)
                .join('\n')
            : `unknown: monitor help lists what there is`;
    // What is longer than a packet comes as console output before the answer.
    const hex = textToHex(`${text}\n`);
    for (let at = 0; at < hex.length; at += 2 * MOST_BYTES) this.#answer(`O${hex.slice(at, at + 2 * MOST_BYTES)}`);
    return OK;
  }
}

/** Packets with names, and those that begin with a letter. */
const NAMED: readonly (readonly [string, Handler])[] = [
  ['qSupported', (p, rest) => p.supported(rest)],
  ['QStartNoAckMode', p => p.noAcknowledgements()],
  ['qXfer:features:read:', (p, rest) => p.features(rest)],
  ['qfThreadInfo', p => p.threads()],
  ['qsThreadInfo', () => 'l'],
  ['qThreadExtraInfo,', (p, rest) => p.threadInfo(rest)],
  ['qC', (p, rest) => (rest === '' ? p.currentThread() : '')],
  ['qAttached', () => '1'],
  ['bs', (p, rest) => (rest === '' ? p.back('step') : '')],
  ['bc', (p, rest) => (rest === '' ? p.back('continue') : '')],
  ['qSymbol:', () => OK],
  ['qRcmd,', (p, rest) => p.monitor(rest)],
  ['vCont?', () => 'vCont;c;C;s;S'],
  ['vCont', (p, rest) => p.continueWith(rest)],
  [
    'vKill',
    p => {
      p.kill();
      return OK;
    },
  ],
];
const SILENT: ReadonlySet<string> = new Set(['k', 'c', 'C', 's', 'S', 'b']);
const LETTERS: ReadonlyMap<string, Handler> = new Map(
  Object.entries<Handler>({
    '?': p => p.whyStopped(),
    H: (p, rest) => p.selectThread(rest),
    T: (p, rest) => p.threadAlive(rest),
    g: p => p.readRegisters(),
    G: (p, rest) => p.writeRegisters(rest),
    p: (p, rest) => p.readRegister(rest),
    P: (p, rest) => p.writeRegister(rest),
    m: (p, rest) => p.readMemory(rest),
    M: (p, rest) => p.writeMemory(rest, fromHex),
    X: (p, rest) => p.writeMemory(rest, data => Uint8Array.from(data, character => character.charCodeAt(0))),
    Z: (p, rest) => p.breakpoint(rest, true),
    z: (p, rest) => p.breakpoint(rest, false),
    c: (p, rest) => p.goOn(false, rest),
    s: (p, rest) => p.goOn(true, rest),
    // The signal is nobody's here.
    C: (p, rest) => p.goOn(false, rest.split(';')[1] ?? ''),
    S: (p, rest) => p.goOn(true, rest.split(';')[1] ?? ''),
    D: p => p.detach(),
    k: p => p.kill(),
  }),
);

const hexId = (processor: number): string => (processor + 1).toString(16).padStart(2, '0');
const keyOf = (type: number, address: bigint, length?: bigint): string => `${type} ${address} ${length ?? ''}`;
/** Undefined for what is not a hexadecimal number of at most 64 bits. */
const numberOf = (text: string): bigint | undefined =>
  /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined;
