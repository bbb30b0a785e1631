/* An interpreter of a small stack machine that runs a Collatz loop: an indirect jump for every operation. */
#include "runtime.h"

enum { PUSH, LOAD, STORE, ADD, MULTIPLY, HALVE, ODD, LESS, JUMP, JUMP_IF_NOT, HALT };

enum { N, STEPS, I };
static const uint8_t program[] = {
    /*  0 */ PUSH, 1, STORE, I, PUSH, 0, STORE, STEPS,
    /*  8 */ LOAD, I, STORE, N,                                           /* for each i: n = i */
    /* 12 */ PUSH, 1, LOAD, N, LESS, JUMP_IF_NOT, 49,                     /* while (1 < n) */
    /* 19 */ LOAD, N, ODD, JUMP_IF_NOT, 35,                               /* if (n is odd) */
    /* 24 */ LOAD, N, PUSH, 3, MULTIPLY, PUSH, 1, ADD, STORE, N,          /*   n = 3 * n + 1 */
    /* 34 */ HALT + 1,                                                    /* no operation */
    /* 35 */ LOAD, N, HALVE, STORE, N,                                    /* n = n / 2; also (3n + 1) / 2 in one step */
    /* 40 */ LOAD, STEPS, PUSH, 1, ADD, STORE, STEPS, JUMP, 12,
    /* 49 */ LOAD, I, PUSH, 1, ADD, STORE, I,
    /* 56 */ LOAD, I, LOAD, 3, LESS, JUMP_IF_NOT, 65, JUMP, 8,
    /* 65 */ HALT};

static uint32_t interpret(uint32_t limit) {
  uint32_t stack[16], variables[4] = {0, 0, 0, limit};
  uint32_t *top = stack;
  const uint8_t *at = program;
  for (;;) {
    switch (*at++) {
      case PUSH: *top++ = *at++; break;
      case LOAD: *top++ = variables[*at++ & 3]; break;
      case STORE: variables[*at++ & 3] = *--top; break;
      case ADD: top--; top[-1] += top[0]; break;
      case MULTIPLY: top--; top[-1] *= top[0]; break;
      case HALVE: top[-1] >>= 1; break;
      case ODD: top[-1] &= 1; break;
      case LESS: top--; top[-1] = top[-1] < top[0]; break;
      case JUMP: at = program + *at; break;
      case JUMP_IF_NOT: at = *--top ? at + 1 : program + *at; break;
      case HALT: return variables[STEPS];
      default: break;
    }
  }
}

static uint32_t run(int argc, char **argv) { return mix(0, interpret(120000)); }
