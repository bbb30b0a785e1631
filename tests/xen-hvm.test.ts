/** Debian's kernel as an HVM guest of Xen's: the PC's disk and network card make way for Xen's, or stay if it is told to keep them. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { polyvisor } from './command.ts';

const MARK = 'what the disk begins with';
let folder: string;
let disk: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'polyvisor-hvm-'));
  disk = join(folder, 'disk');
  const content = Buffer.alloc(1 << 20);
  content.write(MARK);
  writeFileSync(disk, content);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Guest time counts instructions: how busy the host is does not matter to two processors that wait for each other. */
async function boot(append: string, commands: string): Promise<string> {
  const words = ['run', '-H', 'xen-hvm', '--cpus', '2', '--clock', 'virtual', '--disk', `${disk},ro`];
  const more = append ? ['--append', append] : [];
  const { status, stdout, stderr } = await polyvisor([...words, ...more, '--timeout', '300', '--exec', commands], {
    limit: 360,
  });
  assert.equal(status, 0, stderr + stdout);
  return stdout;
}

test('Xen’s own devices take the place of those that it has unplugged, on two processors', async () => {
  const shown = await boot(
    '',
    `nproc; cat /sys/devices/system/clocksource/clocksource0/current_clocksource /sys/hypervisor/guest_type
head -c ${MARK.length} /dev/xvda; echo; ls /sys/class/block; ls /sys/class/net; readlink /sys/class/net/eth0/device/driver
ifconfig eth0 | grep 'inet addr'
i=0; while [ $i -lt 50 ]; do /bin/busybox true || exit; i=$((i + 1)); done; echo forked
dmesg; grep -E 'timer1|resched1|callfuncsingle1' /proc/interrupts`,
  );
  const lines = shown.split('\n');
  assert.deepEqual(lines.slice(0, 4), ['2', 'xen', 'HVM', MARK]);
  assert.match(shown, /^xvda$/m);
  assert.doesNotMatch(shown, /^(vda|eth1)$/m);
  assert.match(shown, /^\S*\/vif$/m);
  assert.match(shown, /inet addr:10\.0\.2\.15/);
  assert.match(shown, /^forked$/m);
  for (const line of [
    /Hypervisor detected: Xen HVM/,
    /Xen version 4\.17/,
    /unplug emulated NICs/,
    /Booting (paravirtualized )?kernel on Xen HVM/,
    /callback vector for event delivery is enabled/,
  ])
    assert.match(shown, line);
  assert.doesNotMatch(shown, /warning|bug:|oops|unchecked MSR|call trace|soft lockup|probe of \S+ failed/i);
  const interrupts = lines.filter(line => /(timer|resched|callfuncsingle)1$/.test(line.trim()));
  assert.equal(interrupts.length, 3, shown);
  for (const line of interrupts) assert.ok(Number(line.trim().split(/\s+/)[2]) > 0, line);
});

test('with xen_emul_unplug=never the PC’s devices stay, and Xen’s are left alone', async () => {
  const shown = await boot(
    'xen_emul_unplug=never',
    `head -c ${MARK.length} /dev/vda; echo; ls /sys/class/block; readlink /sys/class/net/eth0/device/driver; dmesg | grep 'Hypervisor detected'`,
  );
  assert.equal(shown.split('\n')[0], MARK);
  assert.doesNotMatch(shown, /^xvda$/m);
  assert.match(shown, /virtio_net$/m);
  assert.match(shown, /Hypervisor detected: Xen HVM/);
});
