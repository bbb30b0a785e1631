/** The page: what to boot, the machines, files that come and go, and the address that says all of it. */
import '@xterm/xterm/css/xterm.css';
import './style.css';
import { formatSize } from '../src/boot/image-error.ts';
import { createPageSwitch, type FramePort } from '../src/host/browser/network.ts';
import { hypervisors } from '../src/hypervisors/list.ts';
import type { RemoteOptions } from '../src/remote/machine-protocol.ts';
import { Snapshot } from '../src/snapshot/snapshot.ts';
import { byId, element } from './dom.ts';
import { bytesOf, fetchFile, kindOf, type ServedKernel, servedKernels } from './files.ts';
import { keepInStep } from './in-step.ts';
import { MachinePane } from './machine-pane.ts';
import { formatSettings, parseSettings, type Settings, USUAL } from './settings.ts';

const MEMORIES = [64, 128, 256, 512, 1024, 2048];
const PROCESSORS = [1, 2, 4, 8];

const form = byId<HTMLFormElement>('settings');
const machines = byId('machines');
const message = byId('message');
const scripts = { machine: scriptOf('machine-worker'), translator: scriptOf('translator-worker') };

let kernels: ServedKernel[] = [];
/** What the user has handed in, by kind. */
const own: { kernel?: File; initrd?: File; disks: File[] } = { disks: [] };
let panes: MachinePane[] = [];
let stopStepping = () => {};

/** The address of a worker's script, which has a hash in its name. */
function scriptOf(name: string): string {
  const { content } = document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)!;
  return new URL(content, document.baseURI).href;
}

const field = (name: keyof Settings) => form.elements.namedItem(name) as HTMLInputElement | HTMLSelectElement;

function say(text: string, bad = false): void {
  message.textContent = text;
  message.classList.toggle('bad', bad);
}

function fill(name: keyof Settings, options: readonly (readonly [value: string, text: string])[]): void {
  field(name).replaceChildren(...options.map(([value, text]) => element('option', { value }, text)));
}

function fillKernels(): void {
  const served = kernels.map(({ id, name }) => [id, name] as const);
  fill('kernel', [...(own.kernel ? [['file', own.kernel.name] as const] : []), ...served]);
  const disks = own.disks.map(({ name }) => name).join(', ');
  byId('files').textContent = [own.initrd && `RAM disk: ${own.initrd.name}`, disks && `Disks: ${disks}`]
    .filter(Boolean)
    .join(' · ');
}

function show(settings: Settings): void {
  for (const [name, value] of Object.entries(settings)) {
    const input = field(name as keyof Settings);
    if (!input) continue;
    if (input instanceof HTMLInputElement && input.type === 'checkbox') input.checked = value === true;
    else if (name === 'until') input.value = value ? String(value) : '';
    else {
      // A size that is not among the usual ones.
      if (input instanceof HTMLSelectElement && typeof value === 'number' && !hasOption(input, String(value)))
        input.append(element('option', { value }, name === 'memory' ? `${value} MiB` : String(value)));
      input.value = String(value);
      if (input.value === '' && input instanceof HTMLSelectElement) input.selectedIndex = 0;
    }
  }
}

const hasOption = ({ options }: HTMLSelectElement, value: string) =>
  [...options].some(option => option.value === value);

function chosen(): Settings {
  const kernel = field('kernel').value;
  return {
    hypervisor: field('hypervisor').value,
    beside: field('beside').value,
    kernel: kernel === kernels[0]?.id ? '' : kernel,
    memory: Number(field('memory').value),
    cpus: Number(field('cpus').value),
    clock: field('clock').value === 'virtual' ? 'virtual' : 'host',
    append: field('append').value.trim(),
    cable: (field('cable') as HTMLInputElement).checked,
    until: Number(field('until').value) || 0,
    boot: false,
  };
}

/** The address says what is chosen. @returns it, for someone who wants the same */
function address(settings: Settings): string {
  const words = formatSettings(settings);
  return `${location.pathname}${words ? `?${words}` : ''}`;
}

/** The kernel's files, fetched or handed in. @throws Error with what there is not */
async function bootFiles({ kernel }: Settings): Promise<Pick<RemoteOptions, 'kernel' | 'initrd'>> {
  const initrd = own.initrd && (await bytesOf(own.initrd));
  if (kernel === 'file' || (own.kernel && kernel === '')) {
    if (!own.kernel) throw new Error('the kernel of this link was a file on somebody else’s machine: open one');
    return { kernel: await bytesOf(own.kernel), ...(initrd && { initrd }) };
  }
  const served = kernels.find(({ id }) => id === kernel) ?? kernels[0];
  if (!served) {
    if (own.disks.length > 0) return {};
    throw new Error('this page is served without a kernel: drop one onto it, a bzImage or a vmlinux');
  }
  const sizes = new Map<string, number>();
  const fetched = (path: string) =>
    fetchFile(path, size => {
      sizes.set(path, size);
      say(`fetching ${served.name}: ${formatSize([...sizes.values()].reduce((sum, each) => sum + each, 0))}`);
    });
  const [image, disk] = await Promise.all([
    fetched(served.kernel),
    initrd ?? (served.initrd ? fetched(served.initrd) : undefined),
  ]);
  return { kernel: image, ...(disk && { initrd: disk }) };
}

function clear(): void {
  stopStepping();
  stopStepping = () => {};
  for (const pane of panes) pane.close();
  panes = [];
}

/** Makes a pane for each hypervisor. */
function open(names: readonly string[], { until, cable }: Settings): void {
  clear();
  byId('intro').hidden = true;
  document.title = `${names.join(' beside ')} · Polyvisor`;
  machines.classList.toggle('pair', names.length > 1);
  const plug = createPageSwitch();
  panes = names.map(hypervisor => {
    const { port1, port2 } = new MessageChannel();
    if (cable && names.length > 1) plug(port1 as FramePort);
    const end = cable && names.length > 1 ? port2 : undefined;
    return new MachinePane(machines, {
      ...{ hypervisor, until: until * 1e6, scripts, disks: own.disks, cable: end },
      onChange() {},
    });
  });
  const [first, second] = panes;
  if (first && second) stopStepping = keepInStep([first, second], () => byId<HTMLInputElement>('in-step').checked);
}

async function boot(): Promise<void> {
  const settings = chosen();
  history.replaceState(undefined, '', address(settings));
  say('');
  try {
    const files = await bootFiles(settings);
    say('');
    open([settings.hypervisor, ...(settings.beside ? [settings.beside] : [])], settings);
    const { clock, memory, cpus } = settings;
    await Promise.all(
      panes.map((pane, i) => {
        const append = `${pane.parameters} ${settings.append}`.trim();
        return pane.start({ ...files, append, clock, memory: memory * 2 ** 20, cpus }, i === panes.length - 1);
      }),
    );
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
  }
}

/** @param bytes handed over. @throws SnapshotError, later, for what is no snapshot */
async function restore(bytes: Uint8Array): Promise<void> {
  const { hypervisor, memory, processors, clock } = Snapshot.header(bytes);
  const settings = { ...chosen(), hypervisor, beside: '', memory: memory / 2 ** 20, cpus: processors, clock, until: 0 };
  show(settings);
  open([hypervisor], settings);
  await panes[0]!.start({ snapshot: bytes, clock, memory, cpus: processors });
}

async function take(files: readonly File[]): Promise<void> {
  try {
    for (const file of files) {
      const kind = await kindOf(file);
      if (kind === 'snapshot') {
        say('');
        return await restore(await bytesOf(file));
      }
      if (kind === 'disk') own.disks.push(file);
      else own[kind] = file;
      fillKernels();
      say(`${file.name} is a ${kind === 'initrd' ? 'RAM disk' : kind}: Boot starts with it`);
    }
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
  }
}

function listen(): void {
  form.addEventListener('submit', event => {
    event.preventDefault();
    byId<HTMLDetailsElement>('more').open = false;
    void boot();
  });
  form.addEventListener('change', () => history.replaceState(undefined, '', address(chosen())));
  const input = byId<HTMLInputElement>('file');
  byId('open').addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    void take([...(input.files ?? [])]);
    input.value = '';
  });
  byId('link').addEventListener('click', async () => {
    const link = new URL(address({ ...chosen(), boot: true }), location.href).href;
    try {
      await navigator.clipboard.writeText(link);
      say('The link is in the clipboard: it boots this.');
    } catch {
      say(link);
    }
  });
  addEventListener('dragover', event => {
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  addEventListener('dragleave', () => document.body.classList.remove('dropping'));
  addEventListener('drop', event => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    void take([...(event.dataTransfer?.files ?? [])]);
  });
  // A browser keeps a page that is left for the way back, workers and all: a machine's memory is too much for that.
  addEventListener('pagehide', clear);
  addEventListener('pageshow', ({ persisted }) => {
    if (persisted) location.reload();
  });
  addEventListener('keydown', event => {
    const more = byId<HTMLDetailsElement>('more');
    if (event.key !== 'Escape' || !more.open) return;
    more.open = false;
    more.querySelector('summary')!.focus();
  });
}

async function main(): Promise<void> {
  const names = hypervisors.map(({ name }) => [name, name] as const);
  fill('hypervisor', names);
  fill('beside', [['', 'none'], ...names]);
  fill(
    'memory',
    MEMORIES.map(size => [String(size), size < 1024 ? `${size} MiB` : `${size / 1024} GiB`] as const),
  );
  fill(
    'cpus',
    PROCESSORS.map(number => [String(number), String(number)] as const),
  );
  listen();
  kernels = await servedKernels();
  fillKernels();
  const settings = parseSettings(location.search);
  show({ ...USUAL, ...settings });
  if (settings.boot) await boot();
  else byId('boot').focus();
}

/** For tests, and for whoever opens the browser's console. */
Object.assign(globalThis, {
  polyvisor: {
    get machines() {
      return panes;
    },
    restore: (bytes: Uint8Array) => restore(bytes.slice()),
  },
});

await main();
