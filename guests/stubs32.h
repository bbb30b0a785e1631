/* The entries of 32-bit exceptions, 16 bytes each: they leave the vector on the stack, an error code or 0 behind it, and go to `noted`. */
        .macro exception_stubs count
        .p2align 4
stubs:  .set number, 0
        .rept \count
        .if (number == 8) || (number >= 10 && number <= 14) || number == 17
        nop
        nop
        .else
        push 0
        .endif
        push number
        .byte 0xe9
        .long noted - . - 4
        .set number, number + 1
        .p2align 4
        .endr
        .endm
