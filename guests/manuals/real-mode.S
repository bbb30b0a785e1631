/*
 * Real mode and what every BIOS serves (SDM 3A 20, "8086 Emulation"; 9.9, switching modes; Ralf Brown's interrupt list for the BIOS): addresses that wrap
 * and limits, delivery by the vector table, instructions that there are not, unreal mode, A20, INT 10h to 1Ah. It is a disk of its own: its first
 * sector loads the rest. The checks print as those of start.h do.
 * QEMU's TCG departs from it: segments have no limits in real mode, LOCK MOV is no #UD, INT1 is. Its BIOS, SeaBIOS, passes all that concerns one.
 */
#define EXIT_PORT 0x501
#define SECTORS 62
#define NONE 0xff
#define DE 0
#define DB 1
#define BP 3
#define OF 4
#define BR 5
#define UD 6
#define SS 12
#define GP 13
#define VARIABLES 0x600
#define SEEN VARIABLES
#define IP (VARIABLES + 2)
#define CS_ (VARIABLES + 4)
#define FLAGS (VARIABLES + 6)
#define SP_ (VARIABLES + 8)
#define RESUME (VARIABLES + 10)
#define SAVED (VARIABLES + 12)
#define COUNT (VARIABLES + 16)
#define FAILED (VARIABLES + 20)
#define DRIVE (VARIABLES + 24)
#define INNER (VARIABLES + 26) /* FLAGS of the last handler */
#define TICKED (VARIABLES + 28)
#define RESULT (VARIABLES + 32)
#define ROUND (VARIABLES + 64)
#define DATA_SEGMENT 0x2000 /* the checks' own, 64 KiB at 0x20000 */
#define DATA 0x20000
#define DATA_16 0x1000 /* a buffer in segment 0 */
#define OTHER_TABLE 0x30000

/* One check: EDX against a constant. */
#define EDX_IS2(what, more, wanted) .byte 0x66, 0x68; .long wanted; push edx; call 91f; .ascii what; .asciz more; 91: call compare
#define EDX_IS(what, wanted) EDX_IS2(what, "", wanted)
#define WORD_IS2(what, more, where, wanted) movzx edx, word ptr [where]; EDX_IS2(what, more, wanted)
#define WORD_IS(what, where, wanted) WORD_IS2(what, "", where, wanted)
#define BYTE_IS(what, where, wanted) movzx edx, byte ptr [where]; EDX_IS(what, wanted)
#define DWORD_IS(what, where, wanted) mov edx, [where]; EDX_IS(what, wanted)
#define BITS_ARE(what, where, mask, wanted) movzx edx, word ptr [where]; and edx, mask; EDX_IS(what, wanted)
#define TRUE(what, jump) mov edx, 1; jump 90f; xor edx, edx; 90: EDX_IS(what, 1)
#define BEGIN mov word ptr [RESUME], offset 7f; mov word ptr [SEEN], NONE; mov [SAVED], sp;
#define END 7: call mend;
#define RAISES(what, vector, ...) BEGIN __VA_ARGS__; END WORD_IS2(what, " (vector)", SEEN, vector); WORD_IS2(what, " (IP)", IP, offset 6b); WORD_IS2(what, " (CS)", CS_, 0)
#define PASSES(what, ...) BEGIN __VA_ARGS__; END WORD_IS2(what, " (vector)", SEEN, NONE)
/* The instructions leave EDX. */
#define GIVES(what, wanted, ...) BEGIN __VA_ARGS__; mov cs:[RESULT], edx; END WORD_IS2(what, " (vector)", SEEN, NONE); DWORD_IS(what, RESULT, wanted)
/* What a service answers: CF, then AX, BX, CX, DX in RESULT. */
#define SERVES(what, carry, ...) BEGIN sti; __VA_ARGS__; cli; setc cs:[RESULT]; mov cs:[RESULT + 4], eax; mov cs:[RESULT + 8], ebx; mov cs:[RESULT + 12], ecx; mov cs:[RESULT + 16], edx; END \
        movzx edx, byte ptr [RESULT]; EDX_IS2(what, " (CF)", carry)
#define AX (RESULT + 4)
#define BX (RESULT + 8)
#define CX (RESULT + 12)
#define DX (RESULT + 16)
#define AH (RESULT + 5)
#define CH (RESULT + 13)
#define DH (RESULT + 17)

        .intel_syntax noprefix
        .code16
        .text
        .globl start
start:  cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        ljmp 0, offset 1f
1:      mov [DRIVE], dl
        mov si, offset packet
        mov ah, 0x42
        int 0x13
        jnc checks
        mov al, 0xfd
        mov dx, EXIT_PORT
        out dx, al
1:      hlt
        jmp 1b
packet: .word 16, SECTORS, rest, 0
        .long 1, 0
        .org 510
        .word 0xaa55
rest:

compare:
        pushf
        cld
        pushad
        push ds
        mov bp, sp
        add bp, 2 + 32 + 2 /* return address, text, got, wanted */
        xor ax, ax
        mov ds, ax
        inc dword ptr [COUNT]
        mov eax, [bp + 4]
        cmp eax, [bp + 8]
        je 1f
        inc dword ptr [FAILED]
        mov si, offset fail_text
        call print
        mov si, [bp + 2]
        call print
        mov al, ':'
        call print_space
        mov eax, [bp + 4]
        call print_hex
        mov al, ','
        call print_space
        mov eax, [bp + 8]
        call print_hex
        mov al, 10
        out dx, al
1:      pop ds
        popad
        popf
        ret 10
fail_text: .asciz "FAIL "
#include "../serial.h"
print_hex:
        mov ebx, eax
        mov dx, 0x3f8
        mov cx, 8
1:      rol ebx, 4
        mov al, bl
        and al, 15
        add al, '0'
        cmp al, '9'
        jbe 2f
        add al, 'a' - '0' - 10
2:      out dx, al
        loop 1b
        ret
print_decimal:
        mov ecx, 10
        xor edx, edx
        div ecx
        push dx
        test eax, eax
        jz 1f
        call print_decimal
1:      pop ax
        add al, '0'
        mov dx, 0x3f8
        out dx, al
        ret

/* The exceptions' vectors. */
        .macro stub vector
        push \vector
        jmp noted
        .endm
        .balign 8
stubs:  vector = 0
        .rept 14
        .balign 8
        stub vector
        vector = vector + 1
        .endr
        .balign 8
stub5f: stub 0x5f
        .balign 8
stub60: stub 0x60
noted:  push bp
        mov bp, sp
        push ds
        push eax
        pushf
        xor ax, ax
        mov ds, ax
        pop word ptr [INNER]
        mov ax, [bp + 2]
        mov [SEEN], ax
        mov ax, [bp + 4]
        mov [IP], ax
        mov ax, [bp + 6]
        mov [CS_], ax
        mov ax, [bp + 8]
        mov [FLAGS], ax
        lea ax, [bp + 10]
        mov [SP_], ax
        pop eax
        jmp [RESUME]
/* After a check: segments and stack as they were. */
mend:   pop word ptr cs:[RESUME + 60]
        push cs
        pop ss
        push cs
        pop ds
        push cs
        pop es
        mov sp, [SAVED]
        push 2
        popf
        jmp [RESUME + 60]
vectors:
        xor di, di
        mov eax, offset stubs
1:      cmp di, 8 * 4 /* the clock's */
        je 2f
        cmp di, 2 * 4
        je 2f
        cmp di, 9 * 4
        je 2f
        mov [di], eax
2:      add ax, 8
        add di, 4
        cmp di, 14 * 4
        jb 1b
        mov dword ptr [0x60 * 4], offset stub60
        ret

checks: mov dword ptr [COUNT], 0
        mov dword ptr [FAILED], 0
        mov dx, EXIT_PORT
        in al, dx
        movzx eax, al
        imul eax, eax, 10
        test eax, eax
        jnz 1f
        inc ax
1:      mov [ROUND], eax
again:  call vectors
        call processor
        call switches
        call a20
        call services
        dec dword ptr [ROUND]
        jnz again
        mov si, offset ok_text
        cmp dword ptr [FAILED], 0
        je 1f
        mov si, offset bad_text
1:      call print
        mov eax, [COUNT]
        call print_decimal
        mov al, 10
        mov dx, 0x3f8
        out dx, al
        mov al, [FAILED]
        mov dx, EXIT_PORT
        out dx, al
1:      hlt
        jmp 1b
ok_text: .asciz "ok "
bad_text: .asciz "failed, of "

processor:
        /* Exceptions: six bytes on the stack, no error code. */
        RAISES("DIV by 0", DE, xor cx, cx; 6: div cx)
        mov dx, [SP_]
        sub dx, [SAVED]
        movzx edx, dx
        EDX_IS("DIV by 0: SP afterwards", 0)
        BITS_ARE("DIV by 0: IF and TF in the handler", INNER, 0x300, 0)
        RAISES("DIV overflow", DE, mov ax, 1000; mov cl, 1; 6: div cl)
        RAISES("AAM 0", DE, 6: aam 0)
        RAISES("INT3", BP, int3; 6:)
        RAISES("INTO", OF, mov al, 0x7f; inc al; into; 6:)
        PASSES("INTO without OF", xor ax, ax; into)
        mov dword ptr [DATA_16], 0x00140005
        RAISES("BOUND", BR, mov ax, 4; 6: bound ax, ds:[DATA_16])
        PASSES("BOUND within", mov ax, 20; bound ax, ds:[DATA_16])
        RAISES("UD2", UD, 6: ud2)
        RAISES("INT n", 0x60, push 0x8d7; popf; int 0x60; 6:)
        BITS_ARE("INT n: FLAGS", FLAGS, 0x8d7, 0x8d7)
        RAISES("INT n with IF", 0x60, push 0x202; popf; int 0x60; 6:)
        BITS_ARE("INT n with IF: saved", FLAGS, 0x200, 0x200)
        BITS_ARE("INT n with IF: in the handler", INNER, 0x300, 0)
        RAISES("INT n with NT and IOPL", 0x60, push 0x7002; popf; int 0x60; 6:)
        BITS_ARE("INT n with NT and IOPL: saved", FLAGS, 0x7000, 0x7000)
        RAISES("TF", DB, push 0x102; popf; nop; 6: nop)
        RAISES("INT1", DB, .byte 0xf1; 6:)
        GIVES("IRET", 0x246, push 0x246; push cs; push offset 1f; iret; ud2; 1: pushf; xor edx, edx; pop dx; and dx, 0x2ff)
        GIVES("IRETD", 0x246, pushd 0x246; pushd 0; pushd offset 1f; iretd; ud2; 1: pushf; xor edx, edx; pop dx; and dx, 0x2ff)
        /* What there is not. */
        RAISES("SLDT", UD, 6: sldt ax)
        RAISES("STR", UD, 6: str ax)
        RAISES("LLDT", UD, 6: lldt ax)
        RAISES("LTR", UD, 6: ltr ax)
        RAISES("VERR", UD, 6: verr ax)
        RAISES("LAR", UD, 6: lar ax, ax)
        RAISES("LSL", UD, 6: lsl ax, ax)
        RAISES("ARPL", UD, 6: arpl ax, ax)
        RAISES("SYSENTER", GP, 6: sysenter)
        RAISES("SYSEXIT", GP, 6: sysexit)
        RAISES("LOCK MOV", UD, 6: .byte 0xf0, 0x89, 0x07)
        RAISES("LEA of a register", UD, 6: .byte 0x8d, 0xc0)
        RAISES("MOV CS", UD, 6: .byte 0x8e, 0xc8)
        PASSES("SMSW, CLTS, SGDT, SIDT", smsw ax; clts; sgdt ds:[DATA_16]; sidt ds:[DATA_16])
        PASSES("CPUID, RDTSC, INVD", xor eax, eax; cpuid; rdtsc; wbinvd)
        RAISES("MOV CR0: PG without PE", GP, mov eax, cr0; or eax, 0x80000000; 6: mov cr0, eax)
        RAISES("RDMSR that there is not", GP, mov ecx, 0xdeadbeef; 6: rdmsr)
        RAISES("CR4: reserved", GP, mov eax, cr4; or eax, 0x80000000; 6: mov cr4, eax)
        /* 15 bytes. */
        RAISES("16 bytes", GP, 6: .fill 15, 1, 0x66; nop)
        PASSES("15 bytes", .fill 14, 1, 0x66; nop)
        RAISES("16 bytes of an opcode with operands", GP, 6: .fill 13, 1, 0x26; mov ax, ds:[0x1234])
        PASSES("15 bytes of an opcode with operands", .fill 12, 1, 0x26; mov ax, ds:[0x1234])
        /* Addresses. */
        GIVES("BX+SI wraps", 0x5a, mov ax, DATA_SEGMENT; mov ds, ax; mov byte ptr ds:[0x10], 0x5a; mov bx, 0xfff0; mov si, 0x20; movzx edx, byte ptr [bx + si])
        GIVES("BP+DI+8 wraps", 0x5a, mov ax, DATA_SEGMENT; mov ss, ax; mov bp, 0xfff0; mov di, 0x18; movzx edx, byte ptr [bp + di + 8])
        RAISES("word across the limit", GP, mov ax, DATA_SEGMENT; mov ds, ax; 6: mov ax, ds:[0xffff])
        RAISES("dword across the limit: write", GP, mov ax, DATA_SEGMENT; mov es, ax; 6: mov es:[0xfffd], eax)
        PASSES("at the limit", mov ax, DATA_SEGMENT; mov es, ax; mov es:[0xfffc], eax; mov al, es:[0xffff])
        RAISES("32-bit address beyond the limit", GP, mov eax, 0x10000; 6: mov al, [eax])
        RAISES("word across SS's limit", SS, mov ax, DATA_SEGMENT; mov ss, ax; mov sp, 0x1000; mov bp, 0xffff; 6: mov ax, [bp])
        RAISES("POP across SS's limit", SS, mov ax, DATA_SEGMENT; mov ss, ax; mov sp, 0xffff; 6: pop ax)
        GIVES("PUSH wraps", 0x1234fffe, mov ax, DATA_SEGMENT; mov ss, ax; xor sp, sp; push 0x1234; mov dx, sp; shl edx, 16; mov dx, ss:[0xfffe]; rol edx, 16)
        GIVES("POP wraps", 0x12340000, mov ax, DATA_SEGMENT; mov ss, ax; mov sp, 0xfffe; pop dx; shl edx, 16; mov dx, sp)
        GIVES("REP MOVSB wraps", 0x0002bbaa, mov ax, DATA_SEGMENT; mov ds, ax; mov es, ax; mov byte ptr ds:[0xffff], 0xaa; mov byte ptr ds:[0], 0xbb; mov si, 0xffff; mov di, 0x100; \
                mov ecx, 3; rep movsb; mov dx, si; shl edx, 16; mov dx, ds:[0x100])
        RAISES("LODSW across the limit", GP, mov ax, DATA_SEGMENT; mov ds, ax; mov si, 0xffff; 6: lodsw)
        GIVES("segment * 16", 0x5a, mov ax, DATA_SEGMENT - 1; mov es, ax; movzx edx, byte ptr es:[0x20])
        GIVES("write through CS", 0x77, mov dword ptr cs:[DATA_16], 0x77; mov edx, [DATA_16])
        RAISES("JMP beyond the limit", GP, 6: .byte 0x66, 0xe9; .long 0x10000)
        RAISES("RET beyond the limit", GP, pushd 0x10000; 6: .byte 0x66, 0xc3)
        GIVES("PUSHFD: VM and RF", 0, pushfd; pop edx; and edx, 0x30000)
        /* The vector table, elsewhere and short. */
        mov ax, OTHER_TABLE / 16
        mov es, ax
        xor si, si
        xor di, di
        mov cx, 512
        rep movsw
        mov dword ptr es:[0x5f * 4], offset stub5f
        mov dword ptr es:[0x60 * 4], offset stub60
        mov dword ptr [0x60 * 4], offset stubs + 8 * 8 /* were it taken from here: vector 8 */
        lidt [elsewhere]
        RAISES("LIDT: another base", 0x60, int 0x60; 6:)
        lidt [short_one]
        RAISES("INT n beyond the table", GP, 6: int 0x60)
        RAISES("INT n, the table's last vector", 0x5f, int 0x5f; 6:)
        lidt [shorter_one]
        RAISES("INT n across the table's end", GP, 6: int 0x5f)
        lidt [usual]
        mov dword ptr [0x60 * 4], offset stub60
        ret
elsewhere: .word 0x3ff
        .long OTHER_TABLE
short_one: .word 0x60 * 4 - 1
        .long OTHER_TABLE
shorter_one: .word 0x60 * 4 - 2
        .long OTHER_TABLE
usual:  .word 0x3ff, 0, 0

/* Protected mode and back; what stays in the segment registers. */
#define PROTECTED mov eax, cr0; or al, 1; mov cr0, eax
#define REAL mov eax, cr0; and al, 0xfe; mov cr0, eax
#define BIG 0x08
#define CODE 0x10
#define SMALL 0x18
#define CODE_32 0x20
#define CODE_64K 0x28
switches:
        lgdt [gdtr]
        mov eax, cr0
        mov edx, eax
        and edx, 1
        EDX_IS("PE is clear", 0)
        GIVES("unreal mode", 0xcafe1234, PROTECTED; mov bx, BIG; mov ds, bx; REAL; xor bx, bx; mov ds, bx; mov ebx, 0x200000; mov dword ptr [ebx], 0xcafe1234; mov edx, [ebx])
        GIVES("unreal mode: loading a segment keeps the limit", 0xcafe1234, mov bx, DATA_SEGMENT; mov ds, bx; mov ebx, 0x200000 - DATA; mov edx, [ebx])
        RAISES("unreal mode: the others' limits are as they were", GP, mov ebx, 0x200000; 6: mov eax, es:[ebx])
        GIVES("a base of protected mode stays until it is loaded", 0x600d, mov ax, DATA_SEGMENT; mov es, ax; mov dword ptr es:[0x100], 0x600d; PROTECTED; mov bx, SMALL; mov fs, bx; REAL; mov edx, fs:[0x100])
        RAISES("a limit of protected mode stays", GP, xor bx, bx; mov fs, bx; 6: mov eax, fs:[0x200])
        GIVES("and its last byte is there", 0, xor edx, edx; mov al, fs:[0x1ff])
        PASSES("the usual limit again", PROTECTED; mov bx, CODE_64K + 8; mov fs, bx; mov ds, bx; mov es, bx; mov gs, bx; mov ss, bx; REAL; xor bx, bx; mov fs, bx; mov ds, bx; mov ss, bx)
        RAISES("the usual limit", GP, mov ebx, 0x10000; 6: mov eax, [ebx])
        GIVES("32-bit code", 0x1d32, PROTECTED; ljmp CODE_32, offset 1f; .code32; 1: mov edx, 0x1d32; ljmp CODE, offset 2f; .code16; 2: REAL; ljmp 0, offset 3f; 3:)
        GIVES("LMSW sets PE", 1, mov ax, 1; lmsw ax; mov edx, cr0; and edx, 1; mov ax, 0; lmsw ax; REAL)
        GIVES("LMSW cannot clear PE", 1, mov ax, 1; lmsw ax; xor ax, ax; lmsw ax; mov edx, cr0; and edx, 1; REAL)
        GIVES("SMSW", 0, smsw dx; movzx edx, dx; and edx, 1)
        GIVES("CS as a number", 0, mov edx, cs)
        ret
        .balign 8
gdt:    .quad 0, 0x00cf93000000ffff, 0x00009b000000ffff
        .long (DATA & 0xffff) << 16 | 0x1ff, 0x9300 | DATA >> 16
        .quad 0x00cf9b000000ffff, 0x00009b000000ffff, 0x000093000000ffff
gdt_end:
gdtr:   .word gdt_end - gdt - 1
        .long gdt

/* A20, which is on and need not be a gate: what is at FFFF:xxxx against 0:xxxx. */
#define FAR_BYTES 0xf800 /* where FFFF:xxxx would meet 0:F7F0 */
#define NEAR_BYTES 0xf7f0
#define A20_IS_ON(what) GIVES(what, 0x11111111, mov ax, 0xffff; mov es, ax; mov dword ptr ds:[NEAR_BYTES], 0x11111111; mov dword ptr es:[FAR_BYTES], 0x22222222; mov edx, ds:[NEAR_BYTES])
a20:    SERVES("INT 15h: enable A20", 0, mov ax, 0x2401; int 0x15)
        A20_IS_ON("enabled by INT 15h")
        SERVES("INT 15h: A20's state", 0, mov ax, 0x2402; int 0x15)
        BYTE_IS("INT 15h: A20's state: on", AX, 1)
        in al, 0x92
        and al, 0xfc
        out 0x92, al
        in al, 0x92
        or al, 2
        and al, 0xfe
        out 0x92, al
        A20_IS_ON("enabled by port 92h")
        in al, 0x92
        movzx edx, al
        and edx, 2
        EDX_IS("port 92h: bit 1", 2)
        mov al, 0xdd
        call output_port
        mov al, 0xdf
        call output_port
        A20_IS_ON("enabled by the keyboard controller")
        SERVES("INT 15h: enable A20 again", 0, mov ax, 0x2401; int 0x15)
        A20_IS_ON("enabled by INT 15h again")
        ret
output_port:
        push ax
        call empty
        mov al, 0xd1
        out 0x64, al
        call empty
        pop ax
        out 0x60, al
        call empty
        ret
empty:  mov cx, 0xffff
1:      in al, 0x64
        test al, 2
        loopnz 1b
        ret

services:
        /* The data area. */
        WORD_IS("data area: columns", 0x44a, 80)
        BYTE_IS("data area: mode", 0x449, 3)
        BYTE_IS("data area: last row", 0x484, 24)
        SERVES("INT 11h", 0, clc; int 0x11)
        mov ax, [0x410]
        xor [AX], ax
        WORD_IS("INT 11h: as in the data area", AX, 0)
        SERVES("INT 12h", 0, clc; int 0x12)
        mov ax, [0x413]
        xor [AX], ax
        WORD_IS("INT 12h: as in the data area", AX, 0)
        cmp word ptr [0x413], 512
        TRUE("INT 12h: at least 512 KiB", jae)
        cmp word ptr [0x413], 640
        TRUE("INT 12h: at most 640 KiB", jbe)
        /* Video. */
        SERVES("INT 10h: set mode 3", 0, mov ax, 3; int 0x10; clc)
        SERVES("INT 10h: mode", 0, mov ah, 0xf; int 0x10; clc)
        WORD_IS("INT 10h: mode 3, 80 columns", AX, 0x5003)
        SERVES("INT 10h: move the cursor", 0, mov ah, 2; mov bh, 0; mov dx, 0x0508; int 0x10; clc)
        SERVES("INT 10h: where it is", 0, mov ah, 3; mov bh, 0; int 0x10; clc)
        WORD_IS("INT 10h: where it is", DX, 0x0508)
        SERVES("INT 10h: write a character", 0, mov ax, 0x0e41; mov bx, 7; int 0x10; clc)
        SERVES("INT 10h: where the cursor is then", 0, mov ah, 3; mov bh, 0; int 0x10; clc)
        WORD_IS("INT 10h: where the cursor is then", DX, 0x0509)
        SERVES("INT 10h: write without moving", 0, mov ax, 0x0942; mov bx, 0x1f; mov cx, 3; int 0x10; clc)
        SERVES("INT 10h: the cursor has not moved", 0, mov ah, 3; mov bh, 0; int 0x10; clc)
        WORD_IS("INT 10h: the cursor has not moved", DX, 0x0509)
        SERVES("INT 10h: carriage return", 0, mov ax, 0x0e0d; mov bx, 7; int 0x10; mov ah, 3; mov bh, 0; int 0x10; clc)
        WORD_IS("INT 10h: carriage return", DX, 0x0500)
        SERVES("INT 10h: line feed", 0, mov ax, 0x0e0a; mov bx, 7; int 0x10; mov ah, 3; mov bh, 0; int 0x10; clc)
        WORD_IS("INT 10h: line feed", DX, 0x0600)
        SERVES("INT 10h: scroll the window clear", 0, mov ax, 0x0600; mov bh, 7; xor cx, cx; mov dx, 0x184f; int 0x10; mov ah, 2; mov bh, 0; xor dx, dx; int 0x10; mov ah, 8; mov bh, 0; int 0x10; clc)
        WORD_IS("INT 10h: the window is clear", AX, 0x0720)
        /* Disks. */
        SERVES("INT 13h: reset", 0, mov ah, 0; mov dl, [DRIVE]; int 0x13)
        BYTE_IS("INT 13h: reset", AH, 0)
        BYTE_IS("booted from the first disk", DRIVE, 0x80)
        SERVES("INT 13h: parameters", 0, mov ah, 8; mov dl, [DRIVE]; xor di, di; int 0x13)
        BYTE_IS("INT 13h: disks", DX, 1)
        BYTE_IS("data area: disks", 0x475, 1)
        mov al, [CX]
        and al, 0x3f
        TRUE("INT 13h: sectors of a track", jnz)
        SERVES("INT 13h: type", 0, mov ah, 0x15; mov dl, [DRIVE]; int 0x13)
        BYTE_IS("INT 13h: type: a fixed disk", AH, 3)
        SERVES("INT 13h: extensions", 0, mov ah, 0x41; mov bx, 0x55aa; mov dl, [DRIVE]; int 0x13)
        WORD_IS("INT 13h: extensions: BX", BX, 0xaa55)
        BITS_ARE("INT 13h: extensions: packets", CX, 1, 1)
        SERVES("INT 13h: read by CHS", 0, mov ax, 0x0201; mov bx, DATA_16; mov cx, 1; mov dh, 0; mov dl, [DRIVE]; int 0x13)
        WORD_IS("INT 13h: read by CHS: AX", AX, 1)
        WORD_IS("INT 13h: read by CHS", DATA_16 + 510, 0xaa55)
        mov dword ptr [DATA_16 + 510], 0
        SERVES("INT 13h: read by LBA", 0, mov si, offset packet_2; mov ah, 0x42; mov dl, [DRIVE]; int 0x13)
        WORD_IS("INT 13h: read by LBA", DATA_16 + 510, 0xaa55)
        BYTE_IS("INT 13h: read by LBA: AH", AH, 0)
        SERVES("INT 13h: read beyond the end", 1, mov si, offset packet_3; mov ah, 0x42; mov dl, [DRIVE]; int 0x13)
        SERVES("INT 13h: verify", 0, mov ax, 0x0401; mov cx, 1; mov dh, 0; mov dl, [DRIVE]; int 0x13)
        SERVES("INT 13h: LBA parameters", 0, mov word ptr [DATA_16], 30; mov si, DATA_16; mov ah, 0x48; mov dl, [DRIVE]; int 0x13)
        WORD_IS("INT 13h: bytes of a sector", DATA_16 + 24, 512)
        mov eax, [DATA_16 + 16]
        cmp eax, SECTORS
        TRUE("INT 13h: sectors", ja)
        SERVES("INT 13h: no such function", 1, mov ah, 0x7f; mov dl, [DRIVE]; int 0x13)
        BYTE_IS("INT 13h: no such function", AH, 1)
        SERVES("INT 13h: no such drive", 1, mov ah, 8; mov dl, 0x8f; int 0x13)
        SERVES("INT 13h: no such drive, read", 1, mov ax, 0x0201; mov bx, DATA_16; mov cx, 1; mov dx, 0x8f; int 0x13)
        SERVES("INT 13h: no such drive, type", 1, mov ah, 0x15; mov dl, 0x8f; int 0x13)
        SERVES("INT 13h: sector 0", 1, mov ax, 0x0201; mov bx, DATA_16; mov cx, 0; mov dh, 0; mov dl, [DRIVE]; int 0x13)
        SERVES("INT 13h: last status", 1, mov ah, 1; mov dl, [DRIVE]; int 0x13)
        /* Memory. */
        SERVES("INT 15h: map", 0, mov eax, 0xe820; mov edx, 0x534d4150; xor ebx, ebx; mov ecx, 20; mov di, DATA_16; int 0x15)
        DWORD_IS("INT 15h: map: signature", AX, 0x534d4150)
        DWORD_IS("INT 15h: map: first base", DATA_16, 0)
        DWORD_IS("INT 15h: map: first type", DATA_16 + 16, 1)
        mov ecx, [RESULT + 12]
        cmp ecx, 20
        TRUE("INT 15h: map: bytes", je)
        mov eax, [BX]
        test eax, eax
        TRUE("INT 15h: map: more", jnz)
        BEGIN
        xor ebx, ebx
        xor ebp, ebp
        xor esi, esi
1:      mov eax, 0xe820
        mov edx, 0x534d4150
        mov ecx, 20
        mov di, DATA_16
        int 0x15
        jc 2f
        inc bp
        cmp dword ptr [DATA_16 + 16], 1
        jne 3f
        add esi, [DATA_16 + 8]
3:      test ebx, ebx
        jz 2f
        cmp bp, 100
        jb 1b
2:      mov [RESULT], esi
        mov [RESULT + 4], bp
        END
        cmp word ptr [RESULT + 4], 100
        TRUE("INT 15h: map: it ends", jb)
        cmp dword ptr [RESULT], 60 << 20
        TRUE("INT 15h: map: at least 60 MiB of RAM", jae)
        cmp dword ptr [RESULT], 64 << 20
        TRUE("INT 15h: map: at most 64 MiB", jbe)
        SERVES("INT 15h: map, wrong signature", 1, mov eax, 0xe820; xor edx, edx; xor ebx, ebx; mov ecx, 20; mov di, DATA_16; int 0x15)
        SERVES("INT 15h: E801", 0, mov ax, 0xe801; int 0x15)
        WORD_IS("INT 15h: E801: 15 MiB below 16", AX, 0x3c00)
        cmp word ptr [BX], 47 * 16
        TRUE("INT 15h: E801: at least 47 MiB above it", jae)
        cmp word ptr [BX], 48 * 16
        TRUE("INT 15h: E801: at most 48 MiB", jbe)
        SERVES("INT 15h: extended memory", 0, mov ah, 0x88; int 0x15)
        cmp word ptr [AX], 15 * 1024
        TRUE("INT 15h: extended memory", jae)
        SERVES("INT 15h: no such function", 1, mov ax, 0x7f00; int 0x15)
        BYTE_IS("INT 15h: no such function", AH, 0x86)
        /* Keyboard. */
        BEGIN
        sti
        mov ah, 1
        int 0x16
        cli
        setz [RESULT]
        END
        BYTE_IS("INT 16h: no key waits", RESULT, 1)
        SERVES("INT 16h: shift keys", 0, mov ah, 2; int 0x16; clc)
        BYTE_IS("INT 16h: no shift key is down", AX, 0)
        /* Time. */
        SERVES("INT 1Ah: ticks", 0, mov ah, 0; int 0x1a; clc)
        mov edx, [0x46c]
        shr edx, 16
        mov ax, [CX]
        sub dx, ax
        EDX_IS("INT 1Ah: ticks, upper half", 0)
        SERVES("INT 1Ah: clock", 0, mov ah, 2; int 0x1a)
        mov al, [CH]
        cmp al, 0x23
        TRUE("INT 1Ah: the hour, in BCD", jbe)
        mov al, [RESULT + 12]
        cmp al, 0x59
        TRUE("INT 1Ah: the minute", jbe)
        SERVES("INT 1Ah: date", 0, mov ah, 4; int 0x1a)
        mov al, [CH]
        cmp al, 0x20
        TRUE("INT 1Ah: the century", je)
        mov al, [DH]
        dec al
        cmp al, 0x11
        TRUE("INT 1Ah: the month", jbe)
        /* The clock's interrupt counts, and calls INT 1Ch. */
        BEGIN
        mov eax, [0x1c * 4]
        mov [RESULT + 8], eax
        mov dword ptr [0x1c * 4], offset tick
        mov dword ptr [TICKED], 0
        mov eax, [0x46c]
        mov [RESULT], eax
        in al, 0x21
        mov [RESULT + 12], al
        and al, 0xfe
        out 0x21, al
        sti
1:      hlt
        cmp dword ptr [TICKED], 2
        jb 1b
        cli
        mov al, [RESULT + 12]
        out 0x21, al
        mov eax, [0x46c]
        sub eax, [RESULT]
        mov [RESULT + 4], eax
        mov eax, [RESULT + 8]
        mov [0x1c * 4], eax
        END
        DWORD_IS("two ticks", RESULT + 4, 2)
        ret
tick:   inc dword ptr cs:[TICKED]
        iret
packet_2: .word 16, 1, DATA_16, 0
        .long 0, 0
packet_3: .word 16, 1, DATA_16, 0
        .long 0x7fffffff, 0
        .org (SECTORS + 1) * 512
