#include "tests/crash/history.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "fs/verbs.h"
#include "tests/model/check.h"

enum { SECTOR = 512 };

/* Places whose tree an operation changes; -1: none. */
static int touched(const struct op *o, const struct model *m) {
    switch (o->kind) {
    case OP_STAT: case OP_READLINK: case OP_GETXATTR: case OP_LISTXATTR: case OP_READDIR: case OP_OPEN: case OP_TMPFILE: case OP_CLOSE:
    case OP_FSTAT: case OP_PREAD: case OP_SEEK: case OP_FSYNC: case OP_SYNC: case OP_CARE: return -1;
    case OP_COPY: return m->h[o->h2].n ? (int)m->h[o->h2].at : -1;
    case OP_SNAPSHOT: return (int)place_snap(o->to);
    case OP_FORK: return (int)o->to;
    case OP_RESTORE: case OP_DROP: return (int)o->at;
    default: return o->kind >= OP_LINK_HANDLE && o->kind < OP_SNAPSHOT ? m->h[o->h].n ? (int)m->h[o->h].at : -1 : (int)o->at;
    }
}

static uint8_t acked(const struct op *o, const struct model *m) {
    switch (o->kind) {
    case OP_FSYNC: return m->h[o->h].n ? (uint8_t)(1u << m->h[o->h].at) : 0;
    case OP_SYNC: case OP_SNAPSHOT: case OP_RESTORE: return (uint8_t)(1u << o->at);
    case OP_FORK: return (uint8_t)((o->at < PLACES_WS ? 1u << o->at : 0) | 1u << o->to);
    case OP_CARE: return o->flags == CARE_REOPEN ? (1u << PLACES_WS) - 1 : 0;
    default: return 0;
    }
}

static void keep(struct history *h, unsigned p, int op, const struct model *m) {
    h->place[p].v = xrealloc(h->place[p].v, (size_t)(h->place[p].n + 1) * sizeof *h->place[p].v);
    struct version *v = &h->place[p].v[h->place[p].n++];
    *v = (struct version){ .op = op };
    if (m->place[p].root) v->tree = mtree_clone(&m->place[p]);
}

static void keep_loose(struct history *h, int op, const struct mnode *n) {
    h->loose = xrealloc(h->loose, (size_t)(h->loose_count + 1) * sizeof *h->loose);
    h->loose[h->loose_count++] = (struct loose){ op, n->uid_, bytes_clone(&n->data) };
}

void history_make(struct history *h, struct model *m, uint64_t seed, int count) {
    struct rng r = { seed };
    *h = (struct history){ .ops = xalloc((size_t)count * sizeof *h->ops), .results = xalloc((size_t)count * sizeof *h->results),
        .acks = xalloc((size_t)count), .count = count, .start_s = time(NULL) };
    for (unsigned p = 0; p < PLACES; p++) keep(h, p, -1, m);
    for (int i = 0; i < count; i++) {
        struct op *o = &h->ops[i];
        *o = op_random(&r, m, CAP_WORLD);
        if (o->kind == OP_DROP && o->at < PLACES_WS) o->kind = OP_SYNC;
        int p = touched(o, m);
        uint8_t ack = acked(o, m);
        struct outcome out;
        op_run(o, &model_ops, m, &out);
        h->results[i] = out.res;
        if (out.res >= 0) h->acks[i] = ack;
        if (out.res >= 0 && p >= 0) keep(h, (unsigned)p, i, m);
        struct mnode *n = o->kind < OP_OPEN || o->kind >= OP_SNAPSHOT ? NULL : m->h[o->kind == OP_COPY ? o->h2 : o->h].n;
        if (out.res >= 0 && p >= 0 && n && !n->nlink) keep_loose(h, i, n);
    }
}

void history_fini(struct history *h) {
    for (int i = 0; i < h->count; i++) op_fini(&h->ops[i]);
    for (unsigned p = 0; p < PLACES; p++) {
        for (int i = 0; i < h->place[p].n; i++) mtree_fini(&h->place[p].v[i].tree);
        free(h->place[p].v);
    }
    for (int i = 0; i < h->loose_count; i++) bytes_fini(&h->loose[i].data);
    free(h->loose);
    free(h->ops);
    free(h->results);
    free(h->acks);
    *h = (struct history){0};
}

const char *history_step(const struct history *h, int i, struct target_ws *t, int64_t *ret_res) {
    static char out[900];
    char line[600];
    struct outcome o;
    const struct op *op = &h->ops[i];
    op_run(op, &target_ws_ops, t, &o);
    *ret_res = o.res;
    if (o.res == h->results[i] || op->kind == OP_SEEK || (op->kind < OP_OPEN && op->at >= PLACES_WS && o.res < 0 && h->results[i] < 0)) return NULL;
    op_print(op, line, sizeof line);
    snprintf(out, sizeof out, "operation %d (%s): result %lld, expected %lld", i, line, (long long)o.res, (long long)h->results[i]);
    return out;
}

/* --- judging --- */

/* Index of the version that held after operation op. */
static int at_op(const struct history *h, unsigned p, int op) {
    int i = h->place[p].n - 1;
    while (h->place[p].v[i].op > op) i--;
    return i;
}

struct judge { const struct history *h; unsigned p; int from, to, done; int64_t start_s; char out[500]; };

static struct mnode *by_number(struct mnode *n, uint64_t number) {
    if (!n || n->uid_ == number) return n;
    for (size_t i = 0; i < n->ent_count; i++) {
        struct mnode *c = n->ents[i].node, *f = S_ISDIR(c->mode) ? by_number(c, number) : c->uid_ == number ? c : NULL;
        if (f) return f;
    }
    return NULL;
}

static bool sector_known(struct judge *j, const struct bytes *got, uint64_t number, uint64_t off) {
    uint8_t a[SECTOR], b[SECTOR];
    size_t n = got->size - off < SECTOR ? (size_t)(got->size - off) : SECTOR;
    bytes_read(got, off, n, a);
    for (int i = j->from; i <= j->to; i++) {
        struct mnode *m = by_number(j->h->place[j->p].v[i].tree.root, number);
        if (!m || !S_ISREG(m->mode)) continue;
        bytes_read(&m->data, off, n, b);
        if (!memcmp(a, b, n)) return true;
    }
    int from = j->h->place[j->p].v[j->from].op, to = j->done;
    for (int i = 0; i < j->h->loose_count; i++) {         /* data of a file is overwritten in place also after its last name is gone */
        const struct loose *l = &j->h->loose[i];
        if (l->number != number || l->op < from || l->op > to) continue;
        bytes_read(&l->data, off, n, b);
        if (!memcmp(a, b, n)) return true;
    }
    return false;
}

static bool bytes_match(struct judge *j, const char *path, const struct mnode *got, const struct mnode *want) {
    if (got->data.size != want->data.size) {
        snprintf(j->out, sizeof j->out, "%.100s: size %llu, expected %llu", path, (unsigned long long)got->data.size, (unsigned long long)want->data.size);
        return false;
    }
    for (uint64_t off = 0; off < got->data.size;) {
        uint64_t a = bytes_next(&got->data, off), b = bytes_next(&want->data, off);
        off = (a < b ? a : b);
        if (off == UINT64_MAX || off >= got->data.size) return true;
        off -= off % SECTOR;
        uint8_t x[SECTOR], y[SECTOR];
        bytes_read(&got->data, off, SECTOR, x);
        bytes_read(&want->data, off, SECTOR, y);
        if (memcmp(x, y, SECTOR) && !sector_known(j, &got->data, want->uid_, off)) {
            size_t k = 0;
            while (x[k] == y[k]) k++;
            snprintf(j->out, sizeof j->out, "%.100s: sector at %llu (byte %zu is %02x, in the version %02x) is of no version of the file; size %llu", path,
                (unsigned long long)off, k, x[k], y[k], (unsigned long long)got->data.size);
            return false;
        }
        off += SECTOR;
    }
    return true;
}

static bool xattrs_match(const struct mnode *a, const struct mnode *b) {
    if (a->xattr_count != b->xattr_count) return false;
    for (size_t i = 0; i < a->xattr_count; i++) {
        size_t k = 0;
        while (k < b->xattr_count && strcmp(a->xattrs[i].name, b->xattrs[k].name)) k++;
        if (k == b->xattr_count || a->xattrs[i].n != b->xattrs[k].n || memcmp(a->xattrs[i].v, b->xattrs[k].v, a->xattrs[i].n)) return false;
    }
    return true;
}

#define SAY(...) return snprintf(j->out, sizeof j->out, __VA_ARGS__), false

static bool node_match(struct judge *j, const char *path, const struct mnode *got, const struct mnode *want) {
    if (got->mode != want->mode) SAY("%.100s: mode %o, expected %o", path, got->mode, want->mode);
    if (got->nlink != want->nlink) SAY("%.100s: nlink %u, expected %u", path, got->nlink, want->nlink);
    if (got->uid != want->uid || got->gid != want->gid) SAY("%.100s: owner", path);
    if (want->mtime_rule == TIME_EXACT && (got->mtime_s != want->mtime_s || got->mtime_ns != want->mtime_ns)) SAY("%.100s: mtime", path);
    if (S_ISLNK(got->mode) && strcmp(got->target, want->target)) SAY("%.100s: target", path);
    if (!xattrs_match(got, want)) SAY("%.100s: extended attributes", path);
    if (S_ISREG(got->mode)) return bytes_match(j, path, got, want);
    if (!S_ISDIR(got->mode)) return true;
    size_t n = got->ent_count < want->ent_count ? got->ent_count : want->ent_count;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(got->ents[i].name, want->ents[i].name)) SAY("%.60s: has %.60s where %.60s was expected", path, got->ents[i].name, want->ents[i].name);
        char sub[200];
        snprintf(sub, sizeof sub, "%.80s/%.100s", path, got->ents[i].name);
        if (!node_match(j, sub, got->ents[i].node, want->ents[i].node)) return false;
    }
    if (got->ent_count != want->ent_count) SAY("%.100s: %zu names, expected %zu", path, got->ent_count, want->ent_count);
    return true;
}

/* One of the versions from..to, sectors from any of them. */
static bool place_match(struct judge *j, const struct mtree *got) {
    char first[500] = "";
    for (int i = j->to; i >= j->from; i--) {              /* newest first: most likely */
        const struct mnode *want = j->h->place[j->p].v[i].tree.root;
        if (!want) continue;
        if (node_match(j, "", got->root, want)) return true;
        if (!first[0]) snprintf(first, sizeof first, "%s", j->out);
    }
    char last[500];
    snprintf(last, sizeof last, "%s", j->out);
    snprintf(j->out, sizeof j->out, "is none of the versions %d..%d: newest: %.180s; durable one: %.180s", j->h->place[j->p].v[j->from].op,
        j->h->place[j->p].v[j->to].op, first, last);
    return false;
}

const char *history_judge(const struct history *h, int done, struct target_ws *t) {
    static char out[700];
    for (unsigned p = 0; p < PLACES; p++) {
        int before = at_op(h, p, done - 1), after = at_op(h, p, done < h->count ? done : done - 1);
        bool there = t->id[p][0], may = h->place[p].v[before].tree.root || h->place[p].v[after].tree.root;
        bool must = h->place[p].v[before].tree.root && h->place[p].v[after].tree.root;
        if (there ? !may : must) {
            snprintf(out, sizeof out, "place %u is %s", p, there ? "there and must not be" : "gone");
            return out;
        }
        if (!there) continue;
        int lo = -1;
        for (int i = 0; i < done && p < PLACES_WS; i++)
            if (h->acks[i] & 1u << p) lo = i;
        struct judge j = { .h = h, .p = p, .from = p < PLACES_WS ? at_op(h, p, lo) : before, .to = after, .done = done, .start_s = h->start_s };
        struct mtree got = {0};
        uint64_t number = 0;
        int r = check_load(&got, p, &number, &target_ws_ops, t);
        bool ok = !r && place_match(&j, &got);
        if (got.root) mtree_fini(&got);
        if (ok) continue;
        if (r) snprintf(out, sizeof out, "place %u cannot be read: %s", p, strerror(-r));
        else snprintf(out, sizeof out, "place %u %s (window from operation %d)", p, j.out, lo);
        return out;
    }
    return NULL;
}

void history_dump(const struct history *h, const char *path) {
    FILE *f = fopen(path, "we");
    if (!f) return;
    for (int i = 0; i < h->count; i++) {
        char line[600];
        op_print(&h->ops[i], line, sizeof line);
        fprintf(f, "%d %s -> %lld%s\n", i, line, (long long)h->results[i], h->acks[i] ? " (durable)" : "");
    }
    fclose(f);
}

int history_resume(struct target_ws *t, struct model *m) {
    *m = (struct model){ .next = 1 };
    for (unsigned p = 0; p < PLACES; p++) {
        if (!t->id[p][0]) continue;
        int r = check_load(&m->place[p], p, &m->next, &target_ws_ops, t);
        if (r) return r;
    }
    for (unsigned p = 0; p < PLACES; p++) m->place[p].number = p < PLACES_WS ? m->next++ : 0;
    for (unsigned p = PLACES_WS; p < PLACES; p++) {
        struct object o;
        if (!t->id[p][0]) continue;
        int r = object_find(t->s, t->id[p], &o);
        if (r) return r;
        for (unsigned w = 0; w < PLACES_WS; w++)
            if (!strcmp(t->id[w], o.snap.ws_id)) m->place[p].of = m->place[w].number;
    }
    return 0;
}
