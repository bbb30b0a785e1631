/** What can be chosen, as it stands in the page's address: a link shares it. What is as usual is left out. */

export interface Settings {
  hypervisor: string;
  /** A second one, beside the first; '' for none. */
  beside: string;
  /** The id of one of the kernels that the page is served with; '' for the first. */
  kernel: string;
  /** MiB. */
  memory: number;
  cpus: number;
  clock: 'host' | 'virtual';
  /** More words for the kernel's command line. */
  append: string;
  /** Both machines are at the ends of one cable. */
  cable: boolean;
  /** Pause after so many million instructions; 0 for never. */
  until: number;
  /** Start without being asked. */
  boot: boolean;
}

export const USUAL: Settings = {
  hypervisor: 'kvm',
  beside: '',
  kernel: '',
  memory: 256,
  cpus: 1,
  clock: 'host',
  append: '',
  cable: false,
  until: 0,
  boot: false,
};

/** @param search what stands behind the "?" of an address: anything, since anybody can make a link */
export function parseSettings(search: string): Settings {
  const given = new URLSearchParams(search);
  const settings: Settings = { ...USUAL };
  for (const [name, usual] of Object.entries(USUAL)) {
    const value = given.get(name);
    if (value === null) continue;
    const number = Number(value);
    const parsed =
      typeof usual === 'string' ? value : typeof usual === 'boolean' ? value !== '0' : number >= 0 ? number : usual;
    Object.assign(settings, { [name]: parsed });
  }
  if (settings.clock !== 'virtual') settings.clock = 'host';
  return settings;
}

/** @returns what stands behind the "?"; '' where everything is as usual */
export function formatSettings(settings: Settings): string {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(settings)) {
    if (value === USUAL[name as keyof Settings]) continue;
    words.set(name, typeof value === 'boolean' ? (value ? '1' : '0') : String(value));
  }
  return words.toString();
}
