/* The interrupt table, what arrives through it, and system calls. */
#include "guest.h"

volatile u32 ticks[2], last_vector, system_calls, sysenters;
volatile u64 tick_time[2];
/* The word in user memory that an interrupt from user mode sets; 0 for none. */
volatile u32 user_flag;

volatile u32 fixup, fixed_up;
static u64 idt[256];

u32 interrupt_table(void) { return (u32)idt; }

u64 gate(u32 vector, u32 privilege) {
  u32 address = (u32)vectors + 16 * vector;
  return (u64)((address & 0xffff0000) | 0x8e00 | privilege << 13) << 32 | KERNEL_CS << 16 | (address & 0xffff);
}

static void alarm_in_user_mode(void) {
  u64 now = vmi(VMI_GetCycleCounter, CYCLES_REAL, 0, 0);
  now += 100000;
  vmi_stack(VMI_SetAlarm, CYCLES_REAL, (u32)now, now >> 32, 0, 0);
}

static void system_call(struct frame *frame) {
  system_calls++;
  if (frame->eax == 0) {
    /* User mode is left for good: enter_user goes on. */
    frame->eip = (u32)user_finished;
    frame->cs = KERNEL_CS;
    frame->flags &= ~FLAG_IF;
  } else if (frame->eax == 1) alarm_in_user_mode();
  else frame->eax++;
}

/* In EAX: what the user had there. @returns what it shall have */
u32 sysenter(u32 eax) {
  sysenters++;
  return eax + 2;
}

void trap(struct frame *frame) {
  last_vector = frame->vector;
  if (frame->vector == VECTOR_SYSTEM_CALL) return system_call(frame);
  if (frame->vector == VECTOR_IRQ0 || frame->vector == VECTOR_LVTT) {
    int local = frame->vector == VECTOR_LVTT;
    ticks[local]++;
    tick_time[local] = vmi(VMI_GetCycleCounter, CYCLES_REAL, 0, 0);
    if (local) vmi(VMI_APICWrite, 0xb0, 0, 0);
    else out(0x20, 0x20);
    if (user_flag && (frame->cs & 3)) *(u32 *)user_flag = 1;
    return;
  }
  if (fixup) {
    fixed_up = frame->eip;
    frame->eip = fixup;
    fixup = 0;
    return;
  }
  print("FAILED: vector %d, error code %x, at %x\n", frame->vector, frame->code, frame->eip);
  for (;;) asm volatile("cli; hlt");
}

int read_faults(const volatile u32 *address, u32 *value) {
  last_vector = 0;
  asm volatile("movl $1f, %1\nmovl (%2), %0\n1: movl $0, %1" : "=&r"(*value), "=m"(fixup) : "r"(address) : "memory");
  return last_vector == 14;
}

int vmcall_faults(void) {
  last_vector = 0;
  asm volatile("movl $1f, %0\nvmcall\n1: movl $0, %0" : "=m"(fixup) : "a"(VMI_Shutdown) : "memory");
  return last_vector == 6;
}

void set_up_traps(void) {
  for (u32 vector = 0; vector < 256; vector++) idt[vector] = gate(vector, vector == VECTOR_SYSTEM_CALL ? 3 : 0);
  struct {
    u16 limit;
    u64 *base;
  } __attribute__((packed)) pointer = {sizeof idt - 1, idt};
  asm volatile("lidt %0" : : "m"(pointer));
  /* The 8259s: vectors from 0x30 on, all masked. */
  static const u8 words[][2] = {{0x20, 0x11}, {0x21, VECTOR_IRQ0}, {0x21, 4}, {0x21, 1}, {0x21, 0xff},
                                {0xa0, 0x11}, {0xa1, 0x38},        {0xa1, 2}, {0xa1, 1}, {0xa1, 0xff}};
  for (u32 i = 0; i < ARRAY(words); i++) out(words[i][0], words[i][1]);
  /* The PIT's first channel: mode 5, so that it says nothing. */
  out(0x43, 0x3a);
}
