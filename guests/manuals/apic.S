/* The local APIC and its timer (SDM 3A 11): priorities, IRR and ISR, the timer's three modes, self-IPIs, the spurious vector. */
#include "start.h"
#define A32(register) dword ptr [r12 + register]
#define ID 0x20
#define TPR 0x80
#define PPR 0xa0
#define EOI 0xb0
#define SVR 0xf0
#define ISR 0x100
#define TMR 0x180
#define IRR 0x200
#define ESR 0x280
#define ICR 0x300
#define ICR_HIGH 0x310
#define LVT_TIMER 0x320
#define LVT_LINT0 0x350
#define LVT_ERROR 0x370
#define INITIAL 0x380
#define CURRENT 0x390
#define DIVIDE 0x3e0
#define SELF 0x40000
#define MASKED 0x10000
#define PERIODIC 0x20000
#define DEADLINE 0x40000
#define LOGGED dword ptr [r13]
#define SEND(vector) mov A32(ICR), SELF + vector
#define APIC_IS(what, register, wanted) mov eax, A32(register); IS(what, rax, wanted)
#define LOG_IS(what, wanted) mov eax, LOGGED; IS(what, rax, wanted)
#define VECTOR_IS(what, n, wanted) movzx eax, byte ptr [r13 + 4 + n]; IS(what, rax, wanted)
#define CLEAR mov LOGGED, 0
/* Interrupts are taken for some instructions; waits until N were, but not for ever. */
#define TAKE sti; nop; nop; cli
#define WAIT(n) mov ecx, n; call wait

checks:
        mov r12d, APIC
        mov eax, A32(ID)
        shr eax, 24
        shl eax, 12
        lea r13, [rax + LOG]
        CLEAR
        mov dword ptr [NO_EOI], 0
        cli
        mov A32(TPR), 0
        mov A32(SVR), 0x1ff
        mov al, 0xff /* the 8259s */
        out 0x21, al
        out 0xa1, al

        APIC_IS("ISR at first", ISR + 0x10, 0)
        SEND(0x40)
        APIC_IS("IRR of a self-IPI, not taken", IRR + 0x20, 1)
        APIC_IS("ISR, not taken", ISR + 0x20, 0)
        LOG_IS("none with IF clear", 0)
        TAKE
        LOG_IS("self-IPI", 1)
        VECTOR_IS("self-IPI: vector", 0, 0x40)
        APIC_IS("IRR after it", IRR + 0x20, 0)
        APIC_IS("ISR after its EOI", ISR + 0x20, 0)
        CLEAR
        SEND(0x40)
        SEND(0x40)
        TAKE
        LOG_IS("two alike are one", 1)
        CLEAR
        SEND(0x41)
        SEND(0x80)
        SEND(0x52)
        TAKE
        LOG_IS("three", 3)
        VECTOR_IS("first the highest", 0, 0x80)
        VECTOR_IS("then the next", 1, 0x52)
        VECTOR_IS("then the lowest", 2, 0x41)

        /* Priorities. */
        CLEAR
        mov A32(TPR), 0x55
        APIC_IS("TPR", TPR, 0x55)
        APIC_IS("PPR is TPR", PPR, 0x55)
        mov rax, cr8
        IS("CR8", rax, 5)
        SEND(0x5f)
        TAKE
        LOG_IS("the class of TPR is held", 0)
        SEND(0x60)
        TAKE
        LOG_IS("the class above is not", 1)
        VECTOR_IS("the class above", 0, 0x60)
        mov eax, 4
        mov cr8, rax
        APIC_IS("TPR by CR8", TPR, 0x40)
        TAKE
        LOG_IS("held until TPR is less", 2)
        VECTOR_IS("which", 1, 0x5f)
        mov A32(TPR), 0
        CLEAR
        mov dword ptr [NO_EOI], 1
        SEND(0x73)
        TAKE
        APIC_IS("ISR before EOI", ISR + 0x30, 1 << 19)
        APIC_IS("PPR is the class in service", PPR, 0x70)
        mov A32(TPR), 0x75
        APIC_IS("PPR: TPR of the same class", PPR, 0x75)
        mov A32(TPR), 0x25
        APIC_IS("PPR: TPR of a lower class", PPR, 0x70)
        mov A32(TPR), 0
        SEND(0x7e)
        TAKE
        LOG_IS("the same class is not nested", 1)
        APIC_IS("its IRR", IRR + 0x30, 1 << 30)
        SEND(0x80)
        TAKE
        LOG_IS("a higher one is", 2)
        APIC_IS("two in service: PPR", PPR, 0x80)
        mov A32(EOI), 0
        APIC_IS("EOI ends the highest", ISR + 0x40, 0)
        APIC_IS("EOI leaves the other", ISR + 0x30, 1 << 19)
        mov A32(EOI), 0
        TAKE
        LOG_IS("then the one that waits", 3)
        VECTOR_IS("then the one that waits: vector", 2, 0x7e)
        mov A32(EOI), 0
        APIC_IS("PPR at the end", PPR, 0)
        mov dword ptr [NO_EOI], 0
        APIC_IS("TMR: edge", TMR + 0x30, 0)

        /* Errors: vectors below 16. */
        CLEAR
        mov A32(LVT_ERROR), 0x90
        mov A32(ESR), 0
        SEND(5)
        TAKE
        mov A32(ESR), 0
        mov eax, A32(ESR)
        and eax, 0x20
        IS("ESR: send illegal vector", rax, 0x20)
        LOG_IS("error interrupt", 1)
        VECTOR_IS("error interrupt: vector", 0, 0x90)
        mov A32(ESR), 0
        APIC_IS("ESR after the next write", ESR, 0)
        mov A32(LVT_ERROR), MASKED

        /* One shot. */
        CLEAR
        mov A32(DIVIDE), 0xb
        mov A32(LVT_TIMER), 0x91
        APIC_IS("timer that is not set", CURRENT, 0)
        mov A32(INITIAL), 20000
        APIC_IS("INITIAL reads", INITIAL, 20000)
        WAIT(1)
        LOG_IS("one shot", 1)
        VECTOR_IS("one shot: vector", 0, 0x91)
        APIC_IS("one shot: current count at the end", CURRENT, 0)
        APIC_IS("one shot: initial count at the end", INITIAL, 20000)
        WAIT(2)
        LOG_IS("one shot is once", 1)
        /* It counts down. */
        mov A32(INITIAL), 0x7fffffff
        mov esi, A32(CURRENT)
        mov ecx, 20000
1:      pause
        dec ecx
        jnz 1b
        mov edi, A32(CURRENT)
        xor eax, eax
        cmp edi, esi
        setb al
        IS("counts down", rax, 1)
        mov A32(INITIAL), 0
        APIC_IS("0 stops it", CURRENT, 0)
        /* Masked. */
        CLEAR
        mov A32(LVT_TIMER), MASKED + 0x92
        mov A32(INITIAL), 5000
        mov ecx, 2000000
1:      cmp A32(CURRENT), 0
        je 2f
        pause
        dec ecx
        jnz 1b
2:      APIC_IS("masked: counts", CURRENT, 0)
        TAKE
        LOG_IS("masked: no interrupt", 0)
        APIC_IS("masked: IRR", IRR + 0x40, 0)
        mov A32(LVT_TIMER), 0x92
        TAKE
        LOG_IS("unmasked afterwards: none", 0)
        /* Periodic. */
        mov A32(LVT_TIMER), PERIODIC + 0x93
        mov A32(INITIAL), 30000
        WAIT(4)
        xor eax, eax
        cmp LOGGED, 4
        setae al
        IS("periodic: four", rax, 1)
        VECTOR_IS("periodic: vector", 3, 0x93)
        mov A32(LVT_TIMER), PERIODIC + MASKED + 0x93
        TAKE
        CLEAR
        WAIT(1)
        LOG_IS("periodic and masked", 0)
        mov A32(INITIAL), 0
        /* Deadline. */
        mov eax, 1
        cpuid
        bt ecx, 24
        jnc 9f
        CLEAR
        mov A32(LVT_TIMER), DEADLINE + 0x94
        mfence
        mov A32(INITIAL), 1000
        APIC_IS("deadline: writes of the initial count are ignored", CURRENT, 0)
        call deadline
        rdmsr
        or eax, edx
        xor ecx, ecx
        test eax, eax
        setnz cl
        IS("deadline is armed", rcx, 1)
        WAIT(1)
        LOG_IS("deadline", 1)
        VECTOR_IS("deadline: vector", 0, 0x94)
        mov ecx, 0x6e0
        rdmsr
        shl rdx, 32
        or rax, rdx
        IS("deadline: 0 after it", rax, 0)
        CLEAR
        mov ecx, 0x6e0
        mov eax, 1
        xor edx, edx
        wrmsr
        TAKE
        LOG_IS("a deadline that is over", 1)
        CLEAR
        call deadline
        xor eax, eax
        xor edx, edx
        wrmsr
        WAIT(1)
        LOG_IS("a deadline taken back", 0)
        call deadline
        mov A32(LVT_TIMER), 0x95
        mov ecx, 0x6e0
        rdmsr
        IS("another mode disarms it", rax, 0)
        WAIT(1)
        LOG_IS("another mode: none", 0)
        mov ecx, 0x6e0
        mov eax, 1
        xor edx, edx
        wrmsr
        rdmsr
        IS("in another mode the deadline reads 0", rax, 0)
        TAKE
        LOG_IS("in another mode: none", 0)
9:      mov A32(LVT_TIMER), MASKED

        /* Disabled by software: LVTs are masked and stay so. */
        CLEAR
        mov A32(LVT_LINT0), 0x99
        mov A32(SVR), 0xff
        APIC_IS("disabled: masks", LVT_LINT0, MASKED + 0x99)
        mov A32(LVT_LINT0), 0x99
        APIC_IS("disabled: the mask stays", LVT_LINT0, MASKED + 0x99)
        mov A32(SVR), 0x1ff
        APIC_IS("enabled: the mask stays", LVT_LINT0, MASKED + 0x99)
        APIC_IS("SVR", SVR, 0x1ff)
        /* HLT wakes by a self-IPI that comes right after STI. */
        SEND(0xa0)
        sti
        hlt
        cli
        LOG_IS("STI; HLT", 1)
        ret

/* A deadline in 500,000 cycles; ECX: its MSR. */
deadline:
        mov ecx, 0x6e0
        rdtsc
        add eax, 500000
        adc edx, 0
        wrmsr
        ret

wait:   mov esi, 300000
        sti
1:      cmp LOGGED, ecx
        jae 2f
        pause
        dec esi
        jnz 1b
2:      cli
        ret
