/* What operations there are, how they are chosen, printed and run. Chosen: mostly something that will work in the present state of the
 * model, on offsets around the boundaries that a file system has (unit, slot, inline size), sometimes nonsense. */
#include "tests/model/op.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

enum { MAX_NODES = 120, MAX_IO = 300 * 1024, SIZE_SOFT = 1 << 20 };

static const char *const op_names[OP_COUNT] = {
    "mk", "link", "unlink", "rmdir", "rename", "stat", "chmod", "chown", "utimens", "truncate", "readlink",
    "setxattr", "getxattr", "listxattr", "removexattr", "readdir",
    "open", "create", "tmpfile", "close", "link_handle", "fstat", "pread", "pwrite", "append", "map_write", "ftruncate",
    "fallocate", "copy", "seek", "fsync", "snapshot", "fork", "restore", "drop", "sync", "care" };

/* How often, in parts of the sum. The world's part is given only to those who have it. */
static const unsigned weights[OP_COUNT] = {
    [OP_MK] = 90, [OP_LINK] = 25, [OP_UNLINK] = 40, [OP_RMDIR] = 15, [OP_RENAME] = 50, [OP_STAT] = 10, [OP_CHMOD] = 10, [OP_CHOWN] = 8,
    [OP_UTIMENS] = 10, [OP_TRUNCATE] = 25, [OP_READLINK] = 5, [OP_SETXATTR] = 25, [OP_GETXATTR] = 8, [OP_LISTXATTR] = 5,
    [OP_REMOVEXATTR] = 8, [OP_READDIR] = 8, [OP_OPEN] = 50, [OP_CREATE] = 25, [OP_TMPFILE] = 6, [OP_CLOSE] = 40, [OP_LINK_HANDLE] = 8,
    [OP_FSTAT] = 5, [OP_PREAD] = 50, [OP_PWRITE] = 130, [OP_APPEND] = 40, [OP_MAP_WRITE] = 12, [OP_FTRUNCATE] = 20, [OP_FALLOCATE] = 25,
    [OP_COPY] = 25, [OP_SEEK] = 6, [OP_FSYNC] = 8, [OP_SNAPSHOT] = 14, [OP_FORK] = 9, [OP_RESTORE] = 4, [OP_DROP] = 14, [OP_SYNC] = 8,
    [OP_CARE] = 16 };

/* --- choosing --- */

struct pick { struct rng *r; uint32_t type; unsigned seen; char *path; const struct mtree *t; };

static void pick_fn(void *arg, const char *path, struct mnode *n) {
    struct pick *p = arg;
    if (p->type && (n->mode & S_IFMT) != p->type) return;
    if (rng_below(p->r, ++p->seen)) return;
    free(p->path);
    p->path = xstrdup(path);
}

/* Path of an existing thing of a type (0: any), or NULL. */
static char *existing(struct rng *r, const struct mtree *t, uint32_t type) {
    struct pick p = { .r = r, .type = type, .t = t };
    mtree_each(t, pick_fn, &p);
    return p.path;
}

static void name_random(struct rng *r, char *out) {
    static const char *const odd[] = { "\x01\xff\n", "a b", "-", "\xc3\xa4", "..x", "'\"\\$" };
    uint64_t x = rng_below(r, 100);
    if (x < 80) sprintf(out, "%c%c", (char)('a' + rng_below(r, 10)), (char)('0' + rng_below(r, 3)));
    else if (x < 92) strcpy(out, odd[rng_below(r, 6)]);
    else {
        size_t n = x < 98 ? 255 : x < 99 ? 254 : 256;
        memset(out, (int)('p' + rng_below(r, 3)), n);
        out[n] = 0;
    }
}

static unsigned depth(const char *p) {
    unsigned n = 0;
    for (; *p; p++) n += *p == '/';
    return n;
}

static char *fresh(struct rng *r, const struct mtree *t) {
    char name[300], *dir = existing(r, t, rng_chance(r, 97) ? S_IFDIR : 0), *p;
    while (dir && depth(dir) > 4) {
        char *cut = strrchr(dir, '/');
        *cut = 0;
    }
    name_random(r, name);
    size_t n = dir ? strlen(dir) : 0;
    p = xalloc(n + 302);
    sprintf(p, "%s%s%s", n ? dir : "", n ? "/" : "", name);
    free(dir);
    return p;
}

/* Mostly existing, sometimes made up. */
static char *some(struct rng *r, const struct mtree *t, uint32_t type) {
    char *p = rng_chance(r, 90) ? existing(r, t, rng_chance(r, 92) ? type : 0) : NULL;
    return p ? p : fresh(r, t);
}

static unsigned count_nodes(const struct mnode *n) {
    unsigned k = 1;
    for (size_t i = 0; i < n->ent_count; i++) k += count_nodes(n->ents[i].node);
    return k;
}

static unsigned some_ws(struct rng *r, const struct model *m) {
    for (int i = 0; i < 8; i++) {
        unsigned w = (unsigned)rng_below(r, PLACES_WS);
        if (m->place[w].root) return w;
    }
    return 0;
}

static uint64_t boundary(struct rng *r) {
    static const uint64_t b[] = { 0, 1, 512, 2047, 2048, 2049, 4096, 8192, 65536, 131072, 262144, 135168 };
    uint64_t x = b[rng_below(r, sizeof b / sizeof *b)];
    switch (rng_below(r, 6)) {
    case 0: return x ? x - 1 : 0;
    case 1: return x + 1;
    case 2: return x + rng_below(r, 5000);
    default: return x;
    }
}

static uint64_t some_off(struct rng *r, uint64_t size) {
    switch (rng_below(r, 6)) {
    case 0: return 0;
    case 1: return size < SIZE_SOFT ? size : rng_below(r, SIZE_SOFT);
    case 2: return rng_below(r, (size < SIZE_SOFT ? size : SIZE_SOFT) + 1);
    case 3: return rng_below(r, 40) * 4096;
    default: return boundary(r);
    }
}

static uint64_t some_len(struct rng *r) {
    switch (rng_below(r, 8)) {
    case 0: return 1 + rng_below(r, 16);
    case 1: case 2: return 1 + rng_below(r, 3000);
    case 3: return 4096 * (1 + rng_below(r, 4));
    case 4: return 1 + rng_below(r, 20000);
    case 5: return 131072;
    case 6: return 1 + rng_below(r, MAX_IO);
    default: return 1 + boundary(r) % MAX_IO;
    }
}

static uint64_t some_size(struct rng *r, uint64_t size, unsigned caps) {
    if (rng_chance(r, 3)) return caps & CAP_BIG_FILE && rng_chance(r, 50) ? (uint64_t)INT64_MAX - rng_below(r, 2) : 1ull << (20 + rng_below(r, 21));
    return some_off(r, size);
}

static uint32_t some_mode(struct rng *r) {
    static const uint32_t modes[] = { 0644, 0755, 0600, 0, 0777, 0444 };
    return modes[rng_below(r, 6)];
}

static void op_names_for(struct op *o, struct rng *r, const struct mtree *t) {
    switch (o->kind) {
    case OP_MK: {
        static const uint32_t types[] = { S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK };
        o->p1 = rng_chance(r, 95) ? fresh(r, t) : some(r, t, 0);
        uint32_t type = types[rng_below(r, 9)];
        o->mode = type | some_mode(r) | (type == S_IFDIR && rng_chance(r, 10) ? S_ISGID : 0);
        if (type != S_IFLNK) break;
        size_t n = rng_chance(r, 90) ? 1 + rng_below(r, 60) : 4095;
        o->p2 = xalloc(n + 1);
        memset(o->p2, 'z', n);
        break;
    }
    case OP_LINK: o->p1 = some(r, t, S_IFREG); o->p2 = fresh(r, t); break;
    case OP_UNLINK: o->p1 = some(r, t, rng_chance(r, 80) ? S_IFREG : 0); break;
    case OP_RMDIR: case OP_READDIR: o->p1 = some(r, t, S_IFDIR); break;
    case OP_TMPFILE: o->p1 = some(r, t, S_IFDIR); o->mode = some_mode(r); break;
    case OP_RENAME: {
        static const unsigned flags[] = { 0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE, RENAME_WHITEOUT };
        o->p1 = some(r, t, 0);
        o->p2 = rng_chance(r, 50) ? some(r, t, 0) : fresh(r, t);
        o->flags = flags[rng_below(r, 8)];
        break;
    }
    case OP_TRUNCATE: case OP_OPEN: o->p1 = some(r, t, S_IFREG); break;
    case OP_CREATE: o->p1 = fresh(r, t); o->mode = some_mode(r) | 0400; break;
    case OP_READLINK: o->p1 = some(r, t, S_IFLNK); break;
    case OP_LINK_HANDLE: o->p1 = fresh(r, t); break;
    default: o->p1 = some(r, t, 0);
    }
}

static void op_xattr(struct op *o, struct rng *r, unsigned caps) {
    static const char *const names[] = { "user.a", "user.b", "user.long", "trusted.t", "user.\xff\x01", "trusted.u" };
    const char *name = names[rng_below(r, 6)];
    o->p2 = xalloc(300);
    strcpy(o->p2, name);
    if (!strcmp(name, "user.long")) memset(o->p2 + 5, 'x', 250);
    static const unsigned flags[] = { 0, 0, 0, XATTR_CREATE, XATTR_REPLACE };
    o->flags = flags[rng_below(r, 5)];
    o->len = rng_chance(r, 10) ? 0 : 1 + rng_below(r, 100);
    if ((caps & CAP_BIG_XATTR) && rng_chance(r, 5)) o->len = rng_chance(r, 20) ? 65536 : rng_below(r, 20000);
}

static void op_io(struct op *o, struct rng *r, const struct model *m, unsigned caps) {
    uint64_t size = m->h[o->h].n ? m->h[o->h].n->data.size : 0;
    o->off = some_off(r, size);
    o->len = some_len(r);
    switch (o->kind) {
    case OP_MAP_WRITE:
        if (size) {
            o->off = rng_below(r, size < SIZE_SOFT ? size : SIZE_SOFT);
            if (o->len > size - o->off) o->len = size - o->off;
        }
        break;
    case OP_FTRUNCATE: o->len = some_size(r, size, caps); break;
    case OP_FALLOCATE: {
        static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
        o->mode = (uint32_t)modes[rng_below(r, 6)];
        break;
    }
    case OP_COPY: {
        uint64_t size2 = m->h[o->h2].n ? m->h[o->h2].n->data.size : 0;
        if (rng_chance(r, 40)) o->off = rng_below(r, 4) * 131072, o->off2 = rng_below(r, 4) * 131072, o->len = 131072 * (1 + rng_below(r, 2));
        else o->off2 = some_off(r, size2);
        break;
    }
    case OP_APPEND: if (rng_chance(r, 70)) o->len = 1 + rng_below(r, 300); break;
    case OP_SEEK: o->flags = rng_chance(r, 50) ? SEEK_DATA : SEEK_HOLE; break;
    default: break;
    }
}

static unsigned some_handle(struct rng *r, const struct model *m, bool open) {
    for (int i = 0; i < 12; i++) {
        unsigned h = (unsigned)rng_below(r, HANDLES);
        if (!!m->h[h].n == open) return h;
    }
    return (unsigned)rng_below(r, HANDLES);
}

static void op_world(struct op *o, struct rng *r, const struct model *m) {
    o->at = some_ws(r, m);
    o->to = (unsigned)rng_below(r, o->kind == OP_FORK ? PLACES_WS : PLACES_SNAP);
    for (int i = 0; i < 6; i++) {                          /* prefer what is free, or what is there, as it fits */
        bool there = m->place[o->kind == OP_FORK ? o->to : place_snap(o->to)].root != NULL;
        if (there == (o->kind == OP_RESTORE)) break;
        o->to = (unsigned)rng_below(r, o->kind == OP_FORK ? PLACES_WS : PLACES_SNAP);
    }
    if (o->kind == OP_FORK && rng_chance(r, 50)) o->at = place_snap((unsigned)rng_below(r, PLACES_SNAP));
    if (o->kind == OP_DROP) o->at = 1 + (unsigned)rng_below(r, PLACES - 1);
    if (o->kind == OP_CARE) {
        static const enum care c[] = { CARE_FOLD, CARE_FOLD, CARE_FOLD, CARE_GC, CARE_PACK, CARE_REOPEN, CARE_FSCK };
        o->flags = c[rng_below(r, 7)];
    }
}

static enum op_kind some_kind(struct rng *r, unsigned caps) {
    unsigned n = caps & CAP_WORLD ? OP_COUNT : OP_SNAPSHOT, sum = 0;
    for (unsigned i = 0; i < n; i++) sum += weights[i];
    unsigned x = (unsigned)rng_below(r, sum);
    for (unsigned i = 0; i < n; i++) {
        if (x < weights[i]) return (enum op_kind)i;
        x -= weights[i];
    }
    return OP_STAT;
}

struct op op_random(struct rng *r, const struct model *m, unsigned caps) {
    struct op o = { .kind = some_kind(r, caps), .at = some_ws(r, m), .seed = rng_next(r) };
    if (o.kind == OP_RESTORE && rng_chance(r, 70)) o.kind = OP_SNAPSHOT;
    if ((o.kind == OP_MK || o.kind == OP_LINK || o.kind == OP_CREATE) && count_nodes(m->place[o.at].root) > MAX_NODES) o.kind = OP_UNLINK;
    const struct mtree *t = &m->place[o.at];
    if (o.kind < OP_OPEN && rng_chance(r, 3)) {            /* now and then a snapshot: read, or refused */
        unsigned k = place_snap((unsigned)rng_below(r, PLACES_SNAP));
        if (m->place[k].root) o.at = k, t = &m->place[k];
    }
    o.fill = (enum fill)rng_below(r, FILL_COUNT);
    o.h = some_handle(r, m, o.kind != OP_OPEN && o.kind != OP_CREATE && o.kind != OP_TMPFILE);
    o.h2 = rng_chance(r, 20) ? o.h : some_handle(r, m, true);
    if (o.kind <= OP_TMPFILE || o.kind == OP_LINK_HANDLE) op_names_for(&o, r, o.kind == OP_LINK_HANDLE && m->h[o.h].n ? &m->place[m->h[o.h].at] : t);
    if (o.kind == OP_SETXATTR || o.kind == OP_GETXATTR || o.kind == OP_REMOVEXATTR) op_xattr(&o, r, caps);
    if (o.kind == OP_TRUNCATE) o.len = some_size(r, boundary(r), caps);
    if (o.kind == OP_CHMOD) o.mode = some_mode(r);
    if (o.kind == OP_CHOWN) o.uid = (uint32_t)rng_below(r, 3) * 1000, o.gid = (uint32_t)rng_below(r, 3) * 1000;
    if (o.kind == OP_UTIMENS)
        for (int i = 0; i < 2; i++) o.ts[i] = (struct timespec){ (time_t)rng_below(r, 1u << 30), (long)rng_below(r, 1000000000) };
    if (o.kind >= OP_PREAD && o.kind <= OP_SEEK) op_io(&o, r, m, caps);
    if (o.kind >= OP_SNAPSHOT) op_world(&o, r, m);
    if (o.kind == OP_READDIR) o.len = 1 + rng_below(r, 40);
    return o;
}

void op_fini(struct op *o) {
    free(o->p1);
    free(o->p2);
    o->p1 = o->p2 = NULL;
}

struct op op_dup(const struct op *o) {
    struct op r = *o;
    r.p1 = o->p1 ? xstrdup(o->p1) : NULL;
    r.p2 = o->p2 ? xstrdup(o->p2) : NULL;
    return r;
}

/* --- printing --- */

static void put_path(char *out, size_t size, const char *p) {
    size_t n = strlen(out);
    if (!p) return;
    snprintf(out + n, size - n, " \"");
    for (; *p && (n = strlen(out)) + 24 < size; p++) {
        size_t same = strspn(p, (char[]){ *p, 0 });
        if (same > 20) {
            snprintf(out + n, size - n, "%c{%zu}", *p, same);
            p += same - 1;
        } else if (*p >= ' ' && *p < 127 && *p != '"') {
            out[n] = *p, out[n + 1] = 0;
        } else {
            snprintf(out + n, size - n, "\\x%02x", (uint8_t)*p);
        }
    }
    n = strlen(out);
    snprintf(out + n, size - n, "\"");
}

void op_print(const struct op *o, char *out, size_t size) {
    snprintf(out, size, "%-11s", op_names[o->kind]);
    size_t n = strlen(out);
    if (o->kind < OP_OPEN || o->kind == OP_OPEN || o->kind == OP_CREATE || o->kind == OP_TMPFILE || o->kind >= OP_SNAPSHOT) n += (size_t)snprintf(out + n, size - n, " at=%u", o->at);
    if (o->kind >= OP_OPEN && o->kind < OP_SNAPSHOT) n += (size_t)snprintf(out + n, size - n, " h=%u", o->h);
    put_path(out, size, o->p1);
    put_path(out, size, o->p2);
    n = strlen(out);
    switch (o->kind) {
    case OP_MK: case OP_CHMOD: case OP_CREATE: case OP_TMPFILE: snprintf(out + n, size - n, " mode=%o", o->mode); break;
    case OP_RENAME: case OP_CARE: case OP_SEEK: snprintf(out + n, size - n, " flags=%u off=%llu", o->flags, (unsigned long long)o->off); break;
    case OP_SETXATTR: snprintf(out + n, size - n, " flags=%u len=%llu", o->flags, (unsigned long long)o->len); break;
    case OP_TRUNCATE: case OP_FTRUNCATE: snprintf(out + n, size - n, " size=%llu", (unsigned long long)o->len); break;
    case OP_SNAPSHOT: case OP_FORK: case OP_RESTORE: snprintf(out + n, size - n, " to=%u", o->to); break;
    case OP_PREAD: case OP_PWRITE: case OP_APPEND: case OP_MAP_WRITE:
        snprintf(out + n, size - n, " off=%llu len=%llu fill=%d", (unsigned long long)o->off, (unsigned long long)o->len, (int)o->fill); break;
    case OP_FALLOCATE: snprintf(out + n, size - n, " mode=%u off=%llu len=%llu", o->mode, (unsigned long long)o->off, (unsigned long long)o->len); break;
    case OP_COPY: snprintf(out + n, size - n, " off=%llu to h=%u off=%llu len=%llu", (unsigned long long)o->off, o->h2, (unsigned long long)o->off2, (unsigned long long)o->len); break;
    default: break;
    }
}

/* --- running --- */

void op_bytes(const struct op *o, uint8_t *out, size_t n) {
    struct rng r = { o->seed };
    switch (o->fill) {
    case FILL_ZERO: memset(out, 0, n); return;
    case FILL_SAME: memset(out, 'S', n); return;            /* the same everywhere: to be shared */
    case FILL_TEXT:
        for (size_t i = 0; i < n; i++) out[i] = (uint8_t)("line of text\n"[(i + o->seed) % 13]);
        return;
    default:
        for (size_t i = 0; i < n; i += 8) {
            uint64_t x = rng_next(&r);
            memcpy(out + i, &x, n - i < 8 ? n - i : 8);
        }
    }
}

static uint64_t sum_bytes(const uint8_t *p, size_t n) {
    uint64_t h = 14695981039346656037ull;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211ull;
    return h;
}

/* Order does not matter; names must not come twice. */
struct listing { uint64_t sum; unsigned n; };
static int listing_fn(void *arg, const char *name, uint8_t type) {
    struct listing *l = arg;
    l->sum += sum_bytes((const uint8_t *)name, strlen(name)) * (type | 1u);
    l->n++;
    return 0;
}

static void sum_list(struct outcome *ret, const char *list, int64_t n) {
    for (const char *p = list; p < list + n; p += strlen(p) + 1) ret->sum += sum_bytes((const uint8_t *)p, strlen(p));
}

static void run_handle(const struct op *o, const struct fs_ops *f, void *c, struct outcome *ret, uint8_t *b) {
    switch (o->kind) {
    case OP_OPEN: ret->res = f->open(c, o->at, o->p1, o->h, 0); break;
    case OP_CREATE: ret->res = f->open(c, o->at, o->p1, o->h, o->mode); break;
    case OP_TMPFILE: ret->res = f->tmpfile(c, o->at, o->p1, o->h, o->mode); break;
    case OP_CLOSE: ret->res = f->close(c, o->h); break;
    case OP_LINK_HANDLE: ret->res = f->link_handle(c, o->h, o->p1); break;
    case OP_FSTAT: ret->res = f->fstat(c, o->h, &ret->st); ret->has_st = !ret->res; break;
    case OP_PREAD:
        ret->res = f->pread(c, o->h, o->off, o->len, b);
        if (ret->res > 0) ret->sum = sum_bytes(b, (size_t)ret->res);
        break;
    case OP_PWRITE: ret->res = f->pwrite(c, o->h, o->off, b, o->len); break;
    case OP_APPEND: ret->res = f->append(c, o->h, b, o->len); break;
    case OP_MAP_WRITE: ret->res = f->map_write(c, o->h, o->off, b, o->len); break;
    case OP_FTRUNCATE: ret->res = f->ftruncate(c, o->h, o->len); break;
    case OP_FALLOCATE: ret->res = f->fallocate(c, o->h, (int)o->mode, o->off, o->len); break;
    case OP_COPY: ret->res = f->copy(c, o->h, o->off, o->h2, o->off2, o->len); break;
    case OP_SEEK: ret->res = f->seek(c, o->h, o->off, (int)o->flags); break;
    default: ret->res = f->fsync(c, o->h); break;
    }
}

static void run_path(const struct op *o, const struct fs_ops *f, void *c, struct outcome *ret, uint8_t *b) {
    switch (o->kind) {
    case OP_MK: ret->res = f->mk(c, o->at, o->p1, o->mode, 0, o->p2); break;
    case OP_LINK: ret->res = f->link(c, o->at, o->p1, o->p2); break;
    case OP_UNLINK: ret->res = f->unlink(c, o->at, o->p1); break;
    case OP_RMDIR: ret->res = f->rmdir(c, o->at, o->p1); break;
    case OP_RENAME: ret->res = f->rename(c, o->at, o->p1, o->p2, o->flags); break;
    case OP_CHMOD: ret->res = f->chmod(c, o->at, o->p1, o->mode); break;
    case OP_CHOWN: ret->res = f->chown(c, o->at, o->p1, o->uid, o->gid); break;
    case OP_UTIMENS: ret->res = f->utimens(c, o->at, o->p1, o->ts); break;
    case OP_TRUNCATE: ret->res = f->truncate(c, o->at, o->p1, o->len); break;
    case OP_READLINK:
        ret->res = f->readlink(c, o->at, o->p1, (char *)b, 4096);
        if (ret->res > 0) ret->sum = sum_bytes(b, (size_t)ret->res);
        break;
    case OP_SETXATTR: ret->res = f->setxattr(c, o->at, o->p1, o->p2, b, o->len, (int)o->flags); break;
    case OP_GETXATTR:
        ret->res = f->getxattr(c, o->at, o->p1, o->p2, b, VALUE_BYTES);
        if (ret->res > 0) ret->sum = sum_bytes(b, (size_t)ret->res);
        break;
    case OP_LISTXATTR:
        ret->res = f->listxattr(c, o->at, o->p1, (char *)b, LIST_BYTES);
        sum_list(ret, (char *)b, ret->res);
        break;
    case OP_REMOVEXATTR: ret->res = f->removexattr(c, o->at, o->p1, o->p2); break;
    case OP_READDIR: {
        struct listing l = {0};
        ret->res = f->readdir(c, o->at, o->p1, (unsigned)o->len, listing_fn, &l);
        if (!ret->res) ret->sum = l.sum, ret->res = l.n;
        break;
    }
    default: ret->res = f->stat(c, o->at, o->p1, &ret->st); ret->has_st = !ret->res; break;
    }
    /* What a change left is looked at at once. */
    if (!ret->res && (o->kind == OP_CHMOD || o->kind == OP_CHOWN || o->kind == OP_UTIMENS || o->kind == OP_TRUNCATE || o->kind == OP_MK))
        ret->has_st = !f->stat(c, o->at, o->p1, &ret->st);
}

void op_run(const struct op *o, const struct fs_ops *f, void *c, struct outcome *ret) {
    static uint8_t b[MAX_IO + VALUE_BYTES + 8];
    *ret = (struct outcome){0};
    if (o->kind == OP_PWRITE || o->kind == OP_APPEND || o->kind == OP_MAP_WRITE || o->kind == OP_SETXATTR) op_bytes(o, b, o->len);
    if (o->kind < OP_OPEN) run_path(o, f, c, ret, b);
    else if (o->kind < OP_SNAPSHOT) run_handle(o, f, c, ret, b);
    else switch (o->kind) {
    case OP_SNAPSHOT: ret->res = f->snapshot(c, o->at, o->to); break;
    case OP_FORK: ret->res = f->fork(c, o->at, o->to); break;
    case OP_RESTORE: ret->res = f->restore(c, o->at, o->to, NULL); break;
    case OP_DROP: ret->res = f->drop(c, o->at); break;
    case OP_SYNC: ret->res = f->sync(c, o->at); break;
    default: ret->res = f->care(c, (enum care)o->flags); break;
    }
}

static bool time_differs(uint8_t rule, int64_t as, uint32_t ans, int64_t bs, uint32_t bns, int64_t start_s) {
    if (rule == TIME_EXACT) return as != bs || ans != bns;
    return rule == TIME_RECENT && bs < start_s - 1;
}

const char *st_differs(const struct st *a, const struct st *b, int64_t start_s) {
    static char out[200];
    if (a->mode != b->mode) snprintf(out, sizeof out, "mode %o, expected %o", b->mode, a->mode);
    else if (a->nlink != b->nlink) snprintf(out, sizeof out, "nlink %u, expected %u", b->nlink, a->nlink);
    else if (a->uid != b->uid || a->gid != b->gid) snprintf(out, sizeof out, "owner %u:%u, expected %u:%u", b->uid, b->gid, a->uid, a->gid);
    else if (a->rdev != b->rdev) snprintf(out, sizeof out, "rdev %u, expected %u", b->rdev, a->rdev);
    else if (!S_ISDIR(a->mode) && a->size != b->size) snprintf(out, sizeof out, "size %llu, expected %llu", (unsigned long long)b->size, (unsigned long long)a->size);
    else if (time_differs(a->mtime_rule, a->mtime_s, a->mtime_ns, b->mtime_s, b->mtime_ns, start_s))
        snprintf(out, sizeof out, "mtime %lld.%09u, expected %s %lld.%09u", (long long)b->mtime_s, b->mtime_ns,
            a->mtime_rule == TIME_EXACT ? "exactly" : "at least the start of the test, not", (long long)a->mtime_s, a->mtime_ns);
    else return NULL;
    return out;
}

const char *outcome_differs(const struct op *o, const struct outcome *a, const struct outcome *b, unsigned caps, int64_t start_s) {
    static char out[400];
    if (o->kind == OP_SEEK && !a->res) return NULL;       /* model_run looks at it */
    if (o->kind < OP_OPEN && o->at >= PLACES_WS && a->res < 0 && b->res < 0) return NULL;     /* read-only: the order of errors is not ours */
    if (a->res != b->res)
        snprintf(out, sizeof out, "result %lld (%s), expected %lld (%s)", (long long)b->res, b->res < 0 ? strerror((int)-b->res) : "ok",
            (long long)a->res, a->res < 0 ? strerror((int)-a->res) : "ok");
    else if (a->sum != b->sum) snprintf(out, sizeof out, "other bytes or names than expected (result %lld)", (long long)b->res);
    else if (a->has_st && !b->has_st) snprintf(out, sizeof out, "stat after it failed");
    else if (a->has_st && o->kind == OP_UTIMENS && time_differs(TIME_EXACT, a->st.atime_s, a->st.atime_ns, b->st.atime_s, b->st.atime_ns, 0))
        snprintf(out, sizeof out, "atime is not what was set");
    else if (a->has_st) return st_differs(&a->st, &b->st, start_s);
    else return NULL;
    return out;
}
