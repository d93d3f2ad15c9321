/* Control groups, version 1: each controller has its files in its own hierarchy. */
#include "sandbox/launcher/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { PERIOD_US = 100000, SHARES_ONE = 1024, SHARES_MIN = 2, SHARES_MAX = 262144 };

/* Memory and memory+swap bound each other, so which goes first depends on whether the limit rises. Without swap accounting there is only the first. */
static int limit_memory(const struct cgroups *cs, unsigned slot, uint64_t bytes)
{
    int r = cgroup_write_u64(cs, CG_MEMORY, slot, "memory.limit_in_bytes", bytes);
    int swap = cgroup_write_u64(cs, CG_MEMORY, slot, "memory.memsw.limit_in_bytes", bytes);

    if (r)
        r = cgroup_write_u64(cs, CG_MEMORY, slot, "memory.limit_in_bytes", bytes);
    if (swap == -ENOENT)
        cgroup_write_u64(cs, CG_MEMORY, slot, "memory.swappiness", 0);
    return r ? r : swap == -ENOENT ? 0 : swap;
}

static int limit_cpu(const struct cgroups *cs, unsigned slot, const struct launch_limits *l)
{
    uint64_t shares = (uint64_t)l->cpu_weight * SHARES_ONE / 100;
    char quota[24] = "-1";

    if (l->cpu_milli)
        snprintf(quota, sizeof(quota), "%llu", (unsigned long long)l->cpu_milli * (PERIOD_US / 1000));
    int r = cgroup_write_u64(cs, CG_CPU, slot, "cpu.cfs_period_us", PERIOD_US);
    if (!r)
        r = cgroup_write(cs, CG_CPU, slot, "cpu.cfs_quota_us", quota);
    shares = shares < SHARES_MIN ? SHARES_MIN : shares > SHARES_MAX ? SHARES_MAX : shares;
    return r ? r : cgroup_write_u64(cs, CG_CPU, slot, "cpu.shares", shares);
}

static int v1_limit(const struct cgroups *cs, unsigned slot, const struct launch_limits *l, const char **ret_step)
{
    int r;

    *ret_step = "cgroup memory";
    r = limit_memory(cs, slot, l->memory_bytes);
    if (r)
        return r;
    *ret_step = "cgroup pids";
    r = cgroup_write_u64(cs, CG_PIDS, slot, "pids.max", l->pids);
    if (r)
        return r;
    *ret_step = "cgroup cpu";
    return limit_cpu(cs, slot, l);
}

static int v1_freeze(const struct cgroups *cs, unsigned slot, bool freeze)
{
    return cgroup_write(cs, CG_FREEZER, slot, "freezer.state", freeze ? "FROZEN" : "THAWED");
}

/* Reading the state also has the kernel look again at those that would not freeze yet. */
static int v1_frozen(const struct cgroups *cs, unsigned slot)
{
    char text[32];
    int r = cgroup_read(cs, CG_FREEZER, slot, "freezer.state", text, sizeof(text));

    return r ? r : !strncmp(text, "FROZEN", 6);
}

static int v1_usage(const struct cgroups *cs, unsigned slot, uint64_t value[LAUNCH_VALUES])
{
    char text[512];

    value[USAGE_CPU_US] = cgroup_read_u64(cs, CG_CPUACCT, slot, "cpuacct.usage") / 1000;
    value[USAGE_USER_US] = cgroup_read_u64(cs, CG_CPUACCT, slot, "cpuacct.usage_user") / 1000;
    value[USAGE_SYSTEM_US] = cgroup_read_u64(cs, CG_CPUACCT, slot, "cpuacct.usage_sys") / 1000;
    value[USAGE_MEMORY] = cgroup_read_u64(cs, CG_MEMORY, slot, "memory.usage_in_bytes");
    value[USAGE_MEMORY_PEAK] = cgroup_read_u64(cs, CG_MEMORY, slot, "memory.max_usage_in_bytes");
    value[USAGE_PIDS] = cgroup_read_u64(cs, CG_PIDS, slot, "pids.current");
    if (!cgroup_read(cs, CG_MEMORY, slot, "memory.oom_control", text, sizeof(text)))
        value[USAGE_OOM_KILLS] = cgroup_field(text, "oom_kill");
    if (!cgroup_read(cs, CG_CPU, slot, "cpu.stat", text, sizeof(text)))
        value[USAGE_THROTTLED_US] = cgroup_field(text, "throttled_time") / 1000;
    return 0;
}

/* Frozen processes do not die here before they are thawed; pid 1 of their namespace has had its signal by then. */
static int v1_kill(const struct cgroups *cs, unsigned slot)
{
    int r = cgroup_freeze(cs, slot, false);

    return r ? r : -EOPNOTSUPP;
}

const struct cgroup_ops cgroup_v1 = { v1_limit, v1_freeze, v1_frozen, v1_usage, v1_kill };
