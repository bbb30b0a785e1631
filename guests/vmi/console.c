/* The serial port, what is printed on it, and the command line. */
#include <stdarg.h>
#include "guest.h"

#define COM1 0x3f8

u32 checks, failed;

static void put(char c) {
  while (!(in(COM1 + 5) & 0x20)) {
  }
  out(COM1, c);
}

static void put_number(u32 value, u32 base) {
  if (value >= base) put_number(value / base, base);
  put("0123456789abcdef"[value % base]);
}

/* %s, %d and %x (u32) */
void print(const char *format, ...) {
  va_list list;
  va_start(list, format);
  for (; *format; format++) {
    if (*format != '%') put(*format);
    else if (*++format == 's')
      for (const char *text = va_arg(list, const char *); *text; text++) put(*text);
    else put_number(va_arg(list, u32), *format == 'x' ? 16 : 10);
  }
  va_end(list);
}

void check(const char *what, int passed) {
  checks++;
  if (!passed) failed++;
  print("%s %s\n", passed ? "ok" : "FAILED", what);
}

u32 option(const char *name, u32 otherwise) {
  /* The multiboot information's command line. */
  const u32 *information = (const u32 *)(multiboot_information + VIRTUAL_BASE);
  for (const char *text = (const char *)(information[4] + VIRTUAL_BASE); *text; text++) {
    const char *a = text, *b = name;
    while (*b && *a == *b) a++, b++;
    if (*b) continue;
    if (*a != '=') return 1;
    u32 value = 0;
    for (a++; *a >= '0' && *a <= '9'; a++) value = value * 10 + *a - '0';
    return value;
  }
  return otherwise;
}
