/** What objdump makes of a few bytes, for reports; the bytes alone where there is no objdump. Development only. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Mode } from './layout.ts';

const hex = (code: Uint8Array): string => Buffer.from(code).toString('hex');
const MACHINE: Record<Mode, string> = { 64: 'i386:x86-64', 32: 'i386', 16: 'i8086' };

const SLOT = 32;
const NOP = 0x90;

/** One line each; one run of objdump for all. */
export function disassembleAll(codes: readonly Uint8Array[], mode: Mode): string[] {
  if (!codes.length) return [];
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-disassemble-'));
  try {
    const bytes = new Uint8Array(SLOT * codes.length).fill(NOP);
    codes.forEach((code, i) => bytes.set(code, SLOT * i));
    const file = join(folder, 'code');
    writeFileSync(file, bytes);
    const options = ['-D', '-b', 'binary', '-m', MACHINE[mode], '-M', 'intel', file];
    const run = spawnSync('objdump', options, { encoding: 'utf8', maxBuffer: 1 << 28 });
    const texts = codes.map(code => hex(code).padEnd(16));
    for (const line of (run.stdout ?? '').split('\n')) {
      const [address, , text] = line.split('\t');
      const at = Number.parseInt(address ?? '', 16);
      const slot = Math.floor(at / SLOT);
      if (text && at - slot * SLOT < codes[slot]!.length) texts[slot] += ` ${text.trim().replace(/\s+/g, ' ')};`;
    }
    return texts;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const disassemble = (code: Uint8Array, mode: Mode): string => disassembleAll([code], mode)[0]!;
