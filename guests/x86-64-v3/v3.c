/*
 * What a compiler makes of plain loops for x86-64-v3 (AVX2, FMA, F16C, BMI), and what it does not find by itself: a line with a hash for
 * each, the same on every processor. tests/x86-64-v3.test.ts compares the host's with the guest's. A number as argument repeats it.
 */
#include <fenv.h>
#include <immintrin.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define N 1024

static uint64_t seed = 1;
static uint64_t next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static float fa[N], fb[N], fc[N];
static double da[N], db[N], dc[N];
static int32_t ia[N], ib[N], ic[N];
static uint16_t wa[N], wb[N], wc[N];
static uint8_t ba[N], bb[N], bc[N];
static int64_t la[N], lb[N], lc[N];

static void fill(void) {
  for (int i = 0; i < N; i++) {
    fa[i] = (float)(int32_t)next() / 65536;
    fb[i] = (float)(int32_t)next() / 1e6f;
    fc[i] = (float)(i % 7) - 3;
    da[i] = (double)(int64_t)next() / 4294967296.0;
    db[i] = (double)(int64_t)next() / 1e15;
    dc[i] = (double)(i % 5) - 2;
    ia[i] = (int32_t)next();
    ib[i] = (int32_t)(next() % N);
    la[i] = (int64_t)next();
    lb[i] = (int64_t)(next() % 80);
    wa[i] = (uint16_t)next();
    wb[i] = (uint16_t)next();
    ba[i] = (uint8_t)next();
    bb[i] = (uint8_t)next();
  }
}

static void tell(const char *name, const void *data, size_t bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < bytes; i++) hash = (hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3;
  printf("%-20s %016lx\n", name, (unsigned long)hash);
}
#define TELL(array) tell(__func__, array, sizeof array)

#define TEST static __attribute__((noinline)) void

TEST float_loops(void) {
  for (int i = 0; i < N; i++) fc[i] = fa[i] * fb[i] + fc[i];
  for (int i = 0; i < N; i++) fc[i] = fc[i] > 0 ? sqrtf(fc[i]) : fc[i] / 3 - fa[i];
  TELL(fc);
}
TEST double_loops(void) {
  for (int i = 0; i < N; i++) dc[i] = fma(da[i], db[i], -dc[i]) - da[i] * db[i];
  for (int i = 0; i < N; i++) dc[i] = fmax(floor(dc[i]), fmin(db[i], rint(da[i] / 7)));
  TELL(dc);
}
TEST fused_exact(void) {
  /* What the product alone would lose. */
  for (int i = 0; i < N; i++) dc[i] = fma(da[i], da[i] * (1 + 0x1p-52), -(da[i] * da[i]));
  TELL(dc);
  for (int i = 0; i < N; i++) fc[i] = fmaf(fa[i], fa[i] * (1 + 0x1p-23f), -(fa[i] * fa[i]));
  TELL(fc);
}
TEST integer_loops(void) {
  for (int i = 0; i < N; i++) ic[i] = (ia[i] * 31 + ib[i]) ^ (ia[i] >> 5);
  for (int i = 0; i < N; i++) ic[i] = ic[i] > ia[i] ? ic[i] : -ic[i];
  TELL(ic);
  for (int i = 0; i < N; i++) lc[i] = la[i] * la[N - 1 - i] + ((int64_t)ia[i] << 20);
  TELL(lc);
}
TEST shifts(void) {
  for (int i = 0; i < N; i++) ic[i] = (int32_t)((uint32_t)ia[i] >> (ib[i] & 31)) + (ia[i] >> (ib[i] & 15));
  TELL(ic);
  for (int i = 0; i < N; i++) lc[i] = (int64_t)((uint64_t)la[i] << (lb[i] & 63)) ^ (int64_t)((uint64_t)la[i] >> (lb[i] & 63));
  TELL(lc);
}
TEST bytes_and_words(void) {
  for (int i = 0; i < N; i++) bc[i] = (uint8_t)((ba[i] + bb[i] + 1) >> 1) ^ (ba[i] > bb[i] ? ba[i] : bb[i]);
  TELL(bc);
  for (int i = 0; i < N; i++) wc[i] = (uint16_t)((wa[i] * wb[i]) >> 16) + (uint16_t)(wa[i] << 3);
  TELL(wc);
  int32_t sum = 0;
  for (int i = 0; i < N; i++) sum += abs(ba[i] - bb[i]);
  for (int i = 0; i < N; i++) sum += (int16_t)wa[i] * (int16_t)wb[i];
  tell("sums", &sum, sizeof sum);
}
TEST gathers(void) {
  for (int i = 0; i < N; i++) ic[i] = ia[ib[i]];
  TELL(ic);
  for (int i = 0; i < N; i++) fc[i] = fa[ib[i]] * 2;
  TELL(fc);
  for (int i = 0; i < N; i++) dc[i] = db[ib[i]] + da[ib[N - 1 - i]];
  TELL(dc);
  for (int i = 0; i < N; i++) lc[i] = lb[i] & 1 ? la[ib[i]] : -1;
  TELL(lc);
}
TEST conversions(void) {
  for (int i = 0; i < N; i++) ic[i] = (int32_t)fa[i] + (int32_t)db[i];
  TELL(ic);
  for (int i = 0; i < N; i++) dc[i] = (double)fa[i] + ia[i];
  TELL(dc);
  for (int i = 0; i < N; i++) fc[i] = (float)da[i] + (float)wa[i];
  TELL(fc);
  for (int i = 0; i < N; i++) lc[i] = (int64_t)ia[i] + ba[i];
  TELL(lc);
}
TEST halves(void) {
  for (int i = 0; i < N; i += 8)
    _mm_storeu_si128((__m128i *)(wc + i), _mm256_cvtps_ph(_mm256_loadu_ps(fa + i), _MM_FROUND_TO_NEAREST_INT));
  TELL(wc);
  for (int i = 0; i < N; i += 8) _mm256_storeu_ps(fc + i, _mm256_cvtph_ps(_mm_loadu_si128((__m128i *)(wa + i))));
  TELL(fc);
}
TEST permutations(void) {
  for (int i = 0; i < N; i += 8) {
    __m256i x = _mm256_loadu_si256((__m256i *)(ia + i)), y = _mm256_loadu_si256((__m256i *)(ib + i));
    __m256i z = _mm256_permutevar8x32_epi32(x, y);
    z = _mm256_blendv_epi8(z, _mm256_permute4x64_epi64(x, 0x1b), y);
    z = _mm256_xor_si256(z, _mm256_shuffle_epi8(x, _mm256_permute2x128_si256(y, x, 0x21)));
    z = _mm256_add_epi32(z, _mm256_alignr_epi8(x, y, 5));
    _mm256_maskstore_epi32(ic + i, x, z);
  }
  TELL(ic);
  uint64_t masks = 0;
  for (int i = 0; i < N; i += 32)
    masks = masks * 31 + (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_loadu_si256((__m256i *)(ba + i)), _mm256_setzero_si256()));
  tell("masks", &masks, sizeof masks);
}
TEST bits(void) {
  for (int i = 0; i < N; i++) {
    uint64_t x = (uint64_t)la[i], y = (uint64_t)la[N - 1 - i];
    lc[i] = (int64_t)(_pext_u64(x, y) ^ _pdep_u64(x, y) ^ _lzcnt_u64(x) ^ (_tzcnt_u64(y) << 8) ^ _bzhi_u64(x, y & 63) ^ (x & ~y) ^ __builtin_bswap64(x));
  }
  TELL(lc);
}
TEST unusual_numbers(void) {
  static const float numbers[8] = {0.0f, -0.0f, 1e-40f, -1e-45f, 3.4e38f, INFINITY, 1.0f, -1.5e-38f};
  for (int i = 0; i < N; i++) fc[i] = numbers[i & 7] * numbers[(i >> 3) & 7] + numbers[(i >> 6) & 7] * (i & 512 ? -1 : 1);
  for (int i = 0; i < N; i++) ic[i] = isnan(fc[i]) ? 7 : 0;
  TELL(ic);
  for (int i = 0; i < N; i++) fc[i] = isnan(fc[i]) ? 0 : fc[i];
  TELL(fc);
}
TEST rounding(void) {
  static const int MODES[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
  for (int mode = 0; mode < 4; mode++) {
    fesetround(MODES[mode]);
    feclearexcept(FE_ALL_EXCEPT);
    for (int i = 0; i < 64; i++) fc[i] = fmaf(fa[i], fb[i], fa[N - 1 - i]) / 3;
    for (int i = 0; i < 64; i++) dc[i] = fma(da[i], db[i], da[N - 1 - i]) / 3;
    int raised = fetestexcept(FE_ALL_EXCEPT);
    tell("rounding", fc, 64 * sizeof *fc);
    tell("rounding", dc, 64 * sizeof *dc);
    tell("exceptions", &raised, sizeof raised);
  }
  fesetround(FE_TONEAREST);
}
TEST strings(void) {
  static char text[8192], copy[8192];
  uint64_t all = 0;
  for (int i = 0; i < 400; i++) {
    int from = (int)(next() % 64), length = (int)(next() % 3000);
    memset(text + from, 'a' + i % 26, (size_t)length);
    text[from + length] = 0;
    memmove(copy + i % 33, text + from, (size_t)length + 1);
    all = all * 31 + strlen(copy + i % 33) + (uint64_t)(strchr(text + from, 'q') != 0) + (uint64_t)(memcmp(copy, text, 4096) > 0);
  }
  tell("strings", &all, sizeof all);
  TELL(copy);
}

static volatile sig_atomic_t interrupted;
static void clobber(int number) {
  (void)number;
  __m256d junk = _mm256_set1_pd((double)++interrupted);
  __asm__ volatile("vmovapd %0, %%ymm1; vmovapd %0, %%ymm7; vmovapd %0, %%ymm15; vzeroupper" : : "x"(junk) : "xmm1", "xmm7", "xmm15");
}
/* Sums in registers, with signals (whose frames hold them) and other processes in between. */
TEST signals(void) {
  struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  signal(SIGALRM, clobber);
  setitimer(ITIMER_REAL, &often, 0);
  __m256d sums[4] = {_mm256_set_pd(1, 2, 3, 4), _mm256_set_pd(5, 6, 7, 8), _mm256_set1_pd(9), _mm256_setzero_pd()};
  for (int round = 0; round < 4000; round++)
    for (int i = 0; i < 16; i++) {
      sums[0] = _mm256_fmadd_pd(sums[0], _mm256_set1_pd(1 - 0x1p-30), _mm256_loadu_pd(db + i));
      sums[1] = _mm256_add_pd(sums[1], sums[0]);
      sums[2] = _mm256_xor_pd(sums[2], sums[1]);
      sums[3] = _mm256_permute4x64_pd(_mm256_add_pd(_mm256_loadu_pd(db + 4 * i), sums[1]), 0x39);
    }
  setitimer(ITIMER_REAL, &never, 0);
  TELL(sums);
}

int main(int count, char **words) {
  for (int left = count > 1 ? atoi(words[1]) : 1; left > 0; left--) {
    fill();
    float_loops();
    double_loops();
    fused_exact();
    integer_loops();
    shifts();
    bytes_and_words();
    gathers();
    conversions();
    halves();
    permutations();
    bits();
    unusual_numbers();
    rounding();
    strings();
    signals();
  }
  return 0;
}
