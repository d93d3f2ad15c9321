/* The files of a journal: journal/WORKSPACE/NUMBER, each beginning with the event of this number. Events go into the newest; the oldest are removed whole. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/feed_internal.h"
#include "fs/meta.h"
#include "fs/store.h"

enum { NAME_HEX = 16, SCAN_BYTES = 256 << 10 };
static const char TOP[] = "journal";

static int sub_dir(int at, const char *name, int *ret)
{
    if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    int fd = disk->open(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0)
        return fd;
    *ret = fd;
    return 0;
}

int feed_dir_open(struct store *s, const char *ws_id, int *ret)
{
    _cleanup_close_ int top = -1;
    int r = sub_dir(s->dirfd, TOP, &top);

    return r < 0 ? r : sub_dir(top, ws_id, ret);
}

struct feed_segment *feed_segment_ref(struct feed_segment *s)
{
    s->refs++;
    return s;
}

void feed_segment_unref(struct feed_segment *s)
{
    if (!s || --s->refs)
        return;
    close_p(&s->fd);
    free(s);
}

static void name_of(uint64_t first, char out[NAME_HEX + 1])
{
    snprintf(out, NAME_HEX + 1, "%016" PRIx64, first);
}

uint64_t feed_segment_max(const struct feed *f)
{
    uint64_t n = f->limits.bytes / 8;

    return n < FEED_BYTES_MIN / 4 ? FEED_BYTES_MIN / 4 : n > 64 << 20 ? 64 << 20 : n;
}

static void append(struct feed *f, struct feed_segment *s)
{
    if (f->newest)
        f->newest->next = s;
    else
        f->oldest = s;
    f->newest = s;
    f->bytes += s->end;
}

int feed_segment_new(struct feed *f, uint64_t first, int64_t now)
{
    struct feed_segment *s = mem_zalloc(sizeof *s);
    uint8_t head[FEED_HEAD];
    char name[NAME_HEX + 1];

    if (!s)
        return -ENOMEM;
    *s = (struct feed_segment){ .refs = 1, .first = first, .end = FEED_HEAD, .made = now, .newest = now, .unsynced = true };
    name_of(first, name);
    s->fd = disk->open(f->dirfd, name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    feed_head_encode(f->journal, first, now, head);
    int r = s->fd < 0 ? s->fd : io_pwrite_full(s->fd, head, sizeof head, 0);
    if (r < 0) {
        if (s->fd >= 0)
            disk->unlink(f->dirfd, name);
        feed_segment_unref(s);
        return r;
    }
    append(f, s);
    f->dir_unsynced = true;
    return 0;
}

static void remove_oldest(struct feed *f)
{
    struct feed_segment *s = f->oldest;
    char name[NAME_HEX + 1];

    for (size_t i = 0; i < FEED_OPEN; i++)
        if (f->open[i].seg == s)          /* nothing goes into its events any more: nobody would be told, and the file may be gone */
            f->open[i] = (struct feed_open_event){ 0 };
    name_of(s->first, name);
    disk->unlink(f->dirfd, name);         /* if that fails it goes with the next opening */
    f->oldest = s->next;
    if (!f->oldest)
        f->newest = NULL;
    f->bytes -= s->end;
    feed_segment_unref(s);
}

void feed_segments_trim(struct feed *f, int64_t now)
{
    while (f->oldest && f->oldest != f->newest && (f->bytes > f->limits.bytes || f->oldest->newest + (int64_t)f->limits.keep_s < now))
        remove_oldest(f);
}

/* --- loading --- */

struct scan { struct feed *f; struct feed_segment *s; uint64_t last, seq; uint32_t generation; };

/* Goes through the events of a file up to number last: where they end, or where the first bad byte is. */
static int scan_file(struct scan *x)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;
    uint64_t off = FEED_HEAD;
    size_t need = 0;

    for (;;) {
        struct feed_event e;
        buf_clear(&b);
        uint8_t *p = buf_extend(&b, need > SCAN_BYTES ? need : SCAN_BYTES);
        if (!p)
            return -ENOMEM;
        ssize_t n = io_pread_full(x->s->fd, p, b.len, (off_t)off);
        if (n < 0)
            return (int)n;
        size_t at = 0;
        for (ssize_t len; (len = feed_decode(p + at, (size_t)n - at, &e, &need)); at += (size_t)len) {
            if (len > 0 && e.op && (e.seq > x->last || e.seq <= x->seq || e.generation < x->generation))
                len = -EUCLEAN;
            if (len < 0) {
                x->s->end = off + at;
                return 0;
            }
            if (e.op) {
                x->seq = e.seq;
                x->generation = e.generation;
            }
        }
        off += at;
        if (at + need > (size_t)n && (size_t)n < b.len) {
            x->s->end = off;
            return 0;
        }
    }
}

static int open_one(struct feed *f, uint64_t first, struct feed_segment **ret)
{
    struct feed_segment *s = mem_zalloc(sizeof *s);
    uint8_t head[FEED_HEAD];
    char name[NAME_HEX + 1];
    uint64_t journal, number;
    struct stat st;

    if (!s)
        return -ENOMEM;
    s->refs = 1;
    name_of(first, name);
    s->fd = disk->open(f->dirfd, name, O_RDWR | O_NOFOLLOW, 0);
    int r = s->fd < 0 ? s->fd : fstat(s->fd, &st) < 0 ? -errno : 0;
    if (r == 0)
        r = io_pread_full(s->fd, head, sizeof head, 0) == sizeof head ? feed_head_decode(head, &journal, &number, &s->made) : -EUCLEAN;
    if (r == 0 && (journal != f->journal || number != first))
        r = -EUCLEAN;
    if (r < 0) {
        feed_segment_unref(s);
        return r;
    }
    s->first = first;
    s->end = (uint64_t)st.st_size;
    s->newest = st.st_mtime;
    *ret = s;
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int list_files(int dirfd, uint64_t **ret, size_t *ret_count)
{
    int fd = disk->open(dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    size_t n = 0, cap = 0;
    uint64_t *v = NULL;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return fd < 0 ? fd : -ENOMEM;
    }
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (strlen(e->d_name) != NAME_HEX || strspn(e->d_name, "0123456789abcdef") != NAME_HEX)
            continue;
        if (n == cap) {
            uint64_t *more = mem_realloc(v, (cap = cap ? cap * 2 : 16) * sizeof *v);
            if (!more) {
                free(v);
                closedir(d);
                return -ENOMEM;
            }
            v = more;
        }
        v[n++] = strtoull(e->d_name, NULL, 16);
    }
    closedir(d);
    if (n)
        qsort(v, n, sizeof *v, by_number);
    *ret = v;
    *ret_count = n;
    return 0;
}

/* The newest file that stays: what is behind its last good event is cut, so that it never comes up again. */
static int cut_newest(struct feed *f, uint64_t last)
{
    struct scan x = { .f = f, .s = f->newest, .last = last };

    if (!f->newest)
        return 0;
    uint64_t was = f->newest->end;
    int r = scan_file(&x);
    if (r < 0)
        return r;
    if (f->newest->end < was && ftruncate(f->newest->fd, (off_t)f->newest->end) < 0)
        return -errno;
    f->bytes -= was - f->newest->end;
    f->newest->unsynced = true;
    f->written = x.seq;
    f->written_generation = x.generation;
    return 0;
}

int feed_segments_load(struct feed *f, uint64_t last)
{
    _cleanup_free_ uint64_t *v = NULL;
    struct feed_segment *s;
    char name[NAME_HEX + 1];
    size_t n = 0;
    int r = list_files(f->dirfd, &v, &n);

    for (size_t i = 0; r == 0 && i < n; i++) {
        r = v[i] <= last ? open_one(f, v[i], &s) : -EUCLEAN;
        if (r == 0) {
            append(f, s);
        } else if (r == -EUCLEAN) {
            name_of(v[i], name);
            disk->unlink(f->dirfd, name);
            r = 0;
        }
    }
    return r == 0 ? cut_newest(f, last) : r;
}

/* --- removing --- */

static void remove_dir(int top, const char *name)
{
    _cleanup_free_ uint64_t *v = NULL;
    _cleanup_close_ int fd = disk->open(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    char file[NAME_HEX + 1];
    size_t n = 0;

    if (fd < 0)
        return;
    if (list_files(fd, &v, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        name_of(v[i], file);
        disk->unlink(fd, file);
    }
    if (unlinkat(top, name, AT_REMOVEDIR) < 0)
        log_warn("journal=%s step=remove err=%s", name, errno_name(errno));
}

void feed_remove_files(struct store *s, const char *ws_id)
{
    _cleanup_close_ int top = disk->open(s->dirfd, TOP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

    if (top >= 0)
        remove_dir(top, ws_id);
}

void feed_clean(struct store *s)
{
    int fd = disk->open(s->dirfd, TOP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct feed_rec rec;

    if (!d) {
        close_p(&fd);
        return;
    }
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (object_id_is(e->d_name) && feed_rec_get(s->meta, e->d_name, &rec) == -ENOENT)
            remove_dir(fd, e->d_name);
    closedir(d);
}
