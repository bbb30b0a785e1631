/* What both kinds of Xen's guests share: events, time, console, and the calls to a scheduler. */
#pragma once
#include "internal.h"

#define PAGE 4096

/* One way to call, chosen when the kind of guest is known. */
extern long (*pv_xen_hypercall)(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
#define CALL(number, a, b, c) pv_xen_hypercall(HYPERVISOR_##number, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), 0)

extern volatile uint8_t pv_xen_shared_info[PAGE];

/* Tables and events that both have. `console` is where its ring is mapped, null if there is none. */
void pv_xen_init(volatile uint8_t *console, uint32_t console_port);
void pv_xen_init_cpu(void);
/* Gives a processor beyond those of shared_info a place for its vcpu_info, before it is started. */
void pv_xen_place_info(unsigned cpu, uint64_t frame_of_infos);
extern uint8_t pv_xen_infos[PAGE];
/* Handles what has happened: the upcall. */
void pv_xen_upcall(void);
volatile uint8_t *pv_xen_info(unsigned cpu);
