#include "sandbox/e2b/page.h"

#include <stdlib.h>
#include <string.h>

struct entry { double time; const char *id; json_t *item; };

void e2b_page_add(json_t *all, double time, json_t *item) { json_array_append_new(all, json_pack("{s:f,s:o}", "time", time, "item", item)); }

static int newest_first(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return x->time != y->time ? (x->time < y->time ? 1 : -1) : strcmp(x->id, y->id);
}

static void reverse(struct entry *v, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        struct entry t = v[i];
        v[i] = v[n - 1 - i];
        v[n - 1 - i] = t;
    }
}

/* Where the page begins: behind the entry that the token names; if it is gone meanwhile, behind where it was. */
static size_t begin(const struct entry *v, size_t n, const char *token, bool ascending)
{
    char *end;
    double t = token ? g_ascii_strtod(token, &end) : 0;
    size_t i = 0;

    if (!token || *end != '_')
        return 0;
    for (; i < n; i++) {
        int order = v[i].time != t ? (v[i].time < t ? 1 : -1) : strcmp(v[i].id, end + 1);
        if (ascending ? order < 0 : order > 0)
            break;
    }
    return i;
}

void e2b_page_reply(struct http_call *c, json_t *all, const char *id)
{
    size_t n = json_array_size(all), at;
    uint64_t limit = E2B_LIST_MAX;
    bool ascending = http_query(c, "order") && !strcmp(http_query(c, "order"), "asc");
    struct entry *v;
    json_t *page, *e;
    char token[160], time[G_ASCII_DTOSTR_BUF_SIZE];

    if (!http_query_u64(c, "limit", &limit)) {
        json_decref(all);
        return;
    }
    limit = CLAMP(limit, 1, E2B_LIST_MAX);
    v = g_new(struct entry, n + 1);
    json_array_foreach(all, at, e)
        v[at] = (struct entry){ json_number_value(json_object_get(e, "time")), e2b_str(json_object_get(e, "item"), id), json_object_get(e, "item") };
    qsort(v, n, sizeof(*v), newest_first);
    if (ascending)
        reverse(v, n);
    page = json_array();
    for (at = begin(v, n, http_query(c, "nextToken"), ascending); at < n && json_array_size(page) < limit; at++)
        json_array_append(page, v[at].item);
    if (at < n && at) {
        g_snprintf(token, sizeof(token), "%s_%s", g_ascii_dtostr(time, sizeof(time), v[at - 1].time), v[at - 1].id);
        http_set_header(c, "X-Next-Token", token);
    }
    g_free(v);
    json_decref(all);
    http_reply(c, 200, page);
}
