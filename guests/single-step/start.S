/*
 * A Linux program that is a debugger and what it debugs: it steps over a few instructions of its child with ptrace, and
 * prints a letter for every stop among them: their distance from `begin` in bytes, 0 as A, 26 as a. Loaded anywhere.
 */
#define SYS_write 1
#define SYS_getpid 39
#define SYS_fork 57
#define SYS_exit 60
#define SYS_wait4 61
#define SYS_kill 62
#define SYS_ptrace 101
#define SYS_getppid 110
#define PTRACE_TRACEME 0
#define PTRACE_PEEKUSER 3
#define PTRACE_SINGLESTEP 9
#define RIP_IN_USER 128
#define SIGSTOP 19
#define STOPPED 0x7f

        .intel_syntax noprefix
        .code64
start:  sub rsp, 32
        mov eax, SYS_fork
        syscall
        test eax, eax
        jz child
        mov ebx, eax
await:  mov edi, ebx
        mov rsi, rsp
        xor edx, edx
        xor r10d, r10d
        mov eax, SYS_wait4
        syscall
        cmp byte ptr [rsp], STOPPED
        jne over
        mov edi, PTRACE_PEEKUSER
        mov esi, ebx
        mov edx, RIP_IN_USER
        lea r10, [rsp + 8]
        mov eax, SYS_ptrace
        syscall
        mov rax, [rsp + 8]
        lea rcx, [rip + begin]
        sub rax, rcx
        cmp rax, end - begin
        ja step
        add al, 'A'
        cmp al, 'Z'
        jbe print
        add al, 'a' - 'Z' - 1
print:  mov [rsp + 8], al
        call write
step:   mov edi, PTRACE_SINGLESTEP
        mov esi, ebx
        xor edx, edx
        xor r10d, r10d
        mov eax, SYS_ptrace
        syscall
        jmp await
over:   mov byte ptr [rsp + 8], '\n'
        call write
        movzx edi, word ptr [rsp] /* 0 if the child has ended by itself, with 0 */
        mov eax, SYS_exit
        syscall

write:  lea rsi, [rsp + 16] /* [rsp + 8] of the caller */
        mov edi, 1
        mov edx, 1
        mov eax, SYS_write
        syscall
        ret

child:  xor edi, edi /* PTRACE_TRACEME */
        mov eax, SYS_ptrace
        syscall
        mov eax, SYS_getpid
        syscall
        mov edi, eax
        mov esi, SIGSTOP
        mov eax, SYS_kill
        syscall
begin:  nop
        mov eax, SYS_getppid
        syscall
        nop
        pushf
        pop rax
        int3
        lea rdi, [rsp - 32]
        lea rsi, [rsp - 64]
        mov ecx, 3
        rep movsb
end:    xor edi, edi
        mov eax, SYS_exit
        syscall
