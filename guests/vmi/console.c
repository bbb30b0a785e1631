/* The serial port, what is printed on it, and the command line. */
#include "guest.h"

#define COM1 0x3f8

u32 checks, failed;

static void put(char c) {
  while (!(in(COM1 + 5) & 0x20)) {
  }
  out(COM1, c);
}

#include "../print.h"

void check(const char *what, int passed) {
  checks++;
  if (!passed) failed++;
  print("%s %s\n", passed ? "ok" : "FAILED", what);
}

u32 option(const char *name, u32 otherwise) {
  /* The multiboot information's command line. */
  const u32 *information = (const u32 *)(multiboot_information + VIRTUAL_BASE);
  return option_in((const char *)(information[4] + VIRTUAL_BASE), name, otherwise);
}
