/* up, down, status: the daemons themselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotd/snap_start.h"
#include "tools/args.h"
#include "tools/table.h"
#include "tools/text.h"
#include "tools/tool_runner.h"

/* The default port may be another store's: then there is the socket. One that was asked for must be had. */
static int runner_up(struct tool *t, struct runner_start how, bool tcp)
{
    const char *listen = how.listen;
    char why[2048];
    int dir = -1;

    if (geteuid()) {
        fprintf(stderr, "coppice: sandboxes need root; only the store's daemon was started\n");
        return 0;
    }
    bool runs = !runner_find(t, &dir, NULL);
    close_p(&dir);
    if (runs && (listen || how.secret_key || how.upstream_roots || how.resolver || how.domain))
        return tool_fail("the runner runs already; `coppice down` first, then `up` with these options");
    if (runs)
        return 0;
    if (tcp && !listen)
        how.listen = RUNNER_LISTEN;
    int r = runner_start(t, &how, why, sizeof(why));
    if (r && tcp && !listen && strstr(why, "cannot listen on")) {
        fprintf(stderr, "coppice: %s; it is reached by its socket only (--listen names another address)\n", why);
        how.listen = NULL;
        r = runner_start(t, &how, why, sizeof(why));
    }
    return r ? tool_fail("cannot start the runner of sandboxes: %s", why) : 0;
}

static json_t *runner_json(struct tool *t)
{
    char listen[256] = "", token[256] = "";
    pid_t pid = 0;
    int dir = -1;
    bool runs = !runner_find(t, &dir, &pid);

    close_p(&dir);
    if (!runs)
        return json_pack("{s:b}", "running", 0);
    runner_tcp(t, listen, sizeof(listen), token, sizeof(token));
    return json_pack("{s:b,s:i,s:o}", "running", 1, "pid", (int)pid, "listen", listen[0] ? json_string(listen) : json_null());
}

static void print_how(struct tool *t)
{
    char listen[256] = "", token[256] = "";

    if (!tool_runner_runs(t))
        return;
    printf("sandboxes: socket %s/" RUNNER_DIR "/" RUNNER_SOCKET "\n", t->store);
    if (runner_tcp(t, listen, sizeof(listen), token, sizeof(token)) || !listen[0])
        return;
    printf("           http://%s, token in %s/" RUNNER_DIR "/" RUNNER_TOKEN ", for example:\n"
           "  curl -H \"Authorization: Bearer $(cat %s/" RUNNER_DIR "/" RUNNER_TOKEN ")\" http://%s/v1/sandbox\n",
           listen, t->store, t->store, listen);
}

/* A daemon of another program than ours runs: ours takes over, and mounts stay. *ans: its answer to ping, replaced. 0 or exit status. */
static int upgrade(struct tool *t, json_t **ans)
{
    _cleanup_free_ char *program = tool_program("snapshotd/snapshotd", "snapshotd"), *path = program ? realpath(program, NULL) : NULL;
    char id[PROGRAM_ID];

    if (!path || snap_program_id(path, id) || !strcmp(id, field_str(*ans, "program")))
        return 0;
    if (!field_int(*ans, "holder")) {
        fprintf(stderr, "coppice: another version of snapshotd runs; `coppice down` and `coppice up` start this one (its mounts end then)\n");
        return 0;
    }
    json_decref(*ans);
    *ans = NULL;
    int r = tool_call(t, json_pack("{s:s,s:s}", "verb", "upgrade", "program", path), ans);
    tool_close(t);
    if (r)
        return r;
    json_decref(*ans);
    *ans = NULL;
    r = tool_open(t, NEED_STORE);
    return r ? r : tool_call(t, json_pack("{s:s,s:b}", "verb", "ping", "stay", 1), ans);
}

int cmd_up(struct tool *t, int argc, char **argv)
{
    struct runner_start how = { 0 };
    bool no_tcp = false, store_only = false;
    const struct arg_option options[] = {
        { "listen", 0, .val = &how.listen }, { "listen-any", 0, .flag = &how.listen_any }, { "no-tcp", 0, .flag = &no_tcp }, { "store-only", 0, .flag = &store_only },
        { "secret-key", 0, .val = &how.secret_key }, { "upstream-roots", 0, .val = &how.upstream_roots }, { "resolver", 0, .val = &how.resolver },
        { "domain", 0, .val = &how.domain }, { 0 },
    };
    struct args a;
    json_t *ans;

    int r = args_parse(t, "up", argc, argv, options, 0, 0, &a);
    if (!r && how.listen && (no_tcp || store_only))
        r = args_usage("up", "--listen goes neither with --no-tcp nor with --store-only");
    if (!r && store_only && (how.secret_key || how.upstream_roots || how.resolver || how.domain))
        r = args_usage("up", "--secret-key, --upstream-roots, --resolver and --domain are for sandboxes: not with --store-only");
    if (r)
        return r;
    if (snap_connect(t->store, &t->client)) {
        t->client = NULL;
        r = tool_start(t, true, 0);
    }
    /* One that a verb started for itself would end when idle: now it is to stay. */
    if (!r)
        r = tool_call(t, json_pack("{s:s,s:b}", "verb", "ping", "stay", 1), &ans);
    if (!r)
        r = upgrade(t, &ans);
    if (r)
        return r;
    if (!store_only)
        r = runner_up(t, how, !no_tcp);
    json_object_set_new(ans, "runner", runner_json(t));
    if (t->json) {
        tool_print_json(ans);
    } else {
        printf("snapshotd runs for %s (pid %lld)\n", field_str(ans, "store"), (long long)field_int(ans, "pid"));
        print_how(t);
    }
    json_decref(ans);
    return r;
}

int cmd_down(struct tool *t, int argc, char **argv)
{
    bool runner_ran = false;
    struct args a;
    json_t *ans;

    int r = args_parse(t, "down", argc, argv, NULL, 0, 0, &a);
    if (!r)
        r = runner_stop(t, &runner_ran);      /* it uses the other, so it goes first */
    if (r)
        return r;
    if (snap_connect(t->store, &t->client)) {
        t->client = NULL;
        if (t->json)
            puts("{\"running\": false}");
        else if (!runner_ran)
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

/* How many sandboxes are in which state; pages of a list. Owned. */
static json_t *count_sandboxes(struct tool *t)
{
    json_t *counts = json_object(), *b;
    char path[256] = "/sandbox";
    size_t i;

    for (;;) {
        json_t *ans = tool_api(t, "GET", path, NULL), *body = json_object_get(ans, "body");
        json_array_foreach(json_object_get(body, "sandboxes"), i, b)
            json_object_set_new(counts, field_str(b, "state"), json_integer(field_int(counts, field_str(b, "state")) + 1));
        bool more = field_str(body, "next")[0];
        snprintf(path, sizeof(path), "/sandbox?after=%s", field_str(body, "next"));
        json_decref(ans);
        if (!more)
            return counts;
    }
}

static void print_runner(const struct tool *t, const json_t *runner)
{
    const char *key;
    json_t *n;

    if (!field_bool(runner, "running")) {
        printf("no sandboxes: their runner does not run (it starts when it is needed)\n");
        return;
    }
    printf("runner of sandboxes for %s: pid %lld, %s%s\n", t->store, (long long)field_int(runner, "pid"), field_str(runner, "listen")[0] ? "http://" : "socket only",
           field_str(runner, "listen"));
    const json_t *egress = json_object_get(runner, "egress");
    if (field_str(egress, "error")[0])
        printf("  no network: %s\n", field_str(egress, "error"));
    else if (egress)
        printf("  egress: %lld connections, %lld secret%s, key in %s\n", (long long)field_int(egress, "connections"), (long long)field_int(egress, "secrets"),
               field_int(egress, "secrets") == 1 ? "" : "s", field_str(egress, "key"));
    json_object_foreach(json_object_get(runner, "sandboxes"), key, n)
        printf("  %-10s %lld\n", key, (long long)json_integer_value(n));
}

/* Whether mounts outlive the daemon. */
static void print_holder(const json_t *s, const json_t *list)
{
    unsigned mortal = 0;
    const json_t *m;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, m)
        mortal += !field_bool(m, "protected");
    if (!field_int(s, "holder")) {
        printf("  no holder: mounts end with it\n");
        return;
    }
    printf("  holder: pid %lld", (long long)field_int(s, "holder"));
    if (field_int(s, "restarts"))
        printf(", %lld restart%s, the last with a pause of %.0f ms", (long long)field_int(s, "restarts"), field_int(s, "restarts") == 1 ? "" : "s",
               json_number_value(json_object_get(s, "pause_ms")));
    if (mortal)
        printf("; %u mount%s would not outlive snapshotd (transport=uring, or see `coppice doctor`)", mortal, mortal == 1 ? "" : "s");
    printf("\n");
}

static void print_status(const json_t *s)
{
    static const char *const headers[] = { "OBJECT", "MODE", "SINCE", "DIRECTORY", NULL };
    char when[TEXT_TIME], dir[4096];
    json_t *m, *list = json_object_get(s, "mount_list");
    size_t i;

    printf("snapshotd %s runs for %s: pid %lld, up %.0f s, %zu mounted\n", field_str(s, "version"), field_str(s, "store"),
           (long long)field_int(s, "pid"), json_number_value(json_object_get(s, "uptime_s")), json_array_size(list));
    print_holder(s, list);
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
        json_t *runner = runner_json(t);
        if (field_bool(runner, "running"))
            json_object_set_new(runner, "sandboxes", count_sandboxes(t));
        json_t *egress = field_bool(runner, "running") ? tool_api(t, "GET", "/egress", NULL) : NULL;
        if (field_int(egress, "status") == 200)
            json_object_set(runner, "egress", json_object_get(egress, "body"));
        else if (egress)
            json_object_set_new(runner, "egress", json_pack("{s:s}", "error", field_str(egress, "error")));
        json_decref(egress);
        json_object_set_new(ans, "runner", runner);
        if (t->json)
            tool_print_json(ans);
        else
            print_status(ans);
        if (!t->json)
            print_runner(t, runner);
    }
    json_decref(ans);
    return mounts ? 0 : 1;
}
