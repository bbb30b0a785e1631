/*
 * Virtual-8086 mode with and without CR4.VME, and CR4.PVI (SDM 3B 20.2, 20.3, 20.4; AMD APM 2, 8.9). Each check enters a few
 * instructions at `label` with given RFLAGS; they end with an exception, which is compared: vector, error code, IP, and
 * IF, VIF, VIP, TF and IOPL. The status is 0, or the number of the check that failed.
 * Entered in 32-bit mode, flat, without paging (PVH), at 0x100000, which 8086 code sees as FFFF:0010.
 */
#define BASE 0x100000
#define GDT 0x200000
#define IDT 0x201000
#define TSS 0x202000
#define DATA 0x204000
#define STACK 0x300000
#define STACK_0 0x320000
#define STACK_3 0x330000
#define SEGMENT 0x600 /* of 8086 code's data and stack */
#define LOW 0x6000
#define EXIT_PORT 0x501

#define SEEN DATA
#define SEEN_CODE (DATA+4)
#define SEEN_IP (DATA+8)
#define SEEN_CS (DATA+12)
#define SEEN_FLAGS (DATA+16)
#define SEEN_SP (DATA+20)
#define CHECK (DATA+24)
#define RESUME (DATA+28)
#define ROUND (DATA+32)

#define CODE 0x08
#define DATA_0 0x10
#define CODE_3 0x1b
#define DATA_3 0x23
#define TASK 0x28
#define HIGH 0xffff /* CS of 8086 code */

#define TF 0x100
#define IF 0x200
#define IOPL_3 0x3000
#define NT 0x4000
#define VM 0x20000
#define VIF 0x80000
#define VIP 0x100000
#define SHOWN (TF|IF|IOPL_3|VM|VIF|VIP)
#define VME 1
#define PVI 2
#define GP 13
#define BP 3
#define ROUNDS 200
#define AT(label) (BASE+label-start)
#define IP(label) (0x10+label-start)

        .intel_syntax noprefix
#include "../stubs32.h"
        .code32
        .macro check condition
        j\condition wrong
        inc dword ptr [CHECK]
        .endm
        .macro same what, value
        cmp dword ptr [\what], \value
        check ne
        .endm
/* A word on the 8086 stack, which begins at 0x1000. */
        .macro word at, value
        cmp word ptr [LOW + \at], \value
        check ne
        .endm
/* 8086 code from `label` on with CR4 and RFLAGS, up to an exception at `end`. */
        .macro real cr4, flags, label, vector, end, after
        mov eax, \cr4
        mov cr4, eax
        mov eax, (\flags)|VM|2
        mov ecx, IP(\label)
        call enter_8086
        mov eax, (\after)|VM
        mov ecx, IP(\end)
        mov edx, \vector
        call compare
        check ne
        .endm
/* The same in 32-bit code at CPL 3. */
        .macro user cr4, flags, label, vector, end, after
        mov eax, \cr4
        mov cr4, eax
        mov eax, (\flags)|2
        mov ecx, AT(\label)
        call enter_user
        mov eax, \after
        mov ecx, AT(\end)
        mov edx, \vector
        call compare
        check ne
        .endm

start:  mov esp, STACK
        mov edi, GDT
        xor eax, eax
        mov ecx, 0x5000 / 4
        cld
        rep stosd
        mov esi, AT(descriptors)
        mov edi, GDT
        mov ecx, 12
        rep movsd
        lgdt [AT(gdtr)]
        ljmp CODE, AT(1f)
1:      mov eax, DATA_0
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov edi, IDT
        mov esi, AT(stubs)
        mov ecx, 48
2:      mov eax, esi
        mov [edi], ax
        mov word ptr [edi + 2], CODE
        mov word ptr [edi + 4], 0xee00
        shr eax, 16
        mov [edi + 6], ax
        add edi, 8
        add esi, 16
        loop 2b
        lidt [AT(idtr)]
        mov dword ptr [TSS + 4], STACK_0
        mov dword ptr [TSS + 8], DATA_0
        mov word ptr [TSS + 0x66], 0x88 /* the I/O map; the map of redirected interrupts is before it */
        mov byte ptr [TSS + 0x68 + (0x22 >> 3)], 1 << (0x22 & 7) /* INT 22h is not redirected */
        mov word ptr [TSS + 0x88], 0xffff
        mov eax, TASK
        ltr ax
        mov word ptr [4 * 0x21], IP(handler)
        mov word ptr [4 * 0x21 + 2], HIGH
        mov word ptr [4 * 3], IP(handler)
        mov word ptr [4 * 3 + 2], HIGH
        mov dword ptr [ROUND], ROUNDS
again:  mov dword ptr [CHECK], 1

/* Without VME: IOPL below 3 lets nothing through, IOPL 3 lets everything. */
        real 0, IF, r_sti, GP, r_sti, IF
        real 0, IF, r_cli, GP, r_cli, IF
        real 0, IF, r_pushf, GP, r_pushf, IF
        real 0, IF, r_popf, GP, r_popf, IF
        real 0, IF, r_iret, GP, r_iret, IF
        real 0, IF, r_int, GP, r_int, IF
        real 0, IOPL_3, r_sti, GP, r_sti_end, IOPL_3|IF
        real 0, IOPL_3|IF, r_int, 0x21, r_int_end, IOPL_3|IF
        real 0, IF, r_int3, BP, r_int3_end, IF
/* VME: CLI and STI are about VIF; what PUSHF shows as IF is VIF, with IOPL 3. */
        real VME, IF, r_sti, GP, r_sti_end, IF|VIF
        real VME, 0, r_sti, GP, r_sti_end, VIF
        real VME, IF|VIF, r_cli, GP, r_cli_end, IF
        real VME, IF|VIP, r_sti, GP, r_sti, IF|VIP
        real VME, IF|VIF|VIP, r_cli, GP, r_cli_end, IF|VIP
        real VME, IF|VIF|NT, r_pushf, GP, r_pushf_end, IF|VIF
        word 0xffe, (IF|IOPL_3|NT|2)
        real VME, IF, r_pushf, GP, r_pushf_end, IF
        word 0xffe, (IOPL_3|2)
        real VME, IF, r_pushfd, GP, r_pushfd, IF
        real VME, IF, r_popfd, GP, r_popfd, IF
/* POPF sets VIF, never IF and IOPL; not TF, and not VIF while an interrupt waits. */
        mov word ptr [LOW + 0x1000], IF|IOPL_3|0x8d5
        real VME, 0, r_popf, GP, r_popf_end, VIF
        mov eax, [SEEN_FLAGS]
        and eax, 0x8d5
        cmp eax, 0x8d5
        check ne
        mov word ptr [LOW + 0x1000], 0
        real VME, IF|VIF, r_popf, GP, r_popf_end, IF
        real VME, IF|VIF|VIP, r_popf, GP, r_popf_end, IF|VIP
        mov word ptr [LOW + 0x1000], IF
        real VME, IF|VIP, r_popf, GP, r_popf, IF|VIP
        same SEEN_SP, 0x1000
        mov word ptr [LOW + 0x1000], TF
        real VME, IF, r_popf, GP, r_popf, IF
/* IRET the same. */
        mov word ptr [LOW + 0x1000], IP(r_sti_end)
        mov word ptr [LOW + 0x1002], HIGH
        mov word ptr [LOW + 0x1004], IF
        real VME, 0, r_iret, GP, r_sti_end, VIF
        same SEEN_SP, 0x1006
        real VME, IF|VIP, r_iret, GP, r_iret, IF|VIP
        same SEEN_SP, 0x1000
        mov word ptr [LOW + 0x1004], TF
        real VME, IF, r_iret, GP, r_iret, IF
        mov word ptr [LOW + 0x1004], IOPL_3
        real VME, IF|VIF, r_iret, GP, r_sti_end, IF
        real VME, IF, r_iretd, GP, r_iretd, IF
/* INT n goes by the vectors at 0 where the map has a clear bit, and INT3 does not. */
        real VME, IF|VIF, r_int, GP, handler, IF
        word 0xffe, (IF|IOPL_3|2)
        word 0xffc, HIGH
        word 0xffa, IP(r_int_end)
        same SEEN_SP, 0xffa
        real VME, IF, r_int, GP, handler, IF
        word 0xffe, (IOPL_3|2)
        real VME, IF|VIF, r_int_22, GP, r_int_22, IF|VIF
        real VME, IOPL_3|IF, r_int, GP, handler, IOPL_3
        word 0xffe, (IF|IOPL_3|2)
        real VME, IOPL_3|IF, r_int_22, 0x22, r_int_22_end, IOPL_3|IF
        real VME, IF|VIF, r_int3, BP, r_int3_end, IF|VIF
        real VME, IF|VIF, r_int_3, GP, handler, IF
        mov word ptr [TSS + 0x66], 0x100 /* beyond the limit */
        real VME, IOPL_3|IF, r_int, GP, r_int, IOPL_3|IF
        mov word ptr [TSS + 0x66], 0x88
/* PVI is about CLI and STI at CPL 3, and VME is not. */
        user 0, IF, u_sti, GP, u_sti, IF
        user VME, IF, u_sti, GP, u_sti, IF
        user PVI, IF, u_sti, GP, u_sti_end, IF|VIF
        user PVI, IF|VIF, u_cli, GP, u_cli_end, IF
        user PVI, IF|VIP, u_sti, GP, u_sti, IF|VIP
        user PVI, IF|IOPL_3, u_cli, GP, u_cli_end, IOPL_3
        user PVI, IF|VIF, u_pushf, GP, u_pushf_end, IF|VIF
        mov eax, [STACK_3 - 4]
        and eax, SHOWN
        cmp eax, IF|VIF
        check ne
        real PVI, IF, r_sti, GP, r_sti, IF
        dec dword ptr [ROUND]
        jnz again
        xor eax, eax
        jmp leave
wrong:  mov eax, [CHECK]
leave:  mov dx, EXIT_PORT
        out dx, al
        hlt

/* EAX: RFLAGS, ECX: IP. Come back by `noted`. */
enter_8086:
        pop dword ptr [RESUME]
        push 0 /* GS, FS */
        push 0
        push SEGMENT
        push SEGMENT
        push SEGMENT
        push 0x1000
        push eax
        push HIGH
        push ecx
        iretd
enter_user:
        pop dword ptr [RESUME]
        push DATA_3
        push STACK_3
        push eax
        push CODE_3
        push ecx
        iretd
/* EAX: flags, ECX: IP, EDX: vector. ZF: they are what has been seen. Error codes are 0. */
compare:
        mov esi, [SEEN_FLAGS]
        and esi, SHOWN
        cmp esi, eax
        jne 1f
        cmp [SEEN_IP], ecx
        jne 1f
        cmp [SEEN], edx
        jne 1f
        cmp dword ptr [SEEN_CODE], 0
1:      ret

        exception_stubs 48
noted:  mov eax, DATA_0
        mov ds, eax
        mov es, eax
        pop dword ptr [SEEN]
        pop dword ptr [SEEN_CODE]
        pop dword ptr [SEEN_IP]
        pop dword ptr [SEEN_CS]
        pop dword ptr [SEEN_FLAGS]
        pop dword ptr [SEEN_SP]
        mov esp, STACK
        jmp [RESUME]

u_sti:  sti
u_sti_end:
        hlt
u_cli:  cli
u_cli_end:
        hlt
u_pushf:
        pushfd
u_pushf_end:
        hlt

        .code16
r_sti:  sti
r_sti_end:
        hlt
r_cli:  cli
r_cli_end:
        hlt
r_pushf:
        pushf
r_pushf_end:
        hlt
r_pushfd:
        pushfd
        hlt
r_popf: popf
r_popf_end:
        hlt
r_popfd:
        popfd
        hlt
r_iret: iret
r_iretd:
        iretd
r_int:  int 0x21
r_int_end:
        hlt
r_int_22:
        int 0x22
r_int_22_end:
        hlt
r_int_3:
        .byte 0xcd, 3
        hlt
r_int3: int3
r_int3_end:
        hlt
handler:
        hlt

        .p2align 3
descriptors:
        .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff
        .quad 0x0000892020000089 /* the TSS, with its maps */
gdtr:   .word 0x2f
        .long GDT
idtr:   .word 0x17f
        .long IDT
