#include <stdio.h>

#include "tools/args.h"

int cmd_init(struct tool *t, int argc, char **argv)
{
    struct args a;
    json_t *ans;

    int r = args_parse(t, "init", argc, argv, NULL, 0, 0, &a);
    if (r)
        return r;
    if (tool_store_exists(t))
        return tool_fail("cannot make a store at %s: it is a store already", t->store);
    r = tool_open(t, NEED_CREATE);
    if (!r)
        r = tool_call(t, json_pack("{s:s}", "verb", "ping"), &ans);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    else
        printf("made a store at %s\n", field_str(ans, "store"));
    json_decref(ans);
    return 0;
}
