#include <stdio.h>

#include "tools/args.h"

int cmd_rm(struct tool *t, int argc, char **argv)
{
    bool with_snapshots = false;
    const struct arg_option options[] = { { "with-snapshots", 0, .flag = &with_snapshots }, { 0 } };
    struct args a;
    json_t *ans;

    int r = args_parse(t, "rm", argc, argv, options, 1, -1, &a);
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
