/* Finding what descends from this process. Its children's children become its own when their parent dies (it is their subreaper), so what is here at all hangs below it in
 * /proc, whatever sessions and groups it has made. A process is looked at and signalled through one descriptor of its /proc directory: no signal ever reaches another that got
 * its number meanwhile. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/agent/super.h"

enum { PID_LIMIT = 1 << 22, CLIMB_MAX = 64, NEWEST_ROUNDS = 64, NEWEST_BACK = 4 };
static uint8_t ours[PID_LIMIT / 8];          /* pages come with the numbers that are used */
static pid_t ours_low = PID_LIMIT, ours_high;/* what is set lies between */

static bool is_ours(pid_t pid) { return pid > 0 && pid < PID_LIMIT && ours[pid / 8] & 1 << pid % 8; }

static void mark(pid_t pid)
{
    if (pid <= 0 || pid >= PID_LIMIT)
        return;
    ours[pid / 8] |= (uint8_t)(1 << pid % 8);
    ours_low = pid < ours_low ? pid : ours_low;
    ours_high = pid > ours_high ? pid : ours_high;
}

/* Numbers are used again: nothing is remembered from one search to the next. */
static void forget_all(void)
{
    if (ours_high >= ours_low)
        memset(ours + ours_low / 8, 0, (size_t)(ours_high / 8 - ours_low / 8 + 1));
    ours_low = PID_LIMIT;
    ours_high = 0;
    mark(getpid());
}

/* "PID (NAME) STATE PPID PGRP ...": the name may hold anything, so from its last parenthesis on. */
static bool stat_parse(const char *text, char *ret_state, pid_t *ret_ppid, pid_t *ret_pgrp)
{
    const char *p = strrchr(text, ')');
    char *end;

    if (!p || strlen(p) < 4)
        return false;
    *ret_state = p[2];
    *ret_ppid = (pid_t)strtol(p + 3, &end, 10);
    *ret_pgrp = (pid_t)strtol(end, NULL, 10);
    return true;
}

/* dir: the process's directory, open. */
static bool stat_read(int dir, char *ret_state, pid_t *ret_ppid, pid_t *ret_pgrp)
{
    char text[512];
    _cleanup_close_ int fd = openat(dir, "stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (n <= 0)
        return false;
    text[n] = '\0';
    return stat_parse(text, ret_state, ret_ppid, ret_pgrp);
}

struct search { int proc_fd, sig; pid_t pgrp; unsigned fresh, sent; };

/* sig < 0: only found out. */
static void visit(struct search *s, const char *name)
{
    pid_t pid = (pid_t)strtol(name, NULL, 10), ppid, group;
    char state;

    if (pid == getpid())
        return;
    _cleanup_close_ int dir = openat(s->proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || !stat_read(dir, &state, &ppid, &group) || !is_ours(ppid))
        return;
    s->fresh += !is_ours(pid);
    mark(pid);
    if (s->sig >= 0 && state != 'Z' && state != 'X' && (!s->pgrp || group == s->pgrp))
        s->sent += syscall(SYS_pidfd_send_signal, dir, s->sig, NULL, 0) == 0;
}

/* Once over all processes, in order of numbers: children mostly come after their parents. */
static void pass(struct search *s)
{
    int fd = openat(s->proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    s->fresh = 0;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((e = readdir(d)))
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
            visit(s, e->d_name);
    closedir(d);
}

/* SIGKILL goes out while searching, for speed decides against who forks; others after the whole tree is known, so that each gets it once. */
static unsigned signal_all(int proc_fd, pid_t pgrp, int sig)
{
    struct search s = { .proc_fd = proc_fd, .sig = sig == SIGKILL ? sig : -1, .pgrp = pgrp };

    forget_all();
    do
        pass(&s);
    while (sig != SIGKILL && s.fresh);
    if (sig != SIGKILL) {
        s.sig = sig;
        pass(&s);
    }
    return s.sent;
}

/* Is it below this process? By its parents, upwards; one that ends meanwhile has left its children to this process, so it is asked again. */
static bool descends(int proc_fd, pid_t pid)
{
    char name[16], state;
    pid_t ppid = 0, group, from = pid;

    for (int steps = 0; steps < CLIMB_MAX && pid > 1; steps++) {
        snprintf(name, sizeof name, "%d", pid);
        _cleanup_close_ int dir = openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir >= 0 && stat_read(dir, &state, &ppid, &group)) {
            if (ppid == getpid())
                return true;
            pid = ppid;
        } else if (pid == from) {
            return false;                    /* it has ended itself */
        } else {
            pid = from;
        }
    }
    return false;
}

/* A process that forks and ends, and so on, has a new number each time a search comes by. But the last number that was given is known (/proc/loadavg): that one, and those just
 * before it, are looked at alone, which is faster than a fork. */
unsigned tree_kill_newest(int proc_fd)
{
    unsigned killed = 0;
    _cleanup_close_ int fd = openat(proc_fd, "loadavg", O_RDONLY | O_CLOEXEC);

    for (int round = 0; fd >= 0 && round < NEWEST_ROUNDS; round++) {
        char text[128], name[24];
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        if (n <= 0)
            break;
        text[n] = '\0';
        const char *last = strrchr(text, ' ');
        long pid = last ? strtol(last, NULL, 10) : 0;
        for (long p = pid; p > pid - NEWEST_BACK && p > 1; p--) {
            snprintf(name, sizeof name, "%ld", p);
            _cleanup_close_ int dir = openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            char state;
            pid_t ppid, group;
            if (dir >= 0 && p != getpid() && stat_read(dir, &state, &ppid, &group) && state != 'Z' && state != 'X' && descends(proc_fd, (pid_t)p))
                killed += syscall(SYS_pidfd_send_signal, dir, SIGKILL, NULL, 0) == 0;
        }
    }
    return killed;
}

unsigned tree_signal(int proc_fd, int sig)
{
    return signal_all(proc_fd, 0, sig);
}

unsigned tree_signal_group(int proc_fd, pid_t pgrp, int sig)
{
    return signal_all(proc_fd, pgrp, sig);
}

unsigned tree_kill_orphans(int proc_fd, bool (*known)(pid_t pid))
{
    int fd = openat(proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    unsigned killed = 0;
    struct dirent *e;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    while ((e = readdir(d))) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10), ppid, group;
        char state;
        if (pid <= 0 || pid == getpid() || known(pid))
            continue;
        _cleanup_close_ int dir = openat(proc_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir >= 0 && stat_read(dir, &state, &ppid, &group) && ppid == getpid() && state != 'Z')
            killed += syscall(SYS_pidfd_send_signal, dir, SIGKILL, NULL, 0) == 0;
    }
    closedir(d);
    return killed;
}
