import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSettings, type RunOptions } from './settings.ts';
import { isUsual } from './warm-start.ts';

const OPTIONS: RunOptions = {
  ...{
    hypervisor: 'kvm',
    arch: 'amd64',
    memory: '256M',
    cpu: 'x86-64-v3',
    cpus: '1',
    schedule: 'fair',
    clock: 'host',
    exec: 'true',
  },
};
const usual = (more: Partial<RunOptions>) => isUsual(parseSettings({ ...OPTIONS, ...more }));

test('a kept guest serves its hypervisor, memory and number of processors, and what stands on the host alone', () => {
  const fine: Partial<RunOptions>[] = [
    {},
    { hypervisor: 'hyperv' },
    { hypervisor: 'xen-pv' },
    { memory: '1G', cpus: '4' },
    { flavour: 'amd64' },
  ];
  fine.push({ net: 'none' }, { net: 'user,host=loopback', forward: ['8080:80'] }, { timeout: '5' }, { json: 'x' });
  for (const options of fine) assert.ok(usual(options), JSON.stringify(options));
});

test('what a kept guest does not have, or whoever looks at the boot or counts instructions, starts cold', () => {
  const cold: Partial<RunOptions>[] = [{ cold: true }, { verbose: true }, { clock: 'virtual' }, { schedule: '7' }];
  cold.push({ disk: ['x.img'] }, { share: ['/'] }, { root: 'host' }, { kernel: 'x' }, { append: 'x' }, { trace: 'x' });
  cold.push(
    { gdb: '1' },
    { save: 'x' },
    { net: 'user,restrict' },
    { net: 'user,bus=virtio' },
    { net: 'switch=x' },
    { netDump: 'x' },
    { arch: 'i386' },
  );
  cold.push({ hypervisor: './acme.ts' }, { engine: 'interpreter' }, { entry: 'real' }, { commandLine: 'x' });
  for (const options of cold) assert.ok(!usual(options), JSON.stringify(options));
});
