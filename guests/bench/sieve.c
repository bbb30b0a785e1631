/* Sieve of Eratosthenes: byte stores with growing strides over 256 KiB, then a scan. */
#include "runtime.h"

enum { SIZE = 1 << 18, ROUNDS = 600 };
static uint8_t composite[SIZE];

static uint32_t run(int argc, char **argv) {
  uint32_t checksum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < SIZE; i++) composite[i] = 0;
    uint32_t primes = 0;
    for (int i = 2 + round % 2; i < SIZE; i++) {
      if (composite[i]) continue;
      primes++;
      for (int j = 2 * i; j < SIZE; j += i) composite[j] = 1;
    }
    checksum = mix(checksum, primes);
  }
  return checksum;
}
