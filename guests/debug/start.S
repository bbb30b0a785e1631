/*
 * Debug exceptions, single steps and shadows by the manual (SDM 3A 6.8.3, 6.9, 3B 17.3), first in 32-bit and then in
 * 64-bit mode. Every handler notes its vector, DR6, RIP, RFLAGS and error code in a log; a check compares the oldest entry
 * that has not been checked with what is expected. The status is 0, or the number of the check that failed.
 * Entered in 32-bit mode, flat, without paging (PVH), at 0x100000.
 */
#define BASE 0x100000
#define TABLES 0x200000
#define IDT 0x20c000
#define TSS 0x20d000
#define DATA 0x20e000
#define LOG 0x210000
#define STACK 0x300000
#define INNER 0x310000
#define APIC 0xfee00000
#define EXIT_PORT 0x501

#define CHECK DATA      /* number of the present check */
#define END DATA+4      /* where the next entry of the log goes */
#define NEXT DATA+8     /* the next entry to be checked */
#define SKIP DATA+12    /* bytes that a handler skips */
#define SAVED DATA+24   /* the stack pointer before user mode */
#define AGAIN DATA+20   /* NMIs that the handler still sends */
#define VALUE DATA+512  /* what data breakpoints watch */

#define TF 0x100
#define RF 0x10000
#define DR6 0xffff0ff0
#define BS 0x4000
#define BD 0x2000
#define VECTOR_DB 1
#define AT(label) BASE + label - start

        .intel_syntax noprefix
        .code32
start:  mov esp, STACK
        lgdt [BASE + gdtr - start]
        ljmp 8, AT(narrow)

/* One gate: a handler, its selector, type and DPL. */
        .macro gate vector, handler, selector, type, size
        mov eax, AT(\handler)
        mov [IDT + \size * \vector], ax
        mov word ptr [IDT + \size * \vector + 2], \selector
        mov word ptr [IDT + \size * \vector + 4], \type
        shr eax, 16
        mov [IDT + \size * \vector + 6], ax
        .endm

/* Sets or clears RFLAGS.TF. The first is followed by no trap; with TF set the second causes three. */
        .macro stepping on, sp
        pushf
        .if \on
        or dword ptr [\sp], TF
        .else
        and dword ptr [\sp], ~TF
        .endif
        popf
        .endm
/* The next entry of the log: vector, DR6, RIP, and TF and RF of RFLAGS. */
        .macro expect vector, dr6, label, flags
        mov eax, \vector
        mov ecx, \dr6
        mov edx, AT(\label)
        mov edi, \flags
        call expected
        .endm
        .macro error_code value
        mov eax, \value
        call with_error
        .endm
/* So many entries, whatever they are, and none after them. */
        .macro end_after count
        mov eax, 32 * \count
        call ended
        .endm

        .macro entry name, vector, w
\name\w:
        push 0
        push \vector
        jmp note\w
        .endm

/* The suite of one mode: names of registers, bytes of a word and of a gate, and the code's and user code's selectors. */
        .macro suite w, ax, bx, cx, di, si, sp, W, size, cs, user_cs
        mov dword ptr [NEXT], LOG
        mov dword ptr [END], LOG
        gate 1, debug\w, \cs, 0x8e00, \size
        gate 2, nmi\w, \cs, 0x8e00, \size
        gate 3, breakpoint\w, \cs, 0xee00, \size
        gate 11, not_present\w, \cs, 0x8e00, \size
        gate 13, protection\w, \cs, 0x8e00, \size
        gate 0x40, software\w, \cs, 0xee00, \size
        gate 0x41, back\w, \cs, 0xee00, \size
        cli
        mov ebx, ss

/* POPF: the trap comes after the instruction that follows; the one that clears TF is still stepped over. */
        stepping 1, \sp
        nop
p1\w:   stepping 0, \sp
p2\w:   expect VECTOR_DB, (DR6|BS), p1\w, TF
        add dword ptr [NEXT], 64
        expect VECTOR_DB, (DR6|BS), p2\w, 0
        end_after 0

/* MOV SS loses its own trap, whatever follows; two in a row hold off but once. STI is stepped over. */
        stepping 1, \sp
        mov ss, ebx
        nop
s1\w:   mov ss, ebx
        mov ss, ebx
s2\w:   sti
s3\w:   cli
s4\w:   stepping 0, \sp
        expect VECTOR_DB, (DR6|BS), s1\w, TF
        expect VECTOR_DB, (DR6|BS), s2\w, TF
        expect VECTOR_DB, (DR6|BS), s3\w, TF
        expect VECTOR_DB, (DR6|BS), s4\w, TF
        end_after 3

/* IA32_DEBUGCTL.BTF: one trap, after the first branch that is taken; then every instruction traps again. */
        mov ecx, 0x1d9
        mov eax, 2
        xor edx, edx
        wrmsr
        stepping 1, \sp
        nop
        test \sp, \sp
        jz b1\w
        jmp b1\w
        nop
b1\w:   nop
b2\w:   stepping 0, \sp
        expect VECTOR_DB, (DR6|BS), b1\w, TF
        expect VECTOR_DB, (DR6|BS), b2\w, TF
        end_after 3
        mov ecx, 0x1d9
        rdmsr
        test eax, eax
        jne failed

/* Software interrupts clear TF: no trap in the handler. IRET that sets TF again is like POPF. */
        stepping 1, \sp
        int3
i1\w:   nop
i2\w:   int 0x40
i3\w:   nop
i4\w:   .byte 0xf1
i5\w:   nop
i6\w:   int 1
i7\w:   stepping 0, \sp
        expect 3, DR6, i1\w, TF
        expect VECTOR_DB, (DR6|BS), i2\w, TF
        expect 0x40, DR6, i3\w, TF
        expect VECTOR_DB, (DR6|BS), i4\w, TF
        expect VECTOR_DB, DR6, i5\w, TF
        expect VECTOR_DB, (DR6|BS), i6\w, TF
        expect VECTOR_DB, DR6, i7\w, TF
        end_after 3

/* MOV SS, then INT1: its #DB alone. */
        stepping 1, \sp
        mov ss, ebx
        .byte 0xf1
m1\w:   stepping 0, \sp
        expect VECTOR_DB, DR6, m1\w, TF
        end_after 3

/* HLT with interrupts off: the trap ends it. */
        stepping 1, \sp
        hlt
h1\w:   stepping 0, \sp
        expect VECTOR_DB, (DR6|BS), h1\w, TF
        end_after 3

/* DR6: B0-B3 are cleared, no other bit is. */
        mov \ax, BD | 0xf
        stepping 1, \sp
        mov dr6, \ax
d1\w:   stepping 0, \sp
        expect VECTOR_DB, (DR6|BS|BD), d1\w, TF
        end_after 3
        mov \ax, BS | BD | 2
        mov dr6, \ax
        mov \ax, AT(d2\w)
        mov dr0, \ax
        mov \ax, 1
        mov dr7, \ax
d2\w:   nop
        xor eax, eax
        mov dr7, \ax
        expect VECTOR_DB, (DR6|BS|BD|1), d2\w, 0
        end_after 0

/* An instruction breakpoint, whose handler sets RF: once each time the instruction is reached. */
        mov \ax, AT(c1\w)
        mov dr1, \ax
        mov \ax, 4
        mov dr7, \ax
        mov ecx, 3
c1\w:   dec ecx
        jnz c1\w
        mov ecx, 1
        mov \ax, AT(c2\w)
        mov dr1, \ax
        mov esi, VALUE
        mov edi, VALUE + 64
        mov ecx, 5
c2\w:   rep movsb
        xor eax, eax
        mov dr7, \ax
        expect VECTOR_DB, (DR6|2), c1\w, 0
        expect VECTOR_DB, (DR6|2), c1\w, 0
        expect VECTOR_DB, (DR6|2), c1\w, 0
        expect VECTOR_DB, (DR6|2), c2\w, 0
        end_after 0

/* Every element of a repeated string instruction traps, and shows RF but after the last. */
        mov edi, VALUE
        mov ecx, 20
        cld
        stepping 1, \sp
r1\w:   rep stosb
r2\w:   stepping 0, \sp
        expect VECTOR_DB, (DR6|BS), r1\w, (TF|RF)
        add dword ptr [NEXT], 32 * 18
        expect VECTOR_DB, (DR6|BS), r2\w, TF
        end_after 3

/* Data breakpoints: after the instruction, in one #DB with a single step; after MOV SS one instruction later. */
        mov \ax, VALUE
        mov dr3, \ax
        mov \ax, 0xf0000080 /* 4 bytes, reads and writes */
        mov dr7, \ax
        mov [VALUE], ebx
w1\w:   add dword ptr [VALUE + 2], 1
w2\w:   mov eax, [VALUE + 4]
        stepping 1, \sp
        mov eax, [VALUE]
w3\w:   stepping 0, \sp
        mov [VALUE], ebx
w4\w:   mov ss, [VALUE]
        nop
w5\w:   mov ss, [VALUE]
        int3
w6\w:   mov esp, VALUE + 2 * \W
        push \ax
        push \ax /* the stack's own accesses */
w7\w:   mov esp, STACK
        xor eax, eax
        mov dr7, \ax
        expect VECTOR_DB, (DR6|8), w1\w, 0
        expect VECTOR_DB, (DR6|8), w2\w, 0
        expect VECTOR_DB, (DR6|BS|8), w3\w, TF
        add dword ptr [NEXT], 32 * 3
        expect VECTOR_DB, (DR6|8), w4\w, 0
        expect VECTOR_DB, (DR6|8), w5\w, 0
        expect VECTOR_DB, (DR6|8), breakpoint\w, 0
        expect 3, DR6, w6\w, 0
        expect VECTOR_DB, (DR6|8), w7\w, 0
        end_after 0

/* General detect, which MOV SS does not hold off, and instruction breakpoints, which it does not hold off either. */
        mov \ax, BD /* = DR7.GD */
        mov dr7, \ax
g1\w:   mov \cx, dr0
        mov dr7, \ax
        mov ss, ebx
g2\w:   mov \cx, dr0
        mov \ax, AT(g3\w)
        mov dr0, \ax
        mov \ax, 1
        mov dr7, \ax
        mov ss, ebx
g3\w:   nop
        xor eax, eax
        mov dr7, \ax
        expect VECTOR_DB, (DR6|BD), g1\w, RF
        expect VECTOR_DB, (DR6|BD), g2\w, RF
        expect VECTOR_DB, (DR6|1), g3\w, 0
        end_after 0

/* Ports, with CR4.DE alone. */
        mov \ax, 0x80
        mov dr0, \ax
        mov \ax, 0x20001
        mov dr7, \ax
        in al, 0x80
        mov \cx, cr4
        or ecx, 8
        mov cr4, \cx
        in al, 0x80
o1\w:   out 0x80, al
o2\w:   in al, 0x81
        and ecx, ~8
        mov cr4, \cx
        xor eax, eax
        mov dr7, \ax
        expect VECTOR_DB, (DR6|1), o1\w, 0
        expect VECTOR_DB, (DR6|1), o2\w, 0
        end_after 0

/* Gates that are not present: the error code of INT1 has EXT, that of INT n has not, and both are at the instruction. */
        and word ptr [IDT + \size + 4], 0x7fff
        mov dword ptr [SKIP], 1
n1\w:   .byte 0xf1
        mov dword ptr [SKIP], 2
n2\w:   int 1
        or word ptr [IDT + \size + 4], 0x8000
        expect 11, DR6, n1\w, RF
        error_code 11
        expect 11, DR6, n2\w, RF
        error_code 10
        end_after 0

/* User mode: INT 1 asks the gate's DPL, INT1 does not. */
        mov [SAVED], \sp
        mov eax, 0x33 /* user data: IRET takes the kernel's segments away */
        mov ds, eax
        mov es, eax
        push \ax
        mov \cx, INNER - 0x8000
        push \cx
        pushf
        push \user_cs
        mov \ax, AT(u0\w)
        push \ax
        .if \W == 8
        iretq
        .else
        iret
        .endif
u0\w:   .byte 0xf1
u1\w:   int 1
        int3
u2\w:   int 0x41
back\w: mov \sp, [SAVED]
        mov eax, 16
        mov ds, eax
        mov es, eax
        expect VECTOR_DB, DR6, u1\w, 0
        expect 13, DR6, u1\w, RF
        error_code 10
        expect 3, DR6, u2\w, 0
        end_after 0

/* A second NMI waits for the first one's IRET, and no longer. */
        mov dword ptr [AGAIN], 1
        mov edi, APIC
        mov dword ptr [\di + 0x310], 0
        mov dword ptr [\di + 0x300], 0x4400 /* NMI to processor 0 */
        nop
        nop
        inc dword ptr [CHECK]
        cmp dword ptr [END], LOG + 64
        jne failed
        mov eax, [LOG + 8]
        cmp eax, [LOG + 32 + 8]
        jne failed
        mov dword ptr [END], LOG
        jmp done\w

        entry debug, 1, \w
        entry nmi, 2, \w
        entry breakpoint, 3, \w
        entry software, 0x40, \w
not_present\w:
        push 11
        jmp note\w
protection\w:
        push 13
note\w: push \ax
        push \bx
        mov ebx, [END]
        mov eax, [\sp + 2 * \W]
        mov [ebx], eax
        mov \ax, dr6
        mov [ebx + 4], eax
        mov eax, [\sp + 4 * \W]
        mov [ebx + 8], eax
        mov eax, [\sp + 6 * \W]
        mov [ebx + 12], eax
        mov eax, [\sp + 3 * \W]
        mov [ebx + 16], eax
        add dword ptr [END], 32
        mov \ax, dr6
        test al, 15
        jz 1f
        or dword ptr [\sp + 6 * \W], RF
1:      xor eax, eax
        mov dr6, \ax
        cmp dword ptr [\sp + 2 * \W], 2
        jne 2f
        dec dword ptr [AGAIN]
        js 2f
        mov ebx, APIC
        mov dword ptr [\bx + 0x300], 0x4400
2:      cmp dword ptr [\sp + 2 * \W], 11
        jb 3f
        cmp dword ptr [\sp + 2 * \W], 13
        ja 3f
        mov eax, [SKIP]
        add [\sp + 4 * \W], \ax
3:      pop \bx
        pop \ax
        lea \sp, [\sp + 2 * \W]
        .if \W == 8
        iretq
        .else
        iret
        .endif
done\w:
        .endm

narrow: mov eax, 16
        mov ss, eax
        mov ds, eax
        mov es, eax
        mov dword ptr [CHECK], 0
        mov dword ptr [APIC + 0xf0], 0x1ff
        mov dword ptr [TSS + 4], INNER
        mov dword ptr [TSS + 8], 16
        lidt [BASE + idtr - start]
        mov eax, 0x40
        ltr ax
        suite 32, eax, ebx, ecx, edi, esi, esp, 4, 8, 8, 0x2b
        mov dword ptr [CHECK], 100

        mov edi, TABLES
        xor eax, eax
        mov ecx, 6 * 1024
        rep stosd
        mov dword ptr [TABLES], TABLES + 0x1007
        mov dword ptr [TABLES + 0x1000], TABLES + 0x2007
        mov dword ptr [TABLES + 0x1018], TABLES + 0x3007
        mov dword ptr [TABLES + 0x2000], 0x87
        mov dword ptr [TABLES + 0x2008], 0x200087
        mov dword ptr [TABLES + 0x3fb8], APIC + 0x83
        mov eax, 0x20 /* PAE */
        mov cr4, eax
        mov eax, TABLES
        mov cr3, eax
        mov ecx, 0xc0000080
        mov eax, 0x101 /* LME, SCE */
        xor edx, edx
        wrmsr
        mov eax, 0x80000011
        mov cr0, eax
        ljmp 0x18, AT(long)

        .code64
long:   xor eax, eax
        mov edi, IDT
        mov ecx, 0x1000
        rep stosb
        mov edi, TSS
        mov ecx, 0x100
        rep stosb
        mov dword ptr [TSS + 4], INNER
        mov byte ptr [BASE + tss - start + 5], 0x89
        mov eax, 0x40
        ltr ax
        suite 64, rax, rbx, rcx, rdi, rsi, rsp, 8, 16, 0x18, 0x3b

/* SYSCALL looks at TF after FMASK, SYSRET at the TF that it loads. */
        mov ecx, 0xc0000081 /* STAR: 0x18, 0x20; user code and stack: 0x3b, 0x33 */
        xor eax, eax
        mov edx, 0x2b0018
        wrmsr
        inc ecx
        mov eax, AT(entered)
        xor edx, edx
        wrmsr
        mov ecx, 0xc0000084
        mov eax, TF
        wrmsr
        call user
        expect VECTOR_DB, (DR6|BS), t1, TF /* at SYSCALL */
        expect VECTOR_DB, (DR6|BS), t2, TF /* at once */
        expect VECTOR_DB, (DR6|BS), t3, TF
        end_after 3
        mov ecx, 0xc0000084
        xor eax, eax
        wrmsr
        call user
        expect VECTOR_DB, (DR6|BS), t1, TF
        expect VECTOR_DB, (DR6|BS), entered, TF
        expect VECTOR_DB, (DR6|BS), e1, TF
        expect VECTOR_DB, (DR6|BS), t2, TF
        expect VECTOR_DB, (DR6|BS), t3, TF
        end_after 3
        xor eax, eax
        jmp leave

user:   gate 0x41, returned, 0x18, 0xee00, 16
        mov [SAVED], rsp
        push 0x33
        mov ecx, INNER - 0x8000
        push rcx
        pushf
        push 0x3b
        mov ecx, AT(t0)
        push rcx
        iretq
t0:     stepping 1, rsp
        nop
t1:     syscall
t2:     nop
t3:     stepping 0, rsp
        int 0x41
entered:
        nop
e1:     sysretq
returned:
        mov rsp, [SAVED]
        ret

leave:  mov dx, EXIT_PORT
        out dx, al
        hlt

        .code32 /* which is the same in 64-bit mode */
expected:
        mov esi, DATA
        add dword ptr [esi + CHECK - DATA], 1
        mov ebp, [esi + NEXT - DATA]
        add dword ptr [esi + NEXT - DATA], 32
        cmp [ebp], eax
        jne failed
        cmp [ebp + 4], ecx
        jne failed
        cmp [ebp + 8], edx
        jne failed
        mov eax, [ebp + 12]
        and eax, TF | RF
        cmp eax, edi
        jne failed
        ret
with_error:
        mov esi, DATA
        add dword ptr [esi + CHECK - DATA], 1
        mov ebp, [esi + NEXT - DATA]
        cmp [ebp - 32 + 16], eax
        jne failed
        ret
ended:  mov esi, DATA
        add dword ptr [esi + CHECK - DATA], 1
        add eax, [esi + NEXT - DATA]
        cmp eax, [esi + END - DATA]
        jne failed
        mov dword ptr [esi + NEXT - DATA], LOG
        mov dword ptr [esi + END - DATA], LOG
        ret
failed: mov esi, CHECK
        mov eax, [esi]
        mov dx, EXIT_PORT
        out dx, al
        hlt

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff /* 8: code, 32 bits */
        .quad 0x00cf93000000ffff /* 0x10: data */
        .quad 0x00af9b000000ffff /* 0x18: code, 64 bits */
        .quad 0x00cf93000000ffff /* 0x20: data, for SYSCALL */
        .quad 0x00cffb000000ffff /* 0x28: user code, 32 bits */
        .quad 0x00cff3000000ffff /* 0x30: user data */
        .quad 0x00affb000000ffff /* 0x38: user code, 64 bits */
tss:    .quad 0x00008920d0000067, 0 /* 0x40 */
gdtr:   .word gdtr - gdt - 1
        .long AT(gdt)
idtr:   .word 0x42 * 16 - 1
        .long IDT
        .long 0
