/* Forks, executes itself in the child, waits for it. */
#include "../runtime.h"

enum { ROUNDS = 500 };

static uint32_t run(int argc, char **argv) {
  if (argc > 1) exit_with(7);
  char *arguments[] = {argv[0], "child", NULL};
  char *environment[] = {NULL};
  uint32_t sum = 0;
  for (int i = 0; i < ROUNDS; i++) {
    int status = 0;
    if (need(syscall4(SYS_fork, 0, 0, 0, 0)) == 0) {
      syscall4(SYS_execve, (long)"/proc/self/exe", (long)arguments, (long)environment, 0);
      exit_with(1);
    }
    need(syscall4(SYS_wait4, -1, (long)&status, 0, 0));
    sum += status >> 8;
  }
  report_operations(ROUNDS);
  return sum;
}
