/* pv_print: text through whatever console there is. */
#include <stdarg.h>
#include "internal.h"

static char line[256];
static size_t used;
static uint32_t busy;

static void put(char c) {
  line[used++] = c;
  if (c != '\n' && used < sizeof line) return;
  pv_ops.boot.console_write(line, used);
  used = 0;
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

void pv_print(const char *format, ...) {
  va_list list;
  /* A processor that is interrupted while it prints must not print from the handler. */
  while (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) pv_pause();
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
  __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}
