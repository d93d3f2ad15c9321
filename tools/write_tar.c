/* Turns the entry stream of a snapshot into a tar through libarchive.
 *
 * An ENTRY is held until its extended attributes are here (they come before its data): the header is written with the first DATA, or when
 * the next frame is of another entry. Content goes out in order, gaps as zeros; one frame is in memory at a time. */
#include "tools/write_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/wire.h"
#include "fs/import.h"

enum { STR_MAX = 65536, ZEROS = 65536 };

struct tar {
    int in, out;
    bool failed;                             /* nothing is written any more, not even the mark of the end */
    struct archive *a;
    struct archive_entry *e;
    struct read_report *rep;
    struct buf frame;
    char *path, *other;                      /* STR_MAX each */
    bool held, writing, ended;               /* held: e is to be written; writing: its header is out, data may follow */
    uint64_t size, at, frames;
    char **skipped;                          /* paths left out; open addressing */
    size_t skipped_count, skipped_cap;
};

static int fail(struct tar *t, int err, const char *what)
{
    char quoted[320];

    log_quote(quoted, sizeof(quoted), t->path, strlen(t->path));
    snprintf(t->rep->error, sizeof(t->rep->error), "%s%s%.160s", *t->path ? quoted : "", *t->path ? ": " : "", what);
    return err;
}

static int malformed(struct tar *t)
{
    return fail(t, -EUCLEAN, "the stream from the daemon is malformed");
}

static int fail_archive(struct tar *t)
{
    int err = archive_errno(t->a);
    const char *what = archive_error_string(t->a);

    return fail(t, err > 0 ? -err : -EIO, what ? what : "cannot write the tar");
}

/* --- what was left out --- */

static char **skip_slot(char **v, size_t cap, const char *path)
{
    uint64_t h = 0xcbf29ce484222325ull;

    for (const char *p = path; *p; p++)
        h = (h ^ (uint8_t)*p) * 0x100000001b3ull;
    size_t i = (size_t)(h >> 20) & (cap - 1);
    while (v[i] && strcmp(v[i], path))
        i = (i + 1) & (cap - 1);
    return &v[i];
}

static int skip_add(struct tar *t, const char *what)
{
    if (t->skipped_count * 4 >= t->skipped_cap * 3) {
        size_t cap = t->skipped_cap ? t->skipped_cap * 2 : 64;
        char **v = mem_zalloc(cap * sizeof(*v));
        if (!v)
            return fail(t, -ENOMEM, "out of memory");
        for (size_t i = 0; i < t->skipped_cap; i++)
            if (t->skipped[i])
                *skip_slot(v, cap, t->skipped[i]) = t->skipped[i];
        free(t->skipped);
        t->skipped = v;
        t->skipped_cap = cap;
    }
    char **s = skip_slot(t->skipped, t->skipped_cap, t->path);
    if (!*s) {
        *s = mem_strdup(t->path);
        if (!*s)
            return fail(t, -ENOMEM, "out of memory");
        t->skipped_count++;
    }
    t->rep->devices++;
    if (t->rep->warn)
        t->rep->warn(t->rep->warn_arg, t->path, what);
    return 0;
}

static bool skip_has(const struct tar *t, const char *path)
{
    return t->skipped_cap && *skip_slot(t->skipped, t->skipped_cap, path);
}

/* --- entries --- */

static bool path_safe(const char *path)
{
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.') || (p[n] && !p[n + 1]))
            return false;
        p += n + (p[n] == '/');
    }
    return true;
}

static int put_header(struct tar *t)
{
    int r = archive_write_header(t->a, t->e);

    t->held = false;
    t->writing = r == ARCHIVE_OK || r == ARCHIVE_WARN;
    t->at = 0;
    return t->writing ? 0 : fail_archive(t);
}

static int put_bytes(struct tar *t, const void *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        la_ssize_t r = archive_write_data(t->a, (const char *)p + done, n - done);
        if (r <= 0)
            return fail_archive(t);
        done += (size_t)r;
    }
    t->at += n;
    return 0;
}

static int put_zeros(struct tar *t, uint64_t n)
{
    static const char zeros[ZEROS];
    int r = 0;

    while (!r && n > 0) {
        size_t m = n < ZEROS ? (size_t)n : ZEROS;
        r = put_bytes(t, zeros, m);
        n -= m;
    }
    return r;
}

static int finish(struct tar *t)
{
    int r = t->held ? put_header(t) : 0;

    if (!r && t->writing)
        r = put_zeros(t, t->size - t->at);
    if (!r && t->writing && archive_write_finish_entry(t->a) != ARCHIVE_OK)
        r = fail_archive(t);
    t->writing = false;
    return r;
}

static int on_entry(struct tar *t, struct reader *r)
{
    int err = finish(t);

    if (err)
        return err;
    get_str(r, t->path, STR_MAX);
    uint32_t mode = get_u32(r), uid = get_u32(r), gid = get_u32(r);
    get_u32(r);
    int64_t sec = (int64_t)get_u64(r);
    uint32_t ns = get_u32(r);
    uint64_t size = get_u64(r);
    get_str(r, t->other, STR_MAX);
    if (r->bad || reader_left(r) || !path_safe(t->path) || size > INT64_MAX || ns >= 1000000000)
        return malformed(t);
    t->frames++;
    if (S_ISCHR(mode) || S_ISBLK(mode) || S_ISSOCK(mode))
        return skip_add(t, S_ISSOCK(mode) ? "a socket: left out" : "a device: left out");
    archive_entry_clear(t->e);
    archive_entry_set_pathname(t->e, *t->path ? t->path : "./");
    archive_entry_set_mode(t->e, mode);
    archive_entry_set_uid(t->e, uid);
    archive_entry_set_gid(t->e, gid);
    archive_entry_set_mtime(t->e, sec, ns);
    archive_entry_set_size(t->e, S_ISREG(mode) ? (la_int64_t)size : 0);
    if (S_ISLNK(mode))
        archive_entry_set_symlink(t->e, t->other);
    t->size = S_ISREG(mode) ? size : 0;
    t->held = true;
    t->rep->entries++;
    return 0;
}

static int on_data(struct tar *t, struct reader *r)
{
    uint64_t off = get_u64(r), end;
    size_t n = reader_left(r);
    int err = t->held ? put_header(t) : 0;

    if (err)
        return err;
    if (r->bad || n == 0 || !t->writing || __builtin_add_overflow(off, n, &end) || end > t->size || off < t->at)
        return malformed(t);
    err = put_zeros(t, off - t->at);
    if (!err)
        err = put_bytes(t, r->p, n);
    t->rep->bytes += n;
    return err;
}

static void put_acl(struct tar *t, int type, const uint8_t *p, size_t n)
{
    for (size_t at = 4; at + 8 <= n; at += 8) {
        uint16_t tag = le16(p + at), perm = le16(p + at + 2);
        int to = tag == 0x01 ? ARCHIVE_ENTRY_ACL_USER_OBJ : tag == 0x02 ? ARCHIVE_ENTRY_ACL_USER :
                 tag == 0x04 ? ARCHIVE_ENTRY_ACL_GROUP_OBJ : tag == 0x08 ? ARCHIVE_ENTRY_ACL_GROUP :
                 tag == 0x10 ? ARCHIVE_ENTRY_ACL_MASK : ARCHIVE_ENTRY_ACL_OTHER;
        bool named = tag == 0x02 || tag == 0x08;
        char who[16] = "";
        if (named)
            snprintf(who, sizeof(who), "%u", le32(p + at + 4));
        archive_entry_acl_add_entry(t->e, type, perm & 7, to, named ? (int)le32(p + at + 4) : -1, who);
    }
}

static int on_xattr(struct tar *t, struct reader *r)
{
    get_str(r, t->other, STR_MAX);
    size_t n = reader_left(r);
    if (r->bad)
        return malformed(t);
    if (!t->held)                            /* of something left out, or after data: nothing to put it on */
        return t->writing ? malformed(t) : 0;
    if (!strcmp(t->other, "system.posix_acl_access"))
        put_acl(t, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, r->p, n);
    else if (!strcmp(t->other, "system.posix_acl_default"))
        put_acl(t, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, r->p, n);
    else
        archive_entry_xattr_add_entry(t->e, t->other, r->p, n);
    return 0;
}

static int on_link(struct tar *t, struct reader *r)
{
    int err = finish(t);

    if (err)
        return err;
    get_str(r, t->path, STR_MAX);
    get_str(r, t->other, STR_MAX);
    if (r->bad || reader_left(r) || !*t->path || !*t->other || !path_safe(t->path) || !path_safe(t->other))
        return malformed(t);
    t->frames++;
    if (skip_has(t, t->other))
        return skip_add(t, "a link to what is left out: left out");
    archive_entry_clear(t->e);
    archive_entry_set_pathname(t->e, t->path);
    archive_entry_set_mode(t->e, S_IFREG | 0644);
    archive_entry_set_size(t->e, 0);
    archive_entry_set_hardlink(t->e, t->other);
    t->size = 0;
    t->held = true;
    t->rep->entries++;
    return finish(t);
}

static int on_end(struct tar *t, struct reader *r)
{
    int err = finish(t);
    uint64_t n = get_u64(r);

    if (!err && (r->bad || reader_left(r) || n != t->frames))
        err = malformed(t);
    t->path[0] = 0;
    if (!err && archive_write_close(t->a) != ARCHIVE_OK)
        err = fail_archive(t);
    t->ended = !err;
    return err;
}

static int next_frame(struct tar *t)
{
    uint8_t head[4];
    int r = io_read_full(t->in, head, 4);

    if (r)
        return r == -ENODATA || r == -EPIPE ? fail(t, -EUCLEAN, "the stream from the daemon is cut off") : fail(t, r, strerror(-r));
    uint32_t n = le32(head);
    if (n == 0 || n > IMPORT_FRAME_MAX)
        return malformed(t);
    buf_clear(&t->frame);
    uint8_t *p = buf_extend(&t->frame, n);
    if (!p)
        return fail(t, -ENOMEM, "out of memory");
    r = io_read_full(t->in, p, n);
    if (r)
        return fail(t, r == -ENODATA || r == -EPIPE ? -EUCLEAN : r, "the stream from the daemon is cut off");
    struct reader rd = reader_of(p, n);
    switch (get_u8(&rd)) {
    case IMPORT_ENTRY:
        return on_entry(t, &rd);
    case IMPORT_DATA:
        return on_data(t, &rd);
    case IMPORT_XATTR:
        return on_xattr(t, &rd);
    case IMPORT_LINK:
        return on_link(t, &rd);
    case IMPORT_END:
        return on_end(t, &rd);
    }
    return malformed(t);
}

static la_ssize_t put_out(struct archive *a, void *arg, const void *p, size_t n)
{
    struct tar *t = arg;
    int r = t->failed ? 0 : io_write_full(t->out, p, n);

    if (!r)
        return (la_ssize_t)n;
    archive_set_error(a, -r, "cannot write the tar: %s", strerror(-r));
    return -1;
}

static int tar_open(struct tar *t)
{
    t->path = mem_zalloc(STR_MAX);
    t->other = mem_zalloc(STR_MAX);
    t->e = archive_entry_new();
    t->a = archive_write_new();
    if (!t->path || !t->other || !t->e || !t->a) {
        snprintf(t->rep->error, sizeof(t->rep->error), "out of memory");
        return -ENOMEM;
    }
    if (archive_write_set_format_pax(t->a) != ARCHIVE_OK || archive_write_set_options(t->a, "pax:xattrheader=SCHILY") != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(t->a, 65536) != ARCHIVE_OK || archive_write_set_bytes_in_last_block(t->a, 1) != ARCHIVE_OK ||
        archive_write_open(t->a, t, NULL, put_out, NULL) != ARCHIVE_OK)
        return fail_archive(t);
    return 0;
}

int write_tar(int in_fd, int out_fd, struct read_report *rep)
{
    struct tar t = { .in = in_fd, .out = out_fd, .rep = rep };
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before = utf8 ? uselocale(utf8) : (locale_t)0;
    int r = tar_open(&t);

    while (!r && !t.ended)
        r = next_frame(&t);
    t.failed = r != 0;
    archive_write_free(t.a);
    archive_entry_free(t.e);
    for (size_t i = 0; i < t.skipped_cap; i++)
        free(t.skipped[i]);
    free(t.skipped);
    free(t.path);
    free(t.other);
    buf_fini(&t.frame);
    if (utf8) {
        uselocale(before);
        freelocale(utf8);
    }
    return r;
}
