/* Quicksort of 256 Ki random words, recursive, with insertion sort below 16: branches nobody can predict. */
#include "runtime.h"

enum { COUNT = 1 << 18, ROUNDS = 40 };
static uint32_t numbers[COUNT];

static void sort(uint32_t *from, uint32_t *to) {
  while (to - from > 16) {
    uint32_t pivot = from[(to - from) / 2];
    uint32_t *left = from, *right = to - 1;
    for (;;) {
      while (*left < pivot) left++;
      while (*right > pivot) right--;
      if (left >= right) break;
      uint32_t other = *left;
      *left++ = *right;
      *right-- = other;
    }
    sort(from, left);
    from = left;
  }
  for (uint32_t *at = from + 1; at < to; at++) {
    uint32_t value = *at;
    uint32_t *hole = at;
    for (; hole > from && hole[-1] > value; hole--) *hole = hole[-1];
    *hole = value;
  }
}

static uint32_t run(int argc, char **argv) {
  uint32_t checksum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < COUNT; i++) numbers[i] = random32();
    sort(numbers, numbers + COUNT);
    for (int i = 0; i < COUNT; i += 997) checksum = mix(checksum, numbers[i]);
  }
  return checksum;
}
