/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sandbox/watch/told.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/watch/proto.h"

/* The last event of a path that still waits. */
struct last { const char *path; struct told_event *e; };

static int by_path(const void *a, const void *b) { return strcmp(((const struct last *)a)->path, ((const struct last *)b)->path); }

static struct told_event *last_of(struct told *t, const char *path)
{
    struct last key = { path, NULL };
    void *found = tfind(&key, &t->by_path, by_path);

    return found ? (*(struct last **)found)->e : NULL;
}

static void last_drop(struct told *t, const char *path, const struct told_event *e)
{
    struct last key = { path, NULL };
    void *found = tfind(&key, &t->by_path, by_path);

    if (!found || (*(struct last **)found)->e != e)
        return;
    struct last *l = *(struct last **)found;
    tdelete(&key, &t->by_path, by_path);
    free(l);
}

static void last_set(struct told *t, const char *path, struct told_event *e)
{
    struct last *l = malloc(sizeof *l);

    if (!l)
        return;                              /* then the next one is told by itself */
    *l = (struct last){ path, e };
    void *found = tsearch(l, &t->by_path, by_path);
    if (!found || *(struct last **)found != l) {
        if (found)
            **(struct last **)found = *l;    /* its path goes with the older event */
        free(l);
    }
}

void told_init(struct told *t, uint64_t coalesce_ns)
{
    *t = (struct told){ .coalesce_ns = coalesce_ns, .count_max = TOLD_EVENTS_MAX, .bytes_max = TOLD_BYTES_MAX };
}

void told_free(struct told_event *e)
{
    if (!e)
        return;
    free(e->path);
    free(e->to);
    free(e);
}

void told_fini(struct told *t)
{
    while (t->first) {
        t->first->due_ns = 0;
        told_free(told_take(t, UINT64_MAX));
    }
}

static void append(struct told *t, struct told_event *e)
{
    *(t->last ? &t->last->next : &t->first) = e;
    t->last = e;
    t->count++;
    t->bytes += e->bytes;
}

static struct told_event *event_new(struct told *t, uint64_t now_ns, int type, const char *path, const char *to)
{
    struct told_event *e = calloc(1, sizeof *e);

    if (!e)
        return NULL;
    e->type = type;
    e->due_ns = now_ns + t->coalesce_ns;
    e->path = strdup(path);
    e->to = to ? strdup(to) : NULL;
    e->bytes = sizeof *e + strlen(path) + (to ? strlen(to) : 0);
    if (e->path && (!to || e->to))
        return e;
    told_free(e);
    return NULL;
}

void told_lost(struct told *t, uint64_t now_ns, uint64_t lost, const char *reason)
{
    if (t->last && t->last->type == TOLD_LOST) {
        t->last->lost = lost && t->last->lost ? t->last->lost + lost : 0;
        return;
    }
    struct told_event *e = event_new(t, now_ns, TOLD_LOST, reason, NULL);
    if (!e)
        _Exit(1);                            /* what cannot be told must not be silent: the end of this process is seen */
    e->lost = lost;
    append(t, e);
}

void told_ready(struct told *t, uint64_t now_ns)
{
    struct told_event *e = event_new(t, now_ns, TOLD_READY, "", NULL);

    if (!e)
        _Exit(1);
    append(t, e);
}

void told_put(struct told *t, uint64_t now_ns, int type, const char *path, const char *to, bool is_dir, uint64_t time_ns)
{
    struct told_event *before = type == WATCHED_MODIFY || type == WATCHED_ATTRIB ? last_of(t, path) : NULL, *e = NULL;

    if (before && before->type == type)
        return;
    bool room = t->count < t->count_max && t->bytes < t->bytes_max && !(t->last && t->last->type == TOLD_LOST && t->count > t->count_max / 2);
    if (room)
        e = event_new(t, now_ns, type, path, to);
    if (!e) {
        told_lost(t, now_ns, 1, "slow");
        return;
    }
    e->is_dir = is_dir;
    e->time_ns = time_ns;
    append(t, e);
    last_set(t, e->path, e);
    if (e->to)
        last_set(t, e->to, e);
}

struct told_event *told_take(struct told *t, uint64_t now_ns)
{
    struct told_event *e = t->first;

    if (!e || (e->due_ns > now_ns && t->count < t->count_max / 4))
        return NULL;
    last_drop(t, e->path, e);
    if (e->to)
        last_drop(t, e->to, e);
    t->first = e->next;
    if (!t->first)
        t->last = NULL;
    t->count--;
    t->bytes -= e->bytes;
    e->next = NULL;
    return e;
}

uint64_t told_due_ns(const struct told *t) { return !t->first ? UINT64_MAX : t->count >= t->count_max / 4 ? 0 : t->first->due_ns; }
