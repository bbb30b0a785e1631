/* pv_print: text through whatever console there is. */
#include <stdarg.h>
#include "internal.h"

static char line[256];
static size_t used;
/* The number of the processor that prints, and 1. */
static uint32_t printer;

static void flush(void) {
  if (used) pv_ops.boot.console_write(line, used);
  used = 0;
}

static void put(char c) {
  line[used++] = c;
  if (used == sizeof line) flush();
}

static void pad(size_t length, unsigned width) {
  for (; length < width; length++) put(' ');
}

static void text(const char *from, unsigned width, bool left) {
  size_t length = 0;
  while (from[length]) length++;
  if (!left) pad(length, width);
  for (size_t i = 0; i < length; i++) put(from[i]);
  if (left) pad(length, width);
}

static void number(uint64_t value, unsigned base, unsigned width, bool left) {
  char digits[21], *at = digits + sizeof digits;
  *--at = 0;
  do *--at = "0123456789abcdef"[value % base];
  while (value /= base);
  text(at, width, left);
}

void pv_print_anyway(void) {
  flush();
  __atomic_store_n(&printer, 0, __ATOMIC_RELEASE);
}

void pv_print(const char *format, ...) {
  va_list list;
  /* Before the first is known to itself, it is the only one. */
  uint32_t me = (pv_cpus[0].online ? pv_this_cpu()->id : 0) + 1, nobody = 0;
  /* A handler may have interrupted its own processor within here: its text stands in the middle of the other then. */
  bool nested = __atomic_load_n(&printer, __ATOMIC_ACQUIRE) == me;
  while (!nested && !__atomic_compare_exchange_n(&printer, &nobody, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
    nobody = 0;
    pv_pause();
  }
  va_start(list, format);
  for (; *format; format++) {
    if (*format != '%') {
      put(*format);
      continue;
    }
    bool left = format[1] == '-', is_long = false;
    if (left) format++;
    unsigned width = 0;
    while (format[1] >= '0' && format[1] <= '9') width = width * 10 + (*++format - '0');
    while (format[1] == 'l') is_long = true, format++;
    switch (*++format) {
    case 's': text(va_arg(list, const char *), width, left); break;
    case 'c': put(va_arg(list, int)); break;
    case 'u': number(is_long ? va_arg(list, uint64_t) : va_arg(list, uint32_t), 10, width, left); break;
    case 'x': number(is_long ? va_arg(list, uint64_t) : va_arg(list, uint32_t), 16, width, left); break;
    default: put(*format);
    }
  }
  va_end(list);
  flush();
  if (!nested) __atomic_store_n(&printer, 0, __ATOMIC_RELEASE);
}
