/* What all visits share: the domains, the table of visits, the allowance for wrong names; and the API's side of previews. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/preview/visit.h"

enum { WRONG_PER_S = 10, WRONG_BURST = 20 };

/* --- who is meant --- */

enum preview_meant previews_meant(const struct previews *p, bool tcp, struct slice host, struct slice target, struct preview_name *ret, bool *ret_https, struct slice *ret_target)
{
    char text[300];
    unsigned domain;

    *ret_https = false;
    *ret_target = target;
    if (preview_name_of_host(host, p->domains, ret, &domain)) {
        *ret_https = p->https[domain];
        return ret->token[0] || !preview_is_api_port(ret->port) ? MEANT_HOST : MEANT_API;
    }
    if (!preview_name_of_path(target, ret, ret_target) || host.n >= sizeof(text))
        return MEANT_API;
    memcpy(text, host.p, host.n);
    text[host.n] = 0;
    *ret_https = p->https[1] && strstr(text, p->domains[1]);       /* one of the names under which the API is served (looked at next) */
    return !tcp || http_host_known(p->sd->http, text) ? MEANT_PATH : MEANT_API;
}

/* The first Host, loosely: what is taken is then read strictly. */
static struct slice host_of(const char *p, size_t n)
{
    for (const char *at = p, *eol; (eol = memchr(at, '\n', n - (size_t)(at - p))); at = eol + 1) {
        if (eol - at < 5 || g_ascii_strncasecmp(at, "host:", 5))
            continue;
        const char *from = at + 5, *to = eol;
        while (from < to && (*from == ' ' || *from == '\t'))
            from++;
        while (to > from && (to[-1] == '\r' || to[-1] == ' ' || to[-1] == '\t'))
            to--;
        return (struct slice){ from, (size_t)(to - from) };
    }
    return (struct slice){ p, 0 };
}

bool previews_wants(void *arg, bool tcp, const char *head, size_t n)
{
    const char *eol = memchr(head, '\n', n), *from = eol ? memchr(head, ' ', (size_t)(eol - head)) : NULL, *to = from ? memchr(from + 1, ' ', (size_t)(eol - from - 1)) : NULL;
    struct preview_name name;
    struct slice target;
    bool https;

    return to && previews_meant(arg, tcp, host_of(eol + 1, n - (size_t)(eol + 1 - head)), (struct slice){ from + 1, (size_t)(to - from - 1) }, &name, &https, &target) != MEANT_API;
}

static bool alias(void *arg, const char *host, char ret_id[64], char ret_port[8])
{
    const struct previews *p = arg;
    struct preview_name name;
    unsigned domain;

    if (!preview_name_of_host((struct slice){ host, strlen(host) }, p->domains, &name, &domain) || name.token[0] || !preview_is_api_port(name.port))
        return false;
    g_strlcpy(ret_id, name.id, 64);
    g_snprintf(ret_port, 8, "%u", name.port);
    return true;
}

/* --- guesses --- */

static void refill(struct previews *p)
{
    uint64_t now = clock_mono_ns();

    p->allowance = MIN(WRONG_BURST, p->allowance + (double)(now - p->allowance_ns) / 1e9 * WRONG_PER_S);
    p->allowance_ns = now;
}

bool previews_may_look(struct previews *p, const char *label)
{
    refill(p);
    return p->allowance >= 1 || g_hash_table_contains(p->known, label);
}

void previews_right(struct previews *p, const char *label)
{
    if (g_hash_table_size(p->known) >= KNOWN_MAX)
        g_hash_table_remove_all(p->known);
    g_hash_table_add(p->known, g_strdup(label));
}

void previews_wrong(struct previews *p) { p->allowance -= 1; }

/* --- visits --- */

/* The one that has waited longest for a next request makes place. */
static void evict(struct previews *p)
{
    struct visit *oldest = NULL;

    for (GList *l = p->visits.head; l; l = l->next) {
        struct visit *v = l->data;
        if (v->state == VISIT_HEAD && !side_ready(&v->client) && (!oldest || v->deadline_ns < oldest->deadline_ns))
            oldest = v;
    }
    if (oldest)
        visit_die(oldest, false);
}

static void take(void *arg, struct http_guest *g, bool tcp, int fd, const void *bytes, size_t n)
{
    struct previews *p = arg;

    if (p->visits.length >= VISITS_MAX)
        evict(p);
    bool full = p->visits.length >= VISITS_MAX;
    struct visit *v = visit_new(p, g, tcp, fd, bytes, n);
    http_guest_state(g, v);
    if (full)
        visit_fail(v, 503, "too_many", "Too many connections to previews are open.");
    else
        visit_run(v);
}

static void cut(void *state) { visit_die(state, true); }

static gboolean on_tick(gpointer arg)
{
    struct previews *p = arg;
    uint64_t now = clock_mono_ns();

    for (GList *l = p->visits.head, *next; l; l = next) {
        next = l->next;
        visit_tick(l->data, now);
    }
    return G_SOURCE_CONTINUE;
}

/* --- the module --- */

static bool domain_valid(const char *name, size_t n)
{
    bool dot = false;

    for (size_t i = 0; i < n; i++) {
        if (!g_ascii_islower(name[i]) && !g_ascii_isdigit(name[i]) && name[i] != '-' && name[i] != '.')
            return false;
        dot |= name[i] == '.';
    }
    return n && n < 190 && name[0] != '.' && name[n - 1] != '.' && name[0] != '-' && dot && !g_strstr_len(name, (gssize)n, "..");
}

static bool take_domain(struct previews *p, const char *text)
{
    bool https = !g_str_has_prefix(text, "http://");
    const char *name = g_str_has_prefix(text, "https://") ? text + 8 : https ? text : text + 7, *colon = strchr(name, ':');
    size_t n = colon ? (size_t)(colon - name) : strlen(name);
    char host[320];

    if (!domain_valid(name, n) || strlen(name) > 200 || (colon && (!colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) > 5)))
        return false;
    p->domains[1] = g_strndup(name, n);
    p->https[1] = https;
    g_strlcpy(p->shown, name, sizeof(p->shown));
    http_add_host(p->sd->http, name);
    g_snprintf(host, sizeof(host), "api.%s", name);
    http_add_host(p->sd->http, host);
    if (colon) {
        http_add_host(p->sd->http, p->domains[1]);
        g_snprintf(host, sizeof(host), "api.%s", p->domains[1]);
        http_add_host(p->sd->http, host);
    }
    return true;
}

struct previews *previews_new(struct sandboxd *sd, const char *domain)
{
    static const struct http_guest_ops ops = { previews_wants, take, cut, alias };
    struct previews *p = g_new0(struct previews, 1);
    unsigned port = http_port(sd->http);

    *p = (struct previews){ .sd = sd, .domains = { "localhost" }, .allowance = WRONG_BURST, .allowance_ns = clock_mono_ns() };
    g_queue_init(&p->visits);
    p->per_box = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    p->known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_snprintf(p->shown, sizeof(p->shown), port && port != 80 ? "localhost:%u" : "localhost", port);
    sd->previews = p;
    if (domain && !take_domain(p, domain)) {
        previews_free(p);
        return NULL;
    }
    http_set_guests(sd->http, &ops, p);
    p->tick = g_timeout_add_seconds(1, on_tick, p);
    return p;
}

void previews_free(struct previews *p)
{
    if (!p)
        return;
    while (p->visits.head)
        visit_die(p->visits.head->data, true);
    if (p->tick)
        g_source_remove(p->tick);
    http_set_guests(p->sd->http, NULL, NULL);
    g_hash_table_unref(p->per_box);
    g_hash_table_unref(p->known);
    g_free((char *)(uintptr_t)p->domains[1]);
    p->sd->previews = NULL;
    g_free(p);
}

const char *preview_domain(const struct sandboxd *sd) { return sd->previews ? sd->previews->shown : "localhost"; }

/* --- what is kept --- */

const json_t *previews_keep(const struct box *b)
{
    static json_t *none;

    if (!none)
        none = json_object();
    return b->config.previews && preview_keep_valid(b->config.previews) ? b->config.previews : none;
}

/* Visits that what is kept does not allow any more end. */
static void judge_again(struct previews *p, const struct box *b)
{
    for (GList *l = p ? p->visits.head : NULL, *next; l; l = next) {
        struct visit *v = l->data;
        next = l->next;
        bool public = !v->name.token[0] && preview_keep_is_public(previews_keep(b));
        if (v->box == b && !public && !preview_keep_allows(previews_keep(b), &v->name, (struct slice){ 0 }))
            visit_die(v, true);
    }
}

static bool store(struct box *b, json_t *keep, struct fault *fault)
{
    json_t *before = b->config.previews;

    b->config.previews = json_object_size(keep) ? json_incref(keep) : NULL;
    int r = box_config_save(b);
    if (r) {
        json_decref(b->config.previews);
        b->config.previews = before;
        fault_set(fault, r == -ENOSPC || r == -EDQUOT ? "no_space" : "internal", "the previews of the sandbox '%s' cannot be written down: %s", b->name, errno_name(r));
        return false;
    }
    json_decref(before);
    judge_again(b->sd->previews, b);
    return true;
}

static char *url_of(const struct sandboxd *sd, const struct box *b, unsigned port, const char *token)
{
    const struct previews *p = sd->previews;
    bool https = p && p->domains[1] && p->https[1];

    if (!p || !http_port(sd->http))
        return NULL;
    return g_strdup_printf("%s://%u-%s-%s.%s/", https ? "https" : "http", port, b->id, token, p->shown);
}

bool preview_open(struct box *b, unsigned port, char **ret_token, char **ret_url, struct fault *fault)
{
    char token[NAME_TOKEN + 1];
    json_t *keep;

    if (port < 1 || port > 65535 || preview_reserved(port)) {
        fault_set(fault, "invalid_request", port < 1 || port > 65535 ? "a port is a number from 1 to 65535" :
                  "port %u of a sandbox belongs to its proxy and resolver (53, 80, 443 and 3128 do): choose another for the server", port);
        return false;
    }
    keep = json_deep_copy(previews_keep(b));
    preview_token_make(token);
    bool made = preview_keep_add(keep, port, token, g_get_real_time() / 1000000);
    if (!made)
        fault_set(fault, "too_many", "%d ports of the sandbox '%s' have previews: take one back (DELETE .../port/{port})", KEEP_PORTS_MAX, b->name);
    bool kept = made && store(b, keep, fault);
    json_decref(keep);
    if (!kept)
        return false;
    *ret_token = g_strdup(token);
    if (ret_url)
        *ret_url = url_of(b->sd, b, port, token);
    return true;
}

bool preview_close(struct box *b, unsigned port, struct fault *fault)
{
    json_t *keep = json_deep_copy(previews_keep(b));
    bool had = preview_keep_remove(keep, port), gone = had && store(b, keep, fault);

    if (!had)
        fault_set(fault, "not_found", "port %u of the sandbox '%s' has no preview", port, b->name);
    json_decref(keep);
    return gone;
}

void preview_public(struct box *b, bool on, const char *traffic_token)
{
    json_t *keep = json_deep_copy(previews_keep(b));
    struct fault fault;

    preview_keep_public(keep, on, traffic_token);
    if (!json_equal(keep, previews_keep(b)) && !store(b, keep, &fault))
        log_warn("box=%s step=public %s", b->id, fault.text);
    json_decref(keep);
}
