/* TCP and UDP with a server on the host, by way of the guest's network card. */
#include "../runtime.h"

/*
 * network WHAT PORT COUNT: `send` and `receive` move COUNT MiB over TCP, `requests` has COUNT questions answered one by one,
 * `packets` has COUNT datagrams sent back. For amd64.
 */
enum { SYS_poll = 7, SYS_socket = 41, SYS_connect = 42, SYS_shutdown = 48 };
enum { AF_INET = 2, SOCK_STREAM = 1, SOCK_DGRAM = 2, SHUT_WR = 1, POLLIN = 1 };

struct address {
  uint16_t family, port;
  uint8_t host[4], zero[8];
};
struct poll {
  int file;
  short events, returned;
};

enum { BLOCK = 65536, REQUEST = 64, WINDOW = 32, PATIENCE = 1000 /* ms */ };
static uint32_t block[BLOCK / 4];

static int is(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

static uint32_t number(const char *text) {
  uint32_t value = 0;
  while (*text >= '0' && *text <= '9') value = 10 * value + (uint32_t)(*text++ - '0');
  return value;
}

/** The gateway is the host, for our user-mode network and for QEMU's. */
static long connected(int kind, uint32_t port) {
  struct address to = {AF_INET, (uint16_t)(port << 8 | port >> 8), {10, 0, 2, 2}, {0}};
  long socket = need(syscall4(SYS_socket, AF_INET, kind, 0, 0));
  need(syscall4(SYS_connect, socket, (long)&to, sizeof to, 0));
  return socket;
}

/** @return bytes read: fewer than `size` only at the end */
static size_t read_all(long socket, void *into, size_t size) {
  size_t done = 0;
  while (done < size) {
    long count = need(syscall4(SYS_read, socket, (long)into + (long)done, (long)(size - done), 0));
    if (count == 0) break;
    done += (size_t)count;
  }
  return done;
}

static void write_all(long socket, const void *from, size_t size) {
  for (size_t done = 0; done < size;)
    done += (size_t)need(syscall4(SYS_write, socket, (long)from + (long)done, (long)(size - done), 0));
}

/** What the host answers is its own sum of all that it has got. */
static uint32_t send_blocks(uint32_t port, uint32_t mebibytes) {
  long socket = connected(SOCK_STREAM, port);
  uint32_t sum = 0, theirs = 0;
  for (size_t i = 0; i < BLOCK / 4; i++) sum += block[i] = random32();
  for (uint32_t i = 0; i < mebibytes * 16; i++) write_all(socket, block, BLOCK);
  need(syscall4(SYS_shutdown, socket, SHUT_WR, 0, 0));
  if (read_all(socket, &theirs, 4) != 4 || theirs != sum * mebibytes * 16) exit_with(2);
  return theirs;
}

static uint32_t receive_blocks(uint32_t port, uint32_t mebibytes) {
  long socket = connected(SOCK_STREAM, port);
  uint32_t sum = 0, blocks = 0;
  write_all(socket, &mebibytes, 4);
  for (; read_all(socket, block, BLOCK) == BLOCK; blocks++)
    for (size_t i = 0; i < BLOCK / 4; i++) sum += block[i];
  if (blocks != mebibytes * 16) exit_with(2);
  return sum;
}

static uint32_t ask(uint32_t port, uint32_t count) {
  long socket = connected(SOCK_STREAM, port);
  uint32_t sum = 0;
  for (uint32_t i = 0; i < count; i++) {
    block[0] = i;
    write_all(socket, block, REQUEST);
    if (read_all(socket, block, REQUEST) != REQUEST) exit_with(2);
    sum += block[0];
  }
  return sum;
}

/** As many are under way as do not get lost by themselves; where none comes back for long, all of those are. */
static uint32_t exchange(uint32_t port, uint32_t count) {
  long socket = connected(SOCK_DGRAM, port);
  uint32_t back = 0, sent = 0;
  while (back < count) {
    for (; sent < back + WINDOW && sent < count; sent++) need(syscall4(SYS_write, socket, (long)block, REQUEST, 0));
    struct poll ready = {(int)socket, POLLIN, 0};
    if (need(syscall4(SYS_poll, (long)&ready, 1, PATIENCE, 0)) == 0) sent = back;
    else if (need(syscall4(SYS_read, socket, (long)block, REQUEST, 0)) == REQUEST) back++;
  }
  return back;
}

static uint32_t run(int argc, char **argv) {
  if (argc != 4) exit_with(64);
  uint32_t port = number(argv[2]), count = number(argv[3]);
  if (is(argv[1], "send")) return send_blocks(port, count);
  if (is(argv[1], "receive")) return receive_blocks(port, count);
  if (is(argv[1], "requests")) return ask(port, count);
  if (is(argv[1], "packets")) return exchange(port, count);
  exit_with(64);
  return 0;
}
