/* The live tree through ws_*: content against a byte array over freezes and folds, names, links, attributes, reopening. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/io.h"
#include "fs/fold.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/workspace.h"
#include "fs/ws_internal.h"
#include "tests/lib/seed.h"
#include "tests/lib/tmp.h"
#include "tests/lib/ws_fixture.h"

static const struct ws_cred root_cred = { 0, 0, 022 };

static int setup(void **state)
{
    *state = fixture_new("ws");
    return 0;
}

static uint64_t create(struct fixture *f, uint64_t dir, const char *name, uint32_t mode)
{
    struct inode in;
    uint64_t ino;

    assert_int_equal(ws_create(f->w, dir, name, mode, 0, NULL, &root_cred, 0, true, &ino, &in), 0);
    return ino;
}

static void freeze_and_fold(struct fixture *f, bool fold)
{
    struct view *v;

    if (view_depth(f->w->view) >= FROZEN_MAX)
        assert_int_equal(fold_view(f->s, f->w->view), 0);
    assert_int_equal(workspace_freeze(f->w, NULL, &v, NULL), 0);
    if (fold)
        assert_int_equal(fold_view(f->s, v), 0);
    view_unref(v);
}

/* --- content --- */

enum { FILE_MAX = 600 * 1024, STEPS = 2500 };
static uint64_t rng_state;

static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(rng_state >> 33) % n;
}

struct shadow {
    uint64_t ino, size;
    uint8_t *bytes;
};

static uint32_t some_offset(void)
{
    uint32_t off = rnd(4) ? rnd(FILE_MAX) : rnd(5000);

    return rnd(3) ? off : off / 4096 * 4096;
}

static void shadow_grow(struct shadow *s, uint64_t end)
{
    if (end > s->size)
        s->size = end;
}

static void step_write(struct fixture *f, struct shadow *s)
{
    static uint8_t buf[FILE_MAX];
    uint32_t off = some_offset(), len = rnd(3) ? rnd(6000) : rnd(200000);

    if (off + len > FILE_MAX)
        len = FILE_MAX - off;
    for (uint32_t i = 0; i < len; i++)
        buf[i] = rnd(20) ? (uint8_t)rnd(256) : 0;
    assert_int_equal(ws_write(f->w, s->ino, off, buf, len, false), 0);
    memcpy(s->bytes + off, buf, len);
    if (len)
        shadow_grow(s, off + len);
}

static void step_truncate(struct fixture *f, struct shadow *s)
{
    struct inode in = { .size = rnd(3) ? some_offset() : rnd(3000) }, now;

    assert_int_equal(ws_setattr(f->w, s->ino, WSA_SIZE, &in, &now), 0);
    assert_int_equal(now.size, in.size);
    if (in.size < s->size)
        memset(s->bytes + in.size, 0, s->size - in.size);
    s->size = in.size;
}

static void step_punch(struct fixture *f, struct shadow *s)
{
    uint32_t off = some_offset(), len = 1 + rnd(150000);
    int mode = rnd(2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

    assert_int_equal(ws_fallocate(f->w, s->ino, mode, off, len, 0), 0);
    if (off < s->size)
        memset(s->bytes + off, 0, off + len < s->size ? len : s->size - off);
}

static void step_copy(struct fixture *f, struct shadow *a, struct shadow *b)
{
    uint32_t from = some_offset(), to = some_offset();
    uint64_t len = rnd(200000), did = 0;

    if (a == b && from < to + len && to < from + len)
        return;
    if (to + len > FILE_MAX)
        len = FILE_MAX - to;
    assert_int_equal(ws_copy(f->w, a->ino, from, b->ino, to, len, 0, &did), 0);
    assert_int_equal(did, from >= a->size ? 0 : a->size - from < len ? a->size - from : len);
    memmove(b->bytes + to, a->bytes + from, did);
    if (did)
        shadow_grow(b, to + did);
}

static void check_shadow(struct fixture *f, const struct shadow *s)
{
    static uint8_t buf[FILE_MAX + 10];
    struct inode in;
    size_t n;

    assert_int_equal(ws_getattr(f->w, s->ino, &in), 0);
    assert_int_equal(in.size, s->size);
    assert_int_equal(ws_read(f->w, s->ino, 0, sizeof buf, buf, &n), 0);
    assert_int_equal(n, s->size);
    for (size_t i = 0; i < n; i++)
        if (buf[i] != s->bytes[i])
            fail_msg("byte %zu of %zu is %02x, not %02x", i, n, buf[i], s->bytes[i]);
    uint64_t off = 0;
    for (uint64_t pos = 0; ws_lseek(f->w, s->ino, pos, SEEK_DATA, &off) == 0;) {
        for (uint64_t i = pos; i < off; i++)
            assert_int_equal(s->bytes[i], 0);
        assert_int_equal(ws_lseek(f->w, s->ino, off, SEEK_HOLE, &pos), 0);
        assert_true(pos > off);
    }
}

static void content_is_what_was_written_over_freezes_folds_and_reopening(void **state)
{
    struct fixture *f = *state;
    struct shadow files[3] = { 0 };

    rng_state = test_seed();
    print_message("seed %llu\n", (unsigned long long)rng_state);
    for (int i = 0; i < 3; i++) {
        char name[8] = { 'f', (char)('0' + i) };
        files[i].ino = create(f, INO_ROOT, name, S_IFREG | 0644);
        files[i].bytes = calloc(1, FILE_MAX + 1);
    }
    for (unsigned step = 0; step < STEPS; step++) {
        struct shadow *s = &files[rnd(3)];
        switch (rnd(12)) {
        case 0:
            step_truncate(f, s);
            break;
        case 1:
            step_punch(f, s);
            break;
        case 2:
            step_copy(f, s, &files[rnd(3)]);
            break;
        case 3:
            if (rnd(4) == 0)
                freeze_and_fold(f, rnd(2));
            break;
        case 4:
            if (rnd(10) == 0) {
                fixture_close(f);
                fixture_open(f);
            } else if (rnd(4) == 0) {
                assert_int_equal(workspace_commit(f->w), 0);
            }
            break;
        default:
            step_write(f, s);
        }
        if (step % 20 == 0)
            for (int i = 0; i < 3; i++)
                check_shadow(f, &files[i]);
    }
    freeze_and_fold(f, true);
    for (int i = 0; i < 3; i++) {
        check_shadow(f, &files[i]);
        free(files[i].bytes);
    }
}

static int count_problem(void *arg, const struct problem *p)
{
    print_message("fsck: %s: %s\n", p->where, p->what);
    ++*(int *)arg;
    return 0;
}

static void check_store(struct fixture *f)
{
    uint64_t checked;
    int problems = 0;

    assert_int_equal(verb_fsck(f->s, count_problem, &problems, &checked), 0);
    assert_int_equal(problems, 0);
}

static void links_keep_their_names_when_the_first_is_removed(void **state)
{
    struct fixture *f = *state;
    struct inode in;
    uint64_t ino, a = create(f, INO_ROOT, "a", S_IFREG | 0644), d = create(f, INO_ROOT, "d", S_IFDIR | 0755);

    assert_int_equal(ws_link(f->w, a, d, "b", &in), 0);
    assert_int_equal(ws_link(f->w, a, d, "c", &in), 0);
    assert_int_equal(in.nlink, 3);
    freeze_and_fold(f, true);
    assert_int_equal(ws_unlink(f->w, INO_ROOT, "a"), 0);
    assert_int_equal(ws_getattr(f->w, a, &in), 0);
    assert_int_equal(in.nlink, 2);
    assert_int_equal(in.parent, d);
    assert_int_equal(ws_rename(f->w, d, "c", INO_ROOT, "e", 0), 0);
    assert_int_equal(ws_unlink(f->w, d, "b"), 0);
    assert_int_equal(ws_lookup(f->w, INO_ROOT, "e", &ino, &in), 0);
    assert_int_equal(ino, a);
    assert_int_equal(in.nlink, 1);
    freeze_and_fold(f, true);
    check_store(f);
    assert_int_equal(ws_rmdir(f->w, INO_ROOT, "d"), 0);
    assert_int_equal(ws_unlink(f->w, INO_ROOT, "e"), 0);
    freeze_and_fold(f, true);
    check_store(f);
}

static void an_open_file_without_a_name_keeps_its_content_over_a_fold(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[300000], back[300000];
    struct inode in;
    size_t n;
    uint64_t ino = create(f, INO_ROOT, "gone", S_IFREG | 0644);

    memset(data, 'x', sizeof data);
    assert_int_equal(ws_write(f->w, ino, 0, data, sizeof data, false), 0);
    freeze_and_fold(f, false);
    assert_int_equal(ws_unlink(f->w, INO_ROOT, "gone"), 0);
    freeze_and_fold(f, true);
    freeze_and_fold(f, true);
    assert_int_equal(ws_read(f->w, ino, 0, sizeof back, back, &n), 0);
    assert_int_equal(n, sizeof back);
    assert_memory_equal(back, data, sizeof back);
    ws_forget(f->w, ino, 1);
    assert_int_equal(ws_getattr(f->w, ino, &in), -ENOENT);
    freeze_and_fold(f, true);
    check_store(f);
}

static void names_with_one_hash_live_side_by_side(void **state)
{
    struct fixture *f = *state;
    struct dirent_at at;
    uint64_t first = name_cookie("n", 1);

    /* No two names with equal 47 bits are at hand: the second is put with the next cookie, as dirent_free_cookie would give it. */
    uint64_t ino = create(f, INO_ROOT, "n", S_IFREG | 0644), cookie;
    ws_lock(f->w);
    assert_int_equal(dirent_find(f->w, INO_ROOT, "n", 1, &at), 0);
    assert_int_equal(at.ino, ino);
    assert_int_equal(at.cookie, first);
    assert_int_equal(dirent_free_cookie(f->w, INO_ROOT, "n", 1, &cookie), 0);
    assert_int_equal(cookie, first + 1);
    ws_unlock(f->w);
}

static void errors_are_those_of_the_system_calls(void **state)
{
    struct fixture *f = *state;
    uint64_t ino, d = create(f, INO_ROOT, "d", S_IFDIR | 0755), a = create(f, INO_ROOT, "a", S_IFREG | 0644);
    struct inode in;
    char name[300];
    uint8_t b[8];
    size_t n;

    memset(name, 'n', sizeof name);
    name[256] = '\0';
    assert_int_equal(ws_create(f->w, INO_ROOT, name, S_IFREG, 0, NULL, &root_cred, 0, false, &ino, &in), -ENAMETOOLONG);
    name[255] = '\0';
    assert_int_equal(ws_create(f->w, INO_ROOT, name, S_IFREG, 0, NULL, &root_cred, 0, false, &ino, &in), 0);
    assert_int_equal(ws_create(f->w, INO_ROOT, "a", S_IFREG, 0, NULL, &root_cred, 0, false, &ino, &in), -EEXIST);
    assert_int_equal(ws_create(f->w, a, "x", S_IFREG, 0, NULL, &root_cred, 0, false, &ino, &in), -ENOTDIR);
    assert_int_equal(ws_unlink(f->w, INO_ROOT, "d"), -EISDIR);
    assert_int_equal(ws_rmdir(f->w, INO_ROOT, "a"), -ENOTDIR);
    assert_int_equal(ws_unlink(f->w, INO_ROOT, "none"), -ENOENT);
    create(f, d, "x", S_IFREG | 0600);
    assert_int_equal(ws_rmdir(f->w, INO_ROOT, "d"), -ENOTEMPTY);
    assert_int_equal(ws_link(f->w, d, INO_ROOT, "dd", &in), -EPERM);
    assert_int_equal(ws_rename(f->w, INO_ROOT, "a", INO_ROOT, "d", 0), -EISDIR);
    assert_int_equal(ws_rename(f->w, INO_ROOT, "d", INO_ROOT, "a", 0), -ENOTDIR);
    assert_int_equal(ws_rename(f->w, INO_ROOT, "d", d, "inside", 0), -EINVAL);
    assert_int_equal(ws_rename(f->w, INO_ROOT, "a", INO_ROOT, "d", RENAME_NOREPLACE), -EEXIST);
    assert_int_equal(ws_rename(f->w, INO_ROOT, "a", INO_ROOT, "new", RENAME_EXCHANGE), -ENOENT);
    assert_int_equal(ws_rename(f->w, INO_ROOT, "a", INO_ROOT, "d", RENAME_EXCHANGE), 0);
    assert_int_equal(ws_getxattr(f->w, a, "user.k", b, sizeof b, &n), -ENODATA);
    assert_int_equal(ws_getxattr(f->w, a, "odd.k", b, sizeof b, &n), -EOPNOTSUPP);
    assert_int_equal(ws_setxattr(f->w, a, "user.k", (const uint8_t *)"v", 1, XATTR_REPLACE, false), -ENODATA);
    assert_int_equal(ws_setxattr(f->w, a, "user.k", (const uint8_t *)"value", 5, 0, false), 0);
    assert_int_equal(ws_setxattr(f->w, a, "user.k", (const uint8_t *)"v", 1, XATTR_CREATE, false), -EEXIST);
    assert_int_equal(ws_getxattr(f->w, a, "user.k", b, 2, &n), -ERANGE);
    assert_int_equal(ws_write(f->w, a, FILE_SIZE_MAX - 3, b, 8, false), -EFBIG);
    freeze_and_fold(f, true);
    check_store(f);
}

static void a_quota_is_kept(void **state)
{
    struct fixture *f = *state;
    struct ws_rec rec;
    struct workspace *q;
    static uint8_t data[1 << 20];
    struct inode in;
    uint64_t ino;

    assert_int_equal(verb_create(f->s, &(struct create_args){ .name = "q", .kind = WS_BARE, .quota_bytes = (2 << 20) + UNIT /* names */, .quota_inodes = 3 }, &rec), 0);
    assert_int_equal(workspace_open(f->s, rec.id, &q), 0);
    assert_int_equal(ws_create(q, INO_ROOT, "a", S_IFREG, 0, NULL, &root_cred, 0, true, &ino, &in), 0);
    memset(data, 1, sizeof data);
    assert_int_equal(ws_write(q, ino, 0, data, sizeof data, false), 0);
    assert_int_equal(ws_write(q, ino, sizeof data, data, sizeof data, false), 0);
    assert_int_equal(ws_write(q, ino, 2 * sizeof data, data, sizeof data, false), -EDQUOT);
    assert_int_equal(ws_write(q, ino, 0, data, sizeof data, false), 0);
    assert_int_equal(ws_create(q, INO_ROOT, "b", S_IFREG, 0, NULL, &root_cred, 0, true, &ino, &in), 0);
    assert_int_equal(ws_create(q, INO_ROOT, "c", S_IFREG, 0, NULL, &root_cred, 0, true, &ino, &in), -EDQUOT);
    assert_int_equal(ws_unlink(q, INO_ROOT, "a"), 0);
    workspace_unref(q);
}

/* --- a disk that does something of its own --- */

static struct disk_ops odd_disk;
static struct workspace *commit_in_write;
static unsigned syncs, writes_until_error;

static int counting_fdatasync(int fd)
{
    syncs++;
    return disk_real.fdatasync(fd);
}

static ssize_t odd_pwritev(int fd, const struct iovec *iov, int count, off_t off)
{
    struct workspace *w = commit_in_write;

    commit_in_write = NULL;
    if (w)
        assert_int_equal(workspace_commit(w), 0);
    if (writes_until_error && --writes_until_error == 0)
        return -ENOSPC;
    return disk_real.pwritev(fd, iov, count, off);
}

static void odd_disk_begin(void)
{
    odd_disk = disk_real;
    odd_disk.fdatasync = counting_fdatasync;
    odd_disk.pwritev = odd_pwritev;
    syncs = writes_until_error = 0;
    disk = &odd_disk;
}

static void odd_disk_end(void)
{
    disk = &disk_real;
}

/* The keys of a write come after its bytes: the commit that takes the keys must sync the bytes, also if another has synced the segment between. */
static void bytes_written_beside_a_commit_are_synced_by_the_next(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[100000];
    uint64_t ino = create(f, INO_ROOT, "a", S_IFREG | 0644);

    memset(data, 7, sizeof data);
    assert_int_equal(ws_write(f->w, ino, 0, data, 50000, false), 0);
    odd_disk_begin();
    commit_in_write = f->w;
    assert_int_equal(ws_write(f->w, ino, 200000, data, sizeof data, false), 0);
    assert_null(commit_in_write);
    syncs = 0;
    assert_int_equal(ws_fsync(f->w, ino, false), 0);
    assert_true(syncs > 0);
    odd_disk_end();
}

/* The first unit is moved, the last one is not for want of space: what the slot says is still its own. */
static void a_hole_that_is_punched_in_part_only_leaves_no_unit_to_others(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[SLOT], other[SLOT], back[SLOT];
    uint64_t a = create(f, INO_ROOT, "a", S_IFREG | 0644), b = create(f, INO_ROOT, "b", S_IFREG | 0644);
    size_t n;

    memset(data, 'a', sizeof data);
    memset(other, 'b', sizeof other);
    assert_int_equal(ws_write(f->w, a, 0, data, sizeof data, false), 0);
    assert_int_equal(workspace_commit(f->w), 0);
    odd_disk_begin();
    writes_until_error = 2;
    assert_int_equal(ws_fallocate(f->w, a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 9000, 0), -ENOSPC);
    odd_disk_end();
    assert_int_equal(workspace_commit(f->w), 0);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(ws_write(f->w, b, (uint64_t)i * SLOT, other, 4096, false), 0);
    assert_int_equal(ws_read(f->w, a, 0, sizeof back, back, &n), 0);
    assert_int_equal(n, sizeof back);
    for (size_t i = 0; i < n; i++)
        assert_true(back[i] == 'a' || (back[i] == 0 && i >= 100 && i < 9100));
}

static void what_a_failed_append_has_written_does_not_come_up(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[60000], back[60000];
    uint64_t ino = create(f, INO_ROOT, "a", S_IFREG | 0644);
    struct inode in, longer = { .size = 50000 };
    size_t n;

    memset(data, 7, sizeof data);
    assert_int_equal(ws_write(f->w, ino, 0, data, 5000, false), 0);
    odd_disk_begin();
    writes_until_error = 2;               /* the bytes of the last unit go in place, those behind it to new space */
    assert_int_equal(ws_write(f->w, ino, 5000, data, 40000, false), -ENOSPC);
    odd_disk_end();
    assert_int_equal(ws_setattr(f->w, ino, WSA_SIZE, &longer, &in), 0);
    assert_int_equal(ws_read(f->w, ino, 0, sizeof back, back, &n), 0);
    assert_int_equal(n, 50000);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(back[i], i < 5000 ? 7 : 0);
}

static void units_are_counted_right_over_a_body_that_was_cut_away(void **state)
{
    struct fixture *f = *state;
    uint64_t ino = create(f, INO_ROOT, "a", S_IFREG | 0644);
    struct inode in, cut = { .size = 0 };

    assert_int_equal(ws_write(f->w, ino, 0, (const uint8_t *)"body", 4, false), 0);
    freeze_and_fold(f, true);
    assert_int_equal(ws_setattr(f->w, ino, WSA_SIZE, &cut, &in), 0);
    assert_int_equal(in.units, 0);
    assert_int_equal(ws_write(f->w, ino, 8192, (const uint8_t *)"far", 3, false), 0);
    assert_int_equal(ws_write(f->w, ino, 0, (const uint8_t *)"near", 4, false), 0);
    assert_int_equal(ws_getattr(f->w, ino, &in), 0);
    assert_int_equal(in.units, 2);
}

static void an_attribute_may_be_empty(void **state)
{
    struct fixture *f = *state;
    uint64_t ino = create(f, INO_ROOT, "a", S_IFREG | 0644);
    uint8_t b[8];
    size_t n = 9;

    assert_int_equal(ws_setxattr(f->w, ino, "user.k", NULL, 0, 0, false), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ws_getxattr(f->w, ino, "user.k", b, sizeof b, &n), 0);
        assert_int_equal(n, 0);
        freeze_and_fold(f, true);
    }
    check_store(f);
}

static void small_files_and_shared_units_count_for_the_quota(void **state)
{
    struct fixture *f = *state;
    struct ws_rec rec;
    struct workspace *q;
    static uint8_t data[1 << 20];
    struct inode in;
    uint64_t a, b, c, done;

    assert_int_equal(verb_create(f->s, &(struct create_args){ .name = "q2", .kind = WS_BARE, .quota_bytes = (2 << 20) + UNIT /* names */ }, &rec), 0);
    assert_int_equal(workspace_open(f->s, rec.id, &q), 0);
    assert_int_equal(ws_create(q, INO_ROOT, "a", S_IFREG, 0, NULL, &root_cred, 0, true, &a, &in), 0);
    assert_int_equal(ws_create(q, INO_ROOT, "b", S_IFREG, 0, NULL, &root_cred, 0, true, &b, &in), 0);
    assert_int_equal(ws_create(q, INO_ROOT, "c", S_IFREG, 0, NULL, &root_cred, 0, true, &c, &in), 0);
    memset(data, 1, sizeof data);
    assert_int_equal(ws_write(q, a, 0, data, sizeof data, false), 0);
    assert_int_equal(ws_copy(q, a, 0, b, 0, sizeof data, 0, &done), 0);
    assert_int_equal(done, sizeof data);
    assert_int_equal(ws_copy(q, a, 0, c, 0, sizeof data, 0, &done), -EDQUOT);
    assert_int_equal(ws_write(q, c, 0, data, 10, false), -EDQUOT);
    assert_int_equal(ws_getattr(q, c, &in), 0);
    assert_int_equal(in.size, 0);
    assert_int_equal(ws_copy(q, a, 0, b, 0, sizeof data, 0, &done), 0);      /* over what is there */
    assert_int_equal(done, sizeof data);
    struct view *v;
    assert_int_equal(workspace_freeze(q, NULL, &v, NULL), 0);
    view_unref(v);
    assert_int_equal(ws_write(q, a, 0, data, sizeof data, false), 0);
    workspace_unref(q);
}

struct writer {
    struct workspace *w;
    uint64_t ino;
    _Atomic bool stop;
};

static void *write_slots_on_and_on(void *arg)
{
    static uint8_t slot[SLOT];
    struct writer *wr = arg;

    for (uint64_t i = 0; !wr->stop; i++) {
        slot[0] = (uint8_t)i;
        if (ws_write(wr->w, wr->ino, i % 64 * SLOT, slot, sizeof slot, false) < 0)
            return wr;
    }
    return NULL;
}

/* A writer in the gate must not wait for the freeze that waits for the gate. */
static void a_layer_at_its_hard_limit_is_frozen_beside_a_busy_writer(void **state)
{
    enum { VALUES = LAYER_HARD_BYTES / 60000 + 200 };
    struct store_options o = { .node_cache_bytes = 8 << 20, .chunk_cache_bytes = 8 << 20, .commit_interval_ms = 100 };
    struct fixture *f = *state;
    struct writer wr;
    static uint8_t val[60000];
    pthread_t t;
    void *failed;

    fixture_close(f);
    assert_int_equal(store_open(f->dir, &o, &f->s), 0);
    assert_int_equal(workspace_open(f->s, f->id, &f->w), 0);
    uint64_t a = create(f, INO_ROOT, "a", S_IFREG | 0644);
    wr = (struct writer){ .w = f->w, .ino = create(f, INO_ROOT, "b", S_IFREG | 0644) };
    assert_int_equal(pthread_create(&t, NULL, write_slots_on_and_on, &wr), 0);
    for (unsigned i = 0; i < VALUES; i++) {
        char name[32];
        snprintf(name, sizeof name, "user.%u", i);
        assert_int_equal(ws_setxattr(f->w, a, name, val, sizeof val, 0, false), 0);
    }
    wr.stop = true;
    pthread_join(t, &failed);
    assert_null(failed);
    assert_true(map_bytes(f->w->live->map) < LAYER_HARD_BYTES + (64 << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_layer_at_its_hard_limit_is_frozen_beside_a_busy_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(content_is_what_was_written_over_freezes_folds_and_reopening, setup, teardown),
        cmocka_unit_test_setup_teardown(links_keep_their_names_when_the_first_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_open_file_without_a_name_keeps_its_content_over_a_fold, setup, teardown),
        cmocka_unit_test_setup_teardown(names_with_one_hash_live_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_are_those_of_the_system_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(a_quota_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(small_files_and_shared_units_count_for_the_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_written_beside_a_commit_are_synced_by_the_next, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hole_that_is_punched_in_part_only_leaves_no_unit_to_others, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_failed_append_has_written_does_not_come_up, setup, teardown),
        cmocka_unit_test_setup_teardown(units_are_counted_right_over_a_body_that_was_cut_away, setup, teardown),
        cmocka_unit_test_setup_teardown(an_attribute_may_be_empty, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
