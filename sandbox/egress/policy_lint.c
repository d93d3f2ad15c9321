/* What an operator may not have meant (A28). Rules that are linted are in force all the same. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "sandbox/egress/policy_private.h"
#include "sandbox/egress/secret.h"

static void warn(json_t *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void warn(json_t *list, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(list, json_string(text));
}

static void lint_secret(json_t *list, const struct rule *r, const char *secret, const struct secrets *s)
{
    if (secret && s && !secret_is((struct secrets *)s, secret))
        warn(list, "%s: there is no secret \"%s\" yet: until there is, its requests are refused", r->name, secret);
}

static void lint_credential(json_t *list, const struct rule *r, const struct secrets *s)
{
    for (unsigned i = 0; i < r->hosts.n; i++)
        if (r->hosts.v[i][0] == '*' && !r->has_upstream)
            warn(list, "%s: a credential goes to every host of \"%s\": who controls one of them gets it", r->name, r->hosts.v[i]);
    if (!r->require_tls)
        warn(list, "%s: a credential may go out in clear text (\"require_tls\": false)", r->name);
    if (!r->methods.n && !r->paths.n)
        warn(list, "%s: a credential for every method and path of the host: \"methods\" and \"paths\" make it narrower", r->name);
    for (unsigned i = 0; i < r->injects; i++) {
        const struct inject *in = &r->inject[i];
        lint_secret(list, r, in->secret, s);
        lint_secret(list, r, in->access_key, s);
        lint_secret(list, r, in->session_token, s);
        if (in->kind == INJECT_QUERY)
            warn(list, "%s: a credential in the query is in the logs of servers on its way: a header is better", r->name);
    }
    for (unsigned i = 0; i < r->secrets.n; i++)
        lint_secret(list, r, r->secrets.v[i], s);
}

static void lint_headers(json_t *list, const struct rule *r)
{
    static const char *const names[] = { "authorization", "cookie", "x-api-key", "api-key", "x-auth-token", "private-token" };
    const char *key;
    json_t *v;

    if (r->set_headers)
        json_object_foreach (r->set_headers, key, v)
            for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
                if (text_folds_to(key, strlen(key), names[i]))
                    warn(list, "%s: what \"set_headers\" puts into %s is shown to everybody who may read the rules: a credential belongs in a secret, and \"inject\"", r->name, names[i]);
}

static void lint_rule(json_t *list, const struct policy *p, const struct rule *r, const struct secrets *s)
{
    for (unsigned i = 0; i < r->hosts.n && !r->deny; i++)
        if (!strcmp(r->hosts.v[i], "*"))
            warn(list, "%s: \"*\" allows every host: anything can be sent anywhere", r->name);
    if (rule_has_credential(r))
        lint_credential(list, r, s);
    lint_headers(list, r);
    if (r->private_)
        warn(list, "%s: \"private\" lets its names lead into the host's own networks: whoever answers for these names in the DNS chooses the address", r->name);
    if (r->has_upstream && !r->upstream.tls)
        warn(list, "%s: its requests go to %s in clear text", r->name, r->upstream.host);
    for (unsigned i = 0; i < r->methods.n; i++)
        if (!strcmp(r->methods.v[i], "CONNECT") || !strcmp(r->methods.v[i], "TRACE") || !strcmp(r->methods.v[i], "TRACK"))
            warn(list, "%s: %s is never passed on, whatever rules say", r->name, r->methods.v[i]);
    for (const struct rule *before = p->rules; before < r && !r->deny; before++) {
        bool covered = !before->deny && !before->methods.n && !before->paths.n && !before->labels && !before->ports.n && before->schemes == (SCHEME_HTTP | SCHEME_HTTPS) && !r->ports.n;
        for (unsigned i = 0; i < r->hosts.n && covered; i++) {
            covered = false;
            for (unsigned k = 0; k < before->hosts.n; k++)
                covered |= pattern_covers(before->hosts.v[k], r->hosts.v[i]);
        }
        if (covered)
            warn(list, "%s: %s comes first and takes all of its requests", r->name, before->name);
    }
}

json_t *policy_lint(const struct policy *p, const struct secrets *s)
{
    json_t *list = json_array();

    if (p->allow)
        warn(list, "the default is \"allow\": every host that no rule denies may be asked, and anything sent there");
    for (unsigned i = 0; i < p->count; i++)
        lint_rule(list, p, &p->rules[i], s);
    return list;
}
