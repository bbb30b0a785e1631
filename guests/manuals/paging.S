/* Paging (SDM 3A 4.5 to 4.10): accessed and dirty flags, rights, global pages, PCIDs, what has to be forgotten and when. */
#include "start.h"
#define SET_CR0(on, off) mov rax, cr0; or eax, on; and eax, ~(off); mov cr0, rax
#define SET_CR4(on, off) mov rax, cr4; or eax, on; and eax, ~(off); mov cr4, rax
#define PTE(low, high) mov dword ptr [TEST_TABLE], low; mov dword ptr [TEST_TABLE + 4], high; invlpg [TEST_PAGE]
#define PDE(low) mov dword ptr [DIRECTORY(1)], low; invlpg [TEST_PAGE]
#define PDPTE(low) mov dword ptr [PDPT + 8], low; mov rax, cr3; mov cr3, rax
#define PML4E(low) mov dword ptr [TABLES], low; mov rax, cr3; mov cr3, rax
#define FAULTS(what, error, ...) RAISES(what, PF, error, __VA_ARGS__); IS2(what, " (CR2)", qword ptr [CR2_], TEST_PAGE + 8)
#define USER_FAULTS(what, error, ...) FAULTS(what, error, AT_3(2) __VA_ARGS__)
#define USER_PASSES(what, ...) RAISES(what, UD, 0, AT_3(2) __VA_ARGS__; 6: ud2)
#define ENTRY_IS(what, at, wanted) mov eax, dword ptr [at]; IS(what, rax, wanted)
#define A_ 0x20
#define D_ 0x40
#define G_ 0x100
#define PS_ 0x80

checks:
        mov ebx, TEST_PAGE + 8
        /* Accessed and dirty. */
        PML4E(PDPT + 7)
        PDPTE(DIRECTORY(1) + 7)
        PDE(TEST_TABLE + 7)
        PTE(FRAME + 7, 0)
        ENTRY_IS("A before", TEST_TABLE, FRAME + 7)
        mov eax, [rbx]
        ENTRY_IS("A after a read: PTE", TEST_TABLE, FRAME + 7 + A_)
        ENTRY_IS("A after a read: PDE", DIRECTORY(1), TEST_TABLE + 7 + A_)
        ENTRY_IS("A after a read: PDPTE", PDPT + 8, DIRECTORY(1) + 7 + A_)
        ENTRY_IS("A after a read: PML4E", TABLES, PDPT + 7 + A_)
        mov [rbx], eax
        ENTRY_IS("D after a write: PTE", TEST_TABLE, FRAME + 7 + A_ + D_)
        ENTRY_IS("D after a write: PDE", DIRECTORY(1), TEST_TABLE + 7 + A_)
        PTE(FRAME + 7, 0)
        mov [rbx], eax
        ENTRY_IS("A and D by a write", TEST_TABLE, FRAME + 7 + A_ + D_)
        PTE(FRAME + 7, 0)
        add [rbx], eax
        ENTRY_IS("A and D by ADD", TEST_TABLE, FRAME + 7 + A_ + D_)
        PTE(FRAME + 7, 0)
        xor ecx, ecx
        test eax, eax
        lea rdx, [rbx]
        prefetcht0 [rbx + 8]
        mov eax, 1
        mov dword ptr [FRAME + 8], 2
        cmpxchg [rbx], ecx
        ENTRY_IS("D by a CMPXCHG that differs", TEST_TABLE, FRAME + 7 + A_ + D_)
        PTE(FRAME + 7, 0)
        mov byte ptr [FRAME + 8], 0xc3
        call rbx
        ENTRY_IS("A by a fetch", TEST_TABLE, FRAME + 7 + A_)
        PTE(FRAME + 5, 0)
        FAULTS("write to a read-only page", 3, 6: mov [rbx], eax)
        and dword ptr [TEST_TABLE], ~A_ /* A may or may not be set by an access that faults */
        ENTRY_IS("no D by a write that faults", TEST_TABLE, FRAME + 5)
        SET_CR0(0, 0x10000)
        mov [rbx], eax
        SET_CR0(0x10000, 0)
        ENTRY_IS("D by a write without WP", TEST_TABLE, FRAME + 5 + A_ + D_)
        FAULTS("write after WP is set again", 3, 6: mov [rbx], eax)
        PTE(FRAME + 7, 0)
        mov edi, TEST_PAGE + 8
        mov ecx, 2
        rep stosd
        ENTRY_IS("D by REP STOS", TEST_TABLE, FRAME + 7 + A_ + D_)
        PTE(FRAME + 7, 0)
        mov esp, TEST_PAGE + 0x100
        push rax
        mov esp, STACK - 8
        ENTRY_IS("D by PUSH", TEST_TABLE, FRAME + 7 + A_ + D_)
        PTE(FRAME + 7, 0)
        movups [rbx], xmm0
        ENTRY_IS("D by MOVUPS", TEST_TABLE, FRAME + 7 + A_ + D_)
        PTE(FRAME + 7, 0)
        fxsave [rbx + 8]
        ENTRY_IS("D by FXSAVE", TEST_TABLE, FRAME + 7 + A_ + D_)
        PTE(FRAME + 7, 0)
        lock bts dword ptr [rbx], 1
        ENTRY_IS("D by LOCK BTS", TEST_TABLE, FRAME + 7 + A_ + D_)
        PTE(FRAME + 7, 0)
        sgdt [rbx]
        ENTRY_IS("D by SGDT", TEST_TABLE, FRAME + 7 + A_ + D_)
        PTE(FRAME + 7, 0)
        bts dword ptr [FRAME + 8], 31
        mov qword ptr [FRAME + 16], 0
        mov qword ptr [FRAME + 8], 0
        mov ecx, 0
        verr word ptr [rbx]
        ENTRY_IS("A only by VERR", TEST_TABLE, FRAME + 7 + A_)

        /* Large pages. */
        PDE(FRAME + 7 + PS_)
        mov eax, [rbx]
        ENTRY_IS("large page: A", DIRECTORY(1), FRAME + 7 + PS_ + A_)
        mov [rbx], eax
        ENTRY_IS("large page: D", DIRECTORY(1), FRAME + 7 + PS_ + A_ + D_)
        mov dword ptr [FRAME + 0x1ffff8], 0x1234567
        mov eax, [rbx + 0x1ffff0]
        IS("large page: its end", rax, 0x1234567)
        PDE(FRAME + 5 + PS_)
        FAULTS("large page: read-only", 3, 6: mov [rbx], eax)
        USER_FAULTS("large page: level 3 write", 7, 6: mov [rbx], eax)
        PDE(FRAME + 3 + PS_)
        USER_FAULTS("large page: supervisor", 5, 6: mov eax, [rbx])
        mov dword ptr [DIRECTORY(1) + 4], 0x80000000
        PDE(FRAME + 7 + PS_)
        USER_PASSES("large page: NX read", mov eax, [rbx])
        BEGIN jmp rbx; END
        IS("large page: NX fetch", qword ptr [ERROR], 0x11)
        PDE(TEST_TABLE + 7)
        PTE(FRAME + 7, 0)
        BEGIN jmp rbx; END
        IS("NX of a table: fetch", qword ptr [ERROR], 0x11)
        mov dword ptr [DIRECTORY(1) + 4], 0
        mov eax, 0x80000001
        cpuid
        bt edx, 26
        jnc 9f
        PDPTE(7 + PS_) /* 1 GiB at 0 */
        mov ebx, TEST_PAGE + 8
        mov dword ptr [FRAME], 0x7654321
        mov eax, [rbx + FRAME - 8]
        IS("1 GiB page", rax, 0x7654321)
        ENTRY_IS("1 GiB page: A", PDPT + 8, 7 + PS_ + A_)
        mov [rbx + FRAME + 8], eax
        ENTRY_IS("1 GiB page: D", PDPT + 8, 7 + PS_ + A_ + D_)
        PDPTE(0x2000 + 7 + PS_)
        FAULTS("1 GiB page: reserved bit 13", 9, 6: mov eax, [rbx])
        PDPTE(DIRECTORY(1) + 7)
9:      mov ebx, TEST_PAGE + 8

        /* Rights are those of all levels together (4.6). */
        PDE(TEST_TABLE + 5)
        FAULTS("read-only by the PDE", 3, 6: mov [rbx], eax)
        PDE(TEST_TABLE + 3)
        USER_FAULTS("supervisor by the PDE", 5, 6: mov eax, [rbx])
        PDE(TEST_TABLE + 6)
        FAULTS("not present by the PDE", 0, 6: mov eax, [rbx])
        PDE(TEST_TABLE + 7)
        PDPTE(DIRECTORY(1) + 5)
        FAULTS("read-only by the PDPTE", 3, 6: mov [rbx], eax)
        PDPTE(DIRECTORY(1) + 3)
        USER_FAULTS("supervisor by the PDPTE", 5, 6: mov eax, [rbx])
        PDPTE(DIRECTORY(1) + 7)
        USER_PASSES("level 3, all levels allow", mov eax, [rbx]; mov [rbx], eax)

        /* What has to be forgotten (4.10.4.1). */
        mov dword ptr [FRAME + 8], 1
        mov dword ptr [FRAME + 0x1008], 2
        PTE(FRAME + 7, 0)
        mov eax, [rbx]
        PTE(FRAME + 0x1007, 0)
        mov eax, [rbx]
        IS("after INVLPG", rax, 2)
        mov dword ptr [TEST_TABLE], FRAME + 7
        invlpg [TEST_PAGE + 0xfff]
        mov eax, [rbx]
        IS("after INVLPG of another byte of it", rax, 1)
        mov dword ptr [TEST_TABLE], FRAME + 0x1007
        mov rax, cr3
        mov cr3, rax
        mov eax, [rbx]
        IS("after MOV CR3", rax, 2)
        SET_CR4(0x80, 0)
        PTE(FRAME + 7 + G_, 0)
        mov eax, [rbx]
        mov dword ptr [TEST_TABLE], FRAME + 0x1007 + G_
        invlpg [TEST_PAGE]
        mov eax, [rbx]
        IS("global: after INVLPG", rax, 2)
        mov dword ptr [TEST_TABLE], FRAME + 7 + G_
        SET_CR4(0, 0x80)
        mov eax, [rbx]
        IS("global: after CR4.PGE is cleared", rax, 1)
        SET_CR4(0x80, 0)
        mov eax, [rbx]
        mov dword ptr [TEST_TABLE], FRAME + 0x1007 + G_
        mov rax, cr4
        xor eax, 0x80
        mov cr4, rax
        xor eax, 0x80
        mov cr4, rax
        mov eax, [rbx]
        IS("global: after CR4.PGE twice", rax, 2)
        mov dword ptr [TEST_TABLE], FRAME + 7 + G_
        mov rax, cr0
        btr rax, 16
        mov cr0, rax
        bts rax, 16
        mov cr0, rax
        invlpg [TEST_PAGE]
        mov eax, [rbx]
        IS("global: INVLPG after CR0", rax, 1)
        PTE(0, 0)
        FAULTS("not present after INVLPG", 0, 6: mov eax, [rbx])
        mov dword ptr [TEST_TABLE], FRAME + 7 /* not present to present: nothing has to be forgotten */
        mov eax, [rbx]
        IS("not present to present", rax, 1)
        PTE(FRAME + 5, 0)
        FAULTS("read-only", 3, 6: mov [rbx], eax)
        mov dword ptr [TEST_TABLE], FRAME + 7 /* the fault has forgotten it */
        PASSES("more rights after a fault", mov [rbx], eax)
        PTE(FRAME + 7, 0)
        mov dword ptr [rbx], 1
        /* The entries of a table through which it is itself reached. */
        mov dword ptr [TEST_TABLE + 8], TEST_TABLE + 7
        invlpg [TEST_PAGE + 0x1000]
        mov dword ptr [TEST_PAGE + 0x1000], FRAME + 0x1007
        invlpg [rbx]
        mov eax, [rbx]
        IS("a table written through itself", rax, 2)
        mov qword ptr [TEST_TABLE + 8], 0
        invlpg [TEST_PAGE + 0x1000]
        PDE(FRAME + 7 + PS_)
        mov eax, [rbx]
        IS("table to large page", rax, 1)
        PDE(TEST_TABLE + 7)
        mov eax, [rbx]
        IS("large page to table", rax, 2)
        /* Code that is somewhere else after its page is. */
        mov dword ptr [FRAME + 8], 0xc301b0 /* mov al, 1; ret */
        mov dword ptr [FRAME + 0x1008], 0xc302b0
        PTE(FRAME + 7, 0)
        xor eax, eax
        call rbx
        IS("code of one page", rax, 1)
        PTE(FRAME + 0x1007, 0)
        call rbx
        IS("code of another page", rax, 2)
        mov byte ptr [FRAME + 0x1009], 3
        call rbx
        IS("code written through another address", rax, 3)
        mov byte ptr [rbx + 1], 4
        call rbx
        IS("code written", rax, 4)

        /* SMEP and SMAP (4.6.1). */
        mov dword ptr [FRAME + 8], 0xc3
        PTE(FRAME + 7, 0)
        mov eax, 7
        xor ecx, ecx
        cpuid
        mov r8d, ebx
        mov ebx, TEST_PAGE + 8
        bt r8d, 7
        jnc 9f
        call supervisor /* the kernel's own pages */
        SET_CR4(0x100000, 0)
        BEGIN jmp rbx; END
        IS("SMEP: vector", qword ptr [SEEN], PF)
        IS("SMEP: error code", qword ptr [ERROR], 0x11)
        IS("SMEP: IP", qword ptr [IP], TEST_PAGE + 8)
        PASSES("SMEP: read", mov eax, [rbx])
        PTE(FRAME + 3, 0)
        PASSES("SMEP: fetch of a supervisor's page", call rbx)
        SET_CR4(0, 0x100000)
        bt r8d, 20
        jnc 8f
        PTE(FRAME + 7, 0)
        SET_CR4(0x200000, 0)
        FAULTS("SMAP: read", 1, 6: mov eax, [rbx])
        FAULTS("SMAP: write", 3, 6: mov [rbx], eax)
        PASSES("SMAP: STAC", stac; mov eax, [rbx]; clac)
        FAULTS("SMAP: CLAC", 1, stac; mov eax, [rbx]; clac; 6: mov eax, [rbx])
        PASSES("SMAP: fetch", call rbx)
        PTE(FRAME + 3, 0)
        PASSES("SMAP: supervisor's page", mov eax, [rbx])
        PTE(FRAME + 5, 0)
        FAULTS("SMAP: STAC and read-only", 3, stac; 6: mov [rbx], eax)
        /* An implicit access, of the LDT, which AC does not allow. */
        mov rax, [gdt + USER_DATA - 3]
        mov [FRAME + 8], rax
        mov rax, TEST_PAGE << 32 | 0x82000000007f
        mov [gdt + FREE], rax
        mov qword ptr [gdt + FREE + 8], 0
        PTE(FRAME + 7, 0)
        mov eax, FREE
        lldt ax
        FAULTS("SMAP: implicit access", 1, mov ecx, 0xf; stac; 6: mov fs, ecx)
        xor eax, eax
        lldt ax
        SET_CR4(0, 0x200000)
8:      call everybody
9:      /* PCIDs (4.10.1). */
        mov eax, 1
        cpuid
        mov ebx, TEST_PAGE + 8
        bt ecx, 17
        jnc 9f
        RAISES("PCIDE with a PCID in CR3", GP, 0, mov rax, cr3; or eax, 5; mov cr3, rax; mov rax, cr4; bts rax, 17; 6: mov cr4, rax)
        mov eax, TABLES
        mov cr3, rax
        SET_CR4(0x20000, 0)
        mov dword ptr [FRAME + 8], 1
        PTE(FRAME + 7, 0)
        mov eax, [rbx]
        mov eax, TABLES + 1 /* PCID 1 */
        mov cr3, rax
        mov eax, [rbx]
        mov dword ptr [TEST_TABLE], FRAME + 0x1007
        mov dword ptr [FRAME + 0x1008], 2
        mov eax, TABLES
        mov cr3, rax
        mov eax, [rbx]
        IS("MOV CR3 without bit 63 forgets its PCID", rax, 2)
        mov rax, cr3
        IS("CR3 reads as written", rax, TABLES)
        mov eax, TABLES + 1
        bts rax, 63
        mov cr3, rax
        mov rax, cr3
        IS("CR3 reads with its PCID and without bit 63", rax, TABLES + 1)
        invlpg [rbx]
        mov eax, [rbx]
        IS("INVLPG in PCID 1", rax, 2)
        RAISES("PG cleared with PCIDE", GP, 0, mov rax, cr0; btr rax, 31; 6: mov cr0, rax)
        mov eax, TABLES
        mov cr3, rax
        mov eax, 7
        xor ecx, ecx
        cpuid
        mov r8d, ebx
        mov ebx, TEST_PAGE + 8
        bt r8d, 10
        jnc 8f
        mov qword ptr [CELL], 0
        mov [CELL + 8], rbx
        mov eax, [rbx]
        mov dword ptr [TEST_TABLE], FRAME + 7
        xor eax, eax
        invpcid rax, [CELL]
        mov eax, [rbx]
        IS("INVPCID of an address", rax, 1)
        mov dword ptr [TEST_TABLE], FRAME + 0x1007
        mov eax, 1
        invpcid rax, [CELL]
        mov eax, [rbx]
        IS("INVPCID of a context", rax, 2)
        PTE(FRAME + 7 + G_, 0)
        mov eax, [rbx]
        mov dword ptr [TEST_TABLE], FRAME + 0x1007 + G_
        mov eax, 2
        invpcid rax, [CELL]
        mov eax, [rbx]
        IS("INVPCID of all with globals", rax, 2)
        mov dword ptr [TEST_TABLE], FRAME + 7
        invlpg [rbx]
        mov eax, [rbx]
        mov dword ptr [TEST_TABLE], FRAME + 0x1007
        mov eax, 3
        invpcid rax, [CELL]
        mov eax, [rbx]
        IS("INVPCID of all without globals", rax, 2)
        RAISES("INVPCID type 4", GP, 0, mov eax, 4; 6: invpcid rax, [CELL])
        mov qword ptr [CELL], 0x1000
        RAISES("INVPCID reserved", GP, 0, mov eax, 1; 6: invpcid rax, [CELL])
        mov qword ptr [CELL], 0
        mov rax, 0x800000000000
        mov [CELL + 8], rax
        RAISES("INVPCID not canonical", GP, 0, xor eax, eax; 6: invpcid rax, [CELL])
        USER_RAISES("INVPCID at level 3", GP, 0, 6: invpcid rax, [CELL])
8:      SET_CR4(0, 0x20000)
9:      SET_CR4(0, 0x80)
        PTE(0, 0)
        ret

supervisor:
        and dword ptr [DIRECTORY(0)], ~4
        and dword ptr [DIRECTORY(0) + 8], ~4
        and dword ptr [DIRECTORY(0) + 16], ~4
        and dword ptr [DIRECTORY(3) + 0xfb8], ~4 /* the local APIC's */
        jmp 1f
everybody:
        or dword ptr [DIRECTORY(0)], 4
        or dword ptr [DIRECTORY(0) + 8], 4
        or dword ptr [DIRECTORY(0) + 16], 4
        or dword ptr [DIRECTORY(3) + 0xfb8], 4
1:      mov rax, cr3
        mov cr3, rax
        ret
