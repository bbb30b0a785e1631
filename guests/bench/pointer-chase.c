/* A linked list of 16 Ki nodes of 64 bytes in random order, 1 MiB: loads that wait for each other and miss the TLB. */
#include "runtime.h"

enum { COUNT = 1 << 14, ROUNDS = 5000 };
struct node {
  struct node *next;
  uint32_t value;
  uint8_t padding[64 - sizeof(void *) - 4];
};
static struct node nodes[COUNT];
static uint32_t order[COUNT];

static uint32_t run(int argc, char **argv) {
  for (uint32_t i = 0; i < COUNT; i++) order[i] = i;
  for (uint32_t i = COUNT - 1; i > 0; i--) {
    uint32_t j = random32() % (i + 1), other = order[i];
    order[i] = order[j];
    order[j] = other;
  }
  for (uint32_t i = 0; i < COUNT; i++) {
    nodes[order[i]].next = &nodes[order[(i + 1) % COUNT]];
    nodes[order[i]].value = i;
  }
  uint32_t sum = 0;
  struct node *at = nodes;
  for (uint32_t i = 0; i < (uint32_t)COUNT * ROUNDS; i++) {
    sum = (sum << 1 | sum >> 31) + at->value;
    at = at->next;
  }
  return sum;
}
