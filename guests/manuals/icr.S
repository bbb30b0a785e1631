/* The interrupt command register with two processors (SDM 3A 11.6, 11.7): start-up, shorthands, physical and logical destinations, NMI. */
#include "start.h"
#define A32(register) dword ptr [r12 + register]
#define ICR 0x300
#define ICR_HIGH 0x310
#define LDR 0xd0
#define DFR 0xe0
#define SELF 0x40000
#define ALL 0x80000
#define OTHERS 0xc0000
#define LOGICAL 0x800
#define NMI 0x400
#define LOWEST 0x100
#define UP (CELL + 0x80) /* the other processor is */
#define TRAMPOLINE 0x8000
/* To this destination, this command; then both processors have time to take it. They have had so many, the last of them this. */
#define SEND(high, low) mov A32(ICR_HIGH), (high) << 24; mov A32(ICR), low; call settle
#define LOGS_ARE(what, mine, others) mov eax, [LOG]; IS2(what, " (this one)", rax, mine); mov eax, [LOG + 0x1000]; IS2(what, " (the other)", rax, others); \
        mov dword ptr [LOG], 0; mov dword ptr [LOG + 0x1000], 0
#define LAST_IS(what, n, wanted) movzx eax, byte ptr [LOG + n * 0x1000 + 4]; IS2(what, " (vector)", rax, wanted)

checks:
        mov r12d, APIC
        mov A32(0x80), 0
        mov A32(0xf0), 0x1ff
        mov al, 0xff
        out 0x21, al
        out 0xa1, al
        cmp dword ptr [UP], 0
        jne 1f
        mov rsi, offset trampoline
        mov edi, TRAMPOLINE
        mov ecx, offset trampoline_end
        sub ecx, offset trampoline
        rep movsb
        mov A32(ICR_HIGH), 1 << 24
        mov A32(ICR), 0x4500 /* INIT */
        call settle
        IS("not up by INIT", qword ptr [UP], 0)
        mov A32(ICR), 0x4600 + TRAMPOLINE / 0x1000
        call settle
        mov A32(ICR), 0x4600 + TRAMPOLINE / 0x1000 /* the second is ignored */
        call settle
1:      IS("up by start-up", qword ptr [UP], 1)
        LOGS_ARE("at first", 0, 0)
        SEND(1, 0x4050)
        LAST_IS("physical 1", 1, 0x50)
        LOGS_ARE("physical 1", 0, 1)
        SEND(0, 0x4051)
        LAST_IS("physical 0", 0, 0x51)
        LOGS_ARE("physical 0", 1, 0)
        SEND(0xff, 0x4052)
        LAST_IS("physical broadcast", 0, 0x52)
        LAST_IS("physical broadcast, the other", 1, 0x52)
        LOGS_ARE("physical broadcast", 1, 1)
        SEND(9, 0x4053)
        LOGS_ARE("physical, nobody", 0, 0)
        SEND(1, 0x54 + SELF)
        LAST_IS("self", 0, 0x54)
        LOGS_ARE("self", 1, 0)
        SEND(0, 0x55 + ALL)
        LOGS_ARE("all", 1, 1)
        SEND(0, 0x56 + OTHERS)
        LAST_IS("others", 1, 0x56)
        LOGS_ARE("others", 0, 1)
        /* Logical, flat: 4 is this one, 8 the other (it has set its own). */
        mov A32(DFR), 0xffffffff
        mov A32(LDR), 4 << 24
        SEND(4, 0x4057 + LOGICAL)
        LOGS_ARE("logical 4", 1, 0)
        SEND(8, 0x4058 + LOGICAL)
        LAST_IS("logical 8", 1, 0x58)
        LOGS_ARE("logical 8", 0, 1)
        SEND(12, 0x4059 + LOGICAL)
        LOGS_ARE("logical 12", 1, 1)
        SEND(0xff, 0x405a + LOGICAL)
        LOGS_ARE("logical broadcast", 1, 1)
        SEND(3, 0x405b + LOGICAL)
        LOGS_ARE("logical, nobody", 0, 0)
        SEND(0, 0x405b + LOGICAL)
        LOGS_ARE("logical 0", 0, 0)
        SEND(8, 0x405c + LOGICAL + LOWEST)
        LOGS_ARE("logical, lowest priority of one", 0, 1)
        SEND(12, 0x405d + LOGICAL + LOWEST)
        mov eax, [LOG]
        add eax, [LOG + 0x1000]
        IS("logical, lowest priority: one has it", rax, 1)
        mov qword ptr [LOG], 0
        mov qword ptr [LOG + 0x1000], 0
        SEND(1, 0x4000 + NMI)
        LAST_IS("NMI", 1, 2)
        LOGS_ARE("NMI", 0, 1)
        SEND(0, 0x4000 + NMI + OTHERS)
        LAST_IS("NMI to others", 1, 2)
        LOGS_ARE("NMI to others", 0, 1)
        cli
        mov A32(ICR_HIGH), 0
        mov A32(ICR), 0x4000 + NMI
        call let_pass
        LAST_IS("NMI with IF clear", 0, 2)
        LOGS_ARE("NMI with IF clear", 1, 0)
        mov A32(ICR), 0x4060
        mov eax, A32(ICR)
        and eax, 0x1000
        IS("delivery status is idle", rax, 0)
        mov eax, A32(ICR)
        IS("ICR reads", rax, 0x4060)
        call settle
        LOGS_ARE("physical 0 after that", 1, 0)
        ret

settle: sti
        call let_pass
        cli
        ret
let_pass:
        mov ecx, 30000
1:      pause
        dec ecx
        jnz 1b
        ret

trampoline:
        .code16
        cli
        xor ax, ax
        mov ds, ax
        data32 lgdt [TRAMPOLINE + ap_gdtr - trampoline]
        mov eax, cr0
        or eax, 1
        mov cr0, eax
        data32 ljmp CODE32, ap32
ap_gdtr: .word gdt_end - gdt - 1
        .long gdt
trampoline_end:
        .code32
ap32:   mov eax, DATA
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov eax, 0x620
        mov cr4, eax
        mov eax, TABLES
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x900
        wrmsr
        mov eax, 0x80010033
        mov cr0, eax
        ljmp CODE64, offset ap64
        .code64
ap64:   mov esp, STACK + 0x3000
        lidt [idtr]
        mov r12d, APIC
        mov A32(0x80), 0
        mov A32(DFR), 0xffffffff
        mov A32(LDR), 8 << 24
        mov A32(0xf0), 0x1ff
        inc dword ptr [UP]
1:      sti
        hlt
        jmp 1b
