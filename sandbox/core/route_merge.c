/* POST /v1/sandbox/{id}/merge: what others did since they parted is done to this one. snapshotd does it (fs/merge.h); here the mounts that it has to flush are found. */
#include <string.h>

#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/routes.h"

static void merged(struct http_call *c, json_t *result)
{
    const char *id = json_string_value(json_object_get(result, "id"));
    struct box *b = id ? boxes_find(http_sandboxd(c)->boxes, id) : NULL;
    bool done = json_is_true(json_object_get(result, "merged"));

    if (b && done && b->p->bs->hooks.changed)
        b->p->bs->hooks.changed(b, "merged");
    json_t *out = json_copy(result);
    json_object_del(out, "id");
    if (done || json_is_true(json_object_get(result, "dry_run")))
        http_reply(c, 200, out);
    else                                  /* as an error has it, with all of the report */
        http_reply(c, 409, json_pack("{s:s,s:s,s:o}", "error", "there are conflicts, so nothing was changed; decide them with prefer, picks or markers", "code", "conflict", "details", out));
}

static bool names_ok(struct http_call *c, json_t *sources)
{
    json_t *s;
    size_t i;

    if (!json_is_array(sources) || !json_array_size(sources) || json_array_size(sources) >= STOCK_FDS_MAX) {
        http_fail(c, "invalid_request", "sources: an array of 1 to %d names or ids of sandboxes or snapshots", STOCK_FDS_MAX - 1);
        return false;
    }
    json_array_foreach(sources, i, s)
        if (!json_is_string(s)) {
            http_fail(c, "invalid_request", "sources[%zu]: not a string", i);
            return false;
        } else if (!route_name_ok(c, json_string_value(s))) {
            return false;
        }
    return true;
}

static void merge_box(struct http_call *c, struct box *b)
{
    const char *base = NULL, *prefer = NULL, *message = NULL;
    json_t *sources = NULL, *picks = NULL, *s;
    int dry_run = 0, markers = 0, fds[STOCK_FDS_MAX];
    unsigned n = 0;
    size_t i;

    if (!http_unpack(c, "{s:o,s?s,s?b,s?s,s?b,s?o,s?s}", "sources", &sources, "base", &base, "dry_run", &dry_run, "prefer", &prefer, "markers", &markers, "picks", &picks, "message", &message) ||
        !names_ok(c, sources) || (base && !route_name_ok(c, base)))
        return;
    if (prefer && strcmp(prefer, "ours") && strcmp(prefer, "theirs")) {
        http_fail(c, "invalid_request", "prefer: \"ours\" or \"theirs\"");
        return;
    }
    if (b->dir_fd >= 0)
        fds[n++] = b->dir_fd;
    json_array_foreach(sources, i, s) {
        struct box *x = boxes_find(b->sd->boxes, json_string_value(s));
        if (x && x->dir_fd >= 0)
            fds[n++] = x->dir_fd;
    }
    route_stock_fds(c, json_pack("{s:s,s:s,s:O,s:s*,s:b,s:s*,s:b,s:O*,s:s*}", "verb", "merge", "into", b->id, "sources", sources, "base", base, "dry_run", dry_run, "prefer", prefer, "markers",
                                 markers, "picks", picks, "message", message), fds, n, merged);
}

static void post_merge(struct http_call *c) { route_box(c, merge_box); }

const struct http_route merge_routes[] = {
    { "POST", "/v1/sandbox/{id}/merge", ROUTE_JSON, post_merge,
      "{\"summary\": \"Merge others into this sandbox\", \"description\": \"What each source, a sandbox or snapshot, did since the latest common ancestor is done here: all or nothing, and running programs see it "
      "at once. Answers a report by path; conflicts that are left give 409 with the same report as details, and nothing is changed.\", \"tags\": [\"snapshot\"], "
      DOC_BODY("\"sources\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}, " DOC_STR("base") ", \"dry_run\": {\"type\": \"boolean\"}, " DOC_STR("prefer") ", \"markers\": {\"type\": \"boolean\"}, "
               DOC_OBJ("picks") ", " DOC_STR("message")) ", " DOC_OK("200", "merged, conflicts, changes, before, snapshot, sources, entries") "}" },
    { 0 }
};
