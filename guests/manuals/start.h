/*
 * What the kernels of this folder share: they are lists of checks written from the manuals (Intel SDM 3A, AMD APM 2), each of which
 * prints "FAIL what: got, wanted" where the processor is not as they say, and at the end "ok N", N checks; the status, to port
 * 0x501, is the number of failures. The kernel follows at `checks` and returns; read, port 0x501 says how many
 * tens of rounds to do (0: one round). Entered in 32-bit mode, flat, without paging (PVH), at 0x100000.
 * By default all runs in 64-bit mode with the first 4 GiB mapped by large pages for all levels; with MODE32 in 32-bit
 * protected mode without paging. Exceptions are noted and go on at [RESUME]; interrupts from 32 on and NMIs are logged for each processor.
 */
#define TABLES 0x200000 /* PML4, PDPT, four directories, a page table for TEST_PAGE */
#define PDPT (TABLES+0x1000)
#define DIRECTORY(n) (TABLES+0x2000+0x1000*n)
#define TEST_TABLE (TABLES+0x6000)
#define TEST_PAGE 0x40000000 /* linear: by TEST_TABLE, at first not present */
#define FRAME 0x400000 /* physical: what checks map there */
#define IDT 0x208000
#define STACK 0x300000
#define STACK_0 0x304000 /* from level 3 */
#define STACK_3 0x308000
#define VARIABLES 0x310000
#define SEEN VARIABLES /* the exception's vector, or NONE */
#define ERROR (VARIABLES+8) /* its error code; 0 for those that have none */
#define IP (VARIABLES+16)
#define CS_ (VARIABLES+24)
#define FLAGS (VARIABLES+32)
#define SP_ (VARIABLES+40)
#define SS_ (VARIABLES+48)
#define CR2_ (VARIABLES+56)
#define RESUME (VARIABLES+64)
#define SAVED (VARIABLES+72)
#define COUNT (VARIABLES+80)
#define FAILED (VARIABLES+88)
#define ROUND (VARIABLES+96)
#define DR6_ (VARIABLES+104)
#define NO_EOI (VARIABLES+112) /* not 0: the handler leaves the EOI to the check */
#define CELL (VARIABLES+0x100)
#define LOG (VARIABLES+0x1000) /* 4 KiB for each processor: how many, then vectors, a byte each */
#define EXIT_PORT 0x501
#define APIC 0xfee00000

#define CODE32 0x08
#define DATA 0x10
#define CODE64 0x18
#define USER32 0x23
#define USER_DATA 0x2b
#define USER64 0x33
#define TSS 0x38
#define FREE 0x48 /* the first of ten that are the check's */

#define NONE 0xff
#define DE 0
#define DB 1
#define BP 3
#define OF 4
#define BR 5
#define UD 6
#define NM 7
#define DF 8
#define TS 10
#define NP 11
#define SS 12
#define GP 13
#define PF 14
#define MF 16
#define AC 17
#define XM 19

#ifdef MODE32
#define N 4
#define WORD dword ptr
#define xax eax
#define xdx edx
#define xsi esi
#define xcx ecx
#define xsp esp
#define pushfx pushfd
#define popfx popfd
#define iretx iretd
#define KERNEL CODE32
#define USER USER32
#else
#define N 8
#define WORD qword ptr
#define xax rax
#define xdx rdx
#define xsi rsi
#define xcx rcx
#define xsp rsp
#define pushfx pushfq
#define popfx popfq
#define iretx iretq
#define KERNEL CODE64
#define USER USER64
#endif

/* One check: a register, a constant or a word of memory against another. */
#define IS2(what, more, got, wanted) push wanted; push got; call 91f; .ascii what; .asciz more; 91: call compare
#define IS(what, got, wanted) IS2(what, "", got, wanted)
#define BEGIN mov WORD [RESUME], offset 7f; mov WORD [SEEN], NONE; mov WORD [ERROR], 0; mov WORD [SAVED], xsp;
#define END 7: mov xsp, WORD [SAVED]; mov WORD [RESUME], 0;
/* The instructions end with an exception whose saved instruction pointer is that of the label 6. */
#define RAISES(what, vector, error, ...) BEGIN __VA_ARGS__; END \
        IS2(what, " (vector)", WORD [SEEN], vector); IS2(what, " (error code)", WORD [ERROR], error); IS2(what, " (IP)", WORD [IP], offset 6b)
/* They end without one. */
#define PASSES(what, ...) BEGIN __VA_ARGS__; END IS2(what, " (vector)", WORD [SEEN], NONE)
/* The same at privilege level 3, with these flags. */
#define AT_3(flags) push USER_DATA; push STACK_3; push flags; push USER; push offset 5f; iretx; 5:
#define USER_RAISES(what, vector, error, ...) RAISES(what, vector, error, AT_3(2) __VA_ARGS__)

        .intel_syntax noprefix
        .code32
        .text
        .globl start
start:  cld
        lgdt [gdtr]
        ljmp CODE32, offset 1f
1:      mov eax, DATA
        mov ss, eax
        mov ds, eax
        mov es, eax
        mov fs, eax
        mov gs, eax
        mov esp, STACK
        mov edi, TABLES
        xor eax, eax
        mov ecx, 9 * 1024
        rep stosd
        mov edi, VARIABLES
        mov ecx, 4 * 1024
        rep stosd
        mov dx, EXIT_PORT
        in al, dx
        imul eax, eax, 10
        test eax, eax
        jnz 2f
        inc eax
2:      mov [ROUND], eax
#ifndef MODE32
        mov dword ptr [TABLES], PDPT + 7
        mov ebx, DIRECTORY(0) + 7
        mov edi, PDPT
        mov ecx, 4
3:      mov [edi], ebx
        add ebx, 0x1000
        add edi, 8
        loop 3b
        mov edi, DIRECTORY(0)
        mov eax, 0x87
        mov ecx, 2048
4:      mov [edi], eax
        add eax, 0x200000
        add edi, 8
        loop 4b
        mov dword ptr [DIRECTORY(1)], TEST_TABLE + 7
        mov eax, 0x620 /* PAE, OSFXSR, OSXMMEXCPT */
        mov cr4, eax
        mov eax, TABLES
        mov cr3, eax
        mov ecx, 0xc0000080 /* EFER.LME, NXE */
        rdmsr
        or eax, 0x900
        wrmsr
        mov eax, 0x80010033 /* PG, WP, NE, ET, MP, PE */
        mov cr0, eax
        ljmp CODE64, offset long
        .code64
long:
#else
        mov eax, 0x600
        mov cr4, eax
        mov eax, 0x33
        mov cr0, eax
#endif
        mov eax, offset tss
        mov word ptr [gdt + TSS + 2], ax
        shr eax, 16
        mov byte ptr [gdt + TSS + 4], al
        mov byte ptr [gdt + TSS + 7], ah
        mov byte ptr [gdt + TSS + 5], 0x89
        call fill_idt
        lidt [idtr]
        mov eax, TSS
        ltr ax
        mov esp, STACK
again:  call checks
        dec dword ptr [ROUND]
        jnz again
        mov xsi, offset ok_text
        cmp dword ptr [FAILED], 0
        je 1f
        mov xsi, offset bad_text
1:      call print
        mov xax, [COUNT]
        call print_decimal
        mov al, 10
        mov dx, 0x3f8
        out dx, al
        mov eax, [FAILED]
        cmp eax, 0xff
        jbe leave_
        mov eax, 0xff
leave_: mov dx, EXIT_PORT
        out dx, al
1:      hlt
        jmp 1b
ok_text: .asciz "ok "
bad_text: .asciz "failed, of "

/* Every gate of the IDT as it should be. */
fill_idt:
        push xax
        push xdx
        push xcx
        mov edx, IDT
        mov eax, offset stubs
        mov ecx, 256
1:      mov [xdx], eax
        mov word ptr [xdx + 2], KERNEL
        mov [xdx + 4], eax
        mov word ptr [xdx + 4], 0x8e00
#ifndef MODE32
        mov qword ptr [xdx + 8], 0
#endif
        add edx, 2 * N
        add eax, 16
        dec ecx
        jnz 1b
        pop xcx
        pop xdx
        pop xax
        ret

        .balign 16
stubs:  vector = 0
        .rept 256
        .balign 16
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
        push 0
        .endif
        push vector
        jmp common
        vector = vector + 1
        .endr

common: push xax
        mov eax, DATA
        mov ds, eax
        mov es, eax
        pop xax
        cmp dword ptr [xsp], 32
        jae logged
        cmp dword ptr [xsp], 2
        je logged
        pop WORD [SEEN]
        pop WORD [ERROR]
        pop WORD [IP]
        pop WORD [CS_]
        pop WORD [FLAGS]
        mov [SP_], xsp
#ifdef MODE32
        test dword ptr [CS_], 3
        jz 1f
#endif
        pop WORD [SP_]
        pop WORD [SS_]
1:      push xax
        mov xax, cr2
        mov [CR2_], xax
        mov xax, dr6
        mov [DR6_], xax
        mov eax, DATA
        mov ss, eax
        pop xax
        cmp WORD [RESUME], 0
        je unexpected
        mov xsp, [SAVED]
        push 2
        popfx
        jmp WORD [RESUME]
unexpected:
        mov esp, STACK
        IS("where the last check was", WORD [SAVED + 128], 0)
        IS("an exception that no check expects", WORD [SEEN], NONE)
        IS("its error code", WORD [ERROR], 0)
        IS("its IP", WORD [IP], 0)
        IS("its CS", WORD [CS_], 0)
        mov al, 0xfe
        jmp leave_
logged: push xax
        push xdx
        mov edx, APIC
        mov edx, [xdx + 0x20]
        shr edx, 24
        shl edx, 12
        add edx, LOG
        mov eax, [xdx]
        inc dword ptr [xdx]
        and eax, 0x7ff
        add edx, eax
        mov al, [xsp + 2 * N]
        mov [xdx + 4], al
        cmp dword ptr [xsp + 2 * N], 2
        je 1f
        cmp dword ptr [NO_EOI], 0
        jne 1f
        mov edx, APIC
        mov dword ptr [xdx + 0xb0], 0
1:      mov xax, [xsp + 4 * N]
        mov [IP], xax
        pop xdx
        pop xax
        add xsp, 2 * N
        iretx

/* On the stack: the text, what was got, what was wanted, which it takes away. */
compare:
        pushfx
        push xax
        push xdx
        push xsi
        push xcx
        cld
        inc dword ptr [COUNT]
        mov xax, [xsp + 5 * N]
        mov [SAVED + 128], xax /* where the last check was */
        mov xax, [xsp + 7 * N]
        cmp xax, [xsp + 8 * N]
        je 1f
        inc dword ptr [FAILED]
        cmp dword ptr [FAILED], 40
        ja 1f
        mov xsi, offset fail_text
        call print
        mov xsi, [xsp + 6 * N]
        call print
        mov al, ':'
        call print_space
        mov xax, [xsp + 7 * N]
        call print_hex
        mov al, ','
        call print_space
        mov xax, [xsp + 8 * N]
        call print_hex
        mov al, 10
        mov dx, 0x3f8
        out dx, al
1:      pop xcx
        pop xsi
        pop xdx
        pop xax
        popfx
        ret 3 * N
fail_text: .asciz "FAIL "
#include "../serial.h"
print_hex:
        mov xsi, xax
        mov dx, 0x3f8
        mov ecx, N * 2
1:      cmp ecx, 1
        je 2f
        mov xax, xsi
        shr xax, N * 8 - 4
        jnz 2f
        shl xsi, 4
        dec ecx
        jmp 1b
2:      mov xax, xsi
        shr xax, N * 8 - 4
        add al, '0'
        cmp al, '9'
        jbe 3f
        add al, 'a' - '0' - 10
3:      out dx, al
        shl xsi, 4
        loop 2b
        ret
print_decimal:
        mov ecx, 10
        xor edx, edx
        div ecx
        push xdx
        test eax, eax
        jz 1f
        call print_decimal
1:      pop xax
        add al, '0'
        mov dx, 0x3f8
        out dx, al
        ret

        .balign 16
gdt:    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
        .quad 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff
        .quad 0x0000890000000067, 0
        .fill 10, 8, 0
gdt_end:
gdtr:   .word gdt_end - gdt - 1
        .long gdt, 0
idtr:   .word 256 * 2 * N - 1
        .long IDT, 0
        .balign 16
#ifdef MODE32
tss:    .long 0, STACK_0, DATA
        .fill 22, 4, 0
        .word 0, 104 /* no I/O bitmap */
#else
tss:    .long 0, STACK_0, 0
        .fill 22, 4, 0
        .word 0, 104 /* no I/O bitmap */
#endif
tss_end:
