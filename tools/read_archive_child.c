/* The child that reads a tar through libarchive: everything in here may be taken over by the archive. See read_archive.c. */
#include "tools/read_archive_child.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/import.h"
#include "tools/confine.h"
#include "tools/read_report.h"

enum { OUT_MAX = 1 << 20, IN_MAX = 1 << 17, NAME_LEN_MAX = 65535, TEXT_MAX = 400, ACL_MAX = 1024, ATTRIBUTES_MAX = 65536 };
enum { MEMORY_MAX = 1 << 30 };

struct child {
    struct archive *a;
    bool plain;
    struct buf out;
    struct read_report n;                    /* counters only */
    char path[NAME_LEN_MAX + 1], other[NAME_LEN_MAX + 1];
    struct buf names;                        /* of the attributes put on this member: archives may hold them in two ways */
    uint64_t data_at;                        /* content not sent yet: collected, as libarchive gives it in odd pieces */
    size_t data_len;
    uint8_t data[IMPORT_DATA_MAX], in[IN_MAX];
};

static void child_flush(struct child *c, size_t keep)
{
    if (buf_err(&c->out))
        _exit(3);
    if (c->out.len <= keep)
        return;
    if (io_write_full(1, c->out.data, c->out.len))
        _exit(3);
    buf_clear(&c->out);
}

static void put_text(struct child *c, uint8_t type, const char *a, const char *b)
{
    size_t an = strnlen(a, NAME_LEN_MAX), bn = strnlen(b, TEXT_MAX);

    buf_put_u32(&c->out, (uint32_t)(1 + 2 + an + 2 + bn));
    buf_put_u8(&c->out, type);
    buf_put_u16(&c->out, (uint16_t)an);
    buf_put(&c->out, a, an);
    buf_put_u16(&c->out, (uint16_t)bn);
    buf_put(&c->out, b, bn);
}

static _Noreturn void child_fail(struct child *c, const char *path, const char *what)
{
    char quoted[320], text[TEXT_MAX + 1];

    if (c->plain) {
        log_quote(quoted, sizeof(quoted), path, strlen(path));
        log_quote(text, sizeof(text), what, strlen(what));
        dprintf(2, "%s%s%s\n", quoted, *path ? ": " : "", text);
        child_flush(c, 0);
        _exit(1);
    }
    put_text(c, FRAME_FAIL, path, what);
    child_flush(c, 0);
    _exit(1);
}

static void child_note(struct child *c, const char *path, const char *what)
{
    if (c->plain)
        return;
    put_text(c, FRAME_NOTE, path, what);
    child_flush(c, OUT_MAX);
}

static const char *archive_text(struct child *c)
{
    const char *t = archive_error_string(c->a);

    return t ? t : "unknown error";
}

/* Without leading slashes, empty and "." components. */
static void clean_path(struct child *c, const char *from, char *to)
{
    size_t n = 0;

    if (!from)
        child_fail(c, "", "a member has no name, or one that cannot be read");
    if (strlen(from) > NAME_LEN_MAX)
        child_fail(c, from, "the name is too long");
    for (const char *p = from; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.')
            child_fail(c, from, "a \"..\" in a name: refused, it could lead out of the tree");
        if (len > 0 && !(len == 1 && p[0] == '.')) {
            if (n)
                to[n++] = '/';
            memcpy(to + n, p, len);
            n += len;
        }
        p += len + (p[len] == '/');
    }
    to[n] = 0;
}

static uint32_t id_of(struct child *c, int64_t id)
{
    if (id >= 0 && id <= IMPORT_ID_MAX)
        return (uint32_t)id;
    if (c->n.ids++ == 0)
        child_note(c, c->path, "its owner or group is above 65535 and becomes 65534 (so do others like it)");
    return 65534;
}

static void put_acl(struct child *c, struct archive_entry *e, int type, const char *name)
{
    static const struct { int tag; uint16_t posix; } tags[] = {
        { ARCHIVE_ENTRY_ACL_USER_OBJ, 0x01 }, { ARCHIVE_ENTRY_ACL_USER, 0x02 }, { ARCHIVE_ENTRY_ACL_GROUP_OBJ, 0x04 },
        { ARCHIVE_ENTRY_ACL_GROUP, 0x08 }, { ARCHIVE_ENTRY_ACL_MASK, 0x10 }, { ARCHIVE_ENTRY_ACL_OTHER, 0x20 },
    };
    struct { uint16_t tag, perm; uint32_t id; } v[ACL_MAX];
    int n = 0, t, permset, tag, id;
    const char *who;

    if (archive_entry_acl_reset(e, type) <= 0)
        return;
    while (archive_entry_acl_next(e, type, &t, &permset, &tag, &id, &who) == ARCHIVE_OK) {
        size_t k = 0;
        while (k < sizeof(tags) / sizeof(tags[0]) && tags[k].tag != tag)
            k++;
        bool named = tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP;
        if (k == sizeof(tags) / sizeof(tags[0]) || n == ACL_MAX || (named && (id < 0 || id > IMPORT_ID_MAX))) {
            c->n.attributes++;
            child_note(c, c->path, "an ACL cannot be kept as it is: left out");
            return;
        }
        /* Kept sorted by tag and id, as the kernel wants it. */
        uint32_t uid = named ? (uint32_t)id : UINT32_MAX;
        int at = n++;
        while (at > 0 && (v[at - 1].tag > tags[k].posix || (v[at - 1].tag == tags[k].posix && v[at - 1].id > uid))) {
            v[at] = v[at - 1];
            at--;
        }
        v[at].tag = tags[k].posix;
        v[at].perm = (uint16_t)(permset & 7);
        v[at].id = uid;
    }
    struct buf x = BUF_INIT;
    buf_put_u32(&x, 2);
    for (int i = 0; i < n; i++) {
        buf_put_u16(&x, v[i].tag);
        buf_put_u16(&x, v[i].perm);
        buf_put_u32(&x, v[i].id);
    }
    if (buf_err(&x))
        _exit(3);
    import_put_xattr(&c->out, name, x.data, (uint32_t)x.len);
    buf_fini(&x);
}

/* True the first time this name is seen on the member. */
static bool new_name(struct child *c, const char *name)
{
    size_t n = strlen(name) + 1;

    for (size_t at = 0; at < c->names.len; at += strlen((char *)c->names.data + at) + 1)
        if (!strcmp((char *)c->names.data + at, name))
            return false;
    if (c->names.len + n > ATTRIBUTES_MAX)
        child_fail(c, c->path, "more extended attributes than a file can have");
    buf_put(&c->names, name, n);
    if (buf_err(&c->names))
        _exit(3);
    return true;
}

static void put_attributes(struct child *c, struct archive_entry *e, uint32_t mode)
{
    const char *name;
    const void *val;
    size_t n;

    buf_clear(&c->names);
    for (archive_entry_xattr_reset(e); archive_entry_xattr_next(e, &name, &val, &n) == ARCHIVE_OK;) {
        bool user = name && !strncmp(name, "user.", 5) && (S_ISREG(mode) || S_ISDIR(mode));
        if (!user && (!name || strcmp(name, "security.capability") || !S_ISREG(mode))) {
            c->n.attributes++;
            continue;
        }
        if (strlen(name) > 255 || n > 65536)
            child_fail(c, c->path, "an extended attribute is too long");
        if (new_name(c, name))
            import_put_xattr(&c->out, name, val, (uint32_t)n);
        child_flush(c, OUT_MAX);
    }
    if (S_ISLNK(mode))
        return;
    put_acl(c, e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access");
    if (S_ISDIR(mode))
        put_acl(c, e, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default");
}

static void send_content(struct child *c)
{
    import_put_content(&c->out, c->data_at, c->data, c->data_len);
    c->data_len = 0;
    child_flush(c, OUT_MAX);
}

/* Pieces sent end at multiples of the largest frame, or at gaps. */
static void add_content(struct child *c, uint64_t off, const uint8_t *p, size_t n)
{
    if (c->data_len && off != c->data_at + c->data_len)
        send_content(c);
    while (n > 0) {
        if (c->data_len == 0)
            c->data_at = off;
        size_t room = IMPORT_DATA_MAX - (size_t)(off % IMPORT_DATA_MAX), m = n < room ? n : room;
        memcpy(c->data + c->data_len, p, m);
        c->data_len += m;
        c->n.bytes += m;
        off += m;
        p += m;
        n -= m;
        if (m == room)
            send_content(c);
    }
}

static void put_content(struct child *c, uint64_t size)
{
    const void *p;
    size_t n;
    la_int64_t off;

    for (;;) {
        int r = archive_read_data_block(c->a, &p, &n, &off);
        if (r == ARCHIVE_EOF)
            break;
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
            child_fail(c, c->path, archive_text(c));
        uint64_t end;
        if (off < 0 || __builtin_add_overflow((uint64_t)off, n, &end) || end > size)
            child_fail(c, c->path, "data past the size that its header says");
        if (n > 0)
            add_content(c, (uint64_t)off, p, n);
    }
    send_content(c);
}

static void put_link(struct child *c, const char *target)
{
    clean_path(c, target, c->other);
    if (!c->path[0] || !c->other[0])
        child_fail(c, c->path, "a hard link of the top directory");
    import_put_link(&c->out, c->path, c->other);
    c->n.entries++;
}

static void put_member(struct child *c, struct archive_entry *e)
{
    struct inode in = { .mode = archive_entry_filetype(e) | (archive_entry_perm(e) & 07777), .mtime.sec = archive_entry_mtime(e) };
    long ns = archive_entry_mtime_nsec(e);
    la_int64_t size = archive_entry_size(e);

    clean_path(c, archive_entry_pathname(e), c->path);
    if (archive_entry_hardlink(e)) {
        put_link(c, archive_entry_hardlink(e));
        return;
    }
    switch (in.mode & S_IFMT) {
    case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFIFO: case S_IFSOCK:
        break;
    case S_IFCHR: case S_IFBLK:
        c->n.devices++;
        child_note(c, c->path, "a device: skipped");
        return;
    default:
        child_fail(c, c->path, "a member of unknown type");
    }
    if (size < 0)
        child_fail(c, c->path, "impossible size");
    in.mtime.ns = ns >= 0 && ns < 1000000000 ? (uint32_t)ns : 0;
    in.uid = id_of(c, archive_entry_uid(e));
    in.gid = id_of(c, archive_entry_gid(e));
    in.size = S_ISREG(in.mode) ? (uint64_t)size : 0;
    const char *target = S_ISLNK(in.mode) ? archive_entry_symlink(e) : NULL;
    if (S_ISLNK(in.mode) && (!target || !*target || strlen(target) > 4095))
        child_fail(c, c->path, "a symbolic link without a usable target");
    import_put_entry(&c->out, c->path, &in, target);
    c->n.entries++;
    put_attributes(c, e, in.mode);
    if (S_ISREG(in.mode))
        put_content(c, in.size);
}

static la_ssize_t read_input(struct archive *a, void *arg, const void **ret)
{
    struct child *c = arg;
    ssize_t n;

    do {
        n = read(0, c->in, sizeof(c->in));
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        archive_set_error(a, errno, "cannot read the archive");
    *ret = c->in;
    return n;
}

/* One by one, and only those built in: archive_read_support_filter_all() would run programs for others. */
static int support(struct archive *a)
{
    static int (*const filters[])(struct archive *) = {
        archive_read_support_filter_gzip, archive_read_support_filter_bzip2, archive_read_support_filter_compress,
        archive_read_support_filter_xz, archive_read_support_filter_lzma, archive_read_support_filter_zstd, archive_read_support_filter_lz4,
    };

    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
        if (filters[i](a) == ARCHIVE_FATAL)
            return ARCHIVE_FATAL;
    return archive_read_support_format_tar(a);
}

static void put_report(struct child *c)
{
    const uint64_t v[] = { c->n.entries, c->n.bytes, c->n.devices, c->n.ids, c->n.attributes };

    buf_put_u32(&c->out, 1 + sizeof(v));
    buf_put_u8(&c->out, FRAME_REPORT);
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
        buf_put_u64(&c->out, v[i]);
}

_Noreturn void read_archive_child(int in_fd, int out_fd, bool plain)
{
    struct child *c = mem_zalloc(sizeof(*c));
    struct archive_entry *e;
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);   /* names in pax headers are UTF-8 */
    int r;

    if (!c)
        _exit(3);
    c->plain = plain;
    if (utf8)
        uselocale(utf8);
    if (confine_reader(in_fd, out_fd, MEMORY_MAX))
        _exit(4);
    c->a = archive_read_new();
    if (!c->a || support(c->a) == ARCHIVE_FATAL)
        child_fail(c, "", "cannot set up the reader");
    if (archive_read_open(c->a, c, NULL, read_input, NULL) != ARCHIVE_OK)
        child_fail(c, "", archive_text(c));
    while ((r = archive_read_next_header(c->a, &e)) == ARCHIVE_OK || r == ARCHIVE_WARN) {
        put_member(c, e);
        child_flush(c, OUT_MAX);
    }
    if (r != ARCHIVE_EOF)
        child_fail(c, "", archive_text(c));
    if (!plain)
        put_report(c);
    import_put_end(&c->out, c->n.entries);
    child_flush(c, 0);
    _exit(0);
}
