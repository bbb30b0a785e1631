/**
 * Debian's i386 kernels, with PAE and without, under the hypervisors whose guests may be 32-bit PCs. Between them they take
 * the PVH, the 32-bit Linux and the real-mode entry, the latter with the kernel unpacking itself. GUEST_I386=all has the other kernel under
 * each, too.
 */
import { examineGuest } from './in-guest-list.ts';

/** The kernel's tests of its own cryptography are most of such a boot, and test no part of ours that the list does not. */
const QUICKLY = ['--append', 'cryptomgr.notests'];

const PAE = { flavour: '686-pae', release: /^\d+\.\d+\.\d+-\d+-686-pae$/ };
const NON_PAE = { flavour: '686', release: /^\d+\.\d+\.\d+-\d+-686$/ };

/** Each hypervisor, kernel and entry at least once. */
const USUAL = [
  ['bare', NON_PAE, '--entry', 'real'],
  ['kvm', PAE],
  ['vmware', NON_PAE, '--entry', 'linux'],
  ['hyperv', PAE, '--entry', 'real'],
] as const;
const MORE = [
  ['bare', PAE],
  ['kvm', NON_PAE, '--entry', 'linux'],
  ['vmware', PAE, '--entry', 'linux'],
  ['hyperv', NON_PAE],
] as const;

for (const [hypervisor, { flavour, release }, ...entry] of process.env.GUEST_I386 === 'all'
  ? [...USUAL, ...MORE]
  : USUAL)
  examineGuest({
    hypervisor,
    architecture: 'i386',
    release,
    options: ['--flavour', flavour, ...entry, ...QUICKLY],
  });
