#include "sandbox/egress/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "sandbox/egress/flow.h"

uint64_t in_s(unsigned s)
{
    return clock_mono_ns() + s * 1000000000ull;
}

void conn_cut(struct conn *c)
{
    atomic_store(&c->cut, true);
    if (c->client.fd >= 0)
        shutdown(c->client.fd, SHUT_RDWR);
}

static void asked_free(struct open_request *q)
{
    free(q->target);
    box_view_unref(q->view);
}

/* Takes asked. */
static int begin(struct conn *c, const struct box_view *v, const struct authority *to, enum verdict_kind was, struct open_request asked)
{
    pthread_mutex_lock(&c->box->lock);
    struct open_request old = c->asked;
    c->busy = true;
    c->secret = false;
    c->now = *to;
    c->was = was;
    c->asked = asked;
    pthread_mutex_unlock(&c->box->lock);
    asked_free(&old);
    /* Who changes the rules looks at the connections after the change is in force: it saw this one, or we see the change. */
    const struct box_view *now = state_box(c->e->state, c->box->id);
    bool ok = now == v || (now && conn_stands(c, now));
    box_view_unref(now);
    return ok ? 0 : -EPERM;
}

int conn_begin(struct conn *c, const struct box_view *v, const struct authority *to, enum verdict_kind was)
{
    return begin(c, v, to, was, (struct open_request){ 0 });
}

int conn_begin_request(struct conn *c, const struct box_view *v, const struct authority *to, enum verdict_kind was, const struct rule *rule, const struct message *m, bool upgrade)
{
    struct open_request q = { .rule = rule, .target = strdup(m->target), .upgrade = upgrade };

    if (!q.target)
        return -ENOMEM;
    memcpy(q.method, m->method, sizeof(q.method));
    q.view = box_view_ref(v);
    return begin(c, v, to, was, q);
}

bool conn_stands(const struct conn *c, const struct box_view *v)
{
    const struct open_request *q = &c->asked;

    return policy_still_allows(v->policy, &v->box, &c->now, c->was) && (!c->peer.port || !policy_denies_address(v->policy, &v->box, &c->peer)) &&
           (!q->target || policy_still_allows_request(v->policy, &v->box, &c->now, q->method, q->target, q->upgrade, c->secret ? q->rule : NULL));
}

int conn_dialled(struct conn *c, const struct authority *peer)
{
    pthread_mutex_lock(&c->box->lock);
    c->peer = *peer;
    pthread_mutex_unlock(&c->box->lock);
    const struct box_view *now = state_box(c->e->state, c->box->id);
    bool ok = now && !policy_denies_address(now->policy, &now->box, peer);
    box_view_unref(now);
    return ok ? 0 : -EPERM;
}

void conn_secret(struct conn *c, bool used)
{
    pthread_mutex_lock(&c->box->lock);
    c->secret = used;
    pthread_mutex_unlock(&c->box->lock);
}

void conn_rest(struct conn *c)
{
    pthread_mutex_lock(&c->box->lock);
    struct open_request old = c->asked;
    c->busy = c->secret = false;
    c->asked = (struct open_request){ 0 };
    pthread_mutex_unlock(&c->box->lock);
    asked_free(&old);
}

static void conn_end(struct conn *c)
{
    struct egress_box *b = c->box;
    struct egress *e = c->e;
    uint64_t one = 1;

    stream_close(&c->up.s, c->broken || atomic_load(&c->cut));
    pthread_mutex_lock(&b->lock);               /* off the list before its descriptor is closed */
    if (c->prev)
        c->prev->next = c->next;
    else
        b->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    pthread_mutex_unlock(&b->lock);
    stream_close(&c->client, c->broken || atomic_load(&c->cut));
    asked_free(&c->asked);
    free(c);
    atomic_fetch_sub(&b->count, 1);
    egress_box_unref(b);
    atomic_fetch_sub(&e->connections, 1);
    if (write(e->wake_fd, &one, sizeof(one)) < 0)
        return;                                 /* it is full of wake-ups: good enough */
}

static void *conn_run(void *arg)
{
    struct conn *c = arg;

    /* Who has many connections gets less of the processor for each more of them. */
    if (atomic_load(&c->box->count) > BOX_MANY)
        setpriority(PRIO_PROCESS, 0, MANY_NICE);
    switch (c->door) {
    case EGRESS_DOOR_HTTP: flow_http(c); break;
    case EGRESS_DOOR_HTTPS: flow_tls(c); break;
    case EGRESS_DOOR_PROXY: flow_proxy(c); break;
    default: flow_dns(c); break;
    }
    conn_end(c);
    return NULL;
}

int conn_start(struct egress_box *b, enum egress_door door, int fd)
{
    struct conn *c = mem_zalloc(sizeof(*c));
    int one = 1;
    pthread_attr_t attr;
    pthread_t thread;

    if (!c) {
        close(fd);
        return -ENOMEM;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    *c = (struct conn){ .e = b->e, .box = b, .door = door, .client = STREAM_INIT, .up = { .s = STREAM_INIT } };
    c->client.fd = fd;
    c->client.gate = &b->gate;
    atomic_fetch_add(&b->refs, 1);
    atomic_fetch_add(&b->e->connections, 1);
    pthread_mutex_lock(&b->lock);
    c->next = b->conns;
    if (c->next)
        c->next->prev = c;
    b->conns = c;
    atomic_fetch_add(&b->count, 1);
    pthread_mutex_unlock(&b->lock);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int r = pthread_create(&thread, &attr, conn_run, c);
    pthread_attr_destroy(&attr);
    if (r)
        conn_end(c);
    return -r;
}
