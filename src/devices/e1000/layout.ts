/** Intel's 82540EM (PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual): registers and descriptors. */

export const CTRL = 0x0000;
export const STATUS = 0x0008;
export const EECD = 0x0010;
export const EERD = 0x0014;
export const MDIC = 0x0020;
export const ICR = 0x00c0;
export const ICS = 0x00c8;
export const IMS = 0x00d0;
export const IMC = 0x00d8;
export const RCTL = 0x0100;
export const TCTL = 0x0400;
export const LEDCTL = 0x0e00;
export const PBA = 0x1000;
export const RDBAL = 0x2800;
export const RDBAH = 0x2804;
export const RDLEN = 0x2808;
export const RDH = 0x2810;
export const RDT = 0x2818;
export const TDBAL = 0x3800;
export const TDBAH = 0x3804;
export const TDLEN = 0x3808;
export const TDH = 0x3810;
export const TDT = 0x3818;
/** Counters, which are not kept: they read as nothing. */
export const STATISTICS = { start: 0x4000, end: 0x4100 };
export const RXCSUM = 0x5000;
export const RAL0 = 0x5400;
export const RAH0 = 0x5404;
/** Registers end here. */
export const REGISTERS_END = 0x6000;

export const CTRL_RST = 0x04000000;
export const ADDRESS_VALID = 0x80000000;
export const ENABLE = 2;
/** RCTL: sizes of buffers, the larger ones by BSEX, and that frames come without their check sequence. */
export const RCTL_BSIZE = 16;
export const RCTL_BSEX = 0x02000000;
export const RCTL_SECRC = 0x04000000;
/** RXCSUM: checksums of TCP and UDP are looked at. */
export const RXCSUM_TUOFL = 0x200;

/** Interrupt causes. */
export const TXDW = 0x01;
export const TXQE = 0x02;
export const LSC = 0x04;
export const RXT0 = 0x80;

/** After a reset: link up, full duplex, 1000 Mb/s, as QEMU's has it. */
export const POWER_ON: readonly (readonly [register: number, value: number])[] = [
  [CTRL, 0x00140240],
  [STATUS, 0x80080783],
  [LEDCTL, 0x602],
  [PBA, 0x00100030],
];

/** EECD: the wires of the EEPROM, who may use it, and that it is there. */
export const EECD_SK = 1;
export const EECD_CS = 2;
export const EECD_DI = 4;
export const EECD_DO = 8;
export const EECD_REQ = 0x40;
export const EECD_GNT = 0x80;
export const EECD_PRES = 0x100;
export const EERD_START = 1;
export const EERD_DONE = 0x10;

/** MDIC: data, register, which PHY, what to do, and how it went. */
export const MDIC_WRITE = 0x04000000;
export const MDIC_READ = 0x08000000;
export const MDIC_READY = 0x10000000;
export const MDIC_ERROR = 0x40000000;
export const PHY_ADDRESS = 1;
/** Registers of the PHY, a Marvell 88E1011: control, status (link, negotiated), identity, what both ends can do. */
export const PHY_REGISTERS: readonly (readonly [register: number, value: number])[] = [
  [0, 0x1140],
  [1, 0x796d],
  [2, 0x0141],
  [3, 0x0c20],
  [4, 0x0de1],
  [5, 0x01e0],
  [9, 0x0e00],
  [10, 0x3c00],
  [16, 0x0360],
  [17, 0xac00],
  [20, 0x0d60],
];
export const PHY_CONTROL_RESET_OR_RESTART = 0x8200;

export const DESCRIPTOR = 16;
/** Commands of transmit descriptors; the last says that it is of the newer kind. */
export const TX_EOP = 0x01;
export const TX_IC = 0x04;
export const TX_RS = 0x08;
export const TX_DEXT = 0x20;
/** TSE, in descriptors of the newer kind. */
export const TX_TSE = 0x04;
/** Options of a data descriptor: IP's checksum, TCP's or UDP's. */
export const POPTS_IXSM = 1;
export const POPTS_TXSM = 2;
export const DD = 1;
/** Statuses of receive descriptors: done, the frame's end, checksums not looked at, or found right. */
export const RX_EOP = 2;
export const RX_IXSM = 4;
export const RX_TCPCS = 0x20;
export const RX_IPCS = 0x40;
