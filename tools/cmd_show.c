#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "tools/args.h"
#include "tools/text.h"

static void line(const char *what, const char *text)
{
    char safe[8400];
    if (text && text[0])
        printf("%-14s %s\n", what, text_safe(safe, sizeof(safe), text));
}

static void size_line(const char *what, const json_t *o, const char *key)
{
    char text[TEXT_SIZE];
    if (json_object_get(o, key))
        printf("%-14s %s\n", what, text_bytes(text, (uint64_t)field_int(o, key)));
}

static void count_line(const char *what, const json_t *o, const char *key)
{
    if (json_object_get(o, key))
        printf("%-14s %lld\n", what, (long long)field_int(o, key));
}

static void print_object(const json_t *o)
{
    _cleanup_free_ char *labels = text_labels(json_object_get(o, "labels"));
    char when[TEXT_TIME];
    json_t *m;
    size_t i;

    line(field_str(o, "object"), field_str(o, "name")[0] ? field_str(o, "name") : "(no name)");
    line("id", field_str(o, "id"));
    line("kind", field_str(o, "kind"));
    line("of workspace", field_str(o, "workspace"));
    line("created", text_time(when, field_int(o, "created")));
    line("cause", field_str(o, "cause"));
    line("message", field_str(o, "message"));
    line("parent", field_str(o, "parent"));
    line("stands on", field_str(o, "snapshot"));
    line("automatic", field_str(json_object_get(o, "labels"), "coppice.auto"));
    line("labels", labels);
    line("root", field_str(o, "root"));
    json_array_foreach(json_object_get(o, "mounts"), i, m) {
        line("mounted at", field_str(m, "dir")[0] ? field_str(m, "dir") : "(no path known)");
        line("transport", field_str(m, "transport"));
    }
    if (field_int(o, "quota_bytes"))
        size_line("quota", o, "quota_bytes");
    if (field_int(o, "quota_inodes"))
        count_line("inode quota", o, "quota_inodes");
    count_line("files", o, "files");
    count_line("directories", o, "dirs");
    size_line("logical", o, "logical_bytes");
    size_line("shared", o, "shared_bytes");
    size_line("private", o, "private_bytes");
    size_line("private meta", o, "meta_private_bytes");
}

int cmd_show(struct tool *t, int argc, char **argv)
{
    struct args a;
    json_t *ans;

    int r = args_parse(t, "show", argc, argv, NULL, 1, 1, &a);
    if (!r)
        r = tool_call(t, json_pack("{s:s,s:s}", "verb", "show", "object", a.v[0]), &ans);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    else
        print_object(ans);
    json_decref(ans);
    return 0;
}
