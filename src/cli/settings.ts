/** What `polyvisor run` was asked to do: the options as typed, and as checked values. */
import { BOOT_ENTRIES, type BootEntry } from '../boot/load.ts';
import { MAX_DISKS } from '../devices/pc-layout.ts';
import type { GuestKernel, GuestOptions } from '../host/node/guest.ts';
import type { HypervisorModule } from '../index.ts';
import type { ScheduleOption } from '../machine/schedule.ts';
import { CPU_MODELS, type CpuModel } from '../x86/cpu-models.ts';
import type { Topology } from '../x86/topology.ts';
import { Failure } from './failure.ts';
import {
  type FolderOption,
  parseEnvironment,
  parseRoot,
  parseShares,
  parseUser,
  type RootSettings,
} from './folder-options.ts';
import { type NetOption, parseNet } from './net-options.ts';
import {
  type DebugOption,
  type DiskOption,
  isFileName,
  type ModuleOption,
  oneOf,
  parseCpus,
  parseDebug,
  parseDisk,
  parseGuestKernel,
  parseHypervisor,
  parseMemory,
  parseModule,
  parseSave,
  parseSchedule,
  parseSeconds,
  parseSerial,
  parseVsock,
  type SaveOption,
  type SerialOption,
  type VsockOption,
} from './values.ts';

/** As commander hands them over: texts. */
export interface RunOptions {
  hypervisor: string;
  kernel?: string;
  /** The kernel gets the default guest's initial RAM disk, though it is a file. */
  guestDisk?: boolean;
  initrd?: string;
  module?: string[];
  modules?: string;
  arch: string;
  flavour?: string;
  entry?: string;
  append?: string;
  commandLine?: string;
  memory: string;
  cpu: string;
  cpus: string;
  schedule: string;
  disk?: string[];
  share?: string[];
  root?: string;
  init?: boolean;
  cwd?: string;
  env?: string[];
  user?: string;
  net?: string;
  forward?: string[];
  netDump?: string;
  vsock?: string;
  serial?: string;
  clock: string;
  engine?: string;
  gdb?: string;
  exec?: string;
  timeout?: string;
  save?: string;
  restore?: string;
  record?: string;
  replay?: string;
  cold?: boolean;
  dump?: string;
  trace?: string;
  symbols?: string;
  json?: string;
  verbose?: boolean;
}

export const ENGINES = ['jit', 'interpreter', 'both'] as const;
export const CLOCKS = ['host', 'virtual'] as const;

export interface Settings {
  /** One of the list, or the name of a file that has one. */
  hypervisor: HypervisorModule | string;
  kernel: string | undefined;
  /** The default guest's initial RAM disk goes with it. */
  guestDisk: boolean;
  initrd: string | undefined;
  /** Files for a multiboot kernel, with their words. */
  modules: ModuleOption[];
  /** Where the kernel's own modules are. */
  modulesFolder: string | undefined;
  /** Which of Debian's kernels is the default guest's. */
  guest: Pick<GuestOptions, keyof GuestKernel>;
  entry: BootEntry | undefined;
  append: string | undefined;
  /** The whole command line. */
  commandLine: string | undefined;
  /** Bytes. */
  memory: number;
  cpu: CpuModel;
  cpus: Topology;
  schedule: ScheduleOption;
  disks: DiskOption[];
  shares: FolderOption[];
  /** The root to run in, with how. */
  rooted: RootSettings | undefined;
  net: NetOption;
  vsock: VsockOption | undefined;
  serial: SerialOption | undefined;
  clock: (typeof CLOCKS)[number];
  engine: (typeof ENGINES)[number] | undefined;
  gdb: DebugOption | undefined;
  exec: string | undefined;
  /** Seconds. */
  timeout: number | undefined;
  save: SaveOption | undefined;
  /** A snapshot to go on from. */
  restore: string | undefined;
  /** Where what enters the machine is recorded. */
  record: string | undefined;
  /** A recording to repeat. */
  replay: string | undefined;
  /** Where an ELF core is written when the guest ends badly. */
  dump: string | undefined;
  /** The guest is booted, though one that has booted may be kept. */
  cold: boolean;
  trace: string | undefined;
  /** A System.map. */
  symbols: string | undefined;
  json: string | undefined;
  verbose: boolean;
}

/** @throws Failure for what cannot be meant. */
export function parseSettings(options: RunOptions): Settings {
  if (options.exec !== undefined && options.exec.trim() === '') throw new Failure('--exec: the command is empty');
  for (const name of ['dump', 'json', 'trace', 'symbols', 'kernel', 'initrd'] as const)
    if (options[name] === '') throw new Failure(`--${name}: the name of the file is empty`);
  const disks = (options.disk ?? []).map(parseDisk);
  if (disks.length > MAX_DISKS)
    throw new Failure(`--disk: ${disks.length} disks, and a machine has at most ${MAX_DISKS}`);
  const clock = oneOf('--clock', CLOCKS)(options.clock);
  const engine = options.engine === undefined ? undefined : oneOf('--engine', ENGINES)(options.engine);
  const shares = parseShares(options.share ?? []);
  const rooted = parseRooted(options);
  // Two machines cannot share a network, and a bus that is full takes none: the default one is for those who do not care.
  const noRoom = engine === 'both' || disks.length + shares.length >= MAX_DISKS;
  const net = parseNet(options.net ?? (noRoom ? 'none' : undefined), options.forward ?? [], options.netDump);
  const vsock = options.vsock === undefined ? undefined : parseVsock(options.vsock);
  if (engine === 'both' && vsock)
    throw new Failure('--engine both: runs everything twice, and sends nothing twice: no --vsock');
  if (engine === 'both' && options.serial !== undefined)
    throw new Failure('--engine both: runs everything twice, and sends nothing twice: no --serial');
  if (engine === 'both') checkBoth(clock, disks, shares.length > 0 || rooted !== undefined, net);
  if (options.save !== undefined) checkSave(engine, shares.length > 0 || rooted !== undefined);
  if (options.record !== undefined) checkRecord(options, disks, shares.length > 0 || rooted !== undefined);
  if (engine === 'both' && options.gdb !== undefined)
    throw new Failure('--engine both: runs everything twice, and a debugger looks at one: no --gdb');
  if (options.append !== undefined && options.commandLine !== undefined)
    throw new Failure('--append adds to the command line and --command-line replaces it: give one of them');
  if (options.modules !== undefined && (options.kernel === undefined || options.initrd !== undefined))
    throw new Failure("--modules: is for a --kernel with the default guest's initial RAM disk");
  return {
    hypervisor: isFileName(options.hypervisor) ? options.hypervisor : parseHypervisor(options.hypervisor),
    kernel: options.kernel,
    guestDisk: options.guestDisk ?? false,
    initrd: options.initrd,
    modules: (options.module ?? []).map(parseModule),
    modulesFolder: options.modules,
    guest: parseGuestKernel(options.arch, options.flavour),
    entry: options.entry === undefined ? undefined : oneOf('--entry', BOOT_ENTRIES)(options.entry),
    append: options.append,
    commandLine: options.commandLine,
    memory: parseMemory(options.memory),
    cpu: oneOf('--cpu', CPU_MODELS)(options.cpu),
    cpus: parseCpus(options.cpus),
    schedule: parseSchedule(options.schedule),
    disks,
    shares,
    rooted,
    net,
    vsock,
    serial: options.serial === undefined ? undefined : parseSerial(options.serial),
    clock,
    engine,
    gdb: options.gdb === undefined ? undefined : parseDebug(options.gdb),
    exec: options.exec,
    timeout: options.timeout === undefined ? undefined : parseSeconds(options.timeout),
    save: options.save === undefined ? undefined : parseSave(options.save),
    restore: options.restore,
    record: options.record,
    replay: options.replay,
    dump: options.dump,
    cold: options.cold ?? false,
    trace: options.trace,
    symbols: options.symbols,
    json: options.json,
    verbose: options.verbose ?? false,
  };
}

/** --root, with the options that are for it alone. */
export function parseRooted({
  root,
  init = false,
  cwd,
  env,
  user,
  exec,
  initrd,
}: Partial<Record<'root' | 'cwd' | 'user' | 'exec' | 'initrd', string | undefined>> & {
  init?: boolean;
  env?: string[];
}): RootSettings | undefined {
  if (root === undefined) {
    const given = Object.entries({ '--init': init || undefined, '--cwd': cwd, '--env': env, '--user': user });
    const alone = given.find(([, value]) => value !== undefined);
    if (alone) throw new Failure(`${alone[0]}: is for a root of its own: name one with --root`);
    return undefined;
  }
  if (init && exec !== undefined)
    throw new Failure("--init starts the root's own init, and --exec a command: give one of them");
  if (initrd !== undefined)
    throw new Failure("--root: the default guest's initial RAM disk finds the root: give no --initrd");
  if (cwd !== undefined && !cwd.startsWith('/'))
    throw new Failure(`--cwd ${cwd}: a path in the root, which begins with /`);
  return {
    root: parseRoot(root),
    init,
    cwd,
    environment: parseEnvironment(env ?? []),
    user: user === undefined ? undefined : parseUser(user),
  };
}

/** @throws Failure for machines whose outside does not come by one door, or cannot come again */
function checkRecord(
  { engine, gdb, save, vsock }: RunOptions,
  disks: readonly DiskOption[],
  hasFolders: boolean,
): void {
  const writable = disks.find(({ readOnly }) => !readOnly);
  if (writable)
    throw new Failure(`--record: a disk that has been written to is not there again: --disk ${writable.path},ro`);
  if (vsock !== undefined)
    throw new Failure('--record: what comes from programs of the host by --vsock is not recorded: leave it out');
  if (hasFolders)
    throw new Failure('--record: what is in folders of the host is not recorded: leave out --root and --share');
  if (engine === 'both' || gdb !== undefined || save !== undefined)
    throw new Failure(
      '--record: one machine that runs from its start to its end: no --engine both, no --gdb, no --save',
    );
}

/** @throws Failure for machines that are no data: two of them, and those whose files change under them */
function checkSave(engine: Settings['engine'], hasFolders: boolean): void {
  if (engine === 'both')
    throw new Failure('--save: there are two machines with --engine both: save one of another engine');
  if (hasFolders)
    throw new Failure('--save: a guest with folders of the host cannot be restored yet: leave out --root and --share');
}

/** Two machines are compared step by step: both must see the same at the same time, and neither may change what the other sees. */
function checkBoth(clock: Settings['clock'], disks: readonly DiskOption[], folders: boolean, net: NetOption): void {
  if (clock !== 'virtual')
    throw new Failure('--engine both: compares two runs that repeat exactly: add --clock virtual');
  if (folders)
    throw new Failure('--engine both: runs everything twice, and gives folders to nobody twice: no --share, no --root');
  if (net.kind !== 'none')
    throw new Failure('--engine both: runs everything twice, and sends nothing twice: --net none');
  const writable = disks.find(({ readOnly }) => !readOnly);
  if (writable)
    throw new Failure(`--engine both: runs everything twice, and writes nothing twice: --disk ${writable.path},ro`);
}
