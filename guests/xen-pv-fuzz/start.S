/*
 * The entry of the guest, its way out (hypercalls) and its way back (traps). Everything runs at CPL 3: what Xen calls guest
 * kernel mode.
 */
#include "../xen-notes.h"
        xen_notes .quad, 0xffffffff80000000, xen-pv-fuzz

        .text
        .globl _start
_start:
        cld
        mov     %rsi, %rdi
        lea     stack_top(%rip), %rsp
        call    main
1:      jmp     1b

/* long hypercall(number, argument 1 ... 5): by the instruction itself */
        .globl hypercall
hypercall:
        mov     %rdi, %rax
        mov     %rsi, %rdi
        mov     %rdx, %rsi
        mov     %rcx, %rdx
        mov     %r8, %r10
        mov     %r9, %r8
        syscall
        ret

/* long hypercall_by_page(number, argument 1 ... 4): by the page that Xen has filled */
        .globl hypercall_by_page
hypercall_by_page:
        mov     %rdi, %rax
        mov     %rsi, %rdi
        mov     %rdx, %rsi
        mov     %rcx, %rdx
        mov     %r8, %r10
        shl     $5, %rax
        lea     hypercall_page(%rip), %rcx
        add     %rcx, %rax
        call    *%rax
        ret

/*
 * long guarded(function, argument): calls function(argument); -1 if it returned, else the vector of the trap that ended it.
 */
        .globl guarded
guarded:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        pushq   recover_stack(%rip)
        mov     %rsp, recover_stack(%rip)
        mov     %rdi, %rax
        mov     %rsi, %rdi
        call    *%rax
        mov     $-1, %rax
back:
        popq    recover_stack(%rip)
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

/* One entry a vector: notes which, and leaves for the last `guarded`. The frame itself is of no interest. */
        .globl trap_entries
        .balign 16
trap_entries:
        .set    vector, 0
        .rept   32
        .balign 16
        movq    $vector, trapped(%rip)
        jmp     trap
        .set    vector, vector + 1
        .endr

trap:
        mov     recover_stack(%rip), %rsp
        mov     trapped(%rip), %rax
        cld
        test    %rsp, %rsp
        jnz     back
        lea     stack_top(%rip), %rsp
        mov     %rax, %rdi
        call    unexpected
1:      jmp     1b

        .bss
        .balign 4096
        .globl hypercall_page
hypercall_page:
        .skip   4096
        .skip   16384
stack_top:
        .balign 8
recover_stack:
        .skip   8
        .globl trapped
trapped:
        .skip   8

        .section .note.GNU-stack, "", @progbits
