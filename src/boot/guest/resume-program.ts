/**
 * The program by which a default guest that was kept in the cache goes on with another command (init-script.ts). It waits on the
 * console for what a guest that has just booted would have found beside its /init, and for what a machine at rest has missed: the
 * time and randomness. It then becomes the shell that runs the command. A Linux program for x86-64 of some 400 bytes; a shell can
 * neither hand the kernel entropy nor read from the console as cheaply.
 *
 * The shell that starts it opens its files:
 */
export const RESUME_FILES = '3<>/dev/console 4>/polyvisor/command 5>/polyvisor/mark 6</dev/urandom';

/** It says that it waits. */
export const READY = '\x1epolyvisor ready\n';

/**
 * Where the parts of a message's head stand: a `struct timespec`, a `struct rand_pool_info`, the command's length, a time-stamp, its mark,
 * the key.
 */
const SEED_BYTES = 32;
const POOL = 16;
const LENGTH = POOL + 8 + SEED_BYTES;
const TSC = LENGTH + 8;
const MARK = TSC + 8;
const MARK_BYTES = 17;
const KEY = MARK + 23;
const HEAD = KEY + 1;

/**
 * The byte (^O) that Linux's paravirtual consoles (hvc_console.c) take, with the one behind it, for a SysRq. It must not be in a
 * message: all of the head is combined by XOR with a key for which it is not, and a command with it cannot be typed.
 */
const SYSRQ = 0x0f;

/** @returns whether a command's text can go through every console */
export const canBeTyped = (command: string): boolean => !command.includes(String.fromCharCode(SYSRQ));

export interface Resumption {
  /**
   * The wall's clock, in nanoseconds since the Unix epoch, when the guest's time-stamp counter was `tsc`. On a busy host seconds pass
   * until the guest reads this: it adds what its counter, of nanoseconds, has gone on by since.
   */
  time: bigint;
  tsc: bigint;
  /** Entropy, SEED_BYTES of it. */
  seed: Uint8Array;
  /** Of the command (exec-protocol.ts): sixteen digits. */
  mark: string;
  command: string;
}

/** What the program wants to read. */
export function resumeMessage({ time, tsc, seed, mark, command }: Resumption): Uint8Array {
  const text = new TextEncoder().encode(`${command}\n`);
  const message = new Uint8Array(HEAD + text.length);
  const view = new DataView(message.buffer);
  view.setBigInt64(0, time / 1_000_000_000n, true);
  view.setBigInt64(8, time % 1_000_000_000n, true);
  view.setInt32(POOL, 8 * SEED_BYTES, true);
  view.setInt32(POOL + 4, SEED_BYTES, true);
  message.set(seed.subarray(0, SEED_BYTES), POOL + 8);
  view.setBigUint64(LENGTH, BigInt(text.length), true);
  view.setBigUint64(TSC, tsc, true);
  message.set(new TextEncoder().encode(`${mark}\n`), MARK);
  const head = message.subarray(0, HEAD);
  // The head has fewer bytes than there are keys, so that one is left. Zero becomes the key itself.
  let key = 0;
  while (head.some(byte => (byte ^ key) === SYSRQ)) key++;
  for (const [at, byte] of head.entries()) head[at] = byte ^ key;
  message.set(text, HEAD);
  return message;
}

const ORIGIN = 0x400000;
/** Of the ELF header and its one program header. */
const HEADERS = 120;
const PAGE = 4096;

/** In hexadecimal, least significant byte first. */
const u32 = (value: number) =>
  [0, 8, 16, 24].map(shift => ((value >>> shift) & 0xff).toString(16).padStart(2, '0')).join(' ');
const SYSCALL = '0f 05';
const set = (register: string, value: number) => `6a ${value.toString(16).padStart(2, '0')} ${register}`;
/** PUSH imm8, POP register. */
const EAX = '58';
const EDI = '5f';
const EDX = '5a';

/** Bytes, `name:` for a place, `<name` for the 8-bit and `@name` for the 32-bit distance to one. */
const PROGRAM = [
  `48 81 ec ${u32(PAGE)}`, // sub rsp, PAGE: a buffer
  '49 89 e4', // mov r12, rsp
  `${set(EAX, 1)} ${set(EDI, 3)} 48 8d 35 @ready ${set(EDX, READY.length)} ${SYSCALL}`, // write(3, ready)
  `${set('5d', HEAD)} 4c 89 e3`, // ebp = HEAD, mov rbx, r12
  `head: 31 c0 ${set(EDI, 3)} 48 89 de 48 89 ea ${SYSCALL}`, // read(3, rbx, rbp)
  '48 85 c0 7e <fail 48 01 c3 48 29 c5 75 <head', // until all of the head is there
  `41 8a 44 24 ${KEY.toString(16)} ${set('59', KEY)}`, // mov al, [r12 + KEY]; ecx = KEY
  'plain: 41 30 44 0c ff e2 <plain', // xor [r12 + rcx - 1], al; loop
  `0f 31 48 c1 e2 20 48 09 d0 49 2b 44 24 ${TSC.toString(16)}`, // rdtsc; rax = edx:eax - [r12 + TSC]
  '48 85 c0 79 <later 31 c0', // test rax, rax; jns; a counter that the guest has set back says nothing
  `later: 49 03 44 24 08 31 d2 b9 ${u32(1_000_000_000)} 48 f7 f1`, // add rax, [r12 + 8]; rax, rdx = rax / a second
  '49 01 04 24 49 89 54 24 08', // add [r12], rax; mov [r12 + 8], rdx
  `b8 ${u32(227)} 31 ff 4c 89 e6 ${SYSCALL}`, // clock_settime(CLOCK_REALTIME, r12)
  `${set(EAX, 16)} ${set(EDI, 6)} be ${u32(0x40085203)} 49 8d 54 24 ${POOL.toString(16)} ${SYSCALL}`, // ioctl(6, RNDADDENTROPY)
  `${set(EAX, 16)} ${set(EDI, 6)} be ${u32(0x5207)} 31 d2 ${SYSCALL}`, // ioctl(6, RNDRESEEDCRNG)
  `${set(EAX, 1)} ${set(EDI, 5)} 49 8d 74 24 ${MARK.toString(16)} ${set(EDX, MARK_BYTES)} ${SYSCALL}`, // write(5, mark)
  `49 8b 6c 24 ${LENGTH.toString(16)}`, // mov rbp, [r12 + LENGTH]
  'copy: 48 85 ed 74 <run', // test rbp, rbp; jz
  `31 c0 ${set(EDI, 3)} 4c 89 e6 ba ${u32(PAGE)} 48 39 ea 48 0f 47 d5 ${SYSCALL}`, // read(3, r12, min(PAGE, rbp))
  '48 85 c0 7e <fail 48 29 c5 48 89 c2', // sub rbp, rax; mov rdx, rax
  `${set(EAX, 1)} ${set(EDI, 4)} 4c 89 e6 ${SYSCALL} eb <copy`, // write(4, r12, rdx)
  `run: ${set('5b', 6)}`, // ebx = 6
  `close: ${set(EAX, 3)} 89 df ${SYSCALL} ff cb 83 fb 02 75 <close`, // close(6) to close(3)
  `48 81 c4 ${u32(PAGE)} 48 8b 04 24 48 8d 54 c4 10`, // rdx = the environment, behind argc and argv
  '6a 00 48 8d 05 @file 50 48 8d 05 @name 50 48 89 e6', // rsi = { "sh", file, 0 }
  `48 8d 3d @shell ${set(EAX, 59)} ${SYSCALL}`, // execve("/bin/sh", rsi, rdx)
  `fail: ${set(EAX, 60)} ${set(EDI, 127)} ${SYSCALL}`, // exit(127)
  `ready: ${textBytes(READY)}`,
  `shell: ${textBytes('/bin/sh\0')}`,
  `name: ${textBytes('sh\0')}`,
  `file: ${textBytes('/polyvisor/command\0')}`,
];

function textBytes(text: string): string {
  return [...new TextEncoder().encode(text)].map(byte => byte.toString(16).padStart(2, '0')).join(' ');
}

/** The program as an ELF file (System V ABI, chapter 4). */
export function resumeProgram(): Uint8Array {
  const words = PROGRAM.join(' ').split(' ');
  const places = new Map<string, number>();
  let length = 0;
  for (const word of words)
    if (word.endsWith(':')) places.set(word.slice(0, -1), length);
    else length += word.startsWith('@') ? 4 : 1;
  const file = new Uint8Array(HEADERS + length);
  const view = new DataView(file.buffer);
  let at = HEADERS;
  for (const word of words) {
    if (word.endsWith(':')) continue;
    const size = word.startsWith('@') ? 4 : 1;
    const distance = (places.get(word.slice(1)) ?? 0) - (at - HEADERS + size);
    if (size === 4) view.setInt32(at, distance, true);
    else if (word.startsWith('<')) view.setInt8(at, distance);
    else file[at] = Number.parseInt(word, 16);
    at += size;
  }
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // 64-bit, little-endian
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(ORIGIN + HEADERS), true); // entry
  view.setBigUint64(32, 64n, true); // program headers
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true); // PT_LOAD
  view.setUint32(68, 5, true); // readable, executable
  view.setBigUint64(80, BigInt(ORIGIN), true);
  view.setBigUint64(88, BigInt(ORIGIN), true);
  view.setBigUint64(96, BigInt(file.length), true);
  view.setBigUint64(104, BigInt(file.length), true);
  view.setBigUint64(112, BigInt(PAGE), true);
  return file;
}
