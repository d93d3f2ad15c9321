/* What a rule puts into a request: credentials, each exactly once, after every spelling of them that the workload wrote was taken away (E20). There are no placeholders: nothing in a request
 * says which credential it gets but the rule that it fits, so there is nothing to launder (E23). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "sandbox/egress/inject.h"

void inject_strip(const struct rule *r, struct message *m)
{
    for (unsigned i = 0; i < r->injects; i++) {
        const struct inject *in = &r->inject[i];
        if (in->kind == INJECT_QUERY) {
            query_remove(m->target, in->header);
            continue;
        }
        message_remove_folded(m, in->header);
        if (text_folds_to(in->header, strlen(in->header), "authorization"))
            message_remove_folded(m, "proxy-authorization");
        if (in->kind == INJECT_SIGV4)
            sigv4_strip(m);
    }
}

struct value { char *p; size_t n; };

static void value_wipe(struct value *v)
{
    secret_wipe(v->p, v->n);
}

static int fetch(struct secrets *s, const char *name, const struct authority *a, struct value *ret, char why[160])
{
    int e = secret_get(s, name, a, &ret->p, &ret->n);

    if (e == -ENOENT)
        snprintf(why, 160, "there is no secret %s", name);
    else if (e == -EPERM)
        snprintf(why, 160, "the secret %s is not bound to this host and scheme", name);
    else if (e)
        snprintf(why, 160, "the secret %s cannot be read", name);
    return e;
}

static int add_formatted(const struct inject *in, const char *value, struct message *m)
{
    const char *hole = strstr(in->format, "{}");
    struct buf b = BUF_INIT;

    buf_put(&b, in->format, (size_t)(hole - in->format));
    buf_put(&b, value, strlen(value));
    buf_put(&b, hole + 2, strlen(hole + 2) + 1);
    int e = buf_err(&b) ? -ENOMEM : message_add(m, in->header, (char *)b.data);
    if (!e)
        e = redact_note(m, value);
    buf_wipe(&b);
    return e;
}

static int add_basic(const struct inject *in, const char *password, struct message *m)
{
    struct buf plain = BUF_INIT, text = BUF_INIT;
    int e = -ENOMEM;

    buf_printf(&plain, "%s:", in->user);
    buf_put(&plain, password, strlen(password) + 1);
    buf_printf(&text, "Basic ");
    uint8_t *at = buf_err(&plain) ? NULL : buf_extend(&text, (plain.len + 2) / 3 * 4 + 1);
    if (at) {
        EVP_EncodeBlock(at, plain.data, (int)plain.len - 1);
        e = message_add(m, "Authorization", (char *)text.data);
        if (!e)
            e = redact_note(m, (char *)plain.data);
        if (!e)
            e = redact_note(m, password);
    }
    buf_wipe(&plain);
    buf_wipe(&text);
    return e;
}

static int add_sigv4(const struct inject *in, struct secrets *s, const struct authority *up, const char *secret_key, struct message *m, char why[160])
{
    struct value key = { 0 }, token = { 0 };
    struct timespec now;
    int e = fetch(s, in->access_key, up, &key, why);

    if (!e && in->session_token)
        e = fetch(s, in->session_token, up, &token, why);
    clock_real(&now);
    if (!e) {
        e = sigv4_inject(in, key.p, secret_key, token.p, m, up, now.tv_sec);
        if (e == -EPROTO)
            snprintf(why, 160, "the body is signed in chunks (aws-chunked): it cannot be signed again; use an unsigned payload");
    }
    if (!e)
        e = redact_note(m, secret_key);
    if (!e)
        e = redact_note(m, key.p);
    if (!e && token.p)
        e = redact_note(m, token.p);
    value_wipe(&key);
    value_wipe(&token);
    return e;
}

static int add_one(const struct inject *in, struct secrets *s, const struct authority *up, struct message *m, char why[160])
{
    struct value v = { 0 };
    int e = fetch(s, in->secret, up, &v, why);

    if (!e && in->kind == INJECT_BASIC)
        e = add_basic(in, v.p, m);
    else if (!e && in->kind == INJECT_QUERY) {
        e = query_append(&m->target, in->header, v.p);
        if (!e)
            e = redact_note(m, v.p);
    } else if (!e && in->kind == INJECT_SIGV4)
        e = add_sigv4(in, s, up, v.p, m, why);
    else if (!e)
        e = add_formatted(in, v.p, m);
    value_wipe(&v);
    return e;
}

int inject_add(const struct rule *r, struct secrets *s, const struct authority *up, struct message *m, char why[160])
{
    *why = 0;
    for (unsigned pass = 0; pass < 2; pass++)       /* what signs comes last */
        for (unsigned i = 0; i < r->injects; i++) {
            if ((r->inject[i].kind == INJECT_SIGV4) != (pass == 1))
                continue;
            int e = add_one(&r->inject[i], s, up, m, why);
            if (e && !*why)
                snprintf(why, 160, "the credential could not be injected");
            if (e)
                return e;
        }
    return 0;
}
