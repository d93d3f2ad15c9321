#include "sandbox/egress/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

static struct slice slice_of(const char *text)
{
    return (struct slice){ text, strlen(text) };
}

static char *copy(struct slice s)
{
    char *p = mem_alloc(s.n + 1);

    if (!p)
        return NULL;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

/* Whatever may hold a credential is wiped. */
static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void field_fini(struct field *f)
{
    free(f->name);
    wipe(f->value);
}

void message_fini(struct message *m)
{
    for (unsigned i = 0; i < m->redact_count; i++)
        wipe(m->redact[i]);
    for (unsigned i = 0; i < m->count; i++)
        field_fini(&m->fields[i]);
    free(m->redact);
    free(m->fields);
    wipe(m->target);
    free(m->reason);
    free(m->body);
    *m = (struct message){ 0 };
}

/* Room for one more at the end. */
static int add(struct message *m, struct slice name, struct slice value)
{
    struct field f, *fields = mem_realloc(m->fields, (m->count + 1) * sizeof *fields);

    if (!fields)
        return -ENOMEM;
    m->fields = fields;
    f = (struct field){ copy(name), copy(value) };
    if (!f.name || !f.value) {
        field_fini(&f);
        return -ENOMEM;
    }
    m->fields[m->count++] = f;
    return 0;
}

/* Who sends a message writes these from what it knows. */
static bool is_senders(struct slice name)
{
    return slice_is_case(name, "host") || slice_is_case(name, "content-length") || slice_is_case(name, "expect");
}

int message_from(const struct http1_head *h, struct message *ret)
{
    struct message m = { .status = h->status };
    int r = 0;

    if (h->method.n >= sizeof m.method)
        return -EINVAL;
    if (h->method.n)
        memcpy(m.method, h->method.p, h->method.n);
    m.target = copy(h->target);
    m.reason = copy(h->reason);
    if (!m.target || !m.reason)
        r = -ENOMEM;
    for (unsigned i = 0; i < h->count && !r; i++)
        if (!http1_is_hop(h, &h->headers[i]) && !is_senders(h->headers[i].name))
            r = add(&m, h->headers[i].name, h->headers[i].value);
    if (r)
        message_fini(&m);
    else
        *ret = m;
    return r;
}

const char *message_get(const struct message *m, const char *name)
{
    for (unsigned i = 0; i < m->count; i++)
        if (!strcasecmp(m->fields[i].name, name))
            return m->fields[i].value;
    return NULL;
}

/* Takes away all fields for which same() holds. */
static unsigned drop(struct message *m, const char *name, bool (*same)(const char *a, const char *b))
{
    unsigned kept = 0, all = m->count;

    for (unsigned i = 0; i < all; i++) {
        if (!same(m->fields[i].name, name))
            m->fields[kept++] = m->fields[i];
        else
            field_fini(&m->fields[i]);
    }
    m->count = kept;
    return all - kept;
}

static bool same_name(const char *a, const char *b)
{
    return !strcasecmp(a, b);
}

/* CGI makes HTTP_X_API_KEY of all of x-api-key, X_API_KEY, x.api.key; some servers do so with every byte that is not a letter or a digit, or drop those at the ends. */
static bool same_folded(const char *a, const char *b)
{
    return http1_same_folded(slice_of(a), slice_of(b));
}

int message_add(struct message *m, const char *name, const char *value)
{
    if (!http1_is_name(slice_of(name)) || !http1_is_value(slice_of(value)))
        return -EINVAL;
    return add(m, slice_of(name), slice_of(value));
}

/* Added before the old ones go: what fails changes nothing. */
int message_set(struct message *m, const char *name, const char *value)
{
    int r = message_add(m, name, value);
    struct field f;

    if (r)
        return r;
    f = m->fields[--m->count];
    drop(m, name, same_name);
    m->fields[m->count++] = f;
    return 0;
}

unsigned message_remove_folded(struct message *m, const char *name)
{
    return drop(m, name, same_folded);
}

void message_put_fields(const struct message *m, struct buf *b)
{
    for (unsigned i = 0; i < m->count; i++)
        http1_put_header(b, slice_of(m->fields[i].name), slice_of(m->fields[i].value));
}
