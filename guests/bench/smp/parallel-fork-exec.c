/* Four processes fork, execute themselves in the child, and wait for it. */
#include "../threads.h"

enum { PROCESSES = 4, ROUNDS = 100 };

/** @return the status of the child that has ended */
static uint32_t wait_for_child(void) {
  int status = 0;
  need(syscall4(SYS_wait4, -1, (long)&status, 0, 0));
  return (uint32_t)status >> 8 & 0xff;
}

static uint32_t fork_and_exec(void) {
  char *arguments[] = {"parallel-fork-exec", "child", NULL};
  char *environment[] = {NULL};
  uint32_t sum = 0;
  for (int i = 0; i < ROUNDS; i++) {
    if (need(syscall4(SYS_fork, 0, 0, 0, 0)) == 0) {
      syscall4(SYS_execve, (long)"/proc/self/exe", (long)arguments, (long)environment, 0);
      exit_with(1);
    }
    sum += wait_for_child();
  }
  return sum;
}

static uint32_t run(int argc, char **argv) {
  if (argc > 1) exit_with(7);
  for (int i = 0; i < PROCESSES; i++)
    if (need(syscall4(SYS_fork, 0, 0, 0, 0)) == 0) {
      bind_to(i);
      exit_with(fork_and_exec() == 7 * ROUNDS ? 3 : 1);
    }
  uint32_t sum = 0;
  for (int i = 0; i < PROCESSES; i++) sum += wait_for_child();
  report_operations(PROCESSES * ROUNDS);
  return sum;
}
