#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/io.h"
#include "fs/chunk.h"
#include "fs/fold.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/tree.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "fs/workspace.h"

#include "tests/lib/seed.h"

enum { FILES = 8, SIZE_MAX_ = 5 * SLOT };

static char dir[64];
static struct store *st;
static struct workspace *ws;
static char ws_id[ID_MAX];
static unsigned seed;

static unsigned rnd(unsigned n)
{
    return (unsigned)rand_r(&seed) % n;
}

/* --- a clock that stands still, so that trees of equal content are equal --- */

static void fixed_real(struct timespec *ts)
{
    *ts = (struct timespec){ 1700000000, 5 };
}
static uint64_t steps_mono(void)
{
    static _Atomic uint64_t now = 1;

    return atomic_fetch_add(&now, 1000);
}
static const struct clock_ops fixed_clock = { fixed_real, steps_mono };

/* --- the store --- */

static void open_store(bool background)
{
    struct store_options o = store_defaults;

    o.no_background = !background;
    o.commit_interval_ms = 20;
    o.chunk_cache_bytes = 1 << 20;
    assert_int_equal(store_open(dir, &o, &st), 0);
}

static void reopen(void)
{
    workspace_unref(ws);
    store_close(st);
    open_store(false);
    assert_int_equal(workspace_open(st, ws_id, &ws), 0);
}

static struct workspace *make_ws(const char *name, char id[ID_MAX])
{
    struct create_args a = { .name = name, .kind = WS_BARE };
    struct ws_rec rec;
    struct workspace *w;

    assert_int_equal(verb_create(st, &a, &rec), 0);
    assert_int_equal(workspace_open(st, rec.id, &w), 0);
    memcpy(id, rec.id, ID_MAX);
    return w;
}

static int setup(void **state)
{
    seed = (unsigned)test_seed();
    snprintf(dir, sizeof dir, "/tmp/X-fold-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(store_init(dir), 0);
    clock_src = &fixed_clock;
    open_store(false);
    ws = make_ws("w", ws_id);
    return 0;
}

static const struct clock_ops *sys_clock;

static int teardown(void **state)
{
    char cmd[96];

    workspace_unref(ws);
    store_close(st);
    clock_src = sys_clock;
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* --- files with a model --- */

struct model { bool there; uint32_t size; uint8_t data[SIZE_MAX_]; };
static struct model now[FILES], kept[FILES];
static uint64_t ino_of[FILES];
static const struct ws_cred cred = { 1000, 1000, 022 };

static const char *name_of(unsigned i)
{
    static const char *const names[FILES] = { "a", "b", "c", "d", "e", "f", "g", "h" };

    return names[i];
}

static void create(struct workspace *w, unsigned i)
{
    struct inode in;

    assert_int_equal(ws_create(w, INO_ROOT, name_of(i), S_IFREG | 0644, 0, NULL, &cred, 0, false, &ino_of[i], &in), 0);
    now[i].there = true;
    now[i].size = 0;
    memset(now[i].data, 0, SIZE_MAX_);
}

static void write_at(struct workspace *w, unsigned i, uint32_t off, const uint8_t *p, uint32_t n)
{
    assert_int_equal(ws_write(w, ino_of[i], off, p, n, false), 0);
    memcpy(now[i].data + off, p, n);
    if (off + n > now[i].size)
        now[i].size = off + n;
}

static void set_size(struct workspace *w, unsigned i, uint32_t size)
{
    struct inode in = { .size = size };

    assert_int_equal(ws_setattr(w, ino_of[i], WSA_SIZE, &in, &in), 0);
    if (size < now[i].size)
        memset(now[i].data + size, 0, now[i].size - size);
    now[i].size = size;
}

/* Text that repeats, noise, or zeros: so that dedup, chunks and holes all come up. */
static void fill(uint8_t *p, uint32_t n)
{
    unsigned kind = rnd(4), x = rnd(3);

    for (uint32_t i = 0; i < n; i++)
        p[i] = kind == 0 ? 0 : kind == 1 ? (uint8_t)("xyz"[x] + (i & 7)) : (uint8_t)rand_r(&seed);
}

static uint32_t some_offset(void)
{
    switch (rnd(4)) {
    case 0: return rnd(3000);
    case 1: return rnd(5) * SLOT;
    case 2: return rnd(5 * SLOT_UNITS) * UNIT;
    default: return rnd(SIZE_MAX_);
    }
}

static uint32_t some_length(void)
{
    static const uint32_t lengths[] = { 1, 700, UNIT, 3 * UNIT + 5, SLOT, 2 * SLOT };

    return 1 + rnd(lengths[rnd(6)]);
}

static void copy_range(struct workspace *w, unsigned from, unsigned to)
{
    uint32_t align = rnd(3) ? UNIT : 1, off = some_offset() / align * align, dst = some_offset() / align * align, n = some_length();
    uint64_t done;

    if (from == to || off >= now[from].size)
        return;
    n = n > now[from].size - off ? now[from].size - off : n;
    n = n > SIZE_MAX_ - dst ? SIZE_MAX_ - dst : n;
    assert_int_equal(ws_copy(w, ino_of[from], off, ino_of[to], dst, n, 0, &done), 0);
    assert_true(done <= n);
    memmove(now[to].data + dst, now[from].data + off, done);
    if (dst + done > now[to].size)
        now[to].size = dst + (uint32_t)done;
}

static void random_change(struct workspace *w)
{
    static uint8_t p[2 * SLOT];
    unsigned i = rnd(FILES);
    uint32_t off = some_offset(), n = some_length();

    if (!now[i].there) {
        create(w, i);
        return;
    }
    n = n > SIZE_MAX_ - off ? SIZE_MAX_ - off : n;
    switch (rnd(12)) {
    case 0:
        set_size(w, i, rnd(3) ? off : rnd(3000));
        break;
    case 1:
        assert_int_equal(ws_fallocate(w, ino_of[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, n, 0), 0);
        if (off < now[i].size)
            memset(now[i].data + off, 0, n < now[i].size - off ? n : now[i].size - off);
        break;
    case 2:
        if (now[rnd(FILES)].there && rnd(3) == 0) {
            assert_int_equal(ws_unlink(w, INO_ROOT, name_of(i)), 0);
            now[i].there = false;
        }
        break;
    case 3:
    case 4: {
        unsigned from = rnd(FILES);
        if (now[from].there)
            copy_range(w, from, i);
        break;
    }
    case 5:
        assert_int_equal(ws_setxattr(w, ino_of[i], "user.x", (const uint8_t *)&n, sizeof n, 0, false), 0);
        break;
    default:
        fill(p, n);
        write_at(w, i, off, p, n);
    }
}

static void assert_same(struct workspace *w, const struct model *m)
{
    static uint8_t p[SIZE_MAX_ + 1];

    for (unsigned i = 0; i < FILES; i++) {
        struct inode in;
        uint64_t ino;
        size_t n;
        int r = ws_lookup(w, INO_ROOT, name_of(i), &ino, &in);

        assert_int_equal(r, m[i].there ? 0 : -ENOENT);
        if (r < 0)
            continue;
        assert_int_equal(in.size, m[i].size);
        assert_int_equal(ws_read(w, ino, 0, sizeof p, p, &n), 0);
        assert_int_equal(n, m[i].size);
        assert_memory_equal(p, m[i].data, n);
    }
}

static struct view *freeze(struct workspace *w)
{
    struct view *v;

    assert_int_equal(workspace_freeze(w, NULL, &v, NULL), 0);
    return v;
}

static void assert_view_same(struct view *v, const struct model *m)
{
    struct workspace *w;

    assert_int_equal(workspace_open_view(st, v, &w), 0);
    assert_same(w, m);
    workspace_unref(w);
}

static uint64_t canonical_units(const struct model *m)
{
    uint64_t units = 0;

    for (uint32_t at = 0; at < m->size; at += SLOT) {
        uint32_t n = m->size - at < SLOT ? m->size - at : SLOT;
        while (n && m->data[at + n - 1] == 0)
            n--;
        units += (n + UNIT - 1) / UNIT;
    }
    return units;
}

/* Every extent of a folded tree is what a fresh build of the content would have. */
static void assert_tree_canonical(struct view *v, const struct model *m)
{
    struct tree_cursor cur;
    uint64_t units = 0, keys = 0;
    int r;

    assert_null(v->layer);
    for (unsigned i = 0; i < FILES; i++) {
        if (!m[i].there)
            continue;
        struct key k = key_simple(ino_of[i], KEY_INODE);
        struct tree_val val = { 0 };
        struct inode in;

        assert_int_equal(tree_get(st->nodes, &v->rec.root, k.b, k.len, &val), 1);
        assert_int_equal(inode_decode(val.p, val.n, &in), 0);
        tree_val_done(&val);
        assert_int_equal(in.units, canonical_units(&m[i]));
        units += in.units;
        bool inl = m[i].size <= INLINE_MAX;
        for (uint32_t at = 0; at < m[i].size; at += SLOT) {
            uint32_t n = m[i].size - at < SLOT ? m[i].size - at : SLOT;
            while (n && m[i].data[at + n - 1] == 0)
                n--;
            k = inl ? key_simple(ino_of[i], KEY_BODY) : key_extent(ino_of[i], at / SLOT);
            assert_int_equal(tree_get(st->nodes, &v->rec.root, k.b, k.len, &val), n > 0);
            keys += n > 0;
            if (n && inl) {
                assert_int_equal(val.n, n);
                assert_memory_equal(val.p, m[i].data, n);
            } else if (n) {
                assert_int_equal(val.n, EXTENT_BYTES);
                assert_int_equal(le32(val.p + ADDR_BYTES), n);
                assert_true(addr_matches((const struct addr *)(const void *)val.p, m[i].data + at, n));
            }
            tree_val_done(&val);
        }
    }
    struct key root = key_simple(INO_ROOT, KEY_INODE);
    struct tree_val rv = { 0 };
    struct inode rin;
    assert_int_equal(tree_get(st->nodes, &v->rec.root, root.b, root.len, &rv), 1);
    assert_int_equal(inode_decode(rv.p, rv.n, &rin), 0);
    tree_val_done(&rv);
    assert_int_equal(v->rec.units, units + inode_charge(&rin));       /* the names */
    tree_cursor_init(&cur, st->nodes, &v->rec.root);
    for (r = tree_cursor_seek(&cur, "", 0); r > 0; r = tree_cursor_next(&cur)) {
        const struct node_entry *e = tree_cursor_entry(&cur);
        keys -= key_kind_of(e->key) == KEY_BODY || key_kind_of(e->key) == KEY_EXTENT;
    }
    assert_int_equal(r, 0);
    assert_int_equal(keys, 0);                            /* no other content keys: nothing of deleted files, no stale slots */
    tree_cursor_fini(&cur);
}

static void start_over(void)
{
    memset(now, 0, sizeof now);
    memset(kept, 0, sizeof kept);
}

/* --- tests --- */

static void folding_changes_nothing_that_can_be_read(void **state)
{
    start_over();
    print_message("seed %u\n", seed);
    for (int round = 0; round < 40; round++) {
        struct view *v, *later = NULL;
        struct inode before[FILES], after;

        for (unsigned k = rnd(40); k > 0; k--)
            random_change(ws);
        v = freeze(ws);
        memcpy(kept, now, sizeof now);
        if (rnd(2)) {                                     /* a second frozen layer on top, folded with it */
            for (unsigned k = 1 + rnd(10); k > 0; k--)
                random_change(ws);
            later = freeze(ws);
        }
        for (unsigned k = rnd(6); k > 0; k--)             /* and a live one */
            random_change(ws);
        assert_view_same(v, kept);
        for (unsigned i = 0; i < FILES; i++)
            if (now[i].there)
                assert_int_equal(ws_getattr(ws, ino_of[i], &before[i]), 0);
        assert_int_equal(fold_view(st, later && rnd(2) ? later : v), 0);
        assert_view_same(v, kept);
        assert_same(ws, now);
        for (unsigned i = 0; i < FILES; i++) {
            if (!now[i].there)
                continue;
            assert_int_equal(ws_getattr(ws, ino_of[i], &after), 0);
            uint8_t a[INODE_BYTES], b[INODE_BYTES];
            before[i].units = after.units = 0;            /* may have been more: units written with zeros */
            inode_encode(&before[i], b);
            inode_encode(&after, a);
            assert_memory_equal(a, b, INODE_BYTES);
        }
        /* With everything folded the tree is canonical, and the workspace's count is that of the tree. */
        if (rnd(3) == 0) {
            struct view *all = freeze(ws);
            assert_int_equal(fold_view(st, all), 0);
            assert_tree_canonical(all, now);
            assert_int_equal(ws->rec.units, all->rec.units);
            view_unref(all);
        }
        view_unref(later);
        view_unref(v);
        if (rnd(8) == 0)
            reopen();
        assert_same(ws, now);
    }
}

static void moved_and_packed_content_stays_the_same(void **state)
{
    struct pack_stats ps;

    start_over();
    print_message("seed %u\n", seed);
    for (int round = 0; round < 12; round++) {
        struct view *v;

        for (unsigned k = 30; k > 0; k--)
            random_change(ws);
        v = freeze(ws);
        assert_int_equal(fold_view(st, v), 0);
        view_unref(v);                                    /* the layer is retired: what is not a chunk is punched */
        assert_same(ws, now);
        do
            assert_int_equal(chunk_pack(st->chunks, 1 << 20, NULL, NULL, &ps), 0);
        while (ps.more);
        reopen();                                         /* nothing cached */
        assert_same(ws, now);
    }
}

static struct addr folded_root(struct workspace *w)
{
    struct view *v = freeze(w);
    struct addr root;

    assert_int_equal(fold_view(st, v), 0);
    root = v->rec.root;
    view_unref(v);
    return root;
}

static void equal_content_gives_an_equal_root_whatever_its_history(void **state)
{
    static struct model target[FILES];
    char id[ID_MAX];
    struct addr first, again;

    start_over();
    print_message("seed %u\n", seed);
    for (unsigned i = 0; i < FILES; i++)
        create(ws, i);
    for (unsigned k = 0; k < 60; k++) {                   /* history one: random changes, folded now and then */
        unsigned i = rnd(FILES);
        static uint8_t p[2 * SLOT];
        uint32_t off = some_offset(), n = some_length();

        n = n > SIZE_MAX_ - off ? SIZE_MAX_ - off : n;
        if (rnd(4) == 0) {
            set_size(ws, i, rnd(2) ? off : rnd(3000));
        } else {
            fill(p, n);
            write_at(ws, i, off, p, n);
        }
        if (rnd(10) == 0)
            folded_root(ws);
    }
    first = folded_root(ws);
    assert_same(ws, now);
    memcpy(target, now, sizeof now);
    struct workspace *w = make_ws("other", id);           /* history two: written in one go, sparse or not, some junk before */
    start_over();
    for (unsigned i = 0; i < FILES; i++)
        create(w, i);
    for (unsigned i = 0; i < FILES; i++) {
        if (rnd(2)) {
            static uint8_t junk[SLOT + 100];
            memset(junk, 'j', sizeof junk);
            write_at(w, i, rnd(SLOT), junk, sizeof junk);
            if (rnd(2))
                folded_root(w);
            set_size(w, i, rnd(2) ? 0 : 100);
        }
        if (target[i].size)
            write_at(w, i, 0, target[i].data, target[i].size);
        set_size(w, i, target[i].size);
    }
    again = folded_root(w);
    assert_same(w, target);
    workspace_unref(w);
    assert_true(addr_eq(&first, &again));
}

static void a_file_written_in_one_go_becomes_chunks_where_it_lies(void **state)
{
    static uint8_t p[3 * SLOT + 10000];
    uint64_t live = ws->rec.live;

    start_over();
    create(ws, 0);
    for (uint32_t i = 0; i < sizeof p; i++)
        p[i] = (uint8_t)rand_r(&seed);
    p[sizeof p - 1] = 1;
    write_at(ws, 0, 0, p, sizeof p);
    struct view *v = freeze(ws);
    assert_int_equal(fold_view(st, v), 0);
    for (uint32_t at = 0; at < sizeof p; at += SLOT) {
        struct key k = key_extent(ino_of[0], at / SLOT);
        struct tree_val val = { 0 };
        struct chunk_loc loc;
        struct addr a;

        assert_int_equal(tree_get(st->nodes, &v->rec.root, k.b, k.len, &val), 1);
        memcpy(a.b, val.p, ADDR_BYTES);
        tree_val_done(&val);
        assert_int_equal(chunk_stat(st->chunks, &a, &loc), 0);
        assert_int_equal(loc.seg, live);
    }
    view_unref(v);
    assert_false(layer_has_keys(st, live));               /* retired */
    reopen();
    assert_same(ws, now);
}

static void clones_that_overlap_do_not_take_each_others_place(void **state)
{
    static uint8_t p[2 * SLOT];
    struct pack_stats ps;
    uint64_t done;

    start_over();
    create(ws, 0);
    create(ws, 1);
    for (uint32_t i = 0; i < sizeof p; i++)
        p[i] = (uint8_t)("abcdefgh"[rnd(8)]);
    write_at(ws, 0, 0, p, sizeof p);
    assert_int_equal(ws_copy(ws, ino_of[0], 4 * UNIT, ino_of[1], 0, SLOT, 0, &done), 0);
    memcpy(now[1].data, now[0].data + 4 * UNIT, done);
    now[1].size = (uint32_t)done;
    folded_root(ws);
    do
        assert_int_equal(chunk_pack(st->chunks, 1, NULL, NULL, &ps), 0);
    while (ps.more);
    reopen();
    assert_same(ws, now);
}

static void an_open_file_without_a_name_outlives_the_fold(void **state)
{
    static uint8_t p[SLOT + 5], q[SLOT + 5];
    struct inode in;
    size_t n;

    start_over();
    memset(p, 'o', sizeof p);
    create(ws, 0);
    create(ws, 1);
    write_at(ws, 0, 0, p, sizeof p);
    ws_nlookup_add(ws, ino_of[0], 1);
    assert_int_equal(ws_unlink(ws, INO_ROOT, name_of(0)), 0);
    now[0].there = false;
    struct view *v = freeze(ws);
    assert_int_equal(fold_view(st, v), 0);
    assert_int_equal(ws_read(ws, ino_of[0], 0, sizeof q, q, &n), 0);
    assert_int_equal(n, sizeof p);
    assert_memory_equal(p, q, n);
    assert_tree_canonical(v, now);
    view_unref(v);
    ws_forget(ws, ino_of[0], 1);
    assert_int_equal(ws_getattr(ws, ino_of[0], &in), -ENOENT);
    v = freeze(ws);
    assert_int_equal(fold_view(st, v), 0);
    assert_tree_canonical(v, now);
    view_unref(v);
}

static void a_file_named_after_the_freeze_keeps_its_content(void **state)
{
    static uint8_t p[SLOT + 5];
    struct inode in;

    start_over();
    memset(p, 't', sizeof p);
    assert_int_equal(ws_tmpfile(ws, INO_ROOT, S_IFREG | 0600, &cred, &ino_of[0], &in), 0);
    ws_nlookup_add(ws, ino_of[0], 1);
    write_at(ws, 0, 0, p, sizeof p);
    struct view *v = freeze(ws);
    assert_int_equal(ws_link(ws, ino_of[0], INO_ROOT, name_of(0), &in), 0);
    now[0].there = true;
    assert_int_equal(fold_view(st, v), 0);
    view_unref(v);
    assert_same(ws, now);
}

/* --- faults --- */

static _Atomic long calls, fail_at;
static int fail_with;

static bool hit(void)
{
    return ++calls == fail_at;
}
static int f_open(int d, const char *n, int fl, unsigned m) { return hit() ? -fail_with : disk_real.open(d, n, fl, m); }
static ssize_t f_pread(int fd, void *b, size_t n, off_t o) { return hit() ? -fail_with : disk_real.pread(fd, b, n, o); }
static ssize_t f_pwrite(int fd, const void *b, size_t n, off_t o) { return hit() ? -fail_with : disk_real.pwrite(fd, b, n, o); }
static ssize_t f_pwritev(int fd, const struct iovec *v, int c, off_t o) { return hit() ? -fail_with : disk_real.pwritev(fd, v, c, o); }
static int f_fdatasync(int fd) { return hit() ? -fail_with : disk_real.fdatasync(fd); }
static int f_fsync(int fd) { return hit() ? -fail_with : disk_real.fsync(fd); }
static int f_punch(int fd, off_t o, off_t l) { return hit() ? -fail_with : disk_real.punch(fd, o, l); }
static int f_unlink(int d, const char *n) { return hit() ? -fail_with : disk_real.unlink(d, n); }
static const struct disk_ops faulty = { f_open, f_pread, f_pwrite, f_pwritev, f_fdatasync, f_fsync, f_punch, f_unlink, NULL };
static _Bool mem_hit(size_t n) { return hit(); }
static int meta_hit(bool w) { return hit() ? -fail_with : 0; }

enum fault { FAULT_DISK, FAULT_MEM, FAULT_META, FAULTS };

static void faults_on(enum fault f, long n)
{
    calls = 0;
    fail_at = n;
    fail_with = f == FAULT_DISK ? ENOSPC : EIO;
    disk = f == FAULT_DISK ? &faulty : &disk_real;
    mem_fault = f == FAULT_MEM ? mem_hit : NULL;
    meta_fault = f == FAULT_META ? meta_hit : NULL;
}

static bool faults_off(void)
{
    bool was = calls >= fail_at;

    disk = &disk_real;
    mem_fault = NULL;
    meta_fault = NULL;
    return was;
}

/* The same small history each time: inline and slotted files, a hole, a clone, a deletion, over a folded state. */
static void fixed_changes(unsigned salt)
{
    static uint8_t p[SLOT + 9000];

    for (uint32_t i = 0; i < sizeof p; i++)
        p[i] = (uint8_t)(i * 7 + i / 300 + salt);
    for (unsigned i = 0; i < 4; i++)
        if (!now[i].there)
            create(ws, i);
    write_at(ws, 0, 10, p, 1000);
    write_at(ws, 1, salt % 3 * UNIT, p, sizeof p);
    write_at(ws, 2, SLOT - 100, p + 50, 6000);
    set_size(ws, 2, SLOT + 2000);
    assert_int_equal(ws_unlink(ws, INO_ROOT, name_of(3)), 0);
    now[3].there = false;
}

static void a_fold_that_fails_anywhere_leaves_the_view_and_the_next_succeeds(void **state)
{
    static const long at_least[FAULTS] = { 6, 30, 3 };
    unsigned salt = 0;

    start_over();
    for (int f = 0; f < FAULTS; f++) {
        bool was_hit = true;
        long n, failed = 0;

        for (n = 1; was_hit; n++) {
            struct view *v;

            fixed_changes(salt++);
            view_unref(freeze(ws));
            memcpy(kept, now, sizeof now);
            fixed_changes(salt++);
            reopen();
            assert_int_equal(view_get(st, ws->rec.base, &v), 0);
            faults_on((enum fault)f, n);
            int r = fold_view(st, v);
            was_hit = faults_off();
            assert_true(r == 0 || was_hit);
            failed += r < 0;
            assert_view_same(v, kept);
            assert_same(ws, now);
            if (n % 4 == 0) {                             /* as after a crash at this point */
                view_unref(v);
                reopen();
                assert_int_equal(view_get(st, ws->rec.base, &v), 0);
                assert_view_same(v, kept);
            }
            assert_int_equal(fold_view(st, v), 0);
            assert_view_same(v, kept);
            assert_tree_canonical(v, kept);
            view_unref(v);
            reopen();
            assert_same(ws, now);
            assert_true(n < 3000);
        }
        assert_true(failed >= at_least[f]);
    }
}

/* --- the background --- */

static void background_threads_commit_and_fold(void **state)
{
    start_over();
    workspace_unref(ws);
    store_close(st);
    clock_src = sys_clock;
    open_store(true);
    assert_int_equal(workspace_open(st, ws_id, &ws), 0);
    create(ws, 0);
    write_at(ws, 0, 0, (const uint8_t *)"abc", 3);
    for (bool dirty = true; dirty; sched_yield()) {       /* ends when the interval has passed */
        pthread_mutex_lock(&ws->lock);
        dirty = ws->dirty_since_ns != 0;
        pthread_mutex_unlock(&ws->lock);
    }
    for (int i = 0; i < 20; i++) {
        struct view *v;

        write_at(ws, 0, (uint32_t)i * 1000, (const uint8_t *)"xyz", 3);
        v = freeze(ws);                                   /* waits for the fold when two are stacked */
        assert_true(view_depth(v) <= FROZEN_MAX);
        view_unref(v);
    }
    struct view *v = freeze(ws);
    while (view_depth(v))                                 /* ends when the thread has come to it */
        sched_yield();
    assert_view_same(v, now);
    view_unref(v);
    assert_same(ws, now);
}

static void a_live_layer_grown_large_is_frozen_without_a_snapshot(void **state)
{
    enum { VALUES = 1200, VALUE = 60000 };
    static uint8_t val[VALUE], got[VALUE];
    size_t n;

    start_over();
    workspace_unref(ws);
    store_close(st);
    clock_src = sys_clock;
    open_store(true);
    assert_int_equal(workspace_open(st, ws_id, &ws), 0);
    create(ws, 0);
    uint64_t live = ws->rec.live;
    for (uint32_t i = 0; i < VALUES; i++) {
        char name[32];
        snprintf(name, sizeof name, "user.%u", i);
        memcpy(val, &i, sizeof i);
        assert_int_equal(ws_setxattr(ws, ino_of[0], name, val, VALUE, 0, false), 0);
    }
    for (bool same = true; same; sched_yield()) {         /* ends when the thread has looked */
        pthread_mutex_lock(&ws->lock);
        same = ws->rec.live == live;
        pthread_mutex_unlock(&ws->lock);
    }
    for (uint32_t i = 0; i < VALUES; i++) {
        char name[32];
        snprintf(name, sizeof name, "user.%u", i);
        memcpy(val, &i, sizeof i);
        assert_int_equal(ws_getxattr(ws, ino_of[0], name, got, VALUE, &n), 0);
        assert_int_equal(n, VALUE);
        assert_memory_equal(got, val, VALUE);
    }
}

/* What cannot be read cannot be folded: the layer is kept, everything else stays readable, and after repair the fold goes through. */
static void damage_below_stops_the_fold_and_loses_nothing(void **state)
{
    static uint8_t p[SLOT];
    struct chunk_loc loc;
    struct segment *seg;
    struct addr a;

    start_over();
    create(ws, 0);
    create(ws, 1);
    memset(p, 'd', sizeof p);
    write_at(ws, 0, 0, p, sizeof p);
    folded_root(ws);
    struct view *v = freeze(ws);
    struct key k = key_extent(ino_of[0], 0);
    struct tree_val val = { 0 };
    assert_int_equal(tree_get(st->nodes, &v->rec.root, k.b, k.len, &val), 1);
    memcpy(a.b, val.p, ADDR_BYTES);
    tree_val_done(&val);
    view_unref(v);
    assert_int_equal(chunk_stat(st->chunks, &a, &loc), 0);
    write_at(ws, 0, 5 * UNIT, (const uint8_t *)"new", 3);
    write_at(ws, 1, 0, (const uint8_t *)"other", 5);
    reopen();
    assert_int_equal(segment_get(st->segments, loc.seg, false, &seg), 0);
    assert_int_equal(segment_write(seg, "X", 1, loc.off + 77), 0);
    v = freeze(ws);
    assert_int_equal(fold_view(st, v), -EIO);
    assert_int_equal(fold_view(st, v), -EIO);
    assert_int_equal(segment_write(seg, "d", 1, loc.off + 77), 0);
    segment_unref(seg);
    assert_view_same(v, now);
    assert_int_equal(fold_view(st, v), 0);
    assert_tree_canonical(v, now);
    assert_view_same(v, now);
    view_unref(v);
}

/* Each thread has a file of its own and knows what is in it; snapshots, folds and packing go on around it. */
enum { THREADS = 3 };
static _Atomic bool stop;

static void *user(void *arg)
{
    unsigned i = (unsigned)(uintptr_t)arg, mine = i * 977 + 1;
    struct model *m = &now[i];
    uint8_t *p = malloc(SIZE_MAX_ + 1);
    uintptr_t rounds = 0;

    for (; !stop || rounds < 50; rounds++) {
        uint32_t off = (uint32_t)rand_r(&mine) % SIZE_MAX_, n = 1 + (uint32_t)rand_r(&mine) % 70000;
        size_t got;

        n = n > SIZE_MAX_ - off ? SIZE_MAX_ - off : n;
        memset(p, (int)(rounds & 255), n);
        if (rounds % 17 == 0) {
            struct inode in = { .size = off };
            assert_int_equal(ws_setattr(ws, ino_of[i], WSA_SIZE, &in, &in), 0);
            if (off < m->size)
                memset(m->data + off, 0, m->size - off);
            m->size = off;
        } else {
            assert_int_equal(ws_write(ws, ino_of[i], off, p, n, false), 0);
            memcpy(m->data + off, p, n);
            m->size = off + n > m->size ? off + n : m->size;
        }
        assert_int_equal(ws_read(ws, ino_of[i], 0, SIZE_MAX_ + 1, p, &got), 0);
        assert_int_equal(got, m->size);
        assert_memory_equal(p, m->data, got);
    }
    free(p);
    return NULL;
}

static bool has_keys(void *arg, uint64_t seg)
{
    return layer_has_keys(arg, seg);
}

static void use_goes_on_while_everything_is_folded_and_packed(void **state)
{
    pthread_t t[THREADS];
    struct pack_stats ps;

    start_over();
    workspace_unref(ws);
    store_close(st);
    clock_src = sys_clock;
    open_store(true);
    assert_int_equal(workspace_open(st, ws_id, &ws), 0);
    for (unsigned i = 0; i < THREADS; i++)
        create(ws, i);
    stop = false;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, user, (void *)i), 0);
    for (int i = 0; i < 25; i++) {
        struct view *v = freeze(ws);

        if (i % 3 == 0)
            assert_int_equal(fold_view(st, v), 0);
        view_unref(v);
        pthread_mutex_lock(&st->fold_lock);
        assert_int_equal(chunk_pack(st->chunks, 1 << 20, has_keys, st, &ps), 0);
        pthread_mutex_unlock(&st->fold_lock);
    }
    stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_same(ws, now);
    reopen();
    assert_same(ws, now);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(folding_changes_nothing_that_can_be_read), T(moved_and_packed_content_stays_the_same),
        T(equal_content_gives_an_equal_root_whatever_its_history), T(a_file_written_in_one_go_becomes_chunks_where_it_lies),
        T(clones_that_overlap_do_not_take_each_others_place), T(an_open_file_without_a_name_outlives_the_fold),
        T(a_file_named_after_the_freeze_keeps_its_content), T(a_fold_that_fails_anywhere_leaves_the_view_and_the_next_succeeds),
        T(background_threads_commit_and_fold), T(use_goes_on_while_everything_is_folded_and_packed),
        T(a_live_layer_grown_large_is_frozen_without_a_snapshot), T(damage_below_stops_the_fold_and_loses_nothing),
    };

    sys_clock = clock_src;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
