#include "tools/args.h"

int cmd_rename(struct tool *t, int argc, char **argv)
{
    struct args a;
    json_t *ans;

    int r = args_parse(t, "rename", argc, argv, NULL, 2, 2, &a);
    if (!r)
        r = tool_call(t, json_pack("{s:s,s:s,s:s}", "verb", "rename", "object", a.v[0], "name", a.v[1]), &ans);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    json_decref(ans);
    return 0;
}
