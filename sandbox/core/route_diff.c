/* GET /v1/diff: what differs between any two of snapshots and workspaces. */
#include <string.h>

#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/routes.h"

static json_t *bytes_field(json_t *e, const char *key)
{
    json_t *v = json_object_get(e, key);
    return v ? v : json_null();
}

static json_t *stat_json(json_t *entries)
{
    json_int_t added = 0, deleted = 0, modified = 0, renamed = 0, type = 0;
    json_t *e;
    size_t i;

    json_array_foreach(entries, i, e) {
        const char *k = json_string_value(json_object_get(e, "kind"));
        switch (k ? k[0] : 0) {
        case 'A': added++; break;
        case 'D': deleted++; break;
        case 'M': modified++; break;
        case 'R': renamed++; break;
        case 'T': type++; break;
        }
    }
    return json_pack("{s:I,s:I,s:I,s:I,s:I}", "added", added, "deleted", deleted, "modified", modified, "renamed", renamed, "type", type);
}

static void compared(struct http_call *c, json_t *result)
{
    const char *format = http_query(c, "format");
    json_t *entries = json_object_get(result, "entries"), *out, *e;
    size_t i;

    if (format && !strcmp(format, "stat")) {
        http_reply(c, 200, json_pack("{s:O,s:O,s:O,s:o}", "a", json_object_get(result, "a"), "b", json_object_get(result, "b"), "count", json_object_get(result, "count"), "stat",
                                     stat_json(entries)));
        return;
    }
    if (format && !strcmp(format, "name-status")) {
        out = json_array();
        json_array_foreach(entries, i, e) {
            json_t *line = json_pack("{s:O,s:O}", "kind", bytes_field(e, "kind"), "path", bytes_field(e, "path"));
            if (json_object_get(e, "old_path"))
                json_object_set(line, "old_path", json_object_get(e, "old_path"));
            json_array_append_new(out, line);
        }
        http_reply(c, 200, json_pack("{s:O,s:O,s:O,s:o}", "a", json_object_get(result, "a"), "b", json_object_get(result, "b"), "count", json_object_get(result, "count"), "entries", out));
        return;
    }
    http_reply(c, 200, json_incref(result));
}

static void get_diff(struct http_call *c)
{
    const char *a = http_query(c, "a"), *b = http_query(c, "b"), *format = http_query(c, "format"), *path = http_query(c, "path");
    struct boxes *bs = http_sandboxd(c)->boxes;
    struct box *x;

    if (!a || !b) {
        http_fail(c, "invalid_request", "a and b are needed: names or ids of snapshots or sandboxes");
        return;
    }
    if (format && strcmp(format, "json") && strcmp(format, "stat") && strcmp(format, "name-status")) {
        http_fail(c, "invalid_request", "format is json, stat or name-status (patches are made by coppice diff --patch)");
        return;
    }
    if (!route_name_ok(c, a) || !route_name_ok(c, b))
        return;
    json_t *req = json_pack("{s:s,s:s,s:s}", "verb", "diff", "a", a, "b", b);
    int fds[2];
    unsigned n = 0;
    if ((x = boxes_find(bs, a)) && x->dir_fd >= 0)
        fds[n++] = x->dir_fd;
    if ((x = boxes_find(bs, b)) && x->dir_fd >= 0)
        fds[n++] = x->dir_fd;
    if (req && path)
        json_object_set_new(req, "paths", json_pack("[s]", path));
    route_stock_fds(c, req, fds, n, compared);
}

const struct http_route diff_routes[] = {
    { "GET", "/v1/diff", 0, get_diff,
      "{\"summary\": \"Compare two states\", \"description\": \"Any two of snapshots and sandboxes (their state now).\", \"tags\": [\"snapshot\"], \"parameters\": [" DOC_PARAM("a", "string") ", "
      DOC_PARAM("b", "string") ", " DOC_PARAM("path", "string") ", " DOC_PARAM("format", "string") "], " DOC_OK("200", "a, b, count, entries of {kind, path, old_path, what, a, b}") "}" },
    { 0 }
};
