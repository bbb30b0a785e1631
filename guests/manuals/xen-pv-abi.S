/*
 * Xen's interface for a 64-bit PV guest (xen/include/public; what an unprivileged domain is answered as of Xen 4.17): start info, version, traps,
 * callbacks, page tables and their types, event channels, time, memory, grants, and the errors of each for wrong arguments. The second page is
 * Xen's hypercall page. Xen 4.17 itself gives the same answers to this kernel as its dom0 (under QEMU), but for what a dom0 is and may and
 * has not (console, store), and for the error code of #GP by INT n, which QEMU's TCG has wrong.
 */
#define BASE 0xffffffff80000000
#define NONE 0xff
#define SELF 0x7ff0
#define M2P 0xffff800000000000
#define EPERM (-1)
#define ENOENT (-2)
#define ESRCH (-3)
#define ENXIO (-6)
#define EACCES (-13)
#define EFAULT (-14)
#define EBUSY (-16)
#define EEXIST (-17)
#define ENODEV (-19)
#define EINVAL (-22)
#define ENOSYS (-38)
/* hypercalls */
#define set_trap_table 0
#define mmu_update 1
#define set_gdt 2
#define stack_switch 3
#define set_callbacks 4
#define fpu_taskswitch 5
#define platform_op 7
#define set_debugreg 8
#define get_debugreg 9
#define memory_op 12
#define multicall 13
#define update_va_mapping 14
#define set_timer_op 15
#define xen_version 17
#define console_io 18
#define grant_table_op 20
#define vm_assist 21
#define hyper_iret 23
#define vcpu_op 24
#define set_segment_base 25
#define mmuext_op 26
#define nmi_op 28
#define sched_op 29
#define callback_op 30
#define event_channel_op 32
#define sysctl 35
#define domctl 36
#define kexec_op 37

#define GO(number) call hypercalls + 32 * number
#define ARGUMENTS(a, b, c, d) mov rdi, a; mov rsi, b; mov rdx, c; mov r10, d;
#define IS2(what, more, got, wanted) push wanted; push got; call 91f; .ascii what; .asciz more; 91: call compare
#define IS(what, got, wanted) IS2(what, "", got, wanted)
#define ANSWERS(what, wanted, number, a, b, c, d) ARGUMENTS(a, b, c, d) GO(number); IS(what, rax, wanted)
#define BEGIN mov qword ptr [resume], offset 7f; mov qword ptr [seen], NONE; mov [saved], rsp;
#define END 7: mov rsp, [saved]; mov qword ptr [resume], 0;
#define RAISES(what, vector, error, ...) BEGIN __VA_ARGS__; END IS2(what, " (vector)", qword ptr [seen], vector); \
        IS2(what, " (error code)", qword ptr [code], error); IS2(what, " (IP)", qword ptr [ip], offset 6b)
#define PASSES(what, ...) BEGIN __VA_ARGS__; END IS2(what, " (vector)", qword ptr [seen], NONE)
#define D(at) dword ptr [arg + (at)]
#define Q(at) qword ptr [arg + (at)]
#define W(at) word ptr [arg + (at)]
#define CLEAN call clean
#define EVENT(command) ARGUMENTS(command, offset arg, 0, 0) GO(event_channel_op)
#define EVENT_IS(what, command, wanted) EVENT(command); IS(what, rax, wanted)
#define D_IS(what, at, wanted) mov eax, D(at); IS(what, rax, wanted)
#define MMUEXT(command, first, second) CLEAN; mov D(0), command; mov rax, first; mov Q(8), rax; mov rax, second; mov Q(16), rax; ARGUMENTS(offset arg, 1, 0, SELF) GO(mmuext_op)
#define MMUEXT_IS(what, wanted, command, first, second) MMUEXT(command, first, second); IS(what, rax, wanted)
#define MAP(flags) mov rdi, offset page; mov rsi, [page_mfn]; shl rsi, 12; or rsi, flags; mov edx, 2; xor r10d, r10d; GO(update_va_mapping)
#define MAP_IS(what, flags, wanted) MAP(flags); IS(what, rax, wanted)

        .intel_syntax noprefix
        .text
        .globl start
start:  jmp begin
        .org 0x1000
hypercalls:
        .org 0x2000
begin:  cld
        mov [info], rsi
        call set_up
        mov eax, [rbx]
        IS("magic", rax, 0x2d6e6578)
        mov rax, [rbx + 32]
        mov [pages], rax
        shr rax, 12
        IS("pages: nearly 64 MiB", rax, 3)
        mov eax, [rbx + 48]
        and eax, 3
        IS("flags: neither privileged nor the first domain", rax, 0)
        mov rax, [rbx + 40]
        and eax, 0xfff
        IS("shared info: a page", rax, 0)
        mov rcx, [rbx + 104]
        mov rax, [rbx + 72]
        mov rdx, M2P
        mov rax, [rdx + 8 * rax]
        mov rdx, [rbx + 72]
        IS("console: its page is ours", qword ptr [rcx + 8 * rax], rdx)
        mov rax, [rbx + 56]
        mov rdx, M2P
        mov rax, [rdx + 8 * rax]
        mov rdx, [rbx + 56]
        IS("store: its page is ours", qword ptr [rcx + 8 * rax], rdx)
        mov eax, [rbx + 64]
        mov edx, [rbx + 80]
        sub eax, edx
        setz al
        movzx eax, al
        IS("store and console: two ports", rax, 0)
        mov rax, [page_mfn]
        mov rdx, M2P
        mov rcx, offset page
        mov rdx, [rdx + 8 * rax]
        shl rdx, 12
        mov eax, offset page - BASE
        IS("machine to physical", rdx, rax)
        mov eax, cs
        IS("CS", rax, 0xe033)
        mov eax, ss
        IS("SS", rax, 0xe02b)

        /* Version. */
        ARGUMENTS(0, 0, 0, 0) GO(xen_version)
        shr rax, 16
        IS("version 4", rax, 4)
        ANSWERS("version: page size", 4096, xen_version, 7, 0, 0, 0)
        ANSWERS("version: extra", 0, xen_version, 1, offset arg, 0, 0)
        ANSWERS("version: capabilities", 0, xen_version, 3, offset arg, 0, 0)
        mov eax, [arg]
        IS("version: capabilities: xen-", rax, 0x2d6e6578)
        ANSWERS("version: platform", 0, xen_version, 5, offset arg, 0, 0)
        mov rdx, M2P
        IS("version: platform: Xen's place", qword ptr [arg], rdx)
        CLEAN
        ANSWERS("version: features", 0, xen_version, 6, offset arg, 0, 0)
        mov eax, D(4)
        and eax, 0x24 /* auto_translated_physmap, mmu_pt_update_preserve_ad */
        IS("version: features: not translated, preserves A and D", rax, 0x20)
        mov D(0), 7
        ANSWERS("version: more features", EINVAL, xen_version, 6, offset arg, 0, 0)
        ANSWERS("version: handle", 0, xen_version, 8, offset arg, 0, 0)
        ANSWERS("version: unknown", ENOSYS, xen_version, 77, offset arg, 0, 0)
        ANSWERS("version: no memory", EFAULT, xen_version, 1, 0, 0, 0)
        mov rbx, M2P
        ANSWERS("version: Xen's memory", EFAULT, xen_version, 3, rbx, 0, 0)
        ANSWERS("no such hypercall", ENOSYS, 60, 0, 0, 0, 0)

        /* Traps. */
        RAISES("UD2", 6, 0, 6: ud2)
        RAISES("DIV by 0", 0, 0, xor ecx, ecx; 6: div ecx)
        RAISES("INT3", 3, 0, int3; 6:)
        RAISES("INT 80h", 0x80, 0, int 0x80; 6:)
        RAISES("INT 81h, gate of level 0", 13, 0x81 * 8 + 2, 6: int 0x81)
        RAISES("INT 82h, no gate", 13, 0x82 * 8 + 2, 6: int 0x82)
        RAISES("not canonical", 13, 0, mov rax, 0x800000000000; 6: mov eax, [rax])
        RAISES("write to nowhere", 14, 2, mov eax, 0x1000; 6: mov [rax], eax)
        IS("write to nowhere: CR2", qword ptr [shared + 16], 0x1000)
        RAISES("read of nowhere", 14, 0, mov eax, 0x2008; 6: mov eax, [rax])
        IS("read of nowhere: CR2", qword ptr [shared + 16], 0x2008)
        RAISES("unknown MSR", 13, 0, mov ecx, 0xdeadbeef; 6: rdmsr)
        PASSES("HLT's kin: CLTS", clts)
        PASSES("MOV from CR0", mov rax, cr0)
        RAISES("LGDT", 13, 0, 6: lgdt [arg])
        mov eax, [cs_]
        and eax, 0xfffc
        IS("CS in the frame", rax, 0xe030)
        ANSWERS("traps: no memory", EFAULT, set_trap_table, 8, 0, 0, 0)
        CLEAN
        mov byte ptr [arg], 0x83
        mov W(2), 0xe033
        mov rax, 0x800000000000
        mov Q(8), rax
        ANSWERS("traps: not canonical", EINVAL, set_trap_table, offset arg, 0, 0, 0)
        ANSWERS("fpu_taskswitch: set", 0, fpu_taskswitch, 1, 0, 0, 0)
        RAISES("#NM", 7, 0, 6: fld1)
        ANSWERS("fpu_taskswitch: clear", 0, fpu_taskswitch, 0, 0, 0, 0)
        PASSES("no #NM", fninit)

        /* Callbacks, segment bases, IRET. */
#define CALLBACK(type, address) CLEAN; mov W(0), type; mov rax, address; mov Q(8), rax; ARGUMENTS(0, offset arg, 0, 0) GO(callback_op)
        CALLBACK(0, offset upcall)
        IS("callback: event", rax, 0)
        CALLBACK(1, offset failsafe)
        IS("callback: failsafe", rax, 0)
        CALLBACK(2, offset failsafe)
        IS("callback: syscall", rax, 0)
        CALLBACK(4, offset failsafe)
        IS("callback: NMI", rax, 0)
        CALLBACK(99, offset failsafe)
        IS("callback: unknown", rax, ENOSYS)
        CALLBACK(0, 0x800000000000)
        IS("callback: not canonical", rax, EINVAL)
        ANSWERS("callback: unknown command", ENOSYS, callback_op, 9, offset arg, 0, 0)
        ANSWERS("callback: no memory", EFAULT, callback_op, 0, 0, 0, 0)
        CLEAN
        ANSWERS("callback: events cannot do without", EINVAL, callback_op, 1, offset arg, 0, 0)
        mov W(0), 4
        ANSWERS("callback: no NMI", 0, callback_op, 1, offset arg, 0, 0)
        ANSWERS("set_callbacks", 0, set_callbacks, offset upcall, offset failsafe, offset failsafe, 0)
        ANSWERS("FS base", 0, set_segment_base, 0, offset marker, 0, 0)
        IS("FS base: is there", qword ptr fs:[0], 0x600d)
        ANSWERS("GS base", 0, set_segment_base, 2, offset marker, 0, 0)
        IS("GS base: is there", qword ptr gs:[0], 0x600d)
        mov rbx, 0x800000000000
        ANSWERS("FS base: not canonical", EINVAL, set_segment_base, 0, rbx, 0, 0)
        ANSWERS("segment base: unknown", EINVAL, set_segment_base, 9, 0, 0, 0)
        mov byte ptr [shared + 1], 1
        mov [saved], rsp
        push 0xe02b
        push qword ptr [saved]
        push 0x2d7
        push 0xe030 /* level 3 would be user mode */
        push offset 1f
        push 0
        mov ecx, 0x1c
        mov r11d, 0x11
        mov eax, 0xaa
        jmp hypercalls + 32 * hyper_iret /* it pushes them */
1:      pushfq
        pop rbx
        and ebx, 0xd5
        mov r12, rcx
        mov r13, r11
        IS("IRET: RAX", rax, 0xaa)
        IS("IRET: RCX", r12, 0x1c)
        IS("IRET: R11", r13, 0x11)
        IS("IRET: flags", rbx, 0xd5)
        movzx eax, byte ptr [shared + 1]
        IS("IRET: IF unmasks events", rax, 0)
        mov byte ptr [shared + 1], 1
        ANSWERS("debug register: set", 0, set_debugreg, 0, 0x1234, 0, 0)
        ANSWERS("debug register: get", 0x1234, get_debugreg, 0, 0, 0, 0)
        mov rbx, M2P
        ANSWERS("debug register: Xen's memory", EPERM, set_debugreg, 0, rbx, 0, 0)
        ANSWERS("debug register: no such", ENODEV, set_debugreg, 9, 0, 0, 0)
        ANSWERS("debug register: clear", 0, set_debugreg, 0, 0, 0, 0)
        ANSWERS("assist: unknown command", ENOSYS, vm_assist, 9, 0, 0, 0)
        ANSWERS("assist: unknown type", EINVAL, vm_assist, 0, 60, 0, 0)
        ANSWERS("assist: 4 GiB segments", 0, vm_assist, 0, 0, 0, 0)
        ANSWERS("NMI: unknown", ENOSYS, nmi_op, 9, 0, 0, 0)
        ANSWERS("GDT: too long", EINVAL, set_gdt, offset arg, 8000, 0, 0)
        CLEAN
        mov Q(0), -1
        ANSWERS("GDT: no frame", EINVAL, set_gdt, offset arg, 512, 0, 0)

        /* Many calls in one. */
        CLEAN
        mov Q(0), xen_version
        mov Q(16), 7
        mov Q(64), 60
        mov Q(128), xen_version
        mov Q(144), 77
        ANSWERS("multicall", 0, multicall, offset arg, 3, 0, 0)
        IS("multicall: page size", Q(8), 4096)
        IS("multicall: no such", Q(72), ENOSYS)
        IS("multicall: unknown", Q(136), ENOSYS)
        ANSWERS("multicall: none", 0, multicall, offset arg, 0, 0, 0)
        ANSWERS("multicall: no memory", EFAULT, multicall, 0, 1, 0, 0)

        /* Page tables. 7: present, writable, user; page is ours to map. */
        MAP_IS("map: read-only", 5, 0)
        RAISES("map: read-only: write", 14, 3, 6: mov dword ptr [page], 1)
        MAP_IS("map: writable", 7, 0)
        PASSES("map: writable: write", mov dword ptr [page], 1)
        ANSWERS("map: nothing", 0, update_va_mapping, offset page, 0, 2, 0)
        RAISES("map: nothing: read", 14, 0, 6: mov eax, [page])
        MAP_IS("map: again", 7, 0)
        mov rbx, 0x0008000000000007
        ANSWERS("map: no such frame", EPERM, update_va_mapping, offset page, rbx, 2, 0)
        mov rbx, M2P
        ANSWERS("map: Xen's memory", EINVAL, update_va_mapping, rbx, 0, 2, 0)
        mov rbx, [l1_mfn]
        shl rbx, 12
        or rbx, 7
        ANSWERS("map: a page table, writable", EBUSY, update_va_mapping, offset page, rbx, 2, 0)
        mov rbx, [l1_mfn]
        shl rbx, 12
        or rbx, 5
        ANSWERS("map: a page table, read-only", 0, update_va_mapping, offset page, rbx, 2, 0)
        MAP_IS("map: what it was", 7, 0)
#define UPDATE(what, wanted, command, value) CLEAN; mov rax, [l1e]; or rax, command; mov Q(0), rax; mov rax, value; mov Q(8), rax; ARGUMENTS(offset arg, 1, offset arg + 64, SELF) GO(mmu_update); IS(what, rax, wanted)
        mov rbx, [page_mfn]
        shl rbx, 12
        or rbx, 5
        UPDATE("update: read-only", 0, 0, rbx)
        D_IS("update: done", 64, 1)
        MMUEXT_IS("INVLPG", 0, 7, offset page, 0)
        RAISES("update: read-only: write", 14, 3, 6: mov dword ptr [page], 1)
        or rbx, 2
        UPDATE("update: writable, preserving A and D", 0, 2, rbx)
        MMUEXT_IS("flush", 0, 6, 0, 0)
        PASSES("update: writable: write", mov dword ptr [page], 1)
        CLEAN
        mov rax, 0xffffffff001
        mov Q(0), rax
        ANSWERS("update: machine to physical of a frame that is not ours", EINVAL, mmu_update, offset arg, 1, 0, SELF)
        ANSWERS("update: nothing", 0, mmu_update, offset arg, 0, 0, SELF)
        ANSWERS("update: no memory", EFAULT, mmu_update, 0, 1, 0, SELF)
        ANSWERS("update: no such domain", ESRCH, mmu_update, offset arg, 1, 0, 1234)
        /* Pins and types. */
        mov rdi, offset page
        xor eax, eax
        mov ecx, 512
        rep stosq
        mov rbx, [page_mfn]
        MMUEXT(0, rbx, 0)
        IS("pin: what is mapped writable", rax, EINVAL)
        MAP_IS("pin: read-only", 5, 0)
        MMUEXT_IS("pin", 0, 0, rbx, 0)
        MMUEXT_IS("pin: twice", EINVAL, 0, rbx, 0)
        MAP(7)
        IS("pin: what is pinned is not writable", rax, EBUSY)
        MMUEXT(1, rbx, 0)
        IS("pin: L1 is no L2", rax, EINVAL)
        MMUEXT(5, rbx, 0)
        IS("base: L1 is no L4", rax, EINVAL)
        MMUEXT(16, rbx, 0)
        IS("clear: a page table", rax, EINVAL)
        MMUEXT_IS("unpin", 0, 4, rbx, 0)
        MMUEXT_IS("unpin: twice", EINVAL, 4, rbx, 0)
        MAP_IS("unpinned: writable", 7, 0)
        mov dword ptr [page], 0x1d
        MMUEXT_IS("clear", 0, 16, rbx, 0)
        IS("clear: it is", qword ptr [page], 0)
        mov r12, [arg_mfn]
        MMUEXT_IS("copy", 0, 17, rbx, r12)
        mov eax, [page]
        IS("copy: it is", rax, 17)
        MMUEXT_IS("unknown operation", ENOSYS, 99, 0, 0)
        MMUEXT_IS("flush all", 0, 10, 0, 0)
        MMUEXT_IS("LDT: none", 0, 13, 0, 0)
        MMUEXT_IS("LDT: too long", EINVAL, 13, offset page, 9000)
        MMUEXT_IS("LDT: odd address", EINVAL, 13, offset page + 8, 1)
        MMUEXT(3, 0xffffffffff, 0)
        IS("pin: no such frame", rax, EINVAL)
        ANSWERS("mmuext: none", 0, mmuext_op, offset arg, 0, 0, SELF)
        ANSWERS("mmuext: no memory", EFAULT, mmuext_op, 0, 1, 0, SELF)

        /* Event channels. */
#define UNBOUND CLEAN; mov W(0), SELF; mov W(2), SELF; EVENT(6)
        UNBOUND
        IS("unbound", rax, 0)
        mov r14d, D(4)
        test r14d, r14d
        setnz al
        movzx eax, al
        IS("unbound: a port", rax, 1)
#define STATUS(port) CLEAN; mov W(0), SELF; mov D(4), port; EVENT(5)
        STATUS(r14d)
        D_IS("status: unbound", 8, 1)
        CLEAN
        mov D(0), r14d
        EVENT_IS("send: unbound is no error", 4, 0)
        CLEAN
        mov W(0), SELF
        mov D(4), r14d
        EVENT_IS("interdomain", 0, 0)
        mov r15d, D(8)
        bt qword ptr [shared + 2048], r15
        setc al
        movzx eax, al
        IS("interdomain: pends at once, for what may have been lost", rax, 1)
        mov qword ptr [shared + 2048], 0
        STATUS(r14d)
        D_IS("status: interdomain", 8, 2)
        CLEAN
        mov W(0), SELF
        mov D(4), r14d
        EVENT_IS("interdomain: what is bound", 0, EINVAL)
        CLEAN
        mov D(0), r15d
        EVENT_IS("send", 4, 0)
        bt qword ptr [shared + 2048], r14
        setc al
        movzx eax, al
        IS("send: the other end is pending", rax, 1)
        bt qword ptr [shared + 2048], r15
        setc al
        movzx eax, al
        IS("send: this end is not", rax, 0)
        CLEAN
        mov D(0), r15d
        EVENT_IS("close", 3, 0)
        EVENT_IS("close: twice", 3, EINVAL)
        EVENT_IS("send: closed", 4, EINVAL)
        STATUS(r14d)
        D_IS("status: the other end is unbound again", 8, 1)
        CLEAN
        mov D(0), r14d
        EVENT_IS("close: the other", 3, 0)
        STATUS(r14d)
        D_IS("status: closed", 8, 0)
        STATUS(0xffffff)
        IS("status: no such port", rax, EINVAL)
        CLEAN
        mov D(0), 0xffffff
        EVENT_IS("send: no such port", 4, EINVAL)
        EVENT_IS("close: no such port", 3, EINVAL)
        CLEAN
        mov W(0), 1234
        mov W(2), SELF
        EVENT(6)
        IS("unbound: no such domain", rax, ESRCH)
        CLEAN
        mov W(0), 1234
        mov D(4), 1
        EVENT_IS("interdomain: no such domain", 0, ESRCH)
        ANSWERS("event: unknown", ENOSYS, event_channel_op, 99, offset arg, 0, 0)
        ANSWERS("event: no memory", EFAULT, event_channel_op, 6, 0, 0, 0)
        CLEAN
        EVENT_IS("VIRQ: timer", 1, 0)
        mov r14d, D(8)
        EVENT_IS("VIRQ: twice", 1, EEXIST)
        STATUS(r14d)
        D_IS("status: VIRQ", 8, 4)
        CLEAN
        mov D(0), 99
        EVENT_IS("VIRQ: no such", 1, EINVAL)
        CLEAN
        mov D(4), 5
        EVENT_IS("VIRQ: no such VCPU", 1, ENOENT)
        CLEAN
        mov D(0), 5
        EVENT_IS("IPI: no such VCPU", 7, ENOENT)
        CLEAN
        EVENT_IS("IPI", 7, 0)
        mov r15d, D(4)
        STATUS(r15d)
        D_IS("status: IPI", 8, 5)
        CLEAN
        mov D(0), r15d
        mov D(4), 0
        EVENT_IS("an IPI's VCPU is fixed", 8, EINVAL)
        CLEAN
        mov D(0), 1
        EVENT(2)
        IS("no hardware's interrupts", rax, EPERM)
        /* It comes. */
        btr qword ptr [shared + 2560], r15
        CLEAN
        mov D(0), r15d
        mov byte ptr [shared + 1], 0
        BEGIN
        ARGUMENTS(4, offset arg, 0, 0)
        GO(event_channel_op)
        END
        IS("upcall", qword ptr [seen], 0x100)
        movzx eax, byte ptr [shared + 1]
        IS("upcall: masked meanwhile", rax, 1)
        movzx eax, byte ptr [shared]
        IS("upcall: pending", rax, 1)
        mov rax, [cs_]
        shr rax, 32
        and eax, 0xff
        IS("upcall: was not masked", rax, 0)
        mov byte ptr [shared], 0
        mov qword ptr [shared + 8], 0
        mov qword ptr [shared + 2048], 0
        bts qword ptr [shared + 2560], r15
        CLEAN
        mov D(0), r15d
        EVENT_IS("send: masked", 4, 0)
        movzx eax, byte ptr [shared]
        IS("send: masked: nothing pends", rax, 0)
        EVENT_IS("unmask", 9, 0)
        movzx eax, byte ptr [shared]
        IS("unmask: it pends", rax, 1)
        bt qword ptr [shared + 2560], r15
        setc al
        movzx eax, al
        IS("unmask: not masked", rax, 0)
        mov byte ptr [shared], 0
        mov qword ptr [shared + 8], 0
        mov qword ptr [shared + 2048], 0

        /* Time. */
        ANSWERS("timer: none", 0, set_timer_op, 0, 0, 0, 0)
        btr qword ptr [shared + 2560], r14
        ANSWERS("timer: long past", 0, set_timer_op, 1, 0, 0, 0)
        mov byte ptr [shared + 1], 0
        BEGIN
        ARGUMENTS(1, 0, 0, 0)
        GO(sched_op)
        END
        IS("block: an event ends it", qword ptr [seen], 0x100)
        bt qword ptr [shared + 2048], r14
        setc al
        movzx eax, al
        IS("timer: pends", rax, 1)
        mov byte ptr [shared], 0
        mov qword ptr [shared + 8], 0
        CLEAN
        mov [arg + 64], r14d
        mov Q(0), offset arg + 64
        mov D(8), 1
        ANSWERS("poll: it pends", 0, sched_op, 3, offset arg, 0, 0)
        mov D(64), 0xffffff
        ANSWERS("poll: no such port", EINVAL, sched_op, 3, offset arg, 0, 0)
        mov D(8), 1000
        ANSWERS("poll: too many", EINVAL, sched_op, 3, offset arg, 0, 0)
        mov qword ptr [shared + 2048], 0
        ANSWERS("yield", 0, sched_op, 0, 0, 0, 0)
        ANSWERS("sched: unknown", ENOSYS, sched_op, 99, offset arg, 0, 0)
        ANSWERS("poll: no memory", EFAULT, sched_op, 3, 0, 0, 0)
        /* VCPUs. */
        ANSWERS("VCPU: up", 1, vcpu_op, 3, 0, 0, 0)
        ANSWERS("VCPU: no such", ENOENT, vcpu_op, 3, 5, 0, 0)
        ANSWERS("VCPU: unknown", ENOSYS, vcpu_op, 99, 0, 0, 0)
        ANSWERS("VCPU: up already", 0, vcpu_op, 1, 0, 0, 0)
        CLEAN
        ANSWERS("run state", 0, vcpu_op, 4, 0, offset arg, 0)
        D_IS("run state: running", 0, 0)
        CLEAN
        mov Q(0), offset arg + 64
        mov D(64), 99
        ANSWERS("run state: register", 0, vcpu_op, 5, 0, offset arg, 0)
        D_IS("run state: written", 64, 0)
        ANSWERS("run state: no memory", EFAULT, vcpu_op, 5, 0, 0, 0)
        CLEAN
        mov Q(0), 1000
        ANSWERS("periodic timer: too short", EINVAL, vcpu_op, 6, 0, offset arg, 0)
        ANSWERS("periodic timer: none", 0, vcpu_op, 7, 0, 0, 0)
        CLEAN
        mov Q(0), 1
        mov D(8), 1
        ANSWERS("single shot: in the past", 0, vcpu_op, 8, 0, offset arg, 0)
        bt qword ptr [shared + 2048], r14
        setc al
        movzx eax, al
        IS("single shot: in the past: pends at once", rax, 1)
        mov byte ptr [shared], 0
        mov qword ptr [shared + 8], 0
        mov qword ptr [shared + 2048], 0
        ANSWERS("single shot: none", 0, vcpu_op, 9, 0, 0, 0)
        CLEAN
        mov rax, [page_mfn]
        mov Q(0), rax
        mov D(8), 4080
        ANSWERS("VCPU info: across pages", ENXIO, vcpu_op, 10, 0, offset arg, 0)
        mov D(8), 128
        mov byte ptr [shared + 1], 1
        ANSWERS("VCPU info", 0, vcpu_op, 10, 0, offset arg, 0)
        movzx eax, byte ptr [page + 129]
        IS("VCPU info: it has moved", rax, 1)
        ANSWERS("VCPU info: twice", EINVAL, vcpu_op, 10, 0, offset arg, 0)
        RAISES("VCPU info: a fault", 14, 2, mov eax, 0x3000; 6: mov [rax], eax)
        IS("VCPU info: CR2 is there", qword ptr [page + 128 + 16], 0x3000)

        /* Memory. */
        ARGUMENTS(2, 0, 0, 0) GO(memory_op)
        cmp rax, [pages]
        setae al
        movzx eax, al
        IS("memory: the last frame", rax, 1)
        CLEAN
        mov W(0), SELF
        ANSWERS("memory: ours", qword ptr [pages], memory_op, 3, offset arg, 0, 0)
        ANSWERS("memory: machine's map", EPERM, memory_op, 10, offset arg, 0, 0)
        ANSWERS("memory: unknown", ENOSYS, memory_op, 60, offset arg, 0, 0)
        ANSWERS("memory: machine to physical", 0, memory_op, 12, offset arg, 0, 0)
        mov rdx, M2P
        IS("memory: machine to physical: where", qword ptr [arg], rdx)
        /* The last page but one goes, and comes back. */
        mov rbx, [info]
        mov rcx, [rbx + 104]
        mov rbx, [pages]
        sub rbx, 2
        mov rax, [rcx + 8 * rbx]
        CLEAN
        mov Q(32), rax
        mov Q(0), offset arg + 32
        mov Q(8), 1
        mov W(24), SELF
        ANSWERS("memory: give back", 1, memory_op, 1, offset arg, 0, 0)
        ANSWERS("memory: what is not ours", 0, memory_op, 1, offset arg, 0, 0)
        mov W(64), SELF
        inc rbx
        ANSWERS("memory: one less", rbx, memory_op, 3, offset arg + 64, 0, 0)
        dec rbx
        mov Q(32), rbx
        ANSWERS("memory: populate", 1, memory_op, 6, offset arg, 0, 0)
        ANSWERS("memory: as before", qword ptr [pages], memory_op, 3, offset arg + 64, 0, 0)

        /* Grants. */
        CLEAN
        mov W(0), SELF
        ANSWERS("grants: size", 0, grant_table_op, 6, offset arg, 1, 0)
        movsx rax, W(12)
        IS("grants: size: status", rax, 0)
        mov eax, D(8)
        test eax, eax
        setnz al
        movzx eax, al
        IS("grants: size: frames there may be", rax, 1)
        CLEAN
        mov W(0), 1234
        ANSWERS("grants: size of a stranger", 0, grant_table_op, 6, offset arg, 1, 0)
        movsx rax, W(12)
        IS("grants: size of a stranger: status", rax, -2)
        CLEAN
        mov W(0), SELF
        mov D(4), 1
        mov Q(16), offset arg + 64
        ANSWERS("grants: set up", 0, grant_table_op, 2, offset arg, 1, 0)
        movsx rax, W(8)
        IS("grants: set up: status", rax, 0)
        mov D(4), 100000
        ANSWERS("grants: too many", 0, grant_table_op, 2, offset arg, 1, 0)
        movsx rax, W(8)
        IS("grants: too many: status", rax, -1)
        CLEAN
        mov W(0), SELF
        ANSWERS("grants: version", 0, grant_table_op, 10, offset arg, 1, 0)
        D_IS("grants: version 1", 4, 1)
        mov D(0), 3
        ANSWERS("grants: version 3", EINVAL, grant_table_op, 8, offset arg, 1, 0)
#define MAP_GRANT(what, flags, reference, domain, wanted) CLEAN; mov Q(0), offset page; mov D(8), flags; mov D(12), reference; mov W(16), domain; \
        ANSWERS(what, 0, grant_table_op, 0, offset arg, 1, 0); movsx rax, W(18); IS2(what, " (status)", rax, wanted)
        MAP_GRANT("grants: map nothing's", 2, 8, 1234, -2)
        MAP_GRANT("grants: map of SELF, which is no domain's number here", 2, 8, SELF, -2)
        MAP_GRANT("grants: map to nowhere", 0, 8, SELF, -3)
        CLEAN
        mov Q(0), offset page
        mov D(16), 0x7777
        ANSWERS("grants: unmap", 0, grant_table_op, 1, offset arg, 1, 0)
        movsx rax, W(20)
        IS("grants: unmap a wrong handle", rax, -4)
        ANSWERS("grants: unknown", ENOSYS, grant_table_op, 99, offset arg, 1, 0)
        ANSWERS("grants: no memory", EFAULT, grant_table_op, 6, 0, 1, 0)
        ANSWERS("grants: none", 0, grant_table_op, 0, offset arg, 0, 0)

        /* What is the privileged domain's. */
        CLEAN
        ANSWERS("domctl of another version", EACCES, domctl, offset arg, 0, 0, 0)
        ANSWERS("sysctl of another version", EACCES, sysctl, offset arg, 0, 0, 0)
        ANSWERS("domctl: no memory", EFAULT, domctl, 0, 0, 0, 0)
        ANSWERS("sysctl: no memory", EFAULT, sysctl, 0, 0, 0, 0)
        ANSWERS("platform", EACCES, platform_op, offset arg, 0, 0, 0)
        ANSWERS("kexec", EPERM, kexec_op, 0, offset arg, 0, 0)

        /* FIFO event channels. */
#define CONTROL(offset_, vcpu) CLEAN; mov rax, [fifo_mfn]; mov Q(0), rax; mov D(8), offset_; mov D(12), vcpu; EVENT(11)
        CONTROL(4, 0)
        IS("FIFO: control block not aligned", rax, EINVAL)
        CONTROL(4096, 0)
        IS("FIFO: control block beyond the page", rax, EINVAL)
        CONTROL(0, 5)
        IS("FIFO: no such VCPU", rax, ENOENT)
        CONTROL(0, 0)
        IS("FIFO", rax, 0)
        movzx eax, byte ptr [arg + 16]
        IS("FIFO: bits of a link", rax, 17)
        CLEAN
        mov rax, [array_mfn]
        mov Q(0), rax
        EVENT_IS("FIFO: array", 12, 0)
        CLEAN
        mov D(0), r15d
        mov dword ptr [array + 4 * r15], 0
        EVENT_IS("FIFO: send", 4, 0)
        mov eax, [array + 4 * r15]
        shr eax, 31
        IS("FIFO: pending", rax, 1)
        mov eax, [fifo]
        test eax, eax
        setnz al
        movzx eax, al
        IS("FIFO: ready", rax, 1)
        CLEAN
        mov D(0), r15d
        mov D(4), 3
        EVENT_IS("FIFO: priority", 13, 0)
        mov D(4), 16
        EVENT_IS("FIFO: no such priority", 13, EINVAL)

        mov rsi, offset ok_text
        cmp qword ptr [failed], 0
        je 1f
        mov rsi, offset bad_text
1:      call print
        mov rax, [count]
        call print_decimal
        call newline
leave_: CLEAN
        ARGUMENTS(2, offset arg, 0, 0)
        GO(sched_op)
1:      jmp 1b
ok_text: .asciz "ok "
bad_text: .asciz "failed, of "

/* RBX is the start info; frames of our pages, traps, the shared info's mapping. */
set_up: mov rbx, [info]
        mov rcx, [rbx + 104]
#define FRAME_OF(where, cell) mov eax, offset where - BASE; shr eax, 12; mov rax, [rcx + 8 * rax]; mov [cell], rax
        FRAME_OF(page, page_mfn)
        FRAME_OF(arg, arg_mfn)
        FRAME_OF(fifo, fifo_mfn)
        FRAME_OF(array, array_mfn)
        /* The page table of `page`: its entry's machine address. */
        mov rdi, [rbx + 88]
        mov rsi, offset page
        mov r8d, 39
1:      mov rax, rsi
        mov ecx, r8d
        shr rax, cl
        and eax, 511
        cmp r8d, 12
        je 2f
        mov rax, [rdi + 8 * rax]
        shr rax, 12
        mov rdx, 0xffffffffff
        and rax, rdx
        mov [l1_mfn], rax
        mov rdx, M2P
        mov rdi, [rdx + 8 * rax]
        shl rdi, 12
        mov rdx, BASE
        add rdi, rdx
        sub r8d, 9
        jmp 1b
2:      mov rdx, [l1_mfn]
        shl rdx, 12
        lea rax, [rdx + 8 * rax]
        mov [l1e], rax
        mov rbx, [info]
        mov rsi, [rbx + 40]
        or rsi, 7
        ARGUMENTS(offset shared, rsi, 2, 0)
        GO(update_va_mapping)
        push rax
        ARGUMENTS(offset traps, 0, 0, 0)
        GO(set_trap_table)
        pop rdx
        or rdx, rax
        IS("set up", rdx, 0)
        mov rbx, [info]
        ret

clean:  push rdi
        push rax
        push rcx
        mov rdi, offset arg
        xor eax, eax
        mov ecx, 64
        rep stosq
        pop rcx
        pop rax
        pop rdi
        ret

        .macro trap vector, has_code
trap\vector:
        .if !\has_code
        pop rcx
        pop r11
        push 0
        .else
        pop rcx
        pop r11
        .endif
        mov qword ptr [seen], \vector
        jmp noted
        .endm
        trap 0, 0
        trap 3, 0
        trap 6, 0
        trap 7, 0
        trap 13, 1
        trap 14, 1
        trap 128, 0
        trap 129, 0
upcall: mov qword ptr [seen], 0x100
        pop rcx
        pop r11
        push 0
noted:  pop qword ptr [code]
        pop qword ptr [ip]
        pop qword ptr [cs_]
        pop qword ptr [flags]
        cmp qword ptr [resume], 0
        je 1f
        mov rsp, [saved]
        jmp [resume]
1:      IS("an exception that no check expects", qword ptr [seen], NONE)
        IS("its IP", qword ptr [ip], 0)
        jmp leave_
failsafe:
        IS("the failsafe callback", 1, 0)
        jmp leave_

compare:
        pushfq
        push rax
        push rbx
        push rcx
        push rdx
        push rsi
        push rdi
        push r8
        push r9
        push r10
        push r11
        cld
        inc qword ptr [count]
        mov rax, [rsp + 8 * 13]
        cmp rax, [rsp + 8 * 14]
        je 1f
        inc qword ptr [failed]
        mov rsi, offset fail_text
        call print
        mov rsi, [rsp + 8 * 12]
        call print
        mov rsi, offset colon
        call print
        mov rax, [rsp + 8 * 13]
        call print_hex
        mov rsi, offset comma
        call print
        mov rax, [rsp + 8 * 14]
        call print_hex
        call newline
1:      pop r11
        pop r10
        pop r9
        pop r8
        pop rdi
        pop rsi
        pop rdx
        pop rcx
        pop rbx
        pop rax
        popfq
        ret 24
fail_text: .asciz "FAIL "
colon:  .asciz ": "
comma:  .asciz ", "
newline:
        mov al, 10
print_byte:
        mov [letter], al
        push rsi
        ARGUMENTS(0, 1, offset letter, 0)
        GO(console_io)
        pop rsi
        ret
print:  lodsb
        test al, al
        jz 1f
        call print_byte
        jmp print
1:      ret
print_hex:
        mov rbx, rax
        mov r9d, 16
1:      rol rbx, 4
        mov al, bl
        and al, 15
        add al, '0'
        cmp al, '9'
        jbe 2f
        add al, 'a' - '0' - 10
2:      push r9
        call print_byte
        pop r9
        dec r9d
        jnz 1b
        ret
print_decimal:
        mov ecx, 10
        xor edx, edx
        div rcx
        push rdx
        test rax, rax
        jz 1f
        call print_decimal
1:      pop rax
        add al, '0'
        call print_byte
        ret

        .balign 16
        .macro gate vector, level
        .byte \vector, \level
        .word 0xe033
        .long 0
        .quad trap\vector
        .endm
traps:  gate 0, 0
        gate 3, 3
        gate 6, 0
        gate 7, 0
        gate 13, 0
        gate 14, 0
        gate 128, 3
        gate 129, 0
        .quad 0, 0
marker: .quad 0x600d
info:   .quad 0
pages:  .quad 0 /* that we have */
seen:   .quad 0
code:   .quad 0
ip:     .quad 0
cs_:    .quad 0
flags:  .quad 0
resume: .quad 0
saved:  .quad 0
count:  .quad 0
failed: .quad 0
page_mfn: .quad 0
arg_mfn: .quad 0
fifo_mfn: .quad 0
array_mfn: .quad 0
l1_mfn: .quad 0
l1e:    .quad 0
letter: .byte 0
        .balign 4096

arg:    .skip 4096
page:   .skip 4096
shared: .skip 4096 /* the shared info is mapped here */
fifo:   .skip 4096
array:  .skip 4096
