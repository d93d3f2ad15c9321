/* P1 other ABIs' numbers, P2 the 32-bit entry, P4 namespaces, P5 mounts, P22 handles, P41 personality; and every call that the profile does not name. */
#include "tests/attack/attack.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* Newer than the headers at hand; numbers are those of x86-64. */
#define SYS_(name, nr) ((nr) >= 0 ? (nr) : SYS_##name)
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack 453
#endif
#ifndef SYS_futex_wake
#define SYS_futex_wake 454
#define SYS_futex_wait 455
#define SYS_futex_requeue 456
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif

static const int named[] = {
#define GROUP(name, why)
#define CALL(name, nr) SYS_(name, nr),
#include "sandbox/confine/calls.h"
#undef CALL
};

static int x32(void *arg) {
    long r = syscall(0x40000000L | *(long *)arg, -1, 0, 0, 0, 0, 0);
    return r == -1 && errno == ENOSYS ? 1 : 0;
}

/* Killed, or no such call; anything else is a way past the filter. */
static void p1_x32(void) {
    long through = 0;
    for (long nr = 0; nr < 1024; nr++) {
        int r = in_child(x32, &nr);
        if (r != -SIGSYS && r != 1) through++;
    }
    say_count("P1.x32", "through", through);
}

#if defined __x86_64__
static int int80(void *arg) {
    long nr = *(long *)arg, r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(1L), "c"(0L), "d"(0L), "S"(0L), "D"(0L) : "memory", "r8", "r9", "r10", "r11");
    return r == -ENOSYS ? 1 : 0;
}
#endif

/* A 32-bit program of one instruction pair: exit(0) by int 0x80. */
static int run_elf32(void *arg) {
    static const unsigned char elf[] = { 0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 1, 0, 0, 0, 0x54, 0x80, 4, 8, 52, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 4, 8, 0, 0x80, 4, 8, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 5, 0, 0, 0, 0, 0x10, 0, 0,
        0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80, 0x90, 0x90, 0x90 };
    int fd = memfd_create("elf32", MFD_CLOEXEC);
    if (fd < 0 || write(fd, elf, sizeof elf) != (ssize_t)sizeof elf) return 2;
    char *argv[] = { (char *)"elf32", NULL };
    syscall(SYS_execveat, fd, "", argv, argv + 1, AT_EMPTY_PATH);
    return errno == ENOEXEC || errno == EACCES ? 1 : 3;
}

static void p2_ia32(void) {
#if defined __x86_64__
    static const long nrs[] = { 4 /* write */, 20 /* getpid */, 102 /* socketcall */, 21 /* mount */, 120 /* clone */, 11 /* execve */ };
    long through = 0;
    for (unsigned i = 0; i < sizeof nrs / sizeof *nrs; i++) {
        long nr = nrs[i];
        int r = in_child(int80, &nr);
        if (r >= 0 && r != 1) through++;
    }
    say_count("P2.int80", "through", through);
#endif
    int r = in_child(run_elf32, NULL);
    say("P2.elf32", r < 0 || r == 1 ? "refused" : "ok", "-");
}

static const unsigned ns_flags[] = { 0x10000000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000, 0x00020000, 0x80 /* time: unshare only */ };
static const char *const ns_names[] = { "user", "pid", "net", "ipc", "uts", "cgroup", "mnt", "time" };

static int try_unshare(void *arg) { return unshare(*(int *)arg) ? errno : 0; }
static int try_clone(void *arg) {
    long pid = syscall(SYS_clone, (unsigned long)*(int *)arg | SIGCHLD, NULL, NULL, NULL, 0);
    if (!pid) _exit(0);
    if (pid < 0) return errno;
    waitpid((pid_t)pid, NULL, 0);
    return 0;
}

static void *thread(void *arg) { return arg; }

static void p4_namespaces(void) {
    char id[64];
    for (unsigned i = 0; i < 8; i++) {
        int flag = (int)ns_flags[i];
        errno = in_child(try_unshare, &flag);
        snprintf(id, sizeof id, "P4.unshare.%s", ns_names[i]);
        try_(id, errno ? -1 : 0);
        if (i == 7) continue;
        errno = in_child(try_clone, &flag);
        snprintf(id, sizeof id, "P4.clone.%s", ns_names[i]);
        try_(id, errno ? -1 : 0);
    }
    long through = 0;
    for (unsigned set = 1; set < 256; set++) {
        int flags = 0;
        for (unsigned i = 0; i < 8; i++)
            if (set >> i & 1) flags |= (int)ns_flags[i];
        through += in_child(try_unshare, &flags) == 0;
        if (set < 128) through += in_child(try_clone, &flags) == 0;
    }
    say_count("P4.combinations", "through", through);
    try_("P4.clone3", syscall(SYS_clone3, NULL, 0));
    pthread_t t;
    say("P4.thread", pthread_create(&t, NULL, thread, NULL) || pthread_join(t, NULL) ? "refused" : "ok", "0");
    static const char *const files[] = { "user", "mnt", "pid", "net", "ipc", "uts", "cgroup" };
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/ns/%s", files[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        snprintf(id, sizeof id, "P4.setns.%s", files[i]);
        try_(id, setns(fd, 0));
        if (fd >= 0) close(fd);
        snprintf(path, sizeof path, "/proc/1/ns/%s", files[i]);
        snprintf(id, sizeof id, "P4.agent_ns.%s", files[i]);
        try_fd(id, open(path, O_RDONLY | O_CLOEXEC));
    }
}

static void p5_mounts(void) {
    int here = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
    try_("P5.mount.tmpfs", mount("x", "/tmp", "tmpfs", 0, NULL));
    try_("P5.mount.bind", mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL));
    try_("P5.mount.proc", mount("x", "/tmp", "proc", 0, NULL));
    try_("P5.mount.cgroup", mount("x", "/tmp", "cgroup", 0, "memory"));
    try_("P5.mount.cgroup2", mount("x", "/tmp", "cgroup2", 0, NULL));
    try_("P5.mount.sysfs", mount("x", "/tmp", "sysfs", 0, NULL));
    try_("P5.mount.fuse", mount("x", "/tmp", "fuse", 0, "fd=0,rootmode=40000,user_id=0,group_id=0"));
    try_("P5.mount.overlay", mount("x", "/tmp", "overlay", 0, "lowerdir=/,upperdir=/tmp,workdir=/tmp"));
    try_("P5.mount.remount", mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
    try_("P5.umount", umount2("/proc/sys", MNT_DETACH));
    try_("P5.pivot_root", syscall(SYS_pivot_root, ".", "."));
    try_("P5.chroot", chroot("/tmp"));
    try_fd("P5.fsopen", syscall(430, "tmpfs", 0));
    try_("P5.fsconfig", syscall(431, -1, 6, NULL, NULL, 0));
    try_("P5.fsmount", syscall(432, -1, 0, 0));
    try_fd("P5.fspick", syscall(433, here, "", 0));
    try_fd("P5.open_tree", syscall(428, here, "", AT_EMPTY_PATH | 1 /* clone */));
    try_("P5.move_mount", syscall(429, here, "", here, "", 0x44));
    try_("P5.mount_setattr", syscall(442, here, "", AT_EMPTY_PATH, (uint64_t[4]){ 0 }, 32));
    try_("P5.open_tree_attr", syscall(467, here, "", AT_EMPTY_PATH, NULL, 0));
    try_("P5.statmount", syscall(457, NULL, NULL, 0, 0));
    try_("P5.listmount", syscall(458, NULL, NULL, 0, 0));
    struct { unsigned bytes; int type; unsigned char f[128]; } handle = { .bytes = 128 };
    int id;
    try_("P22.name_to_handle_at", syscall(SYS_name_to_handle_at, here, "", &handle, &id, AT_EMPTY_PATH));
    handle.bytes = 8;
    handle.type = 1;
    try_fd("P22.open_by_handle_at", syscall(SYS_open_by_handle_at, here, &handle, O_RDONLY));
    close(here);
}

static int set_personality(void *arg) { return syscall(SYS_personality, *(long *)arg) == -1 ? errno : 0; }

static void p41_personality(void) {
    static const struct { const char *id; long value; } p[] = { { "P41.personality.no_randomize", 0x40000 }, { "P41.personality.read_implies_exec", 0x400000 },
        { "P41.personality.linux32", 8 }, { "P41.personality.high_bits", 0x100000000L | 0x40000 }, { "P41.personality.linux", 0 }, { "P41.personality.ask", 0xffffffffL } };
    for (unsigned i = 0; i < sizeof p / sizeof *p; i++) {
        long v = p[i].value;
        errno = in_child(set_personality, &v);
        try_(p[i].id, errno ? -1 : 0);
    }
}

/* uretprobe and uprobe: the kernel itself lets these by any filter (6.14) and kills who calls them from elsewhere than its own trampoline. */
enum { NR_URETPROBE = 335, NR_UPROBE = 336 };
static int probe_call(void *arg) { return syscall(*(int *)arg) == -1 ? errno : 0; }

/* Numbers that the profile does not name, with arguments that do nothing. Allowed: a hole. */
static void unnamed_calls(void) {
    long through = 0;
    for (int nr = 0; nr < 1024; nr++) {
        bool is_named = false;
        for (unsigned i = 0; i < sizeof named / sizeof *named; i++) is_named |= named[i] == nr;
        if (is_named) continue;
        if (nr == NR_URETPROBE || nr == NR_UPROBE) {
            int r = in_child(probe_call, &nr);
            through += r >= 0 && r != ENOSYS && r != EPERM && r != ENXIO;
            continue;
        }
        long r = syscall(nr, -1, -1, -1, -1, -1, -1);
        if (r != -1 || (errno != ENOSYS && errno != EPERM)) {
            char id[32];
            snprintf(id, sizeof id, "calls.%d", nr);
            try_(id, r);
            through++;
        }
    }
    say_count("calls.unnamed", "through", through);
}

void rows_calls(void) {
    p1_x32();
    p2_ia32();
    p4_namespaces();
    p5_mounts();
    p41_personality();
    unnamed_calls();
}
