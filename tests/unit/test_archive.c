/* The portable archive: complete, delta, damaged, forged. */
#include <openssl/evp.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/io.h"
#include "fs/archive.h"
#include "fs/chunk.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "tests/lib/stream.h"

static struct test_store a, b;

static int setup(void **state)
{
    test_store_open(&a);
    test_store_open(&b);
    return 0;
}

static int teardown(void **state)
{
    test_store_close(&a);
    test_store_close(&b);
    return 0;
}

static int count_one(void *arg, const struct ws_rec *r)
{
    ++*(int *)arg;
    return 0;
}

static int count_snap(void *arg, const struct snap_rec *r)
{
    ++*(int *)arg;
    return 0;
}

static void assert_nothing(struct store *s)
{
    int n = 0;

    assert_int_equal(ws_rec_each(s->meta, count_one, &n), 0);
    assert_int_equal(snap_rec_each(s->meta, count_snap, &n), 0);
    assert_int_equal(n, 0);
}

static void export_to(struct store *s, struct view *v, const struct snap_rec *rec, struct view *since, struct buf *out)
{
    int fd = test_memfd();

    assert_int_equal(archive_export(s, v, rec, since, fd, NULL, NULL), 0);
    test_slurp(fd, out);
}

static int import_from(struct store *s, const struct buf *in, const char *name, struct ws_rec *w, struct snap_rec *sn, char err[256])
{
    int fd = test_memfd();

    assert_int_equal(io_write_full(fd, in->data, in->len), 0);
    lseek(fd, 0, SEEK_SET);
    int r = archive_import(s, fd, name, w, sn, err, 256, NULL, NULL);
    close(fd);
    return r;
}

static struct view *sample(struct store *s, const char *name, unsigned seed, struct snap_rec *rec)
{
    struct buf in = BUF_INIT;

    put_sample(&in, seed);
    struct view *v = test_import(s, name, "", &in, rec);
    buf_fini(&in);
    return v;
}

static void assert_same_tree(struct store *s1, struct view *v1, struct store *s2, struct view *v2)
{
    struct buf x = BUF_INIT, y = BUF_INIT;
    struct addr r1, r2;

    assert_int_equal(view_fold_now(s1, v1, &r1), 0);
    assert_int_equal(view_fold_now(s2, v2, &r2), 0);
    assert_memory_equal(&r1, &r2, sizeof(r1));
    test_export(s1, v1, "", &x);
    test_export(s2, v2, "", &y);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    buf_fini(&x);
    buf_fini(&y);
}

static int no_problem(void *arg, const struct problem *p)
{
    print_error("fsck: %s: %s\n", p->where, p->what);
    return -1;
}

static void a_complete_archive_gives_the_same_tree_in_another_store(void **state)
{
    struct snap_rec rec, got;
    struct ws_rec w;
    struct buf ar = BUF_INIT;
    struct view *v = sample(a.s, "w", 1, &rec), *v2;
    uint64_t checked;
    char err[256];

    strcpy(rec.message, "a message");
    rec.created = 12345;
    rec.labels.count = 1;
    strcpy(rec.labels.l[0].key, "k");
    strcpy(rec.labels.l[0].val, "v");
    export_to(a.s, v, &rec, NULL, &ar);
    assert_true(archive_is(ar.data, ar.len));
    assert_false(archive_is(ar.data, 7));
    int r = import_from(b.s, &ar, "copy", &w, &got, err);
    if (r)
        print_error("%s\n", err);
    assert_int_equal(r, 0);
    assert_string_equal(got.name, "s");
    assert_string_equal(got.message, "a message");
    assert_string_equal(got.labels.l[0].val, "v");
    assert_int_equal(got.created, 12345);
    assert_int_equal(got.cause, SNAP_IMPORT);
    assert_int_equal(got.kind, WS_BARE);
    assert_string_equal(w.name, "copy");
    assert_string_equal(w.parent_snap, got.id);
    assert_int_equal(view_get(b.s, got.base, &v2), 0);
    assert_same_tree(a.s, v, b.s, v2);
    assert_int_equal(verb_fsck(b.s, no_problem, NULL, &checked), 0);
    /* The workspace works. */
    struct workspace *ws;
    struct ws_cred cred = { 0, 0, 022 };
    struct inode in;
    uint64_t ino;
    assert_int_equal(workspace_open(b.s, w.id, &ws), 0);
    assert_int_equal(ws_create(ws, INO_ROOT, "new", S_IFREG | 0644, 0, NULL, &cred, 0, false, &ino, &in), 0);
    assert_true(ino >= 2 && ino < INO_IMPORT);
    assert_int_equal(ws_write(ws, ino, 0, (const uint8_t *)"x", 1, false), 0);
    workspace_unref(ws);
    /* Exported again, the archive is the same. */
    struct buf again = BUF_INIT;
    got.created = rec.created;
    strcpy(got.name, rec.name);
    export_to(b.s, v2, &got, NULL, &again);
    assert_int_equal(again.len, ar.len);
    assert_memory_equal(again.data, ar.data, ar.len);
    view_unref(v);
    view_unref(v2);
    buf_fini(&ar);
    buf_fini(&again);
}

/* Changes a sample: one file rewritten in its middle, one removed, one made. */
static struct view *change(struct store *s, const char *ws_id, struct snap_rec *rec)
{
    struct workspace *w;
    struct ws_cred cred = { 0, 0, 022 };
    struct inode in;
    uint64_t ino, parent;

    assert_int_equal(workspace_open(s, ws_id, &w), 0);
    assert_int_equal(ws_path(w, "a/b/big", &ino, &in), 0);
    assert_int_equal(ws_write(w, ino, 300000, (const uint8_t *)"changed", 7, false), 0);
    assert_int_equal(ws_path(w, "d", &parent, &in), 0);
    assert_int_equal(ws_unlink(w, parent, "one"), 0);
    assert_int_equal(ws_create(w, parent, "made", S_IFREG | 0600, 0, NULL, &cred, 0, false, &ino, &in), 0);
    assert_int_equal(ws_write(w, ino, 0, (const uint8_t *)"made", 4, false), 0);
    struct view *v = test_snapshot(s, w, "s2", rec);
    workspace_unref(w);
    return v;
}

static void a_delta_needs_its_base_and_is_small(void **state)
{
    struct snap_rec rec, rec2, got;
    struct ws_rec w;
    struct buf ar = BUF_INIT, delta = BUF_INIT;
    struct view *v = sample(a.s, "w", 1, &rec), *v2 = change(a.s, rec.ws_id, &rec2), *back;
    char err[256];
    uint64_t checked;

    export_to(a.s, v, &rec, NULL, &ar);
    export_to(a.s, v2, &rec2, v, &delta);
    assert_true(delta.len < ar.len / 3);
    assert_int_equal(import_from(b.s, &delta, "early", &w, &got, err), -ESTALE);
    assert_non_null(strstr(err, "not in this store"));
    assert_nothing(b.s);
    assert_int_equal(import_from(b.s, &ar, "base", &w, &got, err), 0);
    char base[ID_MAX];
    strcpy(base, got.id);
    int r = import_from(b.s, &delta, "next", &w, &got, err);
    if (r)
        print_error("%s\n", err);
    assert_int_equal(r, 0);
    assert_string_equal(got.parent, base);
    assert_int_equal(view_get(b.s, got.base, &back), 0);
    assert_same_tree(a.s, v2, b.s, back);
    view_unref(back);
    assert_int_equal(verb_fsck(b.s, no_problem, NULL, &checked), 0);
    /* Nothing changed: an empty delta. */
    export_to(a.s, v, &rec, v, &delta);
    assert_true(delta.len < 512);
    assert_int_equal(import_from(b.s, &delta, "same", &w, &got, err), 0);
    view_unref(v);
    view_unref(v2);
    buf_fini(&ar);
    buf_fini(&delta);
}

static void a_delta_finds_a_base_that_is_not_folded_yet(void **state)
{
    struct snap_rec rec, rec2, got;
    struct ws_rec w;
    struct buf delta = BUF_INIT;
    struct view *v = sample(a.s, "w", 1, &rec), *v2 = change(a.s, rec.ws_id, &rec2), *v3 = sample(b.s, "w", 1, &got);
    char err[256];

    export_to(a.s, v2, &rec2, v, &delta);
    assert_int_equal(import_from(b.s, &delta, "next", &w, &got, err), 0);
    view_unref(v);
    view_unref(v2);
    view_unref(v3);
    buf_fini(&delta);
}

static void names_and_versions_are_checked_first(void **state)
{
    struct snap_rec rec, got;
    struct ws_rec w;
    struct buf ar = BUF_INIT;
    struct view *v = sample(a.s, "w", 1, &rec);
    char err[256];

    export_to(a.s, v, &rec, NULL, &ar);
    assert_int_equal(import_from(a.s, &ar, "w", &w, &got, err), -EEXIST);
    assert_int_equal(import_from(a.s, &ar, "../w", &w, &got, err), -EINVAL);
    ar.data[8] = 2;
    assert_int_equal(import_from(b.s, &ar, "x", &w, &got, err), -EPROTONOSUPPORT);
    ar.data[0] = 'c';
    assert_int_equal(import_from(b.s, &ar, "x", &w, &got, err), -EUCLEAN);
    ar.len = 0;
    assert_int_equal(import_from(b.s, &ar, "x", &w, &got, err), -EUCLEAN);
    assert_nothing(b.s);
    view_unref(v);
    buf_fini(&ar);
}

/* A tree small enough to try every byte of its archive. */
static struct view *small(struct store *s, struct snap_rec *rec)
{
    struct buf in = BUF_INIT;
    uint8_t content[5000];

    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i % 7 + 1);
    put_dir(&in, "", 1);
    put_file(&in, "big", content, sizeof(content), 2);
    put_dir(&in, "d", 2);
    put_symlink(&in, "d/l", "big", 2);
    put_file(&in, "tiny", "tiny", 4, 2);
    import_put_xattr(&in, "user.x", "y", 1);
    import_put_link(&in, "two", "tiny");
    import_put_end(&in, 6);
    struct view *v = test_import(s, "small", "", &in, rec);
    buf_fini(&in);
    return v;
}

static void resign(struct buf *ar)
{
    assert_int_equal(EVP_Digest(ar->data, ar->len - ARCHIVE_SHA, ar->data + ar->len - ARCHIVE_SHA, NULL, EVP_sha256(), NULL), 1);
}

static void every_flipped_byte_is_refused(void **state)
{
    struct snap_rec rec, got;
    struct ws_rec w;
    struct buf ar = BUF_INIT;
    struct view *v = small(a.s, &rec);
    char err[256];

    export_to(a.s, v, &rec, NULL, &ar);
    for (size_t i = 0; i < ar.len; i++) {
        ar.data[i] ^= 1u << i % 8;
        int r = import_from(b.s, &ar, "x", &w, &got, err);
        assert_true(r == -EUCLEAN || r == -EPROTONOSUPPORT);
        assert_true(*err);
        ar.data[i] ^= 1u << i % 8;
    }
    assert_nothing(b.s);
    view_unref(v);
    buf_fini(&ar);
}

static void a_forged_archive_is_refused_or_gives_a_sound_tree(void **state)
{
    struct snap_rec rec, got;
    struct ws_rec w;
    struct buf ar = BUF_INIT;
    struct view *v = small(a.s, &rec), *back;
    char err[256], name[32];
    unsigned taken = 0;
    uint64_t checked;

    export_to(a.s, v, &rec, NULL, &ar);
    size_t header = 16 + le32(ar.data + 12), end = ar.len - ARCHIVE_SHA;
    for (size_t i = 0; i < end; i++) {
        ar.data[i] ^= 1u << i % 8;
        resign(&ar);
        snprintf(name, sizeof(name), "x%zu", i);
        int r = import_from(b.s, &ar, name, &w, &got, err);
        if (r == 0) {
            /* Only words of the header (time, name, counters), or the mark of END, may differ: the tree is the one named. */
            assert_true(i < header || i == end - 1);
            assert_int_equal(view_get(b.s, got.base, &back), 0);
            assert_same_tree(a.s, v, b.s, back);
            view_unref(back);
            taken++;
        } else {
            assert_true(r == -EUCLEAN || r == -EPROTONOSUPPORT || r == -ESTALE);
        }
        ar.data[i] ^= 1u << i % 8;
    }
    assert_true(taken > 0);
    /* With the mark that forgives another root, the checks of the tree stand alone. */
    ar.data[end - 1] = ARCHIVE_DISC;
    for (size_t i = header; i < end - 1; i++) {
        ar.data[i] ^= 1u << i % 8;
        resign(&ar);
        snprintf(name, sizeof(name), "y%zu", i);
        int r = import_from(b.s, &ar, name, &w, &got, err);
        if (r == 0)
            taken++;
        else
            assert_int_equal(r, -EUCLEAN);
        ar.data[i] ^= 1u << i % 8;
    }
    assert_int_equal(verb_fsck(b.s, no_problem, NULL, &checked), 0);
    view_unref(v);
    buf_fini(&ar);
}

static void every_truncation_is_refused(void **state)
{
    struct snap_rec rec, got;
    struct ws_rec w;
    struct buf ar = BUF_INIT;
    struct view *v = small(a.s, &rec);
    char err[256];

    export_to(a.s, v, &rec, NULL, &ar);
    size_t n = ar.len;
    for (ar.len = 0; ar.len < n; ar.len++) {
        assert_int_equal(import_from(b.s, &ar, "x", &w, &got, err), -EUCLEAN);
        if (ar.len > 80) {
            /* Cut and signed anew: the records end too early. */
            struct buf cut = { mem_dup(ar.data, ar.len), ar.len, ar.len, 0 };
            resign(&cut);
            assert_int_equal(import_from(b.s, &cut, "x", &w, &got, err), -EUCLEAN);
            buf_fini(&cut);
        }
    }
    buf_put(&ar, "", 1);
    assert_int_equal(import_from(b.s, &ar, "x", &w, &got, err), -EUCLEAN);
    assert_nothing(b.s);
    view_unref(v);
    buf_fini(&ar);
}

/* Archives put together by hand. */
static void forge_header(struct buf *ar, uint32_t flags)
{
    struct buf h = BUF_INIT;
    static const struct addr none;

    buf_put_u32(&h, flags);
    buf_put(&h, none.b, ADDR_BYTES);
    buf_put(&h, none.b, ADDR_BYTES);
    for (int i = 0; i < 3; i++)
        buf_put_u64(&h, 2);
    buf_put_u8(&h, WS_BARE);
    buf_put_u64(&h, 1);
    buf_put_str(&h, "");
    buf_put_str(&h, "");
    buf_put_u32(&h, 0);
    buf_clear(ar);
    buf_put(ar, ARCHIVE_MAGIC, ARCHIVE_MAGIC_BYTES);
    buf_put_u32(ar, ARCHIVE_VERSION);
    buf_put_u32(ar, (uint32_t)h.len);
    buf_put(ar, h.data, h.len);
    buf_fini(&h);
}

static void forge_end(struct buf *ar, uint64_t records)
{
    buf_put_u8(ar, 'E');
    buf_put_u64(ar, records);
    buf_put_u8(ar, ARCHIVE_DISC);
    buf_extend(ar, ARCHIVE_SHA);
    resign(ar);
}

static void forge_put(struct buf *ar, const struct key *k, const void *v, uint32_t n)
{
    buf_put_u8(ar, 'P');
    buf_put_u16(ar, k->len);
    buf_put(ar, k->b, k->len);
    buf_put_u32(ar, n);
    buf_put(ar, v, n);
}

static void forge_chunk(struct buf *ar, const uint8_t *p, uint32_t n, uint32_t raw_len, uint8_t codec)
{
    uint8_t sha[64];

    EVP_Digest(p, n, sha, NULL, EVP_sha256(), NULL);
    buf_put_u8(ar, 'C');
    buf_put(ar, sha, ARCHIVE_SHA);
    buf_put_u32(ar, raw_len);
    buf_put_u8(ar, codec);
    buf_put_u32(ar, n);
    buf_put(ar, p, n);
}

static void expect(const struct buf *ar, int want, const char *text)
{
    struct snap_rec got;
    struct ws_rec w;
    char err[256];
    int r = import_from(b.s, ar, "forged", &w, &got, err);

    if (r != want || !strstr(err, text))
        print_error("%d %s (wanted %s)\n", r, err, text);
    assert_int_equal(r, want);
    assert_non_null(strstr(err, text));
}

static void forged_records_are_refused_each_for_its_reason(void **state)
{
    struct buf ar = BUF_INIT;
    uint8_t rec[INODE_BYTES], extent[ARCHIVE_EXTENT_BYTES] = { 1 };
    struct inode root = test_inode(S_IFDIR | 0755, 0, 1);
    struct key k1 = key_simple(1, KEY_INODE), k2 = key_simple(2, KEY_INODE), ke = key_extent(1, 0), bad = key_simple(0, KEY_INODE);

    root.nlink = 2;
    root.parent = 1;
    inode_encode(&root, rec);
    forge_header(&ar, 0);
    forge_end(&ar, 0);
    expect(&ar, -EUCLEAN, "");                                      /* an empty tree has no root */
    forge_header(&ar, 0);
    forge_put(&ar, &bad, rec, sizeof(rec));
    forge_end(&ar, 1);
    expect(&ar, -EUCLEAN, "key");
    forge_header(&ar, 0);
    forge_put(&ar, &k2, rec, sizeof(rec));
    forge_put(&ar, &k1, rec, sizeof(rec));
    forge_end(&ar, 2);
    expect(&ar, -EUCLEAN, "order");
    forge_header(&ar, 0);
    forge_put(&ar, &k1, rec, sizeof(rec));
    forge_put(&ar, &k1, rec, sizeof(rec));
    forge_end(&ar, 2);
    expect(&ar, -EUCLEAN, "order");
    forge_header(&ar, 0);
    forge_put(&ar, &k1, rec, sizeof(rec) - 1);
    forge_end(&ar, 1);
    expect(&ar, -EUCLEAN, "value");
    forge_header(&ar, 0);
    forge_put(&ar, &k1, rec, sizeof(rec));
    forge_end(&ar, 2);
    expect(&ar, -EUCLEAN, "end");
    forge_header(&ar, 0);
    forge_put(&ar, &k1, rec, sizeof(rec));
    forge_put(&ar, &ke, extent, sizeof(extent));
    forge_end(&ar, 2);
    expect(&ar, -EUCLEAN, "not there");
    forge_header(&ar, 0);
    forge_put(&ar, &k1, rec, sizeof(rec));
    forge_chunk(&ar, (const uint8_t *)"chunk", 5, 5, CODEC_RAW);
    forge_end(&ar, 2);
    expect(&ar, -EUCLEAN, "end");                                   /* a chunk nobody names */
    forge_header(&ar, 0);
    forge_chunk(&ar, (const uint8_t *)"chunk", 5, 5, CODEC_RAW);
    forge_put(&ar, &k1, rec, sizeof(rec));
    forge_end(&ar, 2);
    expect(&ar, -EUCLEAN, "named next");
    forge_header(&ar, 0);
    forge_chunk(&ar, (const uint8_t *)"chun\0", 5, 5, CODEC_RAW);
    forge_end(&ar, 1);
    expect(&ar, -EUCLEAN, "content");                               /* zero at its end */
    forge_header(&ar, 0);
    forge_chunk(&ar, (const uint8_t *)"chunk", 5, 1u << 31, CODEC_ZSTD);
    forge_end(&ar, 1);
    expect(&ar, -EUCLEAN, "chunk header");
    forge_header(&ar, 0);
    forge_chunk(&ar, (const uint8_t *)"chunk", 5, 100, CODEC_ZSTD);
    forge_end(&ar, 1);
    expect(&ar, -EUCLEAN, "compressed");
    forge_header(&ar, 0);
    forge_chunk(&ar, (const uint8_t *)"chunk", 5, 5, 9);
    forge_end(&ar, 1);
    expect(&ar, -EUCLEAN, "codec");
    forge_header(&ar, 0);
    buf_put_u8(&ar, 'D');
    buf_put_u16(&ar, k1.len);
    buf_put(&ar, k1.b, k1.len);
    forge_end(&ar, 1);
    expect(&ar, -EUCLEAN, "deletion");
    forge_header(&ar, 0);                                           /* a number that uses up all others */
    struct key last = key_simple(INO_IMPORT - 1, KEY_INODE);
    forge_put(&ar, &k1, rec, sizeof(rec));
    forge_put(&ar, &last, rec, sizeof(rec));
    forge_end(&ar, 2);
    expect(&ar, -EUCLEAN, "");
    forge_header(&ar, 2);
    forge_end(&ar, 0);
    expect(&ar, -EUCLEAN, "header");
    forge_header(&ar, 0);
    buf_put_u8(&ar, 'X');
    forge_end(&ar, 0);
    expect(&ar, -EUCLEAN, "unknown record");
    assert_nothing(b.s);
    buf_fini(&ar);
}

/* Content that does not compress, so that the bytes do not depend on zstd. */
static void the_bytes_of_an_archive_are_the_golden_ones(void **state)
{
    struct buf in = BUF_INIT, ar = BUF_INIT;
    uint8_t content[3000];
    struct snap_rec rec, got;
    struct ws_rec w;
    uint64_t x = 42;
    char err[256];

    for (size_t i = 0; i < sizeof(content); i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        content[i] = (uint8_t)(x >> 56);
    }
    content[sizeof(content) - 1] = 1;
    put_dir(&in, "", 1);
    put_file(&in, "big", content, sizeof(content), 2);
    put_file(&in, "small", "small", 5, 3);
    import_put_xattr(&in, "user.x", "y", 1);
    put_symlink(&in, "way", "big", 4);
    import_put_end(&in, 4);
    struct view *v = test_import(a.s, "w", "", &in, &rec);
    rec.created = 1700000000;
    strcpy(rec.message, "golden");
    export_to(a.s, v, &rec, NULL, &ar);
    assert_golden("archive.bin", &ar);
    int r = import_from(b.s, &ar, "x", &w, &got, err);
    assert_int_equal(r, 0);
    view_unref(v);
    buf_fini(&in);
    buf_fini(&ar);
}

/* --- faults --- */

static unsigned fault_at, fault_count;
static bool faulty;

static int meta_fails(bool is_write)
{
    return faulty && ++fault_count == fault_at ? -EIO : 0;
}

static _Bool memory_fails(size_t size)
{
    return faulty && ++fault_count == fault_at;
}

static ssize_t disk_pwrite_fails(int fd, const void *p, size_t n, off_t off)
{
    return faulty && ++fault_count == fault_at ? -ENOSPC : disk_real.pwrite(fd, p, n, off);
}

static ssize_t disk_pread_fails(int fd, void *p, size_t n, off_t off)
{
    return faulty && ++fault_count == fault_at ? -EIO : disk_real.pread(fd, p, n, off);
}

static int disk_open_fails(int dirfd, const char *name, int flags, unsigned mode)
{
    return faulty && ++fault_count == fault_at ? -EMFILE : disk_real.open(dirfd, name, flags, mode);
}

static void faults_until_it_works(const struct buf *ar, unsigned step)
{
    struct snap_rec got;
    struct ws_rec w;
    char err[256];
    int r = -1;

    for (fault_at = 1; r; fault_at += fault_at < 200 ? 1 : step) {
        fault_count = 0;
        faulty = true;
        r = import_from(b.s, ar, "x", &w, &got, err);
        faulty = false;
        if (r)
            assert_nothing(b.s);
        assert_true(fault_at < 1000000);
    }
    assert_true(fault_at > 2);
}

static void a_fault_anywhere_keeps_nothing_and_the_next_try_works(void **state)
{
    struct snap_rec rec;
    struct buf ar = BUF_INIT;
    struct view *v = small(a.s, &rec), *back;
    struct disk_ops ops = disk_real;
    uint64_t checked;
    struct object o = { 0 };

    export_to(a.s, v, &rec, NULL, &ar);
    ops.pwrite = disk_pwrite_fails;
    ops.pread = disk_pread_fails;
    ops.open = disk_open_fails;
    for (int kind = 0; kind < 3; kind++) {
        mem_fault = kind == 0 ? memory_fails : NULL;
        meta_fault = kind == 1 ? meta_fails : NULL;
        disk = kind == 2 ? &ops : &disk_real;
        faults_until_it_works(&ar, 7);
        mem_fault = NULL;
        meta_fault = NULL;
        disk = &disk_real;
        assert_int_equal(object_find(b.s, "x", &o), 0);
        assert_int_equal(object_view(b.s, &o, &back), 0);
        assert_same_tree(a.s, v, b.s, back);
        view_unref(back);
        assert_int_equal(verb_remove(b.s, &o, true), 0);
        assert_int_equal(verb_fsck(b.s, no_problem, NULL, &checked), 0);
    }
    view_unref(v);
    buf_fini(&ar);
}

struct pipe_writer { int fd; const struct buf *b; };

static void *write_slowly(void *arg)
{
    struct pipe_writer *w = arg;

    for (size_t at = 0; at < w->b->len; at += 1000)
        io_write_full(w->fd, w->b->data + at, w->b->len - at < 1000 ? w->b->len - at : 1000);
    close(w->fd);
    return NULL;
}

static void an_archive_comes_through_a_pipe(void **state)
{
    struct snap_rec rec, got;
    struct ws_rec w;
    struct buf ar = BUF_INIT;
    struct view *v = sample(a.s, "w", 5, &rec);
    char err[256];
    int p[2];
    pthread_t th;

    export_to(a.s, v, &rec, NULL, &ar);
    assert_int_equal(pipe(p), 0);
    struct pipe_writer pw = { p[1], &ar };
    assert_int_equal(pthread_create(&th, NULL, write_slowly, &pw), 0);
    assert_int_equal(archive_import(b.s, p[0], "x", &w, &got, err, sizeof(err), NULL, NULL), 0);
    pthread_join(th, NULL);
    close(p[0]);
    view_unref(v);
    buf_fini(&ar);
}

static void an_export_to_a_full_disk_says_so(void **state)
{
    struct snap_rec rec;
    struct view *v = sample(a.s, "w", 1, &rec);
    int fd = open("/dev/full", O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(archive_export(a.s, v, &rec, NULL, fd, NULL, NULL), -ENOSPC);
    assert_int_equal(export_stream(a.s, v, "", fd, NULL, NULL), -ENOSPC);
    close(fd);
    view_unref(v);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_complete_archive_gives_the_same_tree_in_another_store), T(a_delta_needs_its_base_and_is_small),
        T(a_delta_finds_a_base_that_is_not_folded_yet), T(names_and_versions_are_checked_first), T(every_flipped_byte_is_refused),
        T(a_forged_archive_is_refused_or_gives_a_sound_tree), T(every_truncation_is_refused), T(forged_records_are_refused_each_for_its_reason), T(the_bytes_of_an_archive_are_the_golden_ones),
        T(a_fault_anywhere_keeps_nothing_and_the_next_try_works), T(an_archive_comes_through_a_pipe), T(an_export_to_a_full_disk_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
