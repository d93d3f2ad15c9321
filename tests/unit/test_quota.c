/* The quota against an independent count. A model keeps every inode with its bytes, which of its units are in use, its attributes, names and who
 * holds it open; random operations go to both. After each step: the workspace's counters are what the model counts; what the model says is over
 * the quota was refused, and changed nothing; what statfs says is that, exactly. Over snapshots, folds, forks, restores, remounts and restarts. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/xattr.h>

#include "fs/ws_internal.h"
#include "tests/lib/seed.h"
#include "tests/lib/verbs_fixture.h"

enum { NODES = 24, BYTES = 3 * SLOT, UNITS_MOST = BYTES / UNIT, XATTRS = 3, STEPS = 1500, SAVED = 4 };
enum { QUOTA_UNITS = 150, QUOTA_INODES = 16 };

struct file {
    bool there, held;
    uint64_t ino;
    uint32_t kind, links, entries, target, dir;     /* dir: index of the directory that its names are in */
    uint32_t size, xattr[XATTRS];
    bool used[UNITS_MOST];
    uint8_t data[BYTES];
};
struct tree { struct file v[NODES]; };

static struct tree *now, *saved[SAVED];
static char saved_id[SAVED][ID_MAX];
static struct workspace *ws;
static char ws_id[ID_MAX];
static unsigned forks;
static uint64_t rng;

static uint32_t rnd(uint32_t n)
{
    rng = rng * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(rng >> 33) % n;
}

static void name_of(unsigned i, unsigned link, char out[32])
{
    snprintf(out, 32, "n%u-%u", i, link);
}

/* --- the independent count --- */

static uint64_t charge(const struct file *n)
{
    uint64_t c = 0, more = 0;

    for (unsigned i = 0; i < UNITS_MOST; i++)
        c += n->kind == S_IFREG && n->used[i];
    for (unsigned i = 0; i < XATTRS; i++)
        more += n->xattr[i] ? strlen("user.0") + n->xattr[i] : 0;
    more += n->kind == S_IFLNK ? n->target : 0;
    if (more > 256)
        c += (more + 4095) / 4096;
    if (n->kind == S_IFDIR)
        c += (n->entries + 15) / 16;
    return c;
}

static void count(uint64_t *ret_units, uint64_t *ret_inodes)
{
    *ret_units = *ret_inodes = 0;
    for (unsigned i = 0; i < NODES; i++) {
        if (!now->v[i].there)
            continue;
        *ret_units += charge(&now->v[i]);
        ++*ret_inodes;
    }
}

static uint64_t named_units(const struct tree *t)
{
    uint64_t units = 0;

    for (unsigned i = 0; i < NODES; i++)
        units += t->v[i].there && t->v[i].links ? charge(&t->v[i]) : 0;
    return units;
}

static bool fits(struct file *n, const struct file *next)
{
    uint64_t units, inodes, before = charge(n), after = charge(next);

    count(&units, &inodes);
    return after <= before || units + after - before <= QUOTA_UNITS;
}

static void check(unsigned step)
{
    uint64_t units, inodes;
    struct ws_statfs st;

    count(&units, &inodes);
    if (ws_charged(ws) != units || ws->rec.inodes + ws->orphan_inodes != inodes)
        print_error("step %u\n", step);
    for (unsigned i = 0; i < NODES; i++) {
        struct inode in;
        if (!now->v[i].there)
            continue;
        assert_int_equal(ws_getattr(ws, now->v[i].ino, &in), 0);
        if (inode_charge(&in) != charge(&now->v[i]))
            print_error("step %u node %u kind %o\n", step, i, now->v[i].kind);
        assert_int_equal(inode_charge(&in), charge(&now->v[i]));
    }
    assert_int_equal(ws_charged(ws), units);
    assert_int_equal(ws->rec.inodes + ws->orphan_inodes, inodes);
    assert_int_equal(ws_statfs(ws, &st), 0);
    assert_int_equal(st.bytes_total, QUOTA_UNITS * (uint64_t)UNIT);
    assert_int_equal(st.bytes_free, units > QUOTA_UNITS ? 0 : (QUOTA_UNITS - units) * UNIT);
    assert_int_equal(st.inodes_total, QUOTA_INODES);
    assert_int_equal(st.inodes_free, inodes > QUOTA_INODES ? 0 : QUOTA_INODES - inodes);
}

/* --- operations: each to the workspace and to the model --- */

static struct file *pick(uint32_t kind, bool linked)
{
    unsigned start = rnd(NODES);

    for (unsigned i = 0; i < NODES; i++) {
        struct file *n = &now->v[(start + i) % NODES];
        if (n->there && (!kind || n->kind == kind) && (!linked || n->links))
            return n;
    }
    return NULL;
}

static struct file *vacant(void)
{
    for (unsigned i = 1; i < NODES; i++)
        if (!now->v[i].there)
            return &now->v[i];
    return NULL;
}

static unsigned index_of(const struct file *n)
{
    return (unsigned)(n - now->v);
}

static void one_more_name(struct file *in_dir, int by)
{
    in_dir->entries += (uint32_t)by;
}

static void op_create(void)
{
    static const uint32_t kinds[] = { S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFLNK };
    struct file *n = vacant(), *in_dir = pick(S_IFDIR, true);
    char name[32], target[4096];
    uint64_t units, inodes, grows;
    struct inode in;

    if (!n)
        return;
    count(&units, &inodes);
    struct file next = { .there = true, .held = rnd(2), .kind = kinds[rnd(5)], .links = 1, .dir = index_of(in_dir) }, with = *in_dir;
    if (next.kind == S_IFLNK)
        next.target = rnd(2) ? 20 : 1 + rnd(4095);
    bool tmp = next.kind == S_IFREG && rnd(4) == 0;
    memset(target, 't', sizeof target);
    target[next.target] = 0;
    name_of(index_of(n), 0, name);
    one_more_name(&with, !tmp);
    grows = charge(&next) + charge(&with) - charge(in_dir);
    bool over = inodes >= QUOTA_INODES || (grows && units + grows > QUOTA_UNITS);
    int r = tmp ? ws_tmpfile(ws, in_dir->ino, S_IFREG | 0600, &cred, &next.ino, &in)
                : ws_create(ws, in_dir->ino, name, next.kind | 0700, 0, next.target ? target : NULL, &cred, 0, next.held, &next.ino, &in);
    assert_int_equal(r, over ? -EDQUOT : 0);
    if (over)
        return;
    if (tmp) {
        next.held = true;
        next.links = 0;
    }
    *n = next;
    *in_dir = with;
}

static void op_link(void)
{
    struct file *n = pick(S_IFREG, false), *in_dir = n ? n->links ? &now->v[n->dir] : pick(S_IFDIR, true) : NULL;
    struct inode in;
    char name[32];

    if (!n || n->links > 40)
        return;
    struct file with = *in_dir;
    one_more_name(&with, 1);
    name_of(index_of(n), n->links, name);
    bool ok = fits(in_dir, &with);
    assert_int_equal(ws_link(ws, n->ino, in_dir->ino, name, &in), ok ? 0 : -EDQUOT);
    if (!ok)
        return;
    *in_dir = with;
    n->dir = index_of(in_dir);
    n->links++;
}

static void op_unlink(void)
{
    struct file *n = pick(0, true);
    char name[32];

    if (!n || index_of(n) == 0 || (n->kind == S_IFDIR && n->entries))
        return;
    name_of(index_of(n), n->links - 1, name);
    struct file *in_dir = &now->v[n->dir];
    assert_int_equal(n->kind == S_IFDIR ? ws_rmdir(ws, in_dir->ino, name) : ws_unlink(ws, in_dir->ino, name), 0);       /* however full it is */
    one_more_name(in_dir, -1);
    n->links--;
    n->there = n->links || n->held;
}

static void op_forget(void)
{
    struct file *n = pick(0, false);

    if (!n || !n->held)
        return;
    ws_forget(ws, n->ino, 1);
    n->held = false;
    n->there = n->links;
}

/* One name of a file becomes the first name of another, which loses it. */
static void op_rename_over(void)
{
    struct file *a = pick(S_IFREG, true), *b = pick(S_IFREG, true);
    char from[32], to[32];

    if (!a || a == b || b->links != 1 || a->links != 1)
        return;
    name_of(index_of(a), 0, from);
    name_of(index_of(b), 0, to);
    assert_int_equal(ws_rename(ws, now->v[a->dir].ino, from, now->v[b->dir].ino, to, 0), 0);
    one_more_name(&now->v[a->dir], -1);
    b->links = 0;
    b->there = b->held;
    assert_int_equal(ws_rename(ws, now->v[b->dir].ino, to, now->v[b->dir].ino, from, 0), 0);
    a->dir = b->dir;
}

static void op_write(void)
{
    struct file *n = pick(S_IFREG, false);
    static struct file next;

    if (!n)
        return;
    uint32_t off = rnd(3) ? rnd(BYTES) : rnd(3000), len = 1 + rnd(rnd(3) ? 5000 : 100000);
    if (len > BYTES - off)
        len = BYTES - off;
    next = *n;
    memset(next.data + off, 0xa5, len);
    for (uint32_t u = off / UNIT; u <= (off + len - 1) / UNIT; u++)
        next.used[u] = true;
    if (off + len > next.size)
        next.size = off + len;
    bool ok = fits(n, &next);
    assert_int_equal(ws_write(ws, n->ino, off, next.data + off, len, false), ok ? 0 : -EDQUOT);
    if (ok)
        *n = next;
}

static void cut(struct file *n, uint32_t from, uint32_t to)
{
    memset(n->data + from, 0, to - from);
    for (uint32_t u = (from + UNIT - 1) / UNIT; u < UNITS_MOST && u * UNIT < to; u++)
        if (to >= n->size || (u + 1) * UNIT <= to)
            n->used[u] = false;
}

static void op_truncate(void)
{
    struct file *n = pick(S_IFREG, false);
    struct inode in = { .size = rnd(4) ? rnd(BYTES) : rnd(3000) };

    if (!n)
        return;
    if (in.size < n->size)
        cut(n, (uint32_t)in.size, BYTES);
    n->size = (uint32_t)in.size;
    assert_int_equal(ws_setattr(ws, n->ino, WSA_SIZE, &in, &in), 0);
}

static void op_punch(void)
{
    struct file *n = pick(S_IFREG, false);
    uint32_t first = rnd(UNITS_MOST), count_ = 1 + rnd(10);

    if (!n || first + count_ > UNITS_MOST)
        return;
    assert_int_equal(ws_fallocate(ws, n->ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * UNIT, count_ * UNIT, 0), 0);
    if (first * UNIT < n->size)
        cut(n, first * UNIT, (first + count_) * UNIT);
}

static void op_fallocate(void)
{
    struct file *n = pick(S_IFREG, false);
    uint32_t off = rnd(BYTES), len = 1 + rnd(BYTES);
    static struct file next;

    if (!n)
        return;
    if (len > BYTES - off)
        len = BYTES - off;
    next = *n;
    for (uint32_t u = off / UNIT; u <= (off + len - 1) / UNIT; u++)
        next.used[u] = true;
    bool ok = fits(n, &next);             /* it takes no space, but says whether there is enough */
    assert_int_equal(ws_fallocate(ws, n->ino, 0, off, len, 0), ok ? 0 : -EDQUOT);
    if (ok && off + len > n->size)
        n->size = off + len;
}

static void op_xattr(void)
{
    static uint8_t val[XATTR_VALUE_MAX];
    struct file *n = pick(0, false);
    unsigned which = rnd(XATTRS);
    char name[16];

    if (!n || n->kind == S_IFLNK)
        return;
    static struct file next;
    next = *n;
    next.xattr[which] = rnd(3) ? 1 + rnd(300) : 1 + rnd(XATTR_VALUE_MAX);
    snprintf(name, sizeof name, "user.%u", which);
    if (n->xattr[which] && rnd(3) == 0) {
        assert_int_equal(ws_removexattr(ws, n->ino, name), 0);
        n->xattr[which] = 0;
        return;
    }
    bool ok = fits(n, &next);
    assert_int_equal(ws_setxattr(ws, n->ino, name, val, next.xattr[which], 0, false), ok ? 0 : -EDQUOT);
    if (ok)
        n->xattr[which] = next.xattr[which];
}

/* What is shared and what is copied is up to the file system; it is asked which units are in use now, and they must fit. */
static void op_copy(void)
{
    struct file *a = pick(S_IFREG, false), *b = pick(S_IFREG, false);
    uint64_t units, inodes, before, done = 0;
    struct slot s;

    if (!a || a == b || !a->size)
        return;
    count(&before, &inodes);
    int r = ws_copy(ws, a->ino, 0, b->ino, 0, a->size, 0, &done);
    assert_true(r == 0 || r == -EDQUOT);
    memcpy(b->data, a->data, r == 0 ? done : 0);
    if (r == 0 && done > b->size)
        b->size = (uint32_t)done;
    ws_lock(ws);
    for (unsigned i = 0; i < UNITS_MOST / SLOT_UNITS; i++) {
        struct view_val body;
        memset(b->used + i * SLOT_UNITS, 0, SLOT_UNITS);
        if (i == 0 && data_body(ws->view, ws->live, b->ino, &body) > 0) {
            view_val_done(&body);
            b->used[0] = true;
            continue;
        }
        assert_int_equal(slot_load(ws, b->ino, i, false, &s), 0);
        for (unsigned k = 0; k < s.count; k++)
            memset(b->used + i * SLOT_UNITS + s.runs[k].start, s.runs[k].kind != RUN_ZERO, s.runs[k].count);
    }
    ws_unlock(ws);
    count(&units, &inodes);
    assert_true(units <= before || units <= QUOTA_UNITS);
}

/* --- states --- */

static void forget_open(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        now->v[i].held = false;
        now->v[i].there = now->v[i].there && now->v[i].links;
    }
}

/* A folded slot is a chunk: all up to its last byte that is not zero counts, and nothing behind. */
static void normalise(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct file *n = &now->v[i];
        for (uint32_t at = 0; n->there && n->kind == S_IFREG && n->links && at < BYTES; at += SLOT) {
            uint32_t len = SLOT;
            while (len && n->data[at + len - 1] == 0)
                len--;
            for (uint32_t u = 0; u < SLOT_UNITS; u++)
                n->used[at / UNIT + u] = u * UNIT < len;
        }
    }
}

static void op_snapshot(void)
{
    unsigned at = rnd(SAVED);
    struct snapshot_args a = { .cause = SNAP_USER };
    struct snap_rec snap;

    assert_int_equal(verb_snapshot(store, ws, &a, &snap, NULL), 0);
    struct view *v;
    struct addr root;
    assert_int_equal(workspace_freeze(ws, NULL, &v, NULL), 0);
    assert_int_equal(view_fold_now(store, v, &root), 0);
    view_unref(v);
    normalise();
    *saved[at] = *now;
    memcpy(saved_id[at], snap.id, ID_MAX);
}

static void reopen_ws(void)
{
    workspace_unref(ws);
    forget_open();
    assert_int_equal(workspace_open(store, ws_id, &ws), 0);
}

static void op_remount(void)
{
    if (rnd(3)) {
        reopen_ws();
        return;
    }
    workspace_unref(ws);
    reopen(&quiet);
    forget_open();
    assert_int_equal(workspace_open(store, ws_id, &ws), 0);
}

static void op_restore(void)
{
    unsigned at = rnd(SAVED);
    struct restore_report rep;
    struct snap_rec snap;

    if (!saved_id[at][0])
        return;
    assert_int_equal(snap_rec_get(store->meta, saved_id[at], &snap), 0);
    uint64_t there = named_units(now), then = named_units(saved[at]);
    bool over = then > QUOTA_UNITS && then > there;        /* it was folded since, and grew by holes */
    assert_int_equal(verb_restore(store, ws, &snap, NULL, 0, &rep), over ? -EDQUOT : 0);
    if (over)
        return;
    *now = *saved[at];
    reopen_ws();
}

static void op_fork(void)
{
    char name[32];
    struct ws_rec rec;
    const char *names[] = { name };
    struct object o = { 0 };

    op_snapshot();
    reopen_ws();
    snprintf(name, sizeof name, "fork-%u", forks++);
    if (rnd(2)) {
        assert_int_equal(object_find(store, ws_id, &o), 0);
    } else {
        assert_int_equal(snap_rec_get(store->meta, ws->rec.parent_snap, &o.snap), 0);
    }
    assert_int_equal(verb_fork(store, &o, names, 1, &rec, NULL, NULL), 0);
    workspace_unref(ws);
    memcpy(ws_id, rec.id, ID_MAX);
    assert_int_equal(workspace_open(store, ws_id, &ws), 0);
}

static void step(void)
{
    static void (*const ops[])(void) = { op_create, op_create, op_create, op_link, op_unlink, op_unlink, op_forget, op_rename_over, op_write, op_write, op_write,
        op_write, op_truncate, op_punch, op_fallocate, op_xattr, op_xattr, op_copy };

    switch (rnd(40)) {
    case 0: op_snapshot(); break;
    case 1: op_remount(); break;
    case 2: op_restore(); break;
    case 3: rnd(3) ? op_snapshot() : op_fork(); break;
    default: ops[rnd(sizeof ops / sizeof *ops)]();
    }
}

static void counters_are_what_an_independent_count_says_after_any_operation(void **state)
{
    struct create_args a = { .name = "w", .kind = WS_BARE, .quota_bytes = QUOTA_UNITS * (uint64_t)UNIT, .quota_inodes = QUOTA_INODES };
    struct ws_rec rec;

    rng = test_seed();
    print_message("seed %" PRIu64 "\n", rng);
    now = calloc(1, sizeof *now);
    for (unsigned i = 0; i < SAVED; i++)
        saved[i] = calloc(1, sizeof *now);
    assert_int_equal(verb_create(store, &a, &rec), 0);
    memcpy(ws_id, rec.id, ID_MAX);
    assert_int_equal(workspace_open(store, ws_id, &ws), 0);
    now->v[0] = (struct file){ .there = true, .kind = S_IFDIR, .ino = INO_ROOT, .links = 1 };
    for (unsigned i = 0; i < STEPS; i++) {
        step();
        check(i);
    }
    workspace_unref(ws);
    assert_clean();
    for (unsigned i = 0; i < SAVED; i++)
        free(saved[i]);
    free(now);
}

/* --- single ways around it --- */

static struct workspace *limited(const char *name, uint64_t units, uint64_t inodes)
{
    struct create_args a = { .name = name, .kind = WS_BARE, .quota_bytes = units * UNIT, .quota_inodes = inodes };
    struct workspace *w;
    struct ws_rec rec;

    assert_int_equal(verb_create(store, &a, &rec), 0);
    assert_int_equal(workspace_open(store, rec.id, &w), 0);
    return w;
}

struct filler { struct workspace *w; uint64_t ino; };

static void *fill(void *arg)
{
    static uint8_t bytes[UNIT] = { 1 };
    struct filler *f = arg;

    for (uint64_t i = 0; i < 4096; i++)
        ws_write(f->w, f->ino, i * UNIT, bytes, UNIT, false);
    return NULL;
}

static void writers_at_once_fill_it_to_the_last_unit_and_not_beyond(void **state)
{
    struct workspace *w = limited("many", 1001, 0);
    struct filler f[4];
    pthread_t t[4];
    struct inode in;
    char name[8];

    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%u", i);
        f[i].w = w;
        assert_int_equal(ws_create(w, INO_ROOT, name, S_IFREG | 0600, 0, NULL, &cred, 0, true, &f[i].ino, &in), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, fill, &f[i]), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(ws_charged(w), 1001);
    assert_int_equal(ws_getattr(w, f[0].ino, &in), 0);
    assert_int_equal(ws_unlink(w, INO_ROOT, "0"), 0);
    assert_int_equal(ws_charged(w), 1001);                 /* open still */
    ws_forget(w, f[0].ino, 1);
    assert_int_equal(ws_charged(w), 1001 - in.units);
    workspace_unref(w);
}

/* A unit at the end of each slot is one unit before a fold and 32 after; a record that was copied up in between must not hide that. */
static void holes_of_a_state_that_was_folded_meanwhile_cannot_be_filled_for_nothing(void **state)
{
    enum { SLOTS = 4 };
    struct workspace *w = limited("sparse", 1000, 0);
    static uint8_t slot[SLOT];
    struct inode in;
    struct addr root;
    struct view *v;
    uint64_t ino;

    memset(slot, 7, sizeof slot);
    assert_int_equal(ws_create(w, INO_ROOT, "f", S_IFREG | 0600, 0, NULL, &cred, 0, true, &ino, &in), 0);
    for (uint64_t i = 0; i < SLOTS; i++)
        assert_int_equal(ws_write(w, ino, i * SLOT + SLOT - UNIT, slot, UNIT, false), 0);
    assert_int_equal(ws_charged(w), SLOTS + 1);
    assert_int_equal(workspace_freeze(w, NULL, &v, NULL), 0);
    in.mode = 0400;
    assert_int_equal(ws_setattr(w, ino, WSA_MODE, &in, &in), 0);      /* its record is in the live layer before the fold */
    assert_int_equal(view_fold_now(store, v, &root), 0);
    view_unref(v);
    assert_int_equal(ws_charged(w), SLOTS * SLOT_UNITS + 1);
    for (uint64_t i = 0; i < SLOTS; i++)
        assert_int_equal(ws_write(w, ino, i * SLOT, slot, SLOT, false), 0);
    assert_int_equal(ws_charged(w), SLOTS * SLOT_UNITS + 1);
    assert_int_equal(ws_unlink(w, INO_ROOT, "f"), 0);
    ws_forget(w, ino, 1);
    assert_int_equal(ws_charged(w), 0);
    workspace_unref(w);
    assert_clean();
}

static void an_open_file_without_a_name_counts_the_same_over_a_fold(void **state)
{
    struct workspace *w = limited("orphan", 40, 2);
    static uint8_t bytes[UNIT] = { 1 };
    struct inode in;
    struct addr root;
    struct view *v;
    uint64_t ino, other;

    assert_int_equal(ws_create(w, INO_ROOT, "f", S_IFREG | 0600, 0, NULL, &cred, 0, true, &ino, &in), 0);
    assert_int_equal(ws_write(w, ino, SLOT - UNIT, bytes, UNIT, false), 0);
    assert_int_equal(workspace_freeze(w, NULL, &v, NULL), 0);
    assert_int_equal(ws_unlink(w, INO_ROOT, "f"), 0);
    assert_int_equal(ws_tmpfile(w, INO_ROOT, S_IFREG, &cred, &other, &in), -EDQUOT);       /* the inode is in use */
    assert_int_equal(view_fold_now(store, v, &root), 0);
    view_unref(v);
    uint64_t units = ws_charged(w);
    assert_int_equal(ws_getattr(w, ino, &in), 0);
    assert_int_equal(units, in.units);
    for (uint64_t i = 0; i < SLOT_UNITS; i++)
        assert_int_equal(ws_write(w, ino, i * UNIT, bytes, UNIT, false), 0);
    assert_int_equal(ws_charged(w), SLOT_UNITS);
    assert_int_equal(ws_write(w, ino, 9 * SLOT, bytes, UNIT, false), 0);
    assert_int_equal(ws_charged(w), SLOT_UNITS + 1);
    ws_forget(w, ino, 1);
    assert_int_equal(ws_charged(w), 0);
    assert_int_equal(w->orphan_inodes, 0);
    workspace_unref(w);
}

/* Forks and the workspace itself, closed while the state that they stand on is folded. */
static void a_workspace_that_was_closed_during_a_fold_is_counted_anew(void **state)
{
    struct workspace *w = limited("shut", 1000, 0);
    struct ws_rec fork[1];
    static uint8_t unit[UNIT] = { 9 };
    const char *names[] = { "forked" };
    struct inode in;
    uint64_t f, g;

    assert_int_equal(ws_create(w, INO_ROOT, "f", S_IFREG | 0600, 0, NULL, &cred, 0, false, &f, &in), 0);
    assert_int_equal(ws_create(w, INO_ROOT, "g", S_IFREG | 0600, 0, NULL, &cred, 0, false, &g, &in), 0);
    assert_int_equal(ws_write(w, f, SLOT - UNIT, unit, UNIT, false), 0);
    assert_int_equal(ws_write(w, g, SLOT - UNIT, unit, UNIT, false), 0);
    assert_int_equal(fork_of("shut", names, 1, fork, NULL), 0);
    in.mode = 0400;
    assert_int_equal(ws_setattr(w, f, WSA_MODE, &in, &in), 0);         /* a record above the fold, and one that is gone */
    assert_int_equal(ws_unlink(w, INO_ROOT, "g"), 0);
    assert_int_equal(ws_charged(w), 1 + 1);
    workspace_unref(w);
    struct object o;
    struct view *v;
    struct addr root;
    assert_int_equal(object_find(store, "forked", &o), 0);
    assert_int_equal(view_get(store, o.ws.base, &v), 0);
    assert_int_equal(view_fold_now(store, v, &root), 0);
    view_unref(v);
    w = open_ws("forked");
    assert_int_equal(ws_charged(w), 2 * SLOT_UNITS + 1);
    workspace_unref(w);
    w = open_ws("shut");
    assert_int_equal(ws_charged(w), SLOT_UNITS + 1);
    assert_int_equal(ws_getattr(w, f, &in), 0);
    assert_int_equal(in.units, SLOT_UNITS);
    assert_int_equal(ws_unlink(w, INO_ROOT, "f"), 0);
    assert_int_equal(ws_charged(w), 0);
    workspace_unref(w);
    assert_clean();
}

static void a_state_of_another_workspace_that_is_too_large_is_not_restored(void **state)
{
    struct workspace *w = limited("small", 10, 3);
    struct restore_report rep;
    struct snap_rec large, fitting;

    create("big");
    put_noise("big", "a", 1, 8 * UNIT);
    fitting = snapshot("big", "fits");
    put_noise("big", "b", 2, 8 * UNIT);
    large = snapshot("big", "large");
    fold("big@fits");
    fold("big@large");
    assert_int_equal(verb_restore(store, w, &large, NULL, 0, &rep), -EDQUOT);
    assert_int_equal(w->rec.inodes, 1);
    assert_int_equal(verb_restore(store, w, &fitting, NULL, 0, &rep), 0);
    assert_int_equal(ws_charged(w), 9);
    workspace_unref(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(counters_are_what_an_independent_count_says_after_any_operation),
        TEST(writers_at_once_fill_it_to_the_last_unit_and_not_beyond),
        TEST(holes_of_a_state_that_was_folded_meanwhile_cannot_be_filled_for_nothing),
        TEST(an_open_file_without_a_name_counts_the_same_over_a_fold),
        TEST(a_workspace_that_was_closed_during_a_fold_is_counted_anew),
        TEST(a_state_of_another_workspace_that_is_too_large_is_not_restored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
