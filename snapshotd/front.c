#include "snapshotd/front.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "snapshotd/holder_child.h"

#define HOLDER "coppice-holder"

/* Names, not descriptors: after an upgrade they are other programs. */
static int programs(char ours[PATH_MAX], char holder[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", ours, PATH_MAX - 1);

    if (n <= 0)
        return -errno;
    ours[n] = 0;
    int dir = (int)(strrchr(ours, '/') - ours);
    if (snprintf(holder, PATH_MAX, "%.*s/" HOLDER, dir, ours) >= PATH_MAX)
        return -ENAMETOOLONG;
    return access(holder, X_OK) ? -errno : 0;
}

void front_exec(int argc, char **argv, const char *store, bool foreground, int ready)
{
    char ours[PATH_MAX], holder[PATH_MAX], ready_text[16], held_text[16];
    _cleanup_free_ const char **args = mem_zalloc(((size_t)argc + 12) * sizeof(*args));
    int r = args ? programs(ours, holder) : -ENOMEM;
    unsigned n = 0;

    if (r) {
        log_warn("no " HOLDER " beside snapshotd err=%s what=\"mounts will not outlive it\"", errno_name(r));
        return;
    }
    snprintf(ready_text, sizeof(ready_text), "%d", ready);
    snprintf(held_text, sizeof(held_text), "%d", CHILD_SOCK);
    args[n++] = holder;
    args[n++] = "--store";
    args[n++] = store;
    if (foreground)
        args[n++] = "--foreground";
    if (ready >= 0) {
        args[n++] = "--ready";
        args[n++] = ready_text;
        fcntl(ready, F_SETFD, 0);
    }
    args[n++] = "--";
    args[n++] = ours;
    for (int i = 1; i < argc; i++)
        args[n++] = argv[i];
    args[n++] = "--store";                /* the last one counts, and we are in another directory now */
    args[n++] = store;
    args[n++] = "--held";
    args[n++] = held_text;
    execv(holder, (char *const *)(uintptr_t)args);
    log_warn("cannot run %s err=%s what=\"mounts will not outlive snapshotd\"", holder, errno_name(errno));
    if (ready >= 0)
        fcntl(ready, F_SETFD, FD_CLOEXEC);
}
