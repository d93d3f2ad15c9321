#include <stdio.h>

#include "tools/args.h"

/* A sandbox that runs has its workspace mounted, with no directory of the host. */
static bool runs(struct tool *t, const char *name)
{
    json_t *ans = NULL, *m;

    if (snap_collect(t->client, json_pack("{s:s,s:s}", "verb", "mounts", "object", name), NULL, 0, NULL, NULL, &ans, &t->error))
        return false;
    m = json_array_get(json_object_get(ans, "mounts"), 0);
    bool r = m && !json_is_string(json_object_get(m, "dir")) && !json_is_object(json_object_get(m, "dir"));
    json_decref(ans);
    return r && tool_runner_runs(t);
}

/* Ends those that run, or says which does. */
static int end_running(struct tool *t, const struct args *a, bool force)
{
    for (int i = 0; i < a->n; i++) {
        if (!runs(t, a->v[i]))
            continue;
        if (!force)
            return tool_fail("cannot remove '%s': it runs as a sandbox; `coppice rm --force %s` ends it first", a->v[i], a->v[i]);
        char path[128];
        snprintf(path, sizeof(path), "/sandbox/%.64s/stop", a->v[i]);
        json_t *ans = tool_api(t, "POST", path, json_object());
        int status = (int)field_int(ans, "status");
        int r = status == 200 || status == 404 ? 0 : tool_fail("cannot end the sandbox '%s': %s", a->v[i], ans ? field_str(ans, "error") : "its runner gives no answer");
        json_decref(ans);
        if (r)
            return r;
    }
    return 0;
}

int cmd_rm(struct tool *t, int argc, char **argv)
{
    bool with_snapshots = false, force = false;
    const struct arg_option options[] = { { "with-snapshots", 0, .flag = &with_snapshots }, { "force", 'f', .flag = &force }, { 0 } };
    struct args a;
    json_t *ans;

    int r = args_parse(t, "rm", argc, argv, options, 1, -1, &a);
    if (r)
        return r;
    r = tool_open(t, NEED_STORE);
    if (!r)
        r = end_running(t, &a, force);
    if (r)
        return r;
    json_t *names = json_array();
    for (int i = 0; i < a.n; i++)
        if (json_array_append_new(names, json_string(a.v[i]))) {
            json_decref(names);
            return tool_fail("cannot remove '%s': no workspace or snapshot of this name", a.v[i]);
        }
    r = tool_call(t, json_pack("{s:s,s:o,s:b}", "verb", "rm", "objects", names, "with_snapshots", with_snapshots), &ans);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    json_decref(ans);
    return 0;
}
