/* /proc shows this sandbox and nothing of the machine: own instance, masks that are what they claim, nothing of the agent. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "sandbox/confine/parts.h"

/* The list is in docs/profile.md 4; the launcher lays the masks. */
static const char *const masked[] = { "/proc/acpi", "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/pressure", "/proc/scsi", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore",
    "/proc/keys", "/proc/kmsg", "/proc/latency_stats", "/proc/sched_debug", "/proc/sysrq-trigger", "/proc/timer_list", "/proc/timer_stats" };

/* Has no entry, and takes none. */
static bool empty_dir(int fd) {
    char buf[1024];
    long n;
    while ((n = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0)
        for (long at = 0; at < n;) {
            const struct dirent64 *d = (const struct dirent64 *)(buf + at);
            if (strcmp(d->d_name, ".") && strcmp(d->d_name, "..")) return false;
            at += d->d_reclen;
        }
    if (n < 0) return false;
    if (mkdirat(fd, "coppice-self-test", 0700)) return true;
    unlinkat(fd, "coppice-self-test", AT_REMOVEDIR);
    return false;
}

/* Says nothing, and takes nothing (but /dev/null). */
static bool empty_file(int fd, const char *path, const struct stat *st) {
    char c;
    if (read(fd, &c, 1) != 0) return false;
    if (S_ISCHR(st->st_mode)) return st->st_rdev == makedev(1, 3);
    int w = S_ISREG(st->st_mode) ? open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (w < 0) return S_ISREG(st->st_mode);
    close(w);
    return false;
}

/* Not there, or something else lies over it that has nothing. */
static bool is_masked(const char *path, dev_t proc) {
    struct stat st;
    if (lstat(path, &st)) return errno == ENOENT;
    if (st.st_dev == proc || !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode) || S_ISCHR(st.st_mode))) return false;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return errno == EACCES || errno == EPERM || errno == ENXIO;
    bool ok = S_ISDIR(st.st_mode) ? empty_dir(fd) : empty_file(fd, path, &st);
    close(fd);
    return ok;
}

/* An instance of procfs for our own pid namespace: in another one /proc/self would have another number, or none. */
static bool own_instance(void) {
    struct statfs fs;
    char link[32];
    if (statfs("/proc", &fs) || fs.f_type != PROC_SUPER_MAGIC) return false;
    ssize_t n = readlink("/proc/self", link, sizeof link - 1);
    if (n <= 0) return false;
    link[n] = '\0';
    return strtol(link, NULL, 10) == getpid();
}

static bool sys_read_only(void) {
    struct statvfs fs;
    if (statvfs("/proc/sys", &fs) || !(fs.f_flag & ST_RDONLY)) return false;
    int fd = open("/proc/sys/kernel/hostname", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) close(fd);
    return fd < 0;
}

/* The agent's memory, files and environment. */
static bool agent_closed(void) {
    static const char *const files[] = { "/proc/1/mem", "/proc/1/environ", "/proc/1/maps", "/proc/1/fd", "/proc/1/root", "/proc/1/cwd", "/proc/1/exe" };
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        int fd = open(files[i], O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            return false;
        }
    }
    return true;
}

uint64_t confine_prove_proc(void) {
    struct stat st;
    if (!own_instance() || stat("/proc", &st) || !sys_read_only() || !agent_closed()) return 0;
    for (unsigned i = 0; i < sizeof masked / sizeof *masked; i++)
        if (!is_masked(masked[i], st.st_dev)) return 0;
    return LAYER_PROC;
}
