import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImageError, type KernelImage, parseKernel } from '../../boot/image.ts';
import { FakeProcessor, fakeContext, noFirmware } from '../../conformance/fake-processor.ts';
import { KERNEL_ADDRESS, tinyKernel } from '../../conformance/tiny-elf.ts';
import { abi64 } from './abi64.ts';
import { buildDomain, refusesImage } from './domain-builder.ts';

const VIRTUAL_BASE = 0xffffffff80000000n;
const kernel = parseKernel(tinyKernel([0xf4]));

async function build(change: (image: KernelImage) => KernelImage = image => image, initrd?: Uint8Array) {
  const cpu = new FakeProcessor({ memory: 16 << 20 });
  const request = {
    image: change(await kernel),
    initrd,
    natively: noFirmware,
    commandLine: 'quiet root=x',
    memory: cpu.memory,
    log: cpu.log,
  };
  return { cpu, memory: cpu.memory, ...buildDomain(request, fakeContext(cpu)) };
}

test('the guest finds start_info where RSI points, and all it needs in it', async () => {
  const { memory, pv, entry } = await build();
  const { domain } = pv;
  const at = Number(entry.registers.rsi! - VIRTUAL_BASE);
  const text = (from: number, length: number) =>
    new TextDecoder().decode(memory.copyOut(from, length)).replace(/\0.*/s, '');
  assert.equal(text(at, 32), 'xen-3.0-x86_64');
  assert.equal(memory.read64(at + 0x20), BigInt(domain.pages));
  assert.equal(memory.read64(at + 0x28), BigInt(domain.sharedInfo.address));
  assert.equal(memory.read32(at + 0x30), 0);
  assert.equal(memory.read64(at + 0x38) * 4096n, BigInt(domain.xenstoreRing.address));
  assert.equal(memory.read32(at + 0x40), domain.state.xenstorePort);
  assert.equal(memory.read64(at + 0x48) * 4096n, BigInt(domain.consoleRing.address));
  assert.equal(memory.read32(at + 0x50), domain.state.consolePort);
  assert.equal(memory.read64(at + 0x58), VIRTUAL_BASE + entry.registers.cr3!);
  assert.equal(text(at + 0x80, 1024), 'quiet root=x');
  // The list of frames: a page's frame has its own number.
  const list = Number(memory.read64(at + 0x68) - VIRTUAL_BASE);
  for (const page of [0, 1, 1000, domain.pages - 1]) assert.equal(memory.read64(list + 8 * page), BigInt(page));
  assert.ok(
    domain.state.xenstorePort > 0 &&
      domain.state.consolePort > 0 &&
      domain.state.xenstorePort !== domain.state.consolePort,
  );
});

test('the first processor starts in 64-bit mode at CPL 3', async () => {
  const { pv, entry } = await build();
  assert.equal(entry.registers.rip, VIRTUAL_BASE + BigInt(KERNEL_ADDRESS));
  assert.equal(entry.registers.rsp! % 4096n, 0n);
  assert.equal(entry.registers.flags, 0x202n);
  assert.equal(entry.segments.cs?.selector, 0xe033);
  assert.equal(entry.segments.ss?.selector, 0xe02b);
  assert.equal(entry.registers.efer! & 0x501n, 0x501n);
  assert.equal(entry.registers.cr4! & 0x80n, 0n, 'global pages would outlive a root');
  assert.equal(pv.domain.vcpus[0].upcallMask, true);
});

test('a ramdisk goes behind the mapping where the kernel asks for that', async () => {
  const initrd = Uint8Array.from({ length: 5000 }, (_, i) => i);
  const { memory, entry } = await build(image => ({ ...image, xen: { ...image.xen, modStartPfn: true } }), initrd);
  const at = Number(entry.registers.rsi! - VIRTUAL_BASE);
  const start = Number(memory.read64(at + 0x70)) * 4096;
  assert.equal(memory.read32(at + 0x30), 8);
  assert.equal(memory.read64(at + 0x78), 8192n, 'whole pages');
  assert.deepEqual(memory.copyOut(start, 5000), initrd);
  const mapped = await build(undefined, initrd);
  const info = Number(mapped.entry.registers.rsi! - VIRTUAL_BASE);
  assert.equal(mapped.memory.read64(info + 0x78), 5000n);
  assert.deepEqual(mapped.memory.copyOut(Number(mapped.memory.read64(info + 0x70) - VIRTUAL_BASE), 5000), initrd);
});

test('the list of frames goes where INIT_P2M says, mapped by tables of its own', async () => {
  const { memory, pv, entry } = await build(image => ({ ...image, xen: { ...image.xen, initP2m: 0x8000000000n } }));
  const at = Number(entry.registers.rsi! - VIRTUAL_BASE);
  assert.equal(memory.read64(at + 0x68), 0x8000000000n);
  const page = pv.copy.page(pv.vcpus[0].kernelRoot, 0x8000000, true);
  assert.equal(BigInt(page / 4096), memory.read64(at + 0x480), 'first_p2m_pfn');
  assert.equal(memory.read64(page + 8 * 77), 77n);
});

test('the hypercall page holds a whole call in each slot', async () => {
  const page = abi64.hypercallPage();
  assert.deepEqual(
    [...page.subarray(17 * 32, 17 * 32 + 14)],
    [0x51, 0x41, 0x53, 0xb8, 17, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3],
  );
  assert.deepEqual(
    [...page.subarray(23 * 32, 23 * 32 + 12)],
    [0x51, 0x41, 0x53, 0x50, 0xb8, 23, 0, 0, 0, 0x0f, 0x05, 0xcc],
  );
  const { memory } = await build();
  assert.deepEqual(memory.copyOut(KERNEL_ADDRESS + 4096, 4096), page);
  await assert.rejects(
    build(image => ({ ...image, xen: { ...image.xen, hypercallPage: 0x1000n } })),
    ImageError,
  );
});

test('kernels that cannot be PV guests are refused with the reason', async () => {
  const image = await kernel;
  const refusal = (xen: Partial<KernelImage['xen']>, more: Partial<KernelImage> = {}) =>
    refusesImage({ ...image, ...more, xen: { ...image.xen, ...xen } });
  assert.equal(refusal({}), undefined);
  assert.equal(refusal({ features: ['!writable_page_tables', 'anything'] }), undefined);
  assert.match(refusal({ features: ['!supervisor_mode_kernel'] })!, /supervisor_mode_kernel/);
  assert.match(refusal({ source: 'none' })!, /CONFIG_XEN_PV/);
  assert.match(refusal({ xenVersion: 'xen-2.0' })!, /xen-2.0/);
  assert.match(refusal({ entry: undefined, virtBase: undefined })!, /xen-pvh/);
  const elf = { ...image.elf!, class: 32 as const };
  assert.equal(refusal({}, { elf }), undefined);
  assert.match(refusal({ paeMode: 'no' }, { elf })!, /PAE/);
  assert.match(refusal({}, { elf: undefined })!, /ELF/);
});

test('an image that reaches outside the domain is refused', async () => {
  const bad = (physicalAddress: bigint, memorySize: number) =>
    build(image => {
      const segments = image.elf!.segments.map(segment => ({ ...segment, physicalAddress, memorySize }));
      return { ...image, elf: { ...image.elf!, segments } };
    });
  for (const [address, size] of [
    [1n << 40n, 0x2000],
    [0n, 2 ** 34],
    [0xfff000n, 0x2000],
    [(1n << 64n) - 4096n, 0x2000],
  ] as const)
    await assert.rejects(bad(address, size), ImageError);
});
