/* The table of boxes. A record asleep that nobody looked at for a while leaves it: what it was is in snapshotd and in its file. */
#include "sandbox/core/box_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/keeper.h"

enum { SWEEP_S = 60 };

struct box *box_ref(struct box *b)
{
    b->refs++;
    return b;
}

void box_unref(struct box *b)
{
    if (!b || --b->refs)
        return;
    life_disarm(b);
    if (b->p->bs->hooks.freed)
        b->p->bs->hooks.freed(b);
    box_config_fini(&b->config);
    g_free(b->p->egress_told);
    g_free(b->p);
    g_free(b);
}

struct box *boxes_find(struct boxes *bs, const char *key)
{
    struct box *b = g_hash_table_lookup(bs->by_id, key);
    return b ? b : g_hash_table_lookup(bs->by_name, key);
}

static struct box *box_new(struct boxes *bs, const char *id)
{
    struct box *b = g_new0(struct box, 1);
    struct box_private *p = g_new0(struct box_private, 1);

    b->sd = bs->sd;
    b->p = p;
    b->refs = 1;
    b->dir_fd = -1;
    b->state = BOX_ASLEEP;
    g_strlcpy(b->id, id, sizeof(b->id));
    p->bs = bs;
    p->last = &p->first;
    p->in_table = true;
    p->touched_ns = clock_mono_ns();
    p->state_since_ns = clock_mono_ns();
    box_config_init(&b->config);
    g_hash_table_insert(bs->by_id, b->id, b);
    int r = box_config_load(b);
    if (r && r != -ENOENT)
        log_warn("box=%s step=config err=%s", b->id, errno_name(r));
    return b;
}

static void set_name(struct box *b, const char *name)
{
    struct boxes *bs = b->p->bs;
    struct box *other;

    if (!strcmp(b->name, name))
        return;
    if (g_hash_table_lookup(bs->by_name, b->name) == b)
        g_hash_table_remove(bs->by_name, b->name);
    other = g_hash_table_lookup(bs->by_name, name);
    if (other)                            /* it was renamed behind our back: what it is called now is asked when it is needed */
        other->name[0] = 0;
    g_hash_table_remove(bs->by_name, name);
    g_strlcpy(b->name, name, sizeof(b->name));
    g_hash_table_insert(bs->by_name, b->name, b);
}

struct box *boxes_of_record(struct boxes *bs, const json_t *rec)
{
    const char *id = json_string_value(json_object_get(rec, "id")), *name = json_string_value(json_object_get(rec, "name"));
    const char *kind = json_string_value(json_object_get(rec, "kind")), *template;
    struct box *b;

    if (!id || !name || !kind || !g_str_has_prefix(id, "ws-") || strlen(id) >= LAUNCH_NAME || strlen(name) >= LAUNCH_NAME)
        return NULL;
    b = g_hash_table_lookup(bs->by_id, id);
    if (!b)
        b = box_new(bs, id);
    set_name(b, name);
    b->bare = strcmp(kind, "root") != 0;
    b->p->importing = json_is_true(json_object_get(rec, "importing"));
    b->config.disk_bytes = (uint64_t)json_integer_value(json_object_get(rec, "quota_bytes"));
    json_decref(b->config.labels);
    b->config.labels = json_deep_copy(json_object_get(rec, "labels"));
    if (!b->config.labels)
        b->config.labels = json_object();
    template = json_string_value(json_object_get(rec, "template"));
    b->p->host = template && !strcmp(template, "host");
    b->p->checked_ns = clock_mono_ns();
    return b;
}

void boxes_drop(struct box *b)
{
    struct boxes *bs = b->p->bs;

    if (!b->p->in_table)
        return;
    b->p->in_table = false;
    if (g_hash_table_lookup(bs->by_name, b->name) == b)
        g_hash_table_remove(bs->by_name, b->name);
    g_hash_table_remove(bs->by_id, b->id);
    box_unref(b);
}

/* --- looking one up --- */

struct get { struct boxes *bs; char key[LAUNCH_NAME]; box_fn *fn; void *arg; };

static void get_answer(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct get *g = arg;
    const char *what = json_string_value(json_object_get(result, "object"));
    struct box *b = result && what && !strcmp(what, "workspace") ? boxes_of_record(g->bs, result) : NULL, *old;
    struct fault f;

    if (!result && strcmp(fault->code, "not_found")) {
        f = *fault;
    } else if (!b) {
        old = boxes_find(g->bs, g->key);
        if (!result && old && old->state == BOX_ASLEEP && !old->p->changing && !strcmp(old->id, g->key))
            boxes_drop(old);              /* removed by somebody else */
        fault_set(&f, "not_found", "there is no sandbox '%s'; GET /v1/sandbox (coppice list) shows them%s", g->key, result ? " (a snapshot has this name: fork it)" : "");
    } else if (b->p->importing) {
        fault_set(&f, "busy", "the workspace '%s' is being imported; wait until that is done", b->name);
        b = NULL;
    }
    if (b)
        b->p->touched_ns = clock_mono_ns();
    g->fn(g->arg, b, b ? NULL : &f);
    g_free(g);
}

/* Only what snapshotd may take for a workspace: no WS@NAME. */
static bool key_ok(const char *key)
{
    size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789._-");
    return n && n < LAUNCH_NAME && !key[n];
}

void box_get(struct sandboxd *sd, const char *key, box_fn *fn, void *arg)
{
    struct box *b = boxes_find(sd->boxes, key);
    uint64_t now = clock_mono_ns();
    struct fault f;

    if (b && ((b->state != BOX_ASLEEP && !strcmp(b->id, key)) || now - b->p->checked_ns < CHECK_MS * 1000000ull)) {
        b->p->touched_ns = now;
        fn(arg, b, NULL);
        return;
    }
    if (!key_ok(key)) {
        fault_set(&f, "not_found", "there is no sandbox of this name: names are 1 to 63 of a-z 0-9 . _ -");
        fn(arg, NULL, &f);
        return;
    }
    struct get *g = g_new0(struct get, 1);
    *g = (struct get){ .bs = sd->boxes, .fn = fn, .arg = arg };
    g_strlcpy(g->key, key, sizeof(g->key));
    stock_call(sd->stock, json_pack("{s:s,s:s,s:b}", "verb", "show", "object", key, "sizes", 0), NULL, 0, get_answer, g);
}

void boxes_each(struct boxes *bs, void (*fn)(void *arg, struct box *b), void *arg)
{
    GList *all = g_hash_table_get_values(bs->by_id);

    for (GList *l = all; l; l = l->next)
        box_ref(l->data);
    for (GList *l = all; l; l = l->next) {
        fn(arg, l->data);
        box_unref(l->data);
    }
    g_list_free(all);
}

void boxes_set_hooks(struct boxes *bs, const struct box_hooks *h)
{
    bs->hooks = *h;
}

static void sweep_one(void *arg, struct box *b)
{
    uint64_t now = clock_mono_ns();

    /* Its two references: the table's and boxes_each's. */
    if (b->state == BOX_ASLEEP && !b->p->changing && b->refs == 2 && now - b->p->touched_ns > SWEEP_S * 1000000000ull)
        boxes_drop(b);
}

static gboolean sweep(gpointer arg)
{
    boxes_each(arg, sweep_one, NULL);
    return G_SOURCE_CONTINUE;
}

struct boxes *boxes_new(struct sandboxd *sd)
{
    struct boxes *bs = g_new0(struct boxes, 1);

    bs->sd = sd;
    bs->by_id = g_hash_table_new(g_str_hash, g_str_equal);
    bs->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    g_queue_init(&bs->start_queue);
    bs->sweeper = g_timeout_add_seconds(SWEEP_S, sweep, bs);
    return bs;
}

/* --- snapshotd died --- */

static bool box_runs(const struct box *b)
{
    return b->state == BOX_RUNNING || b->state == BOX_FROZEN;
}

/* What is starting or ending meets it by itself. */
static void unserved_one(void *arg, struct box *b)
{
    b->p->unserved |= box_runs(b);
}

static void on_ended(void *arg)
{
    struct sandboxd *sd = arg;
    boxes_each(sd->boxes, unserved_one, NULL);
}

/* The number of the file system that a descriptor is in, without asking its server, which may be away. */
static int64_t device_of(int fd)
{
    struct statx x;

    return fd >= 0 && !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &x) ? (int64_t)makedev(x.stx_dev_major, x.stx_dev_minor) : -1;
}

static bool is_served(json_t *mounts, int64_t dev)
{
    json_t *m;
    size_t i;

    json_array_foreach(mounts, i, m)
        if (json_integer_value(json_object_get(m, "dev")) == dev)
            return true;
    return false;
}

static void lost_one(void *arg, struct box *b)
{
    bool lost = b->p->unserved && box_runs(b) && !is_served(arg, device_of(b->dir_fd));
    struct fault f;

    b->p->unserved = false;
    if (!lost)
        return;
    fault_set(&f, "agent_lost", "the store's daemon (snapshotd) ended, and the file system of the sandbox with it; ask again: it starts from its last commit");
    g_strlcpy(b->p->error, f.text, sizeof(b->p->error));
    b->p->changing = true;
    box_unwind(b, &(struct unwind_how){ .fault = NULL });
}

static void on_served(void *arg, json_t *mounts)
{
    struct sandboxd *sd = arg;
    boxes_each(sd->boxes, lost_one, mounts);
}

const struct keeper_events boxes_keeper_events = { on_ended, on_served };
