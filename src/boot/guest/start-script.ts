/**
 * What the host puts beside the default guest's /init for one run (init-script.ts reads it): which folders to mount, and how to
 * run a command, or an init, in a root of its own. The command's streams go through files of the channel (folders/channel.ts).
 */
import { CHANNEL_TAG } from '../../folders/channel.ts';
import { type CpioEntry, S_IFDIR, S_IFREG, writeCpio } from '../cpio.ts';

export interface MountedFolder {
  tag: string;
  /** Where /init mounts it. */
  where: string;
  /** True if nobody but this guest changes it while it runs: then all of it is cached. */
  isOurs: boolean;
  readOnly: boolean;
}

/** Where the root is mounted. */
export const SYSROOT = '/sysroot';
/** Where the channel is. */
const CHANNEL = '/channel';

export interface RootRun {
  /** The root is on the first disk, or on a partition of it. Otherwise it is the folder that is mounted at SYSROOT. */
  isDisk: boolean;
  readOnly: boolean;
  /** What to run: a command for the shell, words, or the root's own init. */
  run: { kind: 'shell'; command: string } | { kind: 'words'; words: readonly string[] } | { kind: 'init' };
  cwd: string;
  /** All of it but HOME, which is the user's unless it stands here. */
  environment: ReadonlyMap<string, string>;
  /** A name or number of the root's, and after a colon perhaps a group's. */
  user: string;
  /** The console is the command's terminal. */
  isTerminal: boolean;
}

/** The archive to put after the default guest's initramfs. */
export function startArchive(folders: readonly MountedFolder[], root: RootRun | undefined): Uint8Array {
  const channel = root && root.run.kind !== 'init';
  const mounted = [
    ...folders,
    ...(channel ? [{ tag: CHANNEL_TAG, where: CHANNEL, isOurs: false, readOnly: false }] : []),
  ];
  const lines = mounted.map(({ tag, where, isOurs, readOnly }) => {
    const cache = where === CHANNEL ? 'none' : isOurs ? 'loose' : 'mmap';
    return `${tag} ${where} cache=${cache},${readOnly ? 'ro' : 'rw'}\n`;
  });
  const entries: CpioEntry[] = [
    { name: 'polyvisor', mode: S_IFDIR | 0o755 },
    { name: 'polyvisor/folders', mode: S_IFREG | 0o644, data: lines.join('') },
  ];
  if (root) {
    entries.push({ name: 'polyvisor/start', mode: S_IFREG | 0o644, data: startScript(root) });
    if (channel) entries.push({ name: 'polyvisor/enter', mode: S_IFREG | 0o644, data: enterScript(root) });
  }
  return writeCpio(entries);
}

/** A word for the shell, whatever is in it. */
export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Mounts what a root needs around it. */
const AROUND = `
for name in proc sys dev run tmp; do
  [ -d ${SYSROOT}/$name ] || mkdir ${SYSROOT}/$name 2>/dev/null
done
`;

/**
 * A disk is the root if it, or a partition of it, has a file system with programs in it. Linux gives SCSI disks their names
 * in the order in which its probes of them happen to end, so that sda may be the second one: unit 0 is the first.
 */
const findOnDisk = (readOnly: boolean) => `
mkdir -p ${SYSROOT}
found=
for name in ext4 isofs vfat; do
  modprobe -q $name
done
for disk in vda xvda nvme0n1 /sys/class/scsi_disk/*:0:0:0/device/block/*; do
  disk=/dev/\${disk##*/}
  [ -b "$disk" ] || continue
  for part in $disk $disk[0-9]* \${disk}p[0-9]*; do
    [ -b $part ] || continue
    mount -o ${readOnly ? 'ro' : 'rw'} $part ${SYSROOT} 2>/dev/null || continue
    [ -e ${SYSROOT}/bin ] || [ -e ${SYSROOT}/usr/bin ] && found=$part && break 2
    umount ${SYSROOT}
  done
done
[ $found ] || fail "no file system with programs in it on the disk: this kernel can read $(echo $(grep -v nodev /proc/filesystems))"
`;

function startScript({ isDisk, readOnly, run, isTerminal }: RootRun): string {
  const head = `${isDisk ? findOnDisk(readOnly) : ''}${AROUND}`;
  if (run.kind === 'init')
    return `${head}
for init in /sbin/init /lib/systemd/systemd /usr/lib/systemd/systemd /etc/init /bin/init; do
  [ -x ${SYSROOT}$init ] || [ -L ${SYSROOT}$init ] || continue
  for name in proc sys dev; do
    mount --move /$name ${SYSROOT}/$name
  done
  exec switch_root -c /dev/console ${SYSROOT} $init
done
fail "the root has no init: /sbin/init is not there"
`;
  return `${head}
mount -t proc proc ${SYSROOT}/proc
mount -t sysfs sysfs ${SYSROOT}/sys
mount -o bind /dev ${SYSROOT}/dev
mount -o bind /dev/pts ${SYSROOT}/dev/pts
mount -o bind /dev/shm ${SYSROOT}/dev/shm
# What udev would make, and shells rely on.
for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
  [ -e /dev/\${link%:*} ] || ln -s /proc/self/\${link#*:} /dev/\${link%:*}
done
mount -t tmpfs -o mode=755 run ${SYSROOT}/run || fail "the root has no /run, and none can be made in it"
mkdir ${SYSROOT}/run/.polyvisor
cp /bin/busybox /polyvisor/enter ${SYSROOT}/run/.polyvisor/
read -r level rest </proc/sys/kernel/printk
echo 1 >/proc/sys/kernel/printk
enter="chroot ${SYSROOT} /run/.polyvisor/busybox sh /run/.polyvisor/enter"
${SIGNALS}
${isTerminal ? ON_TERMINAL : WITH_STREAMS}
echo $level >/proc/sys/kernel/printk
echo $status >${CHANNEL}/status
`;
}

/** What the host wants the command to hear of, it and its children hear of: they are a group, whose number it leaves behind. */
const SIGNALS = `(
  while read -r signal <${CHANNEL}/signals; do
    until read -r group <${SYSROOT}/run/.polyvisor/group; do
      sleep 0.1
    done
    kill -$signal -$group
  done
) 2>/dev/null &`;

const ON_TERMINAL = `[ "$LINES" ] && [ "$COLUMNS" ] && stty rows $LINES cols $COLUMNS
setsid cttyhack $enter
status=$?
stty sane`;

/** Pipes, for a program asks what its streams are. What the command leaves running holds them open: it ends with the command. */
const WITH_STREAMS = `for name in 0 1 2; do
  mkfifo -m 666 /polyvisor/$name
done
cat /polyvisor/1 >${CHANNEL}/stdout &
out=$!
cat /polyvisor/2 >${CHANNEL}/stderr &
err=$!
{ while cat ${CHANNEL}/stdin; do :; done >/polyvisor/0 2>/dev/null; } &
set -- /proc/[0-9]*
before=" $* "
(exec setsid $enter </polyvisor/0 >/polyvisor/1 2>/polyvisor/2)
status=$?
read -r line </proc/self/stat
set -- \${line##*) }
ours=$4
for process in /proc/[0-9]*; do
  case $before in *" $process "*) continue ;; esac
  read -r line 2>/dev/null <$process/stat || continue
  set -- \${line##*) }
  [ $4 = $ours ] || kill -9 \${process#/proc/} 2>/dev/null
done
wait $out
wait $err`;

/** Finds USER and GROUP in the root's own tables; numbers need not stand there. */
const FIND_USER = `
fail() {
  echo "polyvisor: $1" >&2
  exit 126
}
uid= gid= home=/
while IFS=: read -r name x u g x h x; do
  [ "$name" = "$user" ] || [ "$u" = "$user" ] || continue
  uid=$u gid=$g home=$h
  break
done 2>/dev/null </etc/passwd
if [ ! "$uid" ]; then
  case $user in
    root) uid=0 gid=0 home=/root ;;
    *[!0-9]*) fail "the root has no user $user in its /etc/passwd" ;;
    *) uid=$user gid=0 ;;
  esac
fi
if [ "$group" ]; then
  gid=
  while IFS=: read -r name x g x; do
    [ "$name" = "$group" ] || [ "$g" = "$group" ] || continue
    gid=$g
    break
  done 2>/dev/null </etc/group
  if [ ! "$gid" ]; then
    case $group in
      *[!0-9]*) fail "the root has no group $group in its /etc/group" ;;
      *) gid=$group ;;
    esac
  fi
fi`;

/** What runs in the root, by the busybox that was put there. */
function enterScript({ run, cwd, environment, user }: RootRun): string {
  const variables = [...environment].map(([name, value]) => quoted(`${name}=${value}`));
  const command =
    run.kind === 'shell'
      ? `$shell -c ${quoted(run.command)}`
      : run.kind === 'words'
        ? run.words.map(quoted).join(' ')
        : '';
  const [name, group = ''] = user.split(':');
  return `echo $$ >/run/.polyvisor/group
busybox=/run/.polyvisor/busybox
shell="$busybox sh"
[ -x /bin/sh ] && shell=/bin/sh
user=${quoted(name)} group=${quoted(group)}
${FIND_USER}
cd ${quoted(cwd)} || exit 127
change=
[ $uid$gid = 00 ] || change="$busybox start-stop-daemon -S -q -p /run/.polyvisor/none -c $uid:$gid -x $busybox -a env --"
exec $busybox env -i "HOME=$home" ${variables.join(' ')} $change ${command}
`;
}
