#include <stdio.h>

#include "tools/args.h"

int cmd_create(struct tool *t, int argc, char **argv)
{
    const char *from = NULL, *quota = NULL, *inodes = NULL;
    uint64_t bytes = 0, count = 0;
    bool bare = false;
    json_t *labels = json_object(), *ans;
    const struct arg_option options[] = {
        { "from", 0, .val = &from }, { "bare", 0, .flag = &bare }, { "quota", 0, .val = &quota }, { "inodes", 0, .val = &inodes },
        { "label", 0, .each = args_label, .arg = labels }, { 0 },
    };
    struct args a;

    int r = args_parse(t, "create", argc, argv, options, 1, 1, &a);
    if (!r && quota && !args_size(quota, &bytes))
        r = args_usage("create", "--quota %s is not a size", quota);
    if (!r && inodes && !args_number(inodes, &count))
        r = args_usage("create", "--inodes %s is not a number", inodes);
    if (!r)
        r = tool_open(t, NEED_CREATE);
    if (r) {
        json_decref(labels);
        return r;
    }
    /* Of something: of that one's kind. */
    const char *kind = bare ? "bare" : from ? NULL : "root";
    r = tool_call_state(t,
                        json_pack("{s:s,s:s,s:s*,s:s*,s:I,s:I,s:o}", "verb", "create", "name", a.v[0], "from", from, "kind", kind,
                                  "quota_bytes", (json_int_t)bytes, "quota_inodes", (json_int_t)count, "labels", labels),
                        from ? from : a.v[0], &ans);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    else
        puts(field_str(ans, "id"));
    json_decref(ans);
    return 0;
}
