/* getppid: the way into the kernel and back. */
#include "../runtime.h"

enum { ROUNDS = 2000000 };

static uint32_t run(int argc, char **argv) {
  long parent = syscall4(SYS_getppid, 0, 0, 0, 0);
  uint32_t same = 0;
  for (int i = 0; i < ROUNDS; i++) same += syscall4(SYS_getppid, 0, 0, 0, 0) == parent;
  report_operations(ROUNDS);
  return same;
}
