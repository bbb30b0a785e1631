/** Snapshots of real guests: written by one process, restored in another, which goes on to the instruction. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-snapshot-'));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);
const COMMAND = 'cat /proc/uptime /proc/interrupts; head -c 16 /dev/urandom | md5sum';

/** The counts in which a run that was not interrupted and one that was must agree. */
function countsOf(file: string) {
  const { exit, instructions, guestTime } = JSON.parse(readFileSync(at(file), 'utf8'));
  return { exit, instructions, guestTime };
}

// Where each is stopped: while the kernel starts, while it starts its first process, and while the command runs.
for (const [hypervisor, when, engine] of [
  ['xen-pv', '61234567', 'jit'],
  ['hyperv', '417000001', 'jit'],
  ['kvm', 'Run /init', 'interpreter'],
] as const)
  test(`${hypervisor}: saved at ${when} and restored by another process, it is the guest that it was`, async () => {
    const common = ['--clock', 'virtual', '--timeout', '150'];
    // A PC has a second serial port besides: what is sent after the restore is sent there, too.
    const isPc = hypervisor === 'kvm';
    const serial = (name: string) => (isPc ? ['--serial', at(name)] : []);
    const command = isPc ? `${COMMAND}; echo over the line >/dev/ttyS1` : COMMAND;
    const first = await polyvisor([
      ...['run', '-H', hypervisor, ...common, '--exec', command, '--verbose', '--json', at('first.json')],
      ...['--save', `${at('snapshot')}@${when}`, ...serial('first')],
    ]);
    assert.equal(first.status, 0, first.stderr);
    assert.match(first.stderr, /polyvisor: saved .*: [\d.]+ MiB, at instruction \d+/);
    const second = await polyvisor([
      ...['run', '--restore', at('snapshot'), ...common, '--engine', engine, '--json', at('second.json')],
      ...serial('second'),
    ]);
    assert.equal(second.status, 0, second.stderr);
    assert.deepEqual(countsOf('second.json'), countsOf('first.json'));
    for (const name of isPc ? ['first', 'second'] : [])
      assert.equal(readFileSync(at(name), 'latin1'), 'over the line\r\n', name);
    // Byte for byte, its output is what stands between the marks.
    assert.ok(second.stdout.includes(first.stdout) && first.stdout.length > 500, second.stdout);
  });

test('on a signal, of a guest that follows the host’s clock; where it was, its program goes on', async () => {
  const command = 'echo ready; sleep 4; echo gone';
  const first = await polyvisor(['run', '-H', 'kvm', '--save', at('asked'), '--timeout', '150', '--exec', command], {
    signal: { after: 'ready', name: 'SIGUSR2' },
  });
  assert.match(first.stderr, /polyvisor: saved/);
  const second = await polyvisor(['run', '--restore', at('asked'), '--timeout', '150']);
  assert.equal(second.status, 0, second.stderr);
  assert.match(second.stdout, /gone/);
  assert.doesNotMatch(second.stdout, /ready/);
});

test('what cannot be restored or saved is refused in a line, with its status', async () => {
  writeFileSync(at('text'), 'no snapshot\n');
  writeFileSync(at('short'), readFileSync(at('snapshot')));
  truncateSync(at('short'), 1_000_000);
  const refused = async (words: string[], status: number, reason: RegExp) => {
    const result = await polyvisor(['run', ...words]);
    assert.match(result.stderr, reason);
    assert.equal(result.status, status, result.stderr);
    assert.equal(result.stdout, '');
  };
  await refused(['--restore', at('nothing')], 66, /nothing: no such file/);
  await refused(['--restore', at('text')], 65, /cannot restore .*text: it is no snapshot of Polyvisor/);
  await refused(['--restore', at('short')], 65, /cannot restore .*short: it is cut short/);
  await refused(['--restore', at('snapshot'), '-H', 'bare'], 65, /hypervisor kvm, not bare/);
  await refused(['--restore', at('snapshot'), '--clock', 'host'], 65, /clock virtual, not host/);
  await refused(
    ['--restore', at('snapshot'), '--exec', 'true'],
    64,
    /the guest is the snapshot's, so --exec cannot be given/,
  );
  await refused(
    ['--save', join(folder, 'missing', 'file')],
    74,
    /--save .*missing\/file: the folder for it does not exist/,
  );
  await refused(['--save', '@5M'], 64, /the name of a file comes first/);
  assert.deepEqual(
    readdirSync(folder).filter(name => name.endsWith('.part')),
    [],
  );
  assert.ok(existsSync(at('snapshot')));
});
