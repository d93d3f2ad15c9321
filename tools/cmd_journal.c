/* watch --journal: the change journal of a workspace, a line for each event. It goes on after a break of the connection (the daemon was killed or upgraded) where it was. What is not
 * printable in names is escaped, so a line is one event and no name is a command to a terminal. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "snapshotd/snap_proto.h"
#include "tools/args.h"
#include "tools/text.h"

struct journal { struct tool *t; json_t *req; bool heard; };

static void put_name(struct buf *b, const json_t *j, const char *key)
{
    size_t n;
    int r;
    char *p = snap_bytes_get(json_object_get(j, key), &n, &r);

    if (p)
        text_quote(b, p, n);
    free(p);
}

static void put_event(struct buf *b, const json_t *j)
{
    const char *op = field_str(j, "op");
    const json_t *time = json_object_get(j, "time");
    char when[TEXT_TIME];

    buf_printf(b, "%s %lld %-9s", text_time(when, (int64_t)json_integer_value(json_array_get(time, 0))), (long long)field_int(j, "seq"), op);
    if (!strcmp(op, "gap")) {
        buf_printf(b, " (%s: events %lld to %lld are missing, look again)", field_str(j, "reason"), (long long)field_int(j, "from"), (long long)field_int(j, "to"));
        return;
    }
    if (json_object_get(j, "snapshot")) {
        buf_printf(b, " %s ", field_str(j, "snapshot"));
        put_name(b, j, "name");
        return;
    }
    buf_put_u8(b, ' ');
    put_name(b, j, "path");
    if (!strcmp(field_str(j, "kind"), "directory"))
        buf_put_u8(b, '/');
    if (json_object_get(j, "to")) {
        buf_printf(b, " -> ");
        put_name(b, j, "to");
    } else if (json_object_get(j, "name")) {
        buf_put_u8(b, ' ');
        put_name(b, j, "name");
    } else if (json_object_get(j, "offset")) {
        buf_printf(b, " %lld+%lld", (long long)field_int(j, "offset"), (long long)field_int(j, "length"));
    }
}

static int print(const struct journal *x, const json_t *j)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;

    if (x->t->json) {
        json_dumpf(j, stdout, JSON_COMPACT);
    } else {
        put_event(&b, j);
        if (buf_err(&b))
            return -ENOMEM;
        fwrite(b.data, 1, b.len, stdout);
    }
    putchar('\n');
    return ferror(stdout) ? -EPIPE : 0;
}

/* Each event is printed before the place is taken to be behind it. */
static int on_part(void *arg, struct snap_client *c, const char *kind, json_t *body, int *fds, unsigned fd_count)
{
    struct journal *x = arg;
    json_t *j;
    size_t i;
    int r = 0;

    (void)c, (void)kind, (void)fds, (void)fd_count;
    json_array_foreach(json_object_get(body, "start"), i, j) {
        if (!x->heard && x->t->json)
            printf("{\"op\":\"start\",\"cursor\":\"%s\"}\n", field_str(j, "cursor"));
        else if (!x->heard)
            fprintf(stderr, "cursor %s\n", field_str(j, "cursor"));
        x->heard = true;
        json_object_set(x->req, "cursor", json_object_get(j, "cursor"));
    }
    json_array_foreach(json_object_get(body, "events"), i, j) {
        if ((r = print(x, j)))
            return r;
        json_object_set(x->req, "cursor", json_object_get(j, "cursor"));
        json_object_del(x->req, "since");
    }
    return fflush(stdout) ? -EPIPE : 0;
}

/* Until the daemon has an answer; where the connection breaks, a new one asks for what comes next. */
static int read_journal(struct journal *x, json_t **ret)
{
    for (unsigned broken = 0;; broken++) {
        bool had = x->heard;
        int r = tool_open(x->t, NEED_STORE);
        if (r)
            return r;
        r = snap_call(x->t->client, json_deep_copy(x->req), NULL, 0, on_part, x, ret, &x->t->error);
        if (r == -EREMOTEIO || (r && ferror(stdout)))
            return tool_error(x->t);
        if (!r)
            return 0;
        tool_close(x->t);
        x->t->client = NULL;
        broken = x->heard && !had ? 0 : broken;
        if (!x->heard || broken > 100)
            return tool_error(x->t);
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    }
}

/* "90s", "15m", "2h", "7d", or seconds. */
static bool duration(const char *s, uint64_t *ret)
{
    static const struct { char unit; unsigned s; } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
    char digits[24];
    size_t n = strlen(s);
    unsigned by = 1;

    for (size_t i = 0; n > 1 && i < sizeof(units) / sizeof(units[0]); i++)
        if (s[n - 1] == units[i].unit) {
            by = units[i].s;
            n--;
            break;
        }
    if (n == 0 || n >= sizeof(digits))
        return false;
    memcpy(digits, s, n);
    digits[n] = 0;
    return args_number(digits, ret) && *ret <= UINT32_MAX / by && (*ret *= by, true);
}

int cmd_journal(struct tool *t, int argc, char **argv)
{
    const char *cursor = NULL, *since = NULL, *size = NULL, *keep = NULL;
    bool journal = false, once = false, off = false, all = false;
    const struct arg_option options[] = { { "journal", 0, .flag = &journal }, { "cursor", 0, .val = &cursor }, { "since", 0, .val = &since }, { "once", 0, .flag = &once },
                                          { "no-follow", 0, .flag = &once }, { "all", 0, .flag = &all }, { "off", 0, .flag = &off }, { "size", 0, .val = &size },
                                          { "keep", 0, .val = &keep }, { 0 } };
    struct journal x = { .t = t };
    json_t *ans = NULL;
    struct args a;
    uint64_t n;

    int r = args_parse(t, "watch", argc, argv, options, 1, 1, &a);
    if (r)
        return r;
    if ((cursor != NULL) + (since != NULL) + all > 1)
        return args_usage("watch", "give one of --cursor, --since and --all");
    x.req = json_pack("{s:s,s:s,s:b,s:s}", "verb", "journal", "object", a.v[0], "follow", !once && !off, "from", once || all ? "oldest" : "now");
    if (off)
        json_object_set_new(x.req, "off", json_true());
    if (cursor)
        json_object_set_new(x.req, "cursor", json_string(cursor));
    if (since && !duration(since, &n))
        r = args_usage("watch", "--since: '%s' is no time such as 90s, 15m, 2h or 7d", since);
    else if (since)
        json_object_set_new(x.req, "since", json_integer((json_int_t)time(NULL) - (json_int_t)n));
    if (!r && size && !args_size(size, &n))
        r = args_usage("watch", "--size: '%s' is no size such as 16M", size);
    else if (!r && size)
        json_object_set_new(x.req, "bytes", json_integer((json_int_t)n));
    if (!r && keep && !duration(keep, &n))
        r = args_usage("watch", "--keep: '%s' is no time such as 12h or 7d", keep);
    else if (!r && keep)
        json_object_set_new(x.req, "keep_s", json_integer((json_int_t)n));
    if (!r)
        r = read_journal(&x, &ans);
    if (!r && once && !t->json)
        fprintf(stderr, "cursor %s\n", field_str(ans, "cursor"));
    json_decref(ans);
    json_decref(x.req);
    return r;
}
