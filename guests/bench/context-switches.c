/* A byte goes to and fro between two processes through two pipes: two context switches a round. */
#include "runtime.h"

enum { ROUNDS = 25000 };

static void pass(int from, int to, uint8_t *byte) {
  if (need(syscall4(SYS_read, from, (long)byte, 1, 0)) != 1) exit_with(1);
  ++*byte;
  need(syscall4(SYS_write, to, (long)byte, 1, 0));
}

static uint32_t run(int argc, char **argv) {
  int there[2], back[2];
  uint8_t byte = 0;
  need(syscall4(SYS_pipe, (long)there, 0, 0, 0));
  need(syscall4(SYS_pipe, (long)back, 0, 0, 0));
  if (need(syscall4(SYS_fork, 0, 0, 0, 0)) == 0) {
    for (int i = 0; i < ROUNDS; i++) pass(there[0], back[1], &byte);
    exit_with(0);
  }
  need(syscall4(SYS_write, there[1], (long)&byte, 1, 0));
  for (int i = 1; i < ROUNDS; i++) pass(back[0], there[1], &byte);
  need(syscall4(SYS_read, back[0], (long)&byte, 1, 0));
  need(syscall4(SYS_wait4, -1, 0, 0, 0));
  report_operations(2 * ROUNDS);
  return byte;
}
