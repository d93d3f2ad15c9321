/* Which layers a sandbox can have on this host, by asking the kernel. What was really got is proved in each box, by the agent. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/confine/confine.h"
#include "sandbox/launcher/launch.h"

enum { LANDLOCK_ABI_MIN = 6 };

static bool has_mount_api(void)
{
    _cleanup_close_ int fd = fsopen("tmpfs", FSOPEN_CLOEXEC);

    return fd >= 0;
}

uint64_t layers_of_host(const struct cgroups *cs, char *ret_missing, unsigned long size)
{
    static const struct { uint64_t layer; const char *file, *name; } ns[] = {
        { LAYER_USERNS, "user", "user namespaces" }, { LAYER_MOUNTNS, "mnt", "mount namespaces" }, { LAYER_PIDNS, "pid", "pid namespaces" },
        { LAYER_NETNS, "net", "network namespaces" }, { LAYER_IPCNS, "ipc", "ipc namespaces" }, { LAYER_UTSNS, "uts", "uts namespaces" },
        { LAYER_CGROUPNS, "cgroup", "cgroup namespaces" },
    };
    const struct { uint64_t layers; bool there; const char *name; } others[] = {
        { LAYER_ROOT | LAYER_NODEV | LAYER_NOSUID | LAYER_PROC, has_mount_api(), "mounts by descriptor (Linux 5.12)" },
        { LAYER_NNP | LAYER_CAPS, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0, "no_new_privs" },
        { LAYER_SECCOMP, prctl(PR_GET_SECCOMP) >= 0, "seccomp" },
        { LAYER_LANDLOCK, syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= LANDLOCK_ABI_MIN, "Landlock ABI 6 (Linux 6.12, lsm=landlock)" },
        { LAYER_CGROUP, !cs->missing[0], cs->missing },
    };
    uint64_t have = 0;
    char path[40];
    size_t n = 0;

    ret_missing[0] = 0;
    for (unsigned i = 0; i < sizeof(ns) / sizeof(ns[0]); i++) {
        snprintf(path, sizeof(path), "/proc/self/ns/%s", ns[i].file);
        if (!access(path, F_OK))
            have |= ns[i].layer;
        else if (n < size)
            n += (size_t)snprintf(ret_missing + n, size - n, "%s%s", n ? "; " : "", ns[i].name);
    }
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (others[i].there)
            have |= others[i].layers;
        else if (n < size)
            n += (size_t)snprintf(ret_missing + n, size - n, "%s%s%s", n ? "; " : "", others[i].layers == LAYER_CGROUP ? "control groups: " : "", others[i].name);
    }
    return have;
}
