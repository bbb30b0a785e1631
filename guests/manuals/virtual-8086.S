/*
 * Virtual-8086 mode (SDM 3A 21.2 to 21.4; CLI, STI, PUSHF, POPF, INT n, IRET in 2): ways in and out with their frames, addresses, what IOPL
 * and the I/O bitmap permit, instructions that there are not; VME and PVI where CPUID offers them.
 * QEMU's TCG departs from it: segments have no limits, FS and GS are not null outside, faults set neither RF nor EXT, INT1 is #UD, IRETD cannot
 * fault and cuts EIP off on the way in, there is no #AC, level 3 can set VM by IRET; CR4.VME and PVI, which it does not offer, can be set.
 */
#define MODE32
#include "start.h"
#define DESCRIPTOR(n, low, high) mov dword ptr [gdt + FREE + 8 * n], low; mov dword ptr [gdt + FREE + 8 * n + 4], high
#define S(n) (FREE + 8 * n)
#define OURS 0x320000 /* a TSS with maps of interrupts and ports, S(0) */
#define INTERRUPT_MAP (OURS + 104)
#define PORT_MAP (OURS + 136) /* up to port 0x3ff, and the byte after it */
#define OURS_LIMIT (136 + 128)
/* The virtual machine: its code's place has the looks of level 3, which is what start.h's handlers look at. */
#define V_CS 0x803
#define V_CODE 0x8030
#define V_SS 0xa03
#define V_STACK 0xa030
#define V_SP 0x100
#define V_DS 0x1001
#define V_DATA 0x10010
#define V_ES 0x1102
#define V_FS 0x1203
#define V_GS 0x1304
#define VM 0x20000
#define IOPL3 0x3000
/* What the gate of vector 0x60 has found. */
#define NOTED (CELL + 0x100)

#define ENTER_V86(flags) push V_GS; push V_FS; push V_DS; push V_ES; push V_SS; push V_SP; push (flags) | VM | 2; push V_CS; push offset 5b - v86; iretd
#define CODE16(...) .pushsection .text, 1; .code16; 5: __VA_ARGS__; .code32; .popsection
/* With these flags, the 16-bit instructions end with an exception at 6. */
#define V_RAISES(what, flags, vector, error, ...) CODE16(__VA_ARGS__); BEGIN ENTER_V86(flags); END \
        IS2(what, " (vector)", dword ptr [SEEN], vector); IS2(what, " (error code)", dword ptr [ERROR], error); \
        IS2(what, " (IP)", dword ptr [IP], offset 6b - v86); IS2(what, " (CS)", dword ptr [CS_], V_CS)
/* They end with the HLT behind them; BX is in the low half of `N_BX`. */
#define V_PASSES(what, flags, ...) V_RAISES(what, flags, GP, 0, __VA_ARGS__; 6: hlt)
#define V_GIVES(what, flags, wanted, ...) V_PASSES(what, flags, __VA_ARGS__; mov ds:[0], ebx); IS(what, dword ptr [V_DATA], wanted)
#define FLAGS_ARE(what, mask, wanted) mov eax, [FLAGS]; and eax, mask; IS2(what, " (flags)", eax, wanted)
#define V_WORD_IS(what, segment, offset, wanted) movzx eax, word ptr [(segment) * 16 + (offset)]; IS(what, eax, wanted)
#define GATE(vector, handler, selector, type) mov eax, offset handler; mov [IDT + 8 * vector], ax; mov word ptr [IDT + 8 * vector + 2], selector; \
        mov [IDT + 8 * vector + 4], eax; mov word ptr [IDT + 8 * vector + 4], (type) << 8
#define SET_CR4(on, off) mov eax, cr4; or eax, on; and eax, ~(off); mov cr4, eax
#define CLEAR_DR6 mov eax, 0xffff0ff0; mov dr6, eax
#define VIF 0x80000
#define VIP 0x100000

        .subsection 1
v86:
        .subsection 2
v86_end:
        .subsection 0

checks:
        mov al, 0xff /* no interrupts but our own */
        out 0x21, al
        out 0xa1, al
        cld
        mov esi, offset v86
        mov edi, V_CODE
        mov ecx, offset v86_end
        sub ecx, esi
        rep movsb
        mov edi, V_DATA
        xor eax, eax
        mov ecx, 0x4000 / 4
        rep stosd
        call our_tss
        call fill_idt

        /* In: what IRET loads. */
        RAISES("in: EIP beyond the limit", GP, 0, push V_GS; push V_FS; push V_DS; push V_ES; push V_SS; push V_SP; push VM | 2; push V_CS; push 0x10000; 6: iretd)
        IS("in: EIP beyond the limit: CS", dword ptr [CS_], CODE32)
        V_PASSES("in", 0, mov ax, cs; mov ds:[2], ax; mov ds:[4], ss; mov ds:[6], ds; mov ds:[8], es; mov ds:[10], fs; mov ds:[12], gs; mov ds:[14], sp)
        V_WORD_IS("in: CS", V_DS, 2, V_CS)
        V_WORD_IS("in: SS", V_DS, 4, V_SS)
        V_WORD_IS("in: DS", V_DS, 6, V_DS)
        V_WORD_IS("in: ES", V_DS, 8, V_ES)
        V_WORD_IS("in: FS", V_DS, 10, V_FS)
        V_WORD_IS("in: GS", V_DS, 12, V_GS)
        V_WORD_IS("in: SP", V_DS, 14, V_SP)
        /* Out: the frame. */
        FLAGS_ARE("out", 0x23202, 0x20002)
        IS("out: SP", dword ptr [SP_], V_SP)
        IS("out: SS", dword ptr [SS_], V_SS)
        IS("out: ES", dword ptr [STACK_0 - 16], V_ES)
        IS("out: DS", dword ptr [STACK_0 - 12], V_DS)
        IS("out: FS", dword ptr [STACK_0 - 8], V_FS)
        IS("out: GS", dword ptr [STACK_0 - 4], V_GS)
        mov eax, fs
        movzx eax, ax
        IS("out: FS is null", eax, 0)
        mov eax, gs
        movzx eax, ax
        IS("out: GS is null", eax, 0)
        FLAGS_ARE("out: RF of a fault", 0x10000, 0x10000)
        RAISES("out: FS cannot be used", GP, 0, 6: mov eax, fs:[0])
        /* Every flag that there is, in and out. */
        V_PASSES("flags", 0x4cd5 - 0x400, nop)
        FLAGS_ARE("flags in and out", 0x27fd7, 0x248d7)
        V_PASSES("IF and IOPL", 0x3200, nop)
        FLAGS_ARE("IF and IOPL", 0x23202, 0x23202)
        V_PASSES("IOPL 1 and AC", 0x41000, nop)
        FLAGS_ARE("IOPL 1 and AC", 0x63002, 0x61002)
        V_PASSES("ID", 0x200000, nop)
        FLAGS_ARE("ID", 0x223002, 0x220002)
        /* By a gate that notes what it finds. */
        GATE(0x60, notes, CODE32, 0xee)
        V_RAISES("INT n", IOPL3 | 0x4200, 0x60, 0, int 0x60; 6:)
        IS("INT n: ESP", dword ptr [NOTED], STACK_0 - 36)
        IS("INT n: SS", dword ptr [NOTED + 4], DATA)
        IS("INT n: CS", dword ptr [NOTED + 8], CODE32)
        IS("INT n: VM, IF, NT, RF, TF are clear", dword ptr [NOTED + 12], 0x3002)
        IS("INT n: DS, ES, FS, GS are null", dword ptr [NOTED + 16], 0)
        FLAGS_ARE("INT n", 0x37202, 0x27202)
        FLAGS_ARE("INT n: no RF", 0x10000, 0)
        GATE(0x60, notes, CODE32, 0xef)
        V_RAISES("INT n, trap gate", IOPL3 | 0x200, 0x60, 0, int 0x60; 6:)
        IS("INT n, trap gate: IF stays", dword ptr [NOTED + 12], 0x3202)
        /* The gate's privilege, and that of its code. */
        V_RAISES("INT n, gate of level 0", IOPL3, GP, 0x61 * 8 + 2, 6: int 0x61)
        GATE(0x60, notes, CODE32, 0x6e)
        V_RAISES("INT n, gate not present", IOPL3, NP, 0x60 * 8 + 2, 6: int 0x60)
        GATE(0x60, notes, USER32, 0xee)
        V_RAISES("INT n to code of level 3", IOPL3, GP, USER32 & ~3, 6: int 0x60)
        DESCRIPTOR(1, 0xffff, 0xcf9f00)
        GATE(0x60, notes, S(1), 0xee)
        V_RAISES("INT n to conforming code", IOPL3, GP, S(1), 6: int 0x60)
        GATE(UD, notes, S(1), 0x8e)
        V_RAISES("#UD to conforming code", 0, GP, S(1) + 1, 6: ud2)
        GATE(UD, notes, USER32, 0x8e)
        V_RAISES("#UD to code of level 3", 0, GP, (USER32 & ~3) + 1, 6: ud2)
        call fill_idt
        V_RAISES("#UD by a gate of level 0", 0, UD, 0, 6: ud2)
        /* INT3, INTO and INT1 do not look at IOPL; INT1 not even at the gate's privilege. */
        V_RAISES("INT3, gate of level 0", IOPL3, GP, 3 * 8 + 2, 6: int3)
        V_RAISES("INTO, gate of level 0", IOPL3, GP, 4 * 8 + 2, mov al, 0x7f; inc al; 6: into)
        mov byte ptr [IDT + 8 * BP + 5], 0xee
        mov byte ptr [IDT + 8 * OF + 5], 0xee
        V_RAISES("INT3, IOPL 3", IOPL3, BP, 0, int3; 6:)
        V_RAISES("INT3, IOPL 0", 0, BP, 0, int3; 6:)
        V_RAISES("INTO, IOPL 0", 0, OF, 0, mov al, 0x7f; inc al; into; 6:)
        V_PASSES("INTO without OF", 0, xor ax, ax; into)
        V_RAISES("INT1", 0, DB, 0, .byte 0xf1; 6:)
        V_RAISES("INT 3 of two bytes, IOPL 3", IOPL3, BP, 0, .byte 0xcd, 3; 6:)
        V_RAISES("INT 3 of two bytes, IOPL 0", 0, GP, 0, 6: .byte 0xcd, 3)
        call fill_idt

        /* IOPL 0: what is refused. */
        V_RAISES("IOPL 0: CLI", 0, GP, 0, 6: cli)
        V_RAISES("IOPL 0: STI", 0, GP, 0, 6: sti)
        V_RAISES("IOPL 0: PUSHF", 0, GP, 0, 6: pushf)
        IS("IOPL 0: PUSHF: SP", dword ptr [SP_], V_SP)
        V_RAISES("IOPL 0: POPF", 0, GP, 0, push 2; 6: popf)
        V_RAISES("IOPL 0: PUSHFD", 0, GP, 0, 6: pushfd)
        V_RAISES("IOPL 0: POPFD", 0, GP, 0, push 2; push 2; 6: popfd)
        V_RAISES("IOPL 0: INT n", 0, GP, 0, 6: int 0x60)
        V_RAISES("IOPL 0: IRET", 0, GP, 0, push 2; push cs; push 0; 6: iret)
        V_RAISES("IOPL 0: IRETD", 0, GP, 0, 6: iretd)
        V_RAISES("IOPL 2: CLI", 0x2000, GP, 0, 6: cli)
        V_RAISES("IOPL 2: INT n", 0x2000, GP, 0, 6: int 0x60)
        V_RAISES("IOPL 1: PUSHF", 0x1000, GP, 0, 6: pushf)
        /* IOPL 3: how it works. */
        V_PASSES("IOPL 3: CLI", IOPL3 | 0x200, cli)
        FLAGS_ARE("IOPL 3: CLI", 0x200, 0)
        V_PASSES("IOPL 3: STI", IOPL3, sti; nop)
        FLAGS_ARE("IOPL 3: STI", 0x200, 0x200)
        V_GIVES("IOPL 3: PUSHF", IOPL3 | 0x4200, 0x7202, mov ebx, 0; pushf; pop bx)
        V_GIVES("IOPL 3: PUSHFD has neither VM nor RF", IOPL3 | 0x10200, 0x3202, pushfd; pop ebx)
        V_PASSES("IOPL 3: POPF", IOPL3, push 0x4ed7 - 0x400; popf)
        FLAGS_ARE("IOPL 3: POPF: not IOPL", 0x27fd7, 0x27ad7)
        V_PASSES("IOPL 3: POPFD", IOPL3, push 4; push 0x202; popfd)
        FLAGS_ARE("IOPL 3: POPFD: neither IOPL nor VM; AC", 0x63202, 0x63202)
        V_PASSES("IOPL 3: POPFD cannot clear VM or set VIP", IOPL3, push 0x18; push 2; popfd)
        FLAGS_ARE("IOPL 3: POPFD cannot clear VM or set VIP", 0x1a3000, 0x23000)
        V_PASSES("IOPL 3: IRET", IOPL3, push 0x0ad7; push cs; push offset 1f - v86; iret; ud2; 1:)
        FLAGS_ARE("IOPL 3: IRET: not IOPL", 0x27fd7, 0x23ad7)
        IS("IOPL 3: IRET: SP", dword ptr [SP_], V_SP)
        V_PASSES("IOPL 3: IRETD", IOPL3, push 0; push 0x202; push 0; push cs; push 0; push offset 1f - v86; iretd; ud2; 1:)
        FLAGS_ARE("IOPL 3: IRETD: neither IOPL nor VM", 0x23202, 0x23202)
        V_RAISES("IOPL 3: IRETD beyond the limit", IOPL3, GP, 0, push 0; push 2; push 0; push cs; push 1; push 0; 6: iretd)
        V_RAISES("IOPL 3: IRET to another segment", IOPL3, GP, 0, push 2; push V_CS - 0x10 * 0; push offset 6f - v86; iret; 6: hlt)

        /* What is privileged, and what there is not. */
        V_RAISES("HLT", IOPL3, GP, 0, 6: hlt)
        V_RAISES("CLTS", IOPL3, GP, 0, 6: clts)
        V_RAISES("LMSW", IOPL3, GP, 0, mov ax, 1; 6: lmsw ax)
        V_RAISES("LGDT", IOPL3, GP, 0, 6: lgdt ds:[0])
        V_RAISES("LIDT", IOPL3, GP, 0, 6: lidt ds:[0])
        V_RAISES("MOV from CR0", IOPL3, GP, 0, 6: mov eax, cr0)
        V_RAISES("MOV to CR3", IOPL3, GP, 0, xor eax, eax; 6: mov cr3, eax)
        V_RAISES("MOV from DR7", IOPL3, GP, 0, 6: mov eax, dr7)
        V_RAISES("MOV to DR0", IOPL3, GP, 0, 6: mov dr0, eax)
        V_RAISES("INVLPG", IOPL3, GP, 0, 6: invlpg ds:[0])
        V_RAISES("INVD", IOPL3, GP, 0, 6: invd)
        V_RAISES("WBINVD", IOPL3, GP, 0, 6: wbinvd)
        V_RAISES("RDMSR", IOPL3, GP, 0, mov ecx, 0x10; 6: rdmsr)
        V_RAISES("WRMSR", IOPL3, GP, 0, mov ecx, 0x10; 6: wrmsr)
        V_RAISES("SYSEXIT", IOPL3, GP, 0, 6: sysexit)
        V_RAISES("SYSENTER without CS", IOPL3, GP, 0, 6: sysenter)
        V_RAISES("SYSCALL without SCE", IOPL3, UD, 0, 6: .byte 0x0f, 5)
        V_RAISES("SLDT", IOPL3, UD, 0, 6: sldt ax)
        V_RAISES("STR", IOPL3, UD, 0, 6: str ax)
        V_RAISES("LLDT", IOPL3, UD, 0, 6: lldt ax)
        V_RAISES("LTR", IOPL3, UD, 0, 6: ltr ax)
        V_RAISES("VERR", IOPL3, UD, 0, 6: verr ax)
        V_RAISES("VERW", IOPL3, UD, 0, 6: verw ax)
        V_RAISES("LAR", IOPL3, UD, 0, 6: lar ax, ax)
        V_RAISES("LSL", IOPL3, UD, 0, 6: lsl ax, ax)
        V_RAISES("ARPL", IOPL3, UD, 0, 6: arpl ax, ax)
        V_RAISES("UD2", IOPL3, UD, 0, 6: ud2)
        V_RAISES("MOV CS", IOPL3, UD, 0, 6: .byte 0x8e, 0xc8)
        V_RAISES("DIV by 0", IOPL3, DE, 0, xor cx, cx; 6: div cx)
        V_RAISES("BOUND", IOPL3, BR, 0, mov ax, 5; 6: bound ax, ds:[0x100])
        V_PASSES("SMSW", 0, smsw ax)
        V_PASSES("SGDT", 0, sgdt ds:[0x200])
        V_WORD_IS("SGDT", V_DS, 0x200, gdt_end - gdt - 1)
        V_PASSES("SIDT", 0, sidt ds:[0x200])
        V_WORD_IS("SIDT", V_DS, 0x200, 0x7ff)
        V_PASSES("CPUID", 0, xor eax, eax; cpuid)
        V_PASSES("RDTSC", 0, rdtsc)
        SET_CR4(4, 0)
        V_RAISES("RDTSC with TSD", IOPL3, GP, 0, 6: rdtsc)
        SET_CR4(0, 4)
        mov eax, cr0
        or eax, 0x40000
        mov cr0, eax
        V_RAISES("alignment", 0x40000, AC, 0, 6: mov eax, ds:[1])
        V_PASSES("alignment without AC", 0, mov eax, ds:[1])
        mov eax, cr0
        and eax, ~0x40000
        mov cr0, eax

        /* Addresses. */
        mov dword ptr [0x12340], 0x1d2d3d4d
        V_GIVES("segment * 16", 0, 0x1d2d3d4d, mov ax, 0x1234; mov es, ax; mov ebx, es:[0])
        V_GIVES("segment * 16 + offset", 0, 0x1d2d3d4d, mov ax, 0x734; mov es, ax; mov si, 0x4000; mov bp, 0x7000; mov es, ax; mov ebx, es:[bp + si])
        V_GIVES("32-bit address", 0, 0x1d2d3d4d, mov ax, 0x1233; mov es, ax; mov eax, 0x10; mov ebx, es:[eax])
        V_GIVES("beyond 1 MiB", 0, 0x1d2d3d4d, mov ax, 0xffff; mov es, ax; mov eax, 0x1d2d3d4d; mov ebx, es:[0xffe0]; mov es:[0xffe0], eax; xchg ebx, es:[0xffe0])
        V_RAISES("across the limit", 0, GP, 0, 6: mov ax, ds:[0xffff])
        V_RAISES("across the limit: write", 0, GP, 0, 6: mov ds:[0xfffd], eax)
        V_PASSES("at the limit", 0, mov al, ds:[0xffff]; mov eax, ds:[0xfffc])
        V_RAISES("beyond the limit", 0, GP, 0, mov eax, 0x10000; 6: mov bl, ds:[eax])
        V_RAISES("across the limit: SS", 0, SS, 0, 6: mov ax, ss:[0xffff])
        V_RAISES("beyond the limit: BP", 0, SS, 0, mov ebp, 0x10000; 6: mov bl, [ebp])
        V_RAISES("PUSH across the limit", 0, SS, 0, mov sp, 1; 6: push ax)
        V_RAISES("POP across the limit", 0, SS, 0, mov sp, 0xffff; 6: pop ax)
        V_PASSES("PUSH wraps", 0, xor sp, sp; push 0x77; mov ax, ss:[0xfffe]; mov ds:[0], ax)
        V_WORD_IS("PUSH wraps", V_DS, 0, 0x77)
        IS("PUSH wraps: SP", dword ptr [SP_], 0xfffe)
        V_RAISES("JMP beyond the limit", 0, GP, 0, 6: .byte 0x66, 0xe9; .long 0x10000)
        V_RAISES("JMP by a register beyond the limit", 0, GP, 0, mov eax, 0x10000; 6: jmp eax)
        V_PASSES("any selector", 0, mov ax, 0xfff8; mov ds, ax; mov ax, 0; mov es, ax; mov ax, 0xffff; mov fs, ax; mov gs, ax)
        IS("any selector: DS", dword ptr [STACK_0 - 12], 0xfff8)
        IS("any selector: ES", dword ptr [STACK_0 - 16], 0)
        V_PASSES("far CALL and RETF", 0, push cs; call 1f; jmp 2f; 1: retf; 2:)
        V_PASSES("far JMP", 0, .byte 0xea; .word 1f - v86; .word V_CS; ud2; 1:)
        IS("far JMP: SP", dword ptr [SP_], V_SP)
        V_PASSES("LDS", 0, mov dword ptr ds:[0], 0x12345678; lds si, ds:[0]; mov bx, ds)
        IS("LDS", dword ptr [STACK_0 - 12], 0x1234)

        /* VM can be set by nobody but IRET in level 0. */
        RAISES("level 3: IRET with VM", UD, 0, AT_3(2) push USER_DATA; push STACK_3; push VM | 2; push USER32; push offset 6f; iretd; 6: ud2)
        FLAGS_ARE("level 3: IRET with VM", 0x20000, 0)
        BEGIN
        push VM | 2
        popfd
        pushfd
        pop eax
        END
        and eax, 0x20000
        IS("POPFD with VM", eax, 0)

        /* Single step, and an interrupt. */
        CLEAR_DR6
        V_RAISES("TF", 0x100, DB, 0, nop; 6: nop)
        FLAGS_ARE("TF", 0x10100, 0x100)
        mov eax, [DR6_]
        and eax, 0x400f
        IS("TF: DR6", eax, 0x4000)
        CLEAR_DR6
        V_RAISES("POPF with TF", IOPL3, DB, 0, push 0x102; popf; nop; 6: nop)
        CLEAR_DR6
        mov dword ptr [APIC + 0xf0], 0x1ff
        mov dword ptr [APIC + 0x80], 0
        mov dword ptr [LOG], 0
        mov dword ptr [APIC + 0x310], 0
        mov dword ptr [APIC + 0x300], 0x44050 /* to itself: pending */
        V_PASSES("an interrupt", 0x200, mov cx, 1000; 1: loop 1b)
        IS("an interrupt: came", dword ptr [LOG], 1)
        movzx eax, byte ptr [LOG + 4]
        IS("an interrupt: vector", eax, 0x50)
        IS("an interrupt: DS after it", dword ptr [STACK_0 - 12], V_DS)
        IS("an interrupt: GS after it", dword ptr [STACK_0 - 4], V_GS)
        mov dword ptr [APIC + 0x300], 0x44051
        V_PASSES("held off", 0, mov cx, 1000; 1: loop 1b)
        IS("held off: none came", dword ptr [LOG], 1)
        V_PASSES("STI", IOPL3, sti; mov cx, 1000; 1: loop 1b)
        IS("STI: it came", dword ptr [LOG], 2)

        /* The I/O bitmap, whatever IOPL is. */
#define DENY(port) or byte ptr [PORT_MAP + (port) / 8], 1 << ((port) & 7)
#define ALLOW(port) and byte ptr [PORT_MAP + (port) / 8], ~(1 << ((port) & 7))
        V_PASSES("port: IN", 0, in al, 0x80)
        V_PASSES("port: OUT", 0, out 0x80, al)
        V_PASSES("port: dword", 0, in eax, 0x84)
        DENY(0x80)
        V_RAISES("denied: IN", 0, GP, 0, 6: in al, 0x80)
        V_RAISES("denied: IN, IOPL 3", IOPL3, GP, 0, 6: in al, 0x80)
        V_RAISES("denied: OUT", IOPL3, GP, 0, 6: out 0x80, al)
        V_RAISES("denied: IN DX", IOPL3, GP, 0, mov dx, 0x80; 6: in al, dx)
        V_RAISES("denied: INS", IOPL3, GP, 0, mov dx, 0x80; 6: insb)
        V_RAISES("denied: REP OUTS", IOPL3, GP, 0, mov dx, 0x80; mov cx, 3; 6: rep outsb)
        V_PASSES("denied: REP OUTS of nothing", IOPL3, mov dx, 0x80; mov cx, 1; nop)
        V_RAISES("denied: the dword's last byte", 0, GP, 0, 6: in eax, 0x7d)
        V_PASSES("the word before", 0, in ax, 0x7e)
        V_PASSES("the port after", 0, in al, 0x81)
        ALLOW(0x80)
        DENY(0x88)
        V_RAISES("denied: across bytes of the map", 0, GP, 0, 6: in ax, 0x87)
        V_PASSES("within a byte", 0, in ax, 0x86)
        ALLOW(0x88)
        V_PASSES("the map's last port", 0, mov dx, 0x3ff; in al, dx)
        V_RAISES("beyond the map", 0, GP, 0, mov dx, 0x400; 6: in al, dx)
        V_RAISES("beyond the map: the word's last byte", 0, GP, 0, mov dx, 0x3ff; 6: in ax, dx)
        mov word ptr [gdt + S(0)], OURS_LIMIT - 1
        call load_tss
        V_RAISES("no byte after the map's last", 0, GP, 0, mov dx, 0x3ff; 6: in al, dx)
        V_PASSES("that before has", 0, mov dx, 0x3f7; in al, dx)
        mov word ptr [gdt + S(0)], OURS_LIMIT
        call load_tss
        mov word ptr [OURS + 102], OURS_LIMIT + 1
        V_RAISES("the map begins beyond the TSS", IOPL3, GP, 0, 6: in al, 0x80)
        mov word ptr [OURS + 102], 136
        /* Level 3 of protected mode: IOPL first. */
        DENY(0x80)
        RAISES("level 3, IOPL 3: IN", UD, 0, AT_3(0x3002) in al, 0x80; 6: ud2)
        USER_RAISES("level 3: denied", GP, 0, 6: in al, 0x80)
        USER_RAISES("level 3: allowed", UD, 0, in al, 0x81; 6: ud2)
        ALLOW(0x80)

        /* VME. */
        mov eax, 1
        cpuid
        test dl, 2
        jnz 1f
        RAISES("VME that is not offered", GP, 0, mov eax, cr4; or al, 1; 6: mov cr4, eax)
        RAISES("PVI that is not offered", GP, 0, mov eax, cr4; or al, 2; 6: mov cr4, eax)
        jmp end
1:      SET_CR4(1, 0)
        V_PASSES("VME: CLI", VIF, cli)
        FLAGS_ARE("VME: CLI clears VIF", VIF | 0x200, 0)
        V_PASSES("VME: CLI with IF", VIF | 0x200, cli)
        FLAGS_ARE("VME: CLI leaves IF", VIF | 0x200, 0x200)
        V_PASSES("VME: STI", 0, sti)
        FLAGS_ARE("VME: STI sets VIF", VIF | 0x200, VIF)
        V_RAISES("VME: STI with VIP", VIP, GP, 0, 6: sti)
        V_PASSES("VME: CLI with VIP", VIP | VIF, cli)
        FLAGS_ARE("VME: CLI with VIP", VIP | VIF, VIP)
        V_PASSES("VME, IOPL 3: STI", IOPL3, sti; nop)
        FLAGS_ARE("VME, IOPL 3: STI sets IF", VIF | 0x200, 0x200)
        V_PASSES("VME, IOPL 3: CLI", IOPL3 | VIF | 0x200, cli)
        FLAGS_ARE("VME, IOPL 3: CLI clears IF", VIF | 0x200, VIF)
        V_GIVES("VME: PUSHF, no VIF", 0x200, 0x3002, mov ebx, 0; pushf; pop bx)
        V_GIVES("VME: PUSHF, VIF", VIF, 0x3202, mov ebx, 0; pushf; pop bx)
        V_GIVES("VME, IOPL 3: PUSHF", IOPL3 | VIF, 0x3002, mov ebx, 0; pushf; pop bx)
        V_RAISES("VME: PUSHFD", 0, GP, 0, 6: pushfd)
        V_RAISES("VME: POPFD", 0, GP, 0, push 2; push 2; 6: popfd)
        V_RAISES("VME: IRETD", 0, GP, 0, 6: iretd)
        V_PASSES("VME: POPF with IF", 0, push 0x3202; popf)
        FLAGS_ARE("VME: POPF with IF sets VIF", VIF | 0x3200, VIF)
        V_PASSES("VME: POPF without IF", VIF | 0x200, push 2; popf)
        FLAGS_ARE("VME: POPF without IF clears VIF", VIF | 0x3200, 0x200)
        V_RAISES("VME: POPF with IF and VIP", VIP, GP, 0, push 0x202; 6: popf)
        V_PASSES("VME: POPF without IF, with VIP", VIP | VIF, push 2; popf)
        V_RAISES("VME: POPF with TF", 0, GP, 0, push 0x102; 6: popf)
        V_PASSES("VME: IRET with IF", 0, push 0x202; push cs; push offset 1f - v86; iret; ud2; 1:)
        FLAGS_ARE("VME: IRET with IF sets VIF", VIF | 0x3200, VIF)
        V_RAISES("VME: IRET with IF and VIP", VIP, GP, 0, push 0x202; push cs; push offset 1f - v86; 6: iret; 1: ud2)
        V_RAISES("VME: IRET with TF", 0, GP, 0, push 0x102; push cs; push offset 1f - v86; 6: iret; 1: ud2)
        /* INT n by the virtual machine's own table, where the map of interrupts says so. */
        GATE(0x60, notes, CODE32, 0xee)
        or byte ptr [INTERRUPT_MAP + 0x60 / 8], 1
        V_RAISES("VME: INT n, redirected to nobody", 0, GP, 0, 6: int 0x60)
        V_RAISES("VME, IOPL 3: INT n by the IDT", IOPL3, 0x60, 0, int 0x60; 6:)
        and byte ptr [INTERRUPT_MAP + 0x60 / 8], ~1
        CODE16(mov bp, sp; mov ax, [bp]; mov ds:[0x10], ax; mov ax, [bp + 2]; mov ds:[0x12], ax; mov ax, [bp + 4]; mov ds:[0x14], ax; hlt)
        mov eax, offset 5b
        sub eax, offset v86
        or eax, V_CS << 16
        mov [0x60 * 4], eax
#define BY_TABLE(what, flags, pushed, left) CODE16(int 0x60; 8:); BEGIN ENTER_V86(flags); END IS2(what, " (vector)", dword ptr [SEEN], GP);         IS2(what, " (error code)", dword ptr [ERROR], 0); IS2(what, " (SP)", dword ptr [SP_], V_SP - 6); V_WORD_IS(what, V_DS, 0x10, offset 8b - v86);         V_WORD_IS(what, V_DS, 0x12, V_CS); V_WORD_IS(what, V_DS, 0x14, pushed); FLAGS_ARE(what, VIF | VIP | 0x7300, left)
        BY_TABLE("VME: INT n, VIF", VIF, 0x3202, 0)
        BY_TABLE("VME: INT n, no VIF", 0x200, 0x3002, 0x200)
        BY_TABLE("VME: INT n, VIP", VIP | VIF, 0x3202, VIP)
        BY_TABLE("VME, IOPL 3: INT n", IOPL3 | 0x200, 0x3202, IOPL3)
        V_RAISES("VME: INT3 is by the IDT", 0, GP, 3 * 8 + 2, 6: int3)
        mov dword ptr [0x60 * 4], 0
        SET_CR4(0, 1)
        /* PVI: CLI and STI of level 3. */
        SET_CR4(2, 0)
        USER_RAISES("PVI: STI", UD, 0, sti; 6: ud2)
        FLAGS_ARE("PVI: STI sets VIF", VIF | 0x200, VIF)
        RAISES("PVI: CLI", UD, 0, AT_3(VIF | 0x202) cli; 6: ud2)
        FLAGS_ARE("PVI: CLI clears VIF", VIF | 0x200, 0x200)
        RAISES("PVI: STI with VIP", GP, 0, AT_3(VIP | 2) 6: sti)
        RAISES("PVI, IOPL 3: STI", UD, 0, AT_3(0x3002) sti; 6: ud2)
        FLAGS_ARE("PVI, IOPL 3: STI sets IF", VIF | 0x200, 0x200)
        RAISES("PVI: POPF", UD, 0, AT_3(VIF | 2) push 2; popfd; 6: ud2)
        FLAGS_ARE("PVI: POPF leaves VIF", VIF | 0x200, VIF)
        V_RAISES("PVI without VME: STI", 0, GP, 0, 6: sti)
        SET_CR4(0, 2)
end:    mov byte ptr [gdt + TSS + 5], 0x89
        mov eax, TSS
        ltr ax
        ret

/* A TSS with a map of ports, all of them free, and one of interrupts. */
our_tss:
        mov edi, OURS
        xor eax, eax
        mov ecx, 0x200 / 4
        rep stosd
        mov dword ptr [OURS + 4], STACK_0
        mov dword ptr [OURS + 8], DATA
        mov word ptr [OURS + 102], 136
        mov byte ptr [OURS + OURS_LIMIT], 0xff
        DESCRIPTOR(0, (OURS & 0xffff) << 16 | OURS_LIMIT, 0x8900 | OURS >> 16)
load_tss:
        mov byte ptr [gdt + S(0) + 5], 0x89
        mov eax, S(0)
        ltr ax
        ret

/* What a gate finds, then as if it were an exception without an error code. */
notes:  pushfd
        push eax
        mov ax, ds
        shl eax, 16
        mov ax, es
        push eax
        mov ax, fs
        shl eax, 16
        mov ax, gs
        or [esp], eax
        mov eax, DATA
        mov ds, eax
        pop dword ptr [NOTED + 16]
        lea eax, [esp + 8]
        mov [NOTED], eax
        mov eax, ss
        mov [NOTED + 4], eax
        mov eax, cs
        mov [NOTED + 8], eax
        pop eax
        pop dword ptr [NOTED + 12]
        mov dword ptr [SEEN], 0x60
        mov dword ptr [ERROR], 0
        pop dword ptr [IP]
        pop dword ptr [CS_]
        pop dword ptr [FLAGS]
        pop dword ptr [SP_]
        pop dword ptr [SS_]
        mov eax, DATA
        mov es, eax
        mov ss, eax
        mov esp, [SAVED]
        push 2
        popfd
        jmp [RESUME]
