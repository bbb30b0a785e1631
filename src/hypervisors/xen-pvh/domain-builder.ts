/**
 * Builds a PVH domain (docs/misc/pvh.pandoc of Xen): the kernel at its PVH entry, the parameters that lead to the
 * rings, a memory map, and ACPI tables that know of processors and their local APICs and of nothing else.
 */

import { buildAcpiTables } from '../../boot/acpi.ts';
import { E820_ACPI, E820_RAM, E820_RESERVED } from '../../boot/e820.ts';
import { LOCAL_APIC_BASE } from '../../devices/local-apic.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/paging.ts';
import type { Domain } from '../xen/domain.ts';
import { writeWallclock } from '../xen/time.ts';
import { connectToolstack } from '../xen/toolstack.ts';
import {
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_CONSOLE_PFN,
  HVM_PARAM_STORE_EVTCHN,
  HVM_PARAM_STORE_PFN,
} from './hvm-op.ts';
import { type PvhDomain, RESERVED_FRAMES } from './pvh-domain.ts';

/** The local APIC's pin for NMI: nothing is connected, but firmware tables have to name one. */
const NMI_PIN = 1;

/** RAM without the hypervisor's own pages at its end: what a kernel and its initrd may be put into. */
export function guestRam(memory: GuestMemory): GuestMemory {
  const ram = new GuestMemory(
    memory.bytes.buffer,
    memory.origin,
    Math.max(0, memory.size - RESERVED_FRAMES * PAGE_SIZE),
  );
  ram.onWrite = (address, length) => memory.onWrite(address, length);
  return ram;
}

/** Puts the ACPI tables into reserved pages. @returns their address and size in bytes, whole pages. */
function placeAcpi(domain: Domain): { address: number; size: number } {
  const address = domain.reservedEnd * PAGE_SIZE;
  const { bytes } = buildAcpiTables(
    {
      processors: domain.vcpus.map(({ id, cpu }) => ({ uid: id, apicId: cpu.interrupts?.id ?? id })),
      localApicAddress: LOCAL_APIC_BASE,
      ioApics: [],
      pic: false,
      overrides: [],
      nmiPin: NMI_PIN,
      serialPorts: [],
    },
    address,
  );
  const frames = Math.ceil(bytes.length / PAGE_SIZE);
  domain.reserveFrame(frames);
  domain.memory.copyIn(address, bytes);
  return { address, size: frames * PAGE_SIZE };
}

/** Creates the domain around the machine: everything but the kernel. @returns the address of the ACPI root pointer */
export function buildDomain(pvh: PvhDomain): number {
  const { domain } = pvh;
  const acpi = placeAcpi(domain);
  const end = acpi.address + acpi.size;
  domain.state.memoryMap = [
    { address: 0, size: domain.pages * PAGE_SIZE, type: E820_RAM },
    { address: domain.pages * PAGE_SIZE, size: acpi.address - domain.pages * PAGE_SIZE, type: E820_RESERVED },
    { ...acpi, type: E820_ACPI },
    { address: end, size: domain.memory.size - end, type: E820_RESERVED },
  ];
  startDomain(pvh);
  return acpi.address;
}

/** Time, rings and the parameters that lead to them: what a domain has whose memory map stands. */
export function startDomain(pvh: PvhDomain): void {
  const { domain } = pvh;
  // Such guests start with upcalls open: they have no use for the mask.
  for (const vcpu of domain.vcpus) {
    vcpu.upcallMask = false;
    vcpu.time.updateRecord(true);
  }
  writeWallclock(domain);
  connectToolstack(domain);
  pvh.state.parameters.set(HVM_PARAM_STORE_PFN, BigInt(domain.xenstoreRing.address >>> PAGE_SHIFT));
  pvh.state.parameters.set(HVM_PARAM_STORE_EVTCHN, BigInt(domain.state.xenstorePort));
  pvh.state.parameters.set(HVM_PARAM_CONSOLE_PFN, BigInt(domain.consoleRing.address >>> PAGE_SHIFT));
  pvh.state.parameters.set(HVM_PARAM_CONSOLE_EVTCHN, BigInt(domain.state.consolePort));
}
