/**
 * XSAVE and its kin with AVX's component, and when AVX is there: what differs between the processors that vectors could be made on (SDM 1,
 * 13.4 to 13.10; SDM 2A 2.4.4).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { state } from '../../src/engine/x86/state.ts';
import { OracleGuest } from './guest.ts';
import { createImage, makeInitial } from './initial.ts';
import { DATA, GPR, MEMORY, MXCSR, XMM, YMM_HIGH } from './layout.ts';
import { RETIRED } from './vectors.ts';

/** Where images stand: offset from DATA, a multiple of 64. */
const IMAGE = 0x400;
const AREA = MEMORY + IMAGE;
const XSTATE_BV = AREA + 512;
const XCOMP_BV = AREA + 520;
const IMAGE_YMM = AREA + 576;
const COMPACTED = 1n << 63n;
const [UD, NM, GP] = [6, 7, 13];

/** On [rcx]. */
const XSAVE = [0x48, 0x0f, 0xae, 0x21];
const XSAVEOPT = [0x48, 0x0f, 0xae, 0x31];
const XSAVEC = [0x48, 0x0f, 0xc7, 0x21];
const XRSTOR = [0x48, 0x0f, 0xae, 0x29];
const XGETBV = [0x0f, 0x01, 0xd0];
/** vaddps ymm1, ymm2, ymm3; vzeroupper; andn eax, ebx, ecx; addps xmm1, xmm2. */
const VADDPS = [0xc5, 0xec, 0x58, 0xcb];
const VZEROUPPER = [0xc5, 0xf8, 0x77];
const ANDN = [0xc4, 0xe2, 0x60, 0xf2, 0xc1];
const ADDPS = [0x0f, 0x58, 0xca];

for (const tier of ['interpreted', 'translated'] as const)
  describe(tier, () => {
    const guest = new OracleGuest(tier === 'translated');
    const { bytes, view } = createImage();

    /** A state with an image of garbage, EDX:EAX and RCX; without upper halves if so wished. */
    function prepare(components: number, upper = true): void {
      makeInitial(bytes, view, 64, 1234);
      view.setUint32(MXCSR, 0x1f80, true);
      bytes.fill(0xa5, AREA, AREA + 576 + 256);
      bytes.fill(0, XSTATE_BV, IMAGE_YMM);
      for (const register of [0, 1, 2]) view.setBigUint64(GPR + 8 * register, 0n, true);
      view.setUint32(GPR, components, true);
      view.setUint32(GPR + 8, DATA + IMAGE, true);
      if (!upper) bytes.fill(0, YMM_HIGH, YMM_HIGH + 256);
    }
    /** @returns the exception, or RETIRED */
    function execute(code: number[]): number {
      if (tier === 'interpreted') return guest.run(bytes, view, 64, Uint8Array.from(code)).vector;
      const end = view.getBigUint64(0x80, true) + BigInt(code.length);
      const answer = guest.runTranslated(bytes, view, 64, Uint8Array.from(code), end);
      return (answer ?? guest.run(bytes, view, 64, Uint8Array.from(code))).vector;
    }
    const copy = (at: number, length: number) => bytes.slice(at, at + length);
    const untouched = new Uint8Array(256).fill(0xa5);
    const header = () => [view.getBigUint64(XSTATE_BV, true), view.getBigUint64(XCOMP_BV, true)];

    test('XSAVE writes the upper halves, and XRSTOR has them back', () => {
      prepare(7);
      const [xmm, ymm] = [copy(XMM, 256), copy(YMM_HIGH, 256)];
      assert.equal(execute(XSAVE), RETIRED);
      assert.deepEqual(header(), [7n, 0n]);
      assert.deepEqual(copy(IMAGE_YMM, 256), ymm);
      assert.deepEqual(copy(AREA + 160, 256), xmm);
      const image = copy(AREA, 832);
      prepare(4);
      bytes.set(image, AREA);
      bytes.fill(0x11, XMM, XMM + 256);
      bytes.fill(0x22, YMM_HIGH, YMM_HIGH + 256);
      assert.equal(execute(XRSTOR), RETIRED);
      assert.deepEqual(copy(YMM_HIGH, 256), ymm);
      assert.deepEqual(copy(XMM, 256), new Uint8Array(256).fill(0x11), 'SSE was not asked for');
    });

    test('upper halves of zeros are in their initial state: XSAVEOPT and XSAVEC leave them out', () => {
      for (const [code, upper, written, expected] of [
        [XSAVE, false, true, [3n, 0n]],
        [XSAVEOPT, false, false, [3n, 0n]],
        [XSAVEOPT, true, true, [7n, 0n]],
        [XSAVEC, false, false, [3n, COMPACTED | 7n]],
        [XSAVEC, true, true, [7n, COMPACTED | 7n]],
      ] as const) {
        prepare(7, upper);
        assert.equal(execute([...code]), RETIRED);
        assert.deepEqual(header(), expected);
        assert.deepEqual(copy(IMAGE_YMM, 256), written ? copy(YMM_HIGH, 256) : untouched);
      }
      prepare(3);
      assert.equal(execute(XSAVEC), RETIRED);
      assert.deepEqual(header(), [3n, COMPACTED | 3n]);
      prepare(1, false);
      view.setBigUint64(XSTATE_BV, 4n, true);
      assert.equal(execute(XSAVE), RETIRED);
      assert.deepEqual(header(), [5n, 0n], 'components that were not asked for stay');
    });

    test('XRSTOR takes both formats; what is not present becomes zero', () => {
      for (const compacted of [0n, COMPACTED | 7n]) {
        prepare(6);
        bytes.fill(0, AREA, IMAGE_YMM);
        view.setUint32(AREA + 24, 0x3f80, true);
        view.setBigUint64(XSTATE_BV, 4n, true);
        view.setBigUint64(XCOMP_BV, compacted, true);
        assert.equal(execute(XRSTOR), RETIRED);
        assert.deepEqual(copy(YMM_HIGH, 256), untouched);
        assert.deepEqual(copy(XMM, 256), new Uint8Array(256));
        assert.equal(view.getUint32(MXCSR, true), compacted ? 0x1f80 : 0x3f80);
        prepare(4);
        bytes.fill(0, AREA, IMAGE_YMM);
        view.setBigUint64(XCOMP_BV, compacted, true);
        assert.equal(execute(XRSTOR), RETIRED);
        assert.deepEqual(copy(YMM_HIGH, 256), new Uint8Array(256));
      }
    });

    test('headers that are refused change nothing', () => {
      for (const [present, layout, reserved] of [
        [8n, 0n, 0n],
        [4n, COMPACTED | 3n, 0n],
        [0n, COMPACTED | 0x100n, 0n],
        [0n, 1n, 0n],
        [0n, 0n, 1n],
        [0n, COMPACTED | 7n, 1n],
      ] as const) {
        prepare(7);
        bytes.fill(0, AREA, IMAGE_YMM);
        view.setBigUint64(XSTATE_BV, present, true);
        view.setBigUint64(XCOMP_BV, layout, true);
        view.setBigUint64(XCOMP_BV + 8, reserved, true);
        const ymm = copy(YMM_HIGH, 256);
        assert.equal(execute(XRSTOR), GP, `${present} ${layout} ${reserved}`);
        assert.deepEqual(copy(YMM_HIGH, 256), ymm);
      }
    });

    test('XGETBV tells what XCR0 has, and what of it is in use', () => {
      for (const [index, upper, expected] of [
        [0, false, 7],
        [1, false, 3],
        [1, true, 7],
      ] as const) {
        prepare(0, upper);
        view.setUint32(GPR + 8, index, true);
        assert.equal(execute(XGETBV), RETIRED);
        assert.equal(view.getUint32(GPR, true), expected);
      }
      prepare(0);
      view.setUint32(GPR + 8, 2, true);
      assert.equal(execute(XGETBV), GP);
    });

    test('AVX is there if XCR0 and CR4.OSXSAVE have it, and waits for CR0.TS', () => {
      const { cpu } = guest.engine;
      const [cr0, cr4] = [cpu.get64(state.CR0), cpu.get64(state.CR4)];
      const outcomes = (codes: number[][]) =>
        codes.map(code => {
          prepare(0);
          return execute(code);
        });
      const all = [VADDPS, VZEROUPPER, ANDN, ADDPS];
      const set = (values: { xcr0?: bigint; cr0?: bigint; cr4?: bigint }) => {
        cpu.set64(state.XCR0, values.xcr0 ?? 7n);
        cpu.set64(state.CR0, values.cr0 ?? cr0);
        cpu.set64(state.CR4, values.cr4 ?? cr4);
        cpu.updateUnits();
      };
      assert.deepEqual(outcomes(all), [RETIRED, RETIRED, RETIRED, RETIRED]);
      set({ xcr0: 3n });
      assert.deepEqual(outcomes(all), [UD, UD, RETIRED, RETIRED]);
      set({ cr4: cr4 & ~(1n << 18n) });
      assert.deepEqual(outcomes(all), [UD, UD, RETIRED, RETIRED]);
      set({ cr0: cr0 | 8n });
      assert.deepEqual(outcomes(all), [NM, NM, RETIRED, NM]);
      set({ xcr0: 3n, cr0: cr0 | 8n });
      assert.deepEqual(outcomes(all), [UD, UD, RETIRED, NM]);
      set({});
    });
  });
