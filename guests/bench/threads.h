/*
 * Threads for benchmark programs that several processors can share. Their number is the program's, whatever the machine has: the
 * work, and what is printed, is the same on any. Thread `number` is bound to processor `number` of those there are, in turn.
 */
#pragma once
#include "runtime.h"

/* Linux's numbers, as in runtime.h. */
#ifdef __x86_64__
enum { SYS_sched_yield = 24, SYS_clone = 56, SYS_futex = 202, SYS_sched_setaffinity = 203, SYS_sched_getaffinity = 204 };
#else
enum { SYS_clone = 120, SYS_sched_yield = 158, SYS_futex = 240, SYS_sched_setaffinity = 241, SYS_sched_getaffinity = 242 };
#endif

enum { FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129 };
/* VM, FS, FILES, SIGHAND, THREAD, SYSVSEM */
enum { CLONE_THREAD_FLAGS = 0x50f00 };
enum { THREAD_STACK_SIZE = 65536, MOST_PROCESSORS = 64 };

static uint32_t thread_count_ended;

/** Sleeps while `*word` is `value`. */
static inline void wait_while(volatile uint32_t *word, uint32_t value) {
  while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
    syscall4(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)value, 0);
}

static inline void wake(volatile uint32_t *word) {
  need(syscall4(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 1, 0));
}

/** Binds the caller to one of the processors that there are. */
static inline void bind_to(int number) {
  unsigned long mask[MOST_PROCESSORS / (8 * sizeof(long))] = {0};
  enum { BITS = 8 * sizeof(long), BYTES = sizeof mask };
  need(syscall4(SYS_sched_getaffinity, 0, BYTES, (long)mask, 0));
  int there[MOST_PROCESSORS], count = 0;
  for (int i = 0; i < MOST_PROCESSORS; i++)
    if (mask[i / BITS] >> (i % BITS) & 1) there[count++] = i;
  if (count == 0) exit_with(1);
  int chosen = there[number % count];
  for (int i = 0; i < MOST_PROCESSORS / BITS; i++) mask[i] = 0;
  mask[chosen / BITS] = 1ul << (chosen % BITS);
  need(syscall4(SYS_sched_setaffinity, 0, BYTES, (long)mask, 0));
}

/** What a thread does. @param number the thread's, from 0 */
typedef void thread_function(int number);

__attribute__((used)) static void thread_main(int number, thread_function *function) {
  bind_to(number);
  function(number);
  __atomic_add_fetch(&thread_count_ended, 1, __ATOMIC_RELEASE);
  wake(&thread_count_ended);
}

/** Starts a thread on a stack of its own, which stays. */
static inline void start_thread(int number, thread_function *function) {
  char *top = (char *)map_pages(THREAD_STACK_SIZE) + THREAD_STACK_SIZE;
  long result;
#ifdef __x86_64__
  __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n"
                   " mov %[number], %%rdi\n mov %[function], %%rsi\n call thread_main\n"
                   " xor %%edi, %%edi\n mov %[exit], %%eax\n syscall\n1:"
                   : "=a"(result)
                   : "a"(SYS_clone), "D"((long)CLONE_THREAD_FLAGS), "S"(top), "d"(0), [number] "b"((long)number),
                     [function] "r"(function), [exit] "i"(SYS_exit)
                   : "rcx", "r11", "memory");
#else
  __asm__ volatile("int $0x80\n test %%eax, %%eax\n jnz 1f\n"
                   " sub $8, %%esp\n push %%edi\n push %%esi\n call thread_main\n"
                   " xor %%ebx, %%ebx\n mov %[exit], %%eax\n int $0x80\n1:"
                   : "=a"(result)
                   : "a"(SYS_clone), "b"(CLONE_THREAD_FLAGS), "c"(top), "d"(0), "S"(number), "D"(function),
                     [exit] "i"(SYS_exit)
                   : "memory");
#endif
  need(result);
}

/** Runs `function` in `count` threads and waits until all have ended. */
static inline void run_threads(int count, thread_function *function) {
  thread_count_ended = 0;
  for (int i = 0; i < count; i++) start_thread(i, function);
  for (uint32_t ended; (ended = __atomic_load_n(&thread_count_ended, __ATOMIC_ACQUIRE)) != (uint32_t)count;)
    wait_while(&thread_count_ended, ended);
}
