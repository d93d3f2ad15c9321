#include <stdio.h>

#include "tools/args.h"
#include "tools/text.h"

static int add_key(void *arg, const char *val)
{
    return json_array_append_new(arg, json_string(val)) ? 2 : 0;
}

static void print_labels(const json_t *labels)
{
    char k[1024], v[2048];
    const char *key;
    json_t *val;

    json_object_foreach((json_t *)(uintptr_t)labels, key, val)
        printf("%s=%s\n", text_safe(k, sizeof(k), key), text_safe(v, sizeof(v), json_string_value(val) ? json_string_value(val) : "?"));
}

int cmd_label(struct tool *t, int argc, char **argv)
{
    json_t *set = json_object(), *rm = json_array(), *ans;
    const struct arg_option options[] = { { "remove", 0, .each = add_key, .arg = rm }, { 0 } };
    struct args a;

    int r = args_parse(t, "label", argc, argv, options, 1, -1, &a);
    for (int i = 1; !r && i < a.n; i++)
        r = args_label(set, a.v[i]);
    if (r) {
        json_decref(set);
        json_decref(rm);
        return r;
    }
    bool only_show = a.n == 1 && !json_array_size(rm);
    r = tool_call(t, json_pack("{s:s,s:s,s:o,s:o}", "verb", "label", "object", a.v[0], "set", set, "remove", rm), &ans);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    else if (only_show)
        print_labels(json_object_get(ans, "labels"));
    json_decref(ans);
    return 0;
}
