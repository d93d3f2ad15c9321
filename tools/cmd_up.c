/* up, down, status: the daemon itself. */
#include <stdio.h>

#include "tools/args.h"
#include "tools/table.h"
#include "tools/text.h"

int cmd_up(struct tool *t, int argc, char **argv)
{
    struct args a;
    json_t *ans;

    int r = args_parse(t, "up", argc, argv, NULL, 0, 0, &a);
    if (r)
        return r;
    if (snap_connect(t->store, &t->client)) {
        t->client = NULL;
        r = tool_start(t, true, 0);
    }
    /* One that a verb started for itself would end when idle: now it is to stay. */
    if (!r)
        r = tool_call(t, json_pack("{s:s,s:b}", "verb", "ping", "stay", 1), &ans);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    else
        printf("snapshotd runs for %s (pid %lld)\n", field_str(ans, "store"), (long long)field_int(ans, "pid"));
    json_decref(ans);
    return 0;
}

int cmd_down(struct tool *t, int argc, char **argv)
{
    struct args a;
    json_t *ans;

    int r = args_parse(t, "down", argc, argv, NULL, 0, 0, &a);
    if (r)
        return r;
    if (snap_connect(t->store, &t->client)) {
        t->client = NULL;
        if (t->json)
            puts("{\"running\": false}");
        else
            printf("no daemon runs for the store %s\n", t->store);
        return 0;
    }
    r = tool_call(t, json_pack("{s:s}", "verb", "shutdown"), &ans);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    else if (!field_bool(ans, "clean"))
        printf("the daemon ended, but not all calls or mounts did in time; the store was left as after a crash, which is safe\n");
    json_decref(ans);
    return 0;
}

static void print_status(const json_t *s)
{
    static const char *const headers[] = { "OBJECT", "MODE", "SINCE", "DIRECTORY", NULL };
    char when[TEXT_TIME], dir[4096];
    json_t *m, *list = json_object_get(s, "mount_list");
    size_t i;

    printf("snapshotd %s runs for %s: pid %lld, up %.0f s, %zu mounted\n", field_str(s, "version"), field_str(s, "store"),
           (long long)field_int(s, "pid"), json_number_value(json_object_get(s, "uptime_s")), json_array_size(list));
    if (!json_array_size(list))
        return;
    struct table *tab = table_new(headers, 0);
    json_array_foreach(list, i, m) {
        table_cell(tab, field_str(m, "name")[0] ? field_str(m, "name") : field_str(m, "object"));
        table_cell(tab, field_bool(m, "read_only") ? "ro" : "rw");
        table_cell(tab, text_time(when, field_int(m, "since")));
        table_cell(tab, field_str(m, "dir")[0] ? text_safe(dir, sizeof(dir), field_str(m, "dir")) : "-");
    }
    table_print(tab);
}

int cmd_status(struct tool *t, int argc, char **argv)
{
    struct args a;
    json_t *ans, *mounts;

    int r = args_parse(t, "status", argc, argv, NULL, 0, 0, &a);
    if (r)
        return r;
    if (snap_connect(t->store, &t->client)) {
        t->client = NULL;
        if (t->json)
            puts("{\"running\": false}");
        else
            printf("no daemon runs for the store %s\n", t->store);
        return 1;
    }
    r = tool_call(t, json_pack("{s:s}", "verb", "ping"), &ans);
    if (r)
        return r;
    mounts = tool_mounts(t, NULL);
    if (mounts) {
        json_object_set_new(ans, "running", json_true());
        json_object_set_new(ans, "mount_list", mounts);
        if (t->json)
            tool_print_json(ans);
        else
            print_status(ans);
    }
    json_decref(ans);
    return mounts ? 0 : 1;
}
