#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "tools/args.h"
#include "tools/table.h"
#include "tools/text.h"

static void print_workspaces(const json_t *list)
{
    static const char *const headers[] = { "WORKSPACE", "ID", "KIND", "CREATED", "SNAPSHOT", "MOUNTED", "LABELS", NULL };
    struct table *tab = table_new(headers, 0);
    char when[TEXT_TIME], dir[4096];
    json_t *w;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, w) {
        _cleanup_free_ char *labels = text_labels(json_object_get(w, "labels"));
        table_cell(tab, field_str(w, "name"));
        table_cell(tab, field_str(w, "id"));
        table_cell(tab, field_str(w, "template")[0] ? field_str(w, "template") : field_str(w, "kind"));
        table_cell(tab, text_time(when, field_int(w, "created")));
        table_cell(tab, field_str(w, "snapshot")[0] ? field_str(w, "snapshot") : "-");
        table_cell(tab, !field_bool(w, "mounted") ? "-"
                        : field_str(w, "dir")[0]  ? text_safe(dir, sizeof(dir), field_str(w, "dir"))
                                                  : "yes");
        table_cell(tab, field_bool(w, "importing") ? "(being imported)" : labels ? labels : "");
    }
    table_print(tab);
}

static void print_snapshots(const json_t *list)
{
    static const char *const headers[] = { "SNAPSHOT", "OF", "NAME", "CREATED", "CAUSE", "MESSAGE", NULL };
    struct table *tab = table_new(headers, 0);
    char when[TEXT_TIME], message[4200];
    json_t *s;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, s) {
        table_cell(tab, field_str(s, "id"));
        table_cell(tab, field_str(s, "workspace"));
        table_cell(tab, field_str(s, "name")[0] ? field_str(s, "name") : "-");
        table_cell(tab, text_time(when, field_int(s, "created")));
        table_cell(tab, field_str(s, "cause"));
        table_cell(tab, text_safe(message, sizeof(message), field_str(s, "message")));
    }
    table_print(tab);
}

static int by_seq(const void *a, const void *b)
{
    int64_t x = field_int(*(json_t *const *)a, "seq"), y = field_int(*(json_t *const *)b, "seq");
    return (x > y) - (x < y);
}

/* In the order of their making. */
static void sort(json_t *ans, const char *key)
{
    json_t *list = json_object_get(ans, key), *sorted = json_array();
    size_t n = json_array_size(list);
    json_t **v = mem_alloc(n * sizeof(*v));

    if (v && sorted) {
        for (size_t i = 0; i < n; i++)
            v[i] = json_array_get(list, i);
        qsort(v, n, sizeof(*v), by_seq);
        for (size_t i = 0; i < n; i++)
            json_array_append(sorted, v[i]);
        json_object_set(ans, key, sorted);
    }
    json_decref(sorted);
    free(v);
}

int cmd_list(struct tool *t, int argc, char **argv)
{
    bool all = false;
    const struct arg_option options[] = { { "all", 'a', .flag = &all }, { 0 } };
    struct args a;
    json_t *ans;

    int r = args_parse(t, "list", argc, argv, options, 0, 0, &a);
    if (!r)
        r = tool_call(t, json_pack("{s:s,s:b}", "verb", "list", "all", all), &ans);
    if (r)
        return r;
    sort(ans, "workspaces");
    sort(ans, "snapshots");
    if (t->json) {
        tool_print_json(ans);
    } else {
        print_workspaces(json_object_get(ans, "workspaces"));
        if (json_array_size(json_object_get(ans, "snapshots"))) {
            putchar('\n');
            print_snapshots(json_object_get(ans, "snapshots"));
        }
    }
    json_decref(ans);
    return 0;
}
