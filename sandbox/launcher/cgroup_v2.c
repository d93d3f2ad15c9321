/* Control groups, version 2: one hierarchy with all controllers. */
#include "sandbox/launcher/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { PERIOD_US = 100000 };

static int read_at(int dir, const char *name, char *out, size_t size)
{
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

    if (n < 0)
        return -errno;
    out[n] = 0;
    return 0;
}

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
        if ((p == text || p[-1] == ' ') && (!p[n] || p[n] == ' ' || p[n] == '\n'))
            return true;
    return false;
}

int cgroup_v2_enable(int parent_fd)
{
    static const char *const names[] = { "memory", "pids", "cpu" };
    char there[256], on[256], text[64];
    size_t n = 0;

    int r = read_at(parent_fd, "cgroup.controllers", there, sizeof(there));
    if (!r)
        r = read_at(parent_fd, "cgroup.subtree_control", on, sizeof(on));
    if (r)
        return r;
    for (unsigned i = 0; i < 3; i++) {
        if (!has_word(there, names[i]))
            return -ENOENT;
        if (!has_word(on, names[i]))
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s+%s", n ? " " : "", names[i]);
    }
    if (!n)
        return 0;
    _cleanup_close_ int fd = openat(parent_fd, "cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, n) < 0 ? -errno : 0;
}

static int v2_limit(const struct cgroups *cs, unsigned slot, const struct launch_limits *l, const char **ret_step)
{
    char quota[48];
    int r;

    *ret_step = "cgroup memory";
    r = cgroup_write_u64(cs, CG_MEMORY, slot, "memory.max", l->memory_bytes);
    if (!r) {
        r = cgroup_write_u64(cs, CG_MEMORY, slot, "memory.swap.max", 0);
        r = r == -ENOENT ? 0 : r;         /* a kernel without swap has no such file */
    }
    if (r)
        return r;
    *ret_step = "cgroup pids";
    r = cgroup_write_u64(cs, CG_PIDS, slot, "pids.max", l->pids);
    if (r)
        return r;
    *ret_step = "cgroup cpu";
    if (l->cpu_milli)
        snprintf(quota, sizeof(quota), "%llu %d", (unsigned long long)l->cpu_milli * (PERIOD_US / 1000), PERIOD_US);
    else
        snprintf(quota, sizeof(quota), "max %d", PERIOD_US);
    r = cgroup_write(cs, CG_CPU, slot, "cpu.max", quota);
    return r ? r : cgroup_write_u64(cs, CG_CPU, slot, "cpu.weight", l->cpu_weight);
}

static int v2_freeze(const struct cgroups *cs, unsigned slot, bool freeze)
{
    return cgroup_write(cs, CG_FREEZER, slot, "cgroup.freeze", freeze ? "1" : "0");
}

static int v2_frozen(const struct cgroups *cs, unsigned slot)
{
    char text[256];
    int r = cgroup_read(cs, CG_FREEZER, slot, "cgroup.events", text, sizeof(text));

    return r ? r : cgroup_field(text, "frozen") == 1;
}

static int v2_usage(const struct cgroups *cs, unsigned slot, uint64_t value[LAUNCH_VALUES])
{
    char text[2048];

    if (!cgroup_read(cs, CG_CPU, slot, "cpu.stat", text, sizeof(text))) {
        value[USAGE_CPU_US] = cgroup_field(text, "usage_usec");
        value[USAGE_USER_US] = cgroup_field(text, "user_usec");
        value[USAGE_SYSTEM_US] = cgroup_field(text, "system_usec");
        value[USAGE_THROTTLED_US] = cgroup_field(text, "throttled_usec");
    }
    value[USAGE_MEMORY] = cgroup_read_u64(cs, CG_MEMORY, slot, "memory.current");
    value[USAGE_MEMORY_PEAK] = cgroup_read_u64(cs, CG_MEMORY, slot, "memory.peak");
    value[USAGE_PIDS] = cgroup_read_u64(cs, CG_PIDS, slot, "pids.current");
    if (!cgroup_read(cs, CG_MEMORY, slot, "memory.events", text, sizeof(text)))
        value[USAGE_OOM_KILLS] = cgroup_field(text, "oom_kill");
    return 0;
}

static int v2_kill(const struct cgroups *cs, unsigned slot)
{
    int r = cgroup_write(cs, CG_FREEZER, slot, "cgroup.kill", "1");

    return r == -ENOENT ? -EOPNOTSUPP : r;
}

const struct cgroup_ops cgroup_v2 = { v2_limit, v2_freeze, v2_frozen, v2_usage, v2_kill };
