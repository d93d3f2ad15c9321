#include "sandbox/e2b/seek.h"

#include <string.h>

#include "sandbox/core/box_private.h"

struct search { struct e2b_call *k; const char *operation; void (*then)(struct e2b_call *k, struct box *b); struct box *found; };

static void look(void *arg, struct box *b)
{
    struct search *s = arg;
    struct http_call *c = s->k->x.c;
    const char *path = http_query(c, "path"), *user = http_query(c, "username"), *only = http_header(c, "E2b-Sandbox-Id");
    bool right;

    if (s->found || !e2b_is(b) || e2b_is_open(b) || (only && strcmp(only, b->id) && strcmp(only, b->name)))
        return;
    right = s->operation ? e2b_signature_right(b, s->operation, path ? path : "", user ? user : "", http_query(c, "signature_expiration"), http_query(c, "signature"))
                         : e2b_token_right(b, E2B_TOKEN_ENVD, http_header(c, "X-Access-Token"));
    if (right)
        s->found = box_ref(b);
}

static void seek(struct search *s)
{
    boxes_each(http_sandboxd(s->k->x.c)->boxes, look, s);
}

static void over(struct search *s)
{
    if (s->k->x.c)
        s->then(s->k, s->found);
    if (s->found)
        box_unref(s->found);
    boxed_unref(s->k);
    g_free(s);
}

/* Sandboxes that sleep may have left the table: the store's list brings them back. */
static void listed(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct search *s = arg;
    struct http_call *c = s->k->x.c;
    json_t *rec;
    size_t i;

    json_array_foreach(json_object_get(result, "workspaces"), i, rec)
        if (c)
            boxes_of_record(http_sandboxd(c)->boxes, rec);
    if (c && fault) {
        http_fault(c, fault);
        boxed_unref(s->k);
        g_free(s);
        return;
    }
    if (c)
        seek(s);
    over(s);
}

void e2b_seek(struct e2b_call *k, const char *operation, void (*then)(struct e2b_call *k, struct box *b))
{
    struct search *s = g_new0(struct search, 1);

    *s = (struct search){ .k = boxed_ref(k), .operation = operation, .then = then };
    seek(s);
    if (s->found || !http_guess(k->x.c))
        over(s);
    else
        stock_call(http_sandboxd(k->x.c)->stock, json_pack("{s:s}", "verb", "list"), NULL, 0, listed, s);
}

/* --- signatures --- */
static void found(struct e2b_call *k, struct box *b)
{
    if (b)
        e2b_call_with(k, b, k->go);
    else
        http_deny(k->x.c, "the signature of this URL is not right");
}

void e2b_signed_go(void *self, const char *operation, void (*go)(void *self))
{
    struct e2b_call *k = self;
    const char *expiration = http_query(k->x.c, "signature_expiration"), *user = http_query(k->x.c, "username");
    guint64 until;

    k->go = go;
    g_free(k->user);                      /* what Basic says is not signed */
    k->user = user && *user ? g_strdup(user) : NULL;
    if (expiration && (!g_ascii_string_to_unsigned(expiration, 10, 0, G_MAXINT64, &until, NULL) || (gint64)until < g_get_real_time() / G_USEC_PER_SEC))
        http_deny(k->x.c, "the signature of this URL is no longer good: its time is over");
    else
        e2b_seek(k, operation, found);
}
