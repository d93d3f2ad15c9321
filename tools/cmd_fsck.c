/* fsck and scrub: both list problems. */
#include <stdio.h>

#include "tools/args.h"
#include "tools/text.h"

static int report(struct tool *t, json_t *req)
{
    char where[4096], what[4096];
    json_t *ans, *p;
    size_t i;

    int r = tool_call(t, req, &ans);
    if (r)
        return r;
    size_t problems = json_array_size(json_object_get(ans, "problems"));
    if (!json_object_get(ans, "problems"))
        json_object_set_new(ans, "problems", json_array());
    if (t->json) {
        tool_print_json(ans);
    } else {
        json_array_foreach(json_object_get(ans, "problems"), i, p)
            printf("%s: %s\n", text_safe(where, sizeof(where), field_str(p, "where")), text_safe(what, sizeof(what), field_str(p, "what")));
        printf("%lld checked, %zu problem%s\n", (long long)field_int(ans, "checked"), problems, problems == 1 ? "" : "s");
    }
    json_decref(ans);
    return problems ? 1 : 0;
}

int cmd_fsck(struct tool *t, int argc, char **argv)
{
    struct args a;
    int r = args_parse(t, "fsck", argc, argv, NULL, 0, 0, &a);

    return r ? r : report(t, json_pack("{s:s}", "verb", "fsck"));
}

int cmd_scrub(struct tool *t, int argc, char **argv)
{
    bool repair = false;
    const struct arg_option options[] = { { "repair", 0, .flag = &repair }, { 0 } };
    struct args a;
    int r = args_parse(t, "scrub", argc, argv, options, 0, 0, &a);

    return r ? r : report(t, json_pack("{s:s,s:b}", "verb", "scrub", "repair", repair));
}
