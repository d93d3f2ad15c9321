/* egress-log: what a sandbox asked of the world, and what was decided. */
#include <stdio.h>
#include <string.h>

#include "tools/box.h"
#include "tools/text.h"

static void print_event(const json_t *e)
{
    char what[700], rule[160], why[300], target[600];

    if (field_int(e, "port"))
        snprintf(target, sizeof(target), "%s%s%.250s:%lld%.250s", field_str(e, "scheme"), field_str(e, "scheme")[0] ? "://" : "", field_str(e, "host"), (long long)field_int(e, "port"),
                 field_str(e, "path_shape"));
    else
        snprintf(target, sizeof(target), "%.250s", field_str(e, "host"));
    printf("%-24.24s %-7.7s %-6.6s %s%s%s", field_str(e, "time"), field_str(e, "kind"), field_str(e, "verdict"), field_str(e, "method"), field_str(e, "method")[0] ? " " : "",
           text_safe(what, sizeof(what), target));
    if (field_int(e, "status"))
        printf(" %lld", (long long)field_int(e, "status"));
    if (field_str(e, "rule")[0])
        printf(" [%s]", text_safe(rule, sizeof(rule), field_str(e, "rule")));
    printf("%s%s\n", field_str(e, "why")[0] ? " " : "", text_safe(why, sizeof(why), field_str(e, "why")));
}

/* A log that is read; when its stream breaks off it is asked for again from the last event on. */
struct tail { struct tool *t; struct api *a; const char *ws; bool follow, ended; uint64_t since; unsigned tries; int status; };
enum { TRIES_MAX = 5 };

/* False: nothing comes any more, or is wanted. */
static bool on_line(void *arg, const char *line, size_t n)
{
    struct tail *k = arg;
    json_t *j = json_loadb(line, n, 0, NULL);
    const char *kind = field_str(j, "event");
    bool event = !strcmp(kind, "egress"), lost = event && field_bool(j, "lost");

    if (event && k->t->json)
        puts(line);
    else if (lost)
        puts("(events are missing here: they are not kept any more)");
    else if (event)
        print_event(j);
    if (event && json_object_get(j, "seq"))
        k->since = (uint64_t)field_int(j, "seq");
    if (event)
        k->tries = 0;
    else if (!strcmp(kind, "error"))
        k->status = tool_fail("%s", field_str(j, "error"));
    k->ended = !strcmp(kind, "error") || !strcmp(kind, "end") || fflush(stdout) || ferror(stdout);      /* after `overflow` it is asked for again */
    json_decref(j);
    return !k->ended;
}

/* One connection: until its end, or until the log's (k->ended). */
static void tail_once(struct tail *k)
{
    g_autofree char *path = api_box(k->ws, "egress-log?since=%llu%s", (unsigned long long)k->since, k->follow ? "&follow=true" : "");

    if (api_lines(k->a, path, on_line, k) == LINES_REFUSED) {
        k->status = 1;
        k->ended = true;
    }
}

int box_egress_log(struct tool *t, int argc, char **argv)
{
    const char *since = "0";
    bool on = false;
    const struct arg_option options[] = { { "follow", 'f', .flag = &on }, { "since", 0, .val = &since }, { 0 } };
    struct args args;
    struct api a;
    uint64_t n;

    int r = args_parse(t, "egress-log", argc, argv, options, 1, 1, &args);
    if (!r && !args_number(since, &n))
        r = args_usage("egress-log", "--since is the seq of an event");
    if (!r)
        r = api_open(t, &a);
    if (r)
        return r;
    struct tail k = { .t = t, .a = &a, .ws = args.v[0], .follow = on, .since = n };
    while (!k.ended && k.tries++ < TRIES_MAX)
        tail_once(&k);
    if (!k.ended)
        k.status = tool_fail("the runner ended the log before its end was told: try again");
    api_close(&a);
    return k.status;
}
