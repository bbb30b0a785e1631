/* The timer: counters, alarms by IRQ 0 and by the local APIC's LVTT, and the wall clock. */
#include "guest.h"

#define LOCAL_APIC 0xfee00000u
#define APIC_VERSION 0x30
#define APIC_SPURIOUS 0xf0
#define APIC_LVTT 0x320
#define MASKED 0x10000
#define IRQ0 0
#define LVTT 1

/* 1 GHz or not: a millisecond in cycles. */
static u32 millisecond;

static u64 now(void) { return vmi(VMI_GetCycleCounter, CYCLES_REAL, 0, 0); }
static void set_alarm(u32 flags, u64 expiry, u64 period) {
  vmi_stack(VMI_SetAlarm, flags, (u32)expiry, expiry >> 32, (u32)period, period >> 32);
}
static u32 cancel(u32 flags) { return vmi(VMI_CancelAlarm, flags, 0, 0); }
/* Waits with interrupts on. */
static void wait(u32 milliseconds) {
  u64 end = now() + (u64)milliseconds * millisecond;
  enable();
  while (now() < end)
    for (volatile u32 i = 0; i < 500; i++) {
    }
  disable();
}

static void check_wiring(u32 line, u32 wiring, const char *name) {
  print("alarms by %s\n", name);
  u32 before = ticks[line], other = ticks[!line];
  u64 expiry = now() + millisecond;
  set_alarm(wiring, expiry, 0);
  wait(5);
  check("one-shot: once, and not early", ticks[line] == before + 1 && tick_time[line] >= expiry &&
        tick_time[line] < expiry + millisecond);
  check("it has gone then", cancel(wiring) == 0);

  before = ticks[line];
  set_alarm(wiring | ALARM_PERIODIC, now(), millisecond);
  wait(10);
  u32 count = ticks[line] - before;
  check("periodic: at once and every period", count >= 9 && count <= 12);
  check("CancelAlarm says that it was there", cancel(wiring) == 1);
  check("and that it no longer is", cancel(wiring | ALARM_PERIODIC) == 0);
  before = ticks[line];
  wait(3);
  check("cancelled: silence", ticks[line] == before);

  set_alarm(wiring, now() - millisecond, 0);
  wait(1);
  check("an expiry in the past: at once", ticks[line] == before + 1);
  before = ticks[line];
  set_alarm(wiring, now() + millisecond, 0);
  set_alarm(wiring, now() + 3 * millisecond, 0);
  wait(2);
  int early = ticks[line] != before;
  wait(3);
  check("set again: the last counts", !early && ticks[line] == before + 1);
  before = ticks[line];
  set_alarm(wiring | CYCLES_AVAILABLE, now() + millisecond, 0);
  set_alarm(wiring | CYCLES_REAL, now() + 2 * millisecond, 0);
  wait(4);
  check("an alarm for each counter", ticks[line] == before + 2);
  before = ticks[line];
  set_alarm(wiring, ~0ull >> 1, 0);
  wait(1);
  check("one in centuries", ticks[line] == before && cancel(wiring) == 1);

  before = ticks[line];
  expiry = now() + 20ull * millisecond;
  set_alarm(wiring, expiry, 0);
  vmi(VMI_Halt, 0, 0, 0);
  disable();
  check("Halt ends with the alarm", ticks[line] == before + 1 && now() >= expiry);
  check("nothing came by the other way", ticks[!line] == other);
}

static void check_apic(void) {
  u32 version = vmi(VMI_APICRead, APIC_VERSION, 0, 0);
  check("APICRead", (version & 0xff) >= 0x10 && (version & 0xff) < 0x20);
  check("APICRead of an address", (u32)vmi(VMI_APICRead, LOCAL_APIC + APIC_VERSION, 0, 0) == version);
  vmi(VMI_APICWrite, APIC_SPURIOUS, 0x1ff, 0);
  vmi(VMI_APICWrite, APIC_LVTT, VECTOR_LVTT, 0);
  check("APICWrite", (u32)vmi(VMI_APICRead, APIC_LVTT, 0, 0) == VECTOR_LVTT);
}

static void check_masked(void) {
  /* As other processors do it: the alarm comes first, its vector later. */
  vmi(VMI_APICWrite, APIC_LVTT, VECTOR_LVTT | MASKED, 0);
  u32 before = ticks[LVTT];
  set_alarm(ALARM_LVTT | ALARM_PERIODIC, now(), millisecond);
  wait(3);
  int silent = ticks[LVTT] == before;
  vmi(VMI_APICWrite, APIC_LVTT, VECTOR_LVTT, 0);
  wait(3);
  check("LVTT masked, then not", silent && ticks[LVTT] > before + 1);
  cancel(ALARM_LVTT);
}

void check_time(void) {
  u64 frequency = vmi(VMI_GetCycleFrequency, 0, 0, 0);
  check("GetCycleFrequency", frequency >= 1000000 && frequency < 100000000000ull);
  millisecond = (u32)frequency / 1000;
  u64 last = now(), tsc = vmi(VMI_RDTSC, 0, 0, 0);
  int forward = 1;
  for (u32 i = 0; i < 1000; i++) {
    u64 next = now();
    forward &= next >= last;
    last = next;
  }
  check("GetCycleCounter goes forward", forward && last > 0);
  wait(2);
  u64 passed = vmi(VMI_RDTSC, 0, 0, 0) - tsc;
  check("as fast as the time-stamp counter", passed > 2 * millisecond && passed < 40 * millisecond);
  u64 available = vmi(VMI_GetCycleCounter, CYCLES_AVAILABLE, 0, 0), stolen = vmi(VMI_GetCycleCounter, CYCLES_STOLEN, 0, 0);
  check("available and stolen are parts of it", available + stolen <= now());
  check("there is no fourth counter", vmi(VMI_GetCycleCounter, 3, 0, 0) == 0);
  u64 wall = vmi(VMI_GetWallclockTime, 0, 0, 0);
  wait(1);
  u64 later = vmi(VMI_GetWallclockTime, 0, 0, 0);
  check("GetWallclockTime", wall > 1600000000000000000ull && later > wall && later - wall < 1000000000);
  check("WallclockUpdated", (u32)vmi(VMI_WallclockUpdated, 0, 0, 0) == 0);

  out(0x21, 0xfe);
  check_wiring(IRQ0, 0, "IRQ 0");
  check_apic();
  check_wiring(LVTT, ALARM_LVTT, "LVTT");
  check_masked();
}
