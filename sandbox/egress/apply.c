/* What a rule does with a request that it allowed: the order is in policy.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "sandbox/egress/inject.h"

enum { BODY_WANTED = 1 << 20 };

size_t rule_wants_body(const struct rule *r)
{
    for (unsigned i = 0; r && i < r->injects; i++)
        if (r->inject[i].kind == INJECT_SIGV4 && strcmp(r->inject[i].service, "s3"))
            return BODY_WANTED;
    return 0;
}

static int edit(const struct rule *r, struct message *m)
{
    const char *name;
    json_t *v;

    for (unsigned i = 0; i < r->remove_headers.n; i++)
        message_remove_folded(m, r->remove_headers.v[i]);
    if (r->set_headers)
        json_object_foreach (r->set_headers, name, v) {
            message_remove_folded(m, name);
            int e = message_add(m, name, json_string_value(v));
            if (e)
                return e;
        }
    return 0;
}

static int answer(const struct rule *r, struct message *ret)
{
    json_t *headers = json_object_get(r->answer, "headers"), *body = json_object_get(r->answer, "body"), *v;
    const char *name;

    *ret = (struct message){ .status = (unsigned)json_integer_value(json_object_get(r->answer, "status")) };
    ret->body_n = json_string_length(body);
    ret->body = mem_alloc(ret->body_n + 1);
    if (!ret->body)
        return -ENOMEM;
    memcpy(ret->body, body ? json_string_value(body) : "", ret->body_n + 1);
    if (headers)
        json_object_foreach (headers, name, v) {
            int e = message_add(ret, name, json_string_value(v));
            if (e)
                return e;
        }
    return 0;
}

static enum apply_result no(char why[160], const char *text)
{
    if (!*why)
        snprintf(why, 160, "%s", text);
    return APPLY_DENY;
}

enum apply_result policy_apply(const struct rule *r, const struct policy_box *box, struct secrets *s, const struct authority *a, struct message *m, struct authority *upstream,
                               struct message *ret_answer, char why[160])
{
    *why = 0;
    *upstream = r && r->has_upstream ? r->upstream : *a;
    *ret_answer = (struct message){ 0 };
    if (!r)
        return APPLY_SEND;
    if (r->answer && answer(r, ret_answer)) {
        message_fini(ret_answer);
        return no(why, "no memory");
    }
    if (r->answer)
        return APPLY_ANSWER;
    if (r->require_tls && !upstream->tls)
        return no(why, "the rule requires TLS, and this would go out in clear text");
    inject_strip(r, m);
    if (edit(r, m))
        return no(why, "the headers of the rule could not be set");
    if (r->handler) {
        enum apply_result e = handler_run(r, box, s, a, upstream, m, ret_answer, why);
        if (e != APPLY_SEND)
            return e == APPLY_DENY ? no(why, "the handler failed") : e;
        inject_strip(r, m);
    }
    return inject_add(r, s, upstream, m, why) ? no(why, "the credential could not be injected") : APPLY_SEND;
}
