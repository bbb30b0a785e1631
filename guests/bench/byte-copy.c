/* Copies text byte by byte and makes it upper case on the way: a load, two compares and a store a byte. */
#include "runtime.h"

/* Not a power of two apart: a direct-mapped TLB would take both for one page. */
enum { SIZE = 300000, ROUNDS = 1100 };
static uint8_t from[SIZE], to[SIZE];

__attribute__((noinline, optimize("no-tree-vectorize"))) static void copy(uint8_t *target, const uint8_t *source, int size) {
  for (int i = 0; i < size; i++) {
    uint8_t byte = source[i];
    if (byte >= 'a' && byte <= 'z') byte -= 'a' - 'A';
    target[i] = byte;
  }
}

static uint32_t run(int argc, char **argv) {
  for (int i = 0; i < SIZE; i++) from[i] = "The quick brown fox jumps over a lazy dog. "[random32() % 43];
  uint32_t checksum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    copy(to, from, SIZE);
    from[round] ^= 1;
    checksum = mix(checksum, to[round * 17]);
  }
  return checksum;
}
