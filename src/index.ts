/**
 * The public API of Polyvisor, and nothing else: what is not here may change in any version. README.md has examples; the
 * contracts below say what a device, a hypervisor and a host are.
 */
// biome-ignore-all assist/source/organizeImports: in the order in which they are needed

// A machine and how it ends.
export type { Exit } from './exits.ts';
export { createMachine } from './machine/machine.ts';
export type { Machine, MachineOptions, MachineRequest, RunLimits, Statistics } from './machine/options.ts';
export type { BootEntry, BootModule } from './boot/load.ts';
export type { ScheduleOption } from './machine/schedule.ts';
export type { NetworkStatistics } from './machine/network-input.ts';
export type { Topology } from './x86/topology.ts';
export { type RegionModule, RegionLibrary } from './engine/jit/library.ts';
export type { CodePage } from './engine/jit/region.ts';
export type { CodeSize } from './engine/x86/decode.ts';
export type { CompiledModule } from './wasm/objects.ts';
export type {
  TranslationRequest,
  Translator,
  TranslatorFactory,
  TranslatorSetup,
} from './engine/jit/translator.ts';

// A machine under a debugger, and one that goes back.
export { createTimeline, whyNoTimeline } from './machine/timeline.ts';
export { type DebugClient, type DebugConnection, Debugger, serveDebugger } from './debug/debugger.ts';
export type { History, StopReason, Target, TargetRegister, WatchedAccess } from './debug/target.ts';

// A machine at rest.
export {
  type Behind,
  type Door,
  type HostSide,
  type Inputs,
  type PastDoor,
  type Place,
  Player,
  Recorder,
  type SliceEnd,
} from './replay/door.ts';
export type { HostView } from './host-time.ts';
export {
  type ComparisonLimits,
  type ComparisonResult,
  compareRecordings,
  type RecordedRun,
} from './machine/compare-recordings.ts';
export { Snapshot } from './snapshot/snapshot.ts';
export { SnapshotError } from './snapshot/snapshot-error.ts';

// Images: what a file is before anything runs, and what is wrong with it.
export type { KernelImage } from './boot/image.ts';
export { parseKernel } from './boot/image.ts';
export { ImageError } from './boot/image-error.ts';

// The contract of a device.
export type { Device, InterruptLine, Slot } from './devices/device.ts';
export type { Data, State, States } from './state/state.ts';
export type { Bus, BusHandler, Width } from './memory/bus.ts';
export type { GuestMemory } from './memory/memory.ts';

// The contract of a hypervisor: a table of ops, and how to make one of another.
export { bareTable } from './hypervisors/bare/index.ts';
export { findHypervisor, hypervisors } from './hypervisors/list.ts';
export type { Differences } from './paravirt/derive.ts';
export { derive } from './paravirt/derive.ts';
export type { Group, GroupName } from './paravirt/group.ts';
export { GROUPS } from './paravirt/group.ts';
export { perProcessor } from './paravirt/per-processor.ts';
export type { Op } from './paravirt/native.ts';
export { native, nothing } from './paravirt/native.ts';
export type {
  BootOps,
  BootRequest,
  CpuidResult,
  CpuOps,
  Hypercall,
  HypervisorContext,
  HypervisorModule,
  IrqOps,
  MmuOps,
  Msr,
  Paravirt,
  Platform,
  SmpOps,
  TimeOps,
} from './paravirt/operations.ts';
export type {
  Exception,
  InterruptSource,
  Processor,
  RegisterName,
  Segment,
  SegmentName,
} from './paravirt/processor.ts';
export type { EntryState } from './boot/entry.ts';

// A hypervisor that is a WebAssembly binary: docs/write-a-hypervisor.md.
export { binaryHypervisor } from './plugins/binary.ts';
export type { Watch } from './plugins/guard.ts';
export { Guard, PluginError } from './plugins/guard.ts';

// Looking at one: what it changes, and what crosses it.
export type { Comparison, OperationDifference } from './paravirt/compare.ts';
export { compare, tableOf } from './paravirt/compare.ts';
export type { Crossing } from './paravirt/trace.ts';
export { traced } from './paravirt/trace.ts';

// The contract of a host.
export type { Clock, HostClock, Sleep, Timer } from './host/clock.ts';
export type { Compression } from './host/compression.ts';
export type { ArtifactCache } from './host/artifact-cache.ts';
export type { Console } from './host/console.ts';
export type { BackEnds, SharedFolder } from './host/back-ends.ts';
export type { Disk } from './host/disk.ts';
export type {
  Attributes,
  ByteString,
  Changes,
  Creation,
  DirectoryEntry,
  ErrnoName,
  FileSystem,
  Inode,
  OpenFile,
  OpenMode,
  Room,
} from './host/file-system.ts';
export { FileError } from './host/file-system.ts';
export { MemoryFileSystem } from './folders/memory-file-system.ts';
export type { Network, NetworkPort, Offload } from './host/network.ts';
export type {
  DnsAnswer,
  DnsRecord,
  HostSockets,
  Listener,
  RecordType,
  SocketError,
  TcpHandler,
  TcpSocket,
  UdpHandler,
  UdpSocket,
} from './host/sockets.ts';
export type { Vsock, VsockPrograms } from './host/vsock.ts';
export { hostVsock } from './net/vsock.ts';
export { createSwitch, type Switch, type SwitchPort } from './net/switch.ts';
export { captured } from './net/pcapng.ts';
export { userNetwork, type Forward, type UserNetworkOptions } from './net/user-network.ts';
export type { Log } from './host/log.ts';
