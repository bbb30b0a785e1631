/*
 * The entry of the guest, its way out (hypercalls) and its way back (traps). The kernel runs in ring 1, its user code in
 * ring 3.
 */
#include "../xen-notes.h"
        xen_notes .long, 0xc0000000, xen-pv-32

        .text
        .globl _start
_start:
        pushf
        popl    entry_state
        movl    %esi, entry_state + 4
        movl    %esp, entry_state + 8
        movw    %cs, entry_state + 12
        movw    %ss, entry_state + 14
        movw    %ds, entry_state + 16
        movw    %gs, entry_state + 18
        cld
        movl    $stack_top, %esp
        call    main
1:      jmp     1b

/* long hypercall(number, argument 1 ... 5): by the instruction itself */
        .globl hypercall
hypercall:
        push    %ebx
        push    %esi
        push    %edi
        mov     16(%esp), %eax
        mov     20(%esp), %ebx
        mov     24(%esp), %ecx
        mov     28(%esp), %edx
        mov     32(%esp), %esi
        mov     36(%esp), %edi
        int     $0x82
        pop     %edi
        pop     %esi
        pop     %ebx
        ret

/* long hypercall_by_page(number, argument 1, argument 2): by the page that Xen has filled */
        .globl hypercall_by_page
hypercall_by_page:
        push    %ebx
        mov     8(%esp), %eax
        mov     12(%esp), %ebx
        mov     16(%esp), %ecx
        shl     $5, %eax
        add     $hypercall_page, %eax
        call    *%eax
        pop     %ebx
        ret

/*
 * u32 guarded(function, argument): calls function(argument); -1 if it returned, else the vector of the trap that ended it,
 * whose frame is in `frame` then.
 */
        .globl guarded, back
guarded:
        push    %ebx
        push    %ebp
        push    %esi
        push    %edi
        pushl   recover_stack
        mov     24(%esp), %eax
        mov     28(%esp), %ecx
        mov     %esp, recover_stack
        push    %ecx
        call    *%eax
        pop     %ecx
        mov     $-1, %eax
back:
        popl    recover_stack
        pop     %edi
        pop     %esi
        pop     %ebp
        pop     %ebx
        ret

/* One entry a vector: all frames look alike then, with an error code and the vector at the bottom. */
        .globl trap_entries
        .balign 16
trap_entries:
        .set    vector, 0
        .rept   256
        .balign 16
        .if     vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
        .else
        pushl   $0xdead
        .endif
        pushl   $vector
        jmp     trap
        .set    vector, vector + 1
        .endr

/* Copies the frame (vector, code, eip, cs, eflags, esp, ss), counts it, and goes on where it is told to. */
trap:
        push    %eax
        push    %ecx
        push    %esi
        push    %edi
        push    %ds
        push    %es
        mov     $0xe021, %eax
        mov     %eax, %ds
        mov     %eax, %es
        cld
        incl    traps
        lea     24(%esp), %esi
        mov     $frame, %edi
        mov     $7, %ecx
        rep movsl
        lea     24(%esp), %eax
        mov     %eax, frame_stack
        mov     %ss, %eax
        mov     %eax, frame_ss
        cmpl    $0, resume
        je      1f
        /* Back to where it was interrupted, by way of HYPERVISOR_iret. */
        mov     resume_skip, %eax
        add     %eax, 32(%esp)
        mov     resume_flags, %eax
        or      %eax, 40(%esp)
        mov     resume_clear, %eax
        not     %eax
        and     %eax, 40(%esp)
        pop     %es
        pop     %ds
        pop     %edi
        pop     %esi
        pop     %ecx
        pop     %eax
        add     $8, %esp
        jmp     hypercall_page + 23 * 32
1:      mov     recover_stack, %esp
        mov     frame, %eax
        test    %esp, %esp
        jnz     back
        mov     $stack_top, %esp
        push    %eax
        call    unexpected
1:      jmp     1b

/* void enter(eip, cs, eflags, esp, ss): by HYPERVISOR_iret; comes back by a trap only */
        .globl enter
enter:
        add     $4, %esp
        mov     $0x1234, %eax
        jmp     hypercall_page + 23 * 32

/* The same by the processor's own IRET, as Linux does it. */
        .globl enter_natively
enter_natively:
        add     $4, %esp
        iret

/* Places in code, for frames to be compared with. */
        .globl refused_int, permitted_int, after_permitted_int, breakpoint, after_breakpoint
        .globl do_refused_int, do_permitted_int, do_breakpoint, do_syscall, after_syscall
do_refused_int:
        nop
        mov     $1, %eax
refused_int:
        int     $0x90
        ret
do_permitted_int:
        nop
        mov     $1, %eax
permitted_int:
        int     $0x91
after_permitted_int:
        ret
do_breakpoint:
        nop
breakpoint:
        int3
after_breakpoint:
        ret
do_syscall:
        syscall
after_syscall:
        ret

/* u32 stepped(count): single-steps REP MOVSB of `count` bytes; how many traps came. */
        .globl stepped
stepped:
        push    %esi
        push    %edi
        mov     12(%esp), %ecx
        mov     $step_source, %esi
        mov     $step_target, %edi
        movl    $0, traps
        pushf
        orl     $0x100, (%esp)
        popf
        rep movsb
        pushf
        andl    $~0x100, (%esp)
        popf
        mov     traps, %eax
        pop     %edi
        pop     %esi
        ret

/* A data breakpoint whose trap MOV SS holds off until INT3 is over: in Xen. And INT1, which is no INT n. */
        .globl do_held_breakpoint, after_held_breakpoint, held_stack, do_int1, after_int1
do_held_breakpoint:
        mov     held_stack, %ss
        int3
after_held_breakpoint:
        nop
        ret
do_int1:
        .byte   0xf1
after_int1:
        ret

/* u32 step_privileged(): single-steps CLI; how many traps came. */
        .globl step_privileged, stepped_privileged
step_privileged:
        movl    $0, traps
        pushf
        orl     $0x100, (%esp)
        popf
        cli
stepped_privileged:
        nop
        pushf
        andl    $~0x100, (%esp)
        popf
        mov     traps, %eax
        ret

/* Where call gates lead: keeps what it finds and leaves for the last `guarded` with 100h, or goes back. */
        .globl gate_entry, gate_return, after_gate_call, after_gate_memory
        .globl do_gate_call, do_gate_jump, do_gate_memory
gate_entry:
        mov     $0xe021, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %esp, gate_stack
        mov     %cs, %eax
        mov     %eax, gate_cs
        mov     %ss, %eax
        mov     %eax, gate_ss
        cld
        mov     %esp, %esi
        mov     $gate_words, %edi
        mov     $6, %ecx
        rep movsl
        mov     recover_stack, %esp
        mov     $0x100, %eax
        jmp     back
gate_return:
        lret
do_gate_call:
        lcall   $10 * 8 + 1, $0
after_gate_call:
        ret
do_gate_jump:
        ljmp    $10 * 8 + 1, $0
do_gate_memory:
        mov     $gate_pointer, %ecx
        mov     $2, %edx
        lcall   *-16(%ecx, %edx, 8)
after_gate_memory:
        ret

/* User code, in a page of its own: it is mapped for ring 3. */
        .globl user_gate, after_user_gate, user_gate_jump
        .globl user_page, user_system_call, after_system_call, user_reads, user_load, user_hypercall
        .balign 4096
user_page:
user_system_call:
        mov     $42, %eax
        int     $0x80
after_system_call:
        hlt
user_reads:
        mov     $0xe033, %eax
        mov     %eax, %ds
user_load:
        movl    0x1234, %eax
        hlt
user_hypercall:
        int     $0x82
user_gate:
        push    $0x1111
        push    $0x2222
        lcall   $10 * 8 + 3, $0
after_user_gate:
        hlt
user_gate_jump:
        ljmp    $10 * 8 + 3, $0
        .balign 4096

        .bss
        .balign 4096
        .globl hypercall_page, stack_top, user_stack, user_stack_top, trap_stack_top
hypercall_page:
        .skip   4096
        .skip   16384
stack_top:
user_stack:
        .skip   4096
user_stack_top:
        .skip   8192
trap_stack_top:
        .globl recover_stack, frame, frame_stack, frame_ss, traps, resume, resume_skip, resume_flags, resume_clear
        .globl entry_state, gate_cs, gate_ss, gate_stack, gate_words
        .balign 8
recover_stack:
        .skip   4
frame:  .skip   28
frame_stack:
        .skip   4
frame_ss:
        .skip   4
traps:  .skip   4
resume: .skip   4
resume_skip:
        .skip   4
resume_flags:
        .skip   4
resume_clear:
        .skip   4
entry_state:
        .skip   20
gate_cs:
        .skip   4
gate_ss:
        .skip   4
gate_stack:
        .skip   4
gate_words:
        .skip   24
step_source:
        .skip   64
step_target:
        .skip   64

        .data
        .balign 4
held_stack:
        .long   0xe021
gate_pointer:
        .long   0, 10 * 8 + 1

        .section .note.GNU-stack, "", @progbits
