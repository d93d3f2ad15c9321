#include "tools/progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/text.h"

static bool shown;
static uint64_t last_ns, first_ns;

void progress_bytes(const char *what, uint64_t entries, uint64_t bytes)
{
    uint64_t now = clock_mono_ns();
    char size[TEXT_SIZE], rate[TEXT_SIZE];

    if (!first_ns)
        first_ns = now;
    if (now - last_ns < 100000000 || !isatty(2))
        return;
    last_ns = now;
    shown = true;
    double s = (double)(now - first_ns) / 1e9;
    fprintf(stderr, "\r\033[K%s%s", what, *what ? " " : "");
    if (entries)
        fprintf(stderr, "%llu entries, ", (unsigned long long)entries);
    fprintf(stderr, "%s, %s/s", text_bytes(size, bytes), text_bytes(rate, s > 0 ? (uint64_t)((double)bytes / s) : 0));
    fflush(stderr);
}

void progress_clear(void)
{
    if (shown)
        fputs("\r\033[K", stderr);
    shown = false;
}
