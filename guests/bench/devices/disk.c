/* Reads and writes of a disk without the page cache, one after the other or here and there. */
#include "../runtime.h"

/* disk read|write sequential|random COUNT: COUNT blocks, of 256 KiB in a row or of 4 KiB anywhere. For amd64. */
enum { SYS_open = 2, SYS_pread64 = 17, SYS_pwrite64 = 18, SYS_fsync = 74, SYS_lseek = 8 };
enum { O_RDWR = 2, O_DIRECT = 040000, SEEK_END = 2, LARGE = 256 * 1024, SMALL = 4096 };

/** The machine's only disk, whatever its driver calls it. */
static const char *const NAMES[] = {"/dev/vda", "/dev/sda", "/dev/xvda", "/dev/nvme0n1"};

static uint32_t number(const char *text) {
  uint32_t value = 0;
  while (*text >= '0' && *text <= '9') value = 10 * value + (uint32_t)(*text++ - '0');
  return value;
}

static long open_disk(void) {
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    long file = syscall4(SYS_open, (long)NAMES[i], O_RDWR | O_DIRECT, 0, 0);
    if (file >= 0) return file;
  }
  exit_with(2);
  return 0;
}

static uint32_t run(int argc, char **argv) {
  if (argc != 4) exit_with(64);
  int writes = argv[1][0] == 'w', random = argv[2][0] == 'r';
  uint32_t count = number(argv[3]), size = random ? SMALL : LARGE, sum = 0;
  long file = open_disk();
  uint32_t blocks = (uint32_t)(need(syscall4(SYS_lseek, file, 0, SEEK_END, 0)) / size);
  uint32_t *buffer = map_pages(LARGE);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t place = (random ? random32() : i) % blocks;
    if (writes) buffer[0] = place;
    long done = syscall4(writes ? SYS_pwrite64 : SYS_pread64, file, (long)buffer, size, (long)place * size);
    if (done != size) exit_with(3);
    sum += place;
  }
  if (writes) need(syscall4(SYS_fsync, file, 0, 0, 0));
  return sum;
}
