/* Mandelbrot's set, four points at a time in packed floats (SSE2), with masks for those that have escaped. */
#define _MM_MALLOC_H_INCLUDED /* gcc's header would ask a C library for malloc */
#include <emmintrin.h>
#include "runtime.h"

enum { WIDTH = 512, HEIGHT = 512, LIMIT = 600 };

static uint32_t run(int argc, char **argv) {
  uint32_t checksum = 0;
  for (int row = 0; row < HEIGHT; row++)
    for (int column = 0; column < WIDTH; column += 4) {
      __m128 columns = _mm_add_ps(_mm_set1_ps((float)column), _mm_set_ps(3, 2, 1, 0));
      __m128 cx = _mm_sub_ps(_mm_mul_ps(columns, _mm_set1_ps(3.0f / WIDTH)), _mm_set1_ps(2.0f));
      __m128 cy = _mm_set1_ps(row * (2.0f / HEIGHT) - 1.0f);
      __m128 x = cx, y = cy;
      __m128i counts = _mm_setzero_si128();
      for (int i = 0; i < LIMIT; i++) {
        __m128 xx = _mm_mul_ps(x, x), yy = _mm_mul_ps(y, y);
        __m128 inside = _mm_cmplt_ps(_mm_add_ps(xx, yy), _mm_set1_ps(4.0f));
        if (!_mm_movemask_ps(inside)) break;
        counts = _mm_sub_epi32(counts, _mm_castps_si128(inside));
        __m128 xy = _mm_mul_ps(x, y);
        x = _mm_add_ps(_mm_sub_ps(xx, yy), cx);
        y = _mm_add_ps(_mm_add_ps(xy, xy), cy);
      }
      counts = _mm_add_epi32(counts, _mm_shuffle_epi32(counts, _MM_SHUFFLE(1, 0, 3, 2)));
      counts = _mm_add_epi32(counts, _mm_shuffle_epi32(counts, _MM_SHUFFLE(2, 3, 0, 1)));
      checksum = mix(checksum, (uint32_t)_mm_cvtsi128_si32(counts));
    }
  return checksum;
}
