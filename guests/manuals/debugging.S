/*
 * Debug exceptions in 64-bit mode (SDM 3B 18.2 and 18.3, 3A 6.8.3; APM 2, 13.1): debug registers, breakpoints of all kinds and lengths, RF, single
 * steps, shadows of MOV SS, general detect, INT1 and INT3.
 * QEMU's TCG departs from it: no general detect, INT1 is #UD, faults do not set RF, a breakpoint's address is not aligned to its length, strings trap before
 * the round is done, HLT with TF never ends, no interrupt within a string shows RF.
 */
#include "start.h"
#define SET_CR4(on, off) mov rax, cr4; or eax, on; and eax, ~(off); mov cr4, rax
#define SET_DR(n, address) mov rax, address; mov dr##n, rax
#define SET_DR6(value) mov eax, value; mov dr6, rax
#define SET_DR7(value) mov eax, value; mov dr7, rax
#define CLEAR SET_DR7(0x400); SET_DR6(0xffff0ff0)
#define B0 1
#define B1 2
#define B2 4
#define B3 8
#define BD 0x2000
#define BS 0x4000
#define BT 0x8000
/* DR7's bits of breakpoint n: X, W, IO or RW of 1, 2, 4 or 8 bytes, enabled locally. */
#define X 0
#define W 1
#define IO 2
#define RW 3
#define ON(n, kind, length) (1 << (2 * n) | (kind | length << 2) << (16 + 4 * n))
#define L1 0
#define L2 1
#define L4 3
#define L8 2
#define DR6_IS(what, wanted) mov rax, [DR6_]; and eax, 0xf00f; IS2(what, " (DR6)", rax, wanted)
#define RF_IS(what, wanted) mov rax, [FLAGS]; and eax, 0x10000; IS2(what, " (RF)", rax, wanted)
/* A #DB that leaves this in DR6; then one that does not come. */
#define TRAPS(what, dr6, ...) RAISES(what, DB, 0, __VA_ARGS__); DR6_IS(what, dr6); RF_IS(what, 0); SET_DR6(0xffff0ff0)
/* With breakpoint 0 at CELL+`at` of that kind and length. */
#define WATCH(at, kind, length) SET_DR(0, CELL + (at)); SET_DR7(0x400 | ON(0, kind, length)); SET_DR6(0xffff0ff0);
#define HITS(what, ...) TRAPS(what, B0, __VA_ARGS__ 6:)
#define MISSES(what, ...) PASSES(what, __VA_ARGS__)
/* How many traps there are from the instruction behind POPF to the POPF that clears TF, less the three that come of the latter. */
#define COUNT_STEPS (CELL + 0x200)
#define STEPS_DR6 (CELL + 0x208)
#define STEPS(what, wanted, ...) call stepped; mov qword ptr [COUNT_STEPS], 0; pushfq; or dword ptr [rsp], 0x100; popfq; __VA_ARGS__; pushfq; and dword ptr [rsp], ~0x100; popfq; \
        call fill_idt; mov rax, [COUNT_STEPS]; sub rax, 3; IS2(what, " (steps)", rax, wanted)
#define GATE(vector, handler) mov eax, offset handler; mov [IDT + 16 * vector], ax; mov dword ptr [IDT + 16 * vector + 4], eax; mov word ptr [IDT + 16 * vector + 4], 0x8e00
#define TF_ON pushfq; or dword ptr [rsp], 0x100; popfq;
#define WRITE_MSR(number, high, low) mov ecx, number; mov edx, high; mov eax, low; wrmsr
#define WRITE_APIC(register, value) mov eax, APIC; mov dword ptr [rax + register], value
/* The local APIC's timer, for one interrupt each time it is started. What was interrupted: RIP, RFLAGS, RCX. */
#define SET_TIMER(vector) WRITE_APIC(0xf0, 0x1ff); WRITE_APIC(0x80, 0); WRITE_APIC(0x3e0, 0xb); WRITE_APIC(0x320, vector)
#define INTERRUPTED_AT (CELL + 0x210)
#define INTERRUPTED_FLAGS (CELL + 0x218)
#define LEFT (CELL + 0x220)
#define BULK 0x800000

checks:
        mov al, 0xff /* no interrupts but our own */
        out 0x21, al
        out 0xa1, al
        cld
        CLEAR

        /* The registers. */
#define READS(what, register, wanted) mov rax, register; mov ecx, wanted; IS(what, rax, rcx)
        READS("DR6 cleared", dr6, 0xffff0ff0)
        READS("DR7 cleared", dr7, 0x400)
        SET_DR6(0)
        READS("DR6: bits that are 1", dr6, 0xffff0ff0)
        SET_DR6(-1)
        READS("DR6: bits that are 0", dr6, 0xffffefff)
        SET_DR7(0)
        READS("DR7: bits that are 1", dr7, 0x400)
        SET_DR(0, 0x123456789ab)
        mov rax, dr0
        mov rcx, 0x123456789ab
        IS("DR0", rax, rcx)
        SET_DR(3, -1)
        mov rax, dr3
        IS("DR3", rax, -1)
        SET_DR6(0xffff0ff0)
        SET_DR7(0xd000)
        READS("DR7: bits that are 0", dr7, 0x400)
        PASSES("DR4 is DR6", .byte 0x0f, 0x21, 0xe0)
        mov ecx, 0xffff0ff0
        IS("DR4", rax, rcx)
        PASSES("DR5 is DR7", .byte 0x0f, 0x21, 0xe8)
        IS("DR5", rax, 0x400)
        RAISES("DR6: upper half", GP, 0, mov rax, 0x100000000; 6: mov dr6, rax)
        RAISES("DR8", UD, 0, 6: .byte 0x44, 0x0f, 0x21, 0xc0)
        SET_CR4(8, 0)
        RAISES("DE: DR4", UD, 0, 6: .byte 0x0f, 0x21, 0xe0)
        RAISES("DE: DR5", UD, 0, 6: .byte 0x0f, 0x21, 0xe8)
        RAISES("DE: to DR4", UD, 0, 6: .byte 0x0f, 0x23, 0xe0)
        USER_RAISES("level 3: MOV from DR0", GP, 0, 6: mov rax, dr0)
        USER_RAISES("level 3: MOV to DR7", GP, 0, 6: mov dr7, rax)

        /* Execution. */
#define STOPS(what, n, dr7, dr6, ...) SET_DR6(0xffff0ff0); RAISES(what, DB, 0, SET_DR(n, offset 6f); SET_DR7(dr7); __VA_ARGS__); DR6_IS(what, dr6); RF_IS(what, 0); SET_DR7(0x400)
        STOPS("execution: DR0", 0, 0x401, B0, xor ebx, ebx; 6: inc ebx)
        IS("execution: before it", rbx, 0)
        STOPS("execution: DR1", 1, 0x404, B1, nop; 6: nop)
        STOPS("execution: DR2", 2, 0x410, B2, nop; 6: nop)
        STOPS("execution: DR3", 3, 0x440, B3, nop; 6: nop)
        STOPS("execution: global", 0, 0x402, B0, nop; 6: nop)
        STOPS("execution: LE and GE", 0, 0x701, B0, nop; 6: nop)
        STOPS("execution: before #UD", 0, 0x401, B0, 6: ud2)
        STOPS("execution: before #GP", 0, 0x401, B0, mov ecx, 0xdeadbeef; 6: rdmsr)
        STOPS("execution: before an exception of the address", 0, 0x401, B0, mov rbx, 0x800000000000; 6: mov eax, [rbx])
        STOPS("execution: INT n", 0, 0x401, B0, 6: int 0x60)
        STOPS("execution: INT3", 0, 0x401, B0, 6: int3)
        STOPS("execution: HLT", 0, 0x401, B0, 6: hlt)
        STOPS("execution: a jump's target", 0, 0x401, B0, jmp 6f; ud2; 6: nop)
        STOPS("execution: a prefix", 0, 0x401, B0, nop; 6: .byte 0x66; nop)
        STOPS("execution: REP", 0, 0x401, B0, mov esi, CELL; mov edi, CELL; mov ecx, 3; 6: rep movsb)
        IS("execution: REP: before it", rcx, 3)
        STOPS("execution: two at once", 0, 0x405, B0 | B1, mov rax, offset 6f; mov dr1, rax; 6: nop)
        PASSES("execution: the middle of an instruction", SET_DR(0, offset 1f + 1); SET_DR7(0x401); 1: mov eax, 0x90909090; nop)
        PASSES("execution: not enabled", SET_DR(0, offset 1f); SET_DR7(0x400); nop; 1: nop)
        PASSES("execution: reading is none", SET_DR(0, offset 1f); SET_DR7(0x401); mov al, [1f]; jmp 2f; 1: nop; 2: nop)
        CLEAR
        STOPS("execution: level 3", 0, 0x401, B0, AT_3(2) nop; 6: nop)
        IS("execution: level 3: CS", qword ptr [CS_], USER64)
        STOPS("execution: 32-bit code", 0, 0x401, B0, push USER_DATA; push STACK_3; push 2; push USER32; push offset 5f; iretq; 5: nop; 6: nop)
        /* RF. */
#define RESUMED(flags) push DATA; push STACK - 0x800; push flags; push CODE64; push offset 5f; iretq; 5:
        PASSES("RF", SET_DR(0, offset 5f); SET_DR7(0x401); RESUMED(0x10002) nop; nop)
        STOPS("RF is for one instruction", 0, 0x401, B0, RESUMED(0x10002) nop; 6: nop)
        PASSES("RF, REP", SET_DR(0, offset 5f); SET_DR7(0x401); mov esi, CELL; mov edi, CELL; mov ecx, 3; RESUMED(0x10002) rep movsb)
        CLEAR
        BEGIN RESUMED(0x10002) pushfq; pop rbx; END
        and ebx, 0x10000
        IS("RF: PUSHF does not show it", rbx, 0)
        STOPS("RF: POPF cannot set it", 0, 0x401, B0, push 0x10002; popfq; 6: nop)
        RAISES("RF of a fault", UD, 0, 6: ud2)
        RF_IS("RF of a fault", 0x10000)
        RAISES("RF of INT n", BP, 0, int3; 6:)
        RF_IS("RF of INT n", 0)
        /* An interrupt between two rounds of a string shows RF (SDM 3B 18.3.1.1), one after the last does not. */
        CLEAR
        GATE(0x40, interrupted)
        SET_TIMER(0x40)
#define INTERRUPTED(what, rf, ...) mov qword ptr [LEFT], -1; mov edx, 2000; call start_timer; __VA_ARGS__; call await; mov rax, [INTERRUPTED_FLAGS]; and eax, 0x10000; \
        IS2(what, " (RF)", rax, rf); mov rax, [INTERRUPTED_AT]; IS2(what, " (IP)", rax, offset 4b)
        INTERRUPTED("interrupt within REP LODS", 0x10000, mov esi, BULK; mov ecx, 100000; sti; nop; 4: rep lodsb)
        IS("interrupt within REP LODS: all the same", rcx, 0)
        INTERRUPTED("interrupt within REP MOVS", 0x10000, mov esi, BULK; mov edi, BULK + 1; mov ecx, 100000; sti; nop; 4: rep movsb)
        IS("interrupt within REP MOVS: all the same", rdi, BULK + 100001)
        INTERRUPTED("interrupt within REP STOS of pages", 0x10000, mov edi, BULK; mov ecx, 0x200000; xor eax, eax; sti; nop; 4: rep stosq)
        IS("interrupt within REP STOS of pages: all the same", rdi, BULK + 0x1000000)
        INTERRUPTED("interrupt within REPNE SCAS", 0x10000, mov edi, BULK; mov ecx, 100000; mov al, 1; sti; nop; 4: repne scasb)
        INTERRUPTED("interrupt after REP MOVS", 0, mov esi, BULK; mov edi, BULK + 1; mov ecx, 100; rep movsb; sti; hlt; 4:)
        INTERRUPTED("interrupt in level 3", 0x10000, BEGIN AT_3(0x202) mov esi, BULK; mov ecx, 100000; 4: rep lodsb; int3; END)
        WRITE_APIC(0x320, 0x10000)
        call fill_idt

        /* Data: kinds and lengths. */
        mov ebx, CELL
        WATCH(0, W, L1)
        HITS("write byte", mov byte ptr [rbx], al;)
        MISSES("write byte: a read", mov al, [rbx])
        MISSES("write byte: the one before", mov [rbx - 1], al)
        MISSES("write byte: the one after", mov [rbx + 1], al)
        HITS("write byte: dword that ends there", mov [rbx - 3], eax;)
        HITS("write byte: quadword that begins there", mov [rbx], rax;)
        HITS("write byte: quadword across it", mov [rbx - 5], rax;)
        MISSES("write byte: quadword before it", mov [rbx - 8], rax)
        HITS("write byte: 16 bytes that end there", movups [rbx - 15], xmm0;)
        MISSES("write byte: 16 bytes before it", movups [rbx - 16], xmm0)
        HITS("write byte: INC", inc byte ptr [rbx];)
        HITS("write byte: XCHG", xchg [rbx], al;)
        HITS("write byte: LOCK ADD", lock add [rbx], eax;)
        MISSES("write byte: CMP", cmp [rbx], al)
        MISSES("write byte: TEST", test [rbx], al)
        MISSES("write byte: BT", bt dword ptr [rbx], 1)
        HITS("write byte: BTS", bts dword ptr [rbx], 1;)
        HITS("write byte: PUSH", lea rsp, [rbx + 8]; push rax;)
        HITS("write byte: CALL", lea rsp, [rbx + 8]; call 6f; ud2;)
        MISSES("write byte: POP", lea rsp, [rbx]; pop rax)
        HITS("write byte: POP to it", push rax; pop qword ptr [rbx];)
        HITS("write byte: STOS", mov edi, CELL; stosb;)
        HITS("write byte: SETcc", setz [rbx];)
        HITS("write byte: FSTP", fninit; fld1; fstp tbyte ptr [rbx - 9];)
        HITS("write byte: FNSTCW", fnstcw [rbx];)
        HITS("write byte: FXSAVE", fxsave [rbx - 0x40];)
        HITS("write byte: MOVNTI", movnti [rbx], eax;)
        HITS("write byte: STMXCSR", stmxcsr [rbx];)
        HITS("write byte: ENTER", lea rsp, [rbx + 8]; enter 0, 0;)
        HITS("write byte: SGDT", sgdt [rbx - 9];)
        HITS("write byte: MOV from a segment register", mov [rbx], ds;)
        HITS("write byte: CMPXCHG8B", cmpxchg8b [rbx];)
        MISSES("write byte: PREFETCH", prefetcht0 [rbx])
        MISSES("write byte: LEA", lea rax, [rbx])
        WATCH(0, RW, L1)
        HITS("access byte: read", mov al, [rbx];)
        HITS("access byte: write", mov [rbx], al;)
        HITS("access byte: CMP", cmp al, [rbx];)
        HITS("access byte: LODS", mov esi, CELL; lodsb;)
        HITS("access byte: MOVS from it", mov esi, CELL; mov edi, CELL + 64; movsb;)
        HITS("access byte: POP", mov esp, CELL; pop rax;)
        HITS("access byte: RET", mov esp, CELL; SET_DR7(0x400); mov rax, offset 6f; mov [rbx], rax; SET_DR7(0x400 | ON(0, RW, L1)); ret; ud2;)
        HITS("access byte: JMP by it", SET_DR7(0x400); mov rax, offset 6f; mov [rbx], rax; SET_DR7(0x400 | ON(0, RW, L1)); jmp [rbx]; ud2;)
        HITS("access byte: SCAS", mov edi, CELL; scasb;)
        HITS("access byte: CMPS", mov edi, CELL + 64; mov esi, CELL; cmpsb;)
        HITS("access byte: XLAT", xor eax, eax; xlatb;)
        HITS("access byte: OUTS", mov esi, CELL; mov edx, 0x80; outsb;)
        HITS("access byte: MOVAPS", movaps xmm0, [rbx];)
        HITS("access byte: FLD", fninit; fld qword ptr [rbx - 7];)
        HITS("access byte: LGDT", SET_DR7(0x400); sgdt [rbx]; SET_DR7(0x400 | ON(0, RW, L1)); lgdt [rbx];)
        MISSES("access byte: NOP", nop dword ptr [rbx])
        MISSES("access byte: INVLPG", invlpg [rbx])
        /* Its lengths: the address's low bits do not count. */
        WATCH(2, W, L2)
        HITS("word: its first byte", mov [rbx + 2], al;)
        HITS("word: its second byte", mov [rbx + 3], al;)
        MISSES("word: before it", mov [rbx + 1], al)
        MISSES("word: after it", mov [rbx + 4], eax)
        WATCH(3, W, L2)
        HITS("word, odd address: its first byte", mov [rbx + 2], al;)
        MISSES("word, odd address: the one after", mov [rbx + 4], al)
        WATCH(4, W, L4)
        HITS("dword: its first byte", mov [rbx + 4], al;)
        HITS("dword: its last byte", mov [rbx + 7], al;)
        MISSES("dword: before it", mov [rbx + 3], al)
        MISSES("dword: after it", mov [rbx + 8], al)
        WATCH(6, W, L4)
        HITS("dword, address within: its first byte", mov [rbx + 4], al;)
        MISSES("dword, address within: after it", mov [rbx + 8], ax)
        WATCH(8, W, L8)
        HITS("quadword: its first byte", mov [rbx + 8], al;)
        HITS("quadword: its last byte", mov [rbx + 15], al;)
        MISSES("quadword: before it", mov [rbx + 7], al)
        MISSES("quadword: after it", mov [rbx + 16], al)
        WATCH(13, W, L8)
        HITS("quadword, address within: its first byte", mov [rbx + 8], al;)
        WATCH(0, W, L1)
        HITS("level 3", AT_3(2) mov ebx, CELL; mov [rbx], al;)
        IS("level 3: CS", qword ptr [CS_], USER64)
        mov ebx, CELL
        WRITE_MSR(0xc0000100, 0, CELL - 0x100)
        HITS("linear addresses", mov fs:[0x100], al;)
        WRITE_MSR(0xc0000100, 0, 0)
        /* Several. */
        CLEAR
        SET_DR(0, CELL)
        SET_DR(1, CELL + 1)
        SET_DR(2, CELL + 8)
        SET_DR(3, CELL)
        SET_DR7(0x400 | ON(0, W, L1) | ON(1, W, L1) | ON(2, W, L1) | ON(3, RW, L1))
        TRAPS("three of four", B0 | B1 | B3, mov [rbx], ax; 6:)
        TRAPS("one of four", B2, mov [rbx + 8], ax; 6:)
        TRAPS("one kind of two", B3, mov al, [rbx]; 6:)
        SET_DR7(0x400 | ON(0, W, L1) | ON(2, W, L1))
        TRAPS("only what is enabled", B0, mov [rbx], al; 6:)
        /* Strings: after the round that has hit, with what is left. */
        WATCH(2, W, L1)
        RAISES("REP STOS", DB, 0, mov edi, CELL; mov ecx, 5; xor eax, eax; 6: rep stosb)
        IS("REP STOS: left", rcx, 2)
        IS("REP STOS: RDI", rdi, CELL + 3)
        DR6_IS("REP STOS", B0)
        RF_IS("REP STOS", 0x10000)
        SET_DR6(0xffff0ff0)
        WATCH(4, W, L1)
        HITS("REP STOS, last round", mov edi, CELL; mov ecx, 5; rep stosb;)
        IS("REP STOS, last round: left", rcx, 0)
        WATCH(8, RW, L1)
        RAISES("REP MOVS", DB, 0, mov esi, CELL; mov edi, CELL + 0x40; mov ecx, 3; 6: rep movsq)
        IS("REP MOVS: left", rcx, 1)
        RF_IS("REP MOVS", 0x10000)
        SET_DR6(0xffff0ff0)
        MISSES("REP MOVS of nothing", mov esi, CELL + 8; mov edi, CELL + 8; xor ecx, ecx; rep movsb)
        /* What faults does not trap. */
        WATCH(0, RW, L1)
        RAISES("a fault first", DE, 0, SET_DR7(0x400); mov dword ptr [rbx], 0; SET_DR7(0x400 | ON(0, RW, L1)); 6: div dword ptr [rbx])

        /* I/O, with CR4.DE. */
#define PORT(at, length) SET_DR(0, at); SET_DR7(0x400 | ON(0, IO, length)); SET_DR6(0xffff0ff0)
        mov edx, 0x80
        PORT(0x80, L1)
        HITS("port: IN", in al, 0x80;)
        HITS("port: OUT", out 0x80, al;)
        HITS("port: IN DX", in al, dx;)
        HITS("port: OUT DX", out dx, al;)
        HITS("port: word across it", mov edx, 0x7f; in ax, dx;)
        HITS("port: dword across it", mov edx, 0x7d; in eax, dx;)
        MISSES("port: the one after", in al, 0x81)
        MISSES("port: the one before", in al, 0x7f)
        MISSES("port: memory there", mov al, [0x80]; mov [0x80], al)
        HITS("port: OUTS", mov edx, 0x80; mov esi, CELL; outsb;)
        HITS("port: INS", mov edx, 0x80; mov edi, CELL; insb;)
        RAISES("port: REP OUTS", DB, 0, mov edx, 0x80; mov esi, CELL; mov ecx, 3; 6: rep outsb)
        IS("port: REP OUTS: left", rcx, 2)
        RF_IS("port: REP OUTS", 0x10000)
        SET_DR6(0xffff0ff0)
        HITS("port: level 3", AT_3(0x3002) in al, 0x80;)
        PORT(0x81, L2)
        HITS("ports, word: its first", in al, 0x80;)
        MISSES("ports, word: after it", in al, 0x82)
        PORT(0x84, L4)
        HITS("ports, dword: its last", in al, 0x87;)
        MISSES("ports, dword: before it", in al, 0x83)
        SET_DR(0, 0x80)
        SET_DR7(0x400 | ON(0, RW, L1))
        MISSES("a port is not memory", in al, 0x80; out 0x80, al)
        CLEAR

        /* Single steps. */
#define STEPPED(what, ...) TRAPS(what, BS, push 2; TF_ON __VA_ARGS__ 6:)
        STEPPED("TF by POPF: after the next", nop;)
        mov rax, [FLAGS]
        and eax, 0x100
        IS("TF is saved", rax, 0x100)
        STEPPED("TF: JMP", jmp 6f; ud2;)
        STEPPED("TF: CALL", call 6f; ud2;)
        STEPPED("TF: CPUID", cpuid;)
        STEPPED("TF: IN", in al, 0x80;)
        STEPPED("TF: HLT", hlt;)
        STEPPED("TF: POPF that clears it", popfq;)
        RAISES("TF: a fault", UD, 0, TF_ON 6: ud2)
        mov rax, dr6
        and eax, 0xf00f
        IS("TF: a fault leaves DR6", rax, 0)
        TRAPS("TF by IRET: after the next", BS, RESUMED(0x102) nop; 6: nop)
        TRAPS("TF by IRET to level 3", BS, AT_3(0x102) nop; 6: nop)
        TRAPS("TF by IRET to 32-bit code", BS, push USER_DATA; push STACK_3; push 0x102; push USER32; push offset 5f; iretq; 5: nop; 6: nop)
        /* Both together; what is not cleared. */
        mov ebx, CELL
        WATCH(0, W, L1)
        TRAPS("TF and a breakpoint", BS | B0, TF_ON mov [rbx], al; 6:)
        SET_DR6(0xffff0ff0 | BS | BT | BD)
        RAISES("bits of DR6 stay", DB, 0, mov [rbx], al; 6:)
        DR6_IS("bits of DR6 stay", B0 | BS | BT | BD)
        CLEAR
        RAISES("TF: within REP", DB, 0, mov esi, CELL; mov edi, CELL; mov ecx, 3; TF_ON 6: rep movsb)
        IS("TF: within REP: left", rcx, 2)
        RF_IS("TF: within REP", 0x10000)
        TRAPS("TF: REP, last round", BS, mov esi, CELL; mov edi, CELL; mov ecx, 1; TF_ON rep movsb; 6:)
        /* How many. */
        mov esi, CELL
        mov edi, CELL
        STEPS("nothing", 0)
        STEPS("three NOPs", 3, nop; nop; nop)
        STEPS("REP MOVS", 5, mov ecx, 4; rep movsb)
        STEPS("REP MOVS of nothing", 2, xor ecx, ecx; rep movsb)
        STEPS("REP STOS", 4, mov ecx, 3; rep stosb)
        STEPS("REP LODS", 4, mov esi, CELL; mov ecx, 2; rep lodsb)
        STEPS("REP OUTS", 5, mov edx, 0x80; mov ecx, 3; rep outsb)
        STEPS("REPNE SCAS that finds", 3, mov edi, offset three; xor eax, eax; repne scasb)
        STEPS("LOOP", 5, mov ecx, 4; 1: loop 1b)
        STEPS("MOV SS holds off", 2, mov eax, DATA; mov ss, eax; nop)
        STEPS("two MOV SS", 3, mov eax, DATA; mov ss, eax; nop; nop)
        STEPS("STI and CLI do not", 3, sti; nop; cli)
        STEPS("INT n", 1, int 0x60; nop)
        STEPS("INT3", 1, int3; nop)
        STEPS("#UD that is skipped", 1, ud2; nop)
        STEPS("PUSHF and POPF", 2, pushfq; popfq)
        STEPS("MOV CR0", 2, mov rax, cr0; mov cr0, rax)
        STEPS("MOV CR3", 2, mov rax, cr3; mov cr3, rax)
        STEPS("RDMSR, WRMSR", 3, mov ecx, 0xc0000100; rdmsr; wrmsr)
        STEPS("LGDT, LIDT", 2, lgdt [gdtr]; lidt [idtr])
        STEPS("SWAPGS", 2, swapgs; swapgs)
        STEPS("INVLPG, WBINVD, CLTS", 3, invlpg [CELL]; wbinvd; clts)
        STEPS("MOV DR", 2, mov rax, dr0; mov dr0, rax)
        STEPS("CALL and RET", 3, call 1f; jmp 2f; 1: ret; 2:)
        STEPS("RETF", 3, push CODE64; push offset 1f; .byte 0x48, 0xcb; 1:)
        STEPS("IRET", 7, mov rax, rsp; push DATA; push rax; push 0x102; push CODE64; push offset 1f; iretq; 1:)
        STEPS("SSE and x87", 3, movaps xmm0, xmm1; fninit; fwait)
        STEPS("LOCK", 2, lock inc dword ptr [CELL]; xchg [CELL], eax)
        STEPS("RDTSC, CPUID", 3, rdtsc; xor eax, eax; cpuid)
        mov rax, [STEPS_DR6]
        and eax, 0xf00f
        IS("steps: DR6", rax, BS)

        /* SYSCALL and SYSRET. */
        WRITE_MSR(0xc0000081, 0x230018, 0)
        WRITE_MSR(0xc0000082, 0, offset entry)
        WRITE_MSR(0xc0000084, 0, 0x100)
        mov ecx, 0xc0000080
        rdmsr
        or eax, 1
        wrmsr
        CLEAR
        BEGIN AT_3(0x102) syscall; END
        IS("SYSCALL that masks TF", qword ptr [SEEN], UD)
        IS("SYSCALL that masks TF (IP)", qword ptr [IP], offset entry)
        IS("SYSCALL that masks TF (R11)", r11, 0x102)
        mov rax, [FLAGS]
        and eax, 0x100
        IS("SYSCALL that masks TF (TF)", rax, 0)
        WRITE_MSR(0xc0000084, 0, 0)
        BEGIN AT_3(0x102) syscall; END
        IS("SYSCALL that leaves TF", qword ptr [SEEN], DB)
        IS("SYSCALL that leaves TF (IP)", qword ptr [IP], offset entry)
        IS("SYSCALL that leaves TF (CS)", qword ptr [CS_], CODE64)
        DR6_IS("SYSCALL that leaves TF", BS)
        SET_DR6(0xffff0ff0)
        RAISES("SYSRET with TF", DB, 0, mov rcx, offset 6f; mov r11d, 0x102; sysretq; 6: nop)
        IS("SYSRET with TF (CS)", qword ptr [CS_], USER64)
        DR6_IS("SYSRET with TF", BS)
        SET_DR6(0xffff0ff0)
        RAISES("SYSRET clears RF", DB, 0, SET_DR(0, offset 6f); SET_DR7(0x401); mov rcx, offset 6f; mov r11d, 0x10002; sysretq; 6: ud2)
        CLEAR
        mov ecx, 0xc0000080
        rdmsr
        and eax, ~1
        wrmsr

        /* The shadow of MOV SS. */
        mov ebx, CELL
        mov word ptr [rbx], DATA
        WATCH(0, RW, L2)
        HITS("MOV SS from what is watched: after the next", mov ss, word ptr [rbx]; nop;)
        MISSES("MOV SS: not watched", mov eax, DATA; mov ss, eax; nop)
        CLEAR
        mov eax, DATA
        STEPPED("MOV SS with TF: after the next", mov ss, eax; nop;)
        CLEAR
        BEGIN SET_DR7(0x400 | ON(0, RW, L2)); mov ss, word ptr [rbx]; int 0x60; END
        IS("MOV SS from what is watched, then INT n", qword ptr [SEEN], DB)
        IS("MOV SS from what is watched, then INT n (IP)", qword ptr [IP], offset stubs + 0x60 * 16)
        DR6_IS("MOV SS from what is watched, then INT n", B0)
        IS("MOV SS from what is watched, then INT n (CS)", qword ptr [CS_], CODE64)
        CLEAR
        mov dword ptr [rbx], 0

        /* General detect. */
#define DETECTED(what, ...) RAISES(what, DB, 0, SET_DR7(0x2400); __VA_ARGS__); DR6_IS(what, BD); RF_IS(what, 0x10000); mov rax, dr7; IS2(what, " (DR7)", rax, 0x400); SET_DR6(0xffff0ff0)
        DETECTED("GD: from DR0", 6: mov rax, dr0)
        DETECTED("GD: to DR0", xor eax, eax; 6: mov dr0, rax)
        DETECTED("GD: from DR6", 6: mov rax, dr6)
        DETECTED("GD: from DR7", 6: mov rax, dr7)
        DETECTED("GD: to DR7", xor eax, eax; 6: mov dr7, rax)
        DETECTED("GD: to DR3", 6: mov dr3, rax)
        USER_RAISES("GD: level 3", GP, 0, 6: mov rax, dr0)
        SET_DR7(0x400)
        GATE(GP, quiet_error)
        GATE(UD, quiet)
        RAISES("GD: level 3 has #GP", GP, 0, SET_DR7(0x2400); AT_3(2) 6: mov rax, dr0)
        RAISES("GD is still set", DB, 0, 6: mov rax, dr0)
        SET_DR6(0xffff0ff0)
        RAISES("GD: DR4 has #UD", UD, 0, SET_DR7(0x2400); 6: .byte 0x0f, 0x21, 0xe0)
        call fill_idt
        RAISES("GD is still set after #UD", DB, 0, 6: mov rax, dr0)
        PASSES("GD is cleared by #DB", mov rax, dr0)
        CLEAR

        /* INT1, INT3. */
        RAISES("INT1", DB, 0, .byte 0xf1; 6:)
        DR6_IS("INT1", 0)
        RF_IS("INT1", 0)
        USER_RAISES("level 3: INT1", DB, 0, .byte 0xf1; 6:)
        RAISES("INT 1", DB, 0, .byte 0xcd, 1; 6:)
        DR6_IS("INT 1", 0)
        USER_RAISES("level 3: INT 1", GP, 1 * 8 + 2, 6: .byte 0xcd, 1)
        USER_RAISES("level 3: INT3", GP, 3 * 8 + 2, 6: int3)
        mov byte ptr [IDT + 16 * 3 + 5], 0xee
        USER_RAISES("level 3: INT3, gate of level 3", BP, 0, int3; 6:)
        call fill_idt
        RAISES("INT3 with TF", BP, 0, TF_ON int3; 6:)
        mov rax, [FLAGS]
        and eax, 0x100
        IS("INT3 with TF: TF is saved", rax, 0x100)

        /* Branches only (IA32_DEBUGCTL.BTF), where it is. */
        BEGIN WRITE_MSR(0x1d9, 0, 2); END
        cmp qword ptr [SEEN], NONE
        jne 1f
        mov ecx, 0x1d9
        rdmsr
        test al, 2
        jz 1f
        TRAPS("BTF: the first branch", BS, pushfq; or dword ptr [rsp], 0x100; popfq; nop; nop; jmp 6f; ud2; 6: nop)
1:      BEGIN WRITE_MSR(0x1d9, 0, 0); END
        SET_CR4(0, 8)
        CLEAR
        ret

three:  .byte 1, 0, 0
entry:  ud2

/* #DB counts and goes on; INT3 and INT n return at once; #UD skips its two bytes. */
stepped:
        push rax
        GATE(1, step)
        GATE(3, back)
        GATE(0x60, back)
        GATE(6, skip)
        pop rax
        ret
start_timer:
        mov eax, APIC
        mov [rax + 0x380], edx
        ret
await:  cmp qword ptr [LEFT], -1
        je await
        cli
        ret
interrupted:
        push rax
        mov rax, [rsp + 8]
        mov [INTERRUPTED_AT], rax
        mov rax, [rsp + 24]
        mov [INTERRUPTED_FLAGS], rax
        mov [LEFT], rcx
        WRITE_APIC(0xb0, 0)
        pop rax
        iretq
step:   inc qword ptr [COUNT_STEPS]
        push rax
        mov rax, dr6
        mov [STEPS_DR6], rax
        mov eax, 0xffff0ff0
        mov dr6, rax
        pop rax
        iretq
/* #GP and #UD of a processor whose debug registers must not be touched. */
quiet_error:
        pop qword ptr [ERROR]
        mov qword ptr [SEEN], GP
        jmp 1f
quiet:  mov qword ptr [SEEN], UD
1:      pop qword ptr [IP]
        mov eax, DATA
        mov ss, eax
        mov rsp, [SAVED]
        jmp [RESUME]
skip:   add qword ptr [rsp], 2
back:   iretq
