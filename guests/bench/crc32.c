/* CRC-32 (IEEE 802.3) of 1 MiB by a table of 256 words: a chain of dependent loads and shifts. */
#include "runtime.h"

enum { SIZE = 1 << 20, ROUNDS = 300 };
static uint8_t data[SIZE];
static uint32_t table[256];

static uint32_t run(int argc, char **argv) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; bit++) value = value & 1 ? value >> 1 ^ 0xedb88320u : value >> 1;
    table[i] = value;
  }
  for (int i = 0; i < SIZE; i++) data[i] = random32();
  uint32_t crc = ~0u;
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < SIZE; i++) crc = crc >> 8 ^ table[(crc ^ data[i]) & 255];
  return ~crc;
}
