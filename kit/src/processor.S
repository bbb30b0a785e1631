/*
 * What processors execute besides C: from real mode to 64-bit mode, for those that are started by an interrupt; segments; the stubs of
 * exceptions and interrupts; Xen's hypercalls; and the page tables and descriptors with which all of it begins.
 */
/* Of stack_top in struct pv_cpu; interrupts.c asserts it. */
#define PV_CPU_STACK_TOP 32

        .text
/* From 32-bit code without paging to 32-bit code with EFER.LMA. Changes EAX, ECX, EDX. */
        .code32
        .globl pv_long_mode
pv_long_mode:
        mov     %cr4, %eax
        or      $0x20, %eax                     /* PAE */
        mov     %eax, %cr4
        mov     $pv_page_tables, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx               /* EFER */
        rdmsr
        or      $0x100, %eax                    /* LME */
        wrmsr
        mov     %cr0, %eax
        and     $~0x60000000, %eax              /* caches on */
        or      $0x80010001, %eax               /* PG, WP, PE */
        mov     %eax, %cr0
        ret

        .code64
/* Loads the segments of pv_gdt, which has been loaded. Changes RAX. */
        .globl pv_flat_segments
pv_flat_segments:
        pop     %rax
        push    $8
        push    %rax
        mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        lretq

/*
 * Where other processors begin. The trampoline is copied to a page below 1 MiB; it works wherever that is. RDI of what it calls is
 * pv_starting.
 */
        .code16
        .globl pv_trampoline, pv_trampoline_end
pv_trampoline:
        cli
        cld
        mov     %cs, %ax
        mov     %ax, %ds
        lgdtl   pv_gdt_pointer_copy - pv_trampoline
        mov     %cr0, %eax
        or      $1, %eax
        mov     %eax, %cr0
        ljmpl   $0x18, $pv_trampoline32
pv_gdt_pointer_copy:
        .word   pv_gdt_end - pv_gdt - 1
        .long   pv_gdt
pv_trampoline_end:

        .code32
pv_trampoline32:
        mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %ss
        mov     $pv_trampoline_stack_top, %esp
        call    pv_long_mode
        ljmp    $8, $pv_secondary64
        .code64
/* In 64-bit mode already: what Xen is told to start. */
        .globl pv_secondary64
pv_secondary64:
        lea     pv_trampoline_stack_top(%rip), %rsp
        lgdt    pv_gdt_pointer64(%rip)
        call    pv_flat_segments
        .globl pv_secondary_pv
pv_secondary_pv:
        mov     pv_starting(%rip), %rdi
        mov     PV_CPU_STACK_TOP(%rdi), %rsp
        call    pv_secondary

/* Exceptions and interrupts: 16 bytes a vector, then the registers. */
        .globl pv_stubs
        .balign 16
pv_stubs:
        .set    vector, 0
        .rept   256
        .balign 16
        .if     !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
        push    $0
        .endif
        pushq   $vector
        jmp     native_common
        .set    vector, vector + 1
        .endr

        .macro save_registers
        push    %rax
        push    %rbx
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %rbp
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        .endm
        .macro restore_registers
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rbp
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rcx
        pop     %rbx
        pop     %rax
        .endm

native_common:
        save_registers
        cld
        mov     %rsp, %rdi
        mov     %rsp, %rbp
        and     $-16, %rsp
        call    pv_interrupt
        mov     %rbp, %rsp
        restore_registers
        add     $16, %rsp
        iretq

/* The same under Xen PV, which pushes RCX and R11 besides, and to which one returns by a hypercall. */
        .globl pv_xen_stubs, pv_xen_event
        .balign 16
pv_xen_stubs:
        .set    vector, 0
        .rept   32
        .balign 16
        pop     %rcx
        pop     %r11
        .if     !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
        push    $0
        .endif
        pushq   $vector
        jmp     xen_common
        .set    vector, vector + 1
        .endr
pv_xen_event:
        pop     %rcx
        pop     %r11
        push    $0
        push    $0xf3                           /* PV_XEN_VECTOR */
xen_common:
        save_registers
        cld
        mov     %rsp, %rdi
        mov     %rsp, %rbp
        and     $-16, %rsp
        call    pv_interrupt
        mov     %rbp, %rsp
        restore_registers
        add     $16, %rsp
        push    $0
        push    %rcx
        push    %r11
        push    %rax
        mov     $23, %eax                       /* HYPERVISOR_iret */
        syscall
        ud2

/* long pv_xen_syscall(number, argument 1 ... 4): a hypercall of a PV guest. */
        .globl pv_xen_syscall
pv_xen_syscall:
        mov     %rdi, %rax
        mov     %rsi, %rdi
        mov     %rdx, %rsi
        mov     %rcx, %rdx
        mov     %r8, %r10
        syscall
        ret

        .section .rodata
        .balign 8
pv_gdt: .quad   0
        .quad   0x00af9a000000ffff              /* 8: 64-bit code */
        .quad   0x00cf92000000ffff              /* 16: data */
        .quad   0x00cf9a000000ffff              /* 24: 32-bit code */
pv_gdt_end:
        .balign 8
        .word   0
        .globl pv_gdt_pointer
pv_gdt_pointer:
        .word   pv_gdt_end - pv_gdt - 1
        .long   pv_gdt
        .balign 8
        .globl pv_gdt_pointer64
pv_gdt_pointer64:
        .word   pv_gdt_end - pv_gdt - 1
        .quad   pv_gdt

/* The first 4 GiB, by pages of 2 MiB. */
        .data
        .balign 4096
        .globl pv_page_tables
pv_page_tables:
        .quad   page_directory_pointers + 3
        .fill   511, 8, 0
page_directory_pointers:
        .quad   page_directories + 3, page_directories + 0x1003, page_directories + 0x2003, page_directories + 0x3003
        .fill   508, 8, 0
page_directories:
        .set    at, 0
        .rept   2048
        .quad   at + 0x83                       /* present, writable, large */
        .set    at, at + 0x200000
        .endr

        .bss
        .balign 16
        .skip   256
pv_trampoline_stack_top:

        .section .note.GNU-stack, "", @progbits
