/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sandbox/watch/intake.h"

#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

bool intake_full(const struct intake *i) { return i->count >= INTAKE_EVENTS_MAX || i->bytes >= INTAKE_BYTES_MAX; }

void intake_put(struct intake *i, uint64_t now_ns, uint64_t time_ns, int wd, uint32_t mask, uint32_t cookie, const char *name)
{
    size_t n = strlen(name) + 1;
    struct raw *r = malloc(sizeof *r + n);

    if (!r) {
        i->lost = true;
        return;
    }
    *r = (struct raw){ .wd = wd, .mask = mask, .cookie = cookie, .seq = i->read++, .at_ns = now_ns, .time_ns = time_ns, .prev = i->last, .bytes = sizeof *r + n };
    memcpy(r->name, name, n);
    *(i->last ? &i->last->next : &i->first) = r;
    i->last = r;
    i->count++;
    i->bytes += r->bytes;
}

void raw_free(struct raw *r) { free(r); }

static struct raw *out(struct intake *i, struct raw *r)
{
    if (i->searched == r)
        i->searched = r->prev;
    *(r->prev ? &r->prev->next : &i->first) = r->next;
    *(r->next ? &r->next->prev : &i->last) = r->prev;
    r->next = r->prev = NULL;
    i->count--;
    i->bytes -= r->bytes;
    return r;
}

/* What the head waits for; it is not looked for twice among the same events. */
static struct raw *second_half(struct intake *i)
{
    struct raw *head = i->first, *r = i->searched ? i->searched->next : head->next;

    for (; r; r = r->next) {
        if (r->mask & IN_MOVED_TO && r->cookie == head->cookie)
            return r;
        i->searched = r;
    }
    return NULL;
}

struct raw *intake_take(struct intake *i, uint64_t now_ns, struct raw **ret_to)
{
    struct raw *head = i->first, *to = NULL;

    *ret_to = NULL;
    if (!head)
        return NULL;
    if (head->mask & IN_MOVED_FROM) {
        to = second_half(i);
        if (!to && now_ns < head->at_ns + MOVE_WAIT_NS && !intake_full(i))
            return NULL;
    }
    i->searched = NULL;
    if (to)
        *ret_to = out(i, to);
    out(i, head);
    i->done = i->first ? i->first->seq : i->read;
    return head;
}

uint64_t intake_due_ns(const struct intake *i) { return i->first ? i->first->at_ns + MOVE_WAIT_NS : UINT64_MAX; }

void intake_clear(struct intake *i)
{
    while (i->first)
        raw_free(out(i, i->first));
    i->searched = NULL;
    i->done = i->read;
}
