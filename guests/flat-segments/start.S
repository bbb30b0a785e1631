/*
 * 32-bit code that becomes hot, and so translated, under flat segments, and is then called again and again under others:
 * shifted, short, read-only, expand-down, null ones, and a shifted CS. Translated code may not be entered then. Each call adds to a
 * checksum, and so does each #GP; what comes out is compared between the tiers. The status is 0 if there were as many #GPs as
 * turns have earned one, or else 1.
 * Entered in 32-bit mode, flat, without paging (PVH), at 0x100000.
 */
#define BASE 0x100000
#define LOW 0x7000 /* where 16-bit addresses reach */
#define DATA 0x201000
#define COPY 0x203000
#define STACK 0x300000
#define TOTAL 0x310000 /* the checksum; #GPs; the turn */
#define EXIT_PORT 0x501
#define TURNS 0x30000
#define ROWS 16
#define FAULTING 6 /* rows of `table` that earn a #GP */

#define CODE 0x08
#define WHOLE 0x10
#define SHIFTED 0x18 /* base 4096 */
#define LIMITED 0x20 /* ends before DATA */
#define READ_ONLY 0x28
#define THREAD 0x30 /* a base not at the start of a page, but no limit */
#define OTHER_THREAD 0x38
#define AROUND 0x40 /* base 1 MiB below 4 GiB */
#define DOWN 0x48 /* expands down to 4096 */
#define SHIFTED_CODE 0x50 /* base BASE */

        .intel_syntax noprefix
        .code32
start:  cld
        lgdt [BASE + gdtr - start]
        lidt [BASE + idtr - start]
        ljmp CODE, BASE + begin - start
begin:  mov eax, WHOLE
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov esp, STACK
        xor eax, eax /* operands everywhere, none like another */
        mov edi, LOW
        call fill
        mov edi, DATA - 0x1000
        call fill
        mov edi, 0x210000
        call fill
        mov edi, 0x220000
        call fill

turn:   mov eax, [TOTAL + 8]
        call choose
        lea esi, [edx + edx * 2]
        lea esi, [BASE + table - start + esi * 8]
        mov ebx, [esi + 20]
        mov gs, [esi + 16]
        mov fs, [esi + 12]
        mov es, [esi + 8]
        mov ecx, [esi + 4]
        cmp ecx, SHIFTED
        jne 1f
        mov esp, STACK - 0x1000
1:      mov ss, ecx
        mov ecx, eax
        and ecx, 15
        lodsd
        cmp eax, SHIFTED_CODE
        je 2f
        mov ds, eax
        call work
        jmp done
2:      ljmp SHIFTED_CODE, shifted - start
shifted:
        call work
        ljmp CODE, BASE + done - start
done:   mov ecx, WHOLE
        mov ds, ecx
        mov es, ecx
        mov ss, ecx
        mov esp, STACK
        rol dword ptr [TOTAL], 1
        add [TOTAL], eax
        inc dword ptr [TOTAL + 8]
        cmp dword ptr [TOTAL + 8], TURNS
        jb turn
        call expected
        cmp ebx, [TOTAL + 4]
        setne al
        mov dx, EXIT_PORT
        out dx, al
        hlt

/* What is called everywhere: DS, ES, SS, FS and GS, 16-bit prefixes, strings, bit strings. ECX 0 to 15, EBX an offset in GS. */
        .balign 64
work:   rdtsc
        mov eax, [DATA + ecx * 4]
        add eax, fs:[4]
        add eax, gs:[ebx]
        mov esi, LOW + 8
        add eax, [si]
        add ax, [DATA + 2]
        push eax
        push cx
        mov ebp, esp
        add edx, [ebp + 2]
        pop cx
        mov edi, COPY
        stosd
        mov esi, DATA
        mov edx, ecx
        lea ecx, [ecx + 10]
        rep movsd
        mov ecx, edx
        shl edx, 5
        neg edx
        btc [DATA + 0x400], edx
        adc [DATA + ecx * 4 + 0x200], eax
        call deeper
        pop ecx
        sbb eax, ecx
        ret
deeper: lea edx, [si + 0x7fff] /* 16 bits */
        add eax, edx
        xor eax, es:[COPY + 4]
        add eax, cs:[LOW + ecx]
        movzx edx, word ptr fs:[ecx + 2]
        add eax, edx
        enter 16, 0
        mov [ebp - 8], eax
        leave
        ret

fill:   mov ecx, 0x800
1:      imul eax, eax, 69069
        inc eax
        stosd
        loop 1b
        ret

/* EBX = how many of the turns earn a #GP. */
expected:
        xor ebx, ebx
        xor ecx, ecx
1:      mov eax, ecx
        call choose
        cmp edx, ROWS - FAULTING
        cmc
        adc ebx, 0
        inc ecx
        cmp ecx, TURNS
        jb 1b
        ret

/* EDX = the row of turn EAX: every other turn the first one, which is all flat; the others in long rounds, then in short ones. */
choose: xor edx, edx
        test al, 1
        jnz 1f
        mov edx, eax
        shr edx, 1
        cmp eax, TURNS / 2
        jae 2f
        shr edx, 7
2:      and edx, ROWS - 1
1:      ret

protection:
        mov ecx, WHOLE
        mov ds, ecx
        mov es, ecx
        pop ecx /* error code */
        pop eax /* where */
        mov ecx, WHOLE
        mov ss, ecx
        inc dword ptr [TOTAL + 4]
        jmp done

/* DS (or SHIFTED_CODE), SS, ES, FS, GS, EBX. The faulting ones come last. */
        .balign 8
table:  .long WHOLE, WHOLE, WHOLE, THREAD, THREAD, 16
        .long SHIFTED, WHOLE, WHOLE, THREAD, THREAD, 16
        .long WHOLE, WHOLE, SHIFTED, THREAD, THREAD, 16
        .long WHOLE, SHIFTED, WHOLE, THREAD, THREAD, 16
        .long SHIFTED_CODE, WHOLE, WHOLE, THREAD, THREAD, 16
        .long DOWN, DOWN, DOWN, THREAD, WHOLE, DATA
        .long WHOLE, WHOLE, WHOLE, OTHER_THREAD, THREAD, 4
        .long WHOLE, WHOLE, WHOLE, THREAD, AROUND, BASE + LOW
        .long WHOLE, WHOLE, WHOLE, SHIFTED, LIMITED, LOW
        .long WHOLE, WHOLE, WHOLE, SHIFTED, OTHER_THREAD, -16
        .long WHOLE, WHOLE, WHOLE, 0, THREAD, 16
        .long WHOLE, WHOLE, WHOLE, THREAD, LIMITED, DATA
        .long LIMITED, WHOLE, WHOLE, THREAD, THREAD, 16
        .long READ_ONLY, WHOLE, WHOLE, THREAD, THREAD, 16
        .long WHOLE, WHOLE, READ_ONLY, THREAD, THREAD, 16
        .long WHOLE, WHOLE, WHOLE, THREAD, THREAD, -2

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff
        .quad 0x00cf93000000ffff
        .quad 0x00cf93001000ffff
        .quad 0x00c0930000000200
        .quad 0x00cf91000000ffff
        .quad 0x00cf93210010ffff
        .quad 0x00cf93220020ffff
        .quad 0xffcf93f00000ffff
        .quad 0x00c0970000000000
        .quad 0x00cf9b100000ffff
gdtr:   .word . - gdt - 1
        .long BASE + gdt - start
idtr:   .word 14 * 8 - 1
        .long BASE + idt - start
        .balign 8
idt:    .fill 13, 8, 0
        .word protection - start, CODE
        .word 0x8e00, BASE >> 16
