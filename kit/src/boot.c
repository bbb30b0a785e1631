/* From what each loader leaves in memory to struct pv_boot_info. */
#include "internal.h"

/* The order is that of entry.S. */
static const char *const kinds[] = {"PVH", "multiboot", "Linux", "Xen PV"};

static struct pv_boot_info info;

static void *physical(uint64_t address) { return (void *)address; }

static void take_words(const char *text) {
  if (text)
    for (size_t i = 0; text[i] && i < sizeof info.command_line - 1; i++) info.command_line[i] = text[i];
}

static void add_range(uint64_t start, uint64_t size, uint32_t type) {
  if (info.ranges < PV_MAX_RANGES) info.range[info.ranges++] = (struct pv_range){start, size, type};
}

static void add_module(uint64_t start, uint64_t size) {
  if (size && info.modules < PV_MAX_MODULES) info.module[info.modules++] = (struct pv_module){start, size};
}

/* struct hvm_start_info (xen/include/public/arch-x86/hvm/start_info.h) */
static void from_pvh(const uint8_t *at) {
  if (load32(at) != 0x336ec578) return;
  const uint8_t *modules = physical(load64(at + 16)), *map = physical(load64(at + 40));
  take_words(physical(load64(at + 24)));
  info.rsdp = load64(at + 32);
  for (uint32_t i = 0; i < load32(at + 12); i++) add_module(load64(modules + 32 * i), load64(modules + 32 * i + 8));
  if (load32(at + 4) >= 1)
    for (uint32_t i = 0; i < load32(at + 48); i++)
      add_range(load64(map + 24 * i), load64(map + 24 * i + 8), load32(map + 24 * i + 16));
}

/* The Multiboot Specification 0.6.96, 3.3 */
static void from_multiboot(const uint8_t *at) {
  uint32_t flags = load32(at);
  if (flags & 1 << 2) take_words(physical(load32(at + 16)));
  if (flags & 1 << 3)
    for (uint32_t i = 0; i < load32(at + 20); i++) {
      const uint8_t *module = physical(load32(at + 24) + 16 * i);
      add_module(load32(module), load32(module + 4) - load32(module));
    }
  if (flags & 1 << 6)
    for (const uint8_t *entry = physical(load32(at + 48)), *end = entry + load32(at + 44); entry < end;
         entry += load32(entry) + 4)
      add_range(load64(entry + 4), load64(entry + 12), load32(entry + 20));
}

/* struct boot_params (Linux Documentation/arch/x86/zero-page.rst) */
static void from_linux(const uint8_t *at) {
  take_words(physical(load32(at + 0x228)));
  info.rsdp = load64(at + 0x70);
  info.boot_params = (uint64_t)at;
  add_module(load32(at + 0x218), load32(at + 0x21c));
  for (uint32_t i = 0; i < at[0x1e8]; i++) {
    const uint8_t *entry = at + 0x2d0 + 20 * i;
    add_range(load64(entry), load64(entry + 8), load32(entry + 16));
  }
}

static void from_xen_pv(struct start_info *start) {
  pv_xen_start_info = start;
  take_words(start->cmd_line);
  add_range(0, start->nr_pages << 12, 1);
  add_module(start->mod_start, start->mod_len);
}

void pv_boot(uint32_t kind, uint64_t information) {
  info.entry = kinds[kind];
  if (kind == 0) from_pvh(physical(information));
  if (kind == 1) from_multiboot(physical(information));
  if (kind == 2) from_linux(physical(information));
  if (kind == 3) from_xen_pv(physical(information));
  pv_init(&info);
  if (!info.ranges && pv_is_xen()) pv_xen_memory_map(&info); /* a PVH dom0 is told no other way */
  pv_main(&info);
  pv_ops.boot.power_off();
  __builtin_unreachable();
}
