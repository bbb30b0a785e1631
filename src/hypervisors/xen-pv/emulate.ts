/**
 * Privileged instructions of a PV guest. At CPL 3 each raises #GP(0); Xen then does what the guest's kernel meant,
 * where that is harmless, and reflects the #GP where it is not. Ports and MSRs answer as for a domain without devices.
 */

import type { RegisterName } from '../../paravirt/processor.ts';
import { CR0_TS } from '../../x86/control.ts';
import { PAGE_OFFSET, PAGE_SIZE } from '../../x86/paging.ts';
import { VMASST_TYPE_architectural_iopl } from '../xen/constants.ts';
import { newBaseptr } from './baseptr.ts';
import { RFLAGS_DF } from './bounce.ts';
import { SILENT_PORT } from './cells.ts';
import { chooseCr4, visibleCr4 } from './control-registers.ts';
import { getDebugRegister, setDebugRegister } from './debug-registers.ts';
import { readMsr, writeMsr } from './msrs.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';
import { GENERAL_REGISTERS } from './registers.ts';

const TS = BigInt(CR0_TS);

/** Iterations of one INS or OUTS done at a time; RIP stays on the instruction until RCX is 0. */
const STRING_BATCH = 1024n;
/** Bytes of an instruction at most (SDM 2A 2.3.11). */
const LONGEST = 15;

/** An instruction as far as it is decoded here: prefixes, opcode bytes, and where the rest begins. */
interface Decoded {
  bytes: Uint8Array;
  /** Index past the opcode. */
  at: number;
  /** One byte, or 0x0f00 | the second. */
  opcode: number;
  /** Operand size for port I/O: 2 with prefix 0x66, else 4. */
  size: 2 | 4;
  rex: number;
  repeat: boolean;
}

/** The bytes at RIP, as many as can be read of 15. */
export function instructionBytes(pv: PvDomain, v: PvVcpu): Uint8Array {
  const { cpu } = v;
  const rip = cpu.mode === 64 ? cpu.get('rip') : BigInt.asUintN(32, cpu.segment('cs').base + cpu.get('rip'));
  const root = v.root;
  const address = pv.copy.address(root, rip, LONGEST, false);
  if (address >= 0) return pv.info.memory.bytes.subarray(address, address + LONGEST);
  const bytes = new Uint8Array(LONGEST);
  if (pv.copy.read(root, rip, bytes)) return bytes;
  const inPage = bytes.subarray(0, Math.min(LONGEST, PAGE_SIZE - Number(rip & BigInt(PAGE_OFFSET))));
  return pv.copy.read(root, rip, inPage) ? inPage : bytes.subarray(0, 0);
}

/** True if `bytes` begin with ud2, "xen": the prefix that asks for the CPUID which follows to be Xen's. */
export function isForcedEmulation(bytes: Uint8Array): boolean {
  const prefixed = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
  return prefixed.every((byte, i) => bytes[i] === byte);
}

/** #GP(0) at RIP. @returns true if the instruction has been done instead; false if the guest is to have its #GP. */
export function emulatePrivileged(pv: PvDomain, v: PvVcpu): boolean {
  const decoded = decode(instructionBytes(pv, v), v.cpu.mode === 64);
  if (!decoded) return false;
  const length = perform(pv, v, decoded);
  if (length === undefined) return false;
  if (length > 0) v.cpu.set('rip', v.cpu.get('rip') + BigInt(length));
  return true;
}

function decode(bytes: Uint8Array, wide: boolean): Decoded | undefined {
  let size: 2 | 4 = 4;
  let repeat = false;
  let at = 0;
  for (; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === 0x66) size = 2;
    else if (byte === 0xf2 || byte === 0xf3) repeat = true;
    else if (![0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].includes(byte)) break;
  }
  let rex = 0;
  if (wide && (bytes[at] & 0xf0) === 0x40) rex = bytes[at++];
  if (at >= bytes.length) return undefined;
  const first = bytes[at++];
  if (first !== 0x0f) return { bytes, at, opcode: first, size, rex, repeat };
  if (at >= bytes.length) return undefined;
  return { bytes, at: at + 1, opcode: 0x0f00 | bytes[at], size, rex, repeat };
}

/** @returns the instruction's length, 0 if RIP stays, undefined for #GP. */
function perform(pv: PvDomain, v: PvVcpu, d: Decoded): number | undefined {
  const { cpu } = v;
  switch (d.opcode) {
    case 0xe4: // IN AL, imm8
    case 0xe5:
    case 0xe6: // OUT imm8, AL
    case 0xe7:
      if (d.at >= d.bytes.length) return undefined;
      return portIo(pv, v, d.opcode, d.bytes[d.at], d.size) ? d.at + 1 : undefined;
    case 0xec: // IN AL, DX
    case 0xed:
    case 0xee: // OUT DX, AL
    case 0xef:
      return portIo(pv, v, d.opcode, Number(cpu.get('rdx') & 0xffffn), d.size) ? d.at : undefined;
    case 0x6c: // INSB
    case 0x6d:
    case 0x6e: // OUTSB
    case 0x6f:
      return stringIo(pv, v, d);
    case 0xfa: // CLI
    case 0xfb: // STI
      return ioPrivileged(v) ? d.at : undefined;
    case 0x0f31: // RDTSC, which faults when the guest has set CR4.TSD
      setPair(v, cpu.tsc.read());
      return d.at;
    case 0x0f01:
      return group0f01(v, d);
  }
  if (!v.kernelMode) return undefined;
  switch (d.opcode) {
    case 0x0f06: // CLTS
      cpu.set('cr0', cpu.get('cr0') & ~TS);
      return d.at;
    case 0x0f09: // WBINVD: the domain has no device memory that a cache could hold
      return d.at;
    case 0x0f20: // MOV from CR
    case 0x0f21: // MOV from DR
    case 0x0f22: // MOV to CR
    case 0x0f23: // MOV to DR
      return moveSystemRegister(pv, v, d);
    case 0x0f30: {
      // WRMSR
      const value = (BigInt.asUintN(32, cpu.get('rdx')) << 32n) | BigInt.asUintN(32, cpu.get('rax'));
      return writeMsr(v, Number(BigInt.asUintN(32, cpu.get('rcx'))), value) ? d.at : undefined;
    }
    case 0x0f32: {
      // RDMSR
      const value = readMsr(v, Number(BigInt.asUintN(32, cpu.get('rcx'))));
      if (value === undefined) return undefined;
      setPair(v, value);
      return d.at;
    }
    default:
      return undefined;
  }
}

/** Stores `value` in EDX:EAX. */
function setPair(v: PvVcpu, value: bigint): void {
  v.cpu.set('rax', value & 0xffffffffn);
  v.cpu.set('rdx', (value >> 32n) & 0xffffffffn);
}

function group0f01(v: PvVcpu, d: Decoded): number | undefined {
  const { cpu } = v;
  if (d.bytes[d.at] === 0xf9) {
    // RDTSCP
    setPair(v, cpu.tsc.read());
    cpu.set('rcx', cpu.get('tscAux'));
    return d.at + 1;
  }
  if (d.bytes[d.at] === 0xd1 && v.kernelMode) {
    // XSETBV
    const value = (BigInt.asUintN(32, cpu.get('rdx')) << 32n) | BigInt.asUintN(32, cpu.get('rax'));
    const avxWithoutSse = (value & 6n) === 4n;
    if (BigInt.asUintN(32, cpu.get('rcx')) !== 0n || (value & 1n) === 0n || avxWithoutSse) return undefined;
    if (value & ~v.state.xcr0Supported) return undefined;
    cpu.set('xcr0', value);
    return d.at + 1;
  }
  return undefined;
}

/** True if the virtual I/O privilege level covers the mode that runs. */
function ioPrivileged(v: PvVcpu): boolean {
  const kernel = v.vcpu.domain.state.assists.has(VMASST_TYPE_architectural_iopl) ? 0 : 1;
  return v.vcpu.state.iopl >= (v.kernelMode ? kernel : 3);
}

/** As the processor would ask its TSS (SDM 1 19.5.2), but of the guest's own bitmap. */
function portAllowed(pv: PvDomain, v: PvVcpu, port: number, width: number): boolean {
  if (ioPrivileged(v)) return true;
  const { address, ports } = v.vcpu.state.ioBitmap;
  if (port + width > ports) return false;
  const bits = new Uint8Array(2);
  const at = address + BigInt(port >>> 3);
  if (!pv.copy.read(v.kernelRoot, at, bits) && !pv.copy.read(v.kernelRoot, at, bits.subarray(0, 1))) return false;
  return ((((bits[1] << 8) | bits[0]) >>> (port & 7)) & ((1 << width) - 1)) === 0;
}

/** Access to a port. No port has a device: reads give all ones, writes vanish. False for #GP. */
function portIo(pv: PvDomain, v: PvVcpu, opcode: number, port: number, size: 2 | 4): boolean {
  const width = opcode & 1 ? size : 1;
  if (!portAllowed(pv, v, port, width)) return false;
  if (!v.state.loggedPorts.has(port)) {
    v.state.loggedPorts.add(port);
    v.cpu.log.once(`pv-port-${port}`, `xen-pv: port 0x${port.toString(16)}: nothing there`);
  }
  if ((opcode & 2) === 0) {
    const rax = v.cpu.get('rax');
    // A 32-bit result clears the upper half, as in any instruction.
    v.cpu.set('rax', width === 4 ? 0xffffffffn : rax | ((1n << BigInt(8 * width)) - 1n));
    // Linux measures its clock by a timer that is not there: 100,000 times.
    if (width === 1) v.state.cells[SILENT_PORT] = port + 1;
  }
  return true;
}

/** INS and OUTS, with REP a batch at a time. */
function stringIo(pv: PvDomain, v: PvVcpu, d: Decoded): number | undefined {
  const { cpu } = v;
  const wide = cpu.mode === 64;
  if (cpu.mode === 16) return undefined;
  const width = d.opcode & 1 ? d.size : 1;
  if (!portAllowed(pv, v, Number(cpu.get('rdx') & 0xffffn), width)) return undefined;
  const input = d.opcode < 0x6e;
  const index: RegisterName = input ? 'rdi' : 'rsi';
  const bits = wide ? 64 : 32;
  // The bases of ES and DS are 0 in 64-bit code.
  const base = wide ? 0n : cpu.segment(input ? 'es' : 'ds').base;
  const user = cpu.cpl === 3;
  const step = cpu.get('flags') & RFLAGS_DF ? -BigInt(width) : BigInt(width);
  const total = d.repeat ? BigInt.asUintN(bits, cpu.get('rcx')) : 1n;
  const count = total < STRING_BATCH ? total : STRING_BATCH;
  for (let i = 0n; i < count; i++) {
    const offset = BigInt.asUintN(bits, cpu.get(index));
    const at = BigInt.asUintN(bits, base + offset);
    if (input && !cpu.write(at, new Uint8Array(width).fill(0xff), { user })) return undefined;
    if (!input && !cpu.read(at, width, { user })) return undefined;
    cpu.set(index, BigInt.asUintN(bits, offset + step));
    if (d.repeat) cpu.set('rcx', BigInt.asUintN(bits, cpu.get('rcx') - 1n));
  }
  return count === total ? d.at : 0;
}

function moveSystemRegister(pv: PvDomain, v: PvVcpu, d: Decoded): number | undefined {
  if (d.at >= d.bytes.length) return undefined;
  const modrm = d.bytes[d.at];
  const number = ((modrm >>> 3) & 7) | ((d.rex & 4) << 1);
  const general = GENERAL_REGISTERS[(modrm & 7) | ((d.rex & 1) << 3)];
  const toSystem = (d.opcode & 2) !== 0;
  const done =
    d.opcode & 1
      ? moveDebug(v, number, general, toSystem)
      : toSystem
        ? writeControl(pv, v, number, v.cpu.get(general))
        : readControl(v, number, general);
  return done ? d.at + 1 : undefined;
}

function readControl(v: PvVcpu, number: number, into: RegisterName): boolean {
  const { cpu } = v;
  switch (number) {
    case 0:
      cpu.set(into, cpu.get('cr0'));
      return true;
    case 2:
      cpu.set(into, cpu.get('cr2'));
      return true;
    case 3:
      cpu.set(into, v.abi.cr3Of(v.kernelRoot));
      return true;
    case 4:
      cpu.set(into, visibleCr4(v));
      return true;
    default:
      return false;
  }
}

function writeControl(pv: PvDomain, v: PvVcpu, number: number, value: bigint): boolean {
  const { cpu } = v;
  switch (number) {
    case 0:
      if ((value ^ cpu.get('cr0')) & ~TS) return false;
      cpu.set('cr0', value);
      return true;
    case 2:
      cpu.set('cr2', value);
      return true;
    case 3:
      return newBaseptr(pv, v, v.abi.rootOf(value)) === 0;
    case 4:
      chooseCr4(v, value);
      return true;
    default:
      return false;
  }
}

function moveDebug(v: PvVcpu, number: number, general: RegisterName, write: boolean): boolean {
  if (write) return setDebugRegister(v, number, v.cpu.get(general)) === 0;
  const value = getDebugRegister(v, number);
  if (value === undefined) return false;
  v.cpu.set(general, value);
  return true;
}
