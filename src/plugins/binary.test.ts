import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { manifest, type TinyHypervisor, tinyHypervisor } from '../../tests/tiny-wasm.ts';
import { FakeProcessor, fakeContext } from '../conformance/fake-processor.ts';
import type { Body } from '../wasm/module.ts';
import { operationExports } from './abi.ts';
import { binaryHypervisor } from './binary.ts';
import { Guard } from './guard.ts';

const load = (bytes: Uint8Array) => binaryHypervisor(bytes, new Guard('bad.wasm'));

async function setUp(tiny: TinyHypervisor) {
  const module = await load(tinyHypervisor(tiny));
  const cpu = new FakeProcessor();
  const context = fakeContext(cpu);
  return { cpu, context, table: module.make(context) };
}

const call = (op: unknown, ...told: unknown[]): unknown => {
  assert.ok(typeof op === 'function');
  return op(...told) as unknown;
};
const natively = () => ({ eax: 1, ebx: 2, ecx: 3, edx: 4 });
const operations = (...names: string[]) => ({ operations: Object.fromEntries(names.map(name => [name, 'function'])) });
const nothing = () => {};
const zero = (body: Body) => body.i32(0);

const REFUSED: readonly { what: string; file: TinyHypervisor | Uint8Array; says: RegExp }[] = [
  { what: 'no WebAssembly', file: new TextEncoder().encode('export default {}'), says: /is not a WebAssembly file/ },
  { what: 'an empty file', file: new Uint8Array(), says: /is not a WebAssembly file/ },
  { what: 'half a file', file: tinyHypervisor({}).slice(0, 60), says: /is no valid WebAssembly/ },
  {
    what: 'another major version, by its imports',
    file: { module: 'polyvisor_2', imports: ['now'] },
    says: /was made for version 2 of the binary interface: this is 1\.\d/,
  },
  {
    what: 'another major version, by its manifest',
    file: { manifest: manifest({ abi: '3.0' }) },
    says: /was made for version 3\.0 of the binary interface: this is 1\.\d/,
  },
  { what: 'a later minor version', file: { manifest: manifest({ abi: '1.999' }) }, says: /version 1\.999/ },
  { what: 'no version', file: { manifest: manifest({ abi: 1 }) }, says: /the manifest's abi is 1/ },
  {
    what: 'an import of the host',
    file: { module: 'env', imports: ['now'] },
    says: /imports env\.now: there is nothing/,
  },
  {
    what: 'an import there is not',
    file: { imports: ['open_file'] },
    says: /imports open_file, which version 1\.\d does not/,
  },
  { what: 'no manifest', file: { mute: true }, says: /does not export polyvisor_manifest/ },
  {
    what: 'a manifest beyond its memory',
    file: { at: 0x7ffffff0 },
    says: /polyvisor_manifest: points outside its own memory/,
  },
  { what: 'a manifest that is no JSON', file: { manifest: 'name: tiny' }, says: /the manifest is no JSON/ },
  { what: 'a huge manifest', file: { manifest: ' '.repeat(70_000) }, says: /is longer than 65536 bytes/ },
  { what: 'a manifest of too many lines', file: { manifest: manifest({ title: 'a\nb' }) }, says: /title is "a\\nb"/ },
  { what: 'a misspelt member', file: { manifest: manifest({ mrss: [] }) }, says: /has "mrss"/ },
  {
    what: 'an op that the waist does not have',
    file: { manifest: manifest(operations('mmu.mmuUpdate')) },
    says: /names the op mmu\.mmuUpdate: there is none/,
  },
  {
    what: 'an op that has ended',
    file: { manifest: manifest(operations('mmu.setRoot')) },
    says: /answers the op mmu\.setRoot, which is not asked any more: leave it out/,
  },
  {
    what: 'an op for modules alone',
    file: { manifest: manifest(operations('boot.load')) },
    says: /names the op boot\.load, which a binary cannot answer/,
  },
  {
    what: 'an op without its export',
    file: { manifest: manifest(operations('cpu.hypercall')) },
    says: /does not export cpu_hypercall: the manifest says that cpu\.hypercall is a function/,
  },
  {
    what: 'an op of another type',
    file: {
      manifest: manifest(operations('irq.softwareInterrupt')),
      exports: { irq_softwareInterrupt: nothing },
      types: { irq_softwareInterrupt: [['i32', 'i32', 'i32']] },
    },
    says: /the export irq_softwareInterrupt is \(i32, i32, i32\) -> \(\): it must be \(i32, i32, i64\) -> \(\)/,
  },
  {
    what: 'an op that the manifest does not name',
    file: { exports: { cpu_syscall: nothing } },
    says: /exports cpu_syscall, but the manifest does not say/,
  },
  {
    what: 'registers that nobody reads',
    file: { manifest: manifest({ msrs: [{ index: '0x40000000', name: 'MSR_TINY' }] }) },
    says: /does not export cpu_msr_read: the manifest says that MSR_TINY can be read/,
  },
  { what: 'too much memory', file: { pages: 2000 }, says: /wants 125 MiB of memory: 64 MiB is the limit/ },
  { what: 'shared memory', file: { memoryFlags: 3 }, says: /its memory is shared or 64 bits wide/ },
  {
    what: 'a manifest that traps',
    file: { mute: true, exports: { polyvisor_manifest: body => body.unreachable() } },
    says: /polyvisor_manifest: unreachable/,
  },
];

test('a binary made for version 1.0 runs', async () => {
  const { cpu, table } = await setUp({
    manifest: manifest({
      abi: '1.0',
      operations: { 'cpu.hypercall': 'function', 'irq.settle': 'function', 'mmu.setRoot': 'native' },
    }),
    imports: ['set_register'],
    exports: {
      cpu_hypercall: nothing,
      irq_settle(body) {
        body.get(0);
        body.i32(0); // rax
        body.i64(7n);
        body.call(0);
      },
    },
    types: { cpu_hypercall: [['i32']], irq_settle: [['i32']] },
  });
  assert.equal(call(table.cpu.hypercall, cpu), true, 'it had no result: that it returned is its answer');
  call(table.irq.catchUp, cpu);
  assert.equal(cpu.get('rax'), 7n, 'under its former name');
  assert.deepEqual(cpu.kills, []);
});

describe('a binary is refused with file and reason', () => {
  for (const { what, file, says } of REFUSED)
    test(what, async () => {
      await assert.rejects(load(file instanceof Uint8Array ? file : tinyHypervisor(file)), (error: Error) => {
        assert.equal(error.name, 'PluginError');
        assert.match(error.message, /^bad\.wasm: [^\n]+$/);
        assert.match(error.message, says);
        return true;
      });
    });
});

const ENDED: readonly { what: string; imports?: readonly string[]; body: (body: Body) => void; says: RegExp }[] = [
  { what: 'a trap', body: body => body.unreachable(), says: /unreachable/ },
  {
    what: 'a load outside its memory',
    body(body) {
      body.i32(-1);
      body.memory('i32.load', 0);
      body.drop();
    },
    says: /out of bounds/,
  },
  {
    what: 'endless recursion',
    body(body) {
      body.get(0);
      body.call(0);
      body.drop();
    },
    says: /calls itself without end/,
  },
  {
    what: 'a register there is not',
    imports: ['get_register'],
    body(body) {
      body.get(0);
      body.i32(1000);
      body.call(0);
      body.drop();
    },
    says: /there is no register 1000/,
  },
  {
    what: 'a processor there is not',
    imports: ['halt'],
    body(body) {
      body.i32(7);
      body.call(0);
    },
    says: /there is no processor 7/,
  },
  {
    what: 'a huge answer',
    imports: ['log'],
    body(body) {
      body.i32(0);
      body.i32(-1);
      body.call(0);
    },
    says: /names 4294967295 bytes at 0, beyond its own memory/,
  },
  {
    what: 'an answer to a question nobody asked',
    imports: ['cpuid_natively'],
    body(body) {
      body.i32(0);
      body.call(0);
    },
    says: /cpuid_natively is for cpu_cpuid alone/,
  },
];

describe('an op that fails ends its guest with file, op and reason', () => {
  for (const { what, imports = [], body, says } of ENDED)
    test(what, async () => {
      const said = manifest(operations('cpu.hypercall'));
      const exports = {
        cpu_hypercall(code: Body) {
          body(code);
          code.i32(1);
        },
      };
      const { cpu, table } = await setUp({ manifest: said, imports, exports });
      call(table.cpu.hypercall, cpu);
      assert.equal(cpu.kills.length, 1);
      assert.match(cpu.kills[0], /^bad\.wasm: cpu\.hypercall: /);
      assert.match(cpu.kills[0], says);
    });

  test('a leaf answered with nothing', async () => {
    const { cpu, table } = await setUp({
      manifest: manifest(operations('cpu.cpuid')),
      exports: { cpu_cpuid: body => body.i32(1) },
    });
    assert.equal(call(table.cpu.cpuid, cpu, 1, 0, natively), undefined, 'as if it had not been there');
    assert.match(cpu.kills[0], /^bad\.wasm: cpu\.cpuid: answered 1 without/);
  });

  test('an alarm that traps', async () => {
    const { cpu } = await setUp({
      imports: ['set_alarm'],
      exports: {
        start(body) {
          body.i64(100n);
          body.i32(5);
          body.call(0);
          body.drop();
        },
        alarm: body => body.unreachable(),
      },
    });
    cpu.clock.advance(99);
    assert.deepEqual(cpu.kills, []);
    cpu.clock.advance(1);
    assert.match(cpu.kills[0], /^bad\.wasm: alarm: unreachable/);
  });
});

test('every op of the waist that a binary can answer arrives, with what it is told', async () => {
  for (const { operation, name, group, member, parameters, result } of operationExports.values()) {
    // Each tells what it was told by what it sets RAX to: the sum of its parameters.
    const { cpu, table } = await setUp({
      manifest: manifest(operations(operation)),
      imports: ['set_register'],
      exports: {
        [name](body) {
          body.get(0);
          body.i32(0);
          body.i64(0n);
          for (const [index, [, type]] of parameters.entries()) {
            body.get(index);
            if (type === 'i32') body.op('i64.extend_i32_s');
            body.op('i64.add');
          }
          body.call(0);
          if (result) zero(body);
        },
      },
    });
    const op = (table[group] as unknown as Record<string, unknown>)[member];
    const told: Readonly<Record<string, readonly unknown[]>> = {
      'cpu.cpuid': [100, 11, natively],
      'mmu.pageFault': [{ vector: 14, code: 7, address: 90n }],
      'irq.exception': [{ vector: 13, code: 98 }],
      'irq.softwareInterrupt': [11, 100n],
      'irq.delivered': [111],
      'time.resumed': [111.7],
      'smp.startUp': [111],
    };
    const answer = call(op, cpu, ...(told[operation] ?? []));
    assert.deepEqual(cpu.kills, [], operation);
    assert.equal(cpu.get('rax'), told[operation] ? 111n : 0n, operation);
    assert.equal(answer, result && operation !== 'cpu.cpuid' ? false : undefined, operation);
  }
});

test('"nothing" and "native" are said without an export; what is not named is native', async () => {
  const { table } = await setUp({
    manifest: manifest({ operations: { 'irq.catchUp': 'nothing', 'irq.halt': 'native' }, console: 'hvc0' }),
  });
  assert.equal(String(table.irq.catchUp), 'Symbol(nothing)');
  assert.equal(String(table.irq.halt), 'Symbol(native)');
  assert.equal(String(table.cpu.hypercall), 'Symbol(native)');
  assert.equal(table.boot.console, 'hvc0');
});

test('its memory grows to the limit and not beyond', async () => {
  const { cpu, table } = await setUp({
    manifest: manifest(operations('cpu.hypercall')),
    imports: ['set_register'],
    exports: {
      cpu_hypercall(body) {
        body.get(0);
        body.i32(0);
        body.i32(1024); // With the 2 pages it has: one too many.
        body.code.append([0x40, 0]); // memory.grow
        body.op('i64.extend_i32_s');
        body.call(0);
        body.i32(1);
      },
    },
  });
  call(table.cpu.hypercall, cpu);
  assert.deepEqual(cpu.kills, []);
  assert.equal(cpu.get('rax'), 2n ** 64n - 1n);
});

test('the guest is seen by copy, and outside its RAM not at all', async () => {
  const { cpu, table } = await setUp({
    manifest: manifest(operations('cpu.hypercall')),
    imports: ['write_physical', 'set_register'],
    exports: {
      cpu_hypercall(body) {
        body.get(0);
        body.i32(0);
        body.i64(BigInt((1 << 20) - 8));
        body.i32(1024);
        body.i32(16);
        body.call(0);
        body.op('i64.extend_i32_s');
        body.call(1);
        body.i32(1);
      },
    },
  });
  cpu.set('rax', 9n);
  const before = cpu.memory.bytes.slice();
  call(table.cpu.hypercall, cpu);
  assert.equal(cpu.get('rax'), 0n);
  assert.deepEqual(cpu.memory.bytes, before);
});

test('claimed ports reach it', async () => {
  const { context, cpu } = await setUp({
    imports: ['claim_ports'],
    exports: {
      start(body) {
        for (const value of [0x5658, 2, 7]) body.i32(value);
        body.call(0);
        body.drop();
      },
      device_read(body) {
        body.get(0);
        body.get(1);
        body.op('i32.add');
        body.op('i64.extend_i32_u');
      },
      device_write: nothing,
    },
  });
  assert.equal(context.ports.read(0x5659, 1, cpu), 8);
});
