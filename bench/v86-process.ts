/** v86 with its console on standard input and output. Options as JSON: argument 1. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

interface Options {
  /** The folder with libv86.mjs and v86.wasm. */
  library: string;
  firmware: string;
  kernel: string;
  initrd: string;
  /** Bytes. */
  memory: number;
}

/** What is used of v86's interface. */
interface V86 {
  add_listener(event: 'serial0-output-byte', listener: (byte: number) => void): void;
  serial0_send(text: string): void;
}

const LINE_FEED = 0x0a;

const options = JSON.parse(process.argv[2]) as Options;
const { V86 } = (await import(pathToFileURL(join(options.library, 'libv86.mjs')).href)) as {
  V86: new (settings: object) => V86;
};
const file = (path: string) => {
  const { buffer, byteOffset, byteLength } = readFileSync(path);
  return { buffer: buffer.slice(byteOffset, byteOffset + byteLength) };
};
const emulator = new V86({
  wasm_path: join(options.library, 'v86.wasm'),
  bios: file(options.firmware),
  bzimage: file(options.kernel),
  initrd: file(options.initrd),
  cmdline: 'console=ttyS0',
  memory_size: options.memory,
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
});
const line: number[] = [];
const flush = () => void process.stdout.write(Uint8Array.from(line.splice(0)));
emulator.add_listener('serial0-output-byte', byte => {
  line.push(byte);
  if (byte === LINE_FEED) flush();
  else if (line.length === 1) setImmediate(flush);
});
process.stdin.on('data', (data: Buffer) => emulator.serial0_send(data.toString('latin1')));
