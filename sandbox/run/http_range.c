#include "sandbox/run/http_range.h"

#include <glib.h>
#include <string.h>

static bool number(const char *p, size_t n, uint64_t *ret)
{
    char text[21];

    if (!n || n >= sizeof(text))
        return false;
    memcpy(text, p, n);
    text[n] = 0;
    return g_ascii_string_to_unsigned(text, 10, 0, UINT64_MAX, ret, NULL);
}

struct http_range http_range_parse(const char *header)
{
    struct http_range r = { .last = UINT64_MAX };
    const char *dash;

    if (!header || strncmp(header, "bytes=", 6) || strchr(header, ','))
        return r;
    header += 6;
    dash = strchr(header, '-');
    if (!dash)
        return r;
    if (dash == header) {
        r.suffix = r.have = number(dash + 1, strlen(dash + 1), &r.last);
        return r;
    }
    if (!number(header, (size_t)(dash - header), &r.first) || (dash[1] && !number(dash + 1, strlen(dash + 1), &r.last)))
        return (struct http_range){ .last = UINT64_MAX };
    r.have = r.last >= r.first;
    return r;
}

bool http_etag_in(const char *list, const char *etag)
{
    size_t n = strlen(etag);

    while (*list) {
        while (*list == ' ' || *list == ',' || *list == '\t')
            list++;
        size_t part = strcspn(list, ",");
        size_t end = part;
        while (end && (list[end - 1] == ' ' || list[end - 1] == '\t'))
            end--;
        if ((end == 1 && *list == '*') || (end == n && !memcmp(list, etag, n)))
            return true;
        list += part;
    }
    return false;
}
