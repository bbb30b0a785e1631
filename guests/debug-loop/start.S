/*
 * A debug exception that leads to itself: the first instruction of the handler of #DB has a breakpoint, and the handler's
 * stack, of 64 KiB, wraps around for ever. Entered in 32-bit mode, flat, without paging (PVH), at 0x100000.
 */
#define BASE 0x100000
#define IDT 0x200000

        .intel_syntax noprefix
        .code32
start:  lgdt [BASE + gdtr - start]
        ljmp 8, BASE + entered - start
entered:
        mov eax, 0x10
        mov ss, eax
        mov esp, 0x8000
        mov word ptr [IDT + 8], (BASE + handler - start) & 0xffff
        mov word ptr [IDT + 10], 8
        mov word ptr [IDT + 12], 0x8e00
        mov word ptr [IDT + 14], BASE >> 16
        lidt [BASE + idtr - start]
        mov eax, BASE + handler - start
        mov dr0, eax
        mov eax, 1
        mov dr7, eax
handler:
        nop
        iret

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff /* 8: code */
        .quad 0x000093300000ffff /* 0x10: a stack of 64 KiB at 0x300000 */
gdtr:   .word gdtr - gdt - 1
        .long BASE + gdt - start
idtr:   .word 15
        .long IDT
