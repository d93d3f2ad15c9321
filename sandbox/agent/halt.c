/* Ending what forks faster than a search finds it.
 *
 * kill(-1, SIGSTOP) reaches, under the kernel's lock of the table of processes, everything in the sandbox but pid 1 and its caller; a fork that is under way either begins again,
 * and its process stops before that, or its child gets the signal too. So nothing forks from then on; what descends from the caller is found at leisure and killed; the others go
 * on by SIGCONT. It is the second means, for what a few ordinary searches cannot end (tree.c), because others notice it: they stand still for some milliseconds, who has a
 * handler for SIGCONT sees it run, and some calls (epoll_wait) return EINTR after a stop.
 *
 * What had been stopped before stays so. It is told apart by its pending SIGSTOP: of a stopped process a second stop stays pending, of a running one it is taken when it stops.
 * (A process that is stopped by somebody in the few milliseconds in which the others go on may be made to go on with them.)
 *
 * One supervisor at a time: each also stops the other ones. Who it is stands in memory that all of them share with the agent. If it is killed in the middle of it (from outside,
 * or for want of memory: nothing inside may signal it), the agent sees that at its wait status and lets all go on in its place: what has been stopped for this is known without
 * anything that died with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/agent/pid_set.h"
#include "sandbox/agent/tree.h"

static _Atomic pid_t *holder;                /* shared by the agent and its supervisors; 0: nobody */
static struct pid_set others = { .low = PID_LIMIT };

enum { SEARCHES_MAX = 64 };                  /* each finds at least one more; mostly two do */

int halt_init(void)
{
    void *p = mmap(NULL, sizeof *holder, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return -errno;
    holder = p;
    return 0;
}

void halt_forget(void)
{
    munmap((void *)holder, sizeof *holder);
    holder = NULL;
}

/* Of a stopped process: by a stop before ours. */
static bool stop_pending(int dir)
{
    char text[4096];
    _cleanup_close_ int fd = openat(dir, "status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *p = strstr(text, "\nShdPnd:");
    return p && strtoull(p + strlen("\nShdPnd:"), NULL, 16) & 1ull << (SIGSTOP - 1);
}

static bool go_on(const struct process *p, int dir, void *arg)
{
    (void)arg;
    if (p->state != 'T' || !stop_pending(dir))
        tree_send(dir, SIGCONT);
    return true;
}

/* Zombies too: it may only be the first thread that has ended. */
static bool note(const struct process *p, int dir, void *arg)
{
    (void)dir;
    (void)arg;
    if (p->pid != 1 && p->pid != getpid())
        pid_set_add(&others, p->pid);
    return true;
}

/* Children before their parents, mostly: a shell with job control would take a child that stands for one that was stopped. What cannot be looked at goes on in any case. */
static void all_go_on(int proc_fd)
{
    pid_set_clear(&others);
    if (tree_each(proc_fd, note, NULL)) {
        kill(-1, SIGCONT);
        return;
    }
    for (pid_t pid = others.high; pid >= others.low; pid--) {
        int r = pid_set_has(&others, pid) ? tree_one(proc_fd, pid, go_on, NULL) : 0;
        if (r && r != -ENOENT && r != -ESRCH)
            kill(pid, SIGCONT);
    }
}

bool halt_and_kill(int proc_fd, tree_known *known)
{
    pid_t nobody = 0;

    if (!atomic_compare_exchange_strong(holder, &nobody, getpid()))
        return false;
    kill(-1, SIGSTOP);
    for (int i = 0; i < SEARCHES_MAX && tree_kill(proc_fd, i == 0, UINT_MAX, known).fresh; i++)
        ;
    all_go_on(proc_fd);
    atomic_store(holder, 0);
    return true;
}

void halt_over(int proc_fd, pid_t pid)
{
    if (atomic_load(holder) != pid)
        return;
    all_go_on(proc_fd);
    atomic_store(holder, 0);
}
