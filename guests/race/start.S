/*
 * A planted race: two processors add to one counter, UPDATES times each, by a load, a few instructions and a store, without
 * LOCK. An update is lost if a processor's turn ends between the two. Each update takes TURN instructions, of which a fair
 * schedule's turns are multiples (machine/schedule.ts): there all turns of a processor end at the same place, which is not
 * that window, and nothing is lost. It takes another schedule to find it.
 * Says on the serial port what came of it. Then the machine is off, or, with an update lost, halts for ever.
 * Entered in 32-bit mode, flat, without paging (PVH), at 0x100000.
 */
#define BASE 0x100000
#define OTHER 0x8000 /* where the other processor starts, in real mode: the page is the vector of the start-up message */
#define COUNT 0x200000
#define DONE 0x200004
#define STACK 0x300000
#define OTHER_STACK 0x310000
#define APIC 0xfee00000
#define ICR_LOW (APIC + 0x300)
#define ICR_HIGH (APIC + 0x310)
#define SERIAL 0x3f8
#define PM1_CONTROL 0x604
#define S5 0x3400 /* SLP_EN, and the sleep type of the state */

#define UPDATES 500
#define TURN 1000
#define WORK ((TURN - 8) / 2) /* rounds of two instructions */

        .intel_syntax noprefix
        .code32
start:  cld
        mov esp, STACK
        mov esi, BASE + other - start
        mov edi, OTHER
        mov ecx, offset other_end - other
        rep movsb
        mov dword ptr [COUNT], 0
        mov dword ptr [DONE], 0
        mov dword ptr [ICR_HIGH], 1 << 24
        mov dword ptr [ICR_LOW], 0x4500 /* INIT */
        mov dword ptr [ICR_LOW], 0x4600 | OTHER >> 12
        call update
1:      cmp dword ptr [DONE], 0
        jne 2f
        pause
        jmp 1b
2:      mov esi, BASE + kept - start
        cmp dword ptr [COUNT], 2 * UPDATES
        je 3f
        mov esi, BASE + lost - start
3:      mov dx, SERIAL
4:      lodsb
        test al, al
        jz 5f
        out dx, al
        jmp 4b
5:      cmp dword ptr [COUNT], 2 * UPDATES
        jne 6f
        mov dx, PM1_CONTROL
        mov ax, S5
        out dx, ax
6:      cli
        hlt
        jmp 6b

/* TURN instructions an update: the loop has 2 * WORK of them, and there are eight others. */
update: mov ecx, UPDATES
1:      mov eax, [COUNT]
        inc eax
        cmp eax, 2 * UPDATES
        ja 2f
        mov [COUNT], eax
2:      mov edx, WORK
3:      dec edx
        jnz 3b
        nop
        loop 1b
        ret

second: mov eax, 0x10
        mov ds, eax
        mov ss, eax
        mov esp, OTHER_STACK
        call update
        mov dword ptr [DONE], 1
1:      cli
        hlt
        jmp 1b

kept:   .asciz "no update lost\n"
lost:   .asciz "an update was lost\n"

        .code16
other:  lgdt cs:[gdtr - other]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        .att_syntax
        ljmpl $8, $BASE + second - start
        .intel_syntax noprefix
        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff
        .quad 0x00cf93000000ffff
gdtr:   .word . - gdt - 1
        .long OTHER + gdt - other
other_end:
