#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "snapshotd/snap_proto.h"
#include "tools/args.h"
#include "tools/text.h"

struct picks { json_t *v; const char *side; };

static int pick(void *arg, const char *path)
{
    struct picks *p = arg;

    return json_object_set_new(p->v, path, json_string(p->side)) ? 1 : 0;
}

static void put_path(struct buf *b, const json_t *j)
{
    size_t n;
    int err = 0;
    char *path = snap_bytes_get(j, &n, &err);

    if (path)
        text_quote(b, path, n);
    free(path);
}

static void print_entry(const json_t *e)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;
    const char *taken = field_str(e, "taken");

    buf_put(&b, field_str(e, "result"), 1);
    buf_put_u8(&b, '\t');
    if (json_object_get(e, "old_path")) {
        put_path(&b, json_object_get(e, "old_path"));
        buf_put_u8(&b, '\t');
    }
    put_path(&b, json_object_get(e, "path"));
    if (*field_str(e, "result") == 'C') {
        buf_printf(&b, "\t%s (%s)", field_str(e, "why"), field_str(e, "source"));
        if (strcmp(taken, "neither"))
            buf_printf(&b, ": %s taken", strcmp(taken, "markers") ? taken : "both with markers");
    }
    buf_put_u8(&b, '\n');
    if (!buf_err(&b))
        fwrite(b.data, 1, b.len, stdout);
}

static int print_report(const char *into, const json_t *ans)
{
    long long conflicts = (long long)field_int(ans, "conflicts"), changes = (long long)field_int(ans, "changes");
    const json_t *e;
    size_t i;

    json_array_foreach(json_object_get(ans, "entries"), i, e)
        print_entry(e);
    fflush(stdout);
    if (conflicts) {
        fprintf(stderr, "coppice: cannot merge into '%s': %lld conflict%s; nothing was changed. Decide with --ours, --theirs, --take-ours PATH, --take-theirs PATH, or --markers\n", into, conflicts,
                conflicts == 1 ? "" : "s");
        return 1;
    }
    if (json_is_true(json_object_get(ans, "dry_run")))
        printf("%lld change%s, no conflict left; nothing was changed (--dry-run)\n", changes, changes == 1 ? "" : "s");
    else
        printf("%lld change%s merged: snapshot %s, before %s\n", changes, changes == 1 ? "" : "s", field_str(ans, "snapshot"), field_str(ans, "before"));
    return 0;
}

int cmd_merge(struct tool *t, int argc, char **argv)
{
    const char *into = NULL, *base = NULL, *message = NULL;
    bool dry_run = false, ours = false, theirs = false, markers = false;
    struct picks take_ours = { json_object(), "ours" }, take_theirs = { take_ours.v, "theirs" };
    const struct arg_option options[] = {
        { "into", 0, .val = &into }, { "base", 0, .val = &base }, { "message", 'm', .val = &message }, { "dry-run", 'n', .flag = &dry_run }, { "ours", 0, .flag = &ours },
        { "theirs", 0, .flag = &theirs }, { "markers", 0, .flag = &markers }, { "take-ours", 0, .each = pick, .arg = &take_ours },
        { "take-theirs", 0, .each = pick, .arg = &take_theirs }, { 0 } };
    struct args a;
    json_t *ans = NULL;

    int r = args_parse(t, "merge", argc, argv, options, 1, -1, &a);
    if (!r && !into)
        r = args_usage("merge", "--into WS is missing");
    if (!r && ours && theirs)
        r = args_usage("merge", "--ours and --theirs exclude each other");
    if (r) {
        json_decref(take_ours.v);
        return r;
    }
    json_t *sources = json_array();
    for (int i = 0; i < a.n; i++)
        json_array_append_new(sources, json_string(a.v[i]));
    json_t *req = json_pack("{s:s,s:s,s:o,s:b,s:b,s:o}", "verb", "merge", "into", into, "sources", sources, "dry_run", dry_run, "markers", markers, "picks", take_ours.v);
    if (base)
        json_object_set_new(req, "base", json_string(base));
    if (message)
        json_object_set_new(req, "message", json_string(message));
    if (ours || theirs)
        json_object_set_new(req, "prefer", json_string(ours ? "ours" : "theirs"));
    _cleanup_free_ const char **objects = calloc((size_t)a.n + 1, sizeof *objects);
    for (int i = 0; objects && i <= a.n; i++)
        objects[i] = i ? a.v[i - 1] : into;
    r = tool_call_states(t, req, objects, objects ? (unsigned)a.n + 1 : 0, &ans);
    if (r)
        return r;
    if (json_is_true(json_object_get(ans, "merged")))
        boxed_changed(t, into, "merge");
    if (t->json)
        tool_print_json(ans);
    r = t->json ? field_int(ans, "conflicts") != 0 : print_report(into, ans);
    json_decref(ans);
    return r;
}
