/**
 * The items of the built-in test that take several processors. What threads do together is a program's (guests/threads), which the
 * script unpacks; the rest is a shell's.
 */
import { THREADS_PROGRAM } from './threads-program.ts';

/** More threads than this find nothing more, and take longer. */
const MOST_THREADS = 8;

/** Unpacks the program, says whether the kernel runs it, and defines what the items have in common. */
export const THREADS_PRELUDE = `
cpus=$(nproc)
threads=$cpus
[ $threads -gt ${MOST_THREADS} ] && threads=${MOST_THREADS}
base64 -d >/tmp/threads <<'END'
${THREADS_PROGRAM}
END
chmod +x /tmp/threads
# It skips whatever one thread cannot do; a shell that takes it for a script does something else.
/tmp/threads s 1 1
[ $? = 77 ] && runs=1 || runs=
threads() {
  note='this kernel runs no 32-bit programs'
  [ $runs ] || return 77
  note=$3
  /tmp/threads $1 $2 $threads || return
  note=
}
busy() {
  rm -f /tmp/stop
  for i in $(seq $cpus); do
    while [ ! -e /tmp/stop ]; do /bin/busybox true; done &
  done
}
at_rest() {
  >/tmp/stop
  wait
  rm /tmp/stop
}`;

/** As those of test-script.ts. */
export const THREADS_TESTS: Readonly<Record<string, string>> = {
  futex: `
  threads f 200 'a wake-up did not reach the other processor'`,
  membarrier: `
  threads m 100 'membarrier failed'`,
  'tlb-flush': `
  threads t 100 'a processor saw a page that had been unmapped'`,
  'spin-lock': `
  threads s 1000 'processors that shared a lock lost an update'`,
  'clocks-agree': `
  threads c 200 'the clock of one processor was behind that of another'`,
  'text-poke': `
  file=/proc/sys/kernel/sched_schedstats
  note="no $file, which has the kernel change its own code"
  [ -w $file ] || return 77
  note="$file could not be changed"
  busy
  for i in 1 2 3 4 5; do echo 1 >$file && echo 0 >$file || break; done
  status=$?
  at_rest
  [ $status = 0 ] && note=`,
  'hot-unplug': `
  files=
  for file in /sys/devices/system/cpu/cpu[0-9]*/online; do [ -w $file ] && files="$files $file"; done
  note='this kernel takes no processor off'
  [ "$files" ] || return 77
  note=
  busy
  for file in $files; do
    echo 0 >$file || note="$note $file: stayed on;"
    [ $(cat $file) = 0 ] || note="$note $file: is still on;"
    echo 1 >$file || note="$note $file: stayed off;"
  done
  at_rest
  [ $(nproc) = $cpus ] || note="$note $(nproc) of $cpus are back"
  [ "$note" = '' ]`,
};
