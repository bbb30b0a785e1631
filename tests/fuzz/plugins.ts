/**
 * Hypervisors in WebAssembly files, damaged, and with manifests of any shape: each is loaded or refused by a PluginError, and one that is
 * loaded can be asked for its table.
 */
import { createFixture } from '../../src/conformance/fixture.ts';
import { binaryHypervisor } from '../../src/plugins/binary.ts';
import { Guard, PluginError } from '../../src/plugins/guard.ts';
import { manifest, tinyHypervisor } from '../tiny-wasm.ts';
import { mutate, showBytes, smallerBytes } from './bytes.ts';
import { caseFuzzer, type Random } from './fuzzer.ts';

const ORIGINALS = [
  tinyHypervisor({}),
  tinyHypervisor({
    manifest: manifest({
      operations: { 'cpu.hypercall': 'function', 'irq.halt': 'nothing', 'cpu.cpuid': 'native' },
      msrs: [{ index: '0x40000000', name: 'MSR_TINY', access: 'read' }],
      hypercalls: [{ number: 1, name: 'TINY_CALL', arguments: ['where'] }],
      skip: { 'a check': 'a reason' },
    }),
    exports: { cpu_hypercall: () => {}, cpu_msr_read: body => body.i64(0n) },
  }),
  tinyHypervisor({ imports: ['log', 'memory_size'], exports: { start: () => {} } }),
];

const MEMBERS = [
  'abi',
  'name',
  'title',
  'platform',
  'console',
  'operations',
  'msrs',
  'hypercalls',
  'skip',
  '__proto__',
];
const WORDS = [
  '',
  '1.0',
  '1.99',
  'tiny',
  'pc',
  'local-apic',
  'ttyS0',
  'function',
  'native',
  'nothing',
  'cpu.hypercall',
  'cpu.cpuid',
  'boot.load',
  'constructor.name',
  'cpu.constructor',
  'cpu.__proto__',
  '__proto__',
  'toString',
  'constructor',
  'hasOwnProperty',
  'MSR_X',
  'read',
  '0x40000000',
  'a\nb',
  '\u001b[31m',
  '\ud800',
];

/** A JSON value that resembles what manifests have. */
function value(random: Random, depth: number): unknown {
  switch (random.below(depth > 0 ? 9 : 6)) {
    case 0:
      return random.of([0, 1, -1, 1.5, 2 ** 32, 2 ** 53, 1e308, 0x40000000]);
    case 1:
      return random.of([null, true, false]);
    case 6:
      return Array.from({ length: random.below(4) }, () => value(random, depth - 1));
    case 7:
    case 8:
      return object(random, depth);
    default:
      return random.of(WORDS);
  }
}

/** Its members are its own, whatever they are called. */
function object(random: Random, depth: number): object {
  const members = Array.from({ length: random.below(5) }, () => {
    const name = random.of([...MEMBERS, ...WORDS, 'index', 'number', 'access', 'arguments', 'status', 'note']);
    return [name, value(random, depth - 1)] as const;
  });
  return Object.fromEntries(members);
}

function makeManifest(random: Random): string {
  const members = new Map<string, unknown>(Object.entries(manifest()));
  for (let changes = 1 + random.below(4); changes > 0; changes--) members.set(random.of(MEMBERS), value(random, 3));
  return JSON.stringify(Object.fromEntries(members));
}

export const plugins = caseFuzzer<Uint8Array>({
  name: 'plugins',
  description: 'hypervisors in damaged WebAssembly files and with odd manifests: loaded, or refused by a PluginError',
  make: random =>
    random.below(2)
      ? mutate(random, random.of(ORIGINALS))
      : tinyHypervisor({
          manifest: makeManifest(random),
          exports: { cpu_hypercall: () => {}, cpu_msr_read: body => body.i64(0n) },
        }),
  async judge(bytes) {
    try {
      const module = await binaryHypervisor(bytes, new Guard('fuzzed.wasm'));
      const { table, cpu } = createFixture(module);
      if (typeof table.cpu.hypercall === 'function') table.cpu.hypercall(cpu);
    } catch (error) {
      if (!(error instanceof PluginError)) throw error;
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
      if (/[\x00-\x1f\x7f]/.test(error.message))
        return `a message that is not one line: ${JSON.stringify(error.message)}`;
    }
    return undefined;
  },
  smaller: smallerBytes,
  show: showBytes,
});
