/**
 * The engine in the dress of a user-mode process: long mode, four-level paging with the window mapped as the harness maps
 * it, Linux's flat segments, our local descriptor table, CPL 3. Runs one instruction from one image to the next; exceptions
 * are caught on their way to the guest.
 */
import { Engine, type EngineEnvironment } from '../../src/engine/engine.ts';
import { STATE, state } from '../../src/engine/x86/state.ts';
import type { Exception } from '../../src/paravirt/processor.ts';
import { RF, TF } from '../../src/x86/flags.ts';
import { LDTR, TR } from '../../src/x86/segments.ts';
import {
  CODE_PAGE,
  DATA_PAGE,
  DATA_SIZE,
  FCW,
  FLAGS,
  FS,
  FSBASE,
  FSW,
  FTW,
  GPR,
  GS,
  GSBASE,
  LDT,
  MEMORY,
  type Mode,
  MXCSR,
  READ_ONLY_PAGE,
  RIP,
  SELECTORS,
  USER_CS,
  USER_DS,
  USER32_CS,
  WINDOW,
  X87,
  XMM,
  YMM_HIGH,
} from './layout.ts';
import { RETIRED } from './vectors.ts';

const RAM = 4 << 20;

// Where things are in guest-physical memory.
const ROOT = 0x1000;
const LOW_POINTERS = 0x2000;
const LOW_DIRECTORY = 0x3000;
const LOW_TABLE = 0x4000;
const HIGH_POINTERS = 0x5000;
const HIGH_DIRECTORY = 0x6000;
const GDT_AT = 0x7000;
const LDT_AT = 0x8000;
const TSS_AT = 0x9000;
const WINDOW_AT = 0x100000;
/** All of RAM again, for the supervisor. */
const HIGH = 0xffff_8000_0000_0000n;

/** Present, and accessed: what has not been executed is not translated. */
const PRESENT = 0x21n;
const WRITABLE = 2n;
const USER = 4n;
const LARGE = 0x80n;
const NO_EXECUTE = 1n << 63n;

const GDT_ENTRIES = 16;
const LDT_SELECTOR = 0x50;
const TSS_SELECTOR = 0x40;
const TSS_LIMIT = 0x67;
const TYPE_LDT = 2;
const TYPE_TSS_BUSY = 11;
const ACCESSED_DATA = 0xf300;
const ACCESSED_CODE = 0xfb00;
/** Runs of so many instructions, at most so many of them, for a sequence. */
const SLICE = 500;
const SLICES = 20;
const INT3 = 0xcc;
const DEBUG_VECTOR = 1;
const INT3_VECTOR = 3;
const NOP = 0x90;

/** A descriptor's two words. */
function descriptorWords(base: number, limit: number, attributes: number): [number, number] {
  return [
    ((limit & 0xffff) | (base << 16)) >>> 0,
    (((base >>> 16) & 0xff) | (base & 0xff000000) | (limit & 0xf0000) | attributes) >>> 0,
  ];
}
interface Loaded {
  base: number;
  limit: number;
  attributes: number;
}
const L = 1 << 21;
const BIG = 1 << 22;
const PAGES = 1 << 23;
const AVAILABLE = 1 << 20;

/** Base, limit and attributes of every selector a case can start with. */
const SEGMENTS = new Map<number, Loaded>([
  [USER32_CS, { base: 0, limit: 0xfffff, attributes: ACCESSED_CODE | BIG | PAGES }],
  [USER_DS, { base: 0, limit: 0xfffff, attributes: ACCESSED_DATA | BIG | PAGES }],
  [USER_CS, { base: 0, limit: 0xfffff, attributes: ACCESSED_CODE | L | PAGES }],
]);
LDT.forEach((entry, i) => {
  if (!entry) return;
  // As Linux's fill_ldt makes them: accessed, DPL 3, AVL from `useable`.
  const kind = ['data', 'expand-down', 'code', 'conforming'].indexOf(entry.contents);
  const type = (kind << 2) | (entry.readOnly ? 0 : 2) | 1;
  const attributes =
    (type << 8) | 0x7000 | (entry.absent ? 0 : 0x8000) | AVAILABLE | (entry.wide ? BIG : 0) | (entry.pages ? PAGES : 0);
  SEGMENTS.set(i * 8 + 7, { base: entry.base, limit: entry.limit, attributes });
});

const ROUNDS = 200;
/** F2 or F3 before a string instruction. */
function repeats(code: Uint8Array): boolean {
  const opcode = code.at(-1)!;
  return (
    (code.includes(0xf2) || code.includes(0xf3)) && ((opcode & 0xfc) === 0x6c || (opcode >= 0xa4 && opcode <= 0xaf))
  );
}

export interface Answer {
  /** The exception, or RETIRED. */
  vector: number;
  errorCode: number;
  cr2: bigint;
  /** Something the engine should never do to user code: why. */
  trouble?: string;
}

export class OracleGuest {
  readonly engine: Engine;
  /** Where in its page the last case's code was. */
  #codeAt = 0;
  #codeLength = 0;
  #answer: Answer = { vector: RETIRED, errorCode: 0, cr2: 0n };

  /** With `jit`, runTranslated works. */
  constructor(jit = false) {
    this.engine = new Engine(RAM, { jit });
    this.engine.environment = this.#environment();
    this.engine.cpu.environment = this.engine.environment;
    this.#makeTables();
  }

  #environment(): EngineEnvironment {
    const trouble = <T>(what: string, value?: T): T => {
      this.#answer.trouble = what;
      return value as T;
    };
    return {
      portRead: port => trouble(`reads port ${port}`, 0),
      portWrite: port => trouble(`writes port ${port}`),
      cpuid: () => trouble('CPUID', { eax: 0, ebx: 0, ecx: 0, edx: 0 }),
      readMsr: () => undefined,
      writeMsr: () => false,
      syscall: () => trouble('SYSCALL'),
      softwareInterrupt: (vector, next) => {
        this.#answer.vector = vector;
        this.engine.cpu.ip = next;
        this.engine.requestExit();
      },
      ticks: () => 0,
      tsc: () => 0n,
      tscMoved: () => {},
      taskPriority: () => 0,
      setTaskPriority: () => {},
      interruptPending: () => false,
      halt: () => trouble('HLT'),
      random: () => 0n,
      kill: reason => trouble(reason),
      mmioRead: address => trouble(`reads device memory at ${address.toString(16)}`, 0),
      mmioWrite: address => trouble(`writes device memory at ${address.toString(16)}`),
      boundary: () => {},
      exception: (exception: Exception) => {
        const { vector, code = 0, address = 0n } = exception;
        Object.assign(this.#answer, { vector, errorCode: code, cr2: address });
        this.engine.requestExit();
        return true;
      },
      pageFault: () => false,
      tripleFault: () => trouble('triple fault'),
    };
  }

  #makeTables(): void {
    const { memory, cpu } = this.engine;
    const link = (table: number, index: number, to: number) =>
      memory.write64(table + 8 * index, BigInt(to) | PRESENT | WRITABLE | USER);
    link(ROOT, 0, LOW_POINTERS);
    link(LOW_POINTERS, WINDOW >>> 30, LOW_DIRECTORY);
    link(LOW_DIRECTORY, (WINDOW >>> 21) & 511, LOW_TABLE);
    const map = (page: number, rights: bigint) =>
      memory.write64(
        LOW_TABLE + 8 * (((WINDOW >>> 12) & 511) + page),
        BigInt(WINDOW_AT + 4096 * page) | PRESENT | USER | rights,
      );
    map(CODE_PAGE, 0n);
    map(DATA_PAGE, WRITABLE | NO_EXECUTE);
    map(DATA_PAGE + 1, WRITABLE | NO_EXECUTE);
    map(READ_ONLY_PAGE, NO_EXECUTE);
    link(ROOT, 256, HIGH_POINTERS);
    link(HIGH_POINTERS, 0, HIGH_DIRECTORY);
    for (let i = 0; i < RAM >>> 21; i++)
      memory.write64(HIGH_DIRECTORY + 8 * i, BigInt(i << 21) | PRESENT | WRITABLE | LARGE);

    memory.fill(WINDOW_AT + CODE_PAGE * 4096, 4096, INT3);

    const put = (table: number, selector: number, { base, limit, attributes }: Loaded) =>
      descriptorWords(base, limit, attributes).forEach((word, i) =>
        memory.write32(table + (selector & ~7) + 4 * i, word),
      );
    put(GDT_AT, 0x08, { base: 0, limit: 0xfffff, attributes: 0x9b00 | BIG | PAGES });
    put(GDT_AT, 0x10, { base: 0, limit: 0xfffff, attributes: 0x9b00 | L | PAGES });
    put(GDT_AT, 0x18, { base: 0, limit: 0xfffff, attributes: 0x9300 | BIG | PAGES });
    put(GDT_AT, TSS_SELECTOR, { base: TSS_AT, limit: TSS_LIMIT, attributes: 0x8000 | (TYPE_TSS_BUSY << 8) });
    put(GDT_AT, LDT_SELECTOR, { base: LDT_AT, limit: LDT.length * 8 - 1, attributes: 0x8000 | (TYPE_LDT << 8) });
    // Linux keeps the processor's number in the limit of the last one, for LSL.
    put(GDT_AT, 0x78, { base: 0, limit: 0, attributes: 0xf500 | BIG });
    for (const [selector, segment] of SEGMENTS) put(selector & 4 ? LDT_AT : GDT_AT, selector, segment);

    cpu.set64(state.CR4, 0x10620n | (1n << 18n)); // PAE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE
    cpu.set64(state.EFER, 0xd01n); // SCE, LME, LMA, NXE
    cpu.set64(state.CR3, BigInt(ROOT));
    cpu.set64(state.CR0, 0x80050033n);
    cpu.set64(state.XCR0, 7n);
    cpu.set64(state.XCR0_SUPPORTED, 7n);
    cpu.set64(state.GDT_BASE, HIGH + BigInt(GDT_AT));
    cpu.set32(state.GDT_LIMIT, GDT_ENTRIES * 8 - 1);
    cpu.set64(state.LDT_BASE, HIGH + BigInt(LDT_AT));
    cpu.set64(state.TR_BASE, HIGH + BigInt(TSS_AT));
    const system = (segment: number, selector: number, limit: number, type: number) => {
      cpu.set16(state.SELECTOR + 4 * segment, selector);
      cpu.set32(state.SEGMENT_LIMIT + 4 * segment, limit);
      cpu.set32(state.SEGMENT_ATTRIBUTES + 4 * segment, 0x8000 | (type << 8));
    };
    system(LDTR, LDT_SELECTOR, LDT.length * 8 - 1, TYPE_LDT);
    system(TR, TSS_SELECTOR, TSS_LIMIT, TYPE_TSS_BUSY);
    memory.write16(TSS_AT + 0x66, 0x68); // no I/O permissions
    this.engine.tlb.flushAll();
    cpu.updateUnits();
  }

  /** Loads `image` and `code`, executes one instruction, and overwrites `image` with what it left. */
  run(image: Uint8Array, view: DataView, mode: Mode, code: Uint8Array): Answer {
    this.#answer = { vector: RETIRED, errorCode: 0, cr2: 0n };
    this.#load(image, view, mode, code);
    const { cpu } = this.engine;
    const start = cpu.rip;
    // A REP goes round by round, like under TF.
    for (let round = 0; round < ROUNDS; round++) {
      this.engine.step();
      if (this.#answer.vector !== RETIRED || cpu.rip !== start || !repeats(code)) break;
    }
    this.#store(image, view);
    return this.#answer;
  }

  /** Loads `image` and a sequence of instructions, and runs until it falls off the end of them (or faults). */
  runThrough(image: Uint8Array, view: DataView, mode: Mode, code: Uint8Array): Answer {
    this.#answer = { vector: RETIRED, errorCode: 0, cr2: 0n };
    this.#load(image, view, mode, code);
    const { engine } = this;
    for (let slice = 0; slice < SLICES && this.#answer.vector === RETIRED; slice++)
      engine.run(engine.instructions + SLICE);
    // The INT3 behind the sequence is not part of it.
    if (this.#answer.vector === INT3_VECTOR) {
      engine.cpu.ip -= 1n;
      this.#answer.vector = RETIRED;
    } else if (this.#answer.vector === RETIRED) this.#answer.trouble = 'does not come to its end';
    this.#store(image, view);
    return this.#answer;
  }

  /**
   * As `run`, but through the second tier: the instruction and a NOP after it become a region. `end` is where it goes if it
   * retires. undefined where that tier leaves the instruction to the interpreter.
   */
  runTranslated(
    image: Uint8Array,
    view: DataView,
    mode: Mode,
    code: Uint8Array,
    end: bigint | undefined,
  ): Answer | undefined {
    const { engine } = this;
    this.#answer = { vector: RETIRED, errorCode: 0, cr2: 0n };
    this.#load(image, view, mode, Uint8Array.of(...code, NOP));
    const behind = view.getBigUint64(RIP, true) + BigInt(code.length) + 1n;
    if (!engine.jit?.translate(engine.cpu.rip, mode)) return undefined;
    for (let slice = 0; slice < SLICES && this.#answer.vector === RETIRED; slice++)
      engine.run(engine.instructions + SLICE);
    const answer = this.#answer;
    if (answer.vector === INT3_VECTOR) {
      // A jump over the NOP ends where the NOP does.
      engine.cpu.ip -= engine.cpu.ip - 1n === behind && end !== behind ? 2n : 1n;
      answer.vector = RETIRED;
    } else if (answer.vector === DEBUG_VECTOR && engine.cpu.ip === behind) {
      // A POPF that set TF: the trap comes after the NOP.
      engine.cpu.ip -= 1n;
      answer.vector = RETIRED;
    } else if (answer.vector !== RETIRED && engine.cpu.ip === end)
      answer.vector = RETIRED; // the fetch behind a branch
    else if (answer.vector === RETIRED) answer.trouble = 'does not come to its end';
    this.#store(image, view);
    return answer;
  }

  #load(image: Uint8Array, view: DataView, mode: Mode, code: Uint8Array): void {
    const { cpu, memory } = this.engine;
    const { bytes } = cpu;
    bytes.set(image.subarray(GPR, GPR + 128), STATE + state.GPR);
    bytes.set(image.subarray(XMM, XMM + 256), STATE + state.XMM);
    bytes.set(image.subarray(YMM_HIGH, YMM_HIGH + 256), STATE + state.YMM_HIGH);
    for (let i = 0; i < 8; i++)
      bytes.set(image.subarray(X87 + 16 * i, X87 + 16 * i + 10), STATE + state.FPU_REGISTERS + 16 * i);
    cpu.set16(state.FPU_CONTROL, view.getUint16(FCW, true));
    cpu.set16(state.FPU_STATUS, view.getUint16(FSW, true));
    bytes[STATE + state.FPU_TAGS] = image[FTW]!;
    bytes.fill(0, STATE + state.FPU_OPCODE, STATE + state.FPU_DS + 2);
    cpu.set32(state.MXCSR, view.getUint32(MXCSR, true));
    for (let segment = 0; segment < 6; segment++) {
      const selector = view.getUint16(SELECTORS + 2 * segment, true);
      const loaded = SEGMENTS.get(selector);
      cpu.set16(state.SELECTOR + 4 * segment, selector);
      const limit = loaded ? (loaded.attributes & PAGES ? ((loaded.limit << 12) | 0xfff) >>> 0 : loaded.limit) : 0;
      cpu.set32(state.SEGMENT_LIMIT + 4 * segment, limit);
      cpu.set32(state.SEGMENT_ATTRIBUTES + 4 * segment, loaded?.attributes ?? 0);
      cpu.set64(state.SEGMENT_BASE + 8 * segment, BigInt(mode === 64 ? 0 : (loaded?.base ?? 0)));
    }
    cpu.set64(state.SEGMENT_BASE + 8 * FS, view.getBigUint64(FSBASE, true));
    cpu.set64(state.SEGMENT_BASE + 8 * GS, view.getBigUint64(GSBASE, true));
    cpu.noteSegments();
    cpu.setCpl(3);
    cpu.updateMode();
    cpu.flags = view.getUint32(FLAGS, true);
    cpu.updateBank();
    cpu.ip = view.getBigUint64(RIP, true);
    cpu.set64(state.INTERRUPT_SHADOW, 0n);

    memory.copyIn(WINDOW_AT + DATA_PAGE * 4096, image.subarray(MEMORY, MEMORY + DATA_SIZE));
    // The code among INT3s, which end the engine's block.
    const offset = Number(cpu.rip) - WINDOW - CODE_PAGE * 4096;
    const page = WINDOW_AT + CODE_PAGE * 4096;
    memory.fill(page + this.#codeAt, this.#codeLength, INT3);
    this.#codeAt = offset;
    this.#codeLength = Math.min(code.length, 4096 - offset);
    memory.copyIn(page + offset, code.subarray(0, this.#codeLength));
  }

  #store(image: Uint8Array, view: DataView): void {
    const { cpu, memory } = this.engine;
    const { bytes } = cpu;
    image.set(bytes.subarray(STATE + state.GPR, STATE + state.GPR + 128), GPR);
    image.set(bytes.subarray(STATE + state.XMM, STATE + state.XMM + 256), XMM);
    image.set(bytes.subarray(STATE + state.YMM_HIGH, STATE + state.YMM_HIGH + 256), YMM_HIGH);
    for (let i = 0; i < 8; i++) {
      const at = STATE + state.FPU_REGISTERS + 16 * i;
      image.set(bytes.subarray(at, at + 10), X87 + 16 * i);
    }
    view.setUint16(FCW, cpu.get16(state.FPU_CONTROL), true);
    view.setUint16(FSW, cpu.get16(state.FPU_STATUS), true);
    image[FTW] = bytes[STATE + state.FPU_TAGS]!;
    view.setUint32(MXCSR, cpu.get32(state.MXCSR), true);
    for (let segment = 0; segment < 6; segment++) view.setUint16(SELECTORS + 2 * segment, cpu.selector(segment), true);
    view.setBigUint64(FSBASE, cpu.segmentBase(FS), true);
    view.setBigUint64(GSBASE, cpu.segmentBase(GS), true);
    view.setBigUint64(RIP, cpu.ip, true);
    view.setUint32(FLAGS, cpu.flags & ~(RF | TF), true);
    image.set(memory.bytes.subarray(WINDOW_AT + DATA_PAGE * 4096, WINDOW_AT + DATA_PAGE * 4096 + DATA_SIZE), MEMORY);
  }
}
