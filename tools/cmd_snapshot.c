#include <stdio.h>

#include "tools/args.h"

int cmd_snapshot(struct tool *t, int argc, char **argv)
{
    const char *message = NULL;
    json_t *labels = json_object(), *ans;
    const struct arg_option options[] = { { "message", 'm', .val = &message }, { "label", 0, .each = args_label, .arg = labels }, { 0 } };
    struct args a;

    int r = args_parse(t, "snapshot", argc, argv, options, 1, 2, &a);
    if (r) {
        json_decref(labels);
        return r;
    }
    r = tool_call_state(t, json_pack("{s:s,s:s,s:s*,s:s*,s:o}", "verb", "snapshot", "object", a.v[0], "name", a.n > 1 ? a.v[1] : NULL,
                                     "message", message, "labels", labels), a.v[0], &ans);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    else
        puts(field_str(ans, "id"));
    json_decref(ans);
    return 0;
}
