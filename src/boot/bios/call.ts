/** One call of a BIOS service, as its handler sees it: the caller's registers by their 8086 names, and its flags. */
import type { Processor, RegisterName, SegmentName } from '../../paravirt/processor.ts';

/** RFLAGS bits in which services answer. */
const CARRY = 1 << 0;
const ZERO = 1 << 6;
/** Behind the vector's number on the stack: IP, CS, FLAGS, two bytes each. */
const FRAME_IP = 2;
const FRAME_CS = 4;
const FRAME_FLAGS = 6;
/** INT n. */
const INT = 0xcd;

export class BiosCall {
  readonly #processor: Processor;

  constructor(processor: Processor) {
    this.#processor = processor;
  }

  /** The number that the trap pushed; undefined if the stack is not there. */
  get vector(): number | undefined {
    const bytes = this.#processor.read(this.#stack(0), 2);
    return bytes && bytes[0] | (bytes[1] << 8);
  }

  get eax(): number {
    return this.#get('rax');
  }
  set eax(value: number) {
    this.#set('rax', value);
  }
  get ebx(): number {
    return this.#get('rbx');
  }
  set ebx(value: number) {
    this.#set('rbx', value);
  }
  get ecx(): number {
    return this.#get('rcx');
  }
  set ecx(value: number) {
    this.#set('rcx', value);
  }
  get edx(): number {
    return this.#get('rdx');
  }
  set edx(value: number) {
    this.#set('rdx', value);
  }
  get ax(): number {
    return this.eax & 0xffff;
  }
  set ax(value: number) {
    this.#setLow('rax', 0xffff, value);
  }
  get al(): number {
    return this.eax & 0xff;
  }
  set al(value: number) {
    this.#setLow('rax', 0xff, value);
  }
  get ah(): number {
    return (this.eax >>> 8) & 0xff;
  }
  set ah(value: number) {
    this.#setLow('rax', 0xff00, value << 8);
  }
  get bx(): number {
    return this.ebx & 0xffff;
  }
  get bl(): number {
    return this.ebx & 0xff;
  }
  get bh(): number {
    return (this.ebx >>> 8) & 0xff;
  }
  set bx(value: number) {
    this.#setLow('rbx', 0xffff, value);
  }
  set bh(value: number) {
    this.#setLow('rbx', 0xff00, value << 8);
  }
  get cx(): number {
    return this.ecx & 0xffff;
  }
  set cx(value: number) {
    this.#setLow('rcx', 0xffff, value);
  }
  get dx(): number {
    return this.edx & 0xffff;
  }
  get dl(): number {
    return this.edx & 0xff;
  }
  set dl(value: number) {
    this.#setLow('rdx', 0xff, value);
  }
  get dh(): number {
    return (this.edx >>> 8) & 0xff;
  }
  set dx(value: number) {
    this.#setLow('rdx', 0xffff, value);
  }
  /** Linear addresses. */
  get esSi(): bigint {
    return this.#far('es', 'rsi');
  }
  get esDi(): bigint {
    return this.#far('es', 'rdi');
  }
  get esBp(): bigint {
    return this.#far('es', 'rbp');
  }
  get esBx(): bigint {
    return this.#far('es', 'rbx');
  }
  get dsSi(): bigint {
    return this.#far('ds', 'rsi');
  }
  setEsDi(segment: number, offset: number): void {
    this.#processor.setSegment('es', { ...this.#processor.segment('es'), ...place(segment) });
    this.#setLow('rdi', 0xffff, offset);
  }

  set carry(value: boolean) {
    this.#setFlag(CARRY, value);
  }
  set zero(value: boolean) {
    this.#setFlag(ZERO, value);
  }

  /** Reads the caller's memory; undefined where there is none. */
  read(address: bigint, length: number): Uint8Array | undefined {
    return this.#processor.read(address, length);
  }
  /** @returns false where there is no memory to write to. */
  write(address: bigint, data: Uint8Array): boolean {
    return this.#processor.write(address, data);
  }

  /** Where the trap's IRET returns to. */
  get frame(): { cs: number; ip: number } {
    return { cs: this.#frameWord(FRAME_CS), ip: this.#frameWord(FRAME_IP) };
  }
  set frame({ cs, ip }: { cs: number; ip: number }) {
    this.#processor.write(this.#stack(FRAME_IP), Uint8Array.of(ip & 0xff, ip >> 8, cs & 0xff, cs >> 8));
  }

  /** The caller's INT n has just been executed: what led here is no exception and no interrupt of a device. */
  get isSoftwareInterrupt(): boolean {
    const { cs, ip } = this.frame;
    const bytes = this.#processor.read(BigInt(cs * 16 + ((ip - 2) & 0xffff)), 2);
    return bytes?.[0] === INT && bytes[1] === this.vector;
  }

  /** Whether the trap is to come again, because the service is not over. */
  again(wanted: boolean): void {
    const flags = this.#processor.get('flags') & ~BigInt(CARRY);
    this.#processor.set('flags', flags | (wanted ? BigInt(CARRY) : 0n));
  }

  #get(register: RegisterName): number {
    return Number(this.#processor.get(register) & 0xffffffffn);
  }
  #set(register: RegisterName, value: number): void {
    this.#processor.set(register, BigInt(value >>> 0));
  }
  #setLow(register: RegisterName, mask: number, value: number): void {
    this.#set(register, (this.#get(register) & ~mask) | (value & mask));
  }
  #far(segment: SegmentName, register: RegisterName): bigint {
    return this.#processor.segment(segment).base + (this.#processor.get(register) & 0xffffn);
  }
  #frameWord(offset: number): number {
    const bytes = this.#processor.read(this.#stack(offset), 2);
    return bytes ? bytes[0] | (bytes[1] << 8) : 0;
  }
  #stack(offset: number): bigint {
    const { base } = this.#processor.segment('ss');
    return base + ((this.#processor.get('rsp') + BigInt(offset)) & 0xffffn);
  }
  /** In the flags that the trap's IRET gives back. */
  #setFlag(flag: number, value: boolean): void {
    const at = this.#stack(FRAME_FLAGS);
    const low = this.#processor.read(at, 1);
    if (low) this.#processor.write(at, Uint8Array.of(value ? low[0] | flag : low[0] & ~flag));
  }
}

/** A segment register's selector and base in real mode. */
function place(segment: number): { selector: number; base: bigint } {
  return { selector: segment, base: BigInt(segment * 16) };
}
