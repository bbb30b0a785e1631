/*
 * How a kernel is entered: by PVH (Xen, QEMU, Firecracker, Polyvisor), multiboot (GRUB, QEMU), Linux's 64-bit protocol for
 * ELF files, or Xen PV. Each entry leads to pv_boot(kind, information) in 64-bit mode, on a stack, with memory below 4 GiB where it is
 * physically. The kinds are those of boot.c. A kernel that has an entry of its own needs nothing of this file.
 */
#define KIND_PVH 0
#define KIND_MULTIBOOT 1
#define KIND_LINUX 2
#define KIND_XEN_PV 3
#define MULTIBOOT_MAGIC 0x1badb002
/* Page-aligned modules, memory information, addresses below: QEMU takes no 64-bit ELF file without. */
#define MULTIBOOT_FLAGS 0x10003

        .section .text.multiboot, "ax"
        .balign 4
multiboot_header:
        .long   MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
        .long   multiboot_header, pv_image_start, pv_data_end, pv_image_end, multiboot_entry

/* Xen's notes (xen/include/public/elfnote.h), that of the PVH entry among them. */
        .macro note type, format, value:vararg
        .pushsection .note.xen, "a", @note
        .balign 4
        .long 4, 2f - 1f, \type
        .asciz "Xen"
1:      \format \value
2:      .balign 4
        .popsection
        .endm

        note 1, .quad, xen_pv_entry             /* ENTRY */
        note 3, .quad, 0                        /* VIRT_BASE: addresses are the physical ones */
        note 4, .quad, 0                        /* PADDR_OFFSET */
        note 5, .asciz, "xen-3.0"               /* XEN_VERSION */
        note 6, .asciz, "paravirt-kit"          /* GUEST_OS */
        note 8, .asciz, "generic"               /* LOADER */
        note 9, .asciz, "yes"                   /* PAE_MODE */
        note 18, .long, pvh_entry               /* PHYS32_ENTRY */

        .text
        .code32
        .globl multiboot_entry, pvh_entry
multiboot_entry:
        mov     $KIND_MULTIBOOT, %edi
        jmp     1f
pvh_entry:
        mov     $KIND_PVH, %edi
1:      cli
        cld
        mov     %ebx, %esi
        mov     $pv_boot_stack_top, %esp
        lgdt    pv_gdt_pointer
        call    pv_long_mode
        ljmp    $8, $2f
        .code64
2:      mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        lea     pv_boot_stack_top(%rip), %rsp
        call    pv_boot

        .code64
        .globl pv_start64
pv_start64:                                     /* the ELF file's entry */
        cli
        cld
        lea     pv_page_tables(%rip), %rax
        mov     %rax, %cr3
        lgdt    pv_gdt_pointer64(%rip)
        lea     pv_boot_stack_top(%rip), %rsp
        call    pv_flat_segments
        mov     $KIND_LINUX, %edi
        call    pv_boot

xen_pv_entry:
        cld
        lea     pv_boot_stack_top(%rip), %rsp
        mov     $KIND_XEN_PV, %edi
        call    pv_boot

        .bss
        .balign 16
        .skip   16384
pv_boot_stack_top:

        .section .note.GNU-stack, "", @progbits
