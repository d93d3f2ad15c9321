/* The result of a handler. */
#include "sandbox/egress/handler_result.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/cleanup.h"

static int bad(char why[160], const char *text)
{
    snprintf(why, 160, "the handler's result: %s", text);
    return -EINVAL;
}

static bool allowed(const struct rule *r, const char *secret)
{
    for (unsigned i = 0; i < r->secrets.n; i++)
        if (!strcmp(r->secrets.v[i], secret))
            return true;
    return false;
}

static int put_secret(const struct rule *r, struct secrets *s, const struct authority *up, const struct record *x, struct buf *value, struct message *m, char why[160])
{
    _cleanup_free_ char *name = strndup((const char *)x->p, x->n);
    char *p = NULL;
    size_t n = 0;

    if (!name || !allowed(r, name))
        return bad(why, "a secret that the rule does not name");
    int e = secret_get(s, name, up, &p, &n);
    if (e) {
        snprintf(why, 160, e == -EPERM ? "the secret %s is not bound to this host and scheme" : "there is no secret %s", name);
        return e;
    }
    buf_put(value, p, n);
    e = redact_note(m, p);
    secret_wipe(p, n);
    return e;
}

/* One header: its name, then parts until the next name. Read ahead of where all stands. */
static int header_value(const struct rule *r, struct secrets *s, const struct authority *up, struct records *all, struct buf *value, struct message *m, bool *ret_secret, char why[160])
{
    struct records ahead = *all;
    struct record x;

    for (*ret_secret = false; record_next(&ahead, &x) && (x.tag == 't' || x.tag == 's'); *all = ahead) {
        int e = 0;
        if (x.tag == 't')
            buf_put(value, x.p, x.n);
        else if (!s)
            e = bad(why, "a secret in an answer");
        else
            e = put_secret(r, s, up, &x, value, m, why);
        *ret_secret |= x.tag == 's';
        if (e)
            return e;
    }
    buf_put_u8(value, 0);
    return buf_err(value);
}

static bool unchanged(const struct message *m, const char *name, const char *value)
{
    struct buf all = BUF_INIT;
    bool first = true, same;

    for (unsigned i = 0; i < m->count; i++)
        if (!strcasecmp(m->fields[i].name, name)) {
            buf_printf(&all, "%s%s", first ? "" : ", ", m->fields[i].value);
            first = false;
        }
    same = !first && !buf_err(&all) && all.len == strlen(value) && !memcmp(all.data, value, all.len);
    buf_fini(&all);
    return same;
}

/* into: where the headers go. old: the request's, NULL for an answer. Those that were not changed come first, as they were; then what the handler wrote, in place of every spelling of its name:
 * so nothing that the workload sent stands beside or instead of it. */
enum pass { UNCHANGED, WRITTEN };
static int take_header(const struct rule *r, struct secrets *s, const struct authority *up, struct records *all, const struct record *x, struct message *into, const struct message *old,
                       enum pass pass, char why[160])
{
    _cleanup_free_ char *name = strndup((const char *)x->p, x->n);
    struct buf value = BUF_INIT;
    bool secret = false;
    int e = name ? header_value(r, s, up, all, &value, into, &secret, why) : -ENOMEM;

    if (!e && header_check(name))
        e = bad(why, "a header that handlers do not write");
    else if (!e && strlen((char *)value.data) + 1 != value.len)
        e = bad(why, "a header's value with a NUL");
    bool same = !e && old && !secret && unchanged(old, name, (char *)value.data);
    if (!e && same != (pass == UNCHANGED)) {
        buf_wipe(&value);
        return 0;
    }
    if (same) {
        for (unsigned i = 0; i < old->count && !e; i++)
            if (!strcasecmp(old->fields[i].name, name))
                e = message_add(into, name, old->fields[i].value);
    } else if (!e) {
        message_remove_folded(into, name);
        e = message_add(into, name, (char *)value.data);
        if (e == -EINVAL)
            e = bad(why, "a header's name or value is not one");
    }
    buf_wipe(&value);
    return e;
}

static int take_method(const struct record *x, struct message *into, char why[160])
{
    struct slice name = { (const char *)x->p, x->n };

    if (!x->n || x->n >= sizeof into->method || !http1_is_name(name) || slice_is_case(name, "connect") || slice_is_case(name, "trace") || slice_is_case(name, "track"))
        return bad(why, "method");
    memcpy(into->method, x->p, x->n);
    into->method[x->n] = 0;
    return 0;
}

static int take_target(const struct record *path, const struct record *query, struct message *into, char why[160])
{
    struct buf b = BUF_INIT;

    buf_put(&b, path->p, path->n);
    if (query->p && query->n) {
        buf_put_u8(&b, '?');
        buf_put(&b, query->p, query->n);
    }
    buf_put_u8(&b, 0);
    int e = buf_err(&b);
    bool fine = !e && path->n && path->p[0] == '/' && b.len <= HTTP1_TARGET_MAX && !memchr(path->p, '?', path->n);
    for (size_t i = 0; fine && i + 1 < b.len; i++)
        fine = b.data[i] > 0x20 && b.data[i] < 0x7f && b.data[i] != '#';
    if (!e && !fine)
        e = bad(why, "path and query must be as in a request: from \"/\", printable, no space, no \"#\"");
    if (e) {
        buf_fini(&b);
        return e;
    }
    free(into->target);
    into->target = (char *)b.data;
    return 0;
}

/* The new request in `into`, which has the redacted values of the old. */
static int take_request(const struct rule *r, struct secrets *s, const struct authority *up, struct records *all, struct message *into, const struct message *old, char why[160])
{
    struct records headers = *all;
    struct record x, path = { 0 }, query = { 0 };
    int e = 0;

    while (!e && record_next(&headers, &x))
        if (x.tag == 'h')
            e = take_header(r, s, up, &headers, &x, into, old, UNCHANGED, why);

    while (!e && record_next(all, &x)) {
        if (x.tag == 'm')
            e = take_method(&x, into, why);
        else if (x.tag == 'p')
            path = x;
        else if (x.tag == 'q')
            query = x;
        else if (x.tag == 'h')
            e = take_header(r, s, up, all, &x, into, old, WRITTEN, why);
        else
            e = bad(why, "not understood");
    }
    if (!e && (all->bad || !into->method[0] || !path.p))
        e = bad(why, "not understood");
    return e ? e : take_target(&path, &query, into, why);
}

static int take_answer(const struct rule *r, struct records *all, struct message *into, char why[160])
{
    struct record x;
    int e = 0;

    while (!e && record_next(all, &x)) {
        if (x.tag == 'c')
            into->status = x.n == 3 && x.p[0] >= '2' && x.p[0] <= '5' && x.p[1] >= '0' && x.p[1] <= '9' && x.p[2] >= '0' && x.p[2] <= '9' ?
                               (x.p[0] - '0') * 100u + (x.p[1] - '0') * 10u + (x.p[2] - '0') : 0;
        else if (x.tag == 'h')
            e = take_header(r, NULL, NULL, all, &x, into, NULL, WRITTEN, why);
        else if (x.tag == 'b' && !into->body && x.n <= ANSWER_BODY_MAX) {
            into->body = mem_zalloc(x.n + 1);
            into->body_n = x.n;
            if (into->body)
                memcpy(into->body, x.p, x.n);
        } else
            e = x.tag == 'b' ? bad(why, "an answer's body is at most 64 KiB") : bad(why, "not understood");
    }
    if (!e && (all->bad || into->status < 200))
        e = bad(why, "status must be a whole number from 200 to 599");
    if (!e && !into->body)
        into->body = mem_zalloc(1);
    if (!e && into->body_n && (into->status == 204 || into->status == 304))
        e = bad(why, "an answer of status 204 or 304 has no body");
    return e ? e : into->body ? 0 : -ENOMEM;
}

static enum apply_result denied(const struct record *x, char why[160])
{
    char text[140];
    size_t n = x->n < sizeof text - 1 ? x->n : sizeof text - 1;

    for (size_t i = 0; i < n; i++)
        text[i] = x->p[i] >= 0x20 && x->p[i] < 0x7f ? (char)x->p[i] : '?';
    text[n] = 0;
    if (!n)
        memcpy(text, "no reason given", 16);
    snprintf(why, 160, x->tag == 'D' ? "%s" : "the handler failed: %s", text);
    return APPLY_DENY;
}

enum apply_result handler_result(const struct rule *r, struct secrets *s, const struct authority *up, const struct buf *in, struct message *m, struct message *ret_answer, char why[160])
{
    struct records all = { in->data, in->data + in->len, false };
    struct record first = { 0 };
    int e;

    if (!record_next(&all, &first))
        return snprintf(why, 160, "the handler gave no result"), APPLY_DENY;
    if (first.tag == 'D' || first.tag == 'E')
        return denied(&first, why);
    if (first.tag != 'S' && first.tag != 'A')
        return bad(why, "not understood"), APPLY_DENY;
    struct message into = { .target = NULL };
    e = first.tag == 'A' ? take_answer(r, &all, &into, why) : take_request(r, s, up, &all, &into, m, why);
    if (e) {
        message_fini(&into);
        if (!*why)
            snprintf(why, 160, "no memory");
        return APPLY_DENY;
    }
    if (first.tag == 'A') {
        *ret_answer = into;
        return APPLY_ANSWER;
    }
    /* body and status stay the old one's; what must not come back of the old stays too */
    for (unsigned i = 0; i < m->redact_count; i++)
        redact_note(&into, m->redact[i]);
    into.body = TAKE_PTR(m->body);
    into.body_n = m->body_n;
    message_fini(m);
    *m = into;
    return APPLY_SEND;
}
