/**
 * The xenstore's wire protocol over its ring page (public/io/xs_wire.h; docs/misc/xenstore-ring.txt): messages of a
 * 16-byte header and up to 4096 bytes, which may wrap and arrive in pieces of any size.
 */
import type { Log } from '../../host/log.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { State, States } from '../../state/state.ts';
import { IncomingRing, OutgoingRing, type RingLayout, type RingPage } from './shared-ring.ts';
import { homeOf, type Permission, StoreError, type StoreErrorName, type Xenstore } from './xenstore.ts';

/** struct xenstore_domain_interface. */
const REQUESTS: RingLayout = { data: 0, size: 1024, consumer: 0x800, producer: 0x804 };
const RESPONSES: RingLayout = { data: 0x400, size: 1024, consumer: 0x808, producer: 0x80c };
const SERVER_FEATURES = 0x810;
const CONNECTION = 0x814;
const ERROR = 0x818;

const XENSTORE_SERVER_FEATURE_RECONNECTION = 1;
const XENSTORE_SERVER_FEATURE_ERROR = 2;
const XENSTORE_CONNECTED = 0;
const XENSTORE_RECONNECT = 1;
const XENSTORE_ERROR_RINGIDX = 2;
const XENSTORE_ERROR_PROTO = 3;

const HEADER_SIZE = 16;
const XENSTORE_PAYLOAD_MAX = 4096;
/** Answers that may wait for room before requests have to wait too, and events before they are lost. In bytes. */
const ANSWERS_WAITING = 64 * 1024;
const EVENTS_WAITING = 4 * 1024 * 1024;

/** Message types (enum xsd_sockmsg_type). */
const XS_CONTROL = 0;
const XS_DIRECTORY = 1;
const XS_READ = 2;
const XS_GET_PERMS = 3;
const XS_WATCH = 4;
const XS_UNWATCH = 5;
const XS_TRANSACTION_START = 6;
const XS_TRANSACTION_END = 7;
const XS_INTRODUCE = 8;
const XS_RELEASE = 9;
const XS_GET_DOMAIN_PATH = 10;
const XS_WRITE = 11;
const XS_MKDIR = 12;
const XS_RM = 13;
const XS_SET_PERMS = 14;
const XS_WATCH_EVENT = 15;
const XS_ERROR = 16;
const XS_IS_DOMAIN_INTRODUCED = 17;
const XS_RESUME = 18;
const XS_SET_TARGET = 19;
const XS_RESET_WATCHES = 21;
const XS_DIRECTORY_PART = 22;

/** One request of the guest. `strings` takes its payload apart. */
interface Request {
  transaction: number;
  payload: Uint8Array;
}

type Answer = Uint8Array | string;

const OK = 'OK\0';

export class XenstoreRing {
  readonly #domain: number;
  readonly #memory: GuestMemory;
  readonly #page: RingPage;
  readonly #store: Xenstore;
  readonly #log: Log;
  readonly #notify: () => void;
  readonly #requests: IncomingRing;
  readonly #responses: OutgoingRing;
  readonly #state: State<{
    /** The beginning of a message whose rest has not come yet. */
    partial: Uint8Array;
    /** Messages waiting for room in the ring. */
    waiting: Uint8Array[];
    waitingBytes: number;
    /** The guest broke the protocol: nothing more is said to it. */
    broken: boolean;
  }>;

  constructor(
    states: States,
    domain: number,
    memory: GuestMemory,
    page: RingPage,
    store: Xenstore,
    log: Log,
    /** Raises the guest's end of the store's event channel. */
    notify: () => void,
  ) {
    this.#domain = domain;
    this.#memory = memory;
    this.#page = page;
    this.#store = store;
    this.#log = log;
    this.#notify = notify;
    this.#state = states.state('messages', 1, () => ({
      partial: new Uint8Array(0),
      waiting: [],
      waitingBytes: 0,
      broken: false,
    }));
    this.#requests = new IncomingRing(states, memory, page, REQUESTS);
    this.#responses = new OutgoingRing(states, memory, page, RESPONSES);
    store.listen(domain, (path, token) => this.#event(path, token));
    memory.write32(
      page.address + SERVER_FEATURES,
      XENSTORE_SERVER_FEATURE_RECONNECTION | XENSTORE_SERVER_FEATURE_ERROR,
    );
  }

  /** The guest sent an event: it has written requests, or made room for answers. */
  onEvent(): void {
    if (this.#memory.read32(this.#page.address + CONNECTION) === XENSTORE_RECONNECT) this.#reconnect();
    if (this.#state.broken) return;
    let progress = this.#flush();
    while (!this.#state.broken && this.#state.waitingBytes < ANSWERS_WAITING) {
      const bytes = this.#requests.take();
      if (!bytes) {
        this.#break(XENSTORE_ERROR_RINGIDX, 'a request index out of range');
        break;
      }
      if (bytes.length === 0) break;
      progress = true;
      this.#receive(bytes);
      this.#flush();
    }
    if (progress) this.#notify();
  }

  #reconnect(): void {
    this.#store.reset(this.#domain);
    this.#requests.reset();
    this.#responses.reset();
    this.#state.initialise();
    this.#memory.write32(this.#page.address + ERROR, 0);
    this.#memory.write32(this.#page.address + CONNECTION, XENSTORE_CONNECTED);
    this.#notify();
  }

  #break(error: number, why: string): void {
    this.#state.broken = true;
    this.#memory.write32(this.#page.address + ERROR, error);
    this.#log.once('xenstore-broken', `xenstore: the guest broke the protocol: ${why}`);
  }

  /** Cuts messages out of the stream. */
  #receive(bytes: Uint8Array): void {
    const stream = new Uint8Array(this.#state.partial.length + bytes.length);
    stream.set(this.#state.partial);
    stream.set(bytes, this.#state.partial.length);
    const view = new DataView(stream.buffer);
    let at = 0;
    while (stream.length - at >= HEADER_SIZE) {
      const length = view.getUint32(at + 12, true);
      if (length > XENSTORE_PAYLOAD_MAX) {
        this.#break(XENSTORE_ERROR_PROTO, `a message of ${length} bytes`);
        return;
      }
      if (stream.length - at < HEADER_SIZE + length) break;
      this.#handle(
        view.getUint32(at, true),
        view.getUint32(at + 4, true),
        view.getUint32(at + 8, true),
        stream.subarray(at + HEADER_SIZE, at + HEADER_SIZE + length),
      );
      at += HEADER_SIZE + length;
    }
    this.#state.partial = stream.slice(at);
  }

  #handle(type: number, id: number, transaction: number, payload: Uint8Array): void {
    // What is to be sent after the answer: XS_WATCH is followed by an event.
    const after: (() => void)[] = [];
    try {
      const operation = this.#operations[type];
      if (!operation) throw new StoreError('ENOSYS');
      this.#store.checkTransaction(this.#domain, transaction);
      const answer = operation({ transaction, payload }, after);
      const bytes = typeof answer === 'string' ? latin1(answer) : answer;
      if (bytes.length > XENSTORE_PAYLOAD_MAX) throw new StoreError('E2BIG');
      this.#send(type, id, transaction, bytes);
      for (const action of after) action();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#send(XS_ERROR, id, transaction, latin1(`${error.code satisfies StoreErrorName}\0`));
    }
  }

  /** By message type. What belongs to the toolstack is refused. */
  readonly #operations: Readonly<Record<number, (request: Request, after: (() => void)[]) => Answer>> = {
    [XS_CONTROL]: refused,
    [XS_DIRECTORY]: request => list(this.#store.directory(this.#domain, path(request), request.transaction)),
    [XS_READ]: request => this.#store.read(this.#domain, path(request), request.transaction),
    [XS_GET_PERMS]: request => list(this.#store.permissions(this.#domain, path(request), request.transaction)),
    [XS_WATCH]: (request, after) => {
      const [where, token] = strings(request.payload, 2);
      this.#store.watch(this.#domain, where!, token!);
      after.push(() => this.#event(where!, token!));
      return OK;
    },
    [XS_UNWATCH]: request => {
      const [where, token] = strings(request.payload, 2);
      this.#store.unwatch(this.#domain, where!, token!);
      return OK;
    },
    [XS_TRANSACTION_START]: request => {
      if (request.transaction !== 0) throw new StoreError('EBUSY');
      return `${this.#store.startTransaction(this.#domain)}\0`;
    },
    [XS_TRANSACTION_END]: request => {
      const [verdict] = strings(request.payload, 1);
      if (verdict !== 'T' && verdict !== 'F') throw new StoreError('EINVAL');
      this.#store.endTransaction(this.#domain, request.transaction, verdict === 'T');
      return OK;
    },
    [XS_INTRODUCE]: refused,
    [XS_RELEASE]: refused,
    [XS_GET_DOMAIN_PATH]: request => `${homeOf(domainId(request))}\0`,
    // The value is what follows the path, and may hold anything
    [XS_WRITE]: request => {
      const end = request.payload.indexOf(0);
      if (end < 0) throw new StoreError('EINVAL');
      const value = request.payload.subarray(end + 1);
      this.#store.write(this.#domain, text(request.payload.subarray(0, end)), value, request.transaction);
      return OK;
    },
    [XS_MKDIR]: request => {
      this.#store.mkdir(this.#domain, path(request), request.transaction);
      return OK;
    },
    [XS_RM]: request => {
      this.#store.remove(this.#domain, path(request), request.transaction);
      return OK;
    },
    [XS_SET_PERMS]: request => {
      const [where, ...permissions] = strings(request.payload);
      if (where === undefined || !permissions.every(isPermission)) throw new StoreError('EINVAL');
      this.#store.setPermissions(this.#domain, where, permissions, request.transaction);
      return OK;
    },
    [XS_IS_DOMAIN_INTRODUCED]: request => {
      const id = domainId(request);
      return id === 0 || id === this.#domain ? 'T\0' : 'F\0';
    },
    [XS_RESUME]: refused,
    [XS_SET_TARGET]: refused,
    [XS_RESET_WATCHES]: () => {
      this.#store.reset(this.#domain);
      return OK;
    },
    // The generation, then as much of the listing as fits; an empty name ends it
    [XS_DIRECTORY_PART]: request => {
      const [where, offset] = strings(request.payload, 2);
      if (!/^\d+$/.test(offset!)) throw new StoreError('EINVAL');
      const generation = `${this.#store.generation(this.#domain, where!, request.transaction)}\0`;
      const names = `${list(this.#store.directory(this.#domain, where!, request.transaction))}\0`;
      const start = Number(offset);
      if (start >= names.length) throw new StoreError('EINVAL');
      return generation + names.slice(start, start + XENSTORE_PAYLOAD_MAX - generation.length);
    },
  };

  #event(path: string, token: string): void {
    if (this.#state.waitingBytes > EVENTS_WAITING) {
      this.#log.once('xenstore-events', 'xenstore: the guest does not take its watch events: some are lost');
      return;
    }
    this.#send(XS_WATCH_EVENT, 0, 0, latin1(`${path}\0${token}\0`));
    if (this.#flush()) this.#notify();
  }

  #send(type: number, id: number, transaction: number, payload: Uint8Array): void {
    const message = new Uint8Array(HEADER_SIZE + payload.length);
    const view = new DataView(message.buffer);
    view.setUint32(0, type, true);
    view.setUint32(4, id, true);
    view.setUint32(8, transaction, true);
    view.setUint32(12, payload.length, true);
    message.set(payload, HEADER_SIZE);
    this.#state.waiting.push(message);
    this.#state.waitingBytes += message.length;
  }

  /** Moves waiting messages into the ring. @returns whether any byte went. */
  #flush(): boolean {
    const { waiting } = this.#state;
    let any = false;
    for (let next = waiting[0]; next; next = waiting[0]) {
      const count = this.#responses.put(next);
      if (count > 0) any = true;
      this.#state.waitingBytes -= count;
      if (count < next.length) {
        waiting[0] = next.subarray(count);
        break;
      }
      waiting.shift();
    }
    return any;
  }
}

function refused(): never {
  throw new StoreError('EACCES');
}

/** Paths and tokens are bytes to us: one character each. */
function text(bytes: Uint8Array): string {
  return Array.from(bytes, byte => String.fromCharCode(byte)).join('');
}

function latin1(value: string): Uint8Array {
  return Uint8Array.from(value, character => character.charCodeAt(0));
}

function list(names: readonly string[]): string {
  return names.map(name => `${name}\0`).join('');
}

/** The NUL-terminated strings a payload is made of; exactly `count` of them where given. */
function strings(payload: Uint8Array, count?: number): string[] {
  if (payload.length === 0 || payload.at(-1) !== 0) throw new StoreError('EINVAL');
  const parts = text(payload.subarray(0, -1)).split('\0');
  if (count !== undefined && parts.length !== count) throw new StoreError('EINVAL');
  return parts;
}

function path(request: Request): string {
  return strings(request.payload, 1)[0]!;
}

function domainId(request: Request): number {
  const [id] = strings(request.payload, 1);
  if (!/^\d{1,5}$/.test(id!)) throw new StoreError('EINVAL');
  return Number(id);
}

function isPermission(value: string): value is Permission {
  return /^[nrwb]\d{1,5}$/.test(value);
}
