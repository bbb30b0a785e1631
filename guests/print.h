/*
 * Printing for kernels in C, which have a put(char) before they include this: print with %s, %d (a long) and %x (an unsigned long), and
 * the options of a command line.
 */
#pragma once
#include <stdarg.h>

static void put_number(unsigned long value, unsigned base) {
  if (value >= base) put_number(value / base, base);
  put("0123456789abcdef"[value % base]);
}

void print(const char *format, ...) {
  va_list list;
  va_start(list, format);
  for (; *format; format++) {
    if (*format != '%') {
      put(*format);
      continue;
    }
    format++;
    if (*format == 's') {
      for (const char *text = va_arg(list, const char *); *text; text++) put(*text);
      continue;
    }
    unsigned long value = va_arg(list, unsigned long);
    int is_negative = *format == 'd' && (long)value < 0;
    if (is_negative) put('-');
    put_number(is_negative ? -value : value, *format == 'x' ? 16 : 10);
  }
  va_end(list);
}

/* The value of NAME= on a command line; 1 for NAME alone; `otherwise` if it is not there. */
static unsigned long option_in(const char *text, const char *name, unsigned long otherwise) {
  for (; *text; text++) {
    const char *a = text, *b = name;
    while (*b && *a == *b) a++, b++;
    if (*b) continue;
    if (*a != '=') return 1;
    unsigned long value = 0;
    for (a++; *a >= '0' && *a <= '9'; a++) value = value * 10 + *a - '0';
    return value;
  }
  return otherwise;
}
