/*
 * Task switches in 32-bit protected mode (SDM 3A 8, "Task Management"; table 8-1, and JMP, CALL, INT, IRET in 2): what is saved and loaded, busy bits and
 * links, faults before the switch (in the old task) and after it (in the new one), task gates, LDTR, CR3, T, TF and VM of a TSS; 16-bit TSSs.
 * QEMU's TCG departs from it: a TSS in the LDT is #TS to JMP, and a fault after the switch has the old task's EIP; an SS that is not present
 * is #NP to it, EXT is never set in the error codes, T does nothing.
 */
#define MODE32
#include "start.h"
#define DESCRIPTOR(n, low, high) mov dword ptr [gdt + FREE + 8 * n], low; mov dword ptr [gdt + FREE + 8 * n + 4], high
#define S(n) (FREE + 8 * n)
#define B 0x320000 /* the other task's TSS, S(0) */
#define H 0x320100 /* that of the exceptions' task, S(1); S(2) is a task gate to B, S(4) the LDT, S(6) a 16-bit TSS */
#define T16 0x320200
#define LDT 0x320400
#define STACK_B 0x324000
#define STACK_H 0x326000
#define PAGES_A 0x500000 /* page directories: TEST_PAGE is 8 MiB in this, 12 MiB in the other */
#define PAGES_B 0x501000
#define ABSENT_PAGE 0x40400000
#define WIDE_NOTES 0x8100 /* the 16-bit one's */
#define V86_CS 0x803 /* real-mode code of the level 3 by its looks */
#define V86 0x8030
/* Fields of a TSS. */
#define LINK 0
#define CR3_ 28
#define EIP 32
#define EFLAGS 36
#define EAX 40
#define ESP 56
#define ES 72
#define CS 76
#define SS_FIELD 80
#define DS 84
#define FS 88
#define GS 92
#define LDTR 96
#define TRAP 100
/* What task B has noted, and task H; how B leaves: by JMP or by IRET. */
#define NOTED (CELL + 0x100)
#define N_ESP 16
#define N_FLAGS 32
#define N_TR 36
#define N_LINK 40
#define N_CR0 44
#define N_BUSY 48 /* type of the main task's descriptor, B's */
#define N_LDTR 56
#define N_CR3 60
#define N_RUNS 64
#define N_SEEN 68
#define H_ESP (CELL + 0x180)
#define H_FLAGS (CELL + 0x184)
#define H_TR (CELL + 0x188)
#define H_LINK (CELL + 0x18c)
#define BY_IRET (CELL + 0x190)

#define NOTE_IS(what, n, wanted) IS(what, dword ptr [NOTED + n], wanted)
#define FIELD_IS(what, where, wanted) IS(what, dword ptr [where], wanted)
#define WORD_IS(what, where, wanted) movzx eax, word ptr [where]; IS(what, eax, wanted)
#define TYPE_IS(what, selector, wanted) movzx eax, byte ptr [gdt + selector + 5]; IS(what, eax, wanted)
#define TR_IS(what, wanted) str eax; movzx eax, ax; IS2(what, " (TR)", eax, wanted)
#define SET_B(field, value) mov dword ptr [B + field], value
#define TASK_GATE(vector, selector, type) mov dword ptr [IDT + 8 * vector], (selector) << 16; mov dword ptr [IDT + 8 * vector + 4], (type) << 8
/* A fault before the switch: the old task sees it. */
#define BEFORE(what, vector, error, ...) RAISES(what, vector, error, __VA_ARGS__); TR_IS(what, TSS)
/* One after it, in B, whose TSS is S(0): H is told of it, with B's EIP. */
#define AFTER2(what, vector, error, entry, ...) TASK_GATE(vector, S(1), 0x85); mov dword ptr [H + EAX], vector; mov dword ptr [H + EIP], offset entry; BEGIN __VA_ARGS__; END \
        call fill_idt; IS2(what, " (vector)", dword ptr [SEEN], vector); IS2(what, " (error code)", dword ptr [ERROR], error); \
        IS2(what, " (link)", dword ptr [H_LINK], S(0)); IS2(what, " (IP)", dword ptr [IP], offset notes); \
        IS2(what, " (B did not run)", dword ptr [NOTED + N_RUNS], 0); TR_IS(what, TSS); call fresh
#define AFTER(what, vector, error, ...) AFTER2(what, vector, error, handler, __VA_ARGS__ ljmp S(0), 0)
#define AFTER_WITH(what, field, value, vector, error) AFTER(what, vector, error, SET_B(field, value);)
/* The switch goes well, and B comes back. */
#define GOES(what, ...) BEGIN __VA_ARGS__; END IS2(what, " (vector)", dword ptr [SEEN], NONE); NOTE_IS(what, N_RUNS, 1); TR_IS(what, TSS)

checks:
        mov al, 0xff /* no interrupts but our own */
        out 0x21, al
        out 0xa1, al
        mov eax, DATA
        mov fs, eax
        mov gs, eax
        call pages
        call fresh
        TR_IS("at first", TSS)
        TYPE_IS("LTR makes busy", TSS, 0x8b)

        /* JMP: everything is saved and loaded. */
        mov dword ptr [CELL + 0x1a0], esp
        BEGIN
        mov ecx, 0xa2
        mov edx, 0xa3
        mov ebx, 0xa4
        mov ebp, 0xa6
        mov esi, 0xa7
        mov edi, 0xa8
        mov eax, FREE + 24
        mov fs, eax
        push 0x8d7
        popfd
        mov eax, 0xa1
        .byte 0xea
        .long 0x12345678
        .word S(0)
6:      pushfd
        mov [CELL + 0x1a4], eax
        mov [CELL + 0x1a8], ebx
        pop dword ptr [CELL + 0x1ac]
        mov [CELL + 0x1b0], edi
        END
        IS("JMP", dword ptr [SEEN], NONE)
        NOTE_IS("JMP: B ran", N_RUNS, 1)
        FIELD_IS("JMP: EIP is saved", tss + EIP, offset 6b)
        FIELD_IS("JMP: EFLAGS are saved", tss + EFLAGS, 0x8d7)
        FIELD_IS("JMP: EAX is saved", tss + EAX, 0xa1)
        FIELD_IS("JMP: ECX is saved", tss + 44, 0xa2)
        FIELD_IS("JMP: EDX is saved", tss + 48, 0xa3)
        FIELD_IS("JMP: EBX is saved", tss + 52, 0xa4)
        mov eax, [CELL + 0x1a0]
        FIELD_IS("JMP: ESP is saved", tss + ESP, eax)
        FIELD_IS("JMP: EBP is saved", tss + 60, 0xa6)
        FIELD_IS("JMP: ESI is saved", tss + 64, 0xa7)
        FIELD_IS("JMP: EDI is saved", tss + 68, 0xa8)
        WORD_IS("JMP: ES is saved", tss + ES, DATA)
        WORD_IS("JMP: CS is saved", tss + CS, CODE32)
        WORD_IS("JMP: SS is saved", tss + SS_FIELD, DATA)
        WORD_IS("JMP: DS is saved", tss + DS, DATA)
        WORD_IS("JMP: FS is saved", tss + FS, S(3))
        WORD_IS("JMP: GS is saved", tss + GS, DATA)
        FIELD_IS("JMP: CR3 is not saved", tss + CR3_, PAGES_A)
        FIELD_IS("JMP: nor is ESP0", tss + 4, STACK_0)
        NOTE_IS("JMP: EAX is loaded", 0, 0xb1)
        NOTE_IS("JMP: ECX is loaded", 4, 0xb2)
        NOTE_IS("JMP: EDX is loaded", 8, 0xb3)
        NOTE_IS("JMP: EBX is loaded", 12, 0xb4)
        NOTE_IS("JMP: ESP is loaded", N_ESP, STACK_B)
        NOTE_IS("JMP: EBP is loaded", 20, 0xb6)
        NOTE_IS("JMP: ESI is loaded", 24, 0xb7)
        NOTE_IS("JMP: EDI is loaded", 28, 0xb8)
        NOTE_IS("JMP: EFLAGS are loaded, without NT", N_FLAGS, 0x893)
        NOTE_IS("JMP: TR", N_TR, S(0))
        NOTE_IS("JMP: no link", N_LINK, 0)
        NOTE_IS("JMP: the old TSS is available", N_BUSY, 0x89)
        NOTE_IS("JMP: the new one is busy", N_BUSY + 4, 0x8b)
        mov eax, [NOTED + N_CR0]
        and eax, 8
        IS("JMP: CR0.TS is set", eax, 8)
        IS("back: EAX", dword ptr [CELL + 0x1a4], 0xa1)
        IS("back: EBX", dword ptr [CELL + 0x1a8], 0xa4)
        IS("back: EDI", dword ptr [CELL + 0x1b0], 0xa8)
        IS("back: EFLAGS", dword ptr [CELL + 0x1ac], 0x8d7)
        mov eax, fs
        movzx eax, ax
        IS("back: FS", eax, S(3))
        TYPE_IS("back: busy again", TSS, 0x8b)
        TYPE_IS("back: B is available", S(0), 0x89)
        FIELD_IS("back: B's EIP is saved", B + EIP, offset left_by_jmp)
        mov eax, DATA
        mov fs, eax
        /* Again: B goes on where it was. */
        GOES("JMP again", mov dword ptr [NOTED + N_RUNS], 0; ljmp S(0), 0)

        /* CALL and IRET. */
        call fresh
        mov dword ptr [BY_IRET], 1
        GOES("CALL", lcall S(0), 0; 6:)
        FIELD_IS("CALL: EIP is saved", tss + EIP, offset 6b)
        NOTE_IS("CALL: NT is set", N_FLAGS, 0x4893)
        NOTE_IS("CALL: link", N_LINK, TSS)
        NOTE_IS("CALL: the old TSS stays busy", N_BUSY, 0x8b)
        NOTE_IS("CALL: the new one is busy", N_BUSY + 4, 0x8b)
        TYPE_IS("IRET: the task that is left is available", S(0), 0x89)
        TYPE_IS("IRET: the other is busy", TSS, 0x8b)
        mov eax, [B + EFLAGS]
        and eax, 0x4000
        IS("IRET: NT is cleared in what is saved", eax, 0)
        FIELD_IS("IRET: EIP is saved", B + EIP, offset left_by_iret)
        pushfd
        pop eax
        and eax, 0x4000
        IS("IRET: NT is as it was", eax, 0)
        /* By a task gate; the offset is ignored and the gate's privilege is what counts. */
        call fresh
        mov dword ptr [BY_IRET], 1
        GOES("CALL by a gate", lcall S(2), 0x1234)
        NOTE_IS("CALL by a gate: link", N_LINK, TSS)
        NOTE_IS("CALL by a gate: TR", N_TR, S(0))
        call fresh
        GOES("JMP by a gate", ljmp S(2), 0x1234)
        NOTE_IS("JMP by a gate: NT", N_FLAGS, 0x893)
        /* NT of the TSS. */
        call fresh
        SET_B(EFLAGS, 0x4002)
        GOES("JMP, NT in the TSS", ljmp S(0), 0)
        NOTE_IS("JMP, NT in the TSS: NT", N_FLAGS, 0x4002)
        call fresh
        BEGIN
        push 0x4002
        popfd
        ljmp S(0), 0
        push 2
        popfd
        END
        mov eax, [tss + EFLAGS]
        IS("JMP with NT: it is saved", eax, 0x4002)
        NOTE_IS("JMP with NT: not in the new task", N_FLAGS, 0x893)

        /* Faults before the switch. */
#define B_TYPE(n) mov byte ptr [gdt + S(0) + 5], n
        call fresh
        BEFORE("JMP to oneself", GP, TSS, 6: ljmp TSS, 0)
        BEFORE("CALL oneself", GP, TSS, 6: lcall TSS, 0)
        B_TYPE(0x8b)
        BEFORE("JMP to a busy task", GP, S(0), 6: ljmp S(0), 0)
        BEFORE("CALL by a gate, busy", GP, S(0), 6: lcall S(2), 0)
        B_TYPE(0x0b)
        BEFORE("JMP to a busy task that is not present", GP, S(0), 6: ljmp S(0), 0)
        B_TYPE(9)
        BEFORE("JMP, TSS not present", NP, S(0), 6: ljmp S(0), 0)
        BEFORE("CALL, TSS not present", NP, S(0), 6: lcall S(0), 0)
        BEFORE("JMP by a gate, TSS not present", NP, S(0), 6: ljmp S(2), 0)
        B_TYPE(0x89)
        BEFORE("JMP, RPL 3", GP, S(0), 6: ljmp S(0) + 3, 0)
        USER_RAISES("level 3: JMP", GP, S(0), 6: ljmp S(0), 0)
        USER_RAISES("level 3: CALL", GP, S(0), 6: lcall S(0), 0)
        mov byte ptr [gdt + S(0) + 5], 9
        USER_RAISES("level 3: JMP, TSS not present", GP, S(0), 6: ljmp S(0), 0)
        mov byte ptr [gdt + S(0) + 5], 0x89
        TYPE_IS("after faults: available", S(0), 0x89)
        mov word ptr [gdt + S(0)], 0x66
        BEFORE("JMP, limit", TS, S(0), 6: ljmp S(0), 0)
        BEFORE("CALL, limit", TS, S(0), 6: lcall S(0), 0)
        BEFORE("JMP by a gate, limit", TS, S(0), 6: ljmp S(2), 0)
        mov word ptr [gdt + S(0)], 0x67
        TYPE_IS("after limits: available", S(0), 0x89)
        NOTE_IS("B did not run", N_RUNS, 0)
#define GATE_TYPE(n) mov byte ptr [gdt + S(2) + 5], n
#define GATE_TO(selector) mov word ptr [gdt + S(2) + 2], selector
        GATE_TYPE(0x05)
        BEFORE("gate not present", NP, S(2), 6: ljmp S(2), 0)
        BEFORE("CALL, gate not present", NP, S(2), 6: lcall S(2), 0)
        USER_RAISES("level 3: gate of level 0, not present", GP, S(2), 6: ljmp S(2), 0)
        GATE_TYPE(0x85)
        USER_RAISES("level 3: gate of level 0", GP, S(2), 6: lcall S(2), 0)
        BEFORE("gate of level 0, RPL 3", GP, S(2), 6: lcall S(2) + 3, 0)
        GATE_TO(0)
        BEFORE("gate to null", GP, 0, 6: ljmp S(2), 0)
        GATE_TO(0xfff8)
        BEFORE("gate beyond the table", GP, 0xfff8, 6: ljmp S(2), 0)
        GATE_TO(DATA)
        BEFORE("gate to data", GP, DATA, 6: ljmp S(2), 0)
        GATE_TO(S(2))
        BEFORE("gate to a gate", GP, S(2), 6: ljmp S(2), 0)
        GATE_TO(S(0) + 4)
        BEFORE("gate to the LDT", GP, S(0) + 4, 6: ljmp S(2), 0)
        GATE_TO(S(0) + 3)
        GOES("gate to a TSS with RPL 3", ljmp S(2), 0)
        GATE_TO(S(0))
        /* A TSS in the LDT. */
        call fresh
        mov eax, [gdt + S(0)]
        mov [LDT + 8], eax
        mov eax, [gdt + S(0) + 4]
        mov [LDT + 12], eax
        mov eax, S(4)
        lldt ax
        BEFORE("JMP to a TSS in the LDT", GP, 12, 6: ljmp 12, 0)
        xor eax, eax
        lldt ax
        /* IRET: the link. */
#define NESTED push 0x4002; popfd;
#define LINK_RAISES(what, selector, vector, error) mov word ptr [tss + LINK], selector; BEFORE(what, vector, error, NESTED 6: iretd)
        LINK_RAISES("IRET to an available task", S(0), TS, S(0))
        LINK_RAISES("IRET to null", 0, TS, 0)
        LINK_RAISES("IRET to data", DATA, TS, DATA)
        LINK_RAISES("IRET to a gate", S(2), TS, S(2))
        LINK_RAISES("IRET beyond the table", 0xfff8, TS, 0xfff8)
        LINK_RAISES("IRET to the LDT", S(0) + 4, TS, S(0) + 4)
        B_TYPE(0x0b)
        LINK_RAISES("IRET, TSS not present", S(0), NP, S(0))
        B_TYPE(0x09)
        LINK_RAISES("IRET to an available task that is not present", S(0), TS, S(0))
        B_TYPE(0x8b)
        mov word ptr [gdt + S(0)], 0x66
        LINK_RAISES("IRET, limit", S(0), TS, S(0))
        mov word ptr [gdt + S(0)], 0x67
        mov word ptr [tss + LINK], S(0)
        GOES("IRET to a busy task", NESTED iretd)
        NOTE_IS("IRET: the old TSS is available", N_BUSY, 0x89)
        NOTE_IS("IRET: the new is busy", N_BUSY + 4, 0x8b)
        NOTE_IS("IRET: EFLAGS", N_FLAGS, 0x893)
        mov eax, [tss + EFLAGS]
        IS("IRET: NT is not saved", eax, 2)
        mov word ptr [tss + LINK], 0
        /* The TSS is not mapped. */
        call fresh
        mov byte ptr [gdt + S(0) + 7], ABSENT_PAGE >> 24
        mov byte ptr [gdt + S(0) + 4], ABSENT_PAGE >> 16 & 0xff
        BEGIN
6:      ljmp S(0), 0
        END
        IS("TSS not mapped", dword ptr [SEEN], PF)
        IS("TSS not mapped (IP)", dword ptr [IP], offset 6b)
        mov eax, [CR2_]
        and eax, ~0xfff
        IS("TSS not mapped (CR2)", eax, ABSENT_PAGE)
        TR_IS("TSS not mapped", TSS)
        TYPE_IS("TSS not mapped: available", S(0), 0x89)
        TYPE_IS("TSS not mapped: the old one is busy", TSS, 0x8b)

        /* Level 3: a TSS and a gate of level 3, a task of level 3. */
        call fresh
        mov dword ptr [BY_IRET], 1
        B_TYPE(0xe9)
        RAISES("level 3: CALL to a TSS of level 3", UD, 0, AT_3(2) lcall S(0) + 3, 0; 6: ud2)
        NOTE_IS("level 3: CALL: link", N_LINK, TSS)
        mov eax, [NOTED + N_TR]
        and eax, ~3
        IS("level 3: CALL: TR", eax, S(0))
        WORD_IS("level 3: CS is saved", tss + CS, USER32)
        B_TYPE(0x89)
        call fresh
        mov dword ptr [BY_IRET], 1
        GATE_TYPE(0xe5)
        RAISES("level 3: CALL by a gate of level 3", UD, 0, AT_3(2) lcall S(2) + 3, 0; 6: ud2)
        NOTE_IS("level 3: by a gate: ran", N_RUNS, 1)
        call fresh
        call at_3
        BEGIN
        ljmp S(0), 0
        END
        IS("a task of level 3", dword ptr [SEEN], UD)
        IS("a task of level 3: IP", dword ptr [IP], offset user_task)
        mov eax, [CS_]
        IS("a task of level 3: CS", eax, USER32)
        IS("a task of level 3: SS", dword ptr [SS_], USER_DATA)
        IS("a task of level 3: ESP", dword ptr [SP_], STACK_3)
        TR_IS("a task of level 3", S(0))
        call home
        TR_IS("home", TSS)
        call fresh
        call at_3
        SET_B(EIP, offset user_task_returns)
        GOES("a task of level 3 returns", lcall S(0), 0)

        /* Faults after the switch. */
        call fresh
        AFTER_WITH("CS null", CS, 0, TS, 0)
        AFTER_WITH("CS beyond the table", CS, 0xfff8, TS, 0xfff8)
        AFTER_WITH("CS of data", CS, DATA, TS, DATA)
        AFTER_WITH("CS of a TSS", CS, TSS, TS, TSS)
        AFTER_WITH("CS of RPL 3, code of level 0", CS, CODE32 + 3, TS, CODE32)
        AFTER_WITH("CS of RPL 0, code of level 3", CS, USER32 - 3, TS, USER32 - 3)
        AFTER_WITH("CS in no LDT", CS, CODE32 + 4, TS, CODE32 + 4)
        AFTER("CS not present", NP, S(3), mov byte ptr [gdt + S(3) + 5], 0x1b; SET_B(CS, S(3));)
        AFTER("CS conforming of an outer level", TS, S(3), mov byte ptr [gdt + S(3) + 5], 0xff; SET_B(CS, S(3));)
        mov byte ptr [gdt + S(3) + 5], 0x9f
        SET_B(CS, S(3))
        GOES("CS conforming", ljmp S(0), 0)
        call fresh
        AFTER_WITH("SS null", SS_FIELD, 0, TS, 0)
        AFTER_WITH("SS beyond the table", SS_FIELD, 0xfff8, TS, 0xfff8)
        AFTER_WITH("SS of code", SS_FIELD, CODE32, TS, CODE32)
        AFTER_WITH("SS of level 3", SS_FIELD, USER_DATA, TS, USER_DATA - 3)
        AFTER_WITH("SS of RPL 3", SS_FIELD, DATA + 3, TS, DATA)
        AFTER("SS read-only", TS, S(3), mov byte ptr [gdt + S(3) + 5], 0x91; SET_B(SS_FIELD, S(3));)
        AFTER("SS not present", SS, S(3), mov byte ptr [gdt + S(3) + 5], 0x13; SET_B(SS_FIELD, S(3));)
        AFTER_WITH("DS beyond the table", DS, 0xfff8, TS, 0xfff8)
        AFTER_WITH("DS of a TSS", DS, TSS, TS, TSS)
        AFTER("DS execute-only", TS, S(3), mov byte ptr [gdt + S(3) + 5], 0x99; SET_B(DS, S(3));)
        AFTER("DS not present", NP, S(3), mov byte ptr [gdt + S(3) + 5], 0x13; SET_B(DS, S(3));)
        AFTER("ES not present", NP, S(3), mov byte ptr [gdt + S(3) + 5], 0x13; SET_B(ES, S(3));)
        AFTER("FS not present", NP, S(3), mov byte ptr [gdt + S(3) + 5], 0x13; SET_B(FS, S(3));)
        AFTER("GS not present", NP, S(3), mov byte ptr [gdt + S(3) + 5], 0x13; SET_B(GS, S(3));)
        AFTER_WITH("ES of RPL 3, data of level 0", ES, DATA + 3, TS, DATA)
        AFTER_WITH("FS of RPL 3, data of level 0", FS, DATA + 3, TS, DATA)
        AFTER_WITH("GS in no LDT", GS, 12, TS, 12)
        AFTER("level 3: DS of level 0", TS, DATA, call at_3; SET_B(EIP, offset notes); SET_B(DS, DATA);)
        AFTER("level 3: SS of level 0", TS, DATA, call at_3; SET_B(EIP, offset notes); SET_B(SS_FIELD, DATA);)
        AFTER_WITH("LDT of data", LDTR, DATA, TS, DATA)
        AFTER_WITH("LDT beyond the table", LDTR, 0xfff8, TS, 0xfff8)
        AFTER_WITH("LDT in the LDT", LDTR, S(4) + 4, TS, S(4) + 4)
        AFTER("LDT not present", TS, S(4), mov byte ptr [gdt + S(4) + 5], 2; SET_B(LDTR, S(4));)
        SET_B(FS, 0)
        SET_B(GS, 3)
        GOES("FS and GS null", ljmp S(0), 0)
        call fresh
        /* EIP beyond CS's limit. */
        DESCRIPTOR(3, 0xffff, 0x409b00)
        SET_B(CS, S(3))
        AFTER("EIP beyond the limit", GP, 0, nop;)
        /* The same by CALL, and by ordinary gates, when the stack is good. */
        mov byte ptr [gdt + S(3) + 5], 0x13
        SET_B(DS, S(3))
        AFTER2("CALL, DS not present", NP, S(3), handler, lcall S(0), 0)
        mov byte ptr [gdt + S(3) + 5], 0x13
        SET_B(GS, S(3))
        SET_B(EIP, offset notes)
        BEGIN
        ljmp S(0), 0
        END
        IS("GS not present", dword ptr [SEEN], NP)
        IS("GS not present (error code)", dword ptr [ERROR], S(3))
        IS("GS not present (IP)", dword ptr [IP], offset notes)
        IS("GS not present (CS)", dword ptr [CS_], CODE32)
        IS("GS not present (ESP)", dword ptr [SP_], STACK_B)
        TR_IS("GS not present: in the new task", S(0))
        TYPE_IS("GS not present: the old is available", TSS, 0x89)
        TYPE_IS("GS not present: the new is busy", S(0), 0x8b)
        call home

        /* LDT and CR3 of the TSS. */
        call fresh
        DESCRIPTOR(3, 0xffff, 0xcf9300)
        mov dword ptr [LDT + 8], (CELL & 0xffff) << 16 | 0xffff
        mov dword ptr [LDT + 12], 0x9300 | CELL >> 16
        mov dword ptr [CELL], 0x1d71d7
        SET_B(LDTR, S(4))
        SET_B(FS, 12)
        SET_B(EIP, offset reads_fs)
        GOES("a segment of the new task's LDT", ljmp S(0), 0)
        NOTE_IS("LDTR", N_LDTR, S(4))
        NOTE_IS("what its segment shows", N_SEEN, 0x1d71d7)
        sldt eax
        movzx eax, ax
        IS("LDTR afterwards", eax, 0)
        WORD_IS("LDTR is not saved", B + LDTR, S(4))
        call fresh
        mov dword ptr [0x800000], 0x8888
        mov dword ptr [0xc00000], 0xcccc
        mov dword ptr [0x1000000], 0x1616
        IS("CR3: before", dword ptr [TEST_PAGE], 0x8888)
        SET_B(CR3_, PAGES_B)
        SET_B(EIP, offset reads_page)
        GOES("CR3", ljmp S(0), 0)
        NOTE_IS("CR3 is loaded", N_CR3, PAGES_B)
        NOTE_IS("CR3: what its page shows", N_SEEN, 0xcccc)
        IS("CR3: afterwards", dword ptr [TEST_PAGE], 0x8888)
        mov dword ptr [PAGES_A + 0x400], 0x1000087
        GOES("TLB", mov dword ptr [NOTED + N_RUNS], 0; ljmp S(0), 0)
        IS("TLB: a switch flushes it", dword ptr [TEST_PAGE], 0x1616)
        mov dword ptr [PAGES_A + 0x400], 0x800087

        /* Task gates in the IDT. */
#define BY_GATE(vector, selector, entry) call fresh; TASK_GATE(vector, selector, 0x85); mov dword ptr [H + EAX], vector; mov dword ptr [H + EIP], offset entry
        BY_GATE(UD, S(1), plain)
        RAISES("#UD by a task gate", UD, 0, 6: ud2)
        IS("#UD by a task gate: TR", dword ptr [H_TR], S(1))
        IS("#UD by a task gate: link", dword ptr [H_LINK], TSS)
        IS("#UD by a task gate: EFLAGS", dword ptr [H_FLAGS], 0x4002)
        IS("#UD by a task gate: no error code", dword ptr [H_ESP], STACK_H)
        TR_IS("#UD by a task gate: after IRET", TSS)
        TYPE_IS("#UD by a task gate: available after IRET", S(1), 0x89)
        BY_GATE(UD, S(1), plain)
        mov dword ptr [H + EFLAGS], 0x202
        RAISES("#UD by a task gate with IF", UD, 0, 6: ud2)
        IS("#UD by a task gate: IF is the TSS's", dword ptr [H_FLAGS], 0x4202)
        BY_GATE(UD, S(1), plain)
        USER_RAISES("level 3: #UD by a task gate of level 0", UD, 0, 6: ud2)
        FIELD_IS("level 3: #UD by a task gate: CS is saved", CS_, USER32)
        call fill_idt
        BY_GATE(GP, S(1), handler)
        RAISES("#GP by a task gate", GP, 0xfff8, mov eax, 0xfff8; 6: mov ds, eax)
        IS("#GP by a task gate: ESP", dword ptr [H_ESP], STACK_H - 4)
        IS("#GP by a task gate: link", dword ptr [H_LINK], TSS)
        call fill_idt
        BY_GATE(PF, S(1), handler)
        RAISES("#PF by a task gate", PF, 2, 6: mov [ABSENT_PAGE + 8], eax)
        mov eax, cr2
        IS("#PF by a task gate: CR2", eax, ABSENT_PAGE + 8)
        call fill_idt
        BY_GATE(DF, S(1), handler)
        mov byte ptr [IDT + 8 * PF + 5], 0x0e
        RAISES("#DF by a task gate", DF, 0, 6: mov [ABSENT_PAGE + 8], eax)
        IS("#DF by a task gate: ESP", dword ptr [H_ESP], STACK_H - 4)
        call fill_idt
        /* The stack is bad: only a task can tell. */
        BY_GATE(DF, S(1), handler)
        BEGIN
        mov esp, ABSENT_PAGE + 0x100
6:      ud2
        END
        call fill_idt
        IS("#DF, no stack", dword ptr [SEEN], DF)
        IS("#DF, no stack (error code)", dword ptr [ERROR], 0)
        IS("#DF, no stack (IP)", dword ptr [IP], offset 6b)
        FIELD_IS("#DF, no stack: ESP is saved", tss + ESP, ABSENT_PAGE + 0x100)
        /* INT n, INT3, INTO. */
        BY_GATE(0x40, S(1), plain)
        RAISES("INT n by a task gate", 0x40, 0, int 0x40; 6:)
        IS("INT n by a task gate: link", dword ptr [H_LINK], TSS)
        USER_RAISES("level 3: INT n by a task gate of level 0", GP, 0x40 * 8 + 2, 6: int 0x40)
        BY_GATE(0x40, S(1), plain)
        mov byte ptr [IDT + 8 * 0x40 + 5], 0xe5
        USER_RAISES("level 3: INT n by a task gate", 0x40, 0, int 0x40; 6:)
        mov byte ptr [IDT + 8 * 0x40 + 5], 5
        BEFORE("INT n, task gate not present", NP, 0x40 * 8 + 2, 6: int 0x40)
        mov byte ptr [IDT + 8 * 0x40 + 5], 0x85
#define H_TYPE(n) mov byte ptr [gdt + S(1) + 5], n
        H_TYPE(0x8b)
        BEFORE("INT n, the task is busy", GP, S(1), 6: int 0x40)
        H_TYPE(9)
        BEFORE("INT n, TSS not present", NP, S(1), 6: int 0x40)
        H_TYPE(0x89)
        mov word ptr [gdt + S(1)], 0x66
        BEFORE("INT n, limit", TS, S(1), 6: int 0x40)
        mov word ptr [gdt + S(1)], 0x67
        mov word ptr [IDT + 8 * 0x40 + 2], 0
        BEFORE("INT n, gate to null", GP, 0, 6: int 0x40)
        mov word ptr [IDT + 8 * 0x40 + 2], DATA
        BEFORE("INT n, gate to data", GP, DATA, 6: int 0x40)
        mov word ptr [IDT + 8 * 0x40 + 2], S(1) + 4
        BEFORE("INT n, gate to the LDT", GP, S(1) + 4, 6: int 0x40)
        mov word ptr [IDT + 8 * 0x40 + 2], TSS
        BEFORE("INT n, gate to oneself", GP, TSS, 6: int 0x40)
        call fill_idt
        BY_GATE(BP, S(1), plain)
        RAISES("INT3 by a task gate", BP, 0, int3; 6:)
        call fill_idt
        BY_GATE(OF, S(1), plain)
        RAISES("INTO by a task gate", OF, 0, mov al, 0x7f; inc al; into; 6:)
        call fill_idt
        /* The same of an exception: EXT. */
        BY_GATE(UD, S(1), plain)
        H_TYPE(0x8b)
        BEFORE("#UD, the task is busy", GP, S(1) + 1, 6: ud2)
        H_TYPE(9)
        BEFORE("#UD, TSS not present", NP, S(1) + 1, 6: ud2)
        H_TYPE(0x89)
        mov word ptr [gdt + S(1)], 0x66
        BEFORE("#UD, limit", TS, S(1) + 1, 6: ud2)
        mov word ptr [gdt + S(1)], 0x67
        mov byte ptr [IDT + 8 * UD + 5], 5
        BEFORE("#UD, task gate not present", NP, UD * 8 + 3, 6: ud2)
        call fill_idt
        /* After the switch, too: #UD leads to B, whose DS is bad. */
        call fresh
        TASK_GATE(UD, S(0), 0x85)
        mov byte ptr [gdt + S(3) + 5], 0x13
        SET_B(DS, S(3))
        AFTER2("#UD by a task gate, DS not present", NP, S(3) + 1, handler, ud2; nop)
        call fresh
        TASK_GATE(0x40, S(0), 0x85)
        mov byte ptr [gdt + S(3) + 5], 0x13
        SET_B(DS, S(3))
        AFTER2("INT n by a task gate, DS not present", NP, S(3), handler, int 0x40)
        /* An interrupt. */
        BY_GATE(0x50, S(1), interrupt)
        mov dword ptr [APIC + 0xf0], 0x1ff
        mov dword ptr [APIC + 0x80], 0
        mov dword ptr [SEEN], NONE
        mov dword ptr [APIC + 0x310], 0
        mov dword ptr [APIC + 0x300], 0x44050 /* to itself */
        sti
        mov ecx, 10000
1:      cmp dword ptr [SEEN], NONE
        loope 1b
        cli
        IS("an interrupt by a task gate", dword ptr [SEEN], 0x50)
        IS("an interrupt by a task gate: ESP", dword ptr [H_ESP], STACK_H)
        IS("an interrupt by a task gate: EFLAGS", dword ptr [H_FLAGS], 0x4002)
        mov eax, [tss + EFLAGS]
        and eax, 0x4200
        IS("an interrupt by a task gate: IF is saved", eax, 0x200)
        TR_IS("an interrupt by a task gate", TSS)
        call fill_idt

        /* Debugging: T and TF of the TSS; DR7's local bits. */
#define DR6_IS(what, wanted) mov eax, [DR6_]; and eax, 0xe00f; IS2(what, " (DR6)", eax, wanted)
#define CLEAR_DR6 mov eax, 0xffff0ff0; mov dr6, eax
        call fresh
        CLEAR_DR6
        SET_B(TRAP, 104 << 16 | 1)
        BEGIN
        ljmp S(0), 0
        END
        IS("T", dword ptr [SEEN], DB)
        IS("T (IP)", dword ptr [IP], offset notes)
        DR6_IS("T", 0x8000)
        TR_IS("T", S(0))
        NOTE_IS("T: nothing ran", N_RUNS, 0)
        call home
        call fresh
        CLEAR_DR6
        SET_B(EFLAGS, 0x102)
        SET_B(EIP, offset nops)
        BEGIN
        ljmp S(0), 0
        END
        IS("TF of the TSS", dword ptr [SEEN], DB)
        IS("TF of the TSS (IP)", dword ptr [IP], offset nops + 1)
        DR6_IS("TF of the TSS", 0x4000)
        call home
        CLEAR_DR6
        call fresh
        mov eax, ABSENT_PAGE
        mov dr0, eax
        mov dr1, eax
        mov eax, 0x709 /* LE, GE, L0, G1 */
        mov dr7, eax
        GOES("local breakpoints", ljmp S(0), 0)
        mov eax, dr7
        and eax, 0xf
        IS("local breakpoints: only the global is enabled", eax, 8)
        mov eax, 0x400
        mov dr7, eax

        /* Virtual-8086 mode: HLT there. */
        call fresh
        mov dword ptr [V86], 0xf4909090
        SET_B(EFLAGS, 0x23002)
        SET_B(EIP, 1)
        SET_B(CS, V86_CS)
        SET_B(SS_FIELD, 0x9003)
        SET_B(ESP, 0x100)
        SET_B(DS, 0x1235)
        SET_B(ES, 0x1236)
        SET_B(FS, 0x1237)
        SET_B(GS, 0x1238)
        BEGIN
        ljmp S(0), 0
        END
        IS("VM in the TSS", dword ptr [SEEN], GP)
        IS("VM in the TSS (error code)", dword ptr [ERROR], 0)
        IS("VM in the TSS (IP)", dword ptr [IP], 3)
        IS("VM in the TSS (CS)", dword ptr [CS_], V86_CS)
        mov eax, [FLAGS]
        and eax, 0x23002
        IS("VM in the TSS (EFLAGS)", eax, 0x23002)
        IS("VM in the TSS (SP)", dword ptr [SP_], 0x100)
        IS("VM in the TSS (SS)", dword ptr [SS_], 0x9003)
        IS("VM in the TSS (ES)", dword ptr [STACK_0 - 0x800 - 16], 0x1236)
        IS("VM in the TSS (DS)", dword ptr [STACK_0 - 0x800 - 12], 0x1235)
        IS("VM in the TSS (FS)", dword ptr [STACK_0 - 0x800 - 8], 0x1237)
        IS("VM in the TSS (GS)", dword ptr [STACK_0 - 0x800 - 4], 0x1238)
        TR_IS("VM in the TSS", S(0))
        call home
        /* By a task gate out of it: the segments are saved as they were. */
        TASK_GATE(GP, S(1), 0x85)
        mov dword ptr [H + EAX], GP
        mov byte ptr [gdt + S(1) + 5], 0x89
        mov dword ptr [H + EIP], offset handler
        mov byte ptr [gdt + S(0) + 5], 0x89
        SET_B(EFLAGS, 0x23002)
        SET_B(EIP, 1)
        SET_B(CS, V86_CS)
        SET_B(SS_FIELD, 0x9003)
        SET_B(ESP, 0x100)
        SET_B(DS, 0x1235)
        BEGIN
        ljmp S(0), 0
        END
        call fill_idt
        IS("out of virtual-8086 mode by a task gate", dword ptr [SEEN], GP)
        IS("out of virtual-8086 mode by a task gate: EIP", dword ptr [IP], 3)
        WORD_IS("out of virtual-8086 mode by a task gate: CS", B + CS, V86_CS)
        WORD_IS("out of virtual-8086 mode by a task gate: DS", B + DS, 0x1235)
        mov eax, [B + EFLAGS]
        and eax, 0x23002
        IS("out of virtual-8086 mode by a task gate: VM", eax, 0x23002)
        mov eax, [H_FLAGS]
        IS("out of virtual-8086 mode by a task gate: not VM", eax, 0x4002)

        /* A 16-bit TSS. */
        call fresh
        mov word ptr [gdt + S(6)], 0x2a
        BEFORE("16-bit, limit", TS, S(6), 6: ljmp S(6), 0)
        mov word ptr [gdt + S(6)], 0x2b
        PASSES("CALL to a 16-bit TSS", mov eax, 0x12345678; lcall S(6), 0; 6:)
        TR_IS("16-bit", TSS)
        FIELD_IS("16-bit: EIP is saved in the old one's format", tss + EIP, offset 6b)
        FIELD_IS("16-bit: EAX is saved", tss + EAX, 0x12345678)
        WORD_IS("16-bit: link", T16 + LINK, TSS)
        WORD_IS("16-bit: AX", WIDE_NOTES, 0xc1)
        WORD_IS("16-bit: BX", WIDE_NOTES + 2, 0xc4)
        WORD_IS("16-bit: SP", WIDE_NOTES + 4, 0x7000)
        WORD_IS("16-bit: FLAGS", WIDE_NOTES + 6, 0x4893)
        WORD_IS("16-bit: TR", WIDE_NOTES + 8, S(6))
        WORD_IS("16-bit: busy", WIDE_NOTES + 10, 0x8300)
        TYPE_IS("16-bit: available after IRET", S(6), 0x81)
        WORD_IS("16-bit: IP is saved", T16 + 14, 0x8040 + wide_end - wide)
        WORD_IS("16-bit: FLAGS are saved, without NT", T16 + 16, 0x8d3) /* ZF is LAR's */
        WORD_IS("16-bit: SP is saved", T16 + 26, 0x7000)
        WORD_IS("16-bit: DX is saved", T16 + 22, 0xc3)
        WORD_IS("16-bit: CS is saved", T16 + 36, S(7))
        WORD_IS("16-bit: nothing is written beyond it", T16 + 44, 0xeeee)
        ret

/* Back into the main task, out of B, where a fault left us; returns there. */
home:   pop dword ptr [CELL + 0x1c0]
        mov [CELL + 0x1c4], esp
        mov dword ptr [tss + EIP], offset 1f
        ljmp TSS, 0
1:      mov esp, [CELL + 0x1c4]
        jmp dword ptr [CELL + 0x1c0]

/* Task B, as it should be, is one of level 3. */
at_3:   SET_B(CS, USER32)
        SET_B(SS_FIELD, USER_DATA)
        SET_B(DS, USER_DATA)
        SET_B(ES, USER_DATA)
        SET_B(FS, USER_DATA)
        SET_B(GS, USER_DATA)
        SET_B(ESP, STACK_3)
        SET_B(EIP, offset user_task)
        ret

/* Task B. */
reads_fs:
        mov edx, fs:[0]
        mov [NOTED + N_SEEN], edx
        jmp notes
reads_page:
        mov edx, [TEST_PAGE]
        mov [NOTED + N_SEEN], edx
        call notes_more
        ljmp TSS, 0
        jmp reads_page
nops:   nop
        nop
        ud2
user_task:
        ud2
user_task_returns:
        inc dword ptr [NOTED + N_RUNS]
        iretd
notes:  call notes_more
        cmp dword ptr [BY_IRET], 0
        jne 1f
        ljmp TSS, 0
left_by_jmp:
        jmp notes
1:      iretd
left_by_iret:
        jmp notes
notes_more:
        pushfd
        mov [NOTED], eax
        mov [NOTED + 4], ecx
        mov [NOTED + 8], edx
        mov [NOTED + 12], ebx
        lea eax, [esp + 8]
        mov [NOTED + N_ESP], eax
        mov [NOTED + 20], ebp
        mov [NOTED + 24], esi
        mov [NOTED + 28], edi
        mov eax, cr3
        mov [NOTED + N_CR3], eax
        mov eax, cr0
        mov [NOTED + N_CR0], eax
        str eax
        mov [NOTED + N_TR], eax
        sldt eax
        mov [NOTED + N_LDTR], eax
        movzx eax, word ptr [B]
        mov [NOTED + N_LINK], eax
        movzx eax, byte ptr [gdt + TSS + 5]
        mov [NOTED + N_BUSY], eax
        movzx eax, byte ptr [gdt + S(0) + 5]
        mov [NOTED + N_BUSY + 4], eax
        inc dword ptr [NOTED + N_RUNS]
        pop dword ptr [NOTED + N_FLAGS]
        ret

/* Task H: notes, then goes to the main task: to where the check goes on, or to where B was entered. */
interrupt:
        mov dword ptr [APIC + 0xb0], 0
        mov [H_ESP], esp
        mov [SEEN], eax
        pushfd
        pop dword ptr [H_FLAGS]
        iretd
handler:
        mov [H_ESP], esp
        pop dword ptr [ERROR]
        jmp 1f
plain:  mov [H_ESP], esp
1:      mov [SEEN], eax
        pushfd
        pop dword ptr [H_FLAGS]
        str eax
        movzx eax, ax
        mov [H_TR], eax
        movzx eax, word ptr [H]
        mov [H_LINK], eax
        cmp eax, TSS
        je 2f
        mov eax, [B + EIP]
        mov [IP], eax
        mov byte ptr [gdt + TSS + 5], 0x89
        mov eax, [RESUME]
        mov [tss + EIP], eax
        mov dword ptr [tss + CS], CODE32
        mov dword ptr [tss + EFLAGS], 2
        ljmp TSS, 0
2:      mov eax, [tss + EIP]
        mov [IP], eax
        mov eax, [RESUME]
        mov [tss + EIP], eax
        cmp word ptr [tss + CS], CODE32
        je 3f
        /* From level 3: on in level 0. The check looks at the CS that was saved. */
        movzx eax, word ptr [tss + CS]
        mov [CS_], eax
        mov dword ptr [tss + CS], CODE32
        mov dword ptr [tss + SS_FIELD], DATA
        mov dword ptr [tss + DS], DATA
        mov dword ptr [tss + ES], DATA
        mov eax, [SAVED]
        mov [tss + ESP], eax
3:      iretd

/* Both tasks, their descriptors and what is noted, as they are at first. */
fresh:  pushad
        cld
        xor eax, eax
        mov edi, B
        mov ecx, 0x500 / 4
        rep stosd
        mov edi, NOTED
        mov ecx, 0xa0 / 4
        rep stosd
        mov edi, B
        mov eax, offset notes
        mov ebx, STACK_B
        call fresh_task
        mov dword ptr [B + EFLAGS], 0x893
        mov edi, H
        mov eax, offset handler
        mov ebx, STACK_H
        call fresh_task
        mov dword ptr [tss + CR3_], PAGES_A
        mov dword ptr [tss + LDTR], 0
        mov dword ptr [tss + LINK], 0
        mov byte ptr [gdt + TSS + 5], 0x8b
        DESCRIPTOR(0, (B & 0xffff) << 16 | 0x67, 0x8900 | B >> 16)
        DESCRIPTOR(1, (H & 0xffff) << 16 | 0x67, 0x8900 | H >> 16)
        DESCRIPTOR(2, S(0) << 16, 0x8500)
        DESCRIPTOR(3, 0xffff, 0xcf9300)
        DESCRIPTOR(4, (LDT & 0xffff) << 16 | 0x1f, 0x8200 | LDT >> 16)
        DESCRIPTOR(6, (T16 & 0xffff) << 16 | 0x2b, 0x8100 | T16 >> 16)
        DESCRIPTOR(7, 0xffff, 0x9b00)
        DESCRIPTOR(8, 0xffff, 0x9300)
        /* The 16-bit one: IP, FLAGS, AX, CX, DX, BX, SP, BP, SI, DI, ES, CS, SS, DS, LDT. */
        mov dword ptr [T16 + 14], 0x08930000 + 0x8040
        mov dword ptr [T16 + 18], 0x00c200c1
        mov dword ptr [T16 + 22], 0x00c400c3
        mov dword ptr [T16 + 26], 0x00c67000
        mov dword ptr [T16 + 30], 0x00c800c7
        mov dword ptr [T16 + 34], S(7) << 16 | DATA
        mov dword ptr [T16 + 38], DATA << 16 | S(8)
        mov word ptr [T16 + 44], 0xeeee
        mov esi, offset wide
        mov edi, 0x8040
        mov ecx, offset wide_end - wide
        rep movsb
        popad
        ret
fresh_task:
        mov dword ptr [edi + 4], STACK_0 - 0x800
        mov dword ptr [edi + 8], DATA
        mov dword ptr [edi + CR3_], PAGES_A
        mov [edi + EIP], eax
        mov dword ptr [edi + EFLAGS], 2
        mov dword ptr [edi + EAX], 0xb1
        mov dword ptr [edi + 44], 0xb2
        mov dword ptr [edi + 48], 0xb3
        mov dword ptr [edi + 52], 0xb4
        mov [edi + ESP], ebx
        mov dword ptr [edi + 60], 0xb6
        mov dword ptr [edi + 64], 0xb7
        mov dword ptr [edi + 68], 0xb8
        mov dword ptr [edi + ES], DATA
        mov dword ptr [edi + CS], CODE32
        mov dword ptr [edi + SS_FIELD], DATA
        mov dword ptr [edi + DS], DATA
        mov dword ptr [edi + FS], DATA
        mov dword ptr [edi + GS], DATA
        mov dword ptr [edi + TRAP], 104 << 16
        ret

/* Paging: 4 MiB pages, the first 64 MiB and the APIC as they are. */
pages:  mov eax, cr0
        test eax, eax
        js 2f /* not the first round */
        mov edi, PAGES_A
        xor eax, eax
        mov ecx, 0x2000 / 4
        cld
        rep stosd
        mov eax, 0x87
        xor ecx, ecx
1:      mov [PAGES_A + 4 * ecx], eax
        mov [PAGES_B + 4 * ecx], eax
        add eax, 0x400000
        inc ecx
        cmp ecx, 16
        jb 1b
        mov dword ptr [PAGES_A + 0x3fb * 4], 0xfec00097
        mov dword ptr [PAGES_B + 0x3fb * 4], 0xfec00097
        mov dword ptr [PAGES_A + 0x400], 0x800087
        mov dword ptr [PAGES_B + 0x400], 0xc00087
        mov eax, PAGES_A
        mov cr3, eax
        mov eax, cr4
        or eax, 0x10 /* PSE */
        mov cr4, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
2:      ret

/* The code of the 16-bit task, which runs at 0x8040. */
        .code16
wide:   mov ds:[WIDE_NOTES], ax
        mov ds:[WIDE_NOTES + 2], bx
        mov ds:[WIDE_NOTES + 4], sp
        pushf
        pop word ptr ds:[WIDE_NOTES + 6]
        str word ptr ds:[WIDE_NOTES + 8]
        mov ax, S(6)
        lar ax, ax
        mov ds:[WIDE_NOTES + 10], ax
        iret
wide_end:
        .code32
