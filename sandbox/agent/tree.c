/* Finding what descends from this process. Its children's children become its own when their parent dies (it is their subreaper, or pid 1), so what is here at all hangs below it
 * in /proc, whatever sessions and groups it has made. */
#include "sandbox/agent/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/agent/pid_set.h"

enum { ENOUGH = 1 };
/* ours: found to descend from this process, by one search. Numbers are used again, so none is taken for ours in the next one; met: by all of them, to know when nothing new comes. */
static struct pid_set ours = { .low = PID_LIMIT }, met = { .low = PID_LIMIT };

bool tree_send(int dir, int sig)
{
    return syscall(SYS_pidfd_send_signal, dir, sig, NULL, 0) == 0;
}

/* "PID (NAME) STATE PPID PGRP ...": the name may hold anything, so from its last parenthesis on. */
static bool stat_parse(const char *text, struct process *ret)
{
    const char *p = strrchr(text, ')');
    char *end;

    if (!p || strlen(p) < 4)
        return false;
    ret->state = p[2];
    ret->ppid = (pid_t)strtol(p + 3, &end, 10);
    ret->pgrp = (pid_t)strtol(end, NULL, 10);
    return true;
}

/* 0, ENOUGH or -errno. */
static int one(int proc_fd, const char *name, process_fn *fn, void *arg)
{
    struct process p = { .pid = (pid_t)strtol(name, NULL, 10) };
    char text[512];
    _cleanup_close_ int dir = openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    _cleanup_close_ int fd = openat(dir, "stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (n <= 0)
        return n < 0 ? -errno : -ESRCH;
    text[n] = '\0';
    if (!stat_parse(text, &p))
        return -EBADMSG;
    return fn(&p, dir, arg) ? 0 : ENOUGH;
}

int tree_one(int proc_fd, pid_t pid, process_fn *fn, void *arg)
{
    char name[16];

    snprintf(name, sizeof name, "%d", (int)pid);
    int r = one(proc_fd, name, fn, arg);
    return r == ENOUGH ? 0 : r;
}

int tree_each(int proc_fd, process_fn *fn, void *arg)
{
    int fd = openat(proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!d) {
        err = -errno;
        if (fd >= 0)
            close(fd);
        return err;
    }
    while ((errno = 0, e = readdir(d))) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        int r = one(proc_fd, e->d_name, fn, arg);
        if (r == ENOUGH) {
            closedir(d);
            return 0;
        }
        if (r && r != -ENOENT && r != -ESRCH)
            err = r;
    }
    err = errno ? -errno : err;
    closedir(d);
    return err;
}

struct search { unsigned enough; int sig; pid_t pgrp; tree_known *known; unsigned marked, sent, fresh; };

/* sig < 0: only found out. What looks like a zombie may be one whose first thread has ended. */
static bool visit(const struct process *p, int dir, void *arg)
{
    struct search *s = arg;

    if (p->pid == getpid() || !pid_set_has(&ours, p->ppid) || (s->known && p->ppid == getpid() && s->known(p->pid)))
        return true;
    s->marked += !pid_set_has(&ours, p->pid);
    pid_set_add(&ours, p->pid);
    if (s->sig < 0 || (s->pgrp && p->pgrp != s->pgrp) || !tree_send(dir, s->sig) || p->state == 'Z' || p->state == 'X')
        return true;
    s->sent++;
    s->fresh += !pid_set_has(&met, p->pid);
    pid_set_add(&met, p->pid);
    return s->fresh < s->enough;
}

static void search_begin(void)
{
    pid_set_clear(&ours);
    pid_set_add(&ours, getpid());
}

/* After the whole tree is known, so that each gets it once. */
static unsigned signal_all(int proc_fd, pid_t pgrp, int sig)
{
    struct search s = { .enough = UINT_MAX, .sig = -1, .pgrp = pgrp };

    search_begin();
    do {
        s.marked = 0;
        tree_each(proc_fd, visit, &s);
    } while (s.marked);
    s.sig = sig;
    tree_each(proc_fd, visit, &s);
    return s.sent;
}

unsigned tree_signal(int proc_fd, int sig)
{
    return signal_all(proc_fd, 0, sig);
}

unsigned tree_signal_group(int proc_fd, pid_t pgrp, int sig)
{
    return signal_all(proc_fd, pgrp, sig);
}

/* Children mostly come after their parents; those that do not are found by the next search. */
struct tree_found tree_kill(int proc_fd, bool first, unsigned enough, tree_known *known)
{
    struct search s = { .enough = enough, .sig = SIGKILL, .known = known };

    if (first)
        pid_set_clear(&met);
    search_begin();
    tree_each(proc_fd, visit, &s);
    return (struct tree_found){ s.sent, s.fresh };
}
