/* Four threads map four pages, write to them and unmap them, again and again: all processors must forget them. */
#include "../threads.h"

enum { PAGE = 4096, PAGES = 4, THREADS = 4, ROUNDS = 500 };
static uint32_t sums[THREADS];

static void churn(int number) {
  for (uint32_t i = 0; i < ROUNDS; i++) {
    volatile uint8_t *pages = map_pages(PAGES * PAGE);
    for (int page = 0; page < PAGES; page++) {
      sums[number] += pages[page * PAGE] + 1; /* New pages hold 0. */
      pages[page * PAGE] = 1;
    }
    unmap_pages((void *)pages, PAGES * PAGE);
  }
}

static uint32_t run(int argc, char **argv) {
  uint32_t checksum = 0;
  run_threads(THREADS, churn);
  for (int i = 0; i < THREADS; i++) checksum = mix(checksum, sums[i]);
  report_operations(THREADS * ROUNDS);
  return checksum;
}
