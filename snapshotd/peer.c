/* A connection: its thread reads one request after another and answers each. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "snapshotd/call.h"

struct peer {
    struct peer *next;
    struct daemon *d;
    int sock;
    pid_t pid;
};

void daemon_stop(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_mutex_unlock(&d->lock);
    eventfd_write(d->wake_fd, 1);
}

int daemon_again(struct daemon *d, const char *program)
{
    if (!holding_is(&d->holding))
        return -EOPNOTSUPP;
    pthread_mutex_lock(&d->lock);
    if (!d->stopping) {
        d->again = true;
        snprintf(d->again_program, sizeof(d->again_program), "%s", program ? program : "");
    }
    d->stopping = true;
    pthread_mutex_unlock(&d->lock);
    eventfd_write(d->wake_fd, 1);
    return 0;
}

bool daemon_stopping(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    bool stopping = d->stopping;
    pthread_mutex_unlock(&d->lock);
    return stopping;
}

bool daemon_is_followed(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    bool followed = d->again;
    pthread_mutex_unlock(&d->lock);
    return followed;
}

static void call_run(struct call *c)
{
    const char *name = json_string_value(json_object_get(c->req, "verb"));
    const struct verb *v = name ? verb_find(name) : NULL;
    int r;

    if (!v)
        r = call_fail(c, -EINVAL, "invalid_request", "unknown verb '%s'", name ? name : "");
    else if (c->fd_count > v->fds_max)
        r = call_fail(c, -EINVAL, "invalid_request", "verb '%s' takes no such descriptor", name);
    else if (daemon_stopping(c->d))
        r = call_errno(c, -ESHUTDOWN, name, NULL);
    else
        r = v->fn(c);
    if (r && !c->code[0])
        call_errno(c, r, name, NULL);
    if (r && !c->broken)
        log_info("verb=%s pid=%d code=%s err=%s", v ? v->name : "?", (int)c->pid, c->code, errno_name(r));
    if (c->sock_taken || c->broken)
        return;
    if (r)
        call_send(c, json_pack("{s:{s:s,s:o}}", "error", "code", c->code, "message", snap_bytes(c->message, strlen(c->message))), NULL, 0);
    else
        call_send(c, json_pack("{s:o}", "ok", c->result ? json_incref(c->result) : json_object()), NULL, 0);
}

/* One request and its answer. False: the connection is over. */
static bool serve_one(struct peer *p)
{
    struct call c = { .d = p->d, .store = p->d->store, .sock = p->sock, .pid = p->pid };

    int r = snap_recv(p->sock, &c.req, c.fds, &c.fd_count);
    if (r == -EMSGSIZE || r == -EBADMSG || r == -E2BIG) {
        call_fail(&c, r, "invalid_request", "bad frame: %s",
                  r == -EMSGSIZE  ? "longer than 1 MiB, or empty"
                  : r == -EBADMSG ? "not one JSON object"
                                  : "too many descriptors");
        call_send(&c, json_pack("{s:{s:s,s:s}}", "error", "code", c.code, "message", c.message), NULL, 0);
    }
    if (r)
        return false;
    call_run(&c);
    json_decref(c.req);
    json_decref(c.result);
    buf_fini(&c.more);
    for (unsigned i = 0; i < c.fd_count; i++)
        close_p(&c.fds[i]);
    return !c.broken && !c.sock_taken && r == 0;
}

static void *peer_main(void *arg)
{
    struct peer *p = arg;
    struct daemon *d = p->d;

    while (serve_one(p))
        ;
    pthread_mutex_lock(&d->lock);
    for (struct peer **at = &d->peers; *at; at = &(*at)->next) {
        if (*at != p)
            continue;
        *at = p->next;
        break;
    }
    d->peer_count--;
    d->last_active_ns = clock_mono_ns();
    close(p->sock);
    pthread_cond_broadcast(&d->peers_changed);
    pthread_mutex_unlock(&d->lock);
    free(p);
    return NULL;
}

static void refuse(int sock, const char *code, const char *message)
{
    json_t *msg = json_pack("{s:{s:s,s:s}}", "error", "code", code, "message", message);
    if (msg)
        snap_send(sock, msg, NULL, 0);
    json_decref(msg);
    close(sock);
}

static int peer_thread(struct peer *p)
{
    pthread_attr_t attr;
    pthread_t t;

    if (pthread_attr_init(&attr))
        return -ENOMEM;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int r = -pthread_create(&t, &attr, peer_main, p);
    pthread_attr_destroy(&attr);
    return r;
}

int peer_start(struct daemon *d, int sock)
{
    struct ucred cred;
    socklen_t n = sizeof(cred);

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &n) || (cred.uid != 0 && cred.uid != geteuid())) {
        refuse(sock, "no_permission", "only root and the daemon's own user may use this store");
        return -EACCES;
    }
    struct peer *p = mem_zalloc(sizeof(*p));
    if (!p) {
        close(sock);
        return -ENOMEM;
    }
    *p = (struct peer){ .d = d, .sock = sock, .pid = cred.pid };
    pthread_mutex_lock(&d->lock);
    bool full = d->peer_count >= PEERS_MAX;
    if (!full) {
        p->next = d->peers;
        d->peers = p;
        d->peer_count++;
    }
    pthread_mutex_unlock(&d->lock);
    if (full) {
        free(p);
        refuse(sock, "busy", "snapshotd serves 64 connections already; try again when one of them has ended");
        return -EBUSY;
    }
    int r = peer_thread(p);
    if (!r)
        return 0;
    pthread_mutex_lock(&d->lock);
    d->peers = p->next;           /* only the listener adds, so it is still the first */
    d->peer_count--;
    pthread_mutex_unlock(&d->lock);
    free(p);
    refuse(sock, "busy", "snapshotd cannot start a thread for this connection; try again");
    return r;
}

bool peers_finish(struct daemon *d, unsigned timeout_s)
{
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += timeout_s;
    pthread_mutex_lock(&d->lock);
    for (struct peer *p = d->peers; p; p = p->next)
        shutdown(p->sock, SHUT_RD);
    while (d->peer_count && !pthread_cond_timedwait(&d->peers_changed, &d->lock, &end))
        ;
    bool done = !d->peer_count;
    pthread_mutex_unlock(&d->lock);
    return done;
}
