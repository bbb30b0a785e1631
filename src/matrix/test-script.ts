/**
 * The built-in test: a shell script for the default guest's busybox that exercises what paravirtualization touches. It talks
 * to the host by lines that begin with the ASCII unit separator (test-watch.ts reads them), straight on the console, so that
 * the host sees each the moment it is printed.
 */

import { ECHO_SIZE, FILE_LINE, FILE_SIZE, NAME, NAME_ADDRESS } from './test-network.ts';
import { THREADS_PRELUDE, THREADS_TESTS } from './threads-script.ts';

export const SEPARATOR = '\x1f';

/** A disk of a size that nothing else has, so that the guest's script knows it under whatever name; in bytes. */
export const DISK_SIZE = 8191 * 512;
/** What stands at the beginning of that disk. */
export const DISK_LABEL = 'polyvisor matrix';

/** What the host checks of the tests that it measures. */
export const SLEEPS = { count: 10, seconds: 0.02 };
export const CONSOLE_LINE = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_';
export const CONSOLE_LINES = 256;
/** `head -c 262144 /dev/zero | sha256sum`. */
const SHA256_OF_ZEROS = '8a39d2abd3999ab73c34db2476849cddf303ce389b35826850f9a700589b4a90';

/** Lines of the kernel's log that complain, for grep -E as well as for us. */
export const COMPLAINT =
  'WARNING:|BUG:|Oops|unchecked MSR|Call Trace|soft lockup|hard LOCKUP|stalls? on CPUs|clocksource.*unstable';

const PRELUDE = `
say() { printf '\\037%s\\n' "$*" >/dev/console; }
fact() { [ -r $2 ] && read -r value <$2 && say fact $1 "$value"; }
complaints() {
  dmesg | grep -E '${COMPLAINT}' | head -n 20 |
    while read -r line; do say fact complaint "$line"; done
}
(
  fact clocksource /sys/devices/system/clocksource/clocksource0/current_clocksource
  fact clockevent /sys/devices/system/clockevents/clockevent0/current_device
) 2>/dev/null
`;

/** What a test of the user's own runs after: the facts, in a shell whose variables are gone when it starts. */
export function wrapScript(script: string): string {
  return `(${PRELUDE}) </dev/null >/dev/null 2>&1\n${script}`;
}

/**
 * Says what the guest's clock shows: seconds, and microseconds of one. Busybox's adjtimex asks for clock_adjtime, which came
 * with Linux 2.6.39: on earlier kernels the time of the boot and the hundredths of a second since then must do.
 */
export const STAMP = `stamp() {
  set -- $(adjtimex | sed -n 's/^ *time.tv_u*sec: *//p')
  [ $# = 2 ] || {
    read -r up _ </proc/uptime
    set -- $(($(sed -n 's/^btime //p' /proc/stat) + \${up%.*})) \${up#*.}0000
  }
  say stamp $1 $2
}`;

/** Each is a shell function that succeeds, fails, or returns 77 for what cannot be tested here; \`note\` says why. */
const TESTS: Readonly<Record<string, string>> = {
  clock: `
  stamp
  sleep 0.5
  stamp`,
  sleep: `
  for i in $(seq ${SLEEPS.count}); do sleep ${SLEEPS.seconds}; done`,
  // A host that is busy may take longer to start the sleepers than they are apart: then once more, ten times as far apart.
  timers: `
  order=$(for n in 25 05 20 10 15; do { sleep 0.$n; echo $n; } & done)
  [ "$(echo $order)" = "05 10 15 20 25" ] && return
  order=$(for n in 25 05 20 10 15; do { sleep \${n%?}.\${n#?}; echo $n; } & done)
  note=$(echo $order)
  [ "$note" = "05 10 15 20 25" ] && note=`,
  'fork-exec': `
  for i in $(seq 100); do /bin/busybox true || return 1; done`,
  'page-faults': `
  dd if=/dev/zero of=/dev/null bs=8M count=1 2>/dev/null && dd if=/dev/zero of=/dev/null bs=8M count=1 2>/dev/null`,
  mmap: `
  for i in $(seq 40); do dd if=/dev/zero of=/dev/null bs=512K count=1 2>/dev/null || return 1; done`,
  signals: `
  taken=0
  trap 'taken=$((taken + 1))' USR1
  for i in $(seq 300); do kill -USR1 $$; done
  trap - USR1
  note="$taken of 300 signals came"
  [ $taken = 300 ] && note=`,
  'context-switches': `
  mkfifo /tmp/there /tmp/back
  (while read -r word; do echo $word >&4; done </tmp/there 4>/tmp/back) &
  exec 3>/tmp/there 4</tmp/back
  answer=
  for i in $(seq 200); do
    echo $i >&3
    read -r answer <&4
    [ "$answer" = $i ] || break
  done
  exec 3>&- 4<&-
  wait
  rm /tmp/there /tmp/back
  note="the answer to $i was $answer"
  [ "$answer" = 200 ] && note=`,
  files: `
  head -c 262144 /dev/urandom >/tmp/part && cat /tmp/part /tmp/part /tmp/part /tmp/part >/tmp/first && cp /tmp/first /tmp/second && cmp /tmp/first /tmp/second
  status=$?
  rm -f /tmp/part /tmp/first /tmp/second
  return $status`,
  digest: `
  note=$(head -c 262144 /dev/zero | sha256sum)
  [ "$note" = "${SHA256_OF_ZEROS}  -" ] && note=`,
  console: `
  yes ${CONSOLE_LINE} | head -n ${CONSOLE_LINES} >/dev/console`,
  disk: `
  disk=
  for size in /sys/block/*/size; do
    [ -e $size ] && read -r sectors <$size && [ $sectors = ${DISK_SIZE / 512} ] && disk=\${size%/size}
  done
  note='no disk that this kernel has a driver for'
  [ $disk ] || return 77
  disk=/dev/\${disk##*/}
  note="$disk does not begin as it should"
  [ "$(head -c ${DISK_LABEL.length} $disk)" = '${DISK_LABEL}' ] || return 1
  note="what was written to $disk is not what is read"
  head -c 262144 /dev/urandom >/tmp/data
  dd if=/tmp/data of=$disk bs=64k conv=fsync 2>/dev/null || return 1
  echo 3 >/proc/sys/vm/drop_caches
  dd if=$disk bs=64k count=4 2>/dev/null | cmp -s - /tmp/data || return 1
  rm /tmp/data
  note=`,
  // The first process asks for an address, and goes on asking in the background where none has come at once.
  network: `
  card=
  for path in /sys/class/net/*/device; do
    [ -e $path ] && card=\${path%/device} && card=\${card##*/}
  done
  note='no network card that this kernel has a driver for'
  [ $card ] || return 77
  note="$card has no address"
  for try in $(seq 20); do
    ifconfig $card | grep -q 'inet addr:10' && break
    sleep 0.5
  done
  [ $try = 20 ] && return 1
  note='the gateway does not answer'
  ping -c 1 -W 10 10.0.2.2 >/dev/null || return 1
  note='the name ${NAME} is not resolved'
  nslookup ${NAME} | grep -q ${NAME_ADDRESS} || return 1
  note='what came back over TCP is not what was sent'
  head -c ${ECHO_SIZE} /dev/urandom >/tmp/sent
  nc 10.0.2.2 7 </tmp/sent | cmp -s - /tmp/sent || return 1
  note='what came in datagrams is not what was sent'
  tftp -g -l /tmp/file -r file 10.0.2.2 || return 1
  yes '${FILE_LINE}' | head -c ${FILE_SIZE} | cmp -s - /tmp/file || return 1
  rm /tmp/sent /tmp/file
  note=`,
};

const testsFor = (several: boolean) => (several ? { ...TESTS, ...THREADS_TESTS } : TESTS);

/** The items of the script, in order. @param several processors, which more can be asked of */
export const scriptedTests = (several: boolean): readonly string[] => Object.keys(testsFor(several));

export const builtInTest = (several: boolean): string => `exec 2>/dev/null
${PRELUDE}
${STAMP}
${several ? THREADS_PRELUDE : ''}
failures=0
run() {
  note=
  say begin $1
  test_$2
  case $? in
    0) say end $1 passed ;;
    77) say end $1 skipped "$note" ;;
    *) say end $1 failed "$note"; failures=$((failures + 1)) ;;
  esac
}
${Object.entries(testsFor(several))
  .map(([name, body]) => `test_${name.replaceAll('-', '_')}() {${body}\n}\n`)
  .join('')}
${scriptedTests(several)
  .map(name => `run ${name} ${name.replaceAll('-', '_')}`)
  .join('\n')}
complaints
exit $failures`;
