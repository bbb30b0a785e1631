/* Two threads, on processors of their own where there are two, wake each other by futex. */
#include "../threads.h"

enum { THREADS = 2, ROUNDS = 10000 };
static volatile uint32_t turn;
static uint32_t sums[THREADS];

static void play(int number) {
  for (uint32_t i = 0; i < ROUNDS; i++) {
    wait_while(&turn, 1 - number);
    sums[number] = mix(sums[number], i);
    __atomic_store_n(&turn, 1 - number, __ATOMIC_RELEASE);
    wake(&turn);
  }
}

static uint32_t run(int argc, char **argv) {
  run_threads(THREADS, play);
  report_operations(THREADS * ROUNDS);
  return sums[0] ^ mix(sums[1], 1);
}
