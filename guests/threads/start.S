/*
 * A static i386 Linux program, complete with its ELF header: threads that need several processors. `threads ITEM COUNT THREADS`, where
 * ITEM is a letter and thread i is bound to processor i:
 *   f  futex ping-pong between threads 0 and 1, COUNT times there and back;
 *   t  TLB: thread 0 maps a new page at the same place, COUNT times, and the others must see what it has written to that one;
 *   m  membarrier(2) by thread 0, COUNT times, while the others execute; 77 where the kernel has none;
 *   s  a counter under a spin lock, which each thread adds 1 to COUNT times;
 *   c  clocks: under the lock each reads CLOCK_MONOTONIC COUNT times, which must not be before what any has read.
 * Ends with 0, 1 for what went wrong, 77 for what cannot be tested, 2 for wrong words. The matrix's built-in test runs it: what stands
 * in src/matrix/threads-program.ts is this file, assembled ("npm run docs").
 */
#define BASE 0x08048000
#define AT(label) (BASE + label - origin)

/* Variables behind the code, and the stacks. */
#define DATA (BASE + 0x1000)
#define COUNT (DATA + 0x00)
#define THREADS (DATA + 0x04)
#define WORK (DATA + 0x08)
#define DONE (DATA + 0x0c)
#define FAILED (DATA + 0x10)
#define TOTAL (DATA + 0x14)
#define EXPECTED (DATA + 0x18)
#define WORD (DATA + 0x40)
#define LOCK (DATA + 0x80)
#define LATEST (DATA + 0x84) /* seconds and nanoseconds */
#define GENERATION (DATA + 0xc0)
#define SEEN (DATA + 0xc4)
#define STOP (DATA + 0xc8)
#define READY (DATA + 0xcc)
#define STACKS (DATA + 0x1000)
#define STACK_SIZE 0x1000
#define MOST_THREADS 64
#define MEMORY (0x2000 + MOST_THREADS * STACK_SIZE)
/* The page that is mapped anew. */
#define VICTIM 0x20000000

#define SYS_exit 1
#define SYS_clone 120
#define SYS_mmap2 192
#define SYS_futex 240
#define SYS_sched_setaffinity 241
#define SYS_exit_group 252
#define SYS_clock_gettime 265
#define SYS_membarrier 375
#define CLONE_FLAGS 0x50f00 /* VM, FS, FILES, SIGHAND, THREAD, SYSVSEM */
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define CLOCK_MONOTONIC 1
#define READ_WRITE 3
#define FIXED_PRIVATE_ANONYMOUS 0x32
#define MEMBARRIER_PRIVATE_EXPEDITED 8
#define MEMBARRIER_REGISTER_PRIVATE_EXPEDITED 16
#define SKIPPED 77

        .intel_syntax noprefix
        .code32
origin: /* ELF header: 32 bits, an executable for i386, with one program header */
        .byte 0x7f, 'E', 'L', 'F', 1, 1, 1
        .skip 9
        .short 2, 3
        .long 1, AT(start), header - origin, 0, 0
        .short header - origin, 32, 1, 0, 0, 0
header: /* PT_LOAD of all of it, readable, writable, executable */
        .long 1, 0, BASE, BASE, end - origin, MEMORY, 7, 0x1000

start:  cmp dword ptr [esp], 4
        jne wrong
        mov ebx, [esp + 8]
        mov bl, [ebx]
        mov esi, [esp + 12]
        call number
        mov [COUNT], eax
        mov esi, [esp + 16]
        call number
        mov [THREADS], eax
        cmp eax, MOST_THREADS
        ja wrong
        cmp eax, 2
        jb skip
        mul dword ptr [COUNT]
        mov [EXPECTED], eax
        mov ecx, AT(spin)
        cmp bl, 's'
        je found
        mov ecx, AT(clocks)
        cmp bl, 'c'
        je found
        mov eax, [COUNT]
        add eax, eax
        mov [EXPECTED], eax
        mov ecx, AT(pingpong)
        cmp bl, 'f'
        je found
        mov dword ptr [EXPECTED], 0
        mov ecx, AT(tlb)
        cmp bl, 't'
        je found
        mov ecx, AT(membarrier)
        cmp bl, 'm'
        jne wrong
found:  mov [WORK], ecx

        xor edi, edi /* the thread's number, in the thread, too */
1:      mov ecx, edi
        inc ecx
        imul ecx, ecx, STACK_SIZE
        add ecx, STACKS
        mov ebx, CLONE_FLAGS
        mov eax, SYS_clone
        int 0x80
        test eax, eax
        jz thread
        js wrong
        inc edi
        cmp edi, [THREADS]
        jb 1b
        /* Until all are done. */
1:      mov edx, [DONE]
        cmp edx, [THREADS]
        je 2f
        mov ebx, DONE
        call wait
        jmp 1b
2:      mov ebx, [FAILED]
        test ebx, ebx
        jnz quit
        mov eax, [TOTAL]
        cmp eax, [EXPECTED]
        setne bl
quit:   mov eax, SYS_exit_group
        int 0x80
wrong:  mov ebx, 2
        jmp quit
skip:   mov ebx, SKIPPED
        jmp quit

thread: push 0
        push 0 /* a mask of 64 processors */
        bts [esp], edi
        xor ebx, ebx
        mov ecx, 8
        mov edx, esp
        mov eax, SYS_sched_setaffinity
        int 0x80
        call [WORK]
        lock inc dword ptr [DONE]
        mov ebx, DONE
        call wake
        xor ebx, ebx
        mov eax, SYS_exit
        int 0x80

/* The number at ESI, in EAX. Uses ECX. */
number: xor eax, eax
1:      movzx ecx, byte ptr [esi]
        inc esi
        sub ecx, '0'
        jb 2f
        imul eax, eax, 10
        add eax, ecx
        jmp 1b
2:      ret

/* Waits while the word at EBX is EDX. */
wait:   xor ecx, ecx /* FUTEX_WAIT */
        xor esi, esi
        mov eax, SYS_futex
        int 0x80
        ret
/* Wakes who waits for the word at EBX. */
wake:   mov ecx, FUTEX_WAKE
        mov edx, ecx
        mov eax, SYS_futex
        int 0x80
        ret

pingpong:
        cmp edi, 1
        ja 3f
        mov ebp, [COUNT]
1:      mov edx, [WORD]
        mov eax, edx
        and eax, 1
        cmp eax, edi /* even: thread 0's turn */
        je 2f
        mov ebx, WORD
        call wait
        jmp 1b
2:      lock inc dword ptr [WORD]
        lock inc dword ptr [TOTAL]
        mov ebx, WORD
        call wake
        dec ebp
        jnz 1b
3:      ret

acquire:
        mov eax, 1
        xchg [LOCK], eax
        test eax, eax
        jz 1f
        pause
        jmp acquire
1:      ret

spin:   mov ebp, [COUNT]
1:      call acquire
        mov eax, [TOTAL]
        inc eax
        mov [TOTAL], eax
        mov dword ptr [LOCK], 0
        dec ebp
        jnz 1b
        ret

clocks: mov ebp, [COUNT]
1:      call acquire
        inc dword ptr [TOTAL]
        mov ebx, CLOCK_MONOTONIC
        mov ecx, esp
        sub ecx, 64
        mov eax, SYS_clock_gettime
        int 0x80
        mov eax, [ecx]
        mov edx, [ecx + 4]
        cmp eax, [LATEST]
        jb 2f
        ja 3f
        cmp edx, [LATEST + 4]
        jae 3f
2:      mov dword ptr [FAILED], 1
3:      mov [LATEST], eax
        mov [LATEST + 4], edx
        mov dword ptr [LOCK], 0
        dec ebp
        jnz 1b
        ret

/* Thread 0 maps, writes, tells which generation it is, and waits until all the others have seen that one. */
tlb:    test edi, edi
        jnz 4f
1:      xor ebp, ebp
        mov ebx, VICTIM
        mov ecx, 4096
        mov edx, READ_WRITE
        mov esi, FIXED_PRIVATE_ANONYMOUS
        or edi, -1
        mov eax, SYS_mmap2
        int 0x80
        cmp eax, VICTIM
        jne 3f
        mov eax, [GENERATION]
        inc eax
        mov [VICTIM], eax
        mov [GENERATION], eax
        mov ecx, [THREADS]
        dec ecx
        imul ecx, eax
2:      pause
        cmp ecx, [SEEN]
        jne 2b
        cmp eax, [COUNT]
        jb 1b
        mov dword ptr [STOP], 1
        ret
3:      mov dword ptr [FAILED], 1
        mov dword ptr [STOP], 1
        ret
4:      xor ebp, ebp /* the generation seen last */
5:      pause
        cmp dword ptr [STOP], 0
        jne 7f
        mov eax, [GENERATION]
        cmp eax, ebp
        je 5b
        mov ebp, eax
        cmp eax, [VICTIM]
        je 6f
        mov dword ptr [FAILED], 1
6:      lock inc dword ptr [SEEN]
        jmp 5b
7:      ret

membarrier:
        test edi, edi
        jnz 4f
        mov ecx, [THREADS]
        dec ecx
1:      pause
        cmp ecx, [READY]
        jne 1b
        mov ebx, MEMBARRIER_REGISTER_PRIVATE_EXPEDITED
        xor ecx, ecx
        xor edx, edx
        mov eax, SYS_membarrier
        int 0x80
        mov ebp, SKIPPED
        test eax, eax
        jnz 3f
        mov ebp, [COUNT]
2:      mov ebx, MEMBARRIER_PRIVATE_EXPEDITED
        mov eax, SYS_membarrier
        int 0x80
        test eax, eax
        jnz 5f
        dec ebp
        jnz 2b
3:      mov [FAILED], ebp /* 0, or 77 */
        mov dword ptr [STOP], 1
        ret
5:      mov ebp, 1
        jmp 3b
4:      lock inc dword ptr [READY]
6:      pause
        cmp dword ptr [STOP], 0
        je 6b
        ret
end:
