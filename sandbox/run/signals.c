/* Names of signals: those of Linux on every architecture that we build for, by what sigabbrev_np() of the C library says. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "sandbox/exec.h"

enum { SIGNAL_MAX = 64 };

const char *signal_name(int number)
{
    static char out[32];
    const char *abbrev = number > 0 && number <= SIGNAL_MAX ? sigabbrev_np(number) : NULL;

    if (abbrev)
        snprintf(out, sizeof(out), "SIG%s", abbrev);
    else
        snprintf(out, sizeof(out), "SIG%d", number);
    return out;
}

int signal_number(const char *name)
{
    guint64 n;

    if (g_ascii_string_to_unsigned(name, 10, 1, SIGNAL_MAX, &n, NULL))
        return (int)n;
    if (!g_ascii_strncasecmp(name, "SIG", 3))
        name += 3;
    if (g_ascii_string_to_unsigned(name, 10, 1, SIGNAL_MAX, &n, NULL))
        return (int)n;
    for (int i = 1; i <= SIGNAL_MAX; i++)
        if (sigabbrev_np(i) && !g_ascii_strcasecmp(sigabbrev_np(i), name))
            return i;
    return 0;
}
