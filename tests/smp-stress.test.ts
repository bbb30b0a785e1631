/**
 * By a flag alone, since it takes minutes: Debian's kernel on four processors, all of them busy with several programs, while each
 * that can be taken off goes and comes back twenty times. SMP_STRESS names the hypervisors (`kvm,bare`, or `all`), SMP_STRESS_SECONDS
 * how long the guest works, by its own clock (300).
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { hypervisors } from '../src/hypervisors/list.ts';
import { polyvisor } from './command.ts';
import { complaintsOf } from './smp-complaints.ts';

const CPUS = 4;
const ROUNDS = 20;
const SECONDS = Number(process.env.SMP_STRESS_SECONDS ?? 300);
/** What may pass on the host beyond the guest's time, in seconds: the boot, and the end of the programs. */
const ALLOWANCE = 150;
const CHOSEN = process.env.SMP_STRESS?.split(',') ?? [];
const names = hypervisors.filter(({ isRelative, name }) => !isRelative && name !== 'vmi').map(({ name }) => name);

const MEBIBYTE = 2 ** 20;
const LINES = 3000;
const md5 = (text: string | Uint8Array) => createHash('md5').update(text).digest('hex');
/** What the programs must print, whatever becomes of the processors that they are on. */
const EXPECTED = {
  pipes: `${md5(new Uint8Array(4 * MEBIBYTE))}  -`,
  sorts: `${md5(Array.from({ length: LINES }, (_, i) => `${LINES - i}\n`).join(''))}  -`,
};

/** Two of each program. A program looks at the time by itself: `read` is the shell's own. */
const COMMAND = `
mkdir -p /tmp
read up rest </proc/uptime
end=$((\${up%.*} + ${SECONDS}))
goes_on() { read up rest </proc/uptime; [ \${up%.*} -lt $end ]; }
spin() { while goes_on; do i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; done; }
pipes() { while goes_on; do dd if=/dev/zero bs=64k count=64 2>/dev/null | md5sum; done | uniq; }
sorts() { while goes_on; do seq 1 ${LINES} | sort -rn | md5sum; done | uniq; }
forks() { while goes_on; do for i in 1 2 3 4 5 6 7 8 9; do /bin/busybox true || echo failed; done; done; }
for job in 1 2; do
  for program in spin pipes sorts forks; do $program >/tmp/$program.$job & done
done
unplugged=0
for round in $(seq ${ROUNDS}); do
  for file in /sys/devices/system/cpu/cpu*/online; do
    echo 0 >$file && [ $(cat $file) = 0 ] || echo "$file in round $round: stays on"
    echo 1 >$file && [ $(cat $file) = 1 ] || echo "$file in round $round: stays off"
    unplugged=$((unplugged + 1))
  done
done
wait
echo "unplugged $unplugged"
for program in spin pipes sorts forks; do echo "$program:" $(cat /tmp/$program.* | uniq); done
echo "online $(nproc)"
dmesg`;

for (const name of names)
  test(`${name}: four processors under load, each off and on ${ROUNDS} times`, {
    skip: CHOSEN.includes(name) || CHOSEN.includes('all') ? false : 'SMP_STRESS does not name it; it takes minutes',
  }, async () => {
    const words = ['run', '--cold', '-H', name, '--cpus', `${CPUS}`, '--timeout', `${SECONDS + ALLOWANCE}`];
    const result = await polyvisor([...words, '--exec', COMMAND], { limit: SECONDS + 2 * ALLOWANCE });
    assert.equal(result.status, 0, result.stdout + result.stderr);
    const [report, ...messages] = result.stdout.split(/^(?=\[ +0\.0+\])/m);
    // The first processor has no such file: Linux keeps it.
    const expected = [
      `unplugged ${ROUNDS * (CPUS - 1)}`,
      'spin:',
      `pipes: ${EXPECTED.pipes}`,
      `sorts: ${EXPECTED.sorts}`,
      'forks:',
      `online ${CPUS}`,
    ];
    assert.deepEqual(report!.trimEnd().split('\n'), expected);
    assert.deepEqual(complaintsOf(messages.join('')), []);
  });
