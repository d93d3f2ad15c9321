#include "sandbox/e2b/signed.h"

#include <string.h>

#include "sandbox/core/box_private.h"
#include "sandbox/e2b/e2b.h"

struct search { struct e2b_call *k; const char *operation; void (*go)(void *self); struct box *found; };

static void look(void *arg, struct box *b)
{
    struct search *s = arg;
    struct http_call *c = s->k->x.c;
    const char *path = http_query(c, "path"), *user = http_query(c, "username"), *only = http_header(c, "E2b-Sandbox-Id");

    if (s->found || !e2b_is(b) || !e2b_flag(b, "secure") || (only && strcmp(only, b->id) && strcmp(only, b->name)))
        return;
    if (e2b_signature_right(b, s->operation, path ? path : "", user ? user : "", http_query(c, "signature_expiration"), http_query(c, "signature")))
        s->found = box_ref(b);
}

/* True: found, and what is to be done began. */
static bool done(struct search *s)
{
    boxes_each(http_sandboxd(s->k->x.c)->boxes, look, s);
    if (!s->found)
        return false;
    e2b_call_with(s->k, s->found, s->go);
    box_unref(s->found);
    return true;
}

/* Sandboxes that sleep may have left the table: the store's list brings them back. */
static void listed(void *arg, json_t *result, int fd, const struct fault *fault)
{
    g_autofree struct search *s = arg;
    struct e2b_call *k = s->k;
    json_t *rec;
    size_t i;

    json_array_foreach(json_object_get(result, "workspaces"), i, rec)
        if (k->x.c)
            boxes_of_record(http_sandboxd(k->x.c)->boxes, rec);
    if (k->x.c && fault)
        http_fault(k->x.c, fault);
    else if (k->x.c && !done(s))
        http_deny(k->x.c, "the signature of this URL is not right");
    boxed_unref(k);
}

void e2b_signed_go(void *self, const char *operation, void (*go)(void *self))
{
    struct e2b_call *k = self;
    const char *expiration = http_query(k->x.c, "signature_expiration");
    struct search *s = g_new0(struct search, 1);
    guint64 until;

    *s = (struct search){ .k = k, .operation = operation, .go = go };
    if (expiration && (!g_ascii_string_to_unsigned(expiration, 10, 0, G_MAXINT64, &until, NULL) || (gint64)until < g_get_real_time() / G_USEC_PER_SEC)) {
        http_deny(k->x.c, "the signature of this URL is no longer good: its time is over");
        g_free(s);
    } else if (done(s)) {
        g_free(s);
    } else {
        boxed_ref(k);
        stock_call(http_sandboxd(k->x.c)->stock, json_pack("{s:s}", "verb", "list"), NULL, 0, listed, s);
    }
}
