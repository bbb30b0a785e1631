/**
 * What a guest does to make a root of an archive (root-archive.ts): a file system on its first disk, the archive's files in it, and
 * then, in that root, what is left of installing packages, their maintainer scripts.
 *
 * The guest's disks: the first becomes the root, the second is the root's archive, the third that of the tools. What is printed
 * tells how far it is.
 */
import { quoted } from '../guest/start-script.ts';

/** In the root; it removes itself. */
export const CONFIGURE_SCRIPT = '/polyvisor-configure';
/** Begins a line that says what comes next. */
export const STEP = 'polyvisor-step:';
/** What dpkg prints for each package (dpkg 1.21, src/main/configure.c). */
export const SETTING_UP = 'Setting up ';

/** For the default guest's shell. It ends with a status other than 0, and a line that says why, if anything fails. */
export const INSTALL_SCRIPT = `
set -e
# Disks by their order.
set -- /dev/vd[abc]
[ $# = 3 ] || set -- /dev/xvd[abc]
disk=$1 archive=$2 programs=$3
echo "${STEP} file system"
modprobe -q ext4 || true
mkdir /tools /new
tar -x -p -f $programs -C /tools
mkdir -p /tools/dev /tools/proc /tools/tmp
mount -o bind /dev /tools/dev
mount -o bind /proc /tools/proc
# Whoever uses the root puts a layer above it that is gone at the end: there is nothing that a journal or checksums would save.
chroot /tools /usr/sbin/mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -L debian $disk
umount /tools/proc
umount /tools/dev
rm -rf /tools
mount -t ext4 -o noatime $disk /new
echo "${STEP} unpack"
tar -x -p -f $archive -C /new
for name in proc sys dev run tmp; do
  [ -d /new/$name ] || mkdir /new/$name
done
mount -t proc proc /new/proc
mount -t sysfs sysfs /new/sys
mount -o bind /dev /new/dev
mount -o bind /dev/pts /new/dev/pts
mount -t tmpfs run /new/run
for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
  [ -e /dev/\${link%:*} ] || ln -s /proc/self/\${link#*:} /dev/\${link%:*}
done
chroot /new /bin/sh ${CONFIGURE_SCRIPT}
rm /new${CONFIGURE_SCRIPT}
for name in run dev/pts dev sys proc; do
  umount /new/$name
done
echo "${STEP} end"
umount /new
`;

/**
 * For the root's own shell: what dpkg would have run while it unpacked, its configuration of all packages, and the settings of a
 * machine that is looked at: root has no password, the network is asked for an address, nothing is fetched by itself.
 * @param names of all packages, @param preinsts of those that have something to run first, both in the order of unpacking
 */
export function configureScript(names: readonly string[], preinsts: readonly string[], architecture: string): string {
  const has = (name: string) => names.includes(name);
  // It makes the first users, whom the others' scripts name.
  const early = has('base-passwd') ? ['base-passwd'] : [];
  const first = [...preinsts.filter(name => early.includes(name)), ...preinsts.filter(name => !early.includes(name))];
  return `#!/bin/sh
set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
# fail TEXT
fail() {
  echo "$1" >&2
  exit 1
}
# A service that is started here would be in the wrong place (invoke-rc.d(8)).
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
echo "${STEP} prepare"
for name in ${first.join(' ')}; do
  for script in /var/lib/dpkg/info/$name.preinst /var/lib/dpkg/info/$name:${architecture}.preinst; do
    [ -e $script ] || continue
    DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE=$name DPKG_MAINTSCRIPT_ARCH=${architecture} \\
      DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= $script install \\
      || fail "the preinst script of $name ended with $?"
  done
done
echo "${STEP} configure"
${early.map(name => `dpkg --force-depends --force-unsafe-io --configure ${name}\n`).join('')}\
dpkg --force-unsafe-io --configure -a </dev/null || fail "dpkg --configure -a ended with $?"
rm /usr/sbin/policy-rc.d
echo "${STEP} settings"
${SETTINGS}
${has('systemd') ? SYSTEMD_SETTINGS : ''}
`;
}

const SETTINGS = `[ -e /etc/shadow ] && passwd -q -d root
echo debian >/etc/hostname
printf '127.0.0.1 localhost\\n127.0.1.1 debian\\n::1 localhost\\n' >/etc/hosts
[ -e /etc/fstab ] || : >/etc/fstab
rm -f /etc/resolv.conf
echo 'nameserver 10.0.2.3' >/etc/resolv.conf
if [ -d /etc/apt ] && [ ! -e /etc/apt/sources.list ]; then
  . /etc/os-release
  [ "$ID" = debian ] && echo "deb http://deb.debian.org/debian $VERSION_CODENAME main" >/etc/apt/sources.list
fi
rm -rf /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/*.log /var/log/apt/*
`;

const NETWORK_FILE = '/etc/systemd/network/80-polyvisor.network';
const SYSTEMD_SETTINGS = `# Empty: systemd makes one at each start, and asks nobody anything (machine-id(5)).
: >/etc/machine-id
mkdir -p /etc/systemd/network
printf '%s\\n' ${['[Match]', 'Type=ether', '[Network]', 'DHCP=yes'].map(quoted).join(' ')} >${NETWORK_FILE}
systemctl -q enable systemd-networkd.service
systemctl -q disable systemd-networkd-wait-online.service
# What looks after a machine that runs for months: it would take a good part of the start.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
  [ ! -e /lib/systemd/system/$unit ] || systemctl -q disable $unit
done
`;
