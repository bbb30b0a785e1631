/*
 * Executes single instructions on the processor underneath and reports what they did: the source of every expected value
 * in tests/oracle/vectors. Linux on x86-64 only; built and driven by native.ts, whose layout.ts states the same protocol.
 *
 * A case is a whole user-visible machine state. It is entered by returning from a signal handler into a frame that we
 * filled in (registers, flags, CS and SS, the XSAVE area), with TF set, so that one instruction later, or at its fault,
 * the kernel hands the state back in the same form. That is one signal per case, and nothing of the case's state is
 * ours: there is no code before or after the instruction. 32- and 16-bit code are segments of a local descriptor table.
 *
 * No C library: FS and GS belong to the cases, so there can be no thread-local storage.
 *
 * stdin:  struct setup, then batches: u32 count, struct test[count]. stdout: struct outcome for each, in order.
 */
#include <stdint.h>
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <linux/mman.h>
#include <linux/memfd.h>
#include <linux/signal.h>
#include <linux/time.h>
#include <asm/sigcontext.h>
#include <asm/ucontext.h>

/* ---- what native.ts sends and reads ---- */

#define PAGES 7      /* the window: guard, code, guard, data, data, read-only, guard */
#define CODE_PAGE 1
#define DATA_PAGE 3
#define READ_ONLY_PAGE 5
#define PAGE 4096
#define SEGMENTS 16
#define RUN_BYTES 1024
#define FX_XMM 416
#define FX (FX_XMM + 256)
#define XSAVE_YMM 576 /* where the standard format has them: CPUID leaf 0xd, 2 */

struct setup {
  uint64_t window;                    /* linear address of page 0 of the window */
  uint32_t descriptors[SEGMENTS][4];  /* struct user_desc: entry number, base, limit, bits; 0 in entry number: none */
  uint8_t memory[3 * PAGE];           /* contents of the data pages and the read-only page before every case */
};

#define FLAG_NO_STEP 1  /* run without TF, into the INT3 that fills the rest of the page */
#define FLAG_REPEAT 2   /* TF stops a REP after each round: go on while RIP stands still */
#define FLAG_SHADOW 4   /* loads SS: TF's trap comes one instruction (a NOP) late */
#define ROUNDS 128

struct test {
  uint8_t code[16];
  uint8_t length, flags;
  uint16_t cs, ss, ds, es, fs, gs, pad;
  uint64_t rip, rflags;
  uint64_t gpr[16];                   /* in the manual's order: RAX RCX RDX RBX RSP RBP RSI RDI R8-R15 */
  uint64_t fs_base, gs_base;          /* where FS and GS hold a null selector */
  uint8_t fx[FX];                     /* FXSAVE64 image up to XMM15, and the upper halves of YMM0 to YMM15 */
  uint32_t run_bytes;                 /* how much of `runs` is used: where this case's memory is not setup.memory */
  uint8_t runs[RUN_BYTES];            /* {u16 offset, u16 length, bytes}, any number of them */
};

#define RETIRED 0x100
#define KILLED 0x101    /* the case killed its process */
#define TOO_MUCH 0x102  /* more memory changed than there is room to say */

struct outcome {
  uint32_t vector;                    /* its exception, or one of the above */
  uint32_t code;
  uint64_t cr2, rip, rflags;
  uint64_t gpr[16];
  uint16_t cs, ss, ds, es, fs, gs;
  uint32_t rounds;
  uint64_t fs_base, gs_base;
  uint8_t fx[FX];
  uint32_t run_bytes;                 /* memory that the instruction changed, in the same form */
  uint8_t runs[RUN_BYTES];
};

/* ---- the kernel, without a library ---- */

static long call6(long n, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}
#define call3(n, a, b, c) call6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)

static void leave(int status) {
  for (;;) call3(__NR_exit_group, status, 0, 0);
}
static void fail(const char *reason) {
  long length = 0;
  while (reason[length]) length++;
  call3(__NR_write, 2, reason, length);
  call3(__NR_write, 2, "\n", 1);
  leave(2);
}
void *memcpy(void *to, const void *from, unsigned long n) {
  void *result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
  return result;
}
void *memset(void *to, int value, unsigned long n) {
  void *result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  return result;
}
/* All of `n` bytes, or 0 at the end of input. */
static int read_all(void *to, long n) {
  for (long done = 0; done < n;) {
    long got = call3(__NR_read, 0, (char *)to + done, n - done);
    if (got <= 0) return 0;
    done += got;
  }
  return 1;
}
static void write_all(const void *from, long n) {
  for (long done = 0; done < n;) {
    long put = call3(__NR_write, 1, (const char *)from + done, n - done);
    if (put <= 0) leave(3);
    done += put;
  }
}
static void *map(void *at, long bytes, int protection, int flags, int file, long offset) {
  long result = call6(__NR_mmap, (long)at, bytes, protection, flags, file, offset);
  if (result < 0 && result > -4096) fail("harness: mmap failed");
  return (void *)result;
}

/* ---- one batch, run in a child ---- */

#define BATCH 4096
static struct setup setup;
static struct test tests[BATCH];
static struct outcome *outcomes;      /* shared with the child, so that what it did survives it */
static volatile uint32_t *finished;   /* how many of them are complete */
static uint32_t count;
static uint8_t *alias;                /* the window's pages again, all writable, without gaps */
static uint8_t alternate_stack[65536] __attribute__((aligned(64)));
static long current = -1;
static uint32_t rounds;
static uint8_t before[3 * PAGE] __attribute__((aligned(8))); /* the data pages as the current case started */

static uint64_t window_page(int page) { return setup.window + (uint64_t)page * PAGE; }

/* Processor time a case may take: SIGPROF then ends the child, like any other case that breaks it. */
static const long PATIENCE[4] = {0, 0, 0, 100000};

/* Where sigcontext keeps general register n: it starts R8-R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, flags. */
static const int SIGCONTEXT_INDEX[16] = {13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7};
#define SIGCONTEXT_RIP 16
#define SIGCONTEXT_FLAGS 17

static void put_selectors(const struct test *t) {
  __asm__ volatile("movw %0, %%ds" : : "r"(t->ds));
  __asm__ volatile("movw %0, %%es" : : "r"(t->es));
  __asm__ volatile("movw %0, %%fs" : : "r"(t->fs));
  __asm__ volatile("movw %0, %%gs" : : "r"(t->gs));
  if (t->fs < 4) __asm__ volatile("wrfsbase %0" : : "r"(t->fs_base));
  if (t->gs < 4) __asm__ volatile("wrgsbase %0" : : "r"(t->gs_base));
}

/* Fills the frame that the handler returns through with case `t`, and memory with what it starts from. */
static void enter(const struct test *t, struct sigcontext *frame) {
  uint64_t *registers = (uint64_t *)frame;
  uint64_t *state = (uint64_t *)frame->fpstate;
  uint8_t *code_page = alias + CODE_PAGE * PAGE;
  uint8_t *data = alias + DATA_PAGE * PAGE;
  memcpy(before, setup.memory, sizeof before);
  for (uint32_t at = 0; at + 4 <= t->run_bytes;) {
    uint16_t run[2];
    memcpy(run, t->runs + at, sizeof run);
    memcpy(before + run[0], t->runs + at + 4, run[1]);
    at += 4 + run[1];
  }
  memcpy(data, before, sizeof before);
  memset(code_page, 0xcc, PAGE);
  uint64_t base = t->cs & 4 ? setup.descriptors[t->cs >> 3][1] : 0;
  uint64_t at = base + t->rip - window_page(CODE_PAGE);
  for (int i = 0; i < t->length; i++)
    if (at + i < PAGE) code_page[at + i] = t->code[i];
  if (t->flags & FLAG_SHADOW && at + t->length < PAGE) code_page[at + t->length] = 0x90;

  for (int i = 0; i < 16; i++) registers[SIGCONTEXT_INDEX[i]] = t->gpr[i];
  registers[SIGCONTEXT_RIP] = t->rip;
  registers[SIGCONTEXT_FLAGS] = t->rflags | (t->flags & FLAG_NO_STEP ? 0 : 0x100);
  frame->cs = t->cs;
  frame->ss = t->ss;
  memcpy(state, t->fx, FX_XMM);
  memcpy((uint8_t *)state + XSAVE_YMM, t->fx + FX_XMM, FX - FX_XMM);
  state[64] |= 7; /* XSTATE_BV: x87, SSE and AVX are here */
  put_selectors(t);
  rounds = 0;
  call3(__NR_setitimer, ITIMER_PROF, &PATIENCE, 0);
}

/* A case may set NT or ID, which sigreturn leaves as they are: they would stay for the next. */
static void clear_sticky_flags(void) {
  __asm__ volatile("pushfq\n andq $~0x204000, (%%rsp)\n popfq" : : : "memory", "cc");
}

static uint16_t selector_ds(void) { uint16_t s; __asm__ volatile("movw %%ds, %0" : "=r"(s)); return s; }
static uint16_t selector_es(void) { uint16_t s; __asm__ volatile("movw %%es, %0" : "=r"(s)); return s; }
static uint16_t selector_fs(void) { uint16_t s; __asm__ volatile("movw %%fs, %0" : "=r"(s)); return s; }
static uint16_t selector_gs(void) { uint16_t s; __asm__ volatile("movw %%gs, %0" : "=r"(s)); return s; }

/* Lists memory that differs from what the case started with, as runs within words of 8 bytes. */
static void list_changes(struct outcome *o) {
  const uint8_t *data = alias + DATA_PAGE * PAGE;
  const uint64_t *words = (const uint64_t *)data, *words_before = (const uint64_t *)before;
  uint32_t used = 0;
  for (uint32_t w = 0; w < sizeof before / 8; w++) {
    if (words[w] == words_before[w]) continue;
    uint32_t first = w * 8, last = w * 8 + 7;
    while (data[first] == before[first]) first++;
    while (data[last] == before[last]) last--;
    uint16_t run[2] = {(uint16_t)first, (uint16_t)(last - first + 1)};
    if (used + 4 + run[1] > RUN_BYTES) { o->vector = TOO_MUCH; break; }
    memcpy(o->runs + used, run, sizeof run);
    memcpy(o->runs + used + 4, data + first, run[1]);
    used += 4 + run[1];
  }
  o->run_bytes = used;
}

static void collect(const struct test *t, const struct sigcontext *frame) {
  struct outcome *o = &outcomes[current];
  const uint64_t *registers = (const uint64_t *)frame;
  o->vector = (uint32_t)frame->trapno;
  o->code = (uint32_t)frame->err;
  o->cr2 = frame->cr2;
  o->rip = registers[SIGCONTEXT_RIP];
  o->rflags = registers[SIGCONTEXT_FLAGS];
  if (t->flags & FLAG_NO_STEP) {
    if (o->vector == 3 && o->rip != t->rip + 1) o->vector = RETIRED, o->rip--;
  } else if (o->vector == 1) {
    o->vector = RETIRED;
    if (t->flags & FLAG_SHADOW) o->rip--;
  }
  for (int i = 0; i < 16; i++) o->gpr[i] = registers[SIGCONTEXT_INDEX[i]];
  o->cs = frame->cs;
  o->ss = frame->ss;
  o->ds = selector_ds();
  o->es = selector_es();
  o->fs = selector_fs();
  o->gs = selector_gs();
  __asm__ volatile("rdfsbase %0" : "=r"(o->fs_base));
  __asm__ volatile("rdgsbase %0" : "=r"(o->gs_base));
  const uint64_t *state = (const uint64_t *)frame->fpstate;
  memcpy(o->fx, state, FX_XMM);
  if (state[64] & 4) memcpy(o->fx + FX_XMM, (const uint8_t *)state + XSAVE_YMM, FX - FX_XMM);
  else memset(o->fx + FX_XMM, 0, FX - FX_XMM);
  o->rounds = rounds;
  list_changes(o);
}

static void handler(int number, siginfo_t *info, struct ucontext *context) {
  struct sigcontext *frame = &context->uc_mcontext;
  (void)number;
  (void)info;
  if (current >= 0) {
    const struct test *t = &tests[current];
    if (t->flags & FLAG_REPEAT && frame->trapno == 1 && frame->rip == t->rip && ++rounds < ROUNDS) return;
    collect(t, frame);
    *finished = (uint32_t)current + 1;
  }
  clear_sticky_flags();
  if ((uint32_t)++current >= count) leave(0);
  enter(&tests[current], frame);
}

__asm__("restorer: mov $15, %eax\n syscall\n");
void restorer(void);

struct kernel_sigaction {
  void (*handler)(int, siginfo_t *, struct ucontext *);
  unsigned long flags;
  void (*restorer)(void);
  uint64_t mask;
};

/* Runs tests[0..count): the first fault enters the handler, which goes from case to case and leaves after the last. */
static void run_cases(void) {
  static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
  struct kernel_sigaction action = {handler, SA_SIGINFO | SA_ONSTACK | SA_NODEFER | 0x04000000, restorer, 0};
  stack_t stack = {.ss_sp = alternate_stack, .ss_size = sizeof alternate_stack};
  call3(__NR_sigaltstack, &stack, 0, 0);
  for (unsigned i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++)
    call6(__NR_rt_sigaction, SIGNALS[i], (long)&action, 0, 8, 0, 0);
  /* A fork leaves the window's pages to be faulted in; error codes must not show that. */
  (void)*(volatile uint8_t *)window_page(CODE_PAGE);
  for (int page = DATA_PAGE; page <= READ_ONLY_PAGE; page++) (void)*(volatile uint8_t *)window_page(page);
  current = -1;
  __asm__ volatile("ud2");
}

void begin(void) {
  struct user_desc descriptor;
  if (!read_all(&setup, sizeof setup)) fail("harness: no setup");
  for (int i = 0; i < SEGMENTS; i++) {
    if (!setup.descriptors[i][0]) continue;
    memcpy(&descriptor, setup.descriptors[i], sizeof descriptor);
    if (call3(__NR_modify_ldt, 0x11, &descriptor, sizeof descriptor)) fail("harness: modify_ldt failed");
  }
  int file = (int)call3(__NR_memfd_create, "window", 0, 0);
  if (file < 0 || call3(__NR_ftruncate, file, PAGES * PAGE, 0)) fail("harness: memfd_create failed");
  alias = map(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
  static const int PROTECTION[PAGES] = {PROT_NONE, PROT_READ | PROT_EXEC, PROT_NONE, PROT_READ | PROT_WRITE,
                                        PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE};
  for (int i = 0; i < PAGES; i++)
    map((void *)window_page(i), PAGE, PROTECTION[i], MAP_SHARED | MAP_POPULATE | MAP_FIXED, file, i * PAGE);

  uint8_t *shared = map(0, sizeof(struct outcome) * BATCH + 2 * PAGE, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  struct outcome *results = (struct outcome *)(shared + PAGE);
  volatile uint32_t *done = (volatile uint32_t *)shared;
  uint32_t total;
  while (read_all(&total, sizeof total)) {
    if (total > BATCH || !read_all(tests, sizeof *tests * total)) fail("harness: bad batch");
    uint32_t first = 0;
    while (first < total) {
      *done = 0;
      long child = call3(__NR_fork, 0, 0, 0);
      if (child < 0) fail("harness: fork failed");
      if (!child) {
        count = total - first;
        for (uint32_t i = 0; first && i < count; i++) tests[i] = tests[first + i];
        outcomes = results + first;
        finished = done;
        run_cases();
        leave(4);
      }
      int status = 0;
      call6(__NR_wait4, child, (long)&status, 0, 0, 0, 0);
      first += *done;
      if (first < total) results[first++].vector = KILLED; /* this one killed the child; go on behind it */
    }
    write_all(results, sizeof *results * total);
  }
  leave(0);
}

__asm__(".globl _start\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call begin\n");
