/** The code of one of the assembly files in guests/, made with the host's tools. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KERNEL_ADDRESS } from '../src/conformance/tiny-elf.ts';

export function assembled(name: string): Uint8Array {
  const source = fileURLToPath(new URL(`../../guests/${name}/start.S`, import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  try {
    const [object, binary] = [join(folder, 'start.o'), join(folder, 'start.bin')];
    execFileSync('gcc', ['-c', '-m64', '-o', object, source]);
    execFileSync('objcopy', ['-O', 'binary', '-j', '.text', object, binary]);
    return readFileSync(binary);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The same of one file without its `.S`, which may use absolute addresses: it is linked to `address`, where tinyKernel puts it. */
export function linked(name: string, address = KERNEL_ADDRESS): Uint8Array {
  const source = fileURLToPath(new URL(`../../guests/${name}.S`, import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  try {
    const [object, binary] = [join(folder, 'kernel.o'), join(folder, 'kernel.bin')];
    execFileSync('gcc', ['-c', '-m64', '-o', object, source]);
    const at = `-Ttext=0x${address.toString(16)}`;
    execFileSync('ld', ['-m', 'elf_x86_64', at, '--oformat', 'binary', '-e', 'start', '-o', binary, object]);
    return readFileSync(binary);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
