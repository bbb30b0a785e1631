/** What there is in memory and in the first processor's registers when the guest starts. */
import { buildAcpiTables } from '../boot/acpi.ts';
import { createBios } from '../boot/bios/bios.ts';
import { drivesOf } from '../boot/bios/drives.ts';
import { TRAP_PORT } from '../boot/bios/image.ts';
import { startTimer } from '../boot/bios/interrupts.ts';
import { setTicks } from '../boot/bios/time-services.ts';
import { pcMemoryMap } from '../boot/e820.ts';
import type { EntryState } from '../boot/entry.ts';
import { DISK_IMAGE, type KernelImage } from '../boot/image.ts';
import { ImageError } from '../boot/image-error.ts';
import { type BootEntry, isRealMode, loadKernel, shortestWay } from '../boot/load.ts';
import { buildMpTable } from '../boot/mp-table.ts';
import type { Board } from '../devices/board.ts';
import type { GuestMemory } from '../memory/memory.ts';
import { ownMember } from '../own-member.ts';
import type { BootRequest, HypervisorContext, Paravirt } from '../paravirt/operations.ts';
import type { StateTree } from '../state/state.ts';
import type { MachineOptions } from './options.ts';

/** Where firmware tables go: below 1 MiB, where guests look for the root pointer, and for the other tables' (in the BIOS's ROM). */
const ACPI_ADDRESS = 0xe0000;
const MP_ADDRESS = 0xf0000;

/**
 * Places the kernel and what it is started with. A hypervisor with its own `boot.load` does all of it; otherwise the guest
 * finds a PC with ACPI tables and a BIOS.
 * @throws ImageError for an image that cannot boot here
 */
export function placeGuest(
  image: KernelImage,
  options: MachineOptions,
  table: Paravirt,
  context: HypervisorContext,
  board: Board | undefined,
): EntryState {
  const { memory, log } = context;
  const { initrd, modules, append, entry } = options;
  const { load, firmwareRam } = table.boot;
  const terminal = image.mayBeLinux ? `console=${table.boot.console}` : '';
  const commandLine = options.commandLine ?? [terminal, append].filter(Boolean).join(' ');
  const request = { image, initrd, modules, commandLine, memory, log };
  const natively = (without: readonly BootEntry[] = []) => {
    if (entry && without.includes(entry))
      throw new ImageError(`${table.name} enters no kernel by its ${entry} entry; leave out --entry, or name another`);
    const found = { ...request, memory: firmwareRam?.(memory) ?? memory };
    return placeNatively(table, context, board, found, entry ?? shortestWay(image, without));
  };
  if (typeof load !== 'function') return natively();
  if (!firmwareRam) {
    if (image === DISK_IMAGE)
      throw new ImageError(`${table.name} has no BIOS, so it boots no disk; name a kernel with --kernel or --flavour`);
    if (entry) throw new ImageError(`${table.name} has an entry of its own; leave out which of the kernel's to take`);
    if (modules?.length && !table.boot.takesModules)
      throw new ImageError(`a kernel under ${table.name} takes no modules; leave out --module`);
  }
  return load({ ...request, natively }, context);
}

/** On a PC: firmware tables, a BIOS, and the kernel by the entry that was asked for. */
function placeNatively(
  table: Paravirt,
  context: HypervisorContext,
  board: Board | undefined,
  { image, initrd, modules, commandLine, memory }: Omit<BootRequest, 'natively'>,
  way: BootEntry,
): EntryState {
  if (!board) throw new Error(`${table.name} has no board, so boot.load must place the kernel`);
  const { clock, cpus, ports } = context;
  const tables = buildAcpiTables(board.description, ACPI_ADDRESS, table.boot.devices);
  memory.copyIn(tables.address, tables.bytes);
  const { memoryMap, drives } = plugBios(board, context, memory);
  const mpTable = buildMpTable(board.description, MP_ADDRESS);
  if (mpTable) memory.copyIn(MP_ADDRESS, mpTable);
  const state = loadKernel(
    memory,
    image,
    { initrd, modules, commandLine, rsdp: tables.address, memoryMap },
    way,
    drives,
    board.description.serialPorts.map(({ port }) => port),
  );
  if (isRealMode(way)) {
    startTimer(ports, cpus[0]);
    setTicks(memory, clock);
  }
  return state;
}

/** What the BIOS's traps call. @param memory as much as it finds @returns what it knows of the machine */
function plugBios(
  board: Board,
  { log, clock, console, ports, backEnds, kill, request }: HypervisorContext,
  memory: GuestMemory,
) {
  const memoryMap = pcMemoryMap(memory.size);
  const drives = drivesOf(backEnds.disks);
  const states = board.slot;
  const bios = createBios({ memory, memoryMap, drives, clock, console, ports, states, log, kill, request });
  board.slot.ports('bios', TRAP_PORT, 1, bios);
  return { memoryMap, drives };
}

/**
 * Makes what `placeGuest` makes besides the guest in memory: the states of a machine that is about to be restored.
 * @param saved what will be restored, from anywhere
 */
export function placeNothing(
  table: Paravirt,
  context: HypervisorContext,
  board: Board | undefined,
  saved: StateTree,
): void {
  const { load, firmwareRam } = table.boot;
  const { memory } = context;
  if (board && (typeof load !== 'function' || firmwareRam)) plugBios(board, context, firmwareRam?.(memory) ?? memory);
  table.boot.rebuild?.(context, name => ownMember(saved, name)?.value);
}
