/**
 * The default guest's first file system: busybox under all its names, the kernel's modules that a guest may need, and /init.
 * It is left unpacked: for a guest that is interpreted, unpacking costs more than the bytes.
 */
import { type CpioEntry, S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG, writeCpio } from '../cpio.ts';
import { busyboxApplets } from './applets.ts';
import { DHCP_SCRIPT, initScript, PROFILE, RESIZE, SHUTDOWN } from './init-script.ts';
import { type Module, modulesAlias, modulesDep } from './modules.ts';

export interface InitramfsParts {
  /** The kernel's release, as `uname -r` prints it. */
  release: string;
  busybox: Uint8Array;
  /** In loading order. */
  modules: readonly Module[];
}

/** The archive; the same parts give the same bytes. */
export function buildInitramfs({ release, busybox, modules }: InitramfsParts): Uint8Array {
  const tree = new Tree();
  for (const path of ['bin', 'dev', 'etc', 'mnt', 'proc', 'root', 'run', 'sys', 'tmp', 'usr', 'var'])
    tree.directory(path);
  // One folder of programs under all the names that scripts use for it.
  for (const [path, target] of Object.entries({ sbin: 'bin', 'usr/bin': '../bin', 'usr/sbin': '../bin' }))
    tree.link(path, target);
  tree.device('dev/console', 5, 1); // The kernel opens it for /init, before anything is mounted.
  tree.device('dev/null', 1, 3);

  tree.file('bin/busybox', busybox, 0o755);
  const applets = busyboxApplets(busybox);
  for (const applet of applets) if (applet !== 'busybox') tree.link(`bin/${applet}`, 'busybox');

  tree.file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n');
  tree.file('etc/group', 'root:x:0:\ntty:x:5:\n');
  tree.file('etc/hosts', '127.0.0.1 localhost polyvisor\n');
  tree.file('etc/profile', PROFILE);
  tree.file('etc/udhcpc.script', DHCP_SCRIPT, 0o755);
  tree.file('etc/shutdown', SHUTDOWN, 0o755);
  if (!applets.includes('resize')) tree.file('bin/resize', RESIZE, 0o755);
  // What acpid runs for the power button.
  tree.link('etc/acpi/PWRF/00000080', '/etc/shutdown');

  addModules(tree, release, modules);
  return writeCpio(tree.entries);
}

/** What makes the default guest another kernel's, put after its archive: that kernel's modules, and an /init that loads them. */
export function modulesArchive(release: string, modules: readonly Module[]): Uint8Array {
  const tree = new Tree();
  addModules(tree, release, modules);
  return writeCpio(tree.entries);
}

function addModules(tree: Tree, release: string, modules: readonly Module[]): void {
  const folder = `lib/modules/${release}`;
  for (const module of modules) tree.file(`${folder}/${module.path}`, module.data);
  tree.file(`${folder}/modules.dep`, modulesDep(modules));
  tree.file(`${folder}/modules.alias`, modulesAlias(modules));
  tree.file('init', initScript(release, modules), 0o755);
}

/** Entries in an order in which every folder comes before what is in it. */
class Tree {
  readonly entries: CpioEntry[] = [];
  readonly #directories = new Set<string>();

  directory(path: string): void {
    if (path === '' || this.#directories.has(path)) return;
    this.directory(path.slice(0, Math.max(0, path.lastIndexOf('/'))));
    this.#directories.add(path);
    this.#add(path, S_IFDIR | 0o755);
  }

  file(path: string, data: Uint8Array | string, permissions = 0o644): void {
    this.#add(path, S_IFREG | permissions, { data });
  }

  link(path: string, target: string): void {
    this.#add(path, S_IFLNK | 0o777, { data: target });
  }

  device(path: string, major: number, minor: number): void {
    this.#add(path, S_IFCHR | 0o600, { device: [major, minor] });
  }

  #add(name: string, mode: number, more: Pick<CpioEntry, 'data' | 'device'> = {}): void {
    this.directory(name.slice(0, Math.max(0, name.lastIndexOf('/'))));
    this.entries.push({ name, mode, ...more });
  }
}
