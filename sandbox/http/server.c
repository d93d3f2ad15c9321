/* The listening sockets and the bounded set of connections. When a listener has all it may have, a connection that waits idle between two requests makes place for
 * a new one; if none does, new ones wait in the kernel's backlog. When descriptors run out, a reserve one is given up to accept and close, so that the loop does not spin. */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/http/private.h"

enum { EVICTED_MAX = 64 };                /* connections that were cut and are not yet closed, above the bound */
static gboolean on_accept(gint fd, GIOCondition cond, gpointer arg);

static void listen_on(struct listener *l) {
    if (!l->source && l->fd >= 0) l->source = g_unix_fd_add(l->fd, G_IO_IN, on_accept, l);
}

static void listen_off(struct listener *l) {
    if (l->source) g_source_remove(l->source);
    l->source = 0;
}

/* The connection that has waited longest between two requests ends. True if there was one. */
static bool evict(struct listener *l) {
    struct conn *oldest = NULL;
    for (GList *i = l->h->conns.head; i; i = i->next) {
        struct conn *c = i->data;
        if (c->tcp == l->tcp && !c->dying && !c->call && !c->in_head && (!oldest || c->active_ns < oldest->active_ns)) oldest = c;
    }
    if (!oldest || clock_mono_ns() - oldest->active_ns < 1000000000ull) return false;
    conn_cut(oldest, false);
    return l->conns < l->max + EVICTED_MAX;
}

/* Who is at the other end of the Unix socket: root, or who owns the store. */
static bool peer_allowed(int fd) {
    struct ucred cred;
    socklen_t n = sizeof cred;
    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) && cred.uid == 0;
}

/* No descriptor is left: take the connection with the reserve one and end it. */
static void refuse_one(struct listener *l) {
    struct http *h = l->h;
    if (h->reserve_fd >= 0) close(h->reserve_fd);
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) close(fd);
    h->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (!h->refused_connections++) log_warn("http: no descriptor is left for a connection step=accept");
}

/* The address that a message of this connection shows to us: it carries the connection. p[0..n): was read of it already. */
static void take(struct listener *l, int fd, const void *p, size_t n) {
    struct conn *c = conn_new(l->h, fd, l->tcp, !l->tcp && !peer_allowed(fd));
    if (n) wire_preload(c->wire, p, n);
    g_queue_push_tail_link(&l->h->conns, &c->link);
    l->conns++;
    metrics_add(METRIC_CONNECTIONS, 1);
    GSocketAddress *here = g_inet_socket_address_new_from_string("127.0.0.1", 0), *there = g_inet_socket_address_new_from_string("127.0.0.1", 0);
    Wire *w = c->wire;
    g_object_set_data(G_OBJECT(there), "conn", c);
    soup_server_accept_iostream(l->h->soup, G_IO_STREAM(w), here, there, NULL);
    g_object_unref(here);
    g_object_unref(there);
    g_object_unref(w);
}

static gboolean on_accept(gint listen_fd, GIOCondition cond, gpointer arg) {
    struct listener *l = arg;
    for (unsigned i = 0; i < 64; i++) {
        if (l->conns >= l->max && !evict(l)) { l->source = 0; return G_SOURCE_REMOVE; }
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), one = 1;
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE) refuse_one(l);
            return G_SOURCE_CONTINUE;
        }
        if (l->tcp) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        }
        take(l, fd, NULL, 0);
    }
    return G_SOURCE_CONTINUE;
}

void server_closed(struct conn *c) {
    struct listener *l = c->tcp ? &c->h->tcp : &c->h->unix_;
    g_queue_unlink(&c->h->conns, &c->link);
    l->conns--;
    listen_on(l);
}

/* --- guests --- */
struct http_guest { struct http *h; bool tcp; void *state; GList link; };
static struct listener *listener_of(struct http *h, bool tcp) { return tcp ? &h->tcp : &h->unix_; }

bool server_is_guest(struct conn *c, const char *p, size_t n) { return c->h->guest_ops && c->h->guest_ops->wants(c->h->guest_arg, c->tcp, p, n); }

/* The conn itself is closed by libsoup in a moment, and gives its place back then. */
void server_take_guest(struct conn *c, int fd, const void *p, size_t n) {
    struct http *h = c->h;
    struct http_guest *g = g_new0(struct http_guest, 1);
    *g = (struct http_guest){ .h = h, .tcp = c->tcp, .link.data = g };
    g_queue_push_tail_link(&h->guests, &g->link);
    listener_of(h, g->tcp)->conns++;
    h->guest_ops->take(h->guest_arg, g, g->tcp, fd, p, n);
}

void http_guest_state(struct http_guest *g, void *state) { g->state = state; }

void http_guest_end(struct http_guest *g) {
    struct listener *l = listener_of(g->h, g->tcp);
    g_queue_unlink(&g->h->guests, &g->link);
    l->conns--;
    listen_on(l);
    g_free(g);
}

void http_guest_back(struct http_guest *g, int fd, const void *p, size_t n) {
    take(listener_of(g->h, g->tcp), fd, p, n);
    http_guest_end(g);
}

void http_set_guests(struct http *h, const struct http_guest_ops *ops, void *arg) {
    h->guest_ops = ops;
    h->guest_arg = arg;
}

static gboolean tick(gpointer arg) {
    struct http *h = arg;
    uint64_t now = clock_mono_ns();
    for (GList *i = h->conns.head, *next; i; i = next) { next = i->next; conn_tick(i->data, now); }
    return G_SOURCE_CONTINUE;
}

static void on_head(SoupServer *soup, SoupServerMessage *msg, const char *path, GHashTable *query, gpointer arg) {
    struct conn *c = g_object_get_data(G_OBJECT(soup_server_message_get_remote_address(msg)), "conn");
    if (c && c->wire) call_start(c, msg);
    else soup_server_message_set_status(msg, 403, NULL);
}

/* SoupServer answers 404 by itself where no handler is; all was decided in on_head. */
static void on_request(SoupServer *soup, SoupServerMessage *msg, const char *path, GHashTable *query, gpointer arg) { }

static void on_over(SoupServer *soup, SoupServerMessage *msg, gpointer arg) {
    struct http_call *call = g_object_get_data(G_OBJECT(msg), "call");
    struct conn *c = g_object_get_data(G_OBJECT(soup_server_message_get_remote_address(msg)), "conn");
    if (call) call_over(call);
    else if (c && c->wire) conn_idle(c);  /* a head that libsoup refused itself */
}

/* SoupServer keeps connections alive only while it has a listener of its own. It gets one that nobody can find: its name is removed at once. */
static int give_listener(struct http *h) {
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int dir = h->sd->dir_fd;
    GError *e = NULL;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    g_snprintf(sun.sun_path, sizeof sun.sun_path, "/proc/self/fd/%d/.http-%d", dir, getpid());
    int err = bind(fd, (struct sockaddr *)&sun, sizeof sun) ? -errno : 0;
    if (!err && unlink(sun.sun_path)) err = -errno;
    if (!err && listen(fd, 1)) err = -errno;
    GSocket *s = err ? NULL : g_socket_new_from_fd(fd, &e);
    if (!s) { close(fd); g_clear_error(&e); return err ? err : -EIO; }
    if (!soup_server_listen_socket(h->soup, s, 0, &e)) { g_clear_error(&e); err = -EIO; }
    g_object_unref(s);
    return err;
}

struct http *http_new(struct sandboxd *sd) {
    struct http *h = g_new0(struct http, 1);
    h->sd = sd;
    h->routes = g_ptr_array_new();
    h->metric_fns = g_ptr_array_new();
    h->tcp = (struct listener){ .h = h, .fd = -1, .tcp = true, .max = CONNS_TCP };
    h->unix_ = (struct listener){ .h = h, .fd = -1, .max = CONNS_UNIX };
    h->reserve_fd = -1;
    g_queue_init(&h->conns);
    g_queue_init(&h->guests);
    http_add(h, system_routes);
    h->soup = soup_server_new("raw-paths", TRUE, NULL);
    soup_server_add_early_handler(h->soup, NULL, on_head, h, NULL);
    soup_server_add_handler(h->soup, NULL, on_request, h, NULL);
    g_signal_connect(h->soup, "request-finished", G_CALLBACK(on_over), h);
    g_signal_connect(h->soup, "request-aborted", G_CALLBACK(on_over), h);
    return h;
}

int http_serve(struct http *h, int unix_fd, int tcp_fd, const char *token_sha256, const char *tcp_text) {
    auth_init(&h->auth, token_sha256, tcp_fd, tcp_text);
    if (tcp_fd >= 0 && !h->auth.have) return -EACCES;         /* never TCP without a token */
    int err = give_listener(h);
    if (err) return err;
    h->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    h->unix_.fd = unix_fd;
    h->tcp.fd = tcp_fd;
    for (int i = 0; i < 2; i++) {
        struct listener *l = i ? &h->tcp : &h->unix_;
        if (l->fd < 0) continue;
        if (fcntl(l->fd, F_SETFL, fcntl(l->fd, F_GETFL) | O_NONBLOCK)) return -errno;
        listen_on(l);
    }
    h->tick = g_timeout_add_seconds(1, tick, h);
    return 0;
}

void http_free(struct http *h) {
    if (!h) return;
    struct conn *c;
    h->tcp.fd = h->unix_.fd = -1;
    listen_off(&h->tcp);
    listen_off(&h->unix_);
    for (struct http_guest *g; (g = g_queue_peek_head(&h->guests));) h->guest_ops->cut(g->state);
    while ((c = g_queue_peek_head(&h->conns))) wire_end(c->wire);
    soup_server_disconnect(h->soup);
    g_object_unref(h->soup);
    if (h->tick) g_source_remove(h->tick);
    if (h->reserve_fd >= 0) close(h->reserve_fd);
    auth_fini(&h->auth);
    for (unsigned i = 0; i < h->routes->len; i++) {
        g_strfreev(((struct compiled *)h->routes->pdata[i])->segments);
        g_free(h->routes->pdata[i]);
    }
    g_ptr_array_unref(h->routes);
    g_ptr_array_unref(h->metric_fns);
    g_free(h);
}
