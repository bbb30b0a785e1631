/* Fibonacci numbers and Ackermann's function by recursion: calls, returns and little else. */
#include "runtime.h"

/* gcc would unroll the recursion into a loop of its own making; the calls are what is measured. */
#define PLAIN __attribute__((noinline, optimize("no-optimize-sibling-calls", "no-inline", "no-ipa-cp", "no-partial-inlining")))

PLAIN static uint32_t fibonacci(uint32_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

PLAIN static uint32_t ackermann(uint32_t m, uint32_t n) {
  if (m == 0) return n + 1;
  return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

static uint32_t run(int argc, char **argv) {
  uint32_t checksum = mix(0, fibonacci(36));
  return mix(checksum, ackermann(3, 10));
}
