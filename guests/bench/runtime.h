/*
 * What the benchmark programs stand on instead of a C library, so that nothing but their own code is measured and the same
 * source gives a 64-bit and a 32-bit Linux program: system calls, output and a few helpers. A program defines `run`, which
 * returns a checksum; it is printed in hexadecimal. Every header of this kind is included once, in a program's only file.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Linux's numbers: arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl. */
#ifdef __x86_64__
enum { SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_mmap = 9, SYS_munmap = 11, SYS_pipe = 22, SYS_fork = 57,
       SYS_execve = 59, SYS_exit = 60, SYS_wait4 = 61, SYS_getppid = 110, SYS_exit_group = 231 };
#else
enum { SYS_exit = 1, SYS_fork = 2, SYS_read = 3, SYS_write = 4, SYS_close = 6, SYS_execve = 11, SYS_pipe = 42,
       SYS_getppid = 64, SYS_munmap = 91, SYS_wait4 = 114, SYS_mmap = 192 /* mmap2: the offset is in pages */,
       SYS_exit_group = 252 };
#endif

#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 32

/** @return the kernel's answer; a negative error number when it refuses. */
static long syscall4(long number, long a, long b, long c, long d) {
  long result;
#ifdef __x86_64__
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
#else
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
#endif
  return result;
}

static void exit_with(int status) {
  for (;;) syscall4(SYS_exit_group, status, 0, 0, 0);
}

/** Ends the program when a system call was refused: a benchmark that goes on would measure something else. */
static long need(long result) {
  if (result < 0) exit_with(1);
  return result;
}

/** Fresh zeroed memory of the kernel's, in whole pages. */
static inline void *map_pages(size_t size) {
  long address;
#ifdef __x86_64__
  register long flags __asm__("r10") = MAP_PRIVATE | MAP_ANONYMOUS;
  register long file __asm__("r8") = -1;
  register long offset __asm__("r9") = 0;
  __asm__ volatile("syscall"
                   : "=a"(address)
                   : "a"(SYS_mmap), "D"(0), "S"(size), "d"(PROT_READ | PROT_WRITE), "r"(flags), "r"(file), "r"(offset)
                   : "rcx", "r11", "memory");
#else
  __asm__ volatile("push %%ebp; xor %%ebp, %%ebp; int $0x80; pop %%ebp"
                   : "=a"(address)
                   : "a"(SYS_mmap), "b"(0), "c"(size), "d"(PROT_READ | PROT_WRITE), "S"(MAP_PRIVATE | MAP_ANONYMOUS), "D"(-1)
                   : "memory");
#endif
  if (address < 0 && address > -4096) exit_with(1);
  return (void *)address;
}

static inline void unmap_pages(void *start, size_t size) {
  need(syscall4(SYS_munmap, (long)start, (long)size, 0, 0));
}

/** xorshift32 (Marsaglia 2003): the same numbers everywhere. */
static uint32_t random_state = 2463534242u;
static inline uint32_t random32(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

/** Mixes `value` into a checksum. */
static inline uint32_t mix(uint32_t checksum, uint32_t value) {
  checksum = (checksum ^ value) * 0x9e3779b1u;
  return checksum ^ checksum >> 15;
}

static inline uint32_t mix_double(uint32_t checksum, double value) {
  union { double value; uint32_t halves[2]; } bits = {value};
  return mix(mix(checksum, bits.halves[0]), bits.halves[1]);
}

static void print(const char *text) {
  size_t length = 0;
  while (text[length]) length++;
  syscall4(SYS_write, 1, (long)text, (long)length, 0);
}

static void print_hexadecimal(uint32_t value) {
  char text[9];
  for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15];
  text[8] = 0;
  print(text);
}

/** For programs of many equal operations: how many, so that the cost of one can be told. */
static inline void report_operations(uint32_t count) {
  print("operations 0x");
  print_hexadecimal(count);
  print("\n");
}

/** What gcc may call for a copy or a clear it makes up itself. */
void *memcpy(void *to, const void *from, size_t size) {
  void *result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
  return result;
}
void *memset(void *to, int value, size_t size) {
  void *result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
  return result;
}

/** The benchmark. @return its checksum */
static uint32_t run(int argc, char **argv);

__attribute__((used)) static void start(long *stack) {
  uint32_t checksum = run((int)stack[0], (char **)(stack + 1));
  print_hexadecimal(checksum);
  print("\n");
  exit_with(0);
}

/* The kernel enters with argc and argv on the stack (System V ABI, "Process Initialization"). */
__asm__(".globl _start\n_start:\n"
#ifdef __x86_64__
        "  mov %rsp, %rdi\n  and $-16, %rsp\n  call start\n"
#else
        "  mov %esp, %eax\n  and $-16, %esp\n  sub $12, %esp\n  push %eax\n  call start\n"
#endif
);
