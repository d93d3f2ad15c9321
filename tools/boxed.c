/* What the command does to a workspace that the runner of sandboxes knows something of which the daemon of the store does not: rules, services and limits, which forks inherit, and those who watch it.
 * Nothing is started for it: where no runner runs, nobody watches, and what a sandbox has is copied by its API only. */
#include <stdio.h>
#include <string.h>

#include "tools/tool.h"

enum { NAME_MAX_ = 64 };

/* A workspace's name or id, and nothing that would have to be encoded. What else it may be is said by who is asked. */
static bool path_of(char *path, size_t size, const char *name, const char *what)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return !name[n] && n && n <= NAME_MAX_ && name[0] != '.' && strncmp(name, "snap-", 5) && snprintf(path, size, "/sandbox/%s/%s", name, what) < (int)size;
}

void boxed_changed(struct tool *t, const char *name, const char *by)
{
    char path[128];

    if (tool_runner_runs(t) && path_of(path, sizeof(path), name, "changed"))
        json_decref(tool_api(t, "POST", path, json_pack("{s:s}", "by", by)));      /* what it does not know of nobody watches */
}

/* As the daemon answers. */
static json_t *fork_answer(struct tool *t, const json_t *boxes)
{
    json_t *all = json_array(), *shown = NULL, *b;
    const char *first = field_str(json_array_get(boxes, 0), "id");
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)boxes, i, b) {
        json_array_append_new(all, json_pack("{s:s,s:s}", "id", field_str(b, "id"), "name", field_str(b, "name")));
        if (json_object_get(b, "rules_error"))
            fprintf(stderr, "coppice: %s: %s\n", field_str(b, "name"), field_str(b, "rules_error"));
    }
    if (tool_call(t, json_pack("{s:s,s:s}", "verb", "show", "object", first), &shown))
        shown = NULL;
    json_t *r = json_pack("{s:o,s:s}", "workspaces", all, "snapshot", field_str(shown, "snapshot"));
    json_decref(shown);
    return r;
}

int boxed_fork(struct tool *t, const char *source, const char *name, uint64_t n, json_t **ret)
{
    char path[128], one[80];
    json_t *ans, *body;
    int r = BOXED_NOT;

    if (!tool_runner_runs(t) || !path_of(path, sizeof(path), source, "fork") || snprintf(one, sizeof(one), n == 1 ? "%s-1" : "%s", name) >= (int)sizeof(one))
        return r;
    body = json_pack("{s:s}", "name", one);
    if (n > 1)
        json_object_set_new(body, "count", json_integer((json_int_t)n));
    ans = tool_api(t, "POST", path, body);
    if (field_int(ans, "status") == 200) {
        *ret = fork_answer(t, json_object_get(ans, "body"));
        r = 0;
    } else if (ans && strcmp(field_str(ans, "code"), "not_found") && strcmp(field_str(ans, "code"), "unreachable")) {
        r = tool_fail("%s", field_str(ans, "error"));
    }
    json_decref(ans);
    return r;
}
