#include <stdio.h>
#include <string.h>

#include "snapshotd/snap_proto.h"
#include "tools/args.h"

int cmd_restore(struct tool *t, int argc, char **argv)
{
    const char *to = NULL;
    bool undo = false;
    const struct arg_option options[] = { { "to", 0, .val = &to }, { "undo", 0, .flag = &undo }, { 0 } };
    struct args a;
    json_t *ans;

    int r = args_parse(t, "restore", argc, argv, options, 1, -1, &a);
    if (!r && !to && !undo)
        r = args_usage("restore", "--to SNAPSHOT or --undo is missing");
    if (!r && undo && (to || a.n > 1))
        r = args_usage("restore", "--undo is of the whole tree: without --to and paths");
    if (r)
        return r;
    json_t *req = json_pack("{s:s,s:s,s:s*,s:b}", "verb", "restore", "object", a.v[0], "to", to, "undo", undo), *paths = json_array();
    for (int i = 1; i < a.n; i++)
        json_array_append_new(paths, snap_bytes(a.v[i], strlen(a.v[i])));
    json_object_set_new(req, "paths", paths);
    r = tool_call_state(t, req, a.v[0], &ans);
    if (r)
        return r;
    boxed_changed(t, a.v[0], "restore");
    if (t->json) {
        tool_print_json(ans);
    } else {
        if (undo)
            printf("as it was in %s\n", field_str(ans, "to"));
        printf("%lld changed\n", (long long)field_int(ans, "changed"));
        if (field_str(ans, "before")[0])
            printf("the state before is kept as %s\n", field_str(ans, "before"));
    }
    json_decref(ans);
    return 0;
}
