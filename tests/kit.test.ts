/**
 * The kit's example kernel: one binary on every hypervisor here, on QEMU's processor, and on real Xen (Debian's package), as the PV
 * guest of its shim and as a PVH dom0. And the kernel that the kit's README shows.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { hypervisors } from '../src/hypervisors/list.ts';
import { createMachine } from '../src/machine/machine.ts';
import type { MachineOptions } from '../src/machine/options.ts';
import { polyvisor } from './command.ts';
import { packageFiles } from './debian-package.ts';
import { buildKit, costsIn, kitFolder, missingTools } from './kit.ts';

/** Seconds, for a run that takes one or, with Xen in between, ten on an idle machine. */
const TIMEOUT = 300;
const guests = fileURLToPath(new URL('../../guests/', import.meta.url));
const WELL = /example: all is well/;

/** What is underneath, as the kit says it. */
const NAMES: Readonly<Record<string, string>> = {
  bare: 'bare hardware',
  kvm: 'KVM',
  vmware: 'VMware',
  hyperv: 'Hyper-V',
  'xen-pvh': 'Xen PVH',
  'xen-hvm': 'Xen HVM',
  acrn: 'ACRN',
  'xen-pv': 'Xen PV',
  'xen-on-bare': 'Xen PV',
  'xen-on-kvm': 'Xen PV',
  'xen-on-hyperv': 'Xen PV',
};
/** Functions that must be in use there. */
const USES: Readonly<Record<string, readonly string[]>> = {
  bare: ['native_end', 'native_send_ipi', 'native_clock'],
  kvm: [
    'kvm_end',
    'kvm_send_ipi',
    'kvm_clock',
    'kvm_wall_clock',
    'kvm_flush_tlb',
    'kvm_steal_clock',
    'kvm_yield',
    'kvm_kick',
  ],
  vmware: ['native_clock', 'vmware_steal_clock'],
  hyperv: ['hyperv_end', 'hyperv_send_ipi', 'hyperv_clock', 'hyperv_flush_tlb', 'hyperv_set_timer', 'hyperv_yield'],
  'xen-pvh': ['xen_console_ring', 'xen_hvm_flush_tlb', 'xen_send_ipi', 'xen_clock', 'xen_set_timer', 'xen_hvm_start'],
  'xen-hvm': ['xen_console_ring', 'xen_hvm_flush_tlb', 'xen_send_ipi', 'xen_clock', 'xen_set_timer', 'xen_hvm_start'],
  acrn: ['native_clock', 'native_end', 'native_send_ipi'],
  'xen-pv': ['xen_console_ring', 'xen_pv_flush_tlb', 'xen_pv_enable', 'xen_send_ipi', 'xen_set_timer', 'xen_pv_start'],
};

describe('the kit', { skip: missingTools() ?? false }, () => {
  let built: ReturnType<typeof buildKit>;
  let example: string;
  before(() => {
    built = buildKit();
    example = join(built.folder, 'example.elf');
  });
  after(() => built?.remove());

  /** A run on a machine of this process. */
  async function run(options: Partial<MachineOptions> & { kernel: Uint8Array }): Promise<string> {
    let text = '';
    const console = {
      onInput: () => {},
      write: (data: Uint8Array) => void (text += new TextDecoder('latin1').decode(data)),
    };
    const machine = await createMachine({ console, ...options });
    await machine.run({ timeout: TIMEOUT });
    return text.replaceAll('\r', '');
  }

  for (const [name, title] of Object.entries(NAMES))
    test(`the example on ${name}, three processors`, async () => {
      const kernel = readFileSync(example);
      const text = await run({ kernel, hypervisor: name, cpus: 3, memory: 64 << 20, append: 'a b' });
      assert.match(text, WELL, text);
      assert.match(text, new RegExp(`example: on ${title}, entered by .*a b"`), text);
      assert.match(text, /example: 3 of 3 processors execute/);
      const costs = costsIn(text);
      assert.equal(costs.length, 12, text);
      const used = costs.map(cost => cost.function);
      for (const name_ of USES[name.replace(/^xen-on-.*/, 'xen-pv')]!)
        assert.ok(used.includes(name_), `${name_} in ${used}`);
    });

  test('the example as a cell of Jailhouse, three processors', async () => {
    let text = '';
    const machine = await createMachine({
      kernel: readFileSync(example),
      hypervisor: 'jailhouse',
      cpus: 3,
      memory: 64 << 20,
      append: 'a b',
      console: {
        onInput: () => {},
        write(data) {
          text += new TextDecoder('latin1').decode(data);
          // A cell cannot switch itself off.
          if (WELL.test(text)) machine.stop();
        },
      },
    });
    assert.deepEqual(await machine.run({ timeout: TIMEOUT }), { kind: 'stopped' }, text);
    assert.match(text, /example: on Jailhouse, entered by Linux, 63 MiB, .*a b"/, text);
    assert.match(text, /example: 3 of 3 processors execute/);
  });

  for (const entry of ['pvh', 'multiboot', 'linux'] as const)
    test(`the example by its entry for ${entry}`, async () => {
      const text = await run({ kernel: readFileSync(example), entry, cpus: 2, memory: 64 << 20, append: 'some words' });
      assert.match(text, WELL, text);
      assert.match(text, /entered by (PVH|multiboot|Linux), 63 MiB, .*some words"/);
    });

  test('the matrix is green with it, on every hypervisor', async () => {
    const names = hypervisors.filter(({ isRelative }) => !isRelative);
    const result = await polyvisor(['matrix', example, '--until', 'all is well', '--memory', '64M', '--markdown']);
    assert.equal(result.status, 0, result.stderr);
    assert.match(result.stdout, new RegExp(`${names.length} of ${names.length} cells passed`));
  });

  test("the README's kernel, built as the README says", async () => {
    const readme = readFileSync(join(kitFolder, 'README.md'), 'utf8');
    const source = /```c\n(\/\* kernel\.c \*\/[\s\S]*?)```/.exec(readme)![1]!;
    const commands = /(gcc -std=c11[\s\S]*?)qemu-system/.exec(readme)![1]!;
    writeFileSync(join(built.folder, 'kernel.c'), source);
    const script = commands
      .replaceAll('KIT/libparavirt.a', join(built.folder, 'libparavirt.a'))
      .replace(/\bKIT\//g, kitFolder);
    execFileSync('sh', ['-ec', script], { cwd: built.folder });
    for (const hypervisor of ['bare', 'xen-pv']) {
      const kernel = readFileSync(join(built.folder, 'kernel.elf'));
      const text = await run({ kernel, hypervisor, memory: 64 << 20, append: 'words' });
      assert.match(text, /^Hello from (bare hardware|Xen PV), entered by .*words\n1\n2\n3\n$/);
    }
  });

  /** Compiles a file of the guests' with the README's options. @returns where the kernel is */
  function buildWithKit(source: string, link: readonly string[]): string {
    const output = join(built.folder, `${basename(source)}.elf`);
    const flags =
      '-std=c11 -O2 -Wall -Werror -ffreestanding -fno-pic -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fcf-protection=none ' +
      '-fno-asynchronous-unwind-tables -nostdlib -static -no-pie -Wl,--build-id=none -Wl,--no-warn-rwx-segments';
    execFileSync('gcc', [...flags.split(' '), '-I', join(kitFolder, 'include'), '-o', output, source, ...link]);
    return output;
  }
  const archive = () => join(built.folder, 'libparavirt.a');
  const whole = () => ['-T', join(kitFolder, 'link.ld'), '-Wl,--whole-archive', archive(), '-Wl,--no-whole-archive'];
  const probe = () => readFileSync(buildWithKit(join(guests, 'kit/probe.c'), whole()));
  const PROBED = /^probe: 11 checks, 0 failed$/m;

  for (const hypervisor of ['bare', 'kvm', 'hyperv', 'xen-pvh', 'xen-pv', 'vmi'])
    test(`a kernel that asks more, on ${hypervisor}, four processors`, async () => {
      const text = await run({ kernel: probe(), hypervisor, cpus: 4, memory: 64 << 20 });
      assert.match(text, PROBED, text);
    });

  test('text that is none ends a kernel with a message', async () => {
    const text = await run({ kernel: probe(), memory: 64 << 20, append: 'crash' });
    assert.match(text, /half a line and .*paravirt: exception 14.*\n.*page fault on 700000000000\n.*nobody handles it/);
  });

  test('a kernel with an entry of its own links what it uses, and no entry of the kit’s', () => {
    const source = join(built.folder, 'own.c');
    writeFileSync(
      source,
      '#include <paravirt.h>\nvoid own_entry(void) { static struct pv_boot_info info; pv_init(&info); pv_print("%u", pv_ops.smp.count()); }\n',
    );
    const symbols = execFileSync('nm', [buildWithKit(source, ['-Wl,-e,own_entry', archive()])], { encoding: 'utf8' });
    assert.match(symbols, / T pv_init$/m);
    assert.doesNotMatch(symbols, / (pv_main|pvh_entry|multiboot_entry|pv_image_end)$/m);
  });

  const cxx = spawnSync('g++', ['--version']).status === 0;
  test('C++ finds the functions of the library', { skip: cxx ? false : 'g++ is not installed' }, () => {
    const source = join(built.folder, 'kernel.cc');
    writeFileSync(source, '#include <paravirt.h>\nextern "C" void own_entry() { pv_init(nullptr); pv_print("x"); }\n');
    const object = join(built.folder, 'kernel.o');
    execFileSync('g++', ['-ffreestanding', '-I', join(kitFolder, 'include'), '-c', '-o', object, source]);
    assert.match(execFileSync('nm', [object], { encoding: 'utf8' }), / U pv_print$/m);
  });

  test("real Xen's shim, with the example as its PV guest, two processors", async () => {
    const kernel = (await packageFiles('xen-utils-4.17', 'usr/lib/xen-4.17/boot/')).get('xen-shim')!;
    const modules = [{ data: readFileSync(example), commandLine: 'example for the shim' }];
    const text = await run({
      kernel,
      modules,
      hypervisor: 'xen-pvh',
      cpus: 2,
      memory: 256 << 20,
      commandLine: 'console=pv',
    });
    assert.match(text, /Xen version 4\.17/);
    assert.match(text, /example: 2 of 2 processors execute/);
    assert.match(text, WELL, text.slice(-2000));
  });

  const qemu = spawnSync('qemu-system-x86_64', ['--version']).status === 0;
  for (const entry of ['multiboot', 'PVH'])
    test(`QEMU's processor, by ${entry}`, { skip: qemu ? false : 'qemu-system-x86_64 is not installed' }, () => {
      const image = readFileSync(example);
      // QEMU prefers multiboot where there is a header: without its magic number it is no header.
      if (entry === 'PVH') image.writeUInt32LE(0, image.indexOf(Buffer.of(0x02, 0xb0, 0xad, 0x1b)));
      const kernel = join(built.folder, `${entry}.elf`);
      writeFileSync(kernel, image);
      const words = [
        '-accel',
        'tcg',
        '-smp',
        '2',
        '-m',
        '64',
        '-nographic',
        '-no-reboot',
        '-nic',
        'none',
        '-net',
        'none',
      ];
      const arguments_ = ['-kernel', kernel, '-append', 'words', ...words];
      const { stdout } = spawnSync('qemu-system-x86_64', arguments_, {
        encoding: 'utf8',
        timeout: TIMEOUT * 1000,
        input: '',
      });
      assert.match(stdout, new RegExp(`example: on bare hardware, entered by ${entry}, 63 MiB, .*words"`));
      assert.match(stdout, /example: 2 of 2 processors execute/);
      assert.match(stdout, WELL);
    });

  test("QEMU's processor, whose timer counts down: a kernel that asks more", {
    skip: qemu ? false : 'qemu-system-x86_64 is not installed',
  }, () => {
    const kernel = buildWithKit(join(guests, 'kit/probe.c'), whole());
    const words = ['-accel', 'tcg', '-smp', '4', '-m', '64', '-nographic', '-no-reboot', '-nic', 'none'];
    const options = { encoding: 'utf8', timeout: TIMEOUT * 1000, input: '' } as const;
    const { stdout } = spawnSync('qemu-system-x86_64', ['-kernel', kernel, ...words], options);
    assert.match(stdout.replaceAll('\r', ''), PROBED);
  });

  test('real Xen on QEMU, with the example as its PVH dom0', {
    skip: qemu ? false : 'qemu-system-x86_64 is not installed',
  }, async () => {
    const packed = (await packageFiles('xen-hypervisor-4.17-amd64', 'boot/')).get('xen-4.17-amd64.gz')!;
    const kernel = join(built.folder, 'xen');
    writeFileSync(kernel, gunzipSync(packed));
    // SVM, and the IOMMU that Xen wants for such a dom0.
    const machine = ['-M', 'q35', '-accel', 'tcg', '-cpu', 'max', '-device', 'amd-iommu', '-m', '512', '-smp', '2'];
    const words = [
      '-append',
      'dom0=pvh dom0_mem=64M dom0_max_vcpus=2 console=com1 com1=115200,8n1',
      '-nographic',
      '-nic',
      'none',
    ];
    const files = ['-kernel', kernel, '-initrd', `${example} for dom0`];
    const xen = spawn('qemu-system-x86_64', [...machine, ...files, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
    const limit = setTimeout(() => xen.kill(), TIMEOUT * 1000);
    let text = '';
    // Xen halts the machine when dom0 is off, and QEMU goes on.
    for await (const data of xen.stdout) if (/Hardware Dom0 halted/.test((text += data))) break;
    clearTimeout(limit);
    xen.kill();
    assert.match(text, /example: on Xen PVH, entered by PVH, 6[34] MiB, .*"for dom0"/);
    assert.match(text, /example: 2 of 2 processors execute/);
    assert.match(text, WELL);
  });
});
