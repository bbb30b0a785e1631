/** Whether a kernel was built for a hypervisor, known from the image alone. */
import { embeddedConfig } from '../boot/embedded-config.ts';
import type { KernelImage } from '../boot/image.ts';
import { kernelSymbols, type Symbols } from '../boot/symbols.ts';
import { tableOf } from '../paravirt/compare.ts';
import type { HypervisorModule } from '../paravirt/operations.ts';

/** What an image tells about itself, looked up once for all hypervisors. */
export interface ImageFacts {
  image: KernelImage;
  symbols: Symbols;
  config: ReadonlyMap<string, string> | undefined;
}

export async function factsOf(image: KernelImage): Promise<ImageFacts> {
  return {
    image,
    symbols: kernelSymbols(image),
    config: image.elf && (await embeddedConfig(image.elf.bytes)),
  };
}

/** Why this kernel has no business under this hypervisor; undefined when it may be booted. */
export function notBuiltFor(module: HypervisorModule, { image, symbols, config }: ImageFacts): string | undefined {
  const { refuses } = tableOf(module).boot;
  const refusal = typeof refuses === 'function' ? refuses(image) : undefined;
  if (refusal !== undefined) return refusal;
  const support = module.guestHalf;
  if (!support) return undefined;
  if (config) return config.get(support.option) === 'y' ? undefined : `its configuration has no ${support.option}`;
  // A table without functions of every kernel's is none to conclude from.
  if (!symbols.has('start_kernel') || support.symbols.some(name => symbols.has(name))) return undefined;
  return `it has no ${support.symbols.join(' or ')}: built without ${support.option}`;
}
