/* Control and debug registers, model-specific ones, flags, and the descriptor tables. */
#include "guest.h"

static u32 tss[26];
static u64 ldt[4];

struct pointer {
  u16 limit;
  u32 base;
} __attribute__((packed));

static int site_is_patched(u32 operation, u8 opcode) {
  for (struct site *site = parainstructions; site < parainstructions_end; site++)
    if (site->operation == operation && *(u8 *)site->address != opcode) return 0;
  return 1;
}

static void check_flags(void) {
  check("sites of the interrupt flag are calls", site_is_patched(SITE_SAVE_FLAGS, 0xe8) &&
        site_is_patched(SITE_RESTORE_FLAGS, 0xe8) && site_is_patched(SITE_DISABLE, 0xe8) &&
        site_is_patched(SITE_ENABLE, 0xe8));
  disable();
  check("DisableInterrupts", !(save_flags() & FLAG_IF));
  u32 off = save_flags();
  enable();
  check("EnableInterrupts", (save_flags() & FLAG_IF) != 0);
  restore_flags(off);
  check("SetInterruptMask", !(save_flags() & FLAG_IF));
  /* These keep all registers: the kernel saves none around them. */
  static const u8 numbers[] = {VMI_EnableInterrupts, VMI_DisableInterrupts, VMI_SetInterruptMask, VMI_GetInterruptMask};
  int kept = 1;
  for (u32 i = 0; i < ARRAY(numbers); i++) {
    struct registers r = {off, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56};
    u32 stack[4] = {0};
    call_with(&r, function(numbers[i]), stack);
    kept &= r.eax == off && r.ecx == 0x51 && r.edx == 0x52 && r.ebx == 0x53;
  }
  check("and they keep registers", kept);
  vmi(VMI_SetIOPLMask, 3 << 12, 0, 0);
  u32 iopl = save_flags();
  vmi(VMI_SetIOPLMask, 0, 0, 0);
  check("SetIOPLMask", (iopl & 3 << 12) == 3 << 12 && !(save_flags() & 3 << 12));
}

void check_processor(void) {
  struct registers r = {0};
  u32 stack[4] = {0};
  call_with(&r, function(VMI_CPUID), stack);
  u32 a = 0, b, c = 0, d;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  check("CPUID", r.eax == a && r.ebx == b && r.ecx == c && r.edx == d);

  u32 cr0, cr3, cr4;
  asm volatile("mov %%cr0, %0\nmov %%cr3, %1\nmov %%cr4, %2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));
  check("GetCR0, GetCR3, GetCR4", (u32)vmi(VMI_GetCR0, 0, 0, 0) == cr0 && (u32)vmi(VMI_GetCR3, 0, 0, 0) == cr3 &&
        (u32)vmi(VMI_GetCR4, 0, 0, 0) == cr4);
  vmi(VMI_SetCR0, cr0 | 8, 0, 0);
  int switched = ((u32)vmi(VMI_GetCR0, 0, 0, 0) & 8) != 0;
  vmi(VMI_CLTS, 0, 0, 0);
  check("SetCR0, CLTS", switched && (u32)vmi(VMI_GetCR0, 0, 0, 0) == cr0);
  vmi(VMI_SetCR2, 0x1234567, 0, 0);
  check("SetCR2, GetCR2", (u32)vmi(VMI_GetCR2, 0, 0, 0) == 0x1234567);
  vmi(VMI_SetCR4, cr4 & ~0x80, 0, 0);
  switched = (u32)vmi(VMI_GetCR4, 0, 0, 0) == (cr4 & ~0x80);
  vmi(VMI_SetCR4, cr4, 0, 0);
  check("SetCR4", switched && (u32)vmi(VMI_GetCR4, 0, 0, 0) == cr4);

  static const u8 debug[] = {0, 1, 2, 3};
  int same = 1;
  for (u32 i = 0; i < ARRAY(debug); i++) vmi(VMI_SetDR, debug[i], 0x1000 * (i + 1), 0);
  for (u32 i = 0; i < ARRAY(debug); i++) same &= (u32)vmi(VMI_GetDR, debug[i], 0, 0) == 0x1000 * (i + 1);
  vmi(VMI_SetDR, 7, 0x400, 0);
  check("SetDR, GetDR", same && (u32)vmi(VMI_GetDR, 7, 0, 0) == 0x400);

  vmi(VMI_WRMSR, 0, 0, 0x174); /* SYSENTER's: written again for user mode */
  struct registers msr = {0x60, 0x174, 0, 0, 0, 0, 0};
  call_with(&msr, function(VMI_WRMSR), stack);
  msr.eax = 0;
  call_with(&msr, function(VMI_RDMSR), stack);
  check("WRMSR, RDMSR", msr.eax == 0x60 && msr.edx == 0);
  u64 before = vmi(VMI_RDTSC, 0, 0, 0), after = vmi(VMI_RDTSC, 0, 0, 0);
  check("RDTSC", after > before);
  vmi(VMI_WBINVD, 0, 0, 0);
  check("VMCALL is nobody's but the ROM's", vmcall_faults());
  check_flags();
}

void check_descriptors(void) {
  struct pointer pointer = {0}, expected = {32 * 8 - 1, (u32)gdt}, idt = {0};
  vmi(VMI_SetGDT, (u32)&expected, 0, 0);
  vmi(VMI_GetGDT, (u32)&pointer, 0, 0);
  check("SetGDT, GetGDT", pointer.limit == expected.limit && pointer.base == expected.base);
  vmi(VMI_GetIDT, (u32)&idt, 0, 0);
  vmi(VMI_SetIDT, (u32)&idt, 0, 0);
  vmi(VMI_GetIDT, (u32)&pointer, 0, 0);
  check("SetIDT, GetIDT", pointer.limit == 0x7ff && pointer.base == idt.base);

  /* A task state segment with the stack for traps, and a local descriptor table. */
  tss[1] = (u32)trap_stack_top;
  tss[2] = KERNEL_DS;
  tss[25] = sizeof tss << 16;
  u32 base = (u32)tss;
  vmi_stack(VMI_WriteGDTEntry, (u32)gdt, TSS / 8, base << 16 | (sizeof tss - 1),
            (base & 0xff000000) | 0x8900 | (base >> 16 & 0xff), 0);
  vmi(VMI_SetTR, TSS, 0, 0);
  check("WriteGDTEntry, SetTR, GetTR", ((u32)vmi(VMI_GetTR, 0, 0, 0) & 0xffff) == TSS);
  vmi(VMI_UpdateKernelStack, KERNEL_DS, tss[1], 0);
  base = (u32)ldt;
  vmi_stack(VMI_WriteGDTEntry, (u32)gdt, LDT / 8, base << 16 | (sizeof ldt - 1),
            (base & 0xff000000) | 0x8200 | (base >> 16 & 0xff), 0);
  vmi_stack(VMI_WriteLDTEntry, (u32)ldt, 1, 0x0000ffff, 0x00cff300, 0);
  vmi(VMI_SetLDT, LDT, 0, 0);
  u32 selector = 0xf;
  asm volatile("mov %0, %%gs\nmov %%gs, %0\nmov %1, %%gs" : "+r"(selector) : "r"(0));
  check("WriteLDTEntry, SetLDT, GetLDT", selector == 0xf && ((u32)vmi(VMI_GetLDT, 0, 0, 0) & 0xffff) == LDT);
  vmi(VMI_SetLDT, 0, 0, 0);
  check("SetLDT of none", ((u32)vmi(VMI_GetLDT, 0, 0, 0) & 0xffff) == 0);

  u64 entry = gate(0x50, 0);
  vmi_stack(VMI_WriteIDTEntry, idt.base, VECTOR_SYSTEM_CALL, (u32)entry, entry >> 32, 0);
  entry = gate(VECTOR_SYSTEM_CALL, 3);
  int other = ((u64 *)idt.base)[VECTOR_SYSTEM_CALL] == gate(0x50, 0);
  vmi_stack(VMI_WriteIDTEntry, idt.base, VECTOR_SYSTEM_CALL, (u32)entry, entry >> 32, 0);
  u32 result = 41, count = system_calls;
  asm volatile("int $0x80" : "+a"(result));
  check("WriteIDTEntry, and a gate", other && result == 42 && system_calls == count + 1);
}

void check_ports(void) {
  /* The serial port's scratch register, and the PCI host bridge's ids. */
  vmi(VMI_OUTB, 0x5a, 0x3ff, 0);
  check("OUTB, INB", (u32)vmi(VMI_INB, 0, 0x3ff, 0) == 0x5a);
  vmi(VMI_OUTL, 0x80000000, 0xcf8, 0);
  u32 ids = vmi(VMI_INL, 0, 0xcfc, 0);
  check("OUTL, INL", (ids & 0xffff) == 0x8086 && (u32)vmi(VMI_INL, 0, 0xcf8, 0) == 0x80000000);
  check("INW", (u32)vmi(VMI_INW, 0, 0xcfc, 0) == 0x8086);
  vmi(VMI_OUTW, 0, 0x80, 0);
  u32 stack[4] = {0}, words[2] = {0}, out_words[1] = {0x80000000};
  struct registers r = {0, 2, 0xcfc, 0, 0, (u32)words, 0};
  call_with(&r, function(VMI_INSL), stack);
  check("INSL", words[0] == ids && words[1] == ids && r.edi == (u32)(words + 2) && r.ecx == 0);
  r = (struct registers){0, 3, 0xcfc, 0, 0, (u32)words, 0};
  words[0] = words[1] = 0;
  call_with(&r, function(VMI_INSW), stack);
  check("INSW", words[0] == 0x80868086 && words[1] == 0x8086);
  r = (struct registers){0, 3, 0x3ff, 0, 0, (u32)words, 0};
  words[0] = 0;
  call_with(&r, function(VMI_INSB), stack);
  check("INSB", words[0] == 0x5a5a5a);
  r = (struct registers){0, 3, 0x3ff, 0, (u32) "abc", 0, 0};
  call_with(&r, function(VMI_OUTSB), stack);
  check("OUTSB", in(0x3ff) == 'c');
  r = (struct registers){0, 1, 0xcf8, 0, (u32)out_words, 0, 0};
  call_with(&r, function(VMI_OUTSL), stack);
  r = (struct registers){0, 1, 0x80, 0, (u32)out_words, 0, 0};
  call_with(&r, function(VMI_OUTSW), stack);
  check("OUTSL, OUTSW", (u32)vmi(VMI_INL, 0, 0xcf8, 0) == 0x80000000 && r.esi == (u32)out_words + 2);
  u32 type;
  relocation(VMI_IODelay, &type);
  check("IODelay is nothing", type == RELOCATION_NOP);
}
