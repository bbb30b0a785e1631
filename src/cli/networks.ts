/** The network of `--net`, opened, with what goes wrong said by its option. */
import { writeSync } from 'node:fs';
import type { Network } from '../host/network.ts';
import { nodeSockets } from '../host/node/sockets.ts';
import { joinSwitch } from '../host/node/switch-socket.ts';
import { VsockInUseError, vsockPrograms } from '../host/node/vsock-socket.ts';
import { ListenError } from '../host/sockets.ts';
import type { Vsock } from '../host/vsock.ts';
import { captured } from '../net/pcapng.ts';
import { userNetwork } from '../net/user-network.ts';
import { hostVsock } from '../net/vsock.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import type { NetOption } from './net-options.ts';
import { openOutput } from './output-file.ts';
import type { VsockOption } from './values.ts';

/** @throws Failure */
export async function openNetworks(option: NetOption): Promise<Network[]> {
  if (option.kind === 'none') return [];
  const { dump } = option;
  // What cannot be written is better known before ports are taken.
  const file = dump === undefined ? undefined : openOutput(dump);
  const network = await open(option);
  if (file === undefined) return [network];
  return [captured(network, bytes => void withFile(dump!, status.output, () => writeSync(file, bytes)))];
}

/** @throws Failure */
export async function openVsock(option: VsockOption | undefined): Promise<Vsock | undefined> {
  if (option === undefined) return undefined;
  const { path, cid } = option;
  try {
    return hostVsock(await vsockPrograms(path), { cid });
  } catch (error) {
    const isInUse = error instanceof VsockInUseError;
    throw new Failure(
      `--vsock ${isInUse ? '' : `${path}: `}${(error as Error).message}`,
      isInUse ? status.inUse : status.output,
    );
  }
}

async function open(option: Exclude<NetOption, { kind: 'none' }>): Promise<Network> {
  if (option.kind === 'switch')
    return joinSwitch(option.name, option.bus).catch(error => {
      throw new Failure(`--net switch=${option.name}: ${(error as Error).message}`, status.host);
    });
  try {
    return await userNetwork({ ...option, sockets: nodeSockets });
  } catch (error) {
    if (error instanceof ListenError) throw new Failure(`--forward ${error.message}`, status.inUse);
    throw error;
  }
}
