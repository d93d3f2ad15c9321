#include "sandbox/egress/egress_box.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "sandbox/egress/conn.h"
#include "sandbox/egress/listener.h"

void egress_box_unref(struct egress_box *b)
{
    if (!b || atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    sem_destroy(&b->gate);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static struct egress_box *box_new(struct egress *e, const char *id)
{
    struct egress_box *b = mem_zalloc(sizeof(*b));

    if (!b)
        return NULL;
    b->e = e;
    memcpy(b->id, id, strnlen(id, sizeof(b->id) - 1));
    atomic_init(&b->refs, 1);
    sem_init(&b->gate, 0, e->cpus > 1 ? e->cpus - 1 : 1);
    pthread_mutex_init(&b->lock, NULL);
    bucket_init(&b->mint, BOX_MINT_PER_S, BOX_MINT_MOST);
    bucket_init(&b->mint_denied, BOX_DENIED_PER_S, BOX_DENIED_MOST);
    bucket_init(&b->dns, BOX_DNS_PER_S, BOX_DNS_MOST);
    bucket_init(&b->dns_events, BOX_DNS_EVENTS_PER_S, BOX_DNS_EVENTS_MOST);
    for (unsigned i = 0; i < EGRESS_DOORS; i++)
        b->doors[i] = (struct door){ b, i, -1 };
    return b;
}

static int find(struct egress *e, const char *id)
{
    for (unsigned i = 0; i < e->box_count; i++)
        if (!strncmp(e->boxes[i]->id, id, LAUNCH_NAME))
            return (int)i;
    return -ENOENT;
}

struct egress_box *egress_box_get(struct egress *e, const char *id)
{
    pthread_mutex_lock(&e->lock);
    int i = find(e, id);
    struct egress_box *b = i < 0 ? NULL : e->boxes[i];
    if (b)
        atomic_fetch_add(&b->refs, 1);
    pthread_mutex_unlock(&e->lock);
    return b;
}

int egress_box_add(struct egress *e, const char *id, const int fds[EGRESS_DOORS])
{
    egress_box_remove(e, id);
    struct egress_box *b = box_new(e, id);
    int r = b ? 0 : -ENOMEM;

    for (unsigned i = 0; !r && i < EGRESS_DOORS; i++) {
        b->doors[i].fd = fds[i];
        r = listener_open(e, &b->doors[i]);
    }
    pthread_mutex_lock(&e->lock);
    if (!r && e->box_count == LAUNCH_BOXES_MAX)
        r = -ENOSPC;
    if (!r)
        e->boxes[e->box_count++] = b;
    pthread_mutex_unlock(&e->lock);
    for (unsigned i = 0; r && b && i < EGRESS_DOORS; i++)
        listener_close(e, &b->doors[i], false);
    if (r)
        egress_box_unref(b);
    return r;
}

int egress_box_remove(struct egress *e, const char *id)
{
    pthread_mutex_lock(&e->lock);
    int i = find(e, id);
    struct egress_box *b = i < 0 ? NULL : e->boxes[i];
    if (b)
        e->boxes[i] = e->boxes[--e->box_count];
    pthread_mutex_unlock(&e->lock);
    if (!b)
        return -ENOENT;
    for (unsigned k = 0; k < EGRESS_DOORS; k++)
        listener_close(e, &b->doors[k], true);
    pthread_mutex_lock(&b->lock);
    b->gone = true;
    for (struct conn *c = b->conns; c; c = c->next)
        conn_cut(c);
    pthread_mutex_unlock(&b->lock);
    egress_box_unref(b);
    return 0;
}

bool egress_box_has_room(const struct egress_box *b)
{
    unsigned all = atomic_load(&b->e->connections), left = all < b->e->connections_max ? b->e->connections_max - all : 0;

    unsigned mine = atomic_load(&b->count);

    return mine < BOX_CONNECTIONS && mine < left;
}

void egress_box_recheck(struct egress_box *b, bool secrets)
{
    const struct box_view *v = state_box(b->e->state, b->id);

    pthread_mutex_lock(&b->lock);
    for (struct conn *c = b->conns; c; c = c->next)
        if (c->busy && (!v || (secrets && c->secret) || !conn_stands(c, v)))
            conn_cut(c);
    pthread_mutex_unlock(&b->lock);
    box_view_unref(v);
}

void egress_recheck(struct egress *e, bool secrets)
{
    struct egress_box *all[LAUNCH_BOXES_MAX];
    unsigned n;

    pthread_mutex_lock(&e->lock);
    for (n = 0; n < e->box_count; n++) {
        all[n] = e->boxes[n];
        atomic_fetch_add(&all[n]->refs, 1);
    }
    pthread_mutex_unlock(&e->lock);
    for (unsigned i = 0; i < n; i++) {
        egress_box_recheck(all[i], secrets);
        egress_box_unref(all[i]);
    }
}
