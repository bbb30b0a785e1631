/**
 * Disks under every hypervisor: what the guest synced is in the host's file, even if the process is killed the next moment; and
 * a second disk, which is read only, on which the guest finds what the host has put there. Their ext4 is made by the host, so both
 * sides look at the same file systems.
 *
 * The guest writes records, each a file that it syncs before it says its number, beside a stream of writes that it does not sync. It
 * is killed at a random moment of that. Once a hypervisor in npm test; POLYVISOR_KILLS=10 npm test -- tests/disk.test for more.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { hypervisors } from '../src/hypervisors/list.ts';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-disk-'));
after(() => rmSync(folder, { recursive: true }));

const MEBIBYTE = 2 ** 20;
const LENGTH = 16 * MEBIBYTE;
/** Of a record: its number on lines, cut at so many bytes. */
const RECORD = 16384;
const KILLS = Number(process.env.POLYVISOR_KILLS ?? 1);
/** The longest time (ms) between the first record and the kill. */
const LONGEST = 3000;
const LINE = 'written in the guest\n';
const content = Buffer.from(LINE.repeat(Math.ceil(LENGTH / LINE.length)).slice(0, LENGTH));
const digest = createHash('md5').update(content).digest('hex');

/** e2fsprogs stands in a folder that only root has in its path. */
const env = { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` };
const missing = spawnSync('mkfs.ext4', ['-V'], { env }).error
  ? 'mkfs.ext4 (Debian: e2fsprogs) is not installed'
  : false;

/**
 * The disks have other names under every interface, and Linux names SCSI disks in the order in which its probes of them happen
 * to end: they are told apart by their sizes, in sectors.
 */
const SECTORS = { own: (128 * MEBIBYTE) / 512, hosts: (32 * MEBIBYTE) / 512 };
const mount = [
  'of() { for disk in /sys/block/*; do [ $(cat $disk/size) = $1 ] && basename $disk; done; }',
  `mount -t ext4 /dev/$(of ${SECTORS.own}) /mnt || exit 9`,
].join('; ');
/** Looks at the second one, and says what is found. */
const readBack = [
  `second=$(of ${SECTORS.hosts}); mkdir /host; mount -t ext4 -o ro,noload /dev/$second /host || exit 10`,
  'cat /sys/block/$second/ro; md5sum </host/file',
].join('; ');

/** What the host has written: the same for all. */
const hosts = join(folder, 'hosts.img');
if (!missing) {
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'file'), content);
  writeFileSync(hosts, '');
  truncateSync(hosts, 512 * SECTORS.hosts);
  execFileSync('mkfs.ext4', ['-q', '-F', '-d', tree, hosts], { env });
}

/** Each hypervisor with the disks that its guests know best; where more is asked for, with those that they know, too. */
const DISKS = [
  ...hypervisors.filter(({ isRelative }) => !isRelative).map(({ name }) => ({ name, word: '' })),
  ...(KILLS > 1 ? ['hyperv', 'vmware'].map(name => ({ name, word: ',bus=virtio' })) : []),
];

for (const { name, word } of DISKS)
  describe(`a disk under ${name}${word}`, { skip: missing }, () => {
    const image = join(folder, `${name}${word.slice(1)}.img`);
    writeFileSync(image, '');
    truncateSync(image, 512 * SECTORS.own);
    if (!missing) execFileSync('mkfs.ext4', ['-q', '-F', image], { env });

    const seen = new Set<number>();
    for (let kill = 0; kill < KILLS; kill++)
      test(`what was synced survives kill -9, ${kill + 1} of ${KILLS}`, { timeout: 400_000 }, async () => {
        const file = `yes '${LINE.trim()}' | head -c ${LENGTH} >/mnt/file && sync && echo synced`;
        const noise = 'while :; do dd if=/dev/zero of=/mnt/noise bs=64k count=64; done 2>/dev/null &';
        const record = `yes $n | head -c ${RECORD} | dd of=/mnt/r$n bs=${RECORD} conv=fsync 2>/tmp/said && echo $n`;
        const refused = '{ cat /tmp/said; df /mnt; dmesg | tail -n 20; } >&2; exit 8';
        const records = `n=${Math.max(0, ...seen)}; while n=$((n + 1)); do ${record} || { ${refused}; }; done`;
        let told = '';
        const result = await polyvisor(
          [
            ...['run', '-H', name, '--disk', `${image}${word}`, '--disk', `${hosts},ro${word}`, '--timeout', '240'],
            ...['--exec', `${mount}; ${readBack}; ${kill === 0 ? file : 'echo synced'}; ${noise} ${records}`],
          ],
          {
            limit: 300,
            onOutput: text => void (told += text),
            // The first time, not before there is a record.
            signal: { after: kill === 0 ? 'synced\n1' : 'synced', name: 'SIGKILL', delay: Math.random() * LONGEST },
          },
        );
        assert.equal(result.status, 137, result.stderr);
        assert.ok(!result.expired);
        // A number that was cut off by the kill may be another's beginning.
        const [readOnly, sum, synced, ...lines] = told.slice(0, told.lastIndexOf('\n')).split('\n');
        assert.deepEqual([readOnly, sum, synced], ['1', `${digest}  -`, 'synced'], 'what the host has written');
        for (const line of lines) seen.add(Number(line));
        if (kill === 0) assert.ok(seen.size > 0, 'the guest has synced records');
        // The file system was left in the middle of things: its journal is replayed first, as a mount would.
        assert.ok(
          (spawnSync('e2fsck', ['-f', '-p', image], { env }).status ?? 8) <= 1,
          'e2fsck finds nothing it cannot mend',
        );
        const out = `${image}.out`;
        rmSync(out, { recursive: true, force: true });
        mkdirSync(out);
        execFileSync('debugfs', ['-R', `rdump / ${out}`, image], { env, stdio: 'pipe' });
        assert.equal(Buffer.compare(readFileSync(join(out, 'file')), content), 0, 'the host finds the same bytes');
        for (const number of seen) {
          const expected = `${number}\n`.repeat(Math.ceil(RECORD / `${number}\n`.length)).slice(0, RECORD);
          assert.equal(readFileSync(join(out, `r${number}`), 'latin1'), expected, `record ${number} of ${seen.size}`);
        }
        if (kill === KILLS - 1)
          console.log(`${name}${word}: ${KILLS} kills, all of ${seen.size} synced records are there`);
      });
  });
