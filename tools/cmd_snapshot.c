#include <stdio.h>

#include "tools/args.h"

static int set_policy(struct tool *t, const char *ws, const char *policy)
{
    json_t *ans;
    int r = tool_call(t, json_pack("{s:s,s:s,s:s}", "verb", "auto", "object", ws, "policy", policy), &ans);

    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    json_decref(ans);
    return 0;
}

int cmd_snapshot(struct tool *t, int argc, char **argv)
{
    const char *message = NULL, *policy = NULL;
    json_t *labels = json_object(), *ans;
    const struct arg_option options[] = { { "message", 'm', .val = &message }, { "label", 0, .each = args_label, .arg = labels }, { "auto", 0, .val = &policy }, { 0 } };
    struct args a;

    int r = args_parse(t, "snapshot", argc, argv, options, 1, 2, &a);
    if (!r && policy && (a.n > 1 || message || json_object_size(labels)))
        r = args_usage("snapshot", "--auto sets a policy: without a name, message or labels");
    if (r || policy)
        json_decref(labels);
    if (r)
        return r;
    if (policy)
        return set_policy(t, a.v[0], policy);
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
