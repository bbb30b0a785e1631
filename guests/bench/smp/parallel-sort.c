/* Four threads sort a quarter of 2 Mi random words each, two merge the quarters, one the halves. */
#include "../threads.h"

enum { COUNT = 1 << 21, THREADS = 4, QUARTER = COUNT / THREADS, HALF = COUNT / 2 };
static uint32_t numbers[COUNT], merged[COUNT];

/** Shell's sort with Ciura's gaps, continued by 9/4: no recursion, no buffer. */
static void sort(uint32_t *from, int count) {
  static const int gaps[] = {524287, 239612, 102549, 45577, 20256, 9003, 4001, 1778, 790, 301, 132, 57, 23, 10, 4, 1};
  for (unsigned i = 0; i < sizeof gaps / sizeof *gaps; i++)
    for (int gap = gaps[i], at = gap; at < count; at++) {
      uint32_t value = from[at];
      int hole = at;
      for (; hole >= gap && from[hole - gap] > value; hole -= gap) from[hole] = from[hole - gap];
      from[hole] = value;
    }
}

static void merge(uint32_t *to, const uint32_t *left, const uint32_t *right, int count) {
  const uint32_t *left_end = left + count, *right_end = right + count;
  while (left < left_end && right < right_end) *to++ = *left <= *right ? *left++ : *right++;
  while (left < left_end) *to++ = *left++;
  while (right < right_end) *to++ = *right++;
}

static void sort_quarter(int number) { sort(numbers + number * QUARTER, QUARTER); }

static void merge_half(int number) {
  uint32_t *half = numbers + number * HALF;
  merge(merged + number * HALF, half, half + QUARTER, QUARTER);
}

static uint32_t run(int argc, char **argv) {
  for (int i = 0; i < COUNT; i++) numbers[i] = random32();
  run_threads(THREADS, sort_quarter);
  run_threads(2, merge_half);
  merge(numbers, merged, merged + HALF, HALF);
  uint32_t checksum = 0;
  for (int i = 0; i < COUNT; i++) {
    if (i > 0 && numbers[i - 1] > numbers[i]) exit_with(1);
    checksum = mix(checksum, numbers[i]);
  }
  return checksum;
}
