/*
 * A second processor, started as Linux starts one: INIT, SetInitialAPState, and a start-up message whose vector says nothing then. It
 * looks at the state that it finds itself in, makes calls beside the first, and waits for its own alarm. At last it starts once more,
 * without a state: in real mode, as on bare hardware.
 */
#include "guest.h"

#define ICR_LOW 0x300
#define ICR_HIGH 0x310
#define APIC_ID 0x20
#define APIC_SPURIOUS 0xf0
#define APIC_LVTT 0x320
#define INIT 0xc500
#define INIT_DEASSERT 0x8500
#define STARTUP 0x4600
#define SECOND 1
#define GDT_ENTRIES 32
#define UPDATES 500

static u64 second_gdt[GDT_ENTRIES];
static u8 stack[8192] __attribute__((aligned(16)));
static pte_t tables[2][ENTRIES] __attribute__((aligned(4096)));

enum stage { NONE, ENTERED, READY, BOTH, UPDATED, RUNG };
static volatile u32 stage;
static volatile struct { u32 registers, segments, control, table, apic, updates, ticks; } right;

static void set_entry(pte_t *entry, pte_t value) {
#ifdef PAE
  vmi_stack(VMI_SetPxELong, (u32)value, value >> 32, (u32)entry, PAGE_PT, 0);
#else
  vmi(VMI_SetPxE, value, (u32)entry, PAGE_PT);
#endif
}

/* Batches of updates of one's own table, each in a lazy mode of one's own. @returns how many went wrong */
static u32 update(pte_t *table) {
  u32 wrong = 0;
  for (u32 i = 0; i < UPDATES; i++) {
    vmi(VMI_SetLazyMode, 1, 0, 0);
    set_entry(&table[i % 64], (i << 12) | 2);
    set_entry(&table[i % 64 + 64], (i << 12) | 6);
    vmi(VMI_SetLazyMode, 0, 0, 0);
    wrong += table[i % 64] != ((i << 12) | 2) || table[i % 64 + 64] != ((i << 12) | 6);
  }
  return wrong;
}

static void wait_for(u32 expected) {
  while (stage < expected) asm volatile("pause");
}

static u32 code_selector(void) { u32 value; asm("mov %%cs, %0" : "=r"(value)); return value; }
static u32 stack_selector(void) { u32 value; asm("mov %%ss, %0" : "=r"(value)); return value; }
static u32 data_selector(void) { u32 value; asm("mov %%ds, %0" : "=r"(value)); return value; }
static u32 own_selector(void) { u32 value; asm("mov %%fs, %0" : "=r"(value)); return value; }

/* Where the second processor starts, with registers that name themselves. */
static void __attribute__((used, noreturn)) second(const u32 *registers) {
  stage = ENTERED;
  static const u32 expected[] = {0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107};
  u32 same = 1;
  for (u32 i = 0; i < ARRAY(expected); i++) same &= registers[i] == expected[i];
  right.registers = same && !(registers[7] & FLAG_IF);
  right.segments = code_selector() == KERNEL_CS && stack_selector() == KERNEL_DS && data_selector() == USER_DS && own_selector() == PER_CPU;
  right.control = (u32)vmi(VMI_GetCR0, 0, 0, 0) == 0x80050023 && (u32)vmi(VMI_GetCR2, 0, 0, 0) == 0x5000;
  struct { u16 limit; u32 base; } __attribute__((packed)) pointer;
  vmi(VMI_GetGDT, (u32)&pointer, 0, 0);
  right.table = pointer.base == (u32)second_gdt && pointer.limit == sizeof second_gdt - 1;
  right.apic = vmi(VMI_APICRead, APIC_ID, 0, 0) >> 24 == SECOND;
  vmi_stack(VMI_SetLinearMapping, 0, VIRTUAL_BASE, 0x30000, 0, 0);
  stage = READY;
  wait_for(BOTH);
  right.updates = update(tables[1]) == 0;
  stage = UPDATED;

  vmi(VMI_APICWrite, APIC_SPURIOUS, 0x1ff, 0);
  u32 before = ticks[1];
  u64 at = vmi(VMI_GetCycleCounter, CYCLES_REAL, 0, 0) + (u32)vmi(VMI_GetCycleFrequency, 0, 0, 0) / 1000;
  vmi_stack(VMI_SetAlarm, ALARM_LVTT, (u32)at, at >> 32, 0, 0);
  vmi(VMI_APICWrite, APIC_LVTT, VECTOR_LVTT, 0);
  vmi(VMI_Halt, 0, 0, 0);
  right.ticks = ticks[1] == before + 1 && vmi(VMI_GetCycleCounter, CYCLES_REAL, 0, 0) >= at;
  stage = RUNG;
  for (;;) asm volatile("cli; hlt");
}

asm(".text\n"
    "second_entry:\n"
    "pushf; push %ebp; push %edi; push %esi; push %edx; push %ecx; push %ebx; push %eax\n"
    "mov %esp, %eax\n"
    "push $0\n"
    "jmp second\n");
extern u8 second_entry[];

static void send(u32 command) {
  vmi(VMI_APICWrite, ICR_HIGH, SECOND << 24, 0);
  vmi(VMI_APICWrite, ICR_LOW, command, 0);
}

/* Waits until `word` is at least `expected`, for seconds of the guest's. @returns whether it came to that */
static int comes(volatile u32 *word, u32 expected) {
  u64 end = vmi(VMI_GetCycleCounter, CYCLES_REAL, 0, 0) + 5 * vmi(VMI_GetCycleFrequency, 0, 0, 0);
  while (*word < expected)
    if (vmi(VMI_GetCycleCounter, CYCLES_REAL, 0, 0) > end) return 0;
  return 1;
}

void check_second(void) {
  for (u32 i = 0; i < GDT_ENTRIES; i++) second_gdt[i] = gdt[i];
  struct vmi_ap_state state = ap_state();
  state.eip = (u32)second_entry;
  state.esp = (u32)(stack + sizeof stack);
  state.gdtr_base = (u32)second_gdt;
  state.idtr_base = interrupt_table();
  state.cr2 = 0x5000;
  state.eax = 0x101, state.ebx = 0x102, state.ecx = 0x103, state.edx = 0x104;
  state.esi = 0x105, state.edi = 0x106, state.ebp = 0x107;
  send(INIT);
  send(INIT_DEASSERT);
  vmi(VMI_SetInitialAPState, (u32)&state, SECOND, 0);
  /* What it is started in was copied. */
  state.eip = state.esp = state.cr3 = 0;
  check("no processor starts before it is told to", stage == NONE);
  send(STARTUP | 0x99);
  check("it starts in its state, whatever the vector", comes(&stage, READY));
  send(STARTUP | 0x99);
  check("its registers", right.registers);
  check("its segments", right.segments);
  check("its control registers", right.control);
  check("its descriptor table", right.table);
  check("its APIC", right.apic);
  stage = BOTH;
  u32 wrong = update(tables[0]);
  check("its updates of page tables", comes(&stage, UPDATED) && right.updates);
  check("and those of the first beside it", wrong == 0);
  check("its alarm", comes(&stage, RUNG) && right.ticks);

  /* mov $0x55aa, %ax; mov %ax, %cs:0x100; cli; hlt */
  static const u8 code[] = {0xb8, 0xaa, 0x55, 0x2e, 0xa3, 0x00, 0x01, 0xfa, 0xf4};
  u8 *page = (u8 *)VIRTUAL_BASE + 0x8000;
  for (u32 i = 0; i < ARRAY(code); i++) page[i] = code[i];
  volatile u32 *mark = (u32 *)(page + 0x100);
  *mark = 0;
  send(INIT);
  send(INIT_DEASSERT);
  send(STARTUP | 0x8);
  check("without a state it starts in real mode", comes(mark, 1) && *mark == 0x55aa);
}
