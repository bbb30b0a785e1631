/*
 * A function of SSE instructions becomes hot, and so translated; then CR0.TS is set and it is called once more. Translated code
 * cannot be entered then, and #NM has to be raised at the function's first instruction: the status is 0 if it is, or else 1.
 * Entered in 32-bit mode, flat, without paging (PVH), at 0x100000.
 */
#define BASE 0x100000
#define TABLES 0x200000
#define STACK 0x300000
#define EXIT_PORT 0x501
#define TURNS 3000000

        .intel_syntax noprefix
        .code32
start:  mov edi, TABLES
        xor eax, eax
        mov ecx, 3 * 1024
        cld
        rep stosd
        mov dword ptr [TABLES], TABLES + 0x1003
        mov dword ptr [TABLES + 0x1000], TABLES + 0x2003
        mov dword ptr [TABLES + 0x2000], 0x83
        mov dword ptr [TABLES + 0x2008], 0x200083
        mov eax, 0x620 /* PAE, OSFXSR, OSXMMEXCPT */
        mov cr4, eax
        mov eax, TABLES
        mov cr3, eax
        mov ecx, 0xc0000080 /* EFER.LME */
        mov eax, 0x100
        xor edx, edx
        wrmsr
        mov eax, 0x80000013 /* PG, ET, MP, PE */
        mov cr0, eax
        lgdt [BASE + gdtr - start]
        ljmp 8, BASE + long - start

        .code64
long:   mov esp, STACK
        lidt [rip + idtr]
        mov ecx, TURNS
again:  call sse
        dec ecx
        jnz again
        mov rax, cr0
        or eax, 8 /* TS */
        mov cr0, rax
        call sse
wrong:  mov al, 1
        jmp leave
device_not_available:
        lea rax, [rip + sse]
        cmp [rsp], rax
        jne wrong
        cmp dword ptr [rsp + 24], STACK - 8 /* called once */
        jne wrong
        xor eax, eax
leave:  mov dx, EXIT_PORT
        out dx, al
        hlt

        .balign 64
sse:    pxor xmm0, xmm0
        paddd xmm1, xmm0
        ret

        .balign 8
gdt:    .quad 0, 0x00209b0000000000
gdtr:   .word 15
        .long BASE + gdt - start
idtr:   .word 16 * 8 - 1
        .quad BASE + idt - start
        .balign 8
idt:    .fill 7 * 2, 8, 0
        .word BASE + device_not_available - start - BASE, 8
        .word 0x8e00, BASE >> 16
        .quad 0
