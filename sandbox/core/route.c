#include "sandbox/core/route.h"

#include <stdlib.h>
#include <string.h>

#include "sandbox/core/box_private.h"

struct found { struct http_call *c; void (*then)(struct http_call *c, struct box *b); };

static void box_found(void *arg, struct box *b, const struct fault *fault)
{
    struct found *f = arg;

    if (fault) {
        http_fault(f->c, fault);
    } else {
        box_ref(b);
        f->then(f->c, b);
        box_unref(b);
    }
    g_free(f);
}

void route_box(struct http_call *c, void (*then)(struct http_call *c, struct box *b))
{
    struct found *f = g_new(struct found, 1);

    *f = (struct found){ c, then };
    box_get(http_sandboxd(c), http_param(c, "id"), box_found, f);
}

void route_box_answer(void *arg, struct box *b, const struct fault *fault)
{
    if (fault)
        http_fault(arg, fault);
    else
        http_reply(arg, 200, box_json(b));
}

struct ask { struct http_call *c; void (*ok)(struct http_call *c, json_t *result); };

static void stock_answer(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct ask *a = arg;

    if (result)
        a->ok(a->c, result);
    else
        http_fault(a->c, fault);
    g_free(a);
}

void route_stock_fds(struct http_call *c, json_t *req, const int *fds, unsigned fd_count, void (*ok)(struct http_call *c, json_t *result))
{
    struct ask *a = g_new(struct ask, 1);

    *a = (struct ask){ c, ok };
    stock_call(http_sandboxd(c)->stock, req, fds, fd_count, stock_answer, a);
}

void route_stock(struct http_call *c, json_t *req, struct box *b, void (*ok)(struct http_call *c, json_t *result))
{
    route_stock_fds(c, req, b ? &b->dir_fd : NULL, b && b->dir_fd >= 0, ok);
}

json_t *route_snapshot_json(const json_t *rec)
{
    static const char *const keys[] = { "id", "name", "workspace", "workspace_id", "kind", "template", "parent", "created", "cause", "message", "labels", "root", "files", "dirs", "logical_bytes",
                                        "shared_bytes", "private_bytes", "meta_private_bytes", "timing", "unchanged" };
    json_t *j = json_object(), *v;

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        if ((v = json_object_get(rec, keys[i])))
            json_object_set(j, keys[i], v);
    return j;
}

bool route_name_ok(struct http_call *c, const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-@");

    if (n && !name[n] && n < 160)
        return true;
    http_fail(c, "not_found", "there is no such object: names are of a-z 0-9 . _ - (and WORKSPACE@NAME for snapshots)");
    return false;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(json_string_value(json_object_get(*(json_t *const *)a, "id")), json_string_value(json_object_get(*(json_t *const *)b, "id")));
}

void route_page(struct http_call *c, const char *key, json_t *all)
{
    size_t n = json_array_size(all), taken = 0;
    const char *after = http_query(c, "after");
    uint64_t limit = 1000;
    json_t *page = json_array(), *next = NULL;

    if (!http_query_u64(c, "limit", &limit)) {
        json_decref(page);
        json_decref(all);
        return;
    }
    limit = CLAMP(limit, 1, 1000);
    json_t **v = g_new(json_t *, n + 1);
    for (size_t i = 0; i < n; i++)
        v[i] = json_array_get(all, i);
    qsort(v, n, sizeof(*v), by_id);
    for (size_t i = 0; i < n && !next; i++) {
        json_t *id = json_object_get(v[i], "id");
        if (after && strcmp(json_string_value(id), after) <= 0)
            continue;
        if (taken == limit)
            next = json_incref(json_object_get(json_array_get(page, taken - 1), "id"));
        else if (!json_array_append(page, v[i]))
            taken++;
    }
    g_free(v);
    json_decref(all);
    http_reply(c, 200, json_pack("{s:o,s:o}", key, page, "next", next ? next : json_null()));
}
