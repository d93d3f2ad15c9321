/* What a dead launcher left in the control groups is ended and removed. */
#include "sandbox/launcher/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

enum { CLEAN_MS = 3000 };

/* Ends all in a group. Their pid 1 has died with the launcher, so there is something only if it was frozen or is just ending. */
static void kill_group(int dir)
{
    static char text[64 * 1024];
    _cleanup_close_ int procs = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int kill_fd = openat(dir, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    _cleanup_close_ int state = openat(dir, "freezer.state", O_WRONLY | O_CLOEXEC);
    ssize_t n = kill_fd >= 0 ? write(kill_fd, "1", 1) : 0;

    if (procs >= 0 && (n = pread(procs, text, sizeof(text) - 1, 0)) > 0) {
        text[n] = 0;
        for (char *p = text; *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : p + strlen(p))
            if (atoi(p) > 1)
                kill(atoi(p), SIGKILL);
    }
    n = state >= 0 ? write(state, "THAWED", 6) : 0;
    (void)n;
}

static bool clean_once(const char *path)
{
    DIR *d = opendir(path);
    bool clean = true;

    for (struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, "slot-", 5) || !unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR))
            continue;
        _cleanup_close_ int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0)
            kill_group(fd);
        clean = false;
    }
    if (d)
        closedir(d);
    return clean && (!rmdir(path) || errno == ENOENT);
}

void cgroups_clean(const char *list, const char *name)
{
    uint64_t end = clock_mono_ns() + (uint64_t)CLEAN_MS * 1000000;
    char path[512], tail[64];
    bool clean;

    snprintf(tail, sizeof(tail), "/coppice-%s", name);
    do {
        clean = true;
        for (const char *p = list; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
            snprintf(path, sizeof(path), "%.*s", (int)strcspn(p, "\n"), p);
            size_t n = strlen(path), t = strlen(tail);
            if (n > t && !strcmp(path + n - t, tail))
                clean &= clean_once(path);
        }
        if (!clean)
            nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    } while (!clean && clock_mono_ns() < end);
    if (!clean)
        log_warn("step=cgroup groups of a former launcher could not all be removed");
}
