#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "snapshotd/snap_proto.h"
#include "tools/args.h"
#include "tools/patch.h"
#include "tools/text.h"

enum { CONTENT_MAX = 16 << 20 };          /* files larger than this differ as binary ones do */

struct differ {
    struct tool *t;
    bool stat, patch, zero;
    struct stat_table table;
    uint8_t *a, *b;                       /* contents of the entry at hand */
};

/* The mode word of what changed, for those who look at a modified entry without a patch. */
static void print_name(const struct differ *d, const json_t *e, const char *path, size_t n, const char *old, size_t old_n)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;
    char sep = d->zero ? 0 : '\t', end = d->zero ? 0 : '\n';

    buf_put(&b, field_str(e, "kind"), 1);
    buf_put_u8(&b, (uint8_t)sep);
    if (old) {
        if (d->zero)
            buf_put(&b, old, old_n);
        else
            text_quote(&b, old, old_n);
        buf_put_u8(&b, (uint8_t)sep);
    }
    if (d->zero)
        buf_put(&b, path, n);
    else
        text_quote(&b, path, n);
    buf_put_u8(&b, (uint8_t)end);
    if (!buf_err(&b))
        fwrite(b.data, 1, b.len, stdout);
}

static struct side side_of(const json_t *in, const uint8_t *p, size_t n)
{
    if (!json_is_object(in))
        return (struct side){ 0 };
    return (struct side){ .there = true, .mode = (uint32_t)field_int(in, "mode"), .p = p, .n = n, .size = (uint64_t)field_int(in, "size") };
}

static bool has_content_change(const json_t *e)
{
    const char *kind = field_str(e, "kind");
    json_t *w;
    size_t i;

    if (*kind != 'M' && *kind != 'R')
        return true;
    json_array_foreach(json_object_get(e, "what"), i, w)
        if (!strcmp(json_string_value(w), "content"))
            return true;
    return false;
}

static int print_patch(struct differ *d, const json_t *e, const char *path, size_t n, const char *old, size_t old_n)
{
    _cleanup_(buf_fini) struct buf out = BUF_INIT;
    struct patch_entry p = {
        .kind = field_str(e, "kind")[0],
        .path = path,
        .path_len = n,
        .old_path = old,
        .old_path_len = old ? old_n : 0,
        .a = side_of(json_object_get(e, "a"), d->a, (size_t)field_int(e, "a_bytes")),
        .b = side_of(json_object_get(e, "b"), d->b, (size_t)field_int(e, "b_bytes")),
        .content = has_content_change(e),
        .too_large = field_bool(e, "too_large"),
    };

    if (d->stat)
        return stat_add(&d->table, &p);
    int r = patch_write(&p, &out);
    if (!r && out.len)
        fwrite(out.data, 1, out.len, stdout);
    return r;
}

/* The bytes behind the frame. */
static int take_content(struct differ *d, struct snap_client *c, const json_t *e)
{
    int64_t an = field_int(e, "a_bytes"), bn = field_int(e, "b_bytes");

    if (an < 0 || bn < 0 || an > CONTENT_MAX || bn > CONTENT_MAX)
        return -EPROTO;
    d->a = mem_alloc((size_t)an);
    d->b = mem_alloc((size_t)bn);
    if (!d->a || !d->b)
        return -ENOMEM;
    int r = an ? snap_client_raw(c, d->a, (size_t)an) : 0;
    return !r && bn ? snap_client_raw(c, d->b, (size_t)bn) : r;
}

static int print_entry(struct differ *d, struct snap_client *c, const json_t *e)
{
    size_t n = 0, old_n = 0;
    int r = 0;

    if (d->t->json) {
        json_dumpf(e, stdout, JSON_COMPACT);
        putchar('\n');
        return 0;
    }
    _cleanup_free_ char *path = snap_bytes_get(json_object_get(e, "path"), &n, &r);
    if (!path)
        return r;
    json_t *from = json_object_get(e, "old_path");
    _cleanup_free_ char *old = from ? snap_bytes_get(from, &old_n, &r) : NULL;
    if (from && !old)
        return r;
    if (d->stat || d->patch) {
        r = take_content(d, c, e);
        if (!r)
            r = print_patch(d, e, path, n, old, old_n);
        free(d->a);
        free(d->b);
        d->a = d->b = NULL;
        return r;
    }
    print_name(d, e, path, n, old, old_n);
    return 0;
}

static int on_part(void *arg, struct snap_client *c, const char *kind, json_t *body, int *fds, unsigned fd_count)
{
    struct differ *d = arg;
    json_t *e;
    size_t i;
    int r = 0;

    (void)fds, (void)fd_count;
    if (strcmp(kind, "more"))
        return 0;
    json_array_foreach(json_object_get(body, "entries"), i, e)
        if (!r)
            r = print_entry(d, c, e);
    return !r && ferror(stdout) ? -EPIPE : r;
}

static int call_once(struct differ *d, json_t *req, const int *fds, unsigned n)
{
    json_t *ok = NULL;
    int r = snap_call(d->t->client, json_incref(req), fds, n, on_part, d, &ok, &d->t->error);

    json_decref(ok);
    return r;
}

/* If a workspace is mounted where the daemon cannot see it (which it says before anything else), it is asked again with descriptors of
 * ours. */
static int run(struct differ *d, json_t *req, const char *const names[2])
{
    int r = call_once(d, req, NULL, 0), fds[2];
    unsigned n = 0;

    if (r && !strcmp(d->t->error.code, "unreachable")) {
        for (int i = 0; i < 2; i++)
            if ((fds[n] = tool_mount_fd(d->t, names[i])) >= 0)
                n++;
        r = call_once(d, req, fds, n);
        while (n)
            close(fds[--n]);
    }
    json_decref(req);
    if (r == -EPIPE && ferror(stdout))
        return 1;             /* nobody reads on: not worth a word */
    return r ? tool_error(d->t) : 0;
}

static unsigned terminal_width(void)
{
    struct winsize ws;
    const char *env = getenv("COLUMNS");
    unsigned n = env ? (unsigned)atoi(env) : 0;

    if (n >= 20 && n < 1000)
        return n;
    return !ioctl(1, TIOCGWINSZ, &ws) && ws.ws_col >= 20 ? ws.ws_col : 80;
}

int cmd_diff(struct tool *t, int argc, char **argv)
{
    struct differ d = { .t = t };
    bool names = false, times = false;
    const struct arg_option options[] = {
        { "stat", 0, .flag = &d.stat }, { "name-status", 0, .flag = &names }, { "patch", 'p', .flag = &d.patch },
        { "times", 0, .flag = &times }, { "null", 'z', .flag = &d.zero },     { 0 },
    };
    struct args a;

    int r = args_parse(t, "diff", argc, argv, options, 2, -1, &a);
    if (!r && d.stat + d.patch + names > 1)
        r = args_usage("diff", "only one of --stat, --name-status and --patch");
    if (!r && t->json && (d.stat || d.patch))
        r = args_usage("diff", "--json goes without --stat and --patch: it tells all that is known of each entry");
    if (!r)
        r = tool_open(t, NEED_STORE);
    if (r)
        return r;
    json_t *paths = json_array();
    for (int i = 2; i < a.n; i++)
        json_array_append_new(paths, snap_bytes(a.v[i], strlen(a.v[i])));
    json_t *req = json_pack("{s:s,s:s,s:s,s:o,s:b}", "verb", "diff", "a", a.v[0], "b", a.v[1], "paths", paths, "times", times);
    if (d.stat || d.patch)
        json_object_set_new(req, "content_max", json_integer(CONTENT_MAX));
    r = run(&d, req, (const char *const[2]){ a.v[0], a.v[1] });
    if (!r && d.stat)
        stat_print(&d.table, terminal_width(), stdout);
    stat_fini(&d.table);
    return r;
}
