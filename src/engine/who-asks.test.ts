/** What CPUID, RDMSR and WRMSR ask the machine, they ask at their own address: traces name it. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CS } from '../x86/segments.ts';
import { Engine, type EngineEnvironment } from './engine.ts';
import { state } from './x86/state.ts';

const RAM = 1 << 20;
const CODE = 0x8000;
/** mov ebx, FUNCTION; call ebx; jmp CODE. The indirect call and the return are where RIP changes otherwise. */
const LOOP = [0xbb, 0x10, 0x80, 0, 0, 0xff, 0xd3, 0xeb, 0xf7];
const FUNCTION = CODE + 0x10;
/** xor ecx, ecx; rdmsr; wrmsr; nop; cpuid; ret */
const ASKING = [0x31, 0xc9, 0x0f, 0x32, 0x0f, 0x30, 0x90, 0x0f, 0xa2, 0xc3];
const PLACES = { rdmsr: FUNCTION + 2, wrmsr: FUNCTION + 4, cpuid: FUNCTION + 7 };

describe('who asks', () => {
  for (const jit of [false, true])
    test(jit ? 'in translated code' : 'in the interpreter', () => {
      const engine = new Engine(RAM, { jit });
      const { cpu } = engine;
      const asked = new Map<string, Set<number>>();
      const note = <T>(name: string, answer: T): T => {
        asked.set(name, (asked.get(name) ?? new Set()).add(Number(cpu.rip)));
        return answer;
      };
      const environment: Partial<EngineEnvironment> = {
        readMsr: () => note('rdmsr', 0n),
        writeMsr: () => note('wrmsr', true),
        cpuid: () => note('cpuid', { eax: 0, ebx: 0, ecx: 0, edx: 0 }),
        boundary: () => {},
        interruptPending: () => false,
      };
      engine.environment = environment as EngineEnvironment;
      cpu.environment = engine.environment;
      engine.memory.copyIn(CODE, Uint8Array.from(LOOP));
      engine.memory.copyIn(FUNCTION, Uint8Array.from(ASKING));
      cpu.set64(state.CR0, 0x11n);
      for (let segment = 0; segment < 6; segment++) {
        cpu.set32(state.SEGMENT_LIMIT + 4 * segment, 0xffffffff);
        cpu.set32(state.SEGMENT_ATTRIBUTES + 4 * segment, segment === CS ? 0xcf9b00 : 0xcf9300);
      }
      cpu.updateMode();
      cpu.setGpr(4, 0x4000n);
      cpu.rip = BigInt(CODE);
      engine.run(20);
      if (jit)
        for (const start of [CODE, FUNCTION, FUNCTION + 6]) {
          cpu.rip = BigInt(start); // the code must be mapped, and known
          engine.jit!.translate(BigInt(start), 32);
        }
      cpu.rip = BigInt(CODE);
      asked.clear();
      engine.run(20_000);
      if (jit) assert.ok(engine.jit!.statistics.regions > 0);
      assert.deepEqual(Object.fromEntries([...asked].map(([name, places]) => [name, [...places]])), {
        rdmsr: [PLACES.rdmsr],
        wrmsr: [PLACES.wrmsr],
        cpuid: [PLACES.cpuid],
      });
    });
});
