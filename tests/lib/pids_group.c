#include "tests/lib/pids_group.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REMOVE_TRIES = 200, REMOVE_WAIT_MS = 10 };

/* What its processes must do in time does not depend on what else the machine does. */
#define CPU_SHARES "65536"
#define CPU_WEIGHT "6400"

static bool put_text(const char *dir, const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

const char *pids_group_make(struct pids_group *ret, unsigned max)
{
    static const char *const roots[] = { "/sys/fs/cgroup/pids", "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
    static unsigned count;
    char text[16];

    *ret = (struct pids_group){ 0 };
    snprintf(text, sizeof text, "%u", max);
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        snprintf(ret->path, sizeof ret->path, "%s/coppice-test-%d-%u", roots[i], (int)getpid(), ++count);
        if (mkdir(ret->path, 0755) < 0)
            continue;
        if (put_text(ret->path, "pids.max", text) || (put_text(roots[i], "cgroup.subtree_control", "+pids") && put_text(ret->path, "pids.max", text))) {
            if (i > 0)
                put_text(roots[i], "cgroup.subtree_control", "+cpu");
            else if (snprintf(ret->cpu, sizeof ret->cpu, "/sys/fs/cgroup/cpu/%s", strrchr(ret->path, '/') + 1), mkdir(ret->cpu, 0755) < 0)
                ret->cpu[0] = '\0';
            put_text(ret->cpu, "cpu.shares", CPU_SHARES);        /* a wish, both */
            put_text(ret->path, "cpu.weight", CPU_WEIGHT);
            return NULL;
        }
        rmdir(ret->path);
    }
    ret->path[0] = '\0';
    return "no cgroup controller 'pids' can be used here";
}

bool pids_group_enter(const struct pids_group *g)
{
    return put_text(g->path, "cgroup.procs", "0") && (!*g->cpu || put_text(g->cpu, "cgroup.procs", "0"));
}

long pids_group_current(const struct pids_group *g)
{
    char path[256], text[32] = "";

    snprintf(path, sizeof path, "%s/pids.current", g->path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 ? strtol(text, NULL, 10) : -1;
}

static void remove_one(char *path)
{
    for (int i = 0; *path && i < REMOVE_TRIES && rmdir(path) < 0 && errno == EBUSY; i++)
        poll(NULL, 0, REMOVE_WAIT_MS);       /* the kernel is still taking its last processes away */
    path[0] = '\0';
}

void pids_group_remove(struct pids_group *g)
{
    remove_one(g->path);
    remove_one(g->cpu);
}
