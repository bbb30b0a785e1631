/*
 * Sockets of the family AF_VSOCK. "connect PORT BYTES" sends so many to the host's port, and says what came back before the end;
 * "listen PORT" sends whoever connects what he sends.
 */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char buffer[65536];

static int failed(const char *what) {
  perror(what);
  return 1;
}

static int send_all(int socket, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t sent = write(socket, buffer + done, length - done);
    if (sent < 0) return -1;
    done += sent;
  }
  return 0;
}

static int ask(int socket, long bytes) {
  for (size_t i = 0; i < sizeof buffer; i++) buffer[i] = i * 7;
  for (long left = bytes; left > 0; left -= sizeof buffer)
    if (send_all(socket, left < (long)sizeof buffer ? left : (long)sizeof buffer)) return failed("write");
  shutdown(socket, SHUT_WR);
  long count = 0, sum = 0;
  for (ssize_t length; (length = read(socket, buffer, sizeof buffer)) != 0; count += length) {
    if (length < 0) return failed("read");
    for (ssize_t i = 0; i < length; i++) sum += buffer[i];
  }
  printf("%ld bytes came back, their sum is %ld\n", count, sum);
  return 0;
}

static int answer(int socket) {
  for (ssize_t length; (length = read(socket, buffer, sizeof buffer)) != 0;)
    if (length < 0 || send_all(socket, length)) return failed("echo");
  close(socket);
  return 0;
}

int main(int count, char **words) {
  if (count < 3) return 2;
  struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_port = atoi(words[2]), .svm_cid = VMADDR_CID_HOST };
  int connection = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (connection < 0) return failed("socket");
  if (strcmp(words[1], "connect") == 0) {
    if (connect(connection, (void *)&address, sizeof address)) return failed("connect");
    return ask(connection, atol(words[3]));
  }
  address.svm_cid = VMADDR_CID_ANY;
  if (bind(connection, (void *)&address, sizeof address) || listen(connection, 1)) return failed("listen");
  puts("listening");
  fflush(stdout);
  int caller = accept(connection, 0, 0);
  return caller < 0 ? failed("accept") : answer(caller);
}
