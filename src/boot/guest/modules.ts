/**
 * Which of the kernel's modules go into the initramfs, and what depmod would have said about them: Debian's packages hold no
 * modules.dep (it is made when they are installed), so dependencies and device aliases are read from each module's own
 * .modinfo section.
 */
import { compressionOf, decompress } from '../decompress.ts';
import { parseElf, sectionData } from '../elf.ts';

export interface Module {
  /** As the kernel writes it: `virtio_blk`, with underscores. */
  name: string;
  /** Path below lib/modules/RELEASE: `kernel/drivers/block/virtio_blk.ko`. */
  path: string;
  data: Uint8Array;
  depends: string[];
  /** Patterns of the devices it drives, in the shell's own notation: `virtio:d00000002v*`. */
  aliases: string[];
}

/** Drivers of network cards. They are loaded last. */
export const NETWORK_MODULES: readonly string[] = ['virtio_net', 'xen_netfront', 'hv_netvsc', 'vmxnet3', 'e1000'];

/**
 * What a guest may need before it has a root disk: the front ends of every hypervisor's disks, networks and consoles. A name
 * that the kernel has built in, or does not know, is simply not there.
 */
export const WANTED_MODULES: readonly string[] = [
  // virtio: KVM and everybody who followed
  ...['virtio_pci', 'virtio_mmio', 'virtio_blk', 'virtio_console', 'virtio_scsi', 'virtio_rng', 'virtio_balloon'],
  ...['vmw_vsock_virtio_transport'],
  // Xen
  ...['xen_blkfront', 'xenfs', 'xen_evtchn', 'xen_gntdev', 'xen_gntalloc', 'xen_privcmd'],
  // Hyper-V
  ...['hv_vmbus', 'hv_storvsc', 'hv_utils', 'hv_balloon', 'hv_sock'],
  // VMware
  ...['vmw_pvscsi'],
  // Disks and file systems
  ...['sd_mod', 'nvme', 'loop', 'ext4', 'crc32c_generic', 'isofs', 'vfat'],
  ...['9p', '9pnet_virtio', '9pnet_xen', 'nls_cp437', 'nls_ascii', 'nls_iso8859_1'],
  ...NETWORK_MODULES,
  // The power button, and how a program hears of it
  ...['button', 'evdev'],
  // How the kernel tells the machine that it panicked
  ...['pvpanic_pci', 'pvpanic_mmio'],
];

const MODULE_FILE = /\/([^/]+)\.ko(\.xz|\.zst|\.gz)?$/;

/** `xen-blkfront` and `xen_blkfront` are one module: the file has the first name, the kernel knows the second. */
export function moduleName(path: string): string | undefined {
  return MODULE_FILE.exec(path)?.[1].replaceAll('-', '_');
}

/**
 * The wanted modules among `files` and all that they need, each after what it needs.
 * @param files paths below lib/modules/RELEASE with their contents, packed or not
 */
export async function selectModules(
  files: readonly { path: string; data: Uint8Array }[],
  wanted: readonly string[] = WANTED_MODULES,
): Promise<Module[]> {
  const byName = new Map(files.map(file => [moduleName(file.path), file]));
  const ordered = new Map<string, Module>();
  const visiting = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    const file = byName.get(name);
    if (!file || ordered.has(name) || visiting.has(name)) return;
    visiting.add(name);
    const module = await readModule(name, file);
    for (const dependency of module.depends) await visit(dependency);
    ordered.set(name, module);
  };
  for (const name of wanted) await visit(name);
  return [...ordered.values()];
}

async function readModule(name: string, file: { path: string; data: Uint8Array }): Promise<Module> {
  const data = compressionOf(file.data) ? await decompress(file.data) : file.data;
  const info = new TextDecoder('latin1').decode(sectionData(parseElf(data), '.modinfo')).split('\0');
  const values = (key: string) =>
    info.filter(line => line.startsWith(`${key}=`)).map(line => line.slice(key.length + 1));
  const depends = values('depends')
    .flatMap(list => list.split(','))
    .filter(Boolean);
  return {
    name,
    path: file.path.replace(/\.ko\..*$/, '.ko'),
    data,
    depends: depends.map(dependency => dependency.replaceAll('-', '_')),
    aliases: values('alias'),
  };
}

/** modules.dep for `modprobe`: a line per module, with all that it needs, the last to be loaded first (depmod(8)). */
export function modulesDep(modules: readonly Module[]): string {
  return modules
    .map(
      module =>
        `${module.path}:${allDependencies(module, modules)
          .reverse()
          .map(({ path }) => ` ${path}`)
          .join('')}\n`,
    )
    .join('');
}

/** modules.alias for `modprobe`, with which it finds a module by what the kernel asks for, such as fs-ext4. */
export function modulesAlias(modules: readonly Module[]): string {
  return modules.flatMap(({ name, aliases }) => aliases.map(alias => `alias ${alias} ${name}\n`)).join('');
}

/** Everything that `module` needs, directly or not, in loading order. */
export function allDependencies(module: Module, modules: readonly Module[]): Module[] {
  const needed = new Set<string>();
  const collect = ({ depends }: Module): void => {
    for (const name of depends) {
      const found = modules.find(candidate => candidate.name === name);
      if (!found || needed.has(name)) continue;
      needed.add(name);
      collect(found);
    }
  };
  collect(module);
  // `modules` is in loading order already, and so is every selection from it.
  return modules.filter(({ name }) => needed.has(name));
}
