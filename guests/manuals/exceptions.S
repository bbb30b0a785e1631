/* Exceptions (SDM 3A 6.15, APM 2 8.2), their error codes and what is saved, in 64-bit mode. */
#include "start.h"
#define XMM_UNMASKED 0x1d80 /* MXCSR with division by zero unmasked */
#define SET_CR0(on, off) mov rax, cr0; or eax, on; and eax, ~(off); mov cr0, rax
#define SET_CR4(on, off) mov rax, cr4; or eax, on; and eax, ~(off); mov cr4, rax
#define PTE(low, high) mov dword ptr [TEST_TABLE], low; mov dword ptr [TEST_TABLE + 4], high; invlpg [TEST_PAGE]
#define FAULTS(what, error, ...) RAISES(what, PF, error, __VA_ARGS__); IS2(what, " (CR2)", qword ptr [CR2_], TEST_PAGE + 8)
#define USER_FAULTS(what, error, ...) FAULTS(what, error, AT_3(2) __VA_ARGS__)

checks:
        mov ebx, TEST_PAGE + 8
        RAISES("DIV by 0", DE, 0, xor ecx, ecx; mov eax, 1; cdq; 6: div ecx)
        RAISES("IDIV overflow", DE, 0, mov ecx, -1; mov eax, 0x80000000; cdq; 6: idiv ecx)
        RAISES("DIV overflow", DE, 0, mov ecx, 1; mov eax, 5; mov edx, 1; 6: div ecx)
        RAISES("INT3", BP, 0, int3; 6:)
        RAISES("INT 3", BP, 0, .byte 0xcd, 3; 6:)
        RAISES("UD2", UD, 0, 6: ud2)
        and qword ptr [FLAGS], 0x10000
        IS("UD2: RF is set", qword ptr [FLAGS], 0x10000)
        RAISES("UD0", UD, 0, 6: .byte 0x0f, 0xff, 0xc0)
        RAISES("UD1", UD, 0, 6: .byte 0x0f, 0xb9, 0xc0)
        RAISES("PUSH ES", UD, 0, 6: .byte 0x06)
        RAISES("DAA", UD, 0, 6: .byte 0x27)
        RAISES("AAM", UD, 0, 6: .byte 0xd4, 0x0a)
        RAISES("INTO", UD, 0, 6: .byte 0xce)
        RAISES("PUSHA", UD, 0, 6: .byte 0x60)
        RAISES("SALC", UD, 0, 6: .byte 0xd6)
        RAISES("CALL far direct", UD, 0, 6: .byte 0x9a, 0, 0, 0, 0, 8, 0)
        RAISES("82 /0", UD, 0, 6: .byte 0x82, 0xc0, 0)
        RAISES("LOCK ADD register", UD, 0, 6: .byte 0xf0, 0x01, 0xc0)
        RAISES("LOCK MOV", UD, 0, 6: .byte 0xf0, 0x89, 0x03)
        RAISES("LOCK CMP", UD, 0, 6: .byte 0xf0, 0x39, 0x03)
        RAISES("LOCK BT", UD, 0, 6: .byte 0xf0, 0x0f, 0xa3, 0x03)
        RAISES("MOV CS", UD, 0, 6: .byte 0x8e, 0xc8)
        RAISES("MOV segment 6", UD, 0, 6: .byte 0x8e, 0xf0)
        RAISES("MOV CR1", UD, 0, 6: .byte 0x0f, 0x20, 0xc8)
        RAISES("MOV CR5", UD, 0, 6: .byte 0x0f, 0x22, 0xe8)
        RAISES("LEA register", UD, 0, 6: .byte 0x8d, 0xc0)
        RAISES("LSS register", UD, 0, 6: .byte 0x0f, 0xb2, 0xc0)
        RAISES("C6 /1", UD, 0, 6: .byte 0xc6, 0x08, 0)
        RAISES("FE /2", UD, 0, 6: .byte 0xfe, 0x10)
        RAISES("FF /7", UD, 0, 6: .byte 0xff, 0x38)
        RAISES("8F /1", UD, 0, 6: .byte 0x8f, 0xc8, 0, 0, 0)
        RAISES("CMPXCHG8B register", UD, 0, 6: .byte 0x0f, 0xc7, 0xc8)
        RAISES("15 prefixes", GP, 0, 6: .fill 15, 1, 0x66; nop)
        PASSES("14 prefixes", .fill 14, 1, 0x66; nop)

        SET_CR0(8, 0)
        RAISES("TS: FLD1", NM, 0, 6: fld1)
        RAISES("TS: MOVAPS", NM, 0, 6: movaps xmm0, xmm1)
        RAISES("TS, MP: WAIT", NM, 0, 6: fwait)
        PASSES("TS: MOVNTI", movnti [CELL], eax)
        PASSES("TS: SFENCE", sfence)
        SET_CR0(8, 2)
        PASSES("TS without MP: WAIT", fwait)
        RAISES("TS without MP: FNINIT", NM, 0, 6: fninit)
        SET_CR0(4, 8)
        RAISES("EM: FLD1", NM, 0, 6: fld1)
        RAISES("EM: MOVAPS", UD, 0, 6: movaps xmm0, xmm1)
        RAISES("EM: LDMXCSR", UD, 0, 6: ldmxcsr [CELL])
        RAISES("EM: FXSAVE", NM, 0, 6: fxsave [CELL])
        PASSES("EM: WAIT", fwait)
        SET_CR0(2, 0xc)
        SET_CR4(0, 0x200)
        RAISES("no OSFXSR: MOVAPS", UD, 0, 6: movaps xmm0, xmm1)
        SET_CR4(0x200, 0)

        fninit
        mov word ptr [CELL], 0x37b
        fldcw [CELL]
        RAISES("x87 error: WAIT", MF, 0, fld1; fldz; fdivp; 6: fwait)
        RAISES("x87 error: FLD1", MF, 0, 6: fld1)
        PASSES("x87 error: FNSTSW", fnstsw ax)
        PASSES("x87 error: FNCLEX", fnclex; fld1)
        fninit
        mov dword ptr [CELL], XMM_UNMASKED
        ldmxcsr [CELL]
        RAISES("SSE error", XM, 0, xorps xmm0, xmm0; mov eax, 1; cvtsi2ss xmm1, eax; 6: divss xmm1, xmm0)
        stmxcsr [CELL]
        IS("SSE error: MXCSR", qword ptr [CELL], XMM_UNMASKED | 4)
        SET_CR4(0, 0x400)
        RAISES("SSE error without OSXMMEXCPT", UD, 0, 6: divss xmm1, xmm0)
        SET_CR4(0x400, 0)
        mov dword ptr [CELL], 0x1f80
        mov dword ptr [CELL + 4], 0
        ldmxcsr [CELL]
        mov dword ptr [CELL], 0x11f80
        RAISES("LDMXCSR reserved", GP, 0, 6: ldmxcsr [CELL])
        RAISES("MOVAPS unaligned", GP, 0, 6: movaps xmm0, [CELL + 8])

        /* Segment registers: not present data, beyond the table, in the LDT that there is not, of code. */
        mov rax, 0x00cf13000000ffff
        mov [gdt + FREE], rax
        mov eax, FREE
        RAISES("DS not present", NP, FREE, 6: mov ds, eax)
        RAISES("SS not present", SS, FREE, 6: mov ss, eax)
        mov eax, FREE + 3
        RAISES("ES not present, RPL 3", GP, FREE, 6: mov es, eax)
        mov eax, 0xfff8
        RAISES("DS beyond the table", GP, 0xfff8, 6: mov ds, eax)
        mov eax, 0x1f
        RAISES("DS in no LDT", GP, 0x1c, 6: mov ds, eax)
        mov eax, 3
        RAISES("SS null, RPL 3", GP, 0, 6: mov ss, eax)
        PASSES("SS null, RPL 0", xor eax, eax; mov ss, eax; mov eax, DATA; mov ss, eax)
        mov eax, CODE32
        RAISES("SS of code", GP, CODE32, 6: mov ss, eax)
        mov eax, USER_DATA
        RAISES("SS of level 3", GP, USER_DATA & ~3, 6: mov ss, eax)
        mov eax, TSS
        RAISES("DS of a TSS", GP, TSS, 6: mov ds, eax)
        RAISES("LTR busy", GP, TSS, 6: ltr ax)
        mov eax, DATA
        RAISES("LTR data", GP, DATA, 6: ltr ax)
        RAISES("LTR null", GP, 0, xor eax, eax; 6: ltr ax)
        RAISES("LLDT data", GP, DATA, mov eax, DATA; 6: lldt ax)
        PASSES("LLDT null", xor eax, eax; lldt ax)
        RAISES("IRET with NT", GP, 0, push DATA; push STACK; push 2; push CODE64; push offset 7f; pushfq; or dword ptr [rsp], 0x4000; popfq; 6: iretq)
        RAISES("IRET to null CS", GP, 0, push DATA; push STACK; push 2; push 0; push offset 7f; 6: iretq)
        RAISES("IRET to data", GP, DATA, push DATA; push STACK; push 2; push DATA; push offset 7f; 6: iretq)
        RAISES("IRET to level 3 with SS of level 0", GP, DATA, push DATA; push STACK; push 2; push USER64; push offset 7f; 6: iretq)
        RAISES("IRET to level 3 with null SS", GP, 0, push 3; push STACK; push 2; push USER32; push offset 7f; 6: iretq)

        /* #GP(0) of control registers and MSRs. */
        RAISES("CR0 PG without PE", GP, 0, mov rax, cr0; and eax, ~1; 6: mov cr0, rax)
        RAISES("CR0 NW without CD", GP, 0, mov rax, cr0; or eax, 1 << 29; 6: mov cr0, rax)
        RAISES("CR0 upper half", GP, 0, mov rax, cr0; bts rax, 32; 6: mov cr0, rax)
        RAISES("CR4 without PAE", GP, 0, mov rax, cr4; and eax, ~0x20; 6: mov cr4, rax)
        RAISES("CR4 reserved", GP, 0, mov rax, cr4; bts rax, 63; 6: mov cr4, rax)
        RAISES("CR3 reserved", GP, 0, mov rax, cr3; bts rax, 62; 6: mov cr3, rax)
        RAISES("CR8 reserved", GP, 0, mov eax, 16; 6: mov cr8, rax)
        RAISES("EFER reserved", GP, 0, mov ecx, 0xc0000080; rdmsr; or edx, 1; 6: wrmsr)
        RAISES("EFER LME with PG", GP, 0, mov ecx, 0xc0000080; rdmsr; and eax, ~0x100; 6: wrmsr)
        RAISES("FS base not canonical", GP, 0, mov ecx, 0xc0000100; xor eax, eax; mov edx, 0x8000; 6: wrmsr)
        RAISES("LSTAR not canonical", GP, 0, mov ecx, 0xc0000082; xor eax, eax; mov edx, 0x8000; 6: wrmsr)
        RAISES("unknown MSR", GP, 0, mov ecx, 0xdeadbeef; 6: rdmsr)
        RAISES("DR7 upper half", GP, 0, mov eax, 1; shl rax, 32; 6: mov dr7, rax)
        RAISES("DR6 upper half", GP, 0, mov eax, 1; shl rax, 32; 6: mov dr6, rax)
        RAISES("XGETBV without OSXSAVE", UD, 0, xor ecx, ecx; 6: xgetbv)
        RAISES("XSETBV without OSXSAVE", UD, 0, xor ecx, ecx; 6: xsetbv)
        RAISES("JMP not canonical", GP, 0, mov rax, 0x800000000000; 6: jmp rax)
        RAISES("RET not canonical", GP, 0, mov rax, 0x800000000000; push rax; 6: ret)

        /* At level 3. */
        USER_RAISES("level 3: HLT", GP, 0, 6: hlt)
        IS("level 3: CS", qword ptr [CS_], USER64)
        IS("level 3: SS", qword ptr [SS_], USER_DATA)
        IS("level 3: RSP", qword ptr [SP_], STACK_3)
        USER_RAISES("level 3: CLI", GP, 0, 6: cli)
        USER_RAISES("level 3: STI", GP, 0, 6: sti)
        USER_RAISES("level 3: IN", GP, 0, 6: in al, 0x80)
        USER_RAISES("level 3: OUT", GP, 0, 6: out 0x80, al)
        USER_RAISES("level 3: INS", GP, 0, mov edx, 0x80; 6: insb)
        USER_RAISES("level 3: INT 32", GP, 32 * 8 + 2, 6: int 32)
        USER_RAISES("level 3: INT3, gate of level 0", GP, 3 * 8 + 2, 6: int3)
        USER_RAISES("level 3: INT1, gate of level 0", DB, 0, .byte 0xf1; 6:)
        USER_RAISES("level 3: MOV CR0", GP, 0, 6: mov rax, cr0)
        USER_RAISES("level 3: MOV DR7", GP, 0, 6: mov rax, dr7)
        USER_RAISES("level 3: LGDT", GP, 0, 6: lgdt [gdtr])
        USER_RAISES("level 3: LTR", GP, 0, 6: ltr ax)
        USER_RAISES("level 3: CLTS", GP, 0, 6: clts)
        USER_RAISES("level 3: RDMSR", GP, 0, 6: rdmsr)
        USER_RAISES("level 3: INVLPG", GP, 0, 6: invlpg [CELL])
        USER_RAISES("level 3: WBINVD", GP, 0, 6: wbinvd)
        USER_RAISES("level 3: SWAPGS", GP, 0, 6: swapgs)
        USER_RAISES("level 3: INVD", GP, 0, 6: invd)
        USER_RAISES("level 3: SYSRET without SCE", UD, 0, 6: sysretq)
        USER_RAISES("level 3: XSETBV without OSXSAVE", UD, 0, xor ecx, ecx; 6: xsetbv)
        mov ecx, 0xc0000080
        rdmsr
        or eax, 1
        wrmsr
        USER_RAISES("level 3: SYSRET", GP, 0, 6: sysretq)
        mov ecx, 0xc0000080
        rdmsr
        and eax, ~1
        wrmsr
        USER_RAISES("level 3: SYSCALL without SCE", UD, 0, 6: syscall)
        USER_RAISES("level 3: DS of level 0", GP, DATA, mov eax, DATA; 6: mov ds, eax)
        USER_RAISES("level 3: SS null", GP, 0, mov eax, 3; 6: mov ss, eax)
        SET_CR4(4, 0)
        USER_RAISES("level 3: RDTSC with TSD", GP, 0, 6: rdtsc)
        PASSES("RDTSC with TSD", rdtsc)
        SET_CR4(0, 4)
        SET_CR0(0x40000, 0)
        RAISES("level 3: alignment", AC, 0, AT_3(0x40002) 6: mov eax, [CELL + 1])
        USER_RAISES("level 3: alignment without AC", UD, 0, mov eax, [CELL + 1]; 6: ud2)
        PASSES("level 0: alignment", pushfq; or dword ptr [rsp], 0x40000; popfq; mov eax, [CELL + 1]; push 2; popfq)
        SET_CR0(0, 0x40000)

        /* Page faults: every bit of the error code. */
        PTE(FRAME + 6, 0)
        FAULTS("#PF read, not present", 0, 6: mov eax, [rbx])
        FAULTS("#PF write, not present", 2, 6: mov [rbx], eax)
        FAULTS("#PF read-modify-write, not present", 2, 6: add [rbx], eax)
        FAULTS("#PF CMPXCHG, not present", 2, 6: cmpxchg [rbx], ecx)
        PTE(0, 0)
        USER_FAULTS("#PF level 3 read, not present", 4, 6: mov eax, [rbx])
        USER_FAULTS("#PF level 3 write, not present", 6, 6: mov [rbx], eax)
        PTE(FRAME + 3, 0)
        USER_FAULTS("#PF level 3 read, supervisor", 5, 6: mov eax, [rbx])
        USER_FAULTS("#PF level 3 write, supervisor", 7, 6: mov [rbx], eax)
        PASSES("level 0 write", mov [rbx], eax)
        PTE(FRAME + 5, 0)
        FAULTS("#PF write, read-only", 3, 6: mov [rbx], eax)
        USER_FAULTS("#PF level 3 write, read-only", 7, 6: mov [rbx], eax)
        SET_CR0(0, 0x10000)
        PASSES("write without WP", mov [rbx], eax)
        USER_FAULTS("#PF level 3 write, read-only, without WP", 7, 6: mov [rbx], eax)
        SET_CR0(0x10000, 0)
        PTE(FRAME + 7, 0x80000)
        FAULTS("#PF read, reserved bit 51", 9, 6: mov eax, [rbx])
        FAULTS("#PF write, reserved bit 51", 0xb, 6: mov [rbx], eax)
        USER_FAULTS("#PF level 3 read, reserved bit 51", 0xd, 6: mov eax, [rbx])
        PTE(FRAME + 6, 0x80000)
        FAULTS("#PF read, not present, reserved bit", 0, 6: mov eax, [rbx])
        PTE(FRAME + 7, 0x80000000)
        PASSES("read, NX", mov eax, [rbx])
        mov ecx, 0xc0000080
        rdmsr
        and eax, ~0x800
        wrmsr
        invlpg [rbx]
        FAULTS("#PF read, XD without NXE", 9, 6: mov eax, [rbx])
        PTE(0, 0)
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x800
        wrmsr
        mov dword ptr [DIRECTORY(1)], FRAME + 0x2087
        invlpg [rbx]
        FAULTS("#PF read, large page with bit 13", 9, 6: mov eax, [rbx])
        mov dword ptr [DIRECTORY(1)], TEST_TABLE + 7

        /* Fetches: the IP is where it was fetched. */
#define FETCH(what, error, ...) BEGIN __VA_ARGS__; jmp rbx; END IS2(what, " (vector)", qword ptr [SEEN], PF); \
        IS2(what, " (error code)", qword ptr [ERROR], error); IS2(what, " (IP)", qword ptr [IP], TEST_PAGE + 8); IS2(what, " (CR2)", qword ptr [CR2_], TEST_PAGE + 8)
        FETCH("#PF fetch, not present", 0x10, nop)
        FETCH("#PF level 3 fetch, not present", 0x14, AT_3(2))
        PTE(FRAME + 3, 0)
        mov byte ptr [rbx], 0xc3
        PASSES("fetch", call rbx)
        FETCH("#PF level 3 fetch, supervisor", 0x15, AT_3(2))
        PTE(FRAME + 7, 0x80000000)
        FETCH("#PF fetch, NX", 0x11, nop)
        FETCH("#PF level 3 fetch, NX", 0x15, AT_3(2))
        PTE(FRAME + 7, 0x80080000)
        FETCH("#PF fetch, reserved", 0x19, nop)
        PTE(0, 0)

        /* Double faults (table 6-5): what comes while another is delivered. */
#define ABSENT(vector) mov byte ptr [IDT + vector * 16 + 5], 0x0e
#define PRESENT(vector) mov byte ptr [IDT + vector * 16 + 5], 0x8e
#define IST(vector, n) mov byte ptr [IDT + vector * 16 + 4], n
        mov dword ptr [tss + 36], TEST_PAGE + 0x10 /* IST 1: not present */
        mov dword ptr [tss + 44], STACK_0 - 0x2000 /* IST 2 */
        ABSENT(UD)
        RAISES("#UD, gate not present", NP, UD * 8 + 3, 6: ud2)
        PRESENT(UD)
        ABSENT(DE)
        RAISES("#DE, gate not present", DF, 0, xor ecx, ecx; 6: div ecx)
        PRESENT(DE)
        ABSENT(GP)
        RAISES("#GP, gate not present", DF, 0, mov eax, 0xfff8; 6: mov ds, eax)
        RAISES("#UD, gate with a bad selector, #GP not present", DF, 0, mov word ptr [IDT + UD * 16 + 2], DATA; 6: ud2)
        mov word ptr [IDT + UD * 16 + 2], CODE64
        PRESENT(GP)
        ABSENT(PF)
        RAISES("#PF, gate not present", DF, 0, 6: mov eax, [rbx])
        PRESENT(PF)
        IST(PF, 1)
        IST(DE, 1)
        IST(UD, 1)
        RAISES("#PF on the way to #PF", DF, 0, 6: mov eax, [rbx])
        IST(PF, 2)
        RAISES("#PF on the way to #DE", PF, 2, xor ecx, ecx; 6: div ecx)
        IS("#PF on the way to #DE: CR2", qword ptr [CR2_], TEST_PAGE + 8)
        RAISES("#PF on the way to #UD", PF, 2, 6: ud2)
        IST(DE, 0)
        IST(UD, 0)
        IST(PF, 0)
        ABSENT(NP)
        ABSENT(UD)
        RAISES("#UD, gate not present, #NP's neither", DF, 0, 6: ud2)
        PRESENT(UD)
        PRESENT(NP)
        ret
