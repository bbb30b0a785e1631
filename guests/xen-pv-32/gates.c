/* Call gates, which a 32-bit guest's processor does not have in compatibility mode: Xen passes them (xen/arch/x86/pv/emul-gate-op.c). */
#include "guest.h"

#define INDEX 10
#define GATE (INDEX * 8)
#define REACHED 0x100 /* what `guarded` gives where a gate has led to gate_entry */
#define PRESENT 0x8c00u
#define DPL(n) ((n) << 13)

extern u8 gate_entry[], gate_return[], after_gate_call[], after_gate_memory[], after_user_gate[], user_gate[], user_gate_jump[];
void do_gate_call(u32), do_gate_jump(u32), do_gate_memory(u32);
extern u32 gate_cs, gate_ss, gate_stack, gate_words[6];

static u32 descriptor;
static long set_gate(u32 selector, const u8 *entry, u32 attributes) {
  u32 address = (u32)entry;
  return hypercall(HYPERVISOR_update_descriptor, descriptor, 0, selector << 16 | (address & 0xffff),
                   (address & 0xffff0000) | attributes, 0);
}

static u32 user_address;
static void go(u32 unused) { enter(user_address, FLAT_RING3_CS, EFLAGS_IF | 2, (u32)user_stack_top, FLAT_RING3_DS); }
static u32 user(u8 *address) {
  user_address = (u32)address;
  return guarded(go, 0);
}

/* Where a gate has led, and the first words on its stack. */
static void reached(const char *what, u32 eip, u32 cs) {
  expect(what, gate_cs & 0xffff, FLAT_RING1_CS);
  expect(what, gate_ss & 0xffff, FLAT_RING1_DS);
  expect(what, gate_words[0], eip);
  expect(what, gate_words[1], cs);
}

/* With the GDT page `gdt` in use, whose machine address is given. */
void check_gates(u64 *gdt, u32 machine) {
  descriptor = machine + GATE;
  expect("stack_switch", hypercall(HYPERVISOR_stack_switch, FLAT_RING1_DS, trap_stack_top, 0, 0, 0), 0);

  expect("a gate for ring 3", set_gate(FLAT_RING1_CS, gate_entry, PRESENT | DPL(3) | 2), 0);
  expect("a gate in the table: DPL 0", (gdt[INDEX] >> 45) & 3, 0);
  expect("a gate in the table: DPL 3 is kept", (gdt[INDEX] >> 16) & 3, 3);
  expect("a call from ring 3", user(user_gate), REACHED);
  reached("a call from ring 3", (u32)after_user_gate, FLAT_RING3_CS);
  expect("its last parameter", gate_words[2], 0x2222);
  expect("its first parameter", gate_words[3], 0x1111);
  expect("its ESP", gate_words[4], (u32)user_stack_top - 8);
  expect("its SS", gate_words[5], FLAT_RING3_DS);
  expect("its stack", gate_stack, (u32)trap_stack_top - 6 * 4);
  expect("a jump from ring 3 to ring 1", user(user_gate_jump), TRAP_GP);
  expect("its error code", frame.code, FLAT_RING1_CS & ~3);
  expect("its EIP", frame.eip, (u32)user_gate_jump);

  expect("a gate for ring 1", set_gate(FLAT_RING1_CS, gate_entry, PRESENT | DPL(1)), 0);
  expect("a call from ring 3 to a gate for ring 1", user(user_gate), TRAP_GP);
  expect("its error code", frame.code, GATE);
  expect("a call within ring 1", guarded(do_gate_call, 0), REACHED);
  reached("a call within ring 1", (u32)after_gate_call, FLAT_RING1_CS);
  expect("a jump within ring 1", guarded(do_gate_jump, 0), REACHED);
  expect("its CS", gate_cs & 0xffff, FLAT_RING1_CS);
  expect("a call by a pointer in memory", guarded(do_gate_memory, 0), REACHED);
  reached("a call by a pointer in memory", (u32)after_gate_memory, FLAT_RING1_CS);
  expect("a gate to a far return", set_gate(FLAT_RING1_CS, gate_return, PRESENT | DPL(1)), 0);
  expect("a call and its return", guarded(do_gate_call, 0), -1);

  expect("a gate that is not present", set_gate(FLAT_RING1_CS, gate_entry, (PRESENT & ~0x8000u) | DPL(1)), 0);
  expect("a call through it", guarded(do_gate_call, 0), TRAP_NP);
  expect("its error code", frame.code, GATE);
  expect("a gate to data", set_gate(3 * 8, gate_entry, PRESENT | DPL(1)), 0);
  expect("a call through it", guarded(do_gate_call, 0), TRAP_GP);
  expect("its error code", frame.code, 3 * 8);
  expect("a gate to nothing", set_gate(20 * 8, gate_entry, PRESENT | DPL(1)), 0);
  expect("a call through it", guarded(do_gate_call, 0), TRAP_GP);
  expect("its error code", frame.code, 20 * 8);
  expect("a gate to Xen's code", set_gate(0xe008, gate_entry, PRESENT | DPL(3)), -EINVAL);
  expect("a gate of 16 bits", set_gate(FLAT_RING1_CS, gate_entry, 0x8400 | DPL(1)), -EINVAL);
}
