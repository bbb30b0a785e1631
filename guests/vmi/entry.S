/*
 * The entry (multiboot 1: 32-bit, no paging), the way to 3 GiB, traps, and the two ways to user mode and back. The returns
 * are patched like Linux's: a jump through a pointer, with a record of where it is.
 */
#define VIRTUAL_BASE 0xc0000000
#define PHYS(symbol) ((symbol) - VIRTUAL_BASE)
#define LARGE_PAGES 16

        .macro site operation, number, before=, after=
771:    \before
        \operation
        \after
772:    .pushsection .parainstructions, "a"
        .long   771b
        .byte   \number, 772b - 771b
        .short  0
        .popsection
        .endm

        .section .multiboot, "ax"
        .balign 4
        .long   0x1badb002, 0, -0x1badb002

        .globl  physical_start
        .set    physical_start, PHYS(start)
start:
        cld
        mov     %ebx, PHYS(multiboot_information)
        /* Large pages over the first of the memory, at 0 and at 3 GiB. */
        xor     %ecx, %ecx
1:      mov     %ecx, %eax
#ifdef PAE
        shl     $21, %eax
        or      $0x83, %eax
        mov     %eax, PHYS(boot_directory)(, %ecx, 8)
#else
        shl     $22, %eax
        or      $0x83, %eax
        mov     %eax, PHYS(boot_directory)(, %ecx, 4)
        mov     %eax, PHYS(boot_directory) + 768 * 4(, %ecx, 4)
#endif
        inc     %ecx
        cmp     $LARGE_PAGES, %ecx
        jb      1b
        mov     %cr4, %eax
#ifdef PAE
        movl    $PHYS(boot_directory) + 1, PHYS(boot_pointers)
        movl    $PHYS(boot_directory) + 1, PHYS(boot_pointers) + 24
        or      $0xa0, %eax             /* PAE, PGE */
        mov     $PHYS(boot_pointers), %ecx
#else
        or      $0x90, %eax             /* PSE, PGE */
        mov     $PHYS(boot_directory), %ecx
#endif
        mov     %eax, %cr4
        mov     %ecx, %cr3
        mov     $0x80050023, %eax       /* PG, AM, WP, NE, MP, PE: as Linux */
        mov     %eax, %cr0
        mov     $1f, %eax
        jmp     *%eax
1:      lgdt    gdt_pointer
        ljmp    $0x60, $1f
1:      mov     $0x68, %eax
        mov     %eax, %ss
        mov     $0x7b, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     $0xd8, %eax
        mov     %eax, %fs
        xor     %eax, %eax
        mov     %eax, %gs
        mov     $boot_stack_top, %esp
        call    main
1:      cli
        hlt
        jmp     1b

        .text
/* void call_with(struct registers *eax, u32 function edx, const u32 *stack ecx) */
        .globl  call_with
call_with:
        push    %ebp
        push    %ebx
        push    %esi
        push    %edi
        push    %eax
        push    %edx
        pushl   12(%ecx)
        pushl   8(%ecx)
        pushl   4(%ecx)
        pushl   (%ecx)
        mov     4(%eax), %ecx
        mov     8(%eax), %edx
        mov     12(%eax), %ebx
        mov     16(%eax), %esi
        mov     20(%eax), %edi
        mov     24(%eax), %ebp
        mov     (%eax), %eax
        call    *16(%esp)
        add     $20, %esp
        push    %eax
        mov     4(%esp), %eax
        mov     %ecx, 4(%eax)
        mov     %edx, 8(%eax)
        mov     %ebx, 12(%eax)
        mov     %esi, 16(%eax)
        mov     %edi, 20(%eax)
        mov     %ebp, 24(%eax)
        pop     (%eax)
        pop     %eax
        pop     %edi
        pop     %esi
        pop     %ebx
        pop     %ebp
        ret

/* What the operations are before anybody patches them. */
        .globl  native_save_flags, native_restore_flags, native_disable, native_enable, native_iret, native_sysexit
native_save_flags:
        pushf
        pop     %eax
        ret
native_restore_flags:
        push    %eax
        popf
        ret
native_disable:
        cli
        ret
native_enable:
        sti
        ret
native_iret:
        iret
native_sysexit:
        sti
        sysexit

/* One entry a vector, 16 bytes each: the error code or 0, the vector, and on. */
        .globl  vectors
        .balign 16
vectors:
        .set    vector, 0
        .rept   256
        .balign 16
        .if     vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
        .else
        push    $0
        .endif
        pushl   $vector
        jmp     trap_entry
        .set    vector, vector + 1
        .endr

trap_entry:
        cld
        pusha
        push    %ds
        push    %es
        push    %fs
        mov     $0x7b, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     $0xd8, %eax
        mov     %eax, %fs
        mov     %esp, %eax
        call    trap
        pop     %fs
        pop     %es
        pop     %ds
        popa
        add     $8, %esp
        site    "jmp *%cs:operations + 16", 4

/*
 * u32 enter_user(u32 eip eax, u32 esp edx, u32 cs ecx): to user mode by IRET. The way back is a system call with EAX 0 (trap, in traps.c),
 * which goes on at user_finished with the stack of this.
 */
        .globl  enter_user, user_finished
enter_user:
        push    %ebp
        push    %ebx
        push    %esi
        push    %edi
        mov     %esp, kernel_stack
        pushl   $0x7b
        push    %edx
        pushl   $0x202
        push    %ecx
        push    %eax
        .globl  return_site
return_site:
        site    "jmp *%cs:operations + 16", 4
user_finished:
        mov     kernel_stack, %esp
        mov     %ebx, %eax
        pop     %edi
        pop     %esi
        pop     %ebx
        pop     %ebp
        ret

/* SYSENTER: EDX is where to go on, ECX the stack there. The interrupt site is one with registers saved around it. */
        .globl  sysenter_entry
sysenter_entry:
        push    %ecx
        push    %edx
        call    sysenter
        pop     %edx
        pop     %ecx
        site    "call *%cs:operations + 12", 3, "push %ecx; push %edx", "pop %edx; pop %ecx"
        site    "call *%cs:operations + 8", 2, "push %eax; push %ecx; push %edx", "pop %edx; pop %ecx; pop %eax"
        site    "jmp *%cs:operations + 20", 5

/*
 * What runs in user mode, copied to a page of its own: ESI points to that page. EBX collects: 1 for the system call by INT,
 * 2 for the one by SYSENTER, 4 for an interrupt that came between.
 */
        .globl  user_code, user_code_end
user_code:
        xor     %ebx, %ebx
        call    1f
1:      pop     %esi
        sub     $1b - user_code, %esi
        mov     $0x12345678, %edi
        mov     $7, %eax
        int     $0x80
        cmp     $8, %eax
        jne     2f
        cmp     $0x12345678, %edi
        jne     2f
        or      $1, %ebx
2:      lea     3f - user_code(%esi), %edx
        mov     %esp, %ecx
        mov     $7, %eax
        sysenter
        jmp     4f
3:      cmp     $9, %eax
        jne     4f
        cmp     $0x12345678, %edi
        jne     4f
        pushf
        pop     %eax
        test    $0x200, %eax
        jz      4f
        or      $2, %ebx
4:      mov     $1, %eax                /* asks for an alarm */
        int     $0x80
        mov     $50000000, %ecx
5:      mov     0xffc(%esi), %eax       /* set when it has rung */
        test    %eax, %eax
        jnz     6f
        loop    5b
        jmp     7f
6:      or      $4, %ebx
7:      xor     %eax, %eax
        int     $0x80
user_code_end:

        .data
        .balign 8
        .globl  gdt
gdt:    .fill   12, 8, 0
        .quad   0x00cf9b000000ffff      /* 0x60: kernel code */
        .quad   0x00cf93000000ffff      /* 0x68: kernel data */
        .quad   0x00cffb000000ffff      /* 0x70: user code */
        .quad   0x00cff3000000ffff      /* 0x78: user data */
        .fill   11, 8, 0
        .quad   0x00cf93000000ffff      /* 0xd8: this processor's own data */
        .fill   4, 8, 0
gdt_pointer:
        .word   32 * 8 - 1
        .long   gdt
        .globl  operations
        .balign 4
operations:
        .long   native_save_flags, native_restore_flags, native_disable, native_enable, native_iret, native_sysexit

        .bss
        .balign 4096
        .globl  boot_directory, boot_pointers
boot_directory:
        .skip   4096
boot_pointers:
        .skip   4096
        .skip   8192
        .globl  boot_stack_top, trap_stack_top, multiboot_information
boot_stack_top:
        .skip   8192
trap_stack_top:
kernel_stack:
        .skip   4
multiboot_information:
        .skip   4

        .section .note.GNU-stack, "", @progbits
