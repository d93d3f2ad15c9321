/* For programs that measure what an operation of the live tree costs. */
#pragma once
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void must(int r, const char *doing)
{
    if (r) {
        fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, doing, strerror(-r));
        exit(1);
    }
}

/* Seconds of this thread's CPU, so that a busy machine does not matter. */
static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}
