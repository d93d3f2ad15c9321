/* Does what was allowed and is still open stand under other rules? (E43) */
#include <stdio.h>
#include <string.h>
#include "sandbox/egress/policy_private.h"

bool policy_still_allows(const struct policy *p, const struct policy_box *box, const struct authority *a, enum verdict_kind was)
{
    struct verdict v;

    policy_connect(p, box, a, &v);
    return v.kind == was && v.kind != VERDICT_DENY;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static bool same_inject(const struct inject *a, const struct inject *b)
{
    return a->kind == b->kind && same_text(a->header, b->header) && same_text(a->secret, b->secret) && same_text(a->user, b->user) && same_text(a->format, b->format) &&
           same_text(a->access_key, b->access_key) && same_text(a->session_token, b->session_token) && same_text(a->region, b->region) && same_text(a->service, b->service);
}

/* Is what the old rule gave given by the new one too? */
static bool same_credential(const struct rule *old, const struct rule *r)
{
    bool same = r && old->injects == r->injects && same_text(old->handler, r->handler) && old->secrets.n == r->secrets.n && old->has_upstream == r->has_upstream &&
                (!r->has_upstream || authority_same(&old->upstream, &r->upstream));

    for (unsigned i = 0; same && i < old->injects; i++)
        same = same_inject(&old->inject[i], &r->inject[i]);
    for (unsigned i = 0; same && i < old->secrets.n; i++)
        same = !strcmp(old->secrets.v[i], r->secrets.v[i]);
    return same;
}

bool policy_still_allows_request(const struct policy *p, const struct policy_box *box, const struct authority *a, const char *method, const char *target, bool upgrade, const struct rule *held)
{
    struct message m = { .target = (char *)target };
    struct verdict v;

    snprintf(m.method, sizeof m.method, "%s", method);
    policy_request(p, box, a, &m, &v);
    return v.kind != VERDICT_DENY && (!upgrade || rule_allows_websocket(v.rule)) && (!held || same_credential(held, v.rule));
}

bool rule_edits_headers(const struct rule *r)
{
    return r && (rule_has_credential(r) || r->set_headers || r->remove_headers.n || r->handler);
}

bool policy_denies_address(const struct policy *p, const struct policy_box *box, const struct authority *literal)
{
    struct verdict v;

    policy_connect(p, box, literal, &v);
    return v.kind == VERDICT_DENY && v.rule;
}
