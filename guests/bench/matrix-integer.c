/* Product of two 160 by 160 matrices of 32-bit integers by the schoolbook's three loops. */
#include "runtime.h"

enum { N = 160, ROUNDS = 150 };
static uint32_t a[N][N], b[N][N], c[N][N];

__attribute__((noinline, optimize("no-tree-vectorize"))) static void multiply(void) {
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      uint32_t sum = 0;
      for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
      c[i][j] = sum;
    }
}

static uint32_t run(int argc, char **argv) {
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) a[i][j] = random32(), b[i][j] = random32();
  uint32_t checksum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    multiply();
    a[round][round] = c[round][round];
    checksum = mix(checksum, c[N - 1 - round][round]);
  }
  return checksum;
}
