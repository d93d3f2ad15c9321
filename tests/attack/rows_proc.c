/* P7 the agent and other users' processes, P10 what was inherited, P11 /proc and /sys, P13 cgroups, P43 names of the host; P8 the scan. */
#include "tests/attack/attack.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void p7_agent(void) {
    static const char *const files[] = { "mem", "environ", "maps", "smaps", "fd", "fdinfo", "root", "cwd", "exe", "stack", "syscall", "auxv", "io", "map_files", "pagemap", "task",
        "timers", "mountinfo", "oom_score_adj", "coredump_filter", "comm" };
    char id[64], path[64];
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "/proc/1/%s", files[i]);
        snprintf(id, sizeof id, "P7.agent.%s", files[i]);
        try_fd(id, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    }
    try_("P7.attach", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
    try_("P7.seize", ptrace(PTRACE_SEIZE, 1, NULL, NULL));
    char buf[16];
    struct iovec mine = { buf, sizeof buf }, its = { (void *)0x400000, sizeof buf };
    try_("P7.vm_read", process_vm_readv(1, &mine, 1, &its, 1, 0));
    try_("P7.vm_write", process_vm_writev(1, &mine, 1, &its, 1, 0));
    int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);
    for (int fd = 0; fd < 8; fd++) {
        snprintf(id, sizeof id, "P7.getfd.%d", fd);
        try_fd(id, syscall(438, pidfd, fd, 0));
    }
    try_("P7.pidfd_kill", syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0));
    if (pidfd >= 0) close(pidfd);
    try_("P7.kcmp", syscall(SYS_kcmp, 1, getpid(), 0, 0, 0));
    try_("P7.madvise", syscall(440, -1, NULL, 0, 0, 0));
}

/* Only 0, 1 and 2, none of them a directory; no way out through any number; a cwd that is inside. */
static void p10_inherited(void) {
    long extra = 0, dirs = 0;
    for (int fd = 0; fd < 4096; fd++) {
        struct stat st;
        if (fstat(fd, &st)) continue;
        if (fd > 2) extra++;
        if (S_ISDIR(st.st_mode)) dirs++;
    }
    say_count("P10.fds_beyond_stdio", "open", extra);
    say_count("P10.directories_open", "open", dirs);
    char cwd[4096], path[64];
    long r = syscall(SYS_getcwd, cwd, sizeof cwd);
    say("P10.cwd", r > 0 && cwd[0] == '/' ? "inside" : "outside", "-");
    long through = 0;
    for (int fd = 0; fd < 1000; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (!chdir(path)) through++;
        snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../etc/shadow", fd);
        int f = open(path, O_RDONLY | O_CLOEXEC);
        if (f >= 0) through++, close(f);
    }
    say_count("P10.chdir_fd", "through", through);
}

/* Beneath /proc, beside processes: what may be read. Whole directories end in a slash. All else must be absent, unreadable or empty. */
static const char *const readable[] = { "/proc/buddyinfo", "/proc/bootconfig", "/proc/cgroups", "/proc/cmdline", "/proc/consoles", "/proc/cpuinfo", "/proc/crypto", "/proc/devices",
    "/proc/dma", "/proc/execdomains", "/proc/fb", "/proc/filesystems", "/proc/loadavg", "/proc/locks", "/proc/meminfo", "/proc/misc", "/proc/mounts", "/proc/net",
    "/proc/pagetypeinfo", "/proc/pressure/", "/proc/schedstat", "/proc/self", "/proc/softirqs", "/proc/stat", "/proc/sys/", "/proc/sysvipc/", "/proc/thread-self", "/proc/tty/",
    "/proc/uptime", "/proc/version", "/proc/version_signature", "/proc/vmstat", "/proc/zoneinfo", "/proc/allocinfo" };
static long walked, bad_reads, bad_writes;
static const char *walk_id;

static bool may_read(const char *path) {
    for (unsigned i = 0; i < sizeof readable / sizeof *readable; i++) {
        size_t n = strlen(readable[i]);
        if (!strcmp(path, readable[i]) || (readable[i][n - 1] == '/' && !strncmp(path, readable[i], n))) return true;
    }
    return false;
}

/* Opened with O_NONBLOCK: /proc/kmsg would wait. */
static int walk_one(const char *path, const struct stat *st, int type, struct FTW *f) {
    char c;
    if (!strncmp(path, "/proc/", 6) && path[6] >= '0' && path[6] <= '9') return FTW_SKIP_SUBTREE;
    if (S_ISDIR(st->st_mode) || S_ISLNK(st->st_mode)) return FTW_CONTINUE;
    walked++;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && read(fd, &c, 1) > 0 && !may_read(path)) {
        printf("%s.read %s\n", walk_id, path);
        bad_reads++;
    }
    if (fd >= 0) close(fd);
    fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0) {
        printf("%s.write %s\n", walk_id, path);
        bad_writes++;
        close(fd);
    }
    return FTW_CONTINUE;
}

static void walk(const char *id, const char *top) {
    char name[64];
    walked = bad_reads = bad_writes = 0;
    walk_id = id;
    nftw(top, walk_one, 32, FTW_PHYS | FTW_ACTIONRETVAL);
    snprintf(name, sizeof name, "%s.unexpected_reads", id);
    say_count(name, "found", bad_reads);
    snprintf(name, sizeof name, "%s.writes", id);
    say_count(name, "found", bad_writes);
}

static void p11_proc(void) {
    walk("P11.proc", "/proc");
    say("P11.proc.seen", walked > 100 ? "walked" : "not", "-");
    walk("P11.sys", "/sys");
    static const struct { const char *id, *path; } files[] = { { "P11.kcore", "/proc/kcore" }, { "P11.debugfs", "/sys/kernel/debug/x" }, { "P11.sysrq", "/proc/sysrq-trigger" },
        { "P11.core_pattern", "/proc/sys/kernel/core_pattern" }, { "P11.modprobe", "/proc/sys/kernel/modprobe" }, { "P11.hostname", "/proc/sys/kernel/hostname" },
        { "P11.binfmt", "/proc/sys/fs/binfmt_misc/register" }, { "P11.uevent_helper", "/sys/kernel/uevent_helper" }, { "P11.vm", "/proc/sys/vm/drop_caches" },
        { "P11.uid_map", "/proc/self/uid_map" }, { "P11.setgroups", "/proc/self/setgroups" }, { "P11.attr", "/proc/self/attr/current" } };
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        int fd = open(files[i].path, O_WRONLY | O_CLOEXEC);
        long r = fd < 0 ? -1 : write(fd, "0", 1);
        int e = errno;
        if (fd >= 0) close(fd);
        errno = e;
        say(files[i].id, r < 0 ? "refused" : "ok", "-");
    }
}

static void p13_cgroups(void) {
    static const char *const files[] = { "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/devices/devices.allow",
        "/sys/fs/cgroup/pids/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs" };
    long through = 0;
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        int fd = open(files[i], O_WRONLY | O_CLOEXEC);
        if (fd >= 0) through++, close(fd);
    }
    say_count("P13.cgroup_files", "writable", through);
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[512];
    long names = 0;
    while (f && fgets(line, sizeof line, f)) names += !strstr(line, ":/\n");
    if (f) fclose(f);
    say_count("P13.cgroup_names", "seen", names);
}

void rows_proc(void) {
    p7_agent();
    p10_inherited();
    p11_proc();
    p13_cgroups();
}

static long grep_file(const char *path, char **patterns) {
    char buf[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? 0 : read(fd, buf, sizeof buf);
    long hits = 0;
    for (char **p = patterns; n > 0 && *p; p++)
        if (**p && memmem(buf, (size_t)n, *p, strlen(*p))) {
            printf("P43.leak %s in %s\n", *p, path);
            hits++;
        }
    if (fd >= 0) close(fd);
    return hits;
}

int leaks(char **patterns) {
    static const char *const files[] = { "/proc/self/mountinfo", "/proc/self/mounts", "/proc/self/mountstats", "/proc/self/environ", "/proc/self/cmdline", "/proc/self/cgroup", "/proc/self/status",
        "/proc/self/maps", "/proc/self/attr/current", "/proc/1/cmdline", "/proc/1/comm", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/net/unix", "/proc/net/tcp", "/proc/locks",
        "/proc/keys", "/proc/self/mem", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/fstab", "/etc/mtab" };
    long hits = 0;
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) hits += strcmp(files[i], "/proc/self/cmdline") ? grep_file(files[i], patterns) : 0;
    say_count("P43.leaks", "found", hits);
    return hits ? 1 : 0;
}

/* The agent's image in a process: between fork and exec, or a supervisor. Its memory and files must not open; nor may it be traced. */
static long attack_pid(pid_t pid) {
    static const char *const files[] = { "mem", "fd/3", "fd/4", "fd/5", "environ", "root", "cwd", "map_files" };
    char path[64], exe[256];
    long got = 0;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t n = readlink(path, exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    bool agent = n > 0 && (strstr(exe, "memfd:") || strstr(exe, "agent"));
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0) got += agent, close(fd);
    }
    if (!ptrace(PTRACE_SEIZE, pid, NULL, NULL)) {
        snprintf(path, sizeof path, "/proc/%d/exe", pid);
        n = readlink(path, exe, sizeof exe - 1);
        exe[n > 0 ? n : 0] = '\0';
        if (strstr(exe, "memfd:") || strstr(exe, "agent")) got++;
        kill(pid, SIGSTOP);
        waitpid(pid, NULL, __WALL | WNOHANG);
        ptrace(PTRACE_DETACH, pid, NULL, NULL);
        kill(pid, SIGCONT);
    }
    return got + agent;
}

int scan(unsigned seconds) {
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    long got = 0, rounds = 0, looked = 0;
    do {
        for (pid_t pid = 1; pid < 32768; pid++) {
            if (pid == getpid()) continue;
            char path[32];
            snprintf(path, sizeof path, "/proc/%d", pid);
            if (pid > 1 && kill(pid, 0) && errno == ESRCH) continue;
            looked++;
            got += attack_pid(pid);
        }
        rounds++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec);
    fprintf(stderr, "scan: %ld rounds, %ld processes looked at\n", rounds, looked);
    say_count("P8.agent_opened", "times", got);
    return got ? 1 : 0;
}
