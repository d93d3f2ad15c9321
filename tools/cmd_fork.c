#include <stdio.h>

#include "tools/args.h"

int cmd_fork(struct tool *t, int argc, char **argv)
{
    const char *count = NULL;
    uint64_t n = 0;
    const struct arg_option options[] = { { "count", 'n', .val = &count }, { 0 } };
    struct args a;
    json_t *ans, *w;
    size_t i;

    int r = args_parse(t, "fork", argc, argv, options, 2, 2, &a);
    if (!r && count && (!args_number(count, &n) || !n || n > 10000))
        r = args_usage("fork", "-n takes a number from 1 to 10000, not '%s'", count);
    if (r)
        return r;
    r = boxed_fork(t, a.v[0], a.v[1], n, &ans);
    if (r > 0)
        return r;
    json_t *req = r ? json_pack("{s:s,s:s,s:s}", "verb", "fork", "source", a.v[0], "name", a.v[1]) : NULL;
    if (req && n)
        json_object_set_new(req, "count", json_integer((json_int_t)n));
    r = req ? tool_call_state(t, req, a.v[0], &ans) : 0;
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    else
        json_array_foreach(json_object_get(ans, "workspaces"), i, w)
            puts(field_str(w, "id"));
    json_decref(ans);
    return 0;
}
