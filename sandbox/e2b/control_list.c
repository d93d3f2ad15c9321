/* GET /v2/sandboxes: those of this API, newest first (order=asc: oldest first), filtered, in pages. */
#include <stdlib.h>
#include <string.h>

#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/e2b/control.h"
#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/page.h"

struct filter { bool running, paused; const char *template; double after; GHashTable *metadata; };

static void filter_fini(struct filter *f)
{
    if (f->metadata)
        g_hash_table_unref(f->metadata);
}

/* "k=v&k2=v2", its names and values encoded once more than the query itself. */
static GHashTable *metadata_of(const char *text)
{
    GHashTable *h = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_auto(GStrv) pairs = g_strsplit(text, "&", 64);

    for (char **p = pairs; *p; p++) {
        char *eq = strchr(*p, '=');
        if (!eq)
            continue;
        *eq = 0;
        g_strdelimit(*p, "+", ' ');
        g_strdelimit(eq + 1, "+", ' ');
        g_autofree char *k = g_uri_unescape_string(*p, NULL), *v = g_uri_unescape_string(eq + 1, NULL);
        char *key = k ? g_uri_unescape_string(k, NULL) : NULL, *value = v ? g_uri_unescape_string(v, NULL) : NULL;
        if (key && value) {
            g_hash_table_replace(h, key, value);
        } else {
            g_free(key);
            g_free(value);
        }
    }
    return h;
}

static bool filter_parse(struct http_call *c, struct filter *f)
{
    const char *state = http_query(c, "state"), *metadata = http_query(c, "metadata"), *after = http_query(c, "startedAfter");
    g_auto(GStrv) states = g_strsplit(state && *state ? state : "running,paused", ",", 8);

    f->running = g_strv_contains((const char *const *)states, "running");
    f->paused = g_strv_contains((const char *const *)states, "paused");
    f->template = http_query(c, "template");
    if (metadata && *metadata)
        f->metadata = metadata_of(metadata);
    if (after && *after) {
        g_autoptr(GDateTime) t = g_date_time_new_from_iso8601(after, NULL);
        if (!t) {
            http_fail(c, "invalid_request", "startedAfter: a time as 2026-01-31T12:00:00Z");
            return false;
        }
        f->after = (double)g_date_time_to_unix(t) + (double)g_date_time_get_microsecond(t) / 1e6;
    }
    return true;
}

static bool fits(const struct filter *f, const struct box *b)
{
    const json_t *e = b->config.e2b, *metadata = json_object_get(e, "metadata");
    GHashTableIter i;
    gpointer k, v;

    if (!(e2b_is_paused(b) ? f->paused : f->running) || (f->template && *f->template && strcmp(f->template, e2b_str(e, "template"))))
        return false;
    if (f->after > 0 && json_number_value(json_object_get(e, "started")) < f->after)
        return false;
    if (!f->metadata)
        return true;
    g_hash_table_iter_init(&i, f->metadata);
    while (g_hash_table_iter_next(&i, &k, &v)) {
        const char *have = json_string_value(json_object_get(metadata, k));
        if (!have || strcmp(have, v))
            return false;
    }
    return true;
}

static void listed(struct http_call *c, json_t *result)
{
    struct filter f = { 0 };
    json_t *all = json_array(), *rec;
    unsigned running = 0;
    char total[16];
    size_t i;

    if (!filter_parse(c, &f)) {
        json_decref(all);
        return;
    }
    json_array_foreach(json_object_get(result, "workspaces"), i, rec) {
        const char *name = json_string_value(json_object_get(rec, "name"));
        struct box *b = name && !g_str_has_prefix(name, ROOT_PREFIX "ws-") && !json_is_true(json_object_get(rec, "importing")) ? boxes_of_record(http_sandboxd(c)->boxes, rec) : NULL;
        if (!b || !e2b_is(b))
            continue;
        running += !e2b_is_paused(b);
        if (fits(&f, b))
            e2b_page_add(all, json_number_value(json_object_get(b->config.e2b, "started")), e2b_detail(b));
    }
    filter_fini(&f);
    g_snprintf(total, sizeof(total), "%u", running);
    http_set_header(c, "X-Total-Running", total);
    e2b_page_reply(c, all, "sandboxID");
}

static void get_sandboxes(struct http_call *c) { route_stock(c, json_pack("{s:s}", "verb", "list"), NULL, listed); }

#define Q(name) "{\"name\": \"" name "\", \"in\": \"query\", \"schema\": {\"type\": \"string\"}}"
#define QUERY ", \"parameters\": [" Q("metadata") ", " Q("state") ", " Q("limit") ", " Q("nextToken") ", " Q("order") ", " Q("startedAfter") ", " Q("template") "]"
const struct http_route e2b_list_routes[] = {
    E2B_CONTROL("GET", "/v2/sandboxes", 0, get_sandboxes, "Sandboxes made by this API, newest first; X-Next-Token, X-Total-Running", QUERY),
    E2B_CONTROL("GET", "/sandboxes", 0, get_sandboxes, "The same (old packages)", QUERY),
    { 0 }
};
