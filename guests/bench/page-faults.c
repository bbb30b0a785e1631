/* Maps 4 MiB, touches every page, unmaps it, again and again: a page fault every 4 KiB. */
#include "runtime.h"

enum { PAGE = 4096, PAGES = 1024, ROUNDS = 120 };

static uint32_t run(int argc, char **argv) {
  uint32_t checksum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    volatile uint8_t *pages = map_pages(PAGES * PAGE);
    for (int i = 0; i < PAGES; i++) checksum += pages[i * PAGE] + 1, pages[i * PAGE] = 1;
    unmap_pages((void *)pages, PAGES * PAGE);
  }
  report_operations(PAGES * ROUNDS);
  return checksum;
}
