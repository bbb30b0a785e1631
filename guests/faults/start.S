/*
 * Exceptions to the letter: which vector and which error code an instruction raises, and what it stores. The status is 0 if
 * all is as the manuals say; else the number of the first check that is not. What it does is told by port 0x501:
 * 0: the checks; 1 to 4: jumps to where no RAM is, after which nothing may be executed any more; 5: frames in device memory, and
 * x87 errors with CR0.NE clear.
 * Entered in 32-bit mode, flat, without paging (PVH), at 0x100000.
 */
#define BASE 0x100000
#define TABLES 0x200000 /* PML4, PDPT, two directories, a page table */
#define IDT 0x208000
#define STACK 0x300000
#define IST 0x308000
#define SEEN 0x310000 /* the exception's vector, or NONE */
#define ERROR 0x310008 /* its error code; 0 for those that have none */
#define CELL 0x310010 /* 32 bytes to store in */
#define SPLIT 0x400000 /* an instruction across two pages */
#define WINDOW 0x40000000 /* linear: mapped to 4 GiB, then to the last 2 MiB below it, then SPLIT by pages */
#define EXIT_PORT 0x501
#define TASK_PRIORITY 0xfee00080 /* the local APIC's */
#define NONE 0xff
#define ROUNDS 25000 /* enough for the JIT */

#define CODE 0x08
#define DATA 0x10
#define CODE_64 0x18
#define USER_CODE 0x23
#define USER_DATA 0x2b
#define TSS 0x30
#define FAR_LDT 0x40 /* its base is not canonical */
#define FAR_TSS 0x50 /* the same */
#define LAST_LDT 0x60 /* only its first half lies in the table */

#define DE 0
#define UD 6
#define TS_FAULT 10
#define NP 11
#define SS_FAULT 12
#define GP 13
#define AC_FAULT 17

        .intel_syntax noprefix
/* One check: the instructions between `begin` and `expect` end with this exception, or with NONE. */
        .macro begin
        call mark
        lea r15, [rip + 7f]
        .endm
        .macro expect vector, code=0
7:      mov esp, STACK
        push \vector
        push \code
        call check
        .endm
/* Calls a function of checks, which use the stack from its top: it returns to R14. */
        .macro run function
        lea r14, [rip + 8f]
        jmp \function
8:
        .endm

        .code32
start:  lgdt [BASE + gdtr - start]
        ljmp CODE, BASE + begin32 - start
begin32:
        mov eax, DATA
        mov ss, eax
        mov es, eax
        mov esp, STACK
        xor eax, eax
        mov ds, eax
        invlpg [BASE] /* of a null segment: no fault */
        mov eax, DATA
        mov ds, eax
        xor eax, eax
        stc
        .byte 0xd6 /* SALC */
        cmp eax, 0xff
        jne fail32
        clc
        .byte 0xd6
        test eax, eax
        jnz fail32
        mov dx, EXIT_PORT
        in al, dx
        cmp al, 3
        jne 1f
        mov eax, 0xffffffff /* without paging */
        jmp eax
1:      cmp al, 5
        je devices
        mov edi, TABLES
        xor eax, eax
        mov ecx, 5 * 1024
        cld
        rep stosd
        mov dword ptr [TABLES], TABLES + 0x1007
        mov dword ptr [TABLES + 0x1000], TABLES + 0x2007
        mov dword ptr [TABLES + 0x1008], TABLES + 0x3003
        mov edi, TABLES + 0x2000
        mov eax, 0x87
        mov ecx, 8
2:      mov [edi], eax
        add eax, 0x200000
        add edi, 8
        loop 2b
        mov dword ptr [TABLES + 0x3000], 0x83
        mov dword ptr [TABLES + 0x3004], 1
        mov dword ptr [TABLES + 0x3008], 0xffe00083
        mov dword ptr [TABLES + 0x3010], TABLES + 0x4003
        mov dword ptr [TABLES + 0x4000], SPLIT + 3
        mov dword ptr [TABLES + 0x4008], SPLIT + 0x1003
        mov eax, 0x620 /* PAE, OSFXSR, OSXMMEXCPT */
        mov cr4, eax
        mov eax, TABLES
        mov cr3, eax
        mov ecx, 0xc0000080 /* EFER.LME */
        mov eax, 0x100
        xor edx, edx
        wrmsr
        mov eax, 0x80040033 /* PG, AM, NE, ET, MP, PE */
        mov cr0, eax
        ljmp CODE_64, BASE + long - start
/* Of what is pushed, one word goes to the local APIC's task priority. EBX: the number of the check. */
devices:
        mov eax, 0x50
        mov esp, TASK_PRIORITY + 4
        pusha
        mov ebx, 1
        cmp dword ptr [TASK_PRIORITY], 0x50
        jne fail5
        mov dword ptr [TASK_PRIORITY], 0x60
        mov esp, TASK_PRIORITY - 28
        popa
        mov ebx, 2
        cmp eax, 0x60
        jne fail5
        inc ebx
        mov ebp, 0x70
        mov esp, TASK_PRIORITY + 4
        enter 0, 0
        cmp dword ptr [TASK_PRIORITY], 0x70
        jne fail5
        inc ebx
        mov esp, TASK_PRIORITY + 4
        lcall CODE, BASE + 1f - start
1:      cmp dword ptr [TASK_PRIORITY], CODE
        jne fail5
        mov dword ptr [TASK_PRIORITY], 0
        mov esp, STACK
/* The 8259s send IRQ 13 to vector 0x2d; the x87 has divisions by zero unmasked. */
        mov eax, BASE + irq13 - start
        mov [IDT + 0x2d * 8], eax
        mov [IDT + 0x2d * 8 + 4], eax
        mov word ptr [IDT + 0x2d * 8 + 2], CODE
        mov word ptr [IDT + 0x2d * 8 + 4], 0x8e00
        lidt [BASE + idtr - start]
        lea esi, [BASE + words8259 - start]
2:      mov dl, [esi]
        xor dh, dh
        mov al, [esi + 1]
        out dx, al
        add esi, 2
        cmp esi, BASE + words8259 - start + 20
        jb 2b
        mov eax, cr0
        and eax, ~0x2c /* NE, TS, EM */
        or eax, 2 /* MP */
        mov cr0, eax
        fninit
        mov word ptr [CELL], 0x37b
        fldcw [CELL]
        xor ecx, ecx
        sti
        call divide
        call divide
        inc ebx
        cmp ecx, 2
        jne fail5
        xor ebx, ebx
fail5:  mov eax, ebx
        mov dx, EXIT_PORT
        out dx, al
        hlt
divide: fld1
        fldz
        fdivp
divided:
        fwait /* waits for IRQ 13 */
        ffree st
        fincstp
        ret
irq13:  inc ecx
        mov ebx, 10
        cmp dword ptr [esp], BASE + divided - start
        jne fail5
        out 0xf0, al
        inc ebx
        fstsw ax /* waits, but the error is ignored now */
        test al, 4
        jz fail5
        fnclex
        mov al, 0x20
        out 0xa0, al
        out 0x20, al
        mov ebx, 4
        iretd
words8259:
        .byte 0x20, 0x11, 0xa0, 0x11, 0x21, 0x20, 0xa1, 0x28, 0x21, 4, 0xa1, 2, 0x21, 1, 0xa1, 1, 0x21, 0xfb, 0xa1, 0xdf
fail32: mov al, 0xee
        mov dx, EXIT_PORT
        out dx, al
        hlt

        .code64
/* What jumps out of RAM leads back to, modulo 2^32. */
wrong:  mov al, 0xdd
        jmp leave

long:   mov esp, STACK
        mov edi, IDT
        lea rsi, [rip + stubs]
        mov ecx, 32
1:      mov eax, esi
        and eax, 0xffff
        or eax, CODE_64 << 16
        mov [rdi], eax
        mov eax, esi
        and eax, 0xffff0000
        or eax, 0x8e01 /* interrupt gate, IST 1 */
        mov [rdi + 4], eax
        mov qword ptr [rdi + 8], 0
        add rdi, 16
        add rsi, 16
        loop 1b
        lidt [rip + idtr]
        mov eax, TSS
        ltr ax
        mov dx, EXIT_PORT
        in al, dx
        cmp al, 1
        je above
        cmp al, 2
        je last
        cmp al, 4
        je across
        xor r12d, r12d
        run tables
        run stores
        run registers
        run delivery
        mov r9d, ROUNDS
        mov [CELL + 24], r12d
again:  mov r12d, [CELL + 24]
        run canonical
        run alignment
        dec r9d
        jnz again
        xor eax, eax
        jmp leave

fail:   mov eax, r12d
leave:  mov dx, EXIT_PORT
        out dx, al
        hlt

/* A page at 4 GiB: the first megabyte of RAM is what the address is modulo 2^32. */
above:  mov eax, WINDOW + BASE + wrong - start
        jmp rax
/* The last byte below 4 GiB. */
last:   mov eax, WINDOW + 0x3fffff
        jmp rax
/* An instruction's second page goes to where there is none, but for the address modulo 2^32. */
across: mov byte ptr [SPLIT + 0xffd], 0xb8 /* mov eax, 0x00000000; ret */
        mov byte ptr [SPLIT + 0x1002], 0xc3
        mov eax, WINDOW + 0x400ffd
        call rax
        mov dword ptr [TABLES + 0x400c], 1
        invlpg [WINDOW + 0x401000]
        mov eax, WINDOW + 0x400ffd
        call rax
        jmp wrong

/* LGDT, LIDT, LLDT, LTR, INVPCID. */
tables: mov rax, 0x8000000000000000
        mov [CELL + 2], rax
        mov word ptr [CELL], 0xff
        begin
        lgdt [CELL]
        expect GP
        begin
        lidt [CELL]
        expect GP
        mov eax, DATA
        begin
        mov ss, eax /* the table is the one it was */
        expect NONE
        mov eax, FAR_LDT
        begin
        lldt ax
        expect GP, FAR_LDT
        mov eax, FAR_TSS
        begin
        ltr ax
        expect GP, FAR_TSS
        mov eax, LAST_LDT
        begin
        lldt ax
        expect GP, LAST_LDT
        mov qword ptr [CELL], 1
        mov qword ptr [CELL + 8], 0
        xor eax, eax
        begin
        invpcid rax, [CELL]
        expect GP
        inc eax
        begin
        invpcid rax, [CELL]
        expect GP
        inc eax
        begin
        invpcid rax, [CELL]
        expect NONE
        mov qword ptr [CELL], 0
        dec eax
        begin
        invpcid rax, [CELL]
        expect NONE
        jmp r14

/* SLDT, STR and SMSW: what they store. */
        .macro stored text:vararg
        mov qword ptr [CELL], -1
        inc r12d
        \text
        cmp dword ptr [CELL + 2], -1
        jne fail
        cmp word ptr [CELL], -1
        je fail
        .endm
stores: stored sldt [CELL]
        stored rex.w sldt [CELL]
        stored str [CELL]
        stored rex.w str [CELL]
        stored smsw [CELL]
        stored rex.w smsw [CELL]
        stored data16 smsw [CELL]
        inc r12d
        mov rax, -1
        str eax
        cmp rax, TSS
        jne fail
        jmp r14

/* MTRRs. */
        .macro msr vector, number, low, high=0
        mov ecx, \number
        mov eax, \low
        mov edx, \high
        begin
        wrmsr
        expect \vector
        .endm
registers:
        msr NONE, 0x2ff, 0xc06
        msr GP, 0x2ff, 0xc02
        msr GP, 0x2ff, 0xc07
        msr GP, 0x2ff, 0x1c06
        msr NONE, 0x250, 0x06050401, 0x06060606
        msr GP, 0x250, 0x06060606, 0x06060306
        msr GP, 0x26f, 0x07060606, 0x06060606
        msr NONE, 0x200, 0x80000006
        msr GP, 0x200, 0x80000002
        msr GP, 0x200, 0x80000106
        msr GP, 0x200, 0x80000006, 0x100
        msr NONE, 0x201, 0xf0000800, 0xff
        msr GP, 0x201, 0xf0000801, 0xff
        msr GP, 0x201, 0xf0000800, 0x1ff
        jmp r14

/* EXT in the error codes of faults on the way to a handler. */
delivery:
        mov word ptr [IDT + UD * 16 + 2], 0xfff8
        begin
        ud2
        expect GP, 0xfff9
        begin
        int UD
        expect GP, 0xfff8
        mov word ptr [IDT + UD * 16 + 2], CODE_64
        mov byte ptr [IDT + UD * 16 + 5], 0x0e
        begin
        ud2
        expect NP, (UD*8+3)
        begin
        int UD
        expect NP, (UD*8+2)
        mov byte ptr [IDT + UD * 16 + 5], 0x8e
        mov byte ptr [IDT + UD * 16 + 4], 7 /* beyond the TSS */
        begin
        ud2
        expect TS_FAULT, (TSS+1)
        begin
        int UD
        expect TS_FAULT, TSS
        mov byte ptr [IDT + UD * 16 + 4], 2 /* not canonical */
        begin
        ud2
        expect SS_FAULT, 1
        begin
        int UD
        expect SS_FAULT, 0
        mov byte ptr [IDT + UD * 16 + 4], 1
        begin
        ud2
        expect UD
        jmp r14

/* Addresses that are not canonical: #SS(0) if the stack segment is the default one, else #GP(0). */
canonical:
        mov r11, 0x8000000000000000
        xor eax, eax
        xor r10d, r10d
        mov rbp, r11
        begin
        mov rcx, [rbp]
        expect SS_FAULT
        begin
        mov [rbp + 8], cl
        expect SS_FAULT
        begin
        add [rbp - 8], rcx
        expect SS_FAULT
        begin
        movups xmm0, [rbp]
        expect SS_FAULT
        begin
        movups [rbp], xmm0
        expect SS_FAULT
        begin
        fld qword ptr [rbp]
        expect SS_FAULT
        begin
        fxsave64 [rbp]
        expect SS_FAULT
        begin
        fnstenv [rbp]
        expect SS_FAULT
        begin
        .byte 0x3e /* DS, which means nothing */
        mov rcx, [rbp]
        expect SS_FAULT
        begin
        mov rcx, [rbp + rax]
        expect SS_FAULT
        begin
        mov rcx, [rsp + rbp]
        expect SS_FAULT
        begin
        call [rbp]
        expect SS_FAULT
        begin
        push [rbp]
        expect SS_FAULT
        begin
        pop [rbp]
        expect SS_FAULT
        begin
        lock xadd [rbp], rcx
        expect SS_FAULT
        begin
        mov rcx, fs:[rbp]
        expect GP
        begin
        mov rcx, [rax + rbp]
        expect GP
        begin
        mov rcx, [r11]
        expect GP
        mov r13, r11
        begin
        mov rcx, [r13]
        expect GP
        begin
        push [r11]
        expect GP
        begin
        pop [r11]
        expect GP
        begin
        call [r11]
        expect GP
        mov rsi, r11
        mov edi, CELL
        begin
        movsq
        expect GP
        begin
        jmp r11
        expect GP
        begin
        leave
        expect SS_FAULT
        begin
        mov rsp, r11
        push rax
        expect SS_FAULT
        begin
        mov rsp, r11
        pop rax
        expect SS_FAULT
        begin
        mov rsp, r11
        call canonical
        expect SS_FAULT
        begin
        mov rsp, r11
        call rax
        expect SS_FAULT
        begin
        mov rsp, r11
        ret
        expect SS_FAULT
        begin
        mov rsp, r11
        enter 16, 0
        expect SS_FAULT
        begin
        mov rsp, r11
        pushfq
        expect SS_FAULT
        begin
        mov rsp, r11
        popfq
        expect SS_FAULT
        begin
        mov rsp, r11
        push fs
        expect SS_FAULT
        begin
        mov rsp, r11
        iretq
        expect SS_FAULT
        begin
        mov rsp, r11
        lretq
        expect SS_FAULT
        begin
        mov rsp, r11
        push [rsp + 8]
        expect SS_FAULT
        jmp r14

/* Alignment, which is checked at level 3 with RFLAGS.AC: the code ends with UD2, whose exception tells that all went well. */
        .macro user vector, flags, text:vararg
        begin
        push USER_DATA
        push STACK
        push \flags
        push USER_CODE
        lea rax, [rip + 6f]
        push rax
        mov edi, CELL
        iretq
6:      \text
        ud2
        expect \vector
        .endm
#define AC 0x40002
#define NO_AC 2
alignment:
        user UD, NO_AC, mov eax, [rdi + 2]
        user AC_FAULT, AC, mov eax, [rdi + 2]
        user UD, AC, mov eax, [rdi + 4]
        user AC_FAULT, AC, mov [rdi + 1], ax
        user AC_FAULT, AC, add [rdi + 4], rax
        user AC_FAULT, AC, movups xmm0, [rdi + 8]
        user GP, AC, movaps xmm0, [rdi + 8]
        user AC_FAULT, AC, movsd xmm0, [rdi + 4]
        user UD, AC, fnstenv [rdi + 4]
        user AC_FAULT, AC, fnstenv [rdi + 2]
        user AC_FAULT, AC, mov eax, [WINDOW + 0x1001] /* no user page: alignment comes first */
        user AC_FAULT, AC, push [rdi + 4]
        user UD, AC, prefetcht0 [rdi + 1]
        user AC_FAULT, NO_AC, call set_ac
        jmp r14
set_ac: push AC
        popfq
        mov eax, [rdi + 1]
        ret

mark:   inc r12d
        mov dword ptr [SEEN], NONE
        mov dword ptr [ERROR], 0
        ret
check:  mov ecx, [rsp + 8]
        cmp [ERROR], ecx
        jne fail
        mov ecx, [rsp + 16]
        cmp [SEEN], ecx
        jne fail
        mov esp, STACK
        jmp [rsp - 24]

/* One for each vector, 16 bytes apart. */
        .balign 16
stubs:  .set vector, 0
        .rept 32
        .balign 16
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
        push 0
        .endif
        push vector
        jmp taken
        .set vector, vector + 1
        .endr
taken:  mov [CELL + 16], eax
        pop rax
        mov [SEEN], eax
        pop rax
        mov [ERROR], eax
        mov eax, [CELL + 16]
        jmp r15

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff
        .quad 0x00cf93000000ffff
        .quad 0x00af9b000000ffff
        .quad 0x00affb000000ffff
        .quad 0x00cff3000000ffff
        .word 0x33, (BASE + tss - start) & 0xffff, (BASE + tss - start) >> 16 | 0x8900, 0
        .quad 0
        .word 0x27, 0, 0x8200, 0
        .quad 0x0000000000008000
        .word 0x67, 0, 0x8900, 0
        .quad 0x0000000000008000
        .word 0x27, 0, 0x8200, 0
gdtr:   .word gdtr - gdt - 1
        .quad BASE + gdt - start
idtr:   .word 32 * 16 - 1
        .quad IDT
        .balign 8
tss:    .long 0
        .quad STACK, STACK, STACK, 0
        .quad IST
        .quad 0x8000000000000000
        .fill 64, 1, 0
