/* For code of any width: print, the text at SI on the serial port; print_space, AL and a space. */
print_space:
        mov dx, 0x3f8
        out dx, al
        mov al, ' '
        out dx, al
        ret
print:  mov dx, 0x3f8
1:      lodsb
        test al, al
        jz 2f
        out dx, al
        jmp 1b
2:      ret
