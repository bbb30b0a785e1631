/**
 * How processors are arranged, and the APIC ids that follow (SDM 3A 9.9; AMD APM 3 appendix E, CPUID 8000_0008h ECX): the
 * lowest bits number the threads of a core, the next ones the cores of a socket, the rest the sockets. Each part has as
 * many bits as its count needs, so that ids have gaps where a count is no power of two.
 */

export interface Topology {
  /** All of them: sockets * cores * threads. */
  readonly cpus: number;
  readonly sockets: number;
  /** Of a socket. */
  readonly cores: number;
  /** Of a core. */
  readonly threads: number;
}

/** More have no place in an 8-bit mask of APIC ids, or in our memory. */
export const MOST_CPUS = 64;

/** Fills in what is not said: one socket, whose cores have a thread each. @returns what is wrong, in words, if anything is */
export function arrange({ cpus, sockets, cores, threads }: Partial<Topology>): Topology | string {
  for (const [name, value] of Object.entries({ cpus, sockets, cores, threads }))
    if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= MOST_CPUS))
      return `${name === 'cpus' ? '' : `${name}=`}${value} is not a number from 1 to ${MOST_CPUS}`;
  const total = cpus ?? (sockets ?? 1) * (cores ?? 1) * (threads ?? 1);
  if (total > MOST_CPUS) return `${total} are more than ${MOST_CPUS}`;
  const t = threads ?? 1;
  const s = sockets ?? (cores === undefined ? 1 : total / (cores * t));
  const c = cores ?? total / (s * t);
  if (!Number.isInteger(s) || !Number.isInteger(c) || s * c * t !== total)
    return `${total} cannot be ${[
      sockets && `${sockets} sockets`,
      cores && `${cores} cores`,
      threads && `${threads} threads`,
    ]
      .filter(Boolean)
      .join(' of ')}`;
  return { cpus: total, sockets: s, cores: c, threads: t };
}

/** Bits that number `count` things. */
const bitsOf = (count: number): number => Math.ceil(Math.log2(count));

/** Bits of an APIC id that number the threads of a core. */
export const threadBits = ({ threads }: Topology): number => bitsOf(threads);
/** Bits of an APIC id below the socket's. */
export const coreBits = ({ cores, threads }: Topology): number => bitsOf(cores) + bitsOf(threads);

/** @param index 0 to cpus - 1: threads of a core follow one another, then cores of a socket */
export function apicId(topology: Topology, index: number): number {
  const { cores, threads } = topology;
  const thread = index % threads;
  const core = Math.floor(index / threads) % cores;
  const socket = Math.floor(index / (threads * cores));
  return (socket << coreBits(topology)) | (core << threadBits(topology)) | thread;
}
