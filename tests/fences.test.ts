/**
 * What the linter's import fences cannot see: a hypervisor's name or constant in code outside its folder. Comments may name
 * them, as examples; so may what tests and documentation print.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { root, sources, withoutComments } from './sources.ts';

/** Names of the interfaces we speak, and the beginnings of their constants. */
const NAMES =
  /\b(?:kvm|xen|hyperv|hyper-v|vmware|vmi)\b|\b(?:MSR_KVM|KVM|HYPERVISOR|XEN\w*|HV|VMWARE|VMI)_[A-Za-z]\w*/i;

/** Where they may stand in code, with the reason. */
const ALLOWED: Readonly<Record<string, string>> = {
  'src/hypervisors/': 'their own folders, and the list',
  'src/devices/xen/': 'the back ends of devices that only Xen guests know',
  'src/devices/scsi/pvscsi.ts': 'the vendor that the disks of its adapter name',
  'src/boot/guest/': "the guest's side: which drivers it loads",
  'src/conformance/tiny-elf.ts': 'writes the notes that boot/ reads',
  'src/boot/xen-notes.ts': 'the notes in which a kernel says how it can be started, whoever starts it',
  'src/boot/image.ts': 'reads those notes',
  'src/boot/pvh.ts': 'reads those notes: the PVH entry is one of them',
};

test("no hypervisor's name or constant stands in code outside its folder", () => {
  const files = sources('src').filter(file => !Object.keys(ALLOWED).some(allowed => file.startsWith(allowed)));
  assert.ok(files.length > 20, 'the sources were found');
  const found = files.flatMap(file =>
    withoutComments(readFileSync(join(root, file), 'utf8'))
      .split('\n')
      .flatMap((line, index) => (NAMES.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
  );
  assert.deepEqual(found, []);
});

test('this test would notice one', () => {
  for (const line of ["if (name === 'kvm') {", 'x = MSR_KVM_STEAL_TIME;', 'HYPERVISOR_mmu_update', 'import xen from'])
    assert.match(line, NAMES);
  for (const line of ['hypervisors', 'table.cpu.hypercall', 'vmlinux', 'HYPERVISOR = 1'])
    assert.doesNotMatch(line, NAMES);
  assert.doesNotMatch(withoutComments('a(); // as KVM does\n/* Xen\n too */ b();'), NAMES);
});

test('the formatter, the linter and its import fences have nothing to say', () => {
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
  try {
    execFileSync(process.execPath, [biome, 'check', '--max-diagnostics=50', relative(process.cwd(), root) || '.'], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    assert.fail(`npm run format mends most of it:\n${stdout}${stderr}`);
  }
});
