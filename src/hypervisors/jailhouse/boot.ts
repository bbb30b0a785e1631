/**
 * Boot of a cell as `jailhouse cell linux` does it (Jailhouse tools/jailhouse-cell-linux, inmates/tools/x86/linux-loader.c): Linux's
 * own entry, and setup data that the boot parameters point to.
 */
import { pcMemoryMap } from '../../boot/e820.ts';
import { loadLinux } from '../../boot/linux-boot.ts';
import type { Group } from '../../paravirt/group.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { describeCell, SETUP_JAILHOUSE } from './setup-data.ts';

export function createBoot(context: HypervisorContext): Group<'boot'> {
  return {
    platform: 'partition',
    load({ image, initrd, commandLine, memory }) {
      return loadLinux(memory, image, {
        initrd,
        commandLine,
        rsdp: 0,
        memoryMap: pcMemoryMap(memory.size),
        setupData: { type: SETUP_JAILHOUSE, data: describeCell(context) },
      });
    },
  };
}
