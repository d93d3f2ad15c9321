#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum log_level log_threshold = LOG_INFO_;

void log_line(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    char line[2048];
    struct timespec ts;
    struct tm tm;
    va_list ap;

    if (level > log_threshold)
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ %s ", ts.tv_nsec / 1000000, names[level]);
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    if (m > 0)
        n += (size_t)m;
    if (n > sizeof line - 2)
        n = sizeof line - 2;
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0)
        return;   /* nobody left to tell */
}

const char *log_quote(char *out, unsigned long out_size, const void *text, unsigned long n)
{
    const unsigned char *t = text;
    unsigned long w = 0;

    for (unsigned long i = 0; i < n; i++) {
        int plain = t[i] > ' ' && t[i] < 0x7f && t[i] != '"' && t[i] != '\\';
        if (w + (plain ? 1 : 4) >= out_size)
            break;
        w += plain ? (out[w] = (char)t[i], 1UL) : (unsigned long)snprintf(out + w, 5, "\\x%02x", t[i]);
    }
    out[w] = '\0';
    return out;
}

const char *errno_name(int err)
{
    const char *s = strerrorname_np(err < 0 ? -err : err);
    return s ? s : "E?";
}
