import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../../conformance/random.ts';
import { PTE_P, PTE_RW, PTE_US } from '../../x86/paging.ts';
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_set_callbacks,
  __HYPERVISOR_set_gdt,
  __HYPERVISOR_set_timer_op,
  __HYPERVISOR_set_trap_table,
  __HYPERVISOR_update_va_mapping,
  DOMID_SELF,
  VIRQ_TIMER,
} from '../xen/constants.ts';
import { XENMEM_decrease_reservation, XENMEM_populate_physmap } from '../xen/hypercalls/memory-op.ts';
import { ARGUMENTS, createFakeGuest, type FakeGuest, FREE, VIRTUAL_BASE } from './fake-guest.ts';

const HANDLER = VIRTUAL_BASE + 0x1000n;
const EVTCHNOP_bind_virq = 1;
const MMUEXT_PIN_L1_TABLE = 0;
const MMUEXT_UNPIN_TABLE = 4;
const MMUEXT_SET_LDT = 13;

/** Handlers, descriptor tables, page tables, a balloon, a timer. */
function begin(g: FakeGuest): void {
  assert.equal(g.call(__HYPERVISOR_set_callbacks, HANDLER, HANDLER + 16n, HANDLER + 32n), 0);
  g.words((0xe033n << 16n) | 14n, HANDLER + 64n, 0, 0);
  assert.equal(g.call(__HYPERVISOR_set_trap_table, ARGUMENTS), 0);
  assert.equal(g.call(__HYPERVISOR_set_gdt, g.words(FREE), 16), 0);
  assert.equal(g.extended(MMUEXT_SET_LDT, VIRTUAL_BASE + 0x100000n, 4), 0);
  assert.equal(g.extended(MMUEXT_PIN_L1_TABLE, FREE + 1), 0);
  g.words(ARGUMENTS + 0x100n, 2, 0, DOMID_SELF);
  g.cpu.memory.write64(0x20100, BigInt(FREE + 2));
  g.cpu.memory.write64(0x20108, BigInt(FREE + 3));
  assert.equal(g.call(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, ARGUMENTS), 2);
  assert.equal(g.call(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, g.words(VIRQ_TIMER)), 0);
  assert.equal(g.call(__HYPERVISOR_set_timer_op, 5000), 0);
}

test('a PV domain that was saved and restored goes on as the other one does', async () => {
  const original = await createFakeGuest();
  begin(original);
  const tree = original.cpu.states.save();
  const restored = await createFakeGuest();
  assert.notDeepEqual(restored.cpu.states.save(), tree, 'there is something to restore');
  restored.cpu.restore(original.cpu, tree);
  restored.pv.attach();

  /** Does the same to both. */
  const both = <T>(step: (g: FakeGuest) => T): T => {
    const [one, other] = [step(original), step(restored)];
    assert.deepEqual(other, one);
    return one;
  };
  both(g => g.cpu.clock.advance(5000));
  assert.equal(
    both(g => g.pending()),
    false,
    'upcalls are masked',
  );
  both(g => (g.v.vcpu.upcallMask = false));
  assert.equal(
    both(g => g.deliver()),
    true,
    'the timer fires in both',
  );
  assert.equal(
    both(g => g.cpu.get('rip')),
    HANDLER,
  );
  both(g => (g.v.vcpu.upcallMask = true));
  both(g => g.exception({ vector: 14, code: 0, address: 0x1234n }));
  assert.equal(
    both(g => g.cpu.get('rip')),
    HANDLER + 64n,
  );
  assert.equal(
    both(g => g.extended(MMUEXT_UNPIN_TABLE, FREE + 1)),
    0,
  );
  assert.equal(
    both(g => g.call(__HYPERVISOR_update_va_mapping, VIRTUAL_BASE + 0x300000n, (BigInt(FREE) << 12n) | 3n, 0)),
    -16,
    'the GDT is no page to write to',
  );
  both(g => g.words(ARGUMENTS + 0x100n, 1, 0, DOMID_SELF));
  assert.equal(
    both(g => g.call(__HYPERVISOR_memory_op, XENMEM_populate_physmap, ARGUMENTS)),
    1,
  );

  // And whatever else comes.
  const random = createRandom(0x72657374n);
  const frame = () => FREE + random.below(8);
  let accepted = 0;
  for (let round = 0; round < 400; round++) {
    const [table, index, target, command] = [frame(), random.below(512), frame(), random.below(6)];
    const entry = BigInt(target * 4096 + (random.of([0, PTE_P, PTE_P | PTE_RW]) | PTE_US));
    const result = both(g => {
      if (command < 2) return g.update(table, index, entry);
      if (command < 4) return g.extended(MMUEXT_PIN_L1_TABLE + command - 2, table);
      if (command < 5) return g.extended(MMUEXT_UNPIN_TABLE, table);
      return g.call(__HYPERVISOR_update_va_mapping, VIRTUAL_BASE + BigInt(0x200000 + index * 4096), entry, 0);
    });
    if (result === 0) accepted++;
  }
  assert.ok(accepted > 50 && accepted < 390, `${accepted} of 400 accepted`);
  assert.deepEqual(restored.cpu.states.save(), original.cpu.states.save());
  assert.deepEqual(restored.cpu.save(), original.cpu.save());
  assert.equal(Buffer.compare(restored.cpu.memory.bytes, original.cpu.memory.bytes), 0);
});
