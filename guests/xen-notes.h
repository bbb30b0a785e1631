/* The notes of a PV guest's image (xen/include/public/elfnote.h); `pointer` is .long or .quad. */
        .macro note type, format, value:vararg
        .pushsection .note.xen, "a", @note
        .balign 4
        .long 4, 2f - 1f, \type
        .asciz "Xen"
1:      \format \value
2:      .balign 4
        .popsection
        .endm

        .macro xen_notes pointer, base, name
        note 1, \pointer, _start                /* ENTRY */
        note 2, \pointer, hypercall_page
        note 3, \pointer, \base                 /* VIRT_BASE */
        note 4, \pointer, 0                     /* PADDR_OFFSET */
        note 5, .asciz, "xen-3.0"               /* XEN_VERSION */
        note 6, .asciz, "\name"                 /* GUEST_OS */
        note 8, .asciz, "generic"               /* LOADER */
        note 9, .asciz, "yes"                   /* PAE_MODE */
        .endm
