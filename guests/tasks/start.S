/*
 * Task switches by the manual (SDM 3A 7; table 7-1): by JMP, CALL, IRET, INT n, faults and interrupts, to TSSs of 32 and 16 bits.
 * The status is 0, or the number of the check that failed. Entered in 32-bit mode, flat, without paging (PVH), at 0x100000.
 * Task A checks; the others are what it switches to. Exceptions in whatever task are noted by `noted`, which goes back
 * to A at [RESUME]. QEMU 7.2 (TCG) passes all checks but these, in which it is not as the manual says: status flags and RF in
 * what is saved, EXT, #TS for #GP and #NP for #SS in a few places, EIP of the new task's faults, and T.
 */
#define BASE 0x100000
#define GDT 0x200000
#define IDT 0x201000
#define TSS_AT(n) (0x202000+0x100*n)
#define LDT_AT 0x203000
#define DATA 0x204000
#define STACK 0x300000
#define STACK_B 0x310000
#define STACK_0 0x320000 /* of privilege level 0, for tasks that are at another */
#define STACK_N 0x330000
#define DIRECTORY_A 0x400000
#define DIRECTORY_B 0x401000
#define TABLE_A 0x402000
#define TABLE_B 0x403000
#define WINDOW 0x800000 /* linear: another page in each directory */
#define APIC 0xfee00000
#define EXIT_PORT 0x501

#define SEEN DATA /* vector of the exception noted, its error code, EIP, CS, EFLAGS, TR, how many */
#define SEEN_CODE (DATA+4)
#define SEEN_EIP (DATA+8)
#define SEEN_CS (DATA+12)
#define SEEN_FLAGS (DATA+16)
#define SEEN_TASK (DATA+20)
#define COUNT (DATA+24)
#define RESUME (DATA+28)
#define ROUND (DATA+32)
#define FROM_B (DATA+36) /* what task B has found: EFLAGS, CR0, ESP, the word on its stack */
#define POINTER (DATA+64)

#define CODE 0x08
#define DATA_0 0x10
#define CODE_3 0x1b
#define DATA_3 0x23
#define TASK_A 0x28
#define TASK_B 0x30
#define TASK_C 0x38 /* 16 bits */
#define TASK_N 0x40 /* what a check makes of it */
#define GATE_B 0x48 /* task gates */
#define GATE_C 0x50
#define GATE_N 0x58
#define LDT 0x60
#define ABSENT 0x68 /* data, not present */
#define READ_ONLY 0x70
#define EXECUTE_ONLY 0x78
#define CODE_16 0x80
#define DATA_16 0x88
#define ABSENT_CODE 0x90
#define SMALL_CODE 0x98 /* 4 KiB */
#define ABSENT_LDT 0xa0
#define ABSENT_3 0xab /* the same, of privilege level 3 */
#define OUTSIDE 0x200

#define TF 0x100
#define IF 0x200
#define NT 0x4000
#define RF 0x10000
#define VM 0x20000
#define NONE 0xff
#define UD 6
#define DF 8
#define TS 10
#define NP 11
#define SS_FAULT 12
#define GP 13
#define PF 14
#define EXT 1

/* Offsets in a 32-bit TSS. */
#define LINK 0
#define ESP0 4
#define SS0 8
#define CR3_ 0x1c
#define EIP_ 0x20
#define EFLAGS_ 0x24
#define EAX_ 0x28
#define ECX_ 0x2c
#define EDX_ 0x30
#define EBX_ 0x34
#define ESP_ 0x38
#define EBP_ 0x3c
#define ESI_ 0x40
#define EDI_ 0x44
#define ES_ 0x48
#define CS_ 0x4c
#define SS_ 0x50
#define DS_ 0x54
#define FS_ 0x58
#define GS_ 0x5c
#define LDT_ 0x60
#define T_ 0x64
#define A TSS_AT(0)
#define B TSS_AT(1)
#define C TSS_AT(2)
#define N TSS_AT(3)

#define ROUNDS 15000 /* enough for the JIT */
#define AT(label) (BASE+label-start)

        .intel_syntax noprefix
#include "../stubs32.h"
        .code32
/* One descriptor: base, limit, type and S and DPL and P, and the flags above the limit. */
        .macro segment selector, base, limit, access, flags=0
        mov eax, \base
        mov ecx, \limit
        mov edx, (\access) | (\flags) << 12
        mov edi, GDT + ((\selector) & ~7)
        call set_segment
        .endm
/* A gate with a selector: an interrupt gate, a task gate. */
        .macro gate at, selector, offset, access
        mov eax, \offset
        mov word ptr [\at], ax
        mov word ptr [\at + 2], \selector
        mov word ptr [\at + 4], (\access) << 8
        shr eax, 16
        mov word ptr [\at + 6], ax
        .endm
/* The next check: what follows ends with `ok`, or `wrong` is gone to by a condition. */
        .macro check condition
        j\condition wrong
        inc dword ptr [ROUND + 64]
        .endm
        .macro same what, value
        cmp dword ptr [\what], \value
        check ne
        .endm
        .macro half what, value
        cmp word ptr [\what], \value
        check ne
        .endm
/* The type in a descriptor: 9 and 11 are TSSs. */
        .macro type selector, value
        mov al, [GDT + \selector + 5]
        and al, 0xf
        cmp al, \value
        check ne
        .endm
/* What an instruction that follows raises: `raises` goes before it, `as` after it. */
        .macro raises
        call forget
        mov dword ptr [RESUME], AT(7f)
        mov dword ptr [RESUME + 96], AT(8f)
8:
        .endm
/* The task and EIP of the exception: A's own instruction, or another's first one. */
        .macro as vector, code, task=TASK_A
7:      mov esp, STACK - 4 /* where the caller's address is */
        same COUNT, 1
        same SEEN, \vector
        same SEEN_CODE, \code
        same SEEN_TASK, \task
        .if \task == TASK_A
        mov eax, [RESUME + 96]
        cmp [SEEN_EIP], eax
        check ne
        .endif
        .endm
/* N is to be switched to: an ordinary task that begins at `label`, which a check then makes wrong. */
        .macro task label
        mov eax, AT(\label)
        call make_task
        .endm
        .macro far_jump selector
        ljmp \selector, 0
        .endm

start:  mov esp, STACK
        mov edi, GDT
        xor eax, eax
        mov ecx, 0x5000 / 4
        cld
        rep stosd
        segment CODE, 0, 0xfffff, 0x9b, 0xc
        segment DATA_0, 0, 0xfffff, 0x93, 0xc
        segment CODE_3, 0, 0xfffff, 0xfb, 0xc
        segment DATA_3, 0, 0xfffff, 0xf3, 0xc
        segment TASK_A, A, 0x67, 0x89
        segment TASK_B, B, 0x67, 0x89
        segment TASK_C, C, 0x2b, 0x81
        segment LDT, LDT_AT, 0xff, 0x82
        segment ABSENT, 0, 0xfffff, 0x13, 0xc
        segment ABSENT_3, 0, 0xfffff, 0x73, 0xc
        segment READ_ONLY, 0, 0xfffff, 0x91, 0xc
        segment EXECUTE_ONLY, 0, 0xfffff, 0x99, 0xc
        segment CODE_16, BASE, 0xffff, 0x9b
        segment DATA_16, 0x2f0000, 0xffff, 0x93
        segment ABSENT_CODE, 0, 0xfffff, 0x1b, 0xc
        segment SMALL_CODE, BASE, 0xfff, 0x9b, 0x4
        segment ABSENT_LDT, LDT_AT, 0xff, 0x02
        gate (GDT+GATE_B), TASK_B, 0, 0x85
        gate (GDT+GATE_C), TASK_C, 0, 0x85
        lgdt [AT(gdtr)]
        ljmp CODE, AT(1f)
1:      mov eax, DATA_0
        mov ds, eax
        mov es, eax
        mov ss, eax
        xor eax, eax
        mov fs, eax
        mov gs, eax
/* All exceptions are noted. */
        mov edi, IDT
        mov esi, AT(stubs)
        mov ecx, 32
2:      mov eax, esi
        mov [edi], ax
        mov word ptr [edi + 2], CODE
        mov word ptr [edi + 4], 0x8e00
        shr eax, 16
        mov [edi + 6], ax
        add edi, 8
        add esi, 16
        loop 2b
        lidt [AT(idtr)]
        mov eax, TASK_A
        ltr ax
        mov dword ptr [A + ESP0], STACK_0
        mov dword ptr [A + SS0], DATA_0
        mov dword ptr [ROUND + 64], 1 /* the number of the check */

        mov dword ptr [ROUND], ROUNDS
again:  mov dword ptr [ROUND + 64], 1
        call ordinary
        dec dword ptr [ROUND]
        jnz again
        call narrow
        call gates
        call old_faults
        call new_faults
        call debugging
        call virtual
        call interrupts
        call paging
        xor eax, eax
        jmp leave
wrong:  mov eax, [ROUND + 64]
leave:  mov dx, EXIT_PORT + 1
        xchg al, ah
        out dx, al /* first the upper half of the number */
        xchg al, ah
        mov dx, EXIT_PORT
        out dx, al
        hlt

/* EDI: a descriptor's address; EAX: base, ECX: limit, EDX: access byte, flags in bits 12 to 15. */
set_segment:
        mov [edi], cx
        mov [edi + 2], ax
        shr eax, 16
        mov [edi + 4], al
        mov [edi + 5], dl
        shr ecx, 16
        shr edx, 8
        or dl, cl
        mov [edi + 6], dl
        mov [edi + 7], ah
        ret

forget: mov dword ptr [COUNT], 0
        mov dword ptr [SEEN], NONE
        mov dword ptr [SEEN_CODE], 0
        ret
/* N begins at EAX with all that it needs, and is not busy. */
make_task:
        mov [N + EIP_], eax
        mov edi, N + EAX_
        mov ecx, 8
        xor eax, eax
        rep stosd
        mov dword ptr [N + LINK], 0
        mov dword ptr [N + EFLAGS_], 2
        mov dword ptr [N + ESP_], STACK_N
        mov dword ptr [N + ESP0], STACK_0
        mov dword ptr [N + SS0], DATA_0
        mov dword ptr [N + ES_], DATA_0
        mov dword ptr [N + CS_], CODE
        mov dword ptr [N + SS_], DATA_0
        mov dword ptr [N + DS_], DATA_0
        mov dword ptr [N + FS_], 0
        mov dword ptr [N + GS_], 0
        mov dword ptr [N + LDT_], 0
        mov dword ptr [N + T_], 0x680000
        mov eax, cr3
        mov [N + CR3_], eax
        segment TASK_N, N, 0x67, 0x89
        gate (GDT+GATE_N), TASK_N, 0, 0x85
        ret

/* Exceptions, in whatever task. They have an error code on the stack, or 0. */
        exception_stubs 32
        .p2align 4
noted:  mov eax, DATA_0
        mov ds, eax
        mov es, eax
        inc dword ptr [COUNT]
        pop dword ptr [SEEN]
        pop dword ptr [SEEN_CODE]
        pop dword ptr [SEEN_EIP]
        pop dword ptr [SEEN_CS]
        pop dword ptr [SEEN_FLAGS]
        str eax
        mov [SEEN_TASK], eax
        cmp eax, TASK_A
        jne back
        jmp [RESUME]
/* From another task to A, which is made available if it is not. */
back:   and byte ptr [GDT + TASK_A + 5], 0xfd
        mov eax, [RESUME]
        mov [A + EIP_], eax
        ljmp TASK_A, 0

/* There and back by JMP, CALL, IRET and gates. */
ordinary:
        mov edi, B
        xor eax, eax
        mov ecx, 26
        rep stosd
        mov dword ptr [B + EIP_], AT(task_b)
        mov dword ptr [B + EFLAGS_], 2
        mov dword ptr [B + EAX_], 0x11111111
        mov dword ptr [B + ECX_], 0x22222222
        mov dword ptr [B + EDX_], 0x33333333
        mov dword ptr [B + EBX_], 0x44444444
        mov dword ptr [B + ESP_], STACK_B
        mov dword ptr [B + EBP_], 0x55555555
        mov dword ptr [B + ESI_], 0x66666666
        mov dword ptr [B + EDI_], 0x77777777
        mov dword ptr [B + ES_], DATA_0
        mov dword ptr [B + CS_], CODE
        mov dword ptr [B + SS_], DATA_0
        mov dword ptr [B + DS_], DATA_0
        mov dword ptr [B + FS_], DATA_3
        mov dword ptr [B + GS_], 0x14 /* the third of the LDT */
        mov dword ptr [B + LDT_], LDT
        mov dword ptr [LDT_AT + 0x10], (DATA & 0xffff) << 16 | 0xfff /* 4 KiB of data at DATA */
        mov dword ptr [LDT_AT + 0x14], 0x0040f300 | (DATA >> 16)
        mov word ptr [B + T_ + 2], 0x68
        mov word ptr [B + LINK], 0xabcd
        and byte ptr [GDT + TASK_B + 5], 0xfd
        clts
        mov eax, 0xa0a0a0a0
        mov ecx, 0xa1a1a1a1
        mov edx, 0xa2a2a2a2
        mov ebx, 0xa3a3a3a3
        mov ebp, 0xa5a5a5a5
        mov esi, 0xa6a6a6a6
        mov edi, 0xa7a7a7a7
        mov [FROM_B + 16], esp
        stc
        far_jump TASK_B
after_jump:
        check nc
        cmp eax, 0xa0a0a0a0
        check ne
        cmp edi, 0xa7a7a7a7
        check ne
        cmp esp, [FROM_B + 16]
        check ne
/* What A left in its TSS. */
        same (A+EIP_), AT(after_jump)
        same (A+EAX_), 0xa0a0a0a0
        same (A+ECX_), 0xa1a1a1a1
        same (A+EDX_), 0xa2a2a2a2
        same (A+EBX_), 0xa3a3a3a3
        same (A+EBP_), 0xa5a5a5a5
        same (A+ESI_), 0xa6a6a6a6
        same (A+EDI_), 0xa7a7a7a7
        mov eax, [FROM_B + 16]
        cmp [A + ESP_], eax
        check ne
        same (A+ES_), DATA_0
        same (A+CS_), CODE
        same (A+SS_), DATA_0
        same (A+FS_), 0
        same (A+LDT_), 0
        mov eax, [A + EFLAGS_]
        and eax, NT|RF|3
        cmp eax, 3
        check ne
        half (B+LINK), 0xabcd
        type TASK_A, 11
        type TASK_B, 9
        str eax
        cmp eax, TASK_A
        check ne
        sldt eax
        test ax, ax
        check nz
        mov eax, cr0
        test al, 8
        check z
/* What B found. */
        same FROM_B, 2
        test byte ptr [FROM_B + 4], 8
        check z
        same (FROM_B+8), STACK_B
/* CALL nests B in A; B goes on behind its JMP, and returns by IRET. */
        lcall TASK_B, 0
called: type TASK_A, 11
        type TASK_B, 9
        half (B+LINK), TASK_A
        same (A+EIP_), AT(called)
        same FROM_B, NT|2
        same (FROM_B+4), 0x0b09 /* types of A and B within it */
        test dword ptr [B + EFLAGS_], NT
        check nz
        same (B+EIP_), AT(b_called)
        pushfd
        pop eax
        test eax, NT
        check nz
/* By a task gate, through memory. */
        mov dword ptr [POINTER], 0x12345678
        mov word ptr [POINTER + 4], GATE_B
        lcall [POINTER]
        half (B+LINK), TASK_A
        type TASK_B, 9
        ljmp GATE_B, 0 /* B finds no NT, and goes back by JMP */
        type TASK_B, 9
        ret

/* B: checks what it has been given, and goes back by JMP; then by IRET each time it is called. */
task_b: lahf
        cmp eax, 0x11110211
        jne bad_b
        cmp ecx, 0x22222222
        jne bad_b
        cmp edx, 0x33333333
        jne bad_b
        cmp ebx, 0x44444444
        jne bad_b
        cmp ebp, 0x55555555
        jne bad_b
        cmp esi, 0x66666666
        jne bad_b
        cmp edi, 0x77777777
        jne bad_b
        mov eax, fs
        cmp eax, DATA_3
        jne bad_b
        sldt eax
        cmp eax, LDT
        jne bad_b
        mov eax, gs:[FROM_B - DATA + 16]
        cmp eax, [FROM_B + 16]
        jne bad_b
        str eax
        cmp eax, TASK_B
        jne bad_b
        mov al, [GDT + TASK_A + 5]
        cmp al, 0x89
        jne bad_b
        mov al, [GDT + TASK_B + 5]
        cmp al, 0x8b
        jne bad_b
        mov [FROM_B + 8], esp
        pushfd
        pop eax
        and eax, NT|RF|IF|TF|2
        mov [FROM_B], eax
        mov eax, cr0
        mov [FROM_B + 4], eax
        ljmp TASK_A, 0
b_again:
        pushfd
        pop eax
        and eax, NT|2
        mov [FROM_B], eax
        mov ah, [GDT + TASK_A + 5]
        mov al, [GDT + TASK_B + 5]
        and eax, 0x0f0f
        xor al, 2
        mov [FROM_B + 4], eax
        test dword ptr [FROM_B], NT
        jz 1f
        iretd
b_called:
        jmp b_again
1:      ljmp TASK_A, 0
        jmp b_again
bad_b:  jmp wrong

/* A TSS of 16 bits: of the old task's registers it has the lower halves. */
narrow: mov edi, C
        xor eax, eax
        mov ecx, 11
        rep stosd
        mov word ptr [C + 0x0e], task_c - start
        mov word ptr [C + 0x10], 2
        mov word ptr [C + 0x12], 0x1111
        mov word ptr [C + 0x1a], 0x8000
        mov word ptr [C + 0x22], DATA_0
        mov word ptr [C + 0x24], CODE_16
        mov word ptr [C + 0x26], DATA_16
        mov word ptr [C + 0x28], DATA_0
        mov dword ptr [C + 0x2c], 0x5a5a5a5a
        mov eax, DATA_3
        mov fs, eax
        mov gs, eax
        lcall TASK_C, 0
        same FROM_B, NT|2
        half (FROM_B+4), 0x1111
        same (FROM_B+8), 0
        same (FROM_B+12), TASK_C
        same (C+0x2c), 0x5a5a5a5a
        half (C+0), TASK_A
        half (C+0x0e), (c_again-start)
        half (C+0x12), 0xc0c0
        half (C+0x16), 0xc2c2
        half (C+0x1a), 0x7ff8
        half (C+0x20), 0xc7c7
        half (C+0x24), CODE_16
        half (C+0x26), DATA_16
        type TASK_C, 1
        mov eax, fs
        cmp eax, DATA_3
        check ne
        ljmp GATE_C, 0
        half FROM_B, 0x77
        xor eax, eax
        mov fs, eax
        mov gs, eax
        ret
        .code16
task_c: addr32 mov word ptr [FROM_B + 4], ax
        mov ax, fs
        mov cx, gs
        or ax, cx
        movzx eax, ax
        addr32 mov dword ptr [FROM_B + 8], eax
        pushfd
        pop eax
        and eax, NT|2
        addr32 mov dword ptr [FROM_B], eax
        xor eax, eax
        str ax
        addr32 mov dword ptr [FROM_B + 12], eax
        mov eax, 0xc0c0c0c0
        mov edx, 0xc2c2c2c2
        mov edi, 0xc7c7c7c7
        sub sp, 8
        iret
c_again:
        addr32 mov word ptr [FROM_B], 0x77
        ljmp TASK_A, 0
        .code32

/* INT n and faults by task gates. */
gates:  task returns
        gate (IDT+8*0x50), TASK_N, 0, 0xe5
        int 0x50
        half (N+LINK), TASK_A
        type TASK_N, 9
        same FROM_B, NT|2
        same (FROM_B+8), STACK_N /* no error code */
        int 0x50
        gate (IDT+8*0x51), TASK_N, 0, 0x65 /* not present */
        raises
        int 0x51
        as NP, (0x51*8+2)
        gate (IDT+8*0x51), TASK_N|4, 0, 0xe5
        raises
        int 0x51
        as GP, (TASK_N|4)
        gate (IDT+8*0x51), TASK_A, 0, 0xe5 /* busy */
        raises
        int 0x51
        as GP, TASK_A
        gate (IDT+8*0x51), LDT, 0, 0xe5
        raises
        int 0x51
        as GP, LDT
        gate (IDT+8*0x51), OUTSIDE, 0, 0xe5
        raises
        int 0x51
        as GP, OUTSIDE
/* From user mode a gate has to have DPL 3. */
        gate (IDT+8*0x51), TASK_N, 0, 0x85
        raises
        mov dword ptr [RESUME + 96], AT(user_int)
        push DATA_3
        push STACK_B
        push CODE_3
        push AT(user_int)
        lret
user_int:
        int 0x51
        as GP, (0x51*8+2)
/* #UD has no error code; EIP and RF are saved as a fault's. */
        task returns
        gate (IDT+8*UD), TASK_N, 0, 0x85
        mov dword ptr [FROM_B + 20], AT(7f) /* where N has A go on */
faulty: ud2
7:      half N+LINK, TASK_A
        same (FROM_B+8), STACK_N
        same (FROM_B+12), AT(faulty)
        mov eax, [FROM_B + 16]
        and eax, RF|NT
        cmp eax, RF
        check ne
        gate (IDT+8*UD), CODE, AT(stubs)+16*UD, 0x8e
/* #GP pushes its code on the new stack. */
        task returns
        gate (IDT+8*GP), TASK_N, 0, 0x85
        mov dword ptr [FROM_B + 20], AT(7f)
        mov eax, OUTSIDE
        mov es, eax
7:      same FROM_B+8, (STACK_N-4)
        same (STACK_N-4), OUTSIDE
        type TASK_N, 9
        mov eax, es
        cmp eax, DATA_0
        check ne
        gate (IDT+8*GP), CODE, AT(stubs)+16*GP, 0x8e
/* A double fault: the gate of #GP has no code segment. */
        task returns
        gate (IDT+8*GP), 0, 0, 0x8e
        gate (IDT+8*DF), TASK_N, 0, 0x85
        mov dword ptr [FROM_B + 20], AT(7f)
        mov eax, OUTSIDE
        mov es, eax
7:      same FROM_B+8, (STACK_N-4)
        same (STACK_N-4), 0
        gate (IDT+8*GP), CODE, AT(stubs)+16*GP, 0x8e
        gate (IDT+8*DF), CODE, AT(stubs)+16*DF, 0x8e
/* A fault whose handler's task is busy: #GP with EXT, of which #UD makes no double fault. */
        gate (IDT+8*UD), TASK_A, 0, 0x85
        raises
        ud2
        as GP, (TASK_A|EXT)
        task returns
        mov dword ptr [N + DS_], OUTSIDE
        gate (IDT+8*UD), TASK_N, 0, 0x85
        raises
        ud2
        as TS, (OUTSIDE|EXT), TASK_N
        gate (IDT+8*UD), CODE, AT(stubs)+16*UD, 0x8e
        ret
/* Goes back by IRET, to [FROM_B + 20] if that is not 0, with what it has found in FROM_B. */
returns:
        mov [FROM_B + 8], esp
        mov esp, STACK_N - 64
        pushfd
        pop eax
        and eax, NT|RF|IF|TF|2
        mov [FROM_B], eax
        mov eax, [A + EIP_]
        mov [FROM_B + 12], eax
        mov eax, [A + EFLAGS_]
        mov [FROM_B + 16], eax
        mov eax, [FROM_B + 20]
        test eax, eax
        jz 1f
        mov [A + EIP_], eax
        mov dword ptr [FROM_B + 20], 0
1:      mov esp, STACK_N
        iretd
        jmp returns

/* What is wrong with the TSS is the old task's fault. */
old_faults:
        task back
        raises
        far_jump TASK_A /* busy */
        as GP, TASK_A
        type TASK_A, 11
        raises
        lcall TASK_A, 0
        as GP, TASK_A
        segment TASK_N, N, 0x67, 0x09
        raises
        far_jump TASK_N
        as NP, TASK_N
        raises
        far_jump GATE_N
        as NP, TASK_N
        segment TASK_N, N, 0x66, 0x89
        raises
        far_jump TASK_N
        as TS, TASK_N
        type TASK_N, 9
        type TASK_A, 11
        segment TASK_C, C, 0x2a, 0x81
        raises
        lcall TASK_C, 0
        as TS, TASK_C
        segment TASK_C, C, 0x2b, 0x81
        gate (GDT+GATE_N), TASK_N, 0, 0x05
        raises
        far_jump GATE_N
        as NP, GATE_N
        gate (GDT+GATE_N), CODE, 0, 0x85
        raises
        far_jump GATE_N
        as GP, CODE
        gate (GDT+GATE_N), GATE_B, 0, 0x85
        raises
        far_jump GATE_N
        as GP, GATE_B
        gate (GDT+GATE_N), 0, 0, 0x85
        raises
        far_jump GATE_N
        as GP, 0
        gate (GDT+GATE_N), TASK_N|4, 0, 0x85
        raises
        lcall GATE_N, 0
        as GP, (TASK_N|4)
        task back
/* The selector's RPL, and the privilege level, against DPL. */
        raises
        far_jump TASK_N|3
        as GP, TASK_N
        raises
        far_jump GATE_N|1
        as GP, GATE_N
        raises
        mov dword ptr [RESUME + 96], AT(user_jump)
        push DATA_3
        push STACK_B
        push CODE_3
        push AT(user_jump)
        lret
user_jump:
        far_jump TASK_N
        as GP, TASK_N
/* Nothing has been changed. */
        type TASK_N, 9
        type TASK_A, 11
/* IRET to a task that is not busy, is none, or is outside the table. */
        .macro nested link
        mov word ptr [A + LINK], \link
        raises
        pushfd
        or dword ptr [esp], NT
        popfd
        mov dword ptr [RESUME + 96], AT(9f)
9:      iretd
        .endm
        nested TASK_N
        as TS, TASK_N
        test dword ptr [SEEN_FLAGS], NT
        check z
        nested CODE
        as TS, CODE
        nested OUTSIDE
        as TS, OUTSIDE
        nested TASK_N|4
        as TS, (TASK_N|4)
        nested 0
        as TS, 0
        segment TASK_N, N, 0x67, 0x0b
        nested TASK_N
        as NP, TASK_N
        pushfd
        and dword ptr [esp], ~NT
        popfd
/* IRET from nesting may go to a task at another privilege level, and marks the one it leaves. */
        task ring_3
        mov dword ptr [N + CS_], CODE_3
        mov dword ptr [N + SS_], DATA_3
        mov dword ptr [N + DS_], DATA_3
        mov dword ptr [N + ES_], DATA_3
        or byte ptr [GDT + TASK_N + 5], 2
        nested TASK_N
        as GP, (0x40*8+2), TASK_N
        same SEEN_CS, CODE_3
        same SEEN_EIP, AT(ring_3)
        ret
ring_3: int 0x40

/* What is wrong with the registers is the new task's fault, at its first instruction. */
        .macro wrong_register offset, value, vector, code
        task back
        mov dword ptr [N + \offset], \value
        raises
        far_jump TASK_N
        as \vector, \code, TASK_N
        same SEEN_EIP, AT(back)
        type TASK_A, 11
        .endm
new_faults:
        wrong_register LDT_, OUTSIDE, TS, OUTSIDE
        wrong_register LDT_, CODE, TS, CODE
        wrong_register LDT_, ABSENT_LDT, TS, ABSENT_LDT
        wrong_register LDT_, LDT|4, TS, (LDT|4)
        wrong_register CS_, 0, TS, 0
        wrong_register CS_, OUTSIDE, TS, OUTSIDE
        wrong_register CS_, DATA_0, TS, DATA_0
        wrong_register CS_, (CODE_3 & ~3), TS, (CODE_3 & ~3)
        wrong_register CS_, ABSENT_CODE, NP, ABSENT_CODE
        wrong_register DS_, OUTSIDE, TS, OUTSIDE
        wrong_register ES_, EXECUTE_ONLY, TS, EXECUTE_ONLY
        wrong_register FS_, ABSENT, NP, ABSENT
        wrong_register GS_, TASK_A, TS, TASK_A
        wrong_register GS_, DATA_0|3, TS, DATA_0
/* Faults of the stack segment, in a task of another privilege level: their handler has a stack of its own. */
        .macro wrong_stack value, vector, code
        task ring_3
        mov dword ptr [N + CS_], CODE_3
        mov dword ptr [N + DS_], DATA_3
        mov dword ptr [N + ES_], DATA_3
        mov dword ptr [N + SS_], \value
        raises
        far_jump TASK_N
        as \vector, \code, TASK_N
        same SEEN_EIP, AT(ring_3)
        same SEEN_CS, CODE_3
        .endm
        wrong_stack 0, TS, 0
        wrong_stack OUTSIDE|3, TS, OUTSIDE
        wrong_stack CODE_3, TS, (CODE_3&~3)
        wrong_stack DATA_0, TS, DATA_0
        wrong_stack (DATA_3&~3), TS, (DATA_3&~3)
        wrong_stack ABSENT_3, SS_FAULT, (ABSENT_3&~3)
/* EIP beyond the limit of CS. */
        task back
        mov dword ptr [N + CS_], SMALL_CODE
        mov dword ptr [N + EIP_], 0x1000
        raises
        far_jump TASK_N
        as GP, 0, TASK_N
        same SEEN_EIP, 0x1000
/* A call is as good as a jump: the new task has NT and the link. */
        task back
        mov dword ptr [N + DS_], OUTSIDE
        raises
        lcall TASK_N, 0
        as TS, OUTSIDE, TASK_N
        test dword ptr [SEEN_FLAGS], NT
        check z
        half (N+LINK), TASK_A
        ret

/* T in a TSS traps before the task's first instruction; a switch disables local breakpoints. */
debugging:
        task back
        mov byte ptr [N + T_], 1
        mov eax, 0x50
        mov dr0, eax
        mov eax, 0x7ff
        mov dr7, eax
        xor eax, eax
        mov dr6, eax
        raises
        far_jump TASK_N
        as 1, 0, TASK_N
        same SEEN_EIP, AT(back)
        mov eax, dr6
        and eax, 0xe00f
        cmp eax, 0x8000
        check ne
        mov eax, dr7
        cmp eax, 0x7aa
        check ne
        mov eax, 0x400
        mov dr7, eax
/* RF in a TSS passes the breakpoint on the task's first instruction; without it, that is hit. */
        task watched
        mov eax, AT(watched)
        mov dr0, eax
        mov eax, 0x402
        mov dr7, eax
        raises
        far_jump TASK_N
        as 1, 0, TASK_N
        task watched
        mov dword ptr [N + EFLAGS_], RF|2
        call forget
        mov dword ptr [RESUME], AT(7f)
        far_jump TASK_N
7:      same COUNT, 0
        mov eax, 0x400
        mov dr7, eax
        ret
watched:
        jmp back

/* Virtual-8086 mode by a TSS, and out of it by a task gate. */
virtual:
        mov dword ptr [0x6000], 0x90f40b0f /* ud2; hlt */
        task back
        mov dword ptr [N + EIP_], 0
        mov dword ptr [N + EFLAGS_], VM|2
        mov dword ptr [N + CS_], 0x600
        mov dword ptr [N + SS_], 0x700
        mov dword ptr [N + ESP_], 0x1000
        mov dword ptr [N + DS_], 0x1234
        mov dword ptr [B + EIP_], AT(task_v)
        mov dword ptr [B + EFLAGS_], 2
        gate (IDT+8*UD), TASK_B, 0, 0x85
        raises
        far_jump TASK_N
        as GP, 0, TASK_N
        same SEEN_EIP, 2
        same SEEN_CS, 0x600
        mov eax, [SEEN_FLAGS]
        and eax, VM|NT|IF
        cmp eax, VM
        check ne
        same (FROM_B+4), 0x600
        same (FROM_B+8), 0x1234
        half (B+LINK), TASK_N
        same FROM_B, (VM|RF|2)
        gate (IDT+8*UD), CODE, AT(stubs)+16*UD, 0x8e
        ret
task_v: mov eax, [N + EFLAGS_]
        and eax, VM|RF|NT|2
        mov [FROM_B], eax
        mov eax, [N + CS_]
        mov [FROM_B + 4], eax
        mov eax, [N + DS_]
        mov [FROM_B + 8], eax
        add dword ptr [N + EIP_], 2
        iretd

/* An interrupt by a task gate. */
interrupts:
        mov al, 0xff
        out 0x21, al
        out 0xa1, al
        mov dword ptr [APIC + 0xf0], 0x1ff
        task returns
        gate (IDT+8*0x60), TASK_N, 0, 0x85
        mov dword ptr [FROM_B], 0
        mov dword ptr [APIC + 0x300], 0x40060 /* to itself */
        sti
        nop
        nop
        nop
        cli
        mov dword ptr [APIC + 0xb0], 0
        same FROM_B, NT|2
        same (FROM_B+8), STACK_N
        mov eax, [FROM_B + 16]
        and eax, IF|NT
        cmp eax, IF
        check ne
        ret

/* Every task has its address space. */
paging: mov dword ptr [DIRECTORY_A], 0x83
        mov dword ptr [DIRECTORY_A + 4], 0x400083
        mov dword ptr [DIRECTORY_A + 8], TABLE_A + 3
        mov dword ptr [DIRECTORY_B], 0x83
        mov dword ptr [DIRECTORY_B + 4], 0x400083
        mov dword ptr [DIRECTORY_B + 8], TABLE_B + 3
        mov dword ptr [TABLE_A], 0x404003
        mov dword ptr [TABLE_B], 0x405003
        mov dword ptr [0x404000], 0xaaaa
        mov dword ptr [0x405000], 0xbbbb
        mov eax, 0x10 /* PSE */
        mov cr4, eax
        mov eax, DIRECTORY_A
        mov cr3, eax
        mov [A + CR3_], eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        same WINDOW, 0xaaaa
        task look
        mov dword ptr [N + CR3_], DIRECTORY_B
        far_jump TASK_N
        same FROM_B, 0xbbbb
        same WINDOW, 0xaaaa
        mov eax, cr3
        cmp eax, DIRECTORY_A
        check ne
        same (A+CR3_), DIRECTORY_A
/* A TSS that is not mapped is the old task's page fault. */
        segment TASK_N, 0xc00000, 0x67, 0x89
        raises
        far_jump TASK_N
        as PF, 0
        mov eax, cr2
        and eax, ~0x7f
        cmp eax, 0xc00000
        check ne
        type TASK_N, 9
/* A stack that is not mapped: #PF in #PF is a double fault, whose task has a stack. */
        task returns
        gate (IDT+8*DF), TASK_N, 0, 0x85
        mov dword ptr [FROM_B + 20], AT(7f)
        mov dword ptr [STACK_N - 4], 1
        mov esp, 0xc80000
overflow:
        push eax
7:      mov esp, STACK - 4
        same (FROM_B+8), (STACK_N-4)
        same (STACK_N-4), 0
        same (FROM_B+12), AT(overflow)
        mov eax, cr2
        shr eax, 12
        cmp eax, 0xc7f
        check ne
        ret
look:   mov eax, [WINDOW]
        mov [FROM_B], eax
        ljmp TASK_A, 0

gdtr:   .word 0x1ff
        .long GDT
idtr:   .word 0x7ff
        .long IDT
