#include "tools/text.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"

static bool odd(uint8_t ch)
{
    return ch < 0x20 || ch >= 0x7f || ch == '"' || ch == '\\';
}

int text_is_odd(const void *name, size_t n)
{
    const uint8_t *p = name;

    for (size_t i = 0; i < n; i++)
        if (odd(p[i]))
            return 1;
    return 0;
}

void text_quote(struct buf *out, const void *name, size_t n)
{
    static const char from[] = "\a\b\t\n\v\f\r\"\\", to[] = "abtnvfr\"\\";
    const uint8_t *p = name;

    if (!text_is_odd(name, n)) {
        buf_put(out, name, n);
        return;
    }
    buf_put_u8(out, '"');
    for (size_t i = 0; i < n; i++) {
        const char *at = p[i] ? strchr(from, p[i]) : NULL;
        if (at)
            buf_printf(out, "\\%c", to[at - from]);
        else if (odd(p[i]))
            buf_printf(out, "\\%03o", p[i]);
        else
            buf_put_u8(out, p[i]);
    }
    buf_put_u8(out, '"');
}

const char *text_safe(char *out, size_t size, const char *s)
{
    size_t n = 0;

    for (; *s && n + 5 < size; s++) {
        if ((uint8_t)*s < 0x20 || *s == 0x7f)
            n += (size_t)snprintf(out + n, size - n, "\\x%02x", (uint8_t)*s);
        else
            out[n++] = *s;
    }
    out[n] = 0;
    return out;
}

const char *text_bytes(char out[TEXT_SIZE], uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double v = (double)bytes;
    int u = 0;

    while (v >= 1023.95 && u < 6) {
        v /= 1024;
        u++;
    }
    if (u)
        snprintf(out, TEXT_SIZE, "%.1f %s", v, units[u]);
    else
        snprintf(out, TEXT_SIZE, "%llu B", (unsigned long long)bytes);
    return out;
}

const char *text_time(char out[TEXT_TIME], int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;

    if (!localtime_r(&t, &tm) || !strftime(out, TEXT_TIME, "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(out, TEXT_TIME, "%lld", (long long)unix_s);
    return out;
}

char *text_labels(const json_t *labels)
{
    struct buf b = BUF_INIT;
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)labels, key, v) {
        char k[1024], w[2048];
        const char *val = json_string_value(v);
        buf_printf(&b, "%s%s=%s", b.len ? ", " : "", text_safe(k, sizeof(k), key), text_safe(w, sizeof(w), val ? val : "?"));
    }
    buf_put_u8(&b, 0);
    if (!buf_err(&b))
        return (char *)b.data;
    buf_fini(&b);
    return mem_strdup("");
}
