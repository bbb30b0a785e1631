/* Finding the ROM, looking its calls up and letting them be patched into the kernel, as Linux's vmi_32.c does. */
#include "guest.h"

struct vrom_header {
  u16 rom_signature;
  u8 rom_length, rom_entry[4], rom_pad0;
  u32 vrom_signature;
  u8 api_version_min, api_version_maj, jump_slots, reserved1;
  u32 virtual_top;
  u16 reserved2, license_offs, pci_header_offs, pnp_header_offs;
  u32 rom_pad3;
  u8 reserved[96], vmi_init[8], get_reloc[8];
} __attribute__((packed));

struct pci_header {
  u8 signature[4];
  u16 vendor, device;
  u8 rest[10], rom_version_min, rom_version_maj;
} __attribute__((packed));

static struct vrom_header *rom;
u32 spoiled;

static const char *string(u32 offset) { return (const char *)rom + offset; }

static int equal(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

int probe(void) {
  for (u32 base = 0xc0000; base < 0xe0000; base += 2048) {
    struct vrom_header *header = (struct vrom_header *)(VIRTUAL_BASE + base);
    if (header->rom_signature == 0xaa55 && header->vrom_signature == 0x696d5663) {
      rom = header;
      break;
    }
  }
  if (!rom) return 0;
  const struct pci_header *pci = (const void *)string(rom->pci_header_offs);
  const u16 *pnp = (const u16 *)string(rom->pnp_header_offs);
  print("VMI: Found %s %s, API version %d.%d, ROM version %d.%d\n", string(pnp[7]), string(pnp[8]),
        rom->api_version_maj, rom->api_version_min, pci->rom_version_maj, pci->rom_version_min);
  u8 sum = 0;
  for (u32 i = 0; i < rom->rom_length * 512u; i++) sum += ((u8 *)rom)[i];
  check("rom: API 3", rom->api_version_maj == 3);
  check("rom: checksum", sum == 0);
  check("rom: PCI header", rom->pci_header_offs && equal((const char *)pci, "PCIR\xad\x15\x01\x08"));
  check("rom: licence", equal(string(rom->license_offs), "GPL") || equal(string(rom->license_offs), "GPL v2"));
  return 1;
}

/* get_reloc is regparm(2) and answers with {u32 eip; u8 type; u8 reserved[3]} in EDX:EAX. */
u32 relocation(u32 number, u32 *type) {
  u64 (*get_reloc)(u32) = (u64(*)(u32))(u32)rom->get_reloc;
  u64 answer = get_reloc(number);
  *type = (u8)(answer >> 32);
  return (u32)answer;
}

u32 function(u32 number) {
  u32 type, eip = relocation(number, &type);
  return type == RELOCATION_CALL ? eip : 0;
}

u64 vmi_stack(u32 number, u32 eax, u32 edx, u32 ecx, u32 first, u32 second) {
  u32 code = function(number);
  if (!code) return ~0ull;
  struct registers registers = {eax, ecx, edx, 0x11111111, 0x22222222, 0x33333333, 0x44444444};
  u32 stack[4] = {first, second};
  call_with(&registers, code, stack);
  if (registers.ebx != 0x11111111 || registers.esi != 0x22222222 || registers.edi != 0x33333333 ||
      registers.ebp != 0x44444444) {
    print("call %d spoils a register\n", number);
    spoiled++;
  }
  return (u64)registers.edx << 32 | registers.eax;
}

u64 vmi(u32 number, u32 eax, u32 edx, u32 ecx) { return vmi_stack(number, eax, edx, ecx, 0, 0); }

void show_relocations(void) {
  u32 counts[5] = {0}, again = 1, inside = 1, type;
  for (u32 number = 0; number < VMI_CALLS; number++) {
    u32 eip = relocation(number, &type), second, address = relocation(number, &second);
    counts[type < 4 ? type : 4]++;
    if (address != eip || second != type) again = 0;
    if ((type == RELOCATION_CALL || type == RELOCATION_JUMP) && (eip < (u32)rom || eip >= (u32)rom + rom->rom_length * 512u))
      inside = 0;
  }
  print("relocations: %d native, %d calls, %d jumps, %d nothing\n", counts[0], counts[1], counts[2], counts[3]);
  check("relocation: known types", counts[4] == 0);
  check("relocation: the same twice", again);
  check("relocation: code is in the ROM", inside);
  relocation(VMI_CALLS, &type);
  check("relocation: an unknown call is native", type == RELOCATION_NONE);
  relocation(~0u, &type);
  check("relocation: so is -1", type == RELOCATION_NONE);
  relocation(VMI_IRET, &type);
  check("relocation: IRET", type == RELOCATION_CALL || type == RELOCATION_JUMP);
  relocation(VMI_SYSEXIT, &type);
  check("relocation: SYSEXIT", type == RELOCATION_CALL || type == RELOCATION_JUMP);
}

static const u8 calls[] = {
    [SITE_SAVE_FLAGS] = VMI_GetInterruptMask, [SITE_RESTORE_FLAGS] = VMI_SetInterruptMask,
    [SITE_DISABLE] = VMI_DisableInterrupts,   [SITE_ENABLE] = VMI_EnableInterrupts,
    [SITE_IRET] = VMI_IRET,                   [SITE_SYSEXIT] = VMI_SYSEXIT,
};

/* Patches all sites. @returns how many of each operation's */
static void patch(u32 *patched) {
  for (struct site *site = parainstructions; site < parainstructions_end; site++) {
    u32 type, eip = relocation(calls[site->operation], &type), used = site->length;
    u8 *code = (u8 *)site->address;
    if (type == RELOCATION_CALL || type == RELOCATION_JUMP) {
      code[0] = type == RELOCATION_CALL ? 0xe8 : 0xe9;
      *(u32 *)(code + 1) = eip - (site->address + 5);
      used = 5;
    } else if (type == RELOCATION_NOP) used = 0;
    else continue;
    for (u32 i = used; i < site->length; i++) code[i] = 0x90;
    patched[site->operation]++;
  }
}

int activate(void) {
  u32 (*vmi_init)(void) = (u32(*)(void))(u32)rom->vmi_init;
  u32 result = vmi_init();
  check("vmi_init", result == 0);
  if (result != 0) return 0;
  /* As Linux: unpatched returns must not be used any more. */
  operations.iret = 0xbadbab0;
  operations.sysexit = 0xfeedbab0;
  u32 *filled[] = {&operations.save_flags, &operations.restore_flags, &operations.disable, &operations.enable};
  for (u32 i = 0; i < ARRAY(filled); i++)
    if (function(calls[i])) *filled[i] = function(calls[i]);
  u32 patched[6] = {0}, once[6];
  patch(patched);
  for (u32 i = 0; i < 6; i++) once[i] = patched[i];
  patch(patched);
  int all = 1, twice = 1;
  for (u32 i = 0; i < 6; i++) all &= once[i] > 0, twice &= patched[i] == 2 * once[i];
  check("patching: every kind of site", all);
  check("patching: again", twice);
  /* The kernel's lowest gigabyte, generously, as Linux's vmi_bringup. */
  vmi_stack(VMI_SetLinearMapping, 0, VIRTUAL_BASE, 0x38000, 0, 0);
  return 1;
}
