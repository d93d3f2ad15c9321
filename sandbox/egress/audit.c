/* The log of decisions. Each box has its own ring, files and lock, so no box waits for, or pushes out, another's. */
#include "sandbox/egress/audit.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/egress/audit_log.h"
#include "sandbox/egress/durable.h"

enum { RESERVE = 65536 };
/* id first: tsearch compares with a bare string */
struct slot { char id[64]; atomic_uint refs; bool gone; pthread_mutex_t lock /* guards log, gone; held across one write */; struct audit_log log; };
struct watcher { char box[64] /* "": all */; int fd; };
struct audit {
    int dir;                               /* -1: in memory only */
    pthread_mutex_t lock;                  /* guards slots, watchers; before slot.lock, which is never held when this is taken */
    void *slots;                           /* tsearch */
    struct watcher watchers[AUDIT_WATCHERS_MAX];
    unsigned watching;
    pthread_mutex_t seq_lock;              /* guards seq, reserved; innermost; once in 65,536 numbers held across a durable write */
    uint64_t seq, reserved;
};

static int by_id(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void slot_unref(struct slot *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    audit_log_fini(&s->log);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool id_ok(const char *id)
{
    size_t n = strlen(id);
    return n && n < 64 && id[0] != '.' && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* Counted; NULL: no memory, or not an id. make: with what its files hold. */
static struct slot *slot_of(struct audit *a, const char *id, bool make)
{
    struct slot *s = NULL;

    if (!id_ok(id))
        return NULL;
    pthread_mutex_lock(&a->lock);
    void *node = tfind(id, &a->slots, by_id);
    if (node)
        s = *(struct slot **)node;
    else if (make && (s = mem_zalloc(sizeof *s))) {
        snprintf(s->id, sizeof s->id, "%s", id);
        s->refs = 1;
        pthread_mutex_init(&s->lock, NULL);
        audit_log_load(&s->log, a->dir, id);
        if (!tsearch(s, &a->slots, by_id)) {
            slot_unref(s);
            s = NULL;
        }
    }
    if (s)
        atomic_fetch_add(&s->refs, 1);
    pthread_mutex_unlock(&a->lock);
    return s;
}

static int reserve(struct audit *a)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%llu\n", (unsigned long long)(a->seq + RESERVE));

    a->reserved = a->seq + RESERVE;
    return a->dir < 0 ? 0 : durable_put(a->dir, "SEQ", text, (size_t)n);
}

int audit_open(int dir_fd, struct audit **ret)
{
    struct audit *a = mem_zalloc(sizeof *a);
    char *text = NULL;
    size_t n;

    if (!a)
        return -ENOMEM;
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->seq_lock, NULL);
    a->dir = dir_fd < 0 ? -1 : durable_dir(dir_fd, "log");
    int e = dir_fd >= 0 && a->dir < 0 ? a->dir : 0;
    if (!e && a->dir >= 0 && !durable_get(a->dir, "SEQ", 64, &text, &n))
        a->seq = strtoull(text, NULL, 10);
    free(text);
    if (!e && (e = reserve(a)))
        log_warn("egress=audit step=reserve err=%s", errno_name(e));     /* the numbers may come again; that is all */
    if (e && a->dir < 0) {
        audit_free(a);
        return e;
    }
    *ret = a;
    return 0;
}

static void slot_free(void *p)
{
    slot_unref(p);
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    tdestroy(a->slots, slot_free);
    if (a->dir >= 0)
        close(a->dir);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->seq_lock);
    free(a);
}

static uint64_t next_seq(struct audit *a)
{
    pthread_mutex_lock(&a->seq_lock);
    uint64_t seq = ++a->seq;
    if (a->seq >= a->reserved)
        reserve(a);
    pthread_mutex_unlock(&a->seq_lock);
    return seq;
}

static void wake(struct audit *a, const char *box)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&a->lock);
    for (unsigned i = 0; i < a->watching; i++)
        if (!a->watchers[i].box[0] || !strcmp(a->watchers[i].box, box))
            if (write(a->watchers[i].fd, &one, sizeof one) < 0) {
                /* full: it is awake already */
            }
    pthread_mutex_unlock(&a->lock);
}

void audit_put(struct audit *a, const struct audit_event *e)
{
    struct slot *s = slot_of(a, e->box, true);

    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    uint64_t seq = next_seq(a);
    char *text = s->gone ? NULL : audit_text(e, seq);
    if (text)
        audit_log_add(&s->log, a->dir, seq, text, strlen(text));
    pthread_mutex_unlock(&s->lock);
    free(text);
    slot_unref(s);
    wake(a, e->box);
}

void audit_forget(struct audit *a, const char *box)
{
    struct slot *s = slot_of(a, box, true);

    if (!s)
        return;
    pthread_mutex_lock(&a->lock);
    bool there = tdelete(s->id, &a->slots, by_id);
    pthread_mutex_unlock(&a->lock);
    pthread_mutex_lock(&s->lock);
    s->gone = true;
    audit_log_remove(&s->log, a->dir);
    pthread_mutex_unlock(&s->lock);
    if (there)
        slot_unref(s);
    slot_unref(s);
}

/* ---- reading ---- */
struct found { uint64_t seq; char *text; };
struct finds { struct found *v; size_t n, cap; uint64_t since; bool lost, failed; };

static void find_in(struct finds *f, struct slot *s)
{
    pthread_mutex_lock(&s->lock);
    f->lost |= s->log.dropped > f->since;
    for (struct line *x = s->log.first; x; x = x->next) {
        if (x->seq <= f->since)
            continue;
        if (f->n == f->cap) {
            struct found *more = mem_realloc(f->v, (f->cap ? f->cap * 2 : 64) * sizeof *more);
            f->failed |= !more;
            if (!more)
                break;
            f->v = more;
            f->cap = f->cap ? f->cap * 2 : 64;
        }
        f->v[f->n] = (struct found){ x->seq, mem_dup(x->text, x->n + 1) };
        f->failed |= !f->v[f->n].text;
        f->n++;
    }
    pthread_mutex_unlock(&s->lock);
}

struct all { struct audit *a; struct finds *f; };

static int find_file(void *arg, const char *name)
{
    struct all *all = arg;
    char id[64];
    size_t n = strlen(name);

    if (n < 5 || n > 67 || strcmp(name + n - 4, ".LOG"))
        return 0;
    memcpy(id, name, n - 4);
    id[n - 4] = 0;
    slot_unref(slot_of(all->a, id, true));
    return 0;
}

/* glibc's twalk_r; the slots are counted by the tree, whose lock is held. */
static void find_slot(const void *node, VISIT which, void *arg)
{
    if (which == preorder || which == leaf)
        find_in(arg, *(struct slot *const *)node);
}

static int by_seq(const void *x, const void *y)
{
    const struct found *a = x, *b = y;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

json_t *audit_read(struct audit *a, const char *box, uint64_t since, unsigned max, uint64_t *ret_next, bool *ret_lost)
{
    struct finds f = { .since = since };
    json_t *list = json_array();

    if (box) {
        struct slot *s = slot_of(a, box, true);
        if (s)
            find_in(&f, s);
        slot_unref(s);
    } else {
        if (a->dir >= 0)
            durable_each(a->dir, find_file, &(struct all){ a, &f });
        pthread_mutex_lock(&a->lock);
        twalk_r(a->slots, find_slot, &f);
        pthread_mutex_unlock(&a->lock);
        if (f.n)
            qsort(f.v, f.n, sizeof *f.v, by_seq);
    }
    *ret_next = since;
    *ret_lost = f.lost;
    max = max > AUDIT_READ_MAX ? AUDIT_READ_MAX : max;
    for (size_t i = 0; i < f.n; i++) {
        if (i < max && !f.failed && list) {
            json_array_append_new(list, json_loads(f.v[i].text, 0, NULL));
            *ret_next = f.v[i].seq;
        }
        free(f.v[i].text);
    }
    free(f.v);
    if (f.failed) {
        json_decref(list);
        return NULL;
    }
    return list;
}

int audit_watch(struct audit *a, const char *box, int event_fd)
{
    int e = -EMFILE;

    pthread_mutex_lock(&a->lock);
    if (a->watching < AUDIT_WATCHERS_MAX) {
        struct watcher *w = &a->watchers[a->watching++];
        snprintf(w->box, sizeof w->box, "%s", box ? box : "");
        w->fd = event_fd;
        e = 0;
    }
    pthread_mutex_unlock(&a->lock);
    return e;
}

void audit_unwatch(struct audit *a, const char *box, int event_fd)
{
    pthread_mutex_lock(&a->lock);
    for (unsigned i = 0; i < a->watching; i++)
        if (a->watchers[i].fd == event_fd && !strcmp(a->watchers[i].box, box ? box : "")) {
            a->watchers[i] = a->watchers[--a->watching];
            break;
        }
    pthread_mutex_unlock(&a->lock);
}
