import assert from 'node:assert/strict';
import { test } from 'node:test';
import { apicId, arrange, coreBits, type Topology, threadBits } from './topology.ts';

test('what is not said follows', () => {
  assert.deepEqual(arrange({ cpus: 4 }), { cpus: 4, sockets: 1, cores: 4, threads: 1 });
  assert.deepEqual(arrange({ cpus: 8, sockets: 2 }), { cpus: 8, sockets: 2, cores: 4, threads: 1 });
  assert.deepEqual(arrange({ cpus: 8, threads: 2 }), { cpus: 8, sockets: 1, cores: 4, threads: 2 });
  assert.deepEqual(arrange({ cpus: 8, cores: 2 }), { cpus: 8, sockets: 4, cores: 2, threads: 1 });
  assert.deepEqual(arrange({ sockets: 3, cores: 3, threads: 7 }), { cpus: 63, sockets: 3, cores: 3, threads: 7 });
});

test('what cannot be is said', () => {
  assert.equal(arrange({ cpus: 0 }), '0 is not a number from 1 to 64');
  assert.equal(arrange({ cpus: 4, threads: 0 }), 'threads=0 is not a number from 1 to 64');
  assert.equal(arrange({ cpus: Number.NaN }), 'NaN is not a number from 1 to 64');
  assert.equal(arrange({ sockets: 9, cores: 8 }), '72 are more than 64');
  assert.equal(arrange({ cpus: 4, sockets: 3 }), '4 cannot be 3 sockets');
  assert.equal(arrange({ cpus: 4, cores: 2, threads: 4 }), '4 cannot be 2 cores of 4 threads');
});

test('APIC ids have a field each for threads, cores and sockets', () => {
  const topology = arrange({ sockets: 2, cores: 3, threads: 2 }) as Topology;
  assert.deepEqual([threadBits(topology), coreBits(topology)], [1, 3]);
  assert.deepEqual(
    Array.from({ length: 12 }, (_, index) => apicId(topology, index)),
    [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13],
  );
});

test('ids are all different and below 255, however processors are arranged', () => {
  for (let sockets = 1; sockets <= 64; sockets++)
    for (let cores = 1; cores * sockets <= 64; cores++)
      for (let threads = 1; threads * cores * sockets <= 64; threads++) {
        const topology = { cpus: sockets * cores * threads, sockets, cores, threads };
        const ids = Array.from({ length: topology.cpus }, (_, index) => apicId(topology, index));
        assert.equal(new Set(ids).size, ids.length);
        assert.ok(Math.max(...ids) < 255, `${sockets} ${cores} ${threads}: ${Math.max(...ids)}`);
      }
});
