/* What a sandbox has used: this run's numbers come from the launcher (its cgroup), those of former runs from its file. */
#include "sandbox/core/box_private.h"

#include <string.h>

#include "base/clock.h"

void usage_take(struct box *b, const struct launch_packet *p)
{
    memcpy(b->p->values, p->value, sizeof(b->p->values));
}

/* cpu_us 0: not told; then what was last seen counts. */
void usage_run_ended(struct box *b, uint64_t cpu_us, uint64_t oom_kills)
{
    uint64_t seen = b->p->values[USAGE_CPU_US];

    b->cpu_before_us += cpu_us > seen ? cpu_us : seen;
    b->p->oom_kills_before += oom_kills;
    memset(b->p->values, 0, sizeof(b->p->values));
}

uint64_t usage_cpu_us(const struct box *b)
{
    return b->cpu_before_us + b->p->values[USAGE_CPU_US];
}
