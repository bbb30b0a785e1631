/* Product of two 128 by 128 matrices of doubles by the schoolbook's three loops: scalar SSE2. */
#include "runtime.h"

enum { N = 128, ROUNDS = 72 };
static double a[N][N], b[N][N], c[N][N];

__attribute__((noinline, optimize("no-tree-vectorize"))) static void multiply(void) {
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      double sum = 0;
      for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
      c[i][j] = sum;
    }
}

static uint32_t run(int argc, char **argv) {
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) a[i][j] = (int32_t)random32() / 2147483648.0, b[i][j] = (int32_t)random32() / 2147483648.0;
  uint32_t checksum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    multiply();
    a[round][round] = c[round][round] / N;
    checksum = mix_double(checksum, c[N - 1 - round][round]);
  }
  return checksum;
}
