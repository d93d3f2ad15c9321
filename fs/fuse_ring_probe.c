/* Whether FUSE over io_uring can be had here. */
#include "fs/fuse_ring.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

#define PARAMETER "/sys/module/fuse/parameters/enable_uring"
enum { QUEUES_MAX = 1024 };

/* The highest CPU number of a list as in /sys/devices/system/cpu, or -1. */
static int last_cpu(const char *path, cpu_set_t *ret)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[1024], *s = text, *end;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    long from, to = -1;

    CPU_ZERO(ret);
    if (n <= 0)
        return -1;
    text[n] = 0;
    while (*s >= '0' && *s <= '9') {
        from = to = strtol(s, &end, 10);
        if (*end == '-')
            to = strtol(end + 1, &end, 10);
        for (long i = from; i <= to && i < QUEUES_MAX; i++)
            CPU_SET((size_t)i, ret);
        s = *end == ',' ? end + 1 : end;
    }
    return to < QUEUES_MAX ? (int)to : -1;
}

int ring_cpus(cpu_set_t *ret_online, unsigned *ret_possible)
{
    cpu_set_t possible, mine, both;
    int last = last_cpu("/sys/devices/system/cpu/possible", &possible);

    if (last < 0 || last_cpu("/sys/devices/system/cpu/online", ret_online) < 0 || sched_getaffinity(0, sizeof mine, &mine))
        return -EOPNOTSUPP;
    CPU_AND(&both, &mine, ret_online);
    if (!CPU_EQUAL(&both, ret_online))
        return -EOPNOTSUPP;
    *ret_possible = (unsigned)last + 1;
    return 0;
}

static bool parameter(bool set)
{
    _cleanup_close_ int fd = open(PARAMETER, (set ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    char c = 0;

    if (fd < 0 || pread(fd, &c, 1, 0) != 1)
        return false;
    if (c == 'Y' || !set)
        return c == 'Y';
    if (write(fd, "Y", 1) != 1)
        return false;
    log_info("fuse: turned on fuse.enable_uring, for all of this machine");
    return true;
}

const char *fuse_uring_probe(bool set)
{
    struct io_uring_params p = { .flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
    struct io_uring u;
    cpu_set_t online;
    unsigned n;
    int r;

    if (access(PARAMETER, F_OK))
        return "the kernel has no FUSE over io_uring (Linux 6.14 with CONFIG_FUSE_IO_URING has it)";
    r = io_uring_queue_init_params(4, &u, &p);
    if (r)
        return r == -EPERM ? "io_uring is forbidden here (sysctl kernel.io_uring_disabled, or a filter of system calls)" : "io_uring does not work here";
    io_uring_queue_exit(&u);
    if (ring_cpus(&online, &n))
        return "the daemon may not run on all CPUs (cpuset), and each needs a thread";
    if (!parameter(set))
        return set ? "fuse.enable_uring is off and cannot be turned on (" PARAMETER ")" : "fuse.enable_uring is off (" PARAMETER ")";
    return NULL;
}
