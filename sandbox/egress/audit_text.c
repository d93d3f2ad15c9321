/* An event as a line of JSON. */
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "sandbox/egress/audit_log.h"

/* Workload-made text: printable ASCII, cut. */
static void set_text(json_t *j, const char *key, const char *text, size_t max)
{
    char clean[600];
    size_t n = text ? strlen(text) : 0, at = 0;

    if (!text)
        return;
    for (size_t i = 0; i < n && at + 5 < sizeof clean && at < max; i++)
        at += (size_t)(text[i] >= 0x20 && text[i] < 0x7f && text[i] != '\\' ? snprintf(clean + at, 2, "%c", text[i]) : snprintf(clean + at, 5, "\\x%02x", (unsigned char)text[i]));
    clean[at] = 0;
    json_object_set_new(j, key, json_string(clean));
}

static void set_number(json_t *j, const char *key, uint64_t v)
{
    json_object_set_new(j, key, json_integer((json_int_t)v));
}

char *audit_text(const struct audit_event *e, uint64_t seq)
{
    static const char *const kinds[] = { "dns", "connect", "request" };
    char when[40], shape[PATH_SHAPE_MAX];
    struct timespec now;
    struct tm t;
    json_t *j = json_object();

    clock_real(&now);
    gmtime_r(&now.tv_sec, &t);
    size_t n = strftime(when, 24, "%Y-%m-%dT%H:%M:%S", &t);
    snprintf(when + n, sizeof when - n, ".%03ldZ", now.tv_nsec / 1000000);
    set_text(j, "time", when, 40);
    set_number(j, "seq", seq);
    set_text(j, "box", e->box, 64);
    set_text(j, "name", e->name, 64);
    set_text(j, "kind", kinds[e->kind], 16);
    set_text(j, "scheme", e->scheme, 8);
    set_text(j, "host", e->host, 256);
    if (e->port)
        set_number(j, "port", e->port);
    set_text(j, "method", e->method, 32);
    if (e->target)
        json_object_set_new(j, "path_shape", json_string(path_shape(e->target, shape)));
    set_text(j, "rule", e->rule, 64);
    set_text(j, "verdict", e->verdict, 16);
    set_text(j, "why", e->why && *e->why ? e->why : NULL, 200);
    if (e->status)
        set_number(j, "status", e->status);
    set_number(j, "bytes_up", e->bytes_up);
    set_number(j, "bytes_down", e->bytes_down);
    set_number(j, "ms", e->ms);
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text;
}
