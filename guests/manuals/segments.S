/* Segments in 32-bit protected mode (SDM 3A 5.2 to 5.8): limits, types, privilege, conforming code, call gates, returns to outer levels; exceptions there. */
#define MODE32
#include "start.h"
#define DESCRIPTOR(n, low, high) mov dword ptr [gdt + FREE + 8 * n], low; mov dword ptr [gdt + FREE + 8 * n + 4], high
#define S(n) (FREE + 8 * n)
#define CELL_LOW ((CELL & 0xffff) << 16)
#define CELL_HIGH (CELL >> 16)
#define SET(register, selector) mov eax, selector; mov register, eax
#define LAR_IS(what, selector, wanted) mov eax, selector; xor ecx, ecx; lar ecx, eax; and ecx, 0xf0ff00; IS(what, ecx, wanted)
#define CPL_IS(what, wanted) mov eax, [CS_]; and eax, 3; IS(what, eax, wanted)

checks:
        /* Exceptions that 64-bit mode has not. */
        RAISES("INTO", OF, 0, mov al, 0x7f; inc al; into; 6:)
        PASSES("INTO without OF", xor eax, eax; into)
        mov dword ptr [CELL], 10
        mov dword ptr [CELL + 4], 20
        RAISES("BOUND below", BR, 0, mov eax, 9; 6: bound eax, [CELL])
        RAISES("BOUND above", BR, 0, mov eax, 21; 6: bound eax, [CELL])
        PASSES("BOUND at", mov eax, 20; bound eax, [CELL]; mov eax, 10; bound eax, [CELL])
        RAISES("BOUND register", UD, 0, 6: .byte 0x62, 0xc0)
        RAISES("AAM 0", DE, 0, mov al, 5; 6: aam 0)
        RAISES("DIV by 0", DE, 0, xor ecx, ecx; mov eax, 1; cdq; 6: div ecx)
        RAISES("SYSCALL without SCE", UD, 0, 6: syscall)
        RAISES("SYSENTER without CS", GP, 0, mov ecx, 0x174; xor eax, eax; xor edx, edx; wrmsr; 6: sysenter)

        /* Limits. Segment 0: 16 bytes of data at CELL. */
        DESCRIPTOR(0, CELL_LOW + 15, CELL_HIGH + 0x409200)
        SET(fs, S(0))
        mov eax, [gdt + S(0) + 4]
        IS("accessed is set by a load", eax, CELL_HIGH + 0x409300)
        PASSES("the last dword", mov eax, fs:[12])
        PASSES("the last byte", mov fs:[15], al)
        RAISES("across the limit: read", GP, 0, 6: mov eax, fs:[13])
        RAISES("across the limit: write", GP, 0, 6: mov fs:[14], eax)
        RAISES("beyond the limit", GP, 0, 6: mov al, fs:[16])
        RAISES("wraps", GP, 0, mov ebx, -2; 6: mov eax, fs:[ebx])
        RAISES("across the limit: word", GP, 0, 6: mov ax, fs:[15])
        RAISES("across the limit: quadword", GP, 0, 6: movq xmm0, fs:[9])
        PASSES("the last quadword", movq xmm0, fs:[8])
        RAISES("across the limit: x87", GP, 0, fninit; 6: fld tbyte ptr fs:[7])
        RAISES("beyond the limit: LODS", GP, 0, mov esi, 16; 6: lods al, fs:[esi])
        RAISES("beyond the limit: REP LODS", GP, 0, mov ecx, 5; mov esi, 8; cld; 6: rep lods eax, dword ptr fs:[esi])
        BEGIN mov ecx, 5; mov esi, 8; rep lods eax, dword ptr fs:[esi]; END
        IS("REP LODS: ECX is what is left", ecx, 3)
        IS("REP LODS: ESI is where it stopped", esi, 16)
        /* 1: the same with pages as its unit: 8 KiB at 0. */
        DESCRIPTOR(1, 1, 0xc09200)
        SET(fs, S(1))
        PASSES("pages: the last byte", mov al, fs:[0x1fff])
        RAISES("pages: beyond", GP, 0, 6: mov al, fs:[0x2000])
        /* 2: expand-down above 0xff; of 32 bits, then of 16. */
        DESCRIPTOR(2, 0xff, 0x409610)
        SET(fs, S(2))
        RAISES("expand-down: at the limit", GP, 0, 6: mov al, fs:[0xff])
        PASSES("expand-down: above it", mov al, fs:[0x100])
        RAISES("expand-down: across", GP, 0, 6: mov eax, fs:[0xfe])
        PASSES("expand-down: far above", mov al, fs:[0x20000])
        RAISES("expand-down: wraps", GP, 0, mov ebx, -2; 6: mov eax, fs:[ebx])
        DESCRIPTOR(2, 0xff, 0x9610)
        SET(fs, S(2))
        PASSES("expand-down of 16 bits: the last", mov al, fs:[0xffff])
        RAISES("expand-down of 16 bits: beyond", GP, 0, 6: mov al, fs:[0x10000])
        RAISES("expand-down of 16 bits: across", GP, 0, 6: mov eax, fs:[0xfffe])
        /* 3: read-only; 4: execute-only; 5: readable code. */
        DESCRIPTOR(3, 0xffff, 0xcf9000)
        DESCRIPTOR(4, 0xffff, 0xcf9800)
        DESCRIPTOR(5, 0xffff, 0xcf9a00)
        SET(fs, S(3))
        PASSES("read-only: read", mov eax, fs:[CELL])
        RAISES("read-only: write", GP, 0, 6: mov fs:[CELL], eax)
        RAISES("read-only: ADD", GP, 0, 6: add fs:[CELL], eax)
        RAISES("read-only: CMPXCHG", GP, 0, 6: cmpxchg fs:[CELL], eax)
        PASSES("read-only: CMP", cmp fs:[CELL], eax)
        RAISES("read-only as SS", GP, S(3), mov eax, S(3); 6: mov ss, eax)
        RAISES("execute-only as DS", GP, S(4), mov eax, S(4); 6: mov ds, eax)
        SET(fs, S(5))
        PASSES("readable code: read", mov eax, fs:[CELL])
        RAISES("readable code: write", GP, 0, 6: mov fs:[CELL], eax)
        RAISES("write through CS", GP, 0, 6: mov cs:[CELL], eax)
        PASSES("read through CS", mov eax, cs:[CELL])
        RAISES("readable code as SS", GP, S(5), mov eax, S(5); 6: mov ss, eax)
        BEGIN ljmp S(4), offset 1f; 1: mov eax, cs:[CELL]; END
        IS("read through execute-only CS", dword ptr [SEEN], GP)
        IS("read through execute-only CS: saved CS", dword ptr [CS_], S(4))
        /* Null. */
        SET(fs, 0)
        RAISES("null: read", GP, 0, 6: mov eax, fs:[CELL])
        SET(fs, 3)
        mov ax, fs
        movzx eax, ax
        IS("null of RPL 3 is kept", eax, 3)
        RAISES("SS null", GP, 0, xor eax, eax; 6: mov ss, eax)
        /* SS. */
        DESCRIPTOR(0, 0xfff, ((STACK - 0x1000) >> 16 & 0xff) + 0x409300)
        mov dword ptr [gdt + S(0)], ((STACK - 0x1000) & 0xffff) << 16 | 0xfff
        BEGIN mov eax, S(0); mov ss, eax; mov esp, 0x800; push eax; pop eax; SET(ss, DATA); END
        IS("SS: push below the limit", dword ptr [SEEN], NONE)
        SET(fs, S(0))
        RAISES("not a stack: GP", GP, 0, 6: mov eax, fs:[0x1000])
        /* LAR, LSL, VERR, VERW. */
        LAR_IS("LAR of data", DATA, 0xc09300)
        LAR_IS("LAR of code", CODE32, 0xc09b00)
        LAR_IS("LAR of the TSS", TSS, 0x8b00)
        mov ecx, 1
        lsl ecx, word ptr [selectors]
        IS("LSL of pages", ecx, 0xffffffff)
        mov eax, TSS
        lsl ecx, eax
        IS("LSL of the TSS", ecx, 0x67)
        xor eax, eax
        lar ecx, eax
        setz al
        IS("LAR of null: ZF", eax, 0)
        mov eax, 0xfff8
        lsl ecx, eax
        setz al
        movzx eax, al
        IS("LSL beyond: ZF", eax, 0)
#define VER_IS(what, instruction, selector, wanted) mov eax, selector; instruction ax; setz al; movzx eax, al; IS(what, eax, wanted)
        VER_IS("VERR of data", verr, DATA, 1)
        VER_IS("VERW of data", verw, DATA, 1)
        VER_IS("VERR of read-only", verr, S(3), 1)
        VER_IS("VERW of read-only", verw, S(3), 0)
        VER_IS("VERR of execute-only", verr, S(4), 0)
        VER_IS("VERR of code", verr, S(5), 1)
        VER_IS("VERW of code", verw, S(5), 0)
        VER_IS("VERR of a TSS", verr, TSS, 0)
        VER_IS("VERR with RPL 3", verr, DATA + 3, 0)
        mov eax, 8
        mov ecx, 3
        arpl ax, cx
        setz cl
        movzx ecx, cl
        IS("ARPL: ZF", ecx, 1)
        IS("ARPL", eax, 0xb)

        /* Level 3: data of inner levels, conforming code, gates. */
        USER_RAISES("level 3: DS of level 0", GP, DATA, mov eax, DATA + 3; 6: mov ds, eax)
        USER_RAISES("level 3: SS of RPL 0", GP, USER_DATA - 3, mov eax, USER_DATA - 3; 6: mov ss, eax)
        USER_RAISES("level 3: JMP to level 0", GP, CODE32, 6: ljmp CODE32, offset 1f; 1: ud2)
        USER_RAISES("level 3: CALL to data", GP, USER_DATA - 3, 6: lcall USER_DATA, 0)
        USER_RAISES("level 3: JMP to null", GP, 0, 6: ljmp 0, 0)
        USER_RAISES("level 3: JMP beyond", GP, 0xff8, 6: ljmp 0xffb, 0)
        DESCRIPTOR(6, 0xffff, 0xcf9e00) /* conforming code of level 0 */
        USER_RAISES("level 3: conforming code", UD, 0, ljmp S(6), offset 6f; 6: ud2)
        IS("level 3: conforming code: CS", dword ptr [CS_], S(6) + 3)
        USER_RAISES("level 3: conforming code: HLT", GP, 0, lcall S(6), offset 6f; 6: hlt)
        DESCRIPTOR(6, 0xffff, 0xcffe00) /* of level 3 */
        RAISES("conforming code of an outer level", GP, S(6), 6: ljmp S(6), offset 1f; 1: ud2)
        RAISES("code of an outer level", GP, USER32 - 3, 6: ljmp USER32, offset 1f; 1: ud2)
        DESCRIPTOR(6, 0xffff, 0xcf1a00)
        RAISES("code that is not present", NP, S(6), 6: ljmp S(6), 0)

        /* Call gates. 7: level 3 to level 0 with two parameters. */
        mov eax, offset inner
        and eax, 0xffff
        or eax, CODE32 << 16
        mov [gdt + S(7)], eax
        mov eax, offset inner
        and eax, 0xffff0000
        or eax, 0xec02
        mov [gdt + S(7) + 4], eax
        LAR_IS("LAR of a call gate", S(7), 0x10ec02 & 0xf0ff00)
        RAISES("call gate, two parameters", UD, 0, AT_3(2) push 0x1111; push 0x2222; lcall S(7), 0; 6: ud2)
        CPL_IS("call gate: back at level 3", 3)
        IS("call gate: the first parameter", dword ptr [CELL], 0x2222)
        IS("call gate: the second", dword ptr [CELL + 4], 0x1111)
        IS("call gate: outer ESP", dword ptr [CELL + 8], STACK_3 - 8)
        IS("call gate: outer SS", dword ptr [CELL + 12], USER_DATA)
        IS("call gate: outer CS", dword ptr [CELL + 16], USER32)
        IS("call gate: inner ESP", dword ptr [CELL + 20], STACK_0 - 24)
        IS("call gate: inner SS", dword ptr [CELL + 24], DATA)
        IS("call gate: inner CS", dword ptr [CELL + 28], CODE32)
        IS("call gate: ESP after RETF 8", dword ptr [SP_], STACK_3)
        IS("call gate: DS of level 0 is null at level 3", dword ptr [CELL + 32], 0)
        USER_RAISES("JMP by a call gate to an inner level", GP, CODE32, 6: ljmp S(7) + 3, 0)
        USER_RAISES("call gate with RPL 3", UD, 0, push 1; push 2; lcall S(7) + 3, 0; 6: ud2)
        and byte ptr [gdt + S(7) + 5], 0x9f
        USER_RAISES("call gate of level 0", GP, S(7), 6: lcall S(7), 0)
        or byte ptr [gdt + S(7) + 5], 0x60
        and byte ptr [gdt + S(7) + 5], 0x7f
        USER_RAISES("call gate not present", NP, S(7), 6: lcall S(7), 0)
        or byte ptr [gdt + S(7) + 5], 0x80
        mov word ptr [gdt + S(7) + 2], 0
        USER_RAISES("call gate to null", GP, 0, 6: lcall S(7), 0)
        mov word ptr [gdt + S(7) + 2], DATA
        USER_RAISES("call gate to data", GP, DATA, 6: lcall S(7), 0)
        mov word ptr [gdt + S(7) + 2], CODE32
        /* To level 1, whose stack is wrong; exceptions find that of level 0. */
        DESCRIPTOR(8, 0xffff, 0xcfba00)
        DESCRIPTOR(9, 0xffff, 0xcf3200)
        mov word ptr [gdt + S(7) + 2], S(8)
        mov dword ptr [tss + 12], STACK_0 - 0x1000
#define SS1_RAISES(what, selector, vector, error) mov dword ptr [tss + 16], selector; USER_RAISES(what, vector, error, 6: lcall S(7), 0)
        SS1_RAISES("inner SS of another level", USER_DATA, TS, USER_DATA - 3)
        SS1_RAISES("inner SS of another RPL", S(9), TS, S(9))
        SS1_RAISES("inner SS null", 0, TS, 0)
        SS1_RAISES("inner SS beyond the table", 0xfff9, TS, 0xfff8)
        SS1_RAISES("inner SS of code", S(8) + 1, TS, S(8))
        SS1_RAISES("inner SS not present", S(9) + 1, SS, S(9))
        or dword ptr [gdt + S(9) + 4], 0x8000
        mov word ptr [gdt + S(7) + 2], CODE32

        /* Returns. */
        RAISES("RETF to level 3", UD, 0, push USER_DATA; push STACK_3; push USER32; push offset 6f; retf; 6: ud2)
        CPL_IS("RETF to level 3: CPL", 3)
        IS("RETF to level 3: ESP", dword ptr [SP_], STACK_3)
        RAISES("RETF 8 to level 3", UD, 0, push USER_DATA; push STACK_3; push 1; push 2; push USER32; push offset 6f; retf 8; 6: ud2)
        IS("RETF 8 to level 3: ESP", dword ptr [SP_], STACK_3 + 8)
        RAISES("RETF to level 3, SS of level 0", GP, DATA, push DATA; push STACK_3; push USER32; push offset 1f; 6: retf; 1: ud2)
        RAISES("RETF to level 3, SS null", GP, 0, push 0; push STACK_3; push USER32; push offset 1f; 6: retf; 1: ud2)
        RAISES("RETF to null", GP, 0, push 0; push offset 1f; 6: retf; 1: ud2)
        RAISES("RETF to RPL 3 of level 0", GP, CODE32, push USER_DATA; push STACK_3; push CODE32 + 3; push offset 1f; 6: retf; 1: ud2)
        USER_RAISES("RETF to an inner level", GP, CODE32, push CODE32; push offset 1f; 6: retf; 1: ud2)
        USER_RAISES("IRET to an inner level", GP, CODE32, push 2; push CODE32; push offset 1f; 6: iretd; 1: ud2)
        /* IOPL and IF by level 3 are not changed, without a fault. */
        USER_RAISES("level 3: POPF", UD, 0, push 0x3202; popfd; 6: ud2)
        mov eax, [FLAGS]
        and eax, 0x3200
        IS("level 3: POPF leaves IF and IOPL", eax, 0)
        RAISES("level 3 with IOPL 3", UD, 0, AT_3(0x3002) push 0x202; popfd; in al, 0x80; cli; sti; 6: ud2)
        mov eax, [FLAGS]
        and eax, 0x3200
        IS("level 3 with IOPL 3: POPF changes IF", eax, 0x3200)
        USER_RAISES("no bitmap", GP, 0, 6: in al, 0x80)
        /* EIP beyond CS's limit. */
        DESCRIPTOR(6, 0xfff, 0x409a10)
        RAISES("JMP beyond the limit of the new CS", GP, 0, 6: ljmp S(6), 0x1000)
        ret

/* By the gate: notes its frame. */
inner:  mov eax, ds
        mov ecx, eax
        mov eax, DATA
        mov ds, eax
        mov [CELL + 32], ecx
        mov eax, [esp + 8]
        mov [CELL], eax
        mov eax, [esp + 12]
        mov [CELL + 4], eax
        mov eax, [esp + 16]
        mov [CELL + 8], eax
        mov eax, [esp + 20]
        mov [CELL + 12], eax
        mov eax, [esp + 4]
        mov [CELL + 16], eax
        mov [CELL + 20], esp
        mov eax, ss
        mov [CELL + 24], eax
        mov eax, cs
        mov [CELL + 28], eax
        retf 8
        .balign 4
selectors: .long DATA
