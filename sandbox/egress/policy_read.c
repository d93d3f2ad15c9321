/* Strict reading of JSON with the place of what is wrong. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "sandbox/egress/policy_private.h"

struct at at_field(const struct at *at, const char *name)
{
    struct at r = { .fault = at->fault };
    if (snprintf(r.path, sizeof r.path, "%s%s%s", at->path, *at->path ? "." : "", name) >= (int)sizeof r.path)
        memcpy(r.path + sizeof r.path - 4, "...", 4);
    return r;
}

struct at at_item(const struct at *at, size_t i)
{
    struct at r = { .fault = at->fault };
    if (snprintf(r.path, sizeof r.path, "%s[%zu]", at->path, i) >= (int)sizeof r.path)
        memcpy(r.path + sizeof r.path - 4, "...", 4);
    return r;
}

int at_fault(const struct at *at, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(at->fault->text, sizeof at->fault->text, "%s%s", at->path, *at->path ? ": " : "");

    va_start(ap, fmt);
    vsnprintf(at->fault->text + n, sizeof at->fault->text - (size_t)n, fmt, ap);
    va_end(ap);
    for (char *p = at->fault->text; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    return -EINVAL;
}

static bool in_list(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; n && (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ' '))
            return true;
    return false;
}

int at_only(const struct at *at, json_t *object, const char *known)
{
    const char *key;
    json_t *v;

    json_object_foreach (object, key, v)
        if (!text_plain(key, strlen(key)) || strchr(key, ' ') || !in_list(known, key))
            return at_fault(at, "there is no field \"%.40s\"; known are: %s", key, known);
    return 0;
}

bool text_plain(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] < 0x20 || (unsigned char)p[i] > 0x7e)
            return false;
    return true;
}

static int text_of(const struct at *at, json_t *v, size_t max, const char **ret)
{
    if (!json_is_string(v))
        return at_fault(at, "must be a string");
    if (!json_string_length(v) || json_string_length(v) > max)
        return at_fault(at, "must be of 1 to %zu bytes", max);
    if (!text_plain(json_string_value(v), json_string_length(v)))
        return at_fault(at, "must be printable ASCII: no line break, no NUL, no other control byte, nothing beyond ASCII");
    *ret = json_string_value(v);
    return 0;
}

int at_text(const struct at *at, json_t *object, const char *field, size_t max, const char **ret)
{
    json_t *v = json_object_get(object, field);
    struct at here = at_field(at, field);

    return v ? text_of(&here, v, max, ret) : 0;
}

int at_bool(const struct at *at, json_t *object, const char *field, bool *ret)
{
    json_t *v = json_object_get(object, field);
    struct at here = at_field(at, field);

    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return at_fault(&here, "must be true or false");
    *ret = json_is_true(v);
    return 0;
}

int at_number(const struct at *at, json_t *object, const char *field, uint64_t min, uint64_t max, uint64_t *ret)
{
    json_t *v = json_object_get(object, field);
    struct at here = at_field(at, field);

    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) < min || (uint64_t)json_integer_value(v) > max)
        return at_fault(&here, "must be a whole number from %llu to %llu", (unsigned long long)min, (unsigned long long)max);
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

int at_object(const struct at *at, json_t *object, const char *field, json_t **ret)
{
    json_t *v = json_object_get(object, field);
    struct at here = at_field(at, field);

    if (!v)
        return 0;
    if (!json_is_object(v))
        return at_fault(&here, "must be an object");
    *ret = v;
    return 0;
}

int at_texts(const struct at *at, json_t *object, const char *field, unsigned max, check_fn *check, struct texts *ret)
{
    json_t *list = json_object_get(object, field);
    struct at here = at_field(at, field);

    if (!list)
        return 0;
    if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > max)
        return at_fault(&here, "must be an array of 1 to %u strings", max);
    ret->v = mem_zalloc(json_array_size(list) * sizeof *ret->v);
    if (!ret->v)
        return -ENOMEM;
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct at item = at_item(&here, i);
        int r = text_of(&item, json_array_get(list, i), 1024, &ret->v[i]);
        const char *why = r || !check ? NULL : check(ret->v[i]);
        if (r || why)
            return r ? r : at_fault(&item, "%s", why);
        ret->n++;
    }
    return 0;
}

bool text_folds_to(const char *p, size_t n, const char *name)
{
    return http1_same_folded((struct slice){ p, n }, (struct slice){ name, strlen(name) });
}

/* Who frames the message, and who it is for, is not for rules to write. */
const char *header_check(const char *name)
{
    static const char *const ours[] = { "host", "connection", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade",
                                        "content-length", "expect", "http2-settings", "sec-websocket-key", "sec-websocket-version", "sec-websocket-accept", "sec-websocket-extensions" };

    if (!http1_is_name((struct slice){ name, strlen(name) }))
        return "is not the name of a header";
    for (unsigned i = 0; i < sizeof ours / sizeof *ours; i++)
        if (text_folds_to(name, strlen(name), ours[i]))
            return "is a header that belongs to the connection: rules do not write it";
    return NULL;
}

const char *header_value_check(const char *value)
{
    return http1_is_value((struct slice){ value, strlen(value) }) ? NULL : "is not the value of a header";
}

bool secret_name_ok(const char *name)
{
    size_t n = strlen(name);

    if (!n || n > 64 || name[0] == '.' || name[0] == '-')
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}
