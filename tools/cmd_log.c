#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "tools/args.h"
#include "tools/graph.h"
#include "tools/text.h"

/* Names of workspaces by the snapshot that they stand on. */
static json_t *refs_of(const json_t *workspaces)
{
    json_t *refs = json_object(), *w;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)workspaces, i, w) {
        const char *id = field_str(w, "snapshot");
        if (!json_object_get(refs, id))
            json_object_set_new(refs, id, json_array());
        json_array_append(json_object_get(refs, id), json_object_get(w, "name"));
    }
    return refs;
}

/* " (v1, workspace: a)": the snapshot's name and the workspaces that stand on it. */
static void put_refs(struct buf *b, const json_t *s, const json_t *refs)
{
    const char *sep = " (";
    json_t *w;
    size_t i;

    if (field_str(s, "name")[0]) {
        buf_printf(b, "%s%s", sep, field_str(s, "name"));
        sep = ", ";
    }
    json_array_foreach(json_object_get(refs, field_str(s, "id")), i, w) {
        buf_printf(b, "%sworkspace: %s", sep, json_string_value(w));
        sep = ", ";
    }
    if (*sep == ',')
        buf_put_u8(b, ')');
}

static void put_line(struct buf *b, const json_t *s, const json_t *refs)
{
    char when[TEXT_TIME], message[4200];

    buf_printf(b, "%s", field_str(s, "id"));
    put_refs(b, s, refs);
    buf_printf(b, " %s %s", text_time(when, field_int(s, "created")), field_str(s, "cause"));
    if (field_str(s, "message")[0])
        buf_printf(b, ": %s", text_safe(message, sizeof(message), field_str(s, "message")));
    buf_put_u8(b, 0);
}

/* A merge has lines to all its parents that are shown. */
static int draw(struct graph *g, const json_t *s, const char *text, const json_t *shown)
{
    int r = graph_node(g, field_str(s, "id"), field_str(s, "parent"), text, stdout);
    json_t *m;
    size_t i;

    json_array_foreach(json_object_get((json_t *)(uintptr_t)s, "merged"), i, m)
        if (!r && json_object_get(shown, json_string_value(m)))
            r = graph_merged(g, field_str(s, "parent"), json_string_value(m), stdout);
    return r;
}

static int print(const json_t *ans, bool graph)
{
    json_t *refs = refs_of(json_object_get(ans, "workspaces"));
    _cleanup_(buf_fini) struct buf b = BUF_INIT;
    struct graph *g = graph ? graph_new() : NULL;
    int r = graph && !g ? -ENOMEM : 0;
    json_t *s;
    size_t i;

    json_t *snapshots = json_object();
    json_array_foreach(json_object_get(ans, "snapshots"), i, s)
        json_object_set(snapshots, field_str(s, "id"), s);
    json_array_foreach(json_object_get(ans, "snapshots"), i, s) {
        buf_clear(&b);
        put_line(&b, s, refs);
        if (!r)
            r = buf_err(&b);
        if (r)
            break;
        if (graph)
            r = draw(g, s, (char *)b.data, snapshots);
        else
            puts((char *)b.data);
    }
    graph_free(g);
    json_decref(snapshots);
    json_decref(refs);
    return r ? tool_fail("out of memory") : 0;
}

int cmd_log(struct tool *t, int argc, char **argv)
{
    bool graph = false;
    const struct arg_option options[] = { { "graph", 0, .flag = &graph }, { 0 } };
    struct args a;
    json_t *ans;

    int r = args_parse(t, "log", argc, argv, options, 1, 1, &a);
    if (!r)
        r = tool_call(t, json_pack("{s:s,s:s,s:b}", "verb", "log", "object", a.v[0], "graph", graph), &ans);
    if (r)
        return r;
    r = t->json ? tool_print_json(ans) : print(ans, graph);
    json_decref(ans);
    return r;
}
