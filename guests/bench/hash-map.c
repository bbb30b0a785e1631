/* A hash map with open addressing, 64 Ki slots: inserts, look-ups and removals of random keys. */
#include "runtime.h"

enum { SLOTS = 1 << 16, ROUNDS = 300, KEYS = 40000 };
static struct { uint32_t key, value; } slots[SLOTS]; /* key 0: free */

static uint32_t hash(uint32_t key) { return key * 0x9e3779b1u >> 16; }

static uint32_t find(uint32_t key) {
  uint32_t at = hash(key);
  while (slots[at].key && slots[at].key != key) at = (at + 1) % SLOTS;
  return at;
}

/** Knuth's algorithm R (6.4): closes the gap, so that no look-up ends too early. */
static void remove_at(uint32_t gap) {
  for (uint32_t at = (gap + 1) % SLOTS; slots[at].key; at = (at + 1) % SLOTS)
    if ((at - hash(slots[at].key)) % SLOTS >= (at - gap) % SLOTS) slots[gap] = slots[at], gap = at;
  slots[gap].key = 0;
}

static uint32_t run(int argc, char **argv) {
  uint32_t checksum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    uint32_t seed = random_state;
    for (int i = 0; i < KEYS; i++) {
      uint32_t key = random32();
      uint32_t at = find(key);
      slots[at].key = key;
      slots[at].value += i;
    }
    random_state = seed;
    for (int i = 0; i < KEYS; i++) {
      uint32_t at = find(random32());
      checksum += slots[at].value;
      slots[at].value = 0;
      if (slots[at].key) remove_at(at);
    }
  }
  return checksum;
}
