/* RocksDB behind the contract of meta.h: settings, error texts to errno, batches.
 *
 * What a synced write costs: RocksDB preallocates its WAL with KEEP_SIZE, so every append changes the file's size and fdatasync commits the
 * file system's journal too. Recycled WAL files would avoid that, but up to RocksDB 9.1 a recycled log under point-in-time recovery can come
 * back with a hole in it, and the library itself turns recycling off for that mode. The other modes either lose acknowledged writes silently
 * or do not allow recycling. So the mode is point-in-time, and recycling is asked for: versions that can do it safely do, others ignore it.
 *
 * A batch is kept in our own bytes and turned into RocksDB's when it is written: it needs no open database, its allocations can be made to
 * fail, and it can be written again after an error. */
#include "fs/meta.h"

#include <errno.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/wire.h"

enum { MIB = 1 << 20, LOG_LEVEL_NONE = 6 };

static const char *const cf_names[CF_COUNT + 1] = { "default", "object", "layer", "node", "chunk" };

struct meta {
    rocksdb_t *db;
    rocksdb_options_t *options[CF_COUNT + 1];             /* [0]: database and the unused default family */
    rocksdb_block_based_table_options_t *tables[CF_COUNT + 1];
    rocksdb_column_family_handle_t *cf[CF_COUNT + 1];     /* cf[0] is the default family */
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write_plain, *write_sync;
    rocksdb_readoptions_t *read;
    _Atomic uint64_t snaps;                               /* writes that changed snapshot records */
    _Atomic bool failed;                                  /* the last write failed in the database */
};

int (*meta_fault)(bool is_write);

static const char *const closed_dir_texts[] = { "does not exist", "No such file or directory" };

/* Takes the text. */
static int errno_of(char *text)
{
    int r = -EIO;
    char quoted[512];

    if (!text)
        return 0;
    if (strstr(text, "No space left") || strstr(text, "NoSpace") || strstr(text, "Disk quota exceeded"))
        r = -ENOSPC;
    else if (strstr(text, "lock hold by current process") || strstr(text, "While lock file"))
        r = -EBUSY;
    else if (strstr(text, "Corruption") || strstr(text, "Column family not found"))
        r = -EUCLEAN;
    else if (strstr(text, "Cannot allocate memory") || strstr(text, "Memory limit"))
        r = -ENOMEM;
    if (r == -EIO || r == -EUCLEAN)
        log_error("meta err=%s text=%s", errno_name(r), log_quote(quoted, sizeof quoted, text, strlen(text)));
    rocksdb_free(text);
    return r;
}

static int errno_of_open(char *text, bool create)
{
    for (size_t i = 0; text && !create && i < sizeof closed_dir_texts / sizeof *closed_dir_texts; i++) {
        /* A file missing inside a database is corruption; CURRENT missing is no database. */
        if (strstr(text, closed_dir_texts[i]) && (strstr(text, "create_if_missing") || strstr(text, "CURRENT"))) {
            rocksdb_free(text);
            return -ENOENT;
        }
    }
    return errno_of(text);
}

static rocksdb_options_t *cf_options(struct meta *m, int i)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    bool nodes = i == CF_NODE + 1;

    rocksdb_options_set_write_buffer_size(o, 8 * MIB);
    rocksdb_options_set_max_write_buffer_number(o, 2);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_compression(o, nodes ? rocksdb_zstd_compression : rocksdb_no_compression);
    rocksdb_block_based_options_set_block_cache(t, m->cache);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_block_size(t, nodes ? 16384 : 4096);
    rocksdb_block_based_options_set_format_version(t, 5);
    /* Index and filter blocks live in the cache, so that its size bounds them too. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_options_set_block_based_table_factory(o, t);
    m->tables[i] = t;
    return o;
}

static void db_options(rocksdb_options_t *o, bool create)
{
    rocksdb_options_set_create_if_missing(o, create);
    rocksdb_options_set_create_missing_column_families(o, create);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_db_write_buffer_size(o, 32 * MIB);
    rocksdb_options_set_max_total_wal_size(o, 64 * MIB);
    rocksdb_options_set_wal_recovery_mode(o, rocksdb_point_in_time_recovery);
    rocksdb_options_set_recycle_log_file_num(o, 2);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_max_subcompactions(o, 1);
    rocksdb_options_set_max_open_files(o, 256);
    rocksdb_options_set_max_file_opening_threads(o, 1);
    rocksdb_options_set_bytes_per_sync(o, MIB);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    /* Nothing, not even headers: a failed write to its own LOG (a full disk) makes RocksDB abort at the next line, as Debian builds it. */
    rocksdb_options_set_info_log_level(o, LOG_LEVEL_NONE);
    rocksdb_options_set_max_log_file_size(o, MIB);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_max_manifest_file_size(o, 16 * MIB);
}

int meta_open(const char *dir, bool create, struct meta **ret)
{
    struct meta *m = mem_zalloc(sizeof *m);
    char *err = NULL;
    int r;

    if (!m)
        return -ENOMEM;
    m->cache = rocksdb_cache_create_lru(32 * MIB);
    for (int i = 0; i <= CF_COUNT; i++)
        m->options[i] = cf_options(m, i);
    db_options(m->options[0], create);
    m->write_plain = rocksdb_writeoptions_create();
    m->write_sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(m->write_sync, 1);
    m->read = rocksdb_readoptions_create();
    m->db = rocksdb_open_column_families(m->options[0], dir, CF_COUNT + 1, cf_names, (const rocksdb_options_t *const *)m->options, m->cf, &err);
    r = errno_of_open(err, create);
    if (r < 0) {
        meta_close(m);
        return r;
    }
    *ret = m;
    return 0;
}

void meta_close(struct meta *m)
{
    if (!m)
        return;
    if (m->db) {
        for (int i = 0; i <= CF_COUNT; i++)
            rocksdb_column_family_handle_destroy(m->cf[i]);
        rocksdb_close(m->db);
    }
    for (int i = 0; i <= CF_COUNT; i++) {
        rocksdb_options_destroy(m->options[i]);
        rocksdb_block_based_options_destroy(m->tables[i]);
    }
    rocksdb_writeoptions_destroy(m->write_plain);
    rocksdb_writeoptions_destroy(m->write_sync);
    rocksdb_readoptions_destroy(m->read);
    rocksdb_cache_destroy(m->cache);
    free(m);
}

static int fault(bool is_write)
{
    return meta_fault ? meta_fault(is_write) : 0;
}

int meta_get(struct meta *m, enum meta_cf cf, const void *key, size_t key_len, uint8_t **ret, size_t *ret_len)
{
    rocksdb_pinnableslice_t *slice;
    const char *val;
    char *err = NULL;
    size_t len = 0;
    uint8_t *copy;
    int r = fault(false);

    if (r < 0)
        return r;
    slice = rocksdb_get_pinned_cf(m->db, m->read, m->cf[cf + 1], key, key_len, &err);
    r = errno_of(err);
    if (r < 0)
        return r;
    if (!slice)
        return -ENOENT;
    val = rocksdb_pinnableslice_value(slice, &len);
    copy = mem_dup(val, len);
    rocksdb_pinnableslice_destroy(slice);
    if (!copy)
        return -ENOMEM;
    *ret = copy;
    *ret_len = len;
    return 0;
}

bool meta_has_error(struct meta *m)
{
    uint64_t errors = 0;
    rocksdb_writebatch_t *empty;
    char *err = NULL;

    if (m->failed)
        return true;
    /* The property counts what ever went wrong in the background; if that has stopped writes, an empty one tells. */
    if (rocksdb_property_int(m->db, "rocksdb.background-errors", &errors) != 0 || errors == 0)
        return false;
    empty = rocksdb_writebatch_create();
    rocksdb_write(m->db, m->write_plain, empty, &err);
    rocksdb_writebatch_destroy(empty);
    return errno_of(err) < 0;
}

/* --- batches: records of op (1), family (1), key length (4), value length (4), key, value --- */

enum batch_op { OP_PUT, OP_DELETE, OP_DELETE_RANGE };
enum { OP_HEAD = 10 };

struct batch {
    struct buf ops;
    size_t count;
    bool snaps;                                           /* changes snapshot records */
};

struct batch *batch_new(void)
{
    return mem_zalloc(sizeof(struct batch));
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    buf_fini(&b->ops);
    free(b);
}

static void add_op(struct batch *b, enum batch_op op, enum meta_cf cf, const void *key, size_t key_len, const void *val, size_t val_len)
{
    uint8_t *p = key_len > UINT32_MAX || val_len > UINT32_MAX ? NULL : buf_extend(&b->ops, OP_HEAD + key_len + val_len);

    b->count++;      /* a batch whose only change found no memory must not look empty */
    if (!p) {
        b->ops.err = -ENOMEM;
        return;
    }
    p[0] = (uint8_t)op;
    p[1] = (uint8_t)cf;
    put_le32(p + 2, (uint32_t)key_len);
    put_le32(p + 6, (uint32_t)val_len);
    memcpy(p + OP_HEAD, key, key_len);
    if (val_len)
        memcpy(p + OP_HEAD + key_len, val, val_len);
}

void batch_put(struct batch *b, enum meta_cf cf, const void *key, size_t key_len, const void *val, size_t val_len)
{
    add_op(b, OP_PUT, cf, key, key_len, val, val_len);
}

void batch_delete(struct batch *b, enum meta_cf cf, const void *key, size_t key_len)
{
    add_op(b, OP_DELETE, cf, key, key_len, NULL, 0);
}

void batch_delete_range(struct batch *b, enum meta_cf cf, const void *from, size_t from_len, const void *to, size_t to_len)
{
    add_op(b, OP_DELETE_RANGE, cf, from, from_len, to, to_len);
}

size_t batch_count(const struct batch *b)
{
    return b->count;
}

int batch_err(const struct batch *b)
{
    return buf_err(&b->ops);
}

struct batch_mark batch_mark(const struct batch *b)
{
    return (struct batch_mark){ .bytes = b->ops.len, .count = b->count };
}

void batch_rewind(struct batch *b, struct batch_mark mark)
{
    b->ops.len = mark.bytes;
    b->ops.err = 0;
    b->count = mark.count;
}

size_t batch_bytes(const struct batch *b)
{
    return b->ops.len;
}

void batch_clear(struct batch *b)
{
    buf_clear(&b->ops);
    b->count = 0;
    b->snaps = false;
}

void batch_note_snaps(struct batch *b)
{
    b->snaps = true;
}

uint64_t meta_snaps(struct meta *m)
{
    return atomic_load(&m->snaps);
}

static rocksdb_writebatch_t *batch_native(struct meta *m, const struct batch *b)
{
    rocksdb_writebatch_t *w = rocksdb_writebatch_create();

    for (size_t at = 0; at < b->ops.len;) {
        const uint8_t *p = b->ops.data + at;
        rocksdb_column_family_handle_t *cf = m->cf[p[1] + 1];
        size_t key_len = le32(p + 2), val_len = le32(p + 6);
        const char *key = (const char *)p + OP_HEAD, *val = key + key_len;

        switch ((enum batch_op)p[0]) {
        case OP_PUT:
            rocksdb_writebatch_put_cf(w, cf, key, key_len, val, val_len);
            break;
        case OP_DELETE:
            rocksdb_writebatch_delete_cf(w, cf, key, key_len);
            break;
        case OP_DELETE_RANGE:
            rocksdb_writebatch_delete_range_cf(w, cf, key, key_len, val, val_len);
            break;
        }
        at += OP_HEAD + key_len + val_len;
    }
    return w;
}

int meta_write(struct meta *m, struct batch *b, bool sync)
{
    rocksdb_writebatch_t *w;
    char *err = NULL;
    int r = buf_err(&b->ops);

    if (r < 0)
        return r;
    r = fault(true);
    if (r < 0)
        return r;
    w = batch_native(m, b);
    rocksdb_write(m->db, sync ? m->write_sync : m->write_plain, w, &err);
    rocksdb_writebatch_destroy(w);
    r = errno_of(err);
    m->failed = r < 0;
    if (b->snaps)
        atomic_fetch_add(&m->snaps, 1);
    return r;
}

/* --- iterators --- */

struct meta_iter {
    rocksdb_iterator_t *it;
};

struct meta_iter *meta_iter_new(struct meta *m, enum meta_cf cf)
{
    struct meta_iter *it = mem_zalloc(sizeof *it);

    if (!it)
        return NULL;
    it->it = rocksdb_create_iterator_cf(m->db, m->read, m->cf[cf + 1]);
    return it;
}

void meta_iter_free(struct meta_iter *it)
{
    if (!it)
        return;
    rocksdb_iter_destroy(it->it);
    free(it);
}

void meta_iter_seek(struct meta_iter *it, const void *key, size_t key_len)
{
    rocksdb_iter_seek(it->it, key, key_len);
}

bool meta_iter_valid(struct meta_iter *it)
{
    return rocksdb_iter_valid(it->it);
}

void meta_iter_next(struct meta_iter *it)
{
    rocksdb_iter_next(it->it);
}

const uint8_t *meta_iter_key(struct meta_iter *it, size_t *len)
{
    return (const uint8_t *)rocksdb_iter_key(it->it, len);
}

const uint8_t *meta_iter_val(struct meta_iter *it, size_t *len)
{
    return (const uint8_t *)rocksdb_iter_value(it->it, len);
}

int meta_iter_err(struct meta_iter *it)
{
    char *err = NULL;

    rocksdb_iter_get_error(it->it, &err);
    return errno_of(err);
}
