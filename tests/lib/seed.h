/* Where random tests begin. By default always at the same place, so that whether a change passes is no matter of chance; to look for
 * what nobody has met yet, run them with COPPICE_SEED=random (the clock), or a number, to run one again. Tests print what they use. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t test_seed(void)
{
    const char *s = getenv("COPPICE_SEED");
    struct timespec ts;

    if (!s || !*s)
        return 1795231922000;
    if (strcmp(s, "random"))
        return strtoull(s, NULL, 0);
    clock_gettime(CLOCK_REALTIME, &ts);
    return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec) / 1000 * 1000 + (uint64_t)getpid() % 1000;
}

/* The same, and says it. */
static inline uint64_t test_seed_said(const char *what)
{
    uint64_t seed = test_seed();

    printf("%s: COPPICE_SEED=%llu\n", what, (unsigned long long)seed);
    return seed;
}
