#include "tests/lib/mini_box.h"
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "sandbox/confine/parts.h"

enum { ID_FIRST = 0x40000000, FAILED = 255 };
/* Shared by the processes of one run: where it failed. */
struct shared { char step[64]; int err; };
static struct shared *shared;

static void fail(const char *step) {
    shared->err = errno ? errno : EINVAL;
    snprintf(shared->step, sizeof shared->step, "%s", step);
    _exit(FAILED);
}
static void check(bool ok, const char *step) { if (!ok) fail(step); }

static void make_dir(const char *path) { check(!mkdir(path, 0755) || errno == EEXIST, path); }
static void make_file(const char *path) {
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    check(fd >= 0, path);
    close(fd);
}

static unsigned long no_suid_dev(const struct mini_box *b) {
    return (b->skip & MINI_NOSUID ? 0 : MS_NOSUID) | (b->skip & MINI_NODEV ? 0 : MS_NODEV);
}

static void bind_as(const char *from, const char *to, unsigned long flags) {
    check(!mount(from, to, NULL, MS_BIND, NULL), to);
    check(!mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RELATIME | flags, NULL), to);
}

/* The host's programs, read-only, as template `host` has them. */
static void bind_system(const struct mini_box *b) {
    static const char *const dirs[] = { "usr", "etc", "opt" }, *const links[] = { "bin", "sbin", "lib", "lib64", "lib32" };
    for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        char from[64];
        snprintf(from, sizeof from, "/%s", dirs[i]);
        if (access(from, F_OK)) continue;
        make_dir(dirs[i]);
        bind_as(from, dirs[i], MS_RDONLY | MS_NOSUID | MS_NODEV);
    }
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++) {
        char from[64], target[256];
        snprintf(from, sizeof from, "/%s", links[i]);
        ssize_t n = readlink(from, target, sizeof target - 1);
        if (n <= 0) continue;
        target[n] = '\0';
        check(!symlink(target, links[i]), links[i]);
    }
}

/* At its own path, whose directories are made. */
static void bind_writable(const struct mini_box *b, const char *from) {
    char at[512] = "";
    for (const char *p = b->writable; *p; p = strchrnul(p + 1, '/')) {
        snprintf(at, sizeof at, "%.*s", (int)(strchrnul(p + 1, '/') - b->writable - 1), b->writable + 1);
        make_dir(at);
    }
    bind_as(from, at, MS_NOSUID | MS_NODEV);
}

static void make_dev(const struct mini_box *b) {
    static const char *const nodes[] = { "null", "zero", "full", "random", "urandom", "tty" };
    make_dir("dev");
    check(!mount("dev", "dev", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=64k"), "dev");
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "/dev/%s", nodes[i]);
        snprintf(to, sizeof to, "dev/%s", nodes[i]);
        make_file(to);
        bind_as(from, to, MS_NOSUID | MS_NOEXEC);
    }
    make_dir("dev/pts");
    make_dir("dev/shm");
    check(!mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5,max=64"), "devpts");
    check(!mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m"), "shm");
    check(!symlink("pts/ptmx", "dev/ptmx") && !symlink("/proc/self/fd", "dev/fd") && !symlink("/proc/self/fd/0", "dev/stdin") &&
        !symlink("/proc/self/fd/1", "dev/stdout") && !symlink("/proc/self/fd/2", "dev/stderr"), "dev links");
}

static void mask(const char *path, const char *empty) {
    struct stat st;
    if (lstat(path, &st)) return;
    if (S_ISDIR(st.st_mode)) check(!mount("mask", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=4k,nr_inodes=1"), path);
    else bind_as(empty, path, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
}

static void make_proc(const struct mini_box *b) {
    static const char *const masks[] = { "acpi", "asound", "bus", "fs", "irq", "scsi", "interrupts", "kallsyms", "kcore", "keys", "kmsg", "latency_stats", "sched_debug",
        "sysrq-trigger", "timer_list", "timer_stats", "config.gz", "modules", "kpagecount", "kpageflags", "kpagecgroup", "vmallocinfo", "slabinfo", "key-users", "diskstats",
        "partitions", "swaps", "mdstat", "driver", "mtrr", "iomem", "ioports", "pressure" };
    make_dir("proc");
    check(!mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=invisible,gid=65533"), "proc");
    if (!(b->skip & MINI_SYS_WRITABLE)) bind_as("proc/sys", "proc/sys", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
    if (b->skip & MINI_MASKS) return;
    make_file("dev/.empty");
    for (unsigned i = 0; i < sizeof masks / sizeof *masks; i++) {
        char path[64];
        snprintf(path, sizeof path, "proc/%s", masks[i]);
        mask(path, "dev/.empty");
    }
    check(!unlink("dev/.empty"), "mask");
}

static void make_root(const struct mini_box *b) {
    static const char root[] = "/tmp";
    check(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "propagation");
    char keep[64];      /* the directory to be bound lies under /tmp itself: hold it by descriptor */
    int writable = b->writable ? open(b->writable, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    check(!b->writable || writable >= 0, "writable");
    snprintf(keep, sizeof keep, "/proc/self/fd/%d", writable);
    check(!mount("root", root, "tmpfs", no_suid_dev(b), "mode=755,size=256m") && !chdir(root), "root");
    bind_system(b);
    if (b->writable) {
        bind_writable(b, keep);
        close(writable);
    }
    make_dev(b);
    make_proc(b);
    make_dir("tmp");
    make_dir("root");
    make_dir("home");
    make_dir("home/user");
    make_dir("var");
    make_dir("run");
    check(!chmod("tmp", 01777) && !chown("home/user", 1000, 1000) && !symlink("/tmp", "var/tmp"), "directories");
    make_dir("old");
    check(!syscall(SYS_pivot_root, ".", "old") && !chdir("/"), "pivot_root");
    if (!(b->skip & MINI_OLD_ROOT)) check(!umount2("/old", MNT_DETACH) && !rmdir("/old"), "old root");
    else {
        struct { uint64_t set, clear, propagation, userns; } attr = { .set = 2 | 4 /* nosuid, nodev */ };
        check(!syscall(442 /* mount_setattr */, AT_FDCWD, "/old", AT_RECURSIVE, &attr, sizeof attr), "old root");
    }
    if (b->skip & MINI_SHARED) check(!mount(NULL, "/dev/shm", NULL, MS_SHARED, NULL), "propagation");
    umask(022);
}

static void loopback_up(void) {
    struct ifreq q = { .ifr_name = "lo", .ifr_flags = IFF_UP };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &q) && !close(fd), "lo");
}

/* The agent's steps, without what is to be missed. no_new_privs may be missing only if the filters come while there is CAP_SYS_ADMIN. */
static void confine(const struct mini_box *b) {
    check(!prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) && !setresgid(CONFINE_AGENT_ID, CONFINE_AGENT_ID, CONFINE_AGENT_ID) &&
        !setresuid(CONFINE_AGENT_ID, CONFINE_AGENT_ID, CONFINE_AGENT_ID), "agent's id");
    struct { uint32_t version; int pid; } head = { 0x20080522 };
    struct { uint32_t effective, permitted, inheritable; } data[2];
    check(!syscall(SYS_capget, &head, data), "capget");
    data[0].effective = data[0].permitted;
    data[1].effective = data[1].permitted;
    check(!syscall(SYS_capset, &head, data) && !prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0), "capset");
    const char *step = NULL;
    if (!(b->skip & (MINI_CAPS | MINI_NNP | MINI_LANDLOCK | MINI_SECCOMP))) {
        errno = -confine_init(&step);
        check(!step, step ? step : "");
    } else {
        errno = -confine_outside_parse(getenv(CONFINE_OUTSIDE));
        check(!errno, "outside");
        if (!(b->skip & MINI_NNP)) errno = -confine_no_new_privs();
        if (!errno) errno = -confine_limits();
        if (!errno && !(b->skip & MINI_LANDLOCK)) errno = -confine_landlock();
        if (!errno && !(b->skip & MINI_SECCOMP)) errno = -confine_seccomp();
        if (!errno && !(b->skip & MINI_CAPS)) errno = -confine_caps_cut();
        check(!errno && !prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "steps");
    }
    if (b->skip & MINI_AGENT_OPEN) check(!prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable");
}

static int exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status); }

static void agent(const struct mini_box *b, int maps) {
    char c;
    check(read(maps, &c, 1) == 1, "maps");
    close(maps);
    errno = 0;
    check(!setresgid(0, 0, 0) && !setresuid(0, 0, 0) && !syscall(SYS_setgroups, 0, NULL), "root inside");
    if (b->namespaces & CLONE_NEWNET) loopback_up();
    make_root(b);
    if (b->before) check(!b->before(b->arg), "before");
    errno = 0;
    confine(b);
    pid_t pid = fork(), p;
    check(pid >= 0, "fork");
    if (!pid) {
        const char *step = NULL;
        if (b->skip & MINI_CAPS) {      /* with capabilities: not the ordinary way down */
            if (syscall(SYS_setresgid, b->uid, b->uid, b->uid) || syscall(SYS_setresuid, b->uid, b->uid, b->uid)) _exit(FAILED);
        } else {
            errno = -confine_workload(b->uid, b->uid, &step);
            check(!errno, step);
        }
        if (b->cwd) check(!chdir(b->cwd), "cwd");
        _exit(b->workload(b->arg) & 0xff);
    }
    int status, code = FAILED;
    while ((p = wait(&status)) > 0 || errno == EINTR)
        if (p == pid) {
            code = exit_code(status);
            break;
        }
    _exit(code);
}

static void write_map(pid_t pid, const char *file) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    check(fd >= 0 && dprintf(fd, "0 %d 65536\n", ID_FIRST) > 0 && !close(fd), file);
}

/* In a mount namespace of its own, so that a box without CLONE_NEWNS spoils only this. */
static void outer(const struct mini_box *b) {
    char text[CONFINE_OUTSIDE_MAX];
    int maps[2];
    check(!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "unshare");
    errno = -confine_outside_text(text, sizeof text);
    check(!errno && !setenv(CONFINE_OUTSIDE, text, 1) && !pipe2(maps, O_CLOEXEC), "outside");
    pid_t pid = (pid_t)syscall(SYS_clone, (unsigned long)b->namespaces | SIGCHLD, NULL, NULL, NULL, 0);
    check(pid >= 0, "clone");
    if (!pid) {
        close(maps[1]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        agent(b, maps[0]);
    }
    close(maps[0]);
    if (b->namespaces & CLONE_NEWUSER) {
        write_map(pid, "uid_map");
        write_map(pid, "gid_map");
    }
    check(write(maps[1], "", 1) == 1, "maps");
    close(maps[1]);
    int status;
    check(waitpid(pid, &status, 0) == pid, "wait");
    _exit(exit_code(status));
}

int mini_box_run(const struct mini_box *box, const char **ret_step) {
    static char step[64];
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return -errno;
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) outer(box);
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    int err = shared->err;
    memcpy(step, shared->step, sizeof step);
    munmap(shared, sizeof *shared);
    *ret_step = step;
    if (pid < 0 || (err && exit_code(status) == FAILED)) return pid < 0 ? -errno : -err;
    return exit_code(status);
}
