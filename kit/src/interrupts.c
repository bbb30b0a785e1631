/* Interrupts and exceptions: the table of descriptors, who handles what, and processors that begin. */
#include "internal.h"

_Static_assert(offsetof(struct pv_cpu, stack_top) == 32, "processor.S knows it");

extern uint8_t pv_stubs[];

static struct {
  uint16_t offset_low, selector;
  uint8_t stack, type;
  uint16_t offset_middle;
  uint32_t offset_high, reserved;
} idt[256];

static void (*handlers[256])(void);

void pv_handle(uint8_t vector, void (*handler)(void)) { handlers[vector] = handler; }

void pv_load_idt(void) {
  for (unsigned vector = 0; vector < 256; vector++) {
    uint64_t address = (uint64_t)(pv_stubs + 16 * vector);
    idt[vector].offset_low = address;
    idt[vector].selector = 8;
    idt[vector].type = 0x8e; /* present, a gate that closes interrupts */
    idt[vector].offset_middle = address >> 16;
    idt[vector].offset_high = address >> 32;
  }
  struct __attribute__((packed)) {
    uint16_t limit;
    void *base;
  } pointer = {sizeof idt - 1, idt};
  __asm__ volatile("lidt %0" : : "m"(pointer));
}

void pv_dispatch(uint8_t vector) {
  if (handlers[vector]) handlers[vector]();
}

void pv_die(const char *what) {
  pv_print_anyway();
  pv_print("paravirt: %s\n", what);
  pv_ops.irq.disable();
  for (;;) pv_ops.boot.power_off();
}

static void exception(const struct pv_frame *frame) {
  if (handlers[frame->vector]) return handlers[frame->vector]();
  pv_print_anyway();
  pv_print("paravirt: exception %lu, error %lx, at %lx\n", frame->vector, frame->error, frame->rip);
  if (frame->vector == 14 && !pv_xen_start_info) {
    uint64_t address;
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    pv_print("paravirt: page fault on %lx\n", address);
  }
  pv_die("nobody handles it");
}

void pv_interrupt(struct pv_frame *frame) {
  if (frame->vector < 32) return exception(frame);
  if (frame->vector != PV_TIMER_VECTOR || !pv_apic_timer_is_early()) pv_dispatch(frame->vector);
  /* Events of Xen and the local APIC's spurious interrupts have no end. */
  if (frame->vector != PV_XEN_VECTOR && frame->vector != PV_SPURIOUS_VECTOR) pv_ops.irq.end();
}
