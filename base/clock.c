#include "base/clock.h"

static void sys_real(struct timespec *ts)
{
    clock_gettime(CLOCK_REALTIME, ts);
}

static uint64_t sys_mono_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void sys_file(struct timespec *ts)
{
    clock_gettime(CLOCK_REALTIME_COARSE, ts);
}

static const struct clock_ops sys_clock = { sys_real, sys_mono_ns, sys_file };
const struct clock_ops *clock_src = &sys_clock;
