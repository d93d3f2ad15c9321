/* Verdicts. Stage 1 knows scheme, host, port and the sandbox's labels; stage 2 the method, the path and the headers too.
 *
 * 1. A rule "stands" for a connection when its hosts, ports, schemes and labels fit. A rule without methods and paths is decided by that; others need the request.
 * 2. Stage 1 may only say yes where stage 2 could: it denies when a deny without conditions stands, or when nothing that stands allows. It tunnels only when no rule that stands could
 *    change what happens to a single request.
 * 3. Stage 2: every deny that fits denies. What it cannot judge it refuses: with `paths` in any rule that stands, a path that is not canonical; with `methods`, a request that asks for
 *    another method in a header or parameter. So writing a path in another way cannot step around a rule.
 * 4. Credentials: the rule that wins is the only one that fits and has a credential; and no other allow rule that fits names the host more exactly than the pattern it won by. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "sandbox/egress/inject.h"

static void decide(struct verdict *v, enum verdict_kind kind, const struct rule *r, unsigned status, const char *why)
{
    *v = (struct verdict){ .kind = kind, .rule = r, .status = status };
    snprintf(v->rule_name, sizeof v->rule_name, "%s", rule_name(r));
    snprintf(v->why, sizeof v->why, "%s", why);
}

static const char *pattern_of(const struct rule *r, const struct authority *a)
{
    const char *best = NULL;

    for (unsigned i = 0; i < r->hosts.n; i++)
        if (pattern_matches(r->hosts.v[i], a) && (!best || pattern_covers(best, r->hosts.v[i])))
            best = r->hosts.v[i];
    return best;
}

static bool labels_fit(const struct rule *r, const struct policy_box *box)
{
    const char *key;
    json_t *v;

    if (r->labels)
        json_object_foreach (r->labels, key, v)
            if (!json_equal(v, json_object_get(box->labels, key)))
                return false;
    return true;
}

static bool stands(const struct rule *r, const struct policy_box *box, const struct authority *a)
{
    bool port = !r->ports.n && a->port == (a->tls ? 443 : 80);

    for (unsigned i = 0; i < r->ports.n; i++)
        port |= r->ports.v[i] == a->port;
    return port && r->schemes & (a->tls ? SCHEME_HTTPS : SCHEME_HTTP) && pattern_of(r, a) && labels_fit(r, box);
}

static bool conditional(const struct rule *r)
{
    return r->methods.n || r->paths.n;
}

static bool needs_request(const struct rule *r)
{
    const struct limits *l = &r->limits;

    return conditional(r) || rule_has_credential(r) || r->set_headers || r->remove_headers.n || r->has_upstream || r->answer || r->handler || r->intercept || !r->websocket ||
           l->requests_per_minute || l->request_bytes || l->response_bytes;
}

static bool ends_with(const char *host, const char *tail)
{
    size_t n = strlen(host), t = strlen(tail);
    return n >= t && !strcmp(host + n - t, tail);
}

/* Names that mean something else on each host, and addresses that no rule wrote out (E8, E49). NULL: fine. */
static const char *name_why(const struct authority *a)
{
    if (a->kind != HOST_NAME)
        return NULL;
    if (!strchr(a->host, '.'))
        return "the name has no dot: only full names are asked for";
    if (ends_with(a->host, ".local") || ends_with(a->host, ".localhost"))
        return "names of the local network or host are never asked for";
    return NULL;
}

void policy_connect(const struct policy *p, const struct policy_box *box, const struct authority *a, struct verdict *ret)
{
    const struct rule *first = NULL, *certain = NULL;
    bool look = false;

    if (name_why(a)) {
        decide(ret, VERDICT_DENY, NULL, 403, name_why(a));
        return;
    }
    for (unsigned i = 0; i < p->count; i++) {
        const struct rule *r = &p->rules[i];
        if (!stands(r, box, a))
            continue;
        if (r->deny && !conditional(r)) {
            decide(ret, VERDICT_DENY, r, 403, "a rule denies this host");
            return;
        }
        /* what comes after the first rule that takes every request changes nothing, but for denies */
        if (r->deny || !certain)
            look |= needs_request(r);
        if (!r->deny) {
            first = first ? first : r;
            certain = certain || conditional(r) ? certain : r;
        }
    }
    if (!first && (!p->allow || a->kind != HOST_NAME))
        decide(ret, VERDICT_DENY, NULL, 403, p->allow ? "an address is allowed only by a rule that names it" : "no rule allows this host, port and scheme");
    else
        decide(ret, !a->tls ? VERDICT_PLAIN : look ? VERDICT_INTERCEPT : VERDICT_TUNNEL, first, 0, "");
}

static bool listed(const struct texts *t, const char *text, bool exact)
{
    for (unsigned i = 0; i < t->n; i++)
        if (exact ? !strcmp(t->v[i], text) : !strcasecmp(t->v[i], text))
            return true;
    return false;
}

static void lower(char *ret, size_t size, const char *p, size_t n)
{
    size_t i;

    for (i = 0; i < n && i + 1 < size; i++)
        ret[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 32) : p[i];
    ret[i] = 0;
}

/* A deny matches in any case, for there are servers that do not tell the difference. */
static bool path_listed(const struct rule *r, struct slice path)
{
    char low[HTTP1_TARGET_MAX + 1], glob[1025];

    if (!r->deny) {
        for (unsigned i = 0; i < r->paths.n; i++)
            if (path_matches(r->paths.v[i], path))
                return true;
        return false;
    }
    lower(low, sizeof low, path.p, path.n);
    for (unsigned i = 0; i < r->paths.n; i++) {
        lower(glob, sizeof glob, r->paths.v[i], strlen(r->paths.v[i]));
        if (path_matches(glob, (struct slice){ low, strlen(low) }))
            return true;
    }
    return false;
}

static bool fits(const struct rule *r, const struct message *m, struct slice path)
{
    return (!r->methods.n || listed(&r->methods, m->method, !r->deny)) && (!r->paths.n || path_listed(r, path));
}

static bool has_folded(const struct message *m, const char *name)
{
    for (unsigned i = 0; i < m->count; i++)
        if (text_folds_to(m->fields[i].name, strlen(m->fields[i].name), name))
            return true;
    return false;
}

static bool overrides_method(const struct message *m)
{
    static const char *const names[] = { "x-http-method-override", "x-http-method", "x-method-override" };

    for (unsigned k = 0; k < 3; k++)
        if (has_folded(m, names[k]) || query_has(m->target, names[k]))
            return true;
    return query_has(m->target, "_method");
}

/* What IIS, Symfony and Zend (some still do) take in place of the path. */
static bool overrides_path(const struct message *m)
{
    return has_folded(m, "x-original-url") || has_folded(m, "x-rewrite-url");
}

/* E26: what is answered before any rule is asked. */
static bool never(const struct message *m, struct verdict *ret)
{
    static const char *const methods[] = { "TRACE", "TRACK", "CONNECT" };

    for (unsigned i = 0; i < 3; i++)
        if (!strcasecmp(m->method, methods[i])) {
            decide(ret, VERDICT_DENY, NULL, 405, "this method is not passed on");
            return true;
        }
    if (m->target[0] != '/')
        decide(ret, VERDICT_DENY, NULL, 405, "a request needs a path (\"OPTIONS *\" is not passed on)");
    else if (message_get(m, "max-forwards"))
        decide(ret, VERDICT_DENY, NULL, 405, "Max-Forwards is not passed on");
    else
        return false;
    return true;
}

/* 4 of the head of this file. */
static bool ambiguous(const struct policy *p, const bool *fit, const struct rule *won, const struct authority *a, struct verdict *ret)
{
    char why[160];

    for (unsigned i = 0; i < p->count && rule_has_credential(won); i++) {
        const struct rule *r = &p->rules[i];
        const char *wide = pattern_of(won, a);
        if (!fit[i] || r == won || r->deny)
            continue;
        const char *other = pattern_of(r, a);
        bool closer = strcmp(wide, other) && pattern_covers(wide, other);
        if (!rule_has_credential(r) && !closer)
            continue;
        snprintf(why, sizeof why, closer ? "ambiguous: %s has a credential, but %s names this host more exactly" : "ambiguous: %s and %s both have a credential for this request",
                 won->name, r->name);
        decide(ret, VERDICT_DENY, won, 403, why);
        return true;
    }
    return false;
}

static const char *unjudged(const struct rule *r, const struct message *m, struct slice path)
{
    if (r->paths.n && !path_is_canonical(path))
        return "a rule here has paths, and this path is not written in the canonical way";
    if (r->paths.n && overrides_path(m))
        return "a rule here has paths, and this request asks for another one by a header";
    return r->methods.n && overrides_method(m) ? "a rule here has methods, and this request asks for another one by a header or parameter" : NULL;
}

/* Which rules fit, and the first allow of them; true when it is decided already. */
static bool judge(const struct policy *p, const struct policy_box *box, const struct authority *a, const struct message *m, bool *fit, const struct rule **ret_won, struct verdict *ret)
{
    struct slice path = { m->target, strcspn(m->target, "?") };
    const struct rule *denied = NULL;

    for (unsigned i = 0; i < p->count; i++) {
        const struct rule *r = &p->rules[i];
        if (!stands(r, box, a))
            continue;
        const char *why = unjudged(r, m, path);
        if (why) {
            decide(ret, VERDICT_DENY, r, 403, why);
            return true;
        }
        fit[i] = fits(r, m, path);
        if (fit[i] && r->deny && !denied)
            denied = r;
        if (fit[i] && !r->deny && !*ret_won)
            *ret_won = r;
    }
    if (denied)
        decide(ret, VERDICT_DENY, denied, 403, "a rule denies this request");
    return denied;
}

/* E28: no credential in clear text, unless the rule says so. Where it goes counts, not how it was asked for. */
static bool in_clear(const struct rule *r, const struct authority *a)
{
    return r->require_tls && !(r->has_upstream ? r->upstream.tls : a->tls);
}

/* No rule fits, and the default does not allow it. One that is for the host and wants another request is named: it says what may be asked. */
static void nobody(const struct policy *p, const struct policy_box *box, const struct authority *a, struct verdict *ret)
{
    char why[sizeof ret->why] = "no rule allows this request";

    for (unsigned i = p->count; !p->allow && i--;)
        if (!p->rules[i].deny && stands(&p->rules[i], box, a))
            snprintf(why, sizeof why, "no rule allows this method and path; rule %.63s allows others of this host", p->rules[i].name);
    decide(ret, VERDICT_DENY, NULL, 403, p->allow ? "an address is allowed only by a rule that names it" : why);
}

void policy_request(const struct policy *p, const struct policy_box *box, const struct authority *a, const struct message *m, struct verdict *ret)
{
    const enum verdict_kind yes = a->tls ? VERDICT_INTERCEPT : VERDICT_PLAIN;
    bool fit[POLICY_RULES_MAX] = { false };
    const struct rule *won = NULL;

    if (never(m, ret))
        return;
    if (name_why(a))
        decide(ret, VERDICT_DENY, NULL, 403, name_why(a));
    else if (judge(p, box, a, m, fit, &won, ret))
        return;
    else if (!won && (!p->allow || a->kind != HOST_NAME))
        nobody(p, box, a, ret);
    else if (won && in_clear(won, a))
        decide(ret, VERDICT_DENY, won, 403, "the rule requires TLS, and this would go out in clear text");
    else if (!won || !ambiguous(p, fit, won, a, ret))
        decide(ret, yes, won, 0, "");
}
