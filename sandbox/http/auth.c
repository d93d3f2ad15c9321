/* Who may ask. On the Unix socket the kernel says who it is (server.c refuses all but root); on TCP a token does, and the Host and Origin say whether a browser was
 * led here: a page elsewhere can send requests to 127.0.0.1, but cannot choose these two. Tokens are compared as SHA-256 in constant time, and never logged. */
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/http/private.h"

enum { FAILURES_PER_S = 10, FAILURES_BURST = 20, TICKETS_MAX = 256 };
struct ticket { uint64_t until_ns; char *path; };

static void ticket_free(void *p) {
    struct ticket *t = p;
    g_free(t->path);
    g_free(t);
}

static void add_host(struct auth *a, const char *host, unsigned port, bool bare) {
    if (a->host_count + 1 < G_N_ELEMENTS(a->hosts)) g_snprintf(a->hosts[a->host_count++], sizeof a->hosts[0], "%s:%u", host, port);
    if (bare && a->host_count < G_N_ELEMENTS(a->hosts)) g_snprintf(a->hosts[a->host_count++], sizeof a->hosts[0], "%s", host);
}

void auth_init(struct auth *a, const char *token_sha256, int tcp_fd, const char *tcp_text) {
    *a = (struct auth){ .allowance = FAILURES_BURST, .last_ns = clock_mono_ns(), .tickets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, ticket_free) };
    if (token_sha256 && strlen(token_sha256) == 64) {
        a->have = true;
        for (unsigned i = 0; i < 32; i++) {
            int hi = g_ascii_xdigit_value(token_sha256[2 * i]), lo = g_ascii_xdigit_value(token_sha256[2 * i + 1]);
            if (hi < 0 || lo < 0) a->have = false;
            a->token[i] = (uint8_t)((hi & 15) << 4 | (lo & 15));
        }
    }
    struct sockaddr_storage ss;
    socklen_t n = sizeof ss;
    if (tcp_fd < 0 || getsockname(tcp_fd, (struct sockaddr *)&ss, &n)) return;
    unsigned port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port : ((struct sockaddr_in *)&ss)->sin_port);
    add_host(a, "127.0.0.1", port, port == 80);
    add_host(a, "localhost", port, port == 80);
    add_host(a, "[::1]", port, port == 80);
    if (tcp_text && a->host_count < G_N_ELEMENTS(a->hosts)) g_strlcpy(a->hosts[a->host_count++], tcp_text, sizeof a->hosts[0]);   /* where the operator let it listen */
}

bool http_host_known(struct http *h, const char *host) {
    bool known = false;
    for (unsigned i = 0; host && i < h->auth.host_count; i++) known = known || !g_ascii_strcasecmp(host, h->auth.hosts[i]);
    return known;
}

void http_add_host(struct http *h, const char *host) {
    if (h->auth.host_count < G_N_ELEMENTS(h->auth.hosts)) g_strlcpy(h->auth.hosts[h->auth.host_count++], host, sizeof h->auth.hosts[0]);
}

unsigned http_port(const struct http *h) {
    struct sockaddr_storage ss;
    socklen_t n = sizeof ss;
    if (h->tcp.fd < 0 || getsockname(h->tcp.fd, (struct sockaddr *)&ss, &n)) return 0;
    return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port : ((struct sockaddr_in *)&ss)->sin_port);
}

void auth_fini(struct auth *a) { g_clear_pointer(&a->tickets, g_hash_table_unref); }

static bool same_bytes(const uint8_t *a, const uint8_t *b, size_t n) {
    volatile uint8_t diff = 0;
    for (size_t i = 0; i < n; i++) diff |= a[i] ^ b[i];
    return !diff;
}

/* A Host that says which sandbox is meant (E2B's) is as good as the two headers that say it. */
static bool take_alias(struct http_call *c, const char *host) {
    char id[64], port[8];
    if (!host || !c->h->guest_ops || !c->h->guest_ops->alias(c->h->guest_arg, host, id, port)) return false;
    soup_message_headers_replace(c->headers, "E2b-Sandbox-Id", id);
    soup_message_headers_replace(c->headers, "E2b-Sandbox-Port", port);
    return true;
}

bool auth_host(struct http_call *c) {
    const char *origin = soup_message_headers_get_one(c->headers, "Origin"), *host = soup_message_headers_get_one(c->headers, "Host");
    bool alias = take_alias(c, host);
    if (!c->conn->tcp) {
        if (!origin) return true;
        http_fail(c, "forbidden", "no browser speaks through this socket: a request with an Origin is refused");
        return false;
    }
    if (!alias && !http_host_known(c->h, host)) {
        http_fail(c, "forbidden", "the Host of this request is not one of this server: use 127.0.0.1, localhost or [::1] with its port");
        return false;
    }
    if (!origin || (g_str_has_prefix(origin, "http://") && !g_ascii_strcasecmp(origin + 7, host)) || (g_str_has_prefix(origin, "https://") && !g_ascii_strcasecmp(origin + 8, host))) return true;
    http_fail(c, "forbidden", "requests from pages of other origins are refused");
    return false;
}

/* True: this failure may still be answered in detail. */
static bool allow_failure(struct auth *a) {
    uint64_t now = clock_mono_ns();
    a->allowance += (double)(now - a->last_ns) / 1e9 * FAILURES_PER_S;
    if (a->allowance > FAILURES_BURST) a->allowance = FAILURES_BURST;
    a->last_ns = now;
    if (a->allowance < 1) return false;
    a->allowance -= 1;
    return true;
}

static bool token_same(const struct auth *a, const char *token) {
    if (!a->have) return false;
    uint8_t sum[32];
    gsize n = sizeof sum;
    GChecksum *sha = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(sha, (const guchar *)token, (gssize)strlen(token));
    g_checksum_get_digest(sha, sum, &n);
    g_checksum_free(sha);
    return same_bytes(sum, a->token, 32);
}

static bool bearer_right(const struct auth *a, const char *header) {
    if (!header || g_ascii_strncasecmp(header, "Bearer ", 7)) return false;
    const char *token = header + 7;
    while (*token == ' ') token++;
    return token_same(a, token);
}

/* X-API-KEY, as E2B's clients say it: the token, also behind "e2b_", which some of them demand. */
static bool key_right(const struct auth *a, const char *key) {
    return key && token_same(a, g_str_has_prefix(key, "e2b_") ? key + 4 : key);
}

bool http_is_local(struct http_call *c) { return c->conn && !c->conn->tcp; }
bool http_is_token(struct http *h, const char *authorization) { return bearer_right(&h->auth, authorization); }
bool http_token_right(struct http_call *c, const char *token) { return token_same(&c->h->auth, token); }

/* A ticket opens one WebSocket, once: the page cannot put a header on it. It stands among the offered protocols as "ticket.HEX". */
static bool ticket_right(struct http_call *c) {
    if (!c->route || !(c->route->r->flags & ROUTE_WEBSOCKET)) return false;
    const char *offered = http_header(c, "Sec-WebSocket-Protocol"), *at = offered ? strstr(offered, "ticket.") : NULL;
    if (!at || strspn(at + 7, "0123456789abcdef") != 32) return false;
    char hex[33];
    g_strlcpy(hex, at + 7, sizeof hex);
    struct ticket *t = g_hash_table_lookup(c->h->auth.tickets, hex);
    bool right = t && clock_mono_ns() <= t->until_ns && !strcmp(t->path, c->path);
    if (t) g_hash_table_remove(c->h->auth.tickets, hex);
    return right;
}

bool auth_check(struct http_call *c) {
    if (!c->conn->tcp) return true;
    struct compiled *r = c->route;
    if (bearer_right(&c->h->auth, soup_message_headers_get_one(c->headers, "Authorization")) || key_right(&c->h->auth, soup_message_headers_get_one(c->headers, "X-API-KEY")) ||
        ticket_right(c))
        return true;
    c->route = r;
    bool given = soup_message_headers_get_one(c->headers, "Authorization") || soup_message_headers_get_one(c->headers, "X-API-KEY");
    http_deny(c, given ? "this is not the token of this store (`coppice up` prints where it is: Authorization: Bearer TOKEN, or X-API-KEY: TOKEN)"
                       : "a token is needed: Authorization: Bearer TOKEN, or X-API-KEY: TOKEN (`coppice up` prints where it is)");
    return false;
}

bool http_guess(struct http_call *c) { return http_is_local(c) || allow_failure(&c->h->auth); }

void http_deny(struct http_call *c, const char *text) {
    metrics_add(METRIC_AUTH_FAILURES, 1);
    if (allow_failure(&c->h->auth)) http_fail(c, "unauthorized", "%s", text);
    else http_fail(c, "too_many", "too many requests without a valid token");
}

static gboolean ticket_old(gpointer key, gpointer value, gpointer now) { return ((struct ticket *)value)->until_ns < *(uint64_t *)now; }

bool http_ticket(struct http_call *c, const char *path, char ret_hex[33]) {
    struct auth *a = &c->h->auth;
    uint64_t now = clock_mono_ns();
    uint8_t raw[16];
    g_hash_table_foreach_remove(a->tickets, ticket_old, &now);
    if (g_hash_table_size(a->tickets) >= TICKETS_MAX) { http_fail(c, "too_many", "%d tickets are open: use one of them or wait", TICKETS_MAX); return false; }
    if (getrandom(raw, sizeof raw, 0) != sizeof raw) { http_fail(c, "internal", "no random bytes"); return false; }
    for (unsigned i = 0; i < 16; i++) g_snprintf(ret_hex + 2 * i, 3, "%02x", raw[i]);
    struct ticket *t = g_new(struct ticket, 1);
    *t = (struct ticket){ now + HTTP_TICKET_S * 1000000000ull, g_strdup(path) };
    g_hash_table_insert(a->tickets, g_strdup(ret_hex), t);
    return true;
}
