/* A set of process numbers. Static ones only: half a megabyte, of which those pages come that hold numbers in use. An empty one is { .low = PID_LIMIT }. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

enum { PID_LIMIT = 1 << 22 };                /* the kernel's own */
struct pid_set { pid_t low, high; uint8_t bits[PID_LIMIT / 8]; };     /* what is in it lies between */

static inline bool pid_set_has(const struct pid_set *s, pid_t pid)
{
    return pid > 0 && pid < PID_LIMIT && s->bits[pid / 8] & 1 << pid % 8;
}

static inline void pid_set_add(struct pid_set *s, pid_t pid)
{
    if (pid <= 0 || pid >= PID_LIMIT)
        return;
    s->bits[pid / 8] |= (uint8_t)(1 << pid % 8);
    s->low = pid < s->low ? pid : s->low;
    s->high = pid > s->high ? pid : s->high;
}

static inline void pid_set_clear(struct pid_set *s)
{
    if (s->high >= s->low)
        memset(s->bits + s->low / 8, 0, (size_t)(s->high / 8 - s->low / 8 + 1));
    s->low = PID_LIMIT;
    s->high = 0;
}
