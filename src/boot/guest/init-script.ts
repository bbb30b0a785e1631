/**
 * /init of the default guest: the first process, a busybox shell script. It mounts what a Linux program expects, loads the
 * drivers of the hardware it finds, and either gives the console to a shell or, when the host put a command beside it, runs
 * that between two marks (exec-protocol.ts) and powers off.
 */
import { allDependencies, type Module, NETWORK_MODULES } from './modules.ts';
import { RESUME_FILES } from './resume-program.ts';

/** The buses whose devices are matched with modules: those that make other devices appear come first. */
const BUSES = ['acpi', 'pci', 'xen', 'vmbus', 'virtio', 'scsi'] as const;

/** @param modules in loading order */
export function initScript(release: string, modules: readonly Module[]): string {
  return `#!/bin/sh
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
echo polyvisor >/proc/sys/kernel/hostname
ip link set lo up 2>/dev/null

# load NAME FILE...: inserts the modules that are not there yet.
load() {
  while [ $# -gt 1 ]; do
    [ -e /sys/module/$1 ] || insmod /lib/modules/${release}/$2
    shift 2
  done
}

# driver ALIAS: loads what drives a device that so describes itself. The patterns are the modules' own.
driver() {
  case $1 in
${driverCases(modules)}  esac
}

# appear BUS: waits until no more devices appear there, a second at most.
appear() {
  before=
  for tries in 0 1 2 3 4 5 6 7 8 9; do
    set -- $1 /sys/bus/$1/devices/*
    [ "$before" = "$*" ] && break
    before=$*
    sleep 0.1
  done
}

# fail TEXT: says what is wrong, and ends.
fail() {
  echo "polyvisor: $1"
  [ -e /channel/stderr ] && echo "polyvisor: $1" >/channel/stderr
  poweroff -f
}

# folder TAG WHERE OPTIONS: mounts a folder of the host's.
folder() {
  mkdir -p $2
  if [ -e /sys/bus/xen/devices/9pfs-0 ]; then
    transport=xen,msize=131072
  else
    transport=virtio,msize=262144
  fi
  mount -t 9p -o trans=$transport,version=9p2000.L,$3 $1 $2 2>/dev/null && return
  fail "cannot mount the folder $1: does this kernel have 9P (9p, 9pnet_virtio, 9pnet_xen)?"
}

# each FUNCTION: calls it with how every device describes itself.
each() {
  for bus in ${BUSES.join(' ')}; do
    # A driver of a VMBus hears of its devices one by one.
    [ $bus = vmbus ] && [ -d /sys/bus/vmbus ] && [ -z "$before" ] && appear vmbus
    for file in /sys/bus/$bus/devices/*/modalias; do
      [ -e $file ] && read -r alias <$file && $1 "$alias"
    done
  done
}

# Xen's front ends shake hands with their back ends for a moment.
settle() {
  for tries in 0 1 2 3 4 5 6 7 8 9; do
    waiting=
    for file in /sys/bus/xen/devices/$1-*/state; do
      [ -e $file ] && read -r state <$file && case $state in Initial*|InitWait) waiting=1 ;; esac
    done
    [ $waiting ] || break
    sleep 0.1
  done
}

# The network's drivers can wait: a shell needs none of them to start.
early() {
  case $1 in
    ${networkPatterns(modules)}) cards=1 ;;
    *) driver "$1" ;;
  esac
}

# Loads the drivers of network cards; each asks for an address. One that gets no answer goes on asking in the background.
network() {
  each driver
  settle vif
  for path in /sys/class/net/*/device; do
    [ -e $path ] || continue
    path=\${path%/device}
    ip link set \${path##*/} up
    udhcpc -i \${path##*/} -s /etc/udhcpc.script -S -q -b -t 1 -T 1 >/dev/null 2>&1
  done
}

# Memory that was used and is free again becomes zeros, of which a snapshot takes none: at most 64 MB are looked through.
sweep() {
  while read -r name free rest && [ $name != MemFree: ]; do :; done </proc/meminfo
  blocks=$((free / 64 - 128))
  [ $blocks -gt 1024 ] && blocks=1024
  mkdir /run/sweep
  mount -t tmpfs -o size=100% sweep /run/sweep
  dd if=/dev/zero of=/run/sweep/zeros bs=64k count=$blocks 2>/dev/null
  umount /run/sweep
  rmdir /run/sweep
}

each early
${xenFileSystem(modules)}${powerButton(modules)}
# What the kernel runs when its hypervisor asks it to switch itself off.
echo /etc/shutdown >/proc/sys/kernel/poweroff_cmd
settle vbd
settle 9pfs

if [ -e /polyvisor/folders ]; then
  while read -r tag where options; do
    folder $tag $where $options
  done </polyvisor/folders
fi

if [ -e /polyvisor/start ]; then
  [ $cards ] && network
  . /polyvisor/start
elif [ -e /polyvisor/command ] || [ -e /polyvisor/resume ]; then
  # A command may be one that uses the network at once.
  [ $cards ] && network
  # From here to the end mark the console carries the command's output alone, byte for byte: no kernel messages but a
  # panic's, no line ends rewritten, nothing echoed.
  # A guest that is kept in the cache has no command yet: the program that waits for it says that it is ready.
  [ -e /polyvisor/resume ] && sweep
  mark=
  [ -e /polyvisor/mark ] && read -r mark </polyvisor/mark
  read -r level rest </proc/sys/kernel/printk
  echo 1 >/proc/sys/kernel/printk
  stty raw -echo
  [ "$mark" ] && printf '\\036polyvisor %s start\\n' $mark
  {
    exec 2>/dev/null # What this shell says about how the command died is no output of the command's.
    read -r line </proc/self/stat
    set -- \${line##*) }
    ours=$4
    set -- /proc/[0-9]*
    before=" $* "
    # Through a pipe, for a program asks whether its output is a terminal.
    if [ "$mark" ]; then
      (exec setsid sh /polyvisor/command </dev/null 2>&1)
      status=$?
    else
      (exec setsid /polyvisor/resume </dev/null 2>&1 ${RESUME_FILES})
      status=$?
      read -r mark </polyvisor/mark
    fi
    # What the command left running would hold the pipe open: it lives in other sessions than ours.
    for process in /proc/[0-9]*; do
      case $before in *" $process "*) continue ;; esac
      read -r line <$process/stat || continue
      set -- \${line##*) }
      [ $4 = $ours ] || kill -9 \${process#/proc/}
    done
    printf '\\036polyvisor %s %d\\n' $mark $status
  } | cat
  stty sane # Waits until the last byte is out.
  echo $level >/proc/sys/kernel/printk
else
  # A terminal's size can be given on the kernel's command line, where unknown words become the environment.
  [ "$LINES" ] && [ "$COLUMNS" ] && stty rows $LINES cols $COLUMNS
  # A host that reads from a pipe asks for a console that echoes nothing; the shell then does no line editing either.
  [ "$PLAIN" ] && stty -echo
  unset LINES COLUMNS PLAIN
  cd /root
  # The kernel's remarks about it would come between the lines of whoever is typing.
  [ $cards ] && {
    read -r level rest </proc/sys/kernel/printk
    echo 5 >/proc/sys/kernel/printk
    network
    sleep 2
    echo $level >/proc/sys/kernel/printk
  } &
  setsid cttyhack sh -l
  stty sane
fi
[ -e /polyvisor/folders ] && sync
umount -a -r 2>/dev/null
poweroff -f
`;
}

/** What udhcpc runs when it has an address, or has lost it. */
export const DHCP_SCRIPT = `#!/bin/sh
case $1 in
  bound|renew)
    ifconfig $interface $ip netmask $subnet
    [ "$router" ] && ip route replace default via \${router%% *} dev $interface
    for server in $dns; do echo nameserver $server; done >/etc/resolv.conf ;;
esac
`;

/** /etc/shutdown: the host wants the guest to switch itself off. Whatever runs may end in its own way first. */
export const SHUTDOWN = `#!/bin/sh
kill -TERM -1
sleep 1
kill -KILL -1
umount -a -r 2>/dev/null
poweroff -f
`;

/** /bin/resize: asks the terminal where its last corner is (ECMA-48, CUP and DSR), and tells the shell's. */
export const RESIZE = `#!/bin/sh
before=$(stty -g)
stty -icanon -echo min 0 time 10
printf '\\0337\\033[9999;9999H\\033[6n\\0338'
answer=
for tries in 1 2 3 4 5 6 7 8 9; do
  piece=$(dd bs=32 count=1 2>/dev/null)
  answer=$answer$piece
  case $answer in *R) break ;; esac
  [ "$piece" ] || break
done
stty "$before"
case $answer in
  *[[]*\\;*R) answer=\${answer##*[} answer=\${answer%R} ;;
  *) echo 'resize: this terminal does not say how large it is' >&2; exit 1 ;;
esac
stty rows \${answer%;*} cols \${answer#*;}
`;

/** For the login shell. A plain \`poweroff\` asks an init that answers signals; ours is a script. */
export const PROFILE = `export PS1='\\w \\$ '
alias poweroff='poweroff -f' reboot='reboot -f' halt='poweroff -f'
`;

/** One arm of the \`case\` a module that drives devices on our buses. */
function driverCases(modules: readonly Module[]): string {
  let text = '';
  for (const module of modules) {
    const patterns = module.aliases.filter(isDevicePattern);
    if (patterns.length === 0) continue;
    text += `  ${patterns.join('|')})\n    load ${loadArguments(module, modules)} ;;\n`;
  }
  return text;
}

/** What describes a network card: what the drivers of such cards take, and a PCI device of their class. */
function networkPatterns(modules: readonly Module[]): string {
  const cards = modules.filter(({ name }) => NETWORK_MODULES.includes(name));
  return ['pci:*bc02sc*', ...cards.flatMap(({ aliases }) => aliases.filter(isDevicePattern))].join('|');
}

/** True for the description of a device on one of our buses that a shell's \`case\` can take as it is. */
function isDevicePattern(alias: string): boolean {
  return BUSES.some(bus => alias.startsWith(bus)) && /^[\w:*?.,=+[\]-]+$/.test(alias);
}

function loadArguments(module: Module, modules: readonly Module[]): string {
  return [...allDependencies(module, modules), module].map(({ name, path }) => `${name} ${path}`).join(' ');
}

/** acpid, which hears of the power button, where the kernel has its drivers as modules. */
function powerButton(modules: readonly Module[]): string {
  const evdev = modules.find(({ name }) => name === 'evdev');
  if (!evdev) return '';
  return `if [ -e /sys/module/button ]; then
  load ${loadArguments(evdev, modules)}
  acpid -d >/dev/null 2>&1 &
fi
`;
}

/** /proc/xen, through which programs reach the xenstore, where the kernel has it as a module. */
function xenFileSystem(modules: readonly Module[]): string {
  const xenfs = modules.find(({ name }) => name === 'xenfs');
  if (!xenfs) return '';
  return `if [ -e /sys/hypervisor/type ]; then
  load ${loadArguments(xenfs, modules)}
  mount -t xenfs xenfs /proc/xen
fi
`;
}
