/* A box and the egress proxy: what egress is told of it (name, labels, forks, its end), what is known of its network and of the bytes that passed. */
#include "sandbox/core/box_private.h"

#include <string.h>

#include "base/log.h"
#include "sandbox/egress_client.h"

struct tell { struct box *b; char *text; void (*then)(void *arg); void *arg; };

static void told(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    struct tell *t = arg;

    if (f) {
        log_warn("box=%s step=egress-box code=%s", t->b->id, f->code);
    } else {
        g_free(t->b->p->egress_told);
        t->b->p->egress_told = g_strdup(t->text);
    }
    if (t->then)
        t->then(t->arg);
    box_unref(t->b);
    g_free(t->text);
    g_free(t);
}

void box_egress_tell(struct box *b, void (*then)(void *arg), void *arg)
{
    json_t *req = b->sd->egress ? json_pack("{s:s,s:s,s:s,s:O}", "op", "box", "box", b->id, "name", b->name, "labels", b->config.labels) : NULL;
    char *text = req ? json_dumps(req, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    if (!text || (b->p->egress_told && !strcmp(text, b->p->egress_told))) {
        json_decref(req);
        if (then)
            then(arg);
    } else {
        struct tell *t = g_new(struct tell, 1);
        *t = (struct tell){ box_ref(b), g_strdup(text), then, arg };
        egress_ask(b->sd->egress, req, false, told, t);
    }
    free(text);
}

static void tell_anew(void *arg, struct box *b)
{
    g_clear_pointer(&b->p->egress_told, g_free);
    if (b->p->alive || b->p->start)
        box_egress_tell(b, NULL, NULL);
}

void boxes_egress_begun(void *arg)
{
    struct sandboxd *sd = arg;

    boxes_each(sd->boxes, tell_anew, NULL);
}

static void forgotten(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    struct box *b = arg;

    if (f)
        log_warn("box=%s step=egress-forget code=%s", b->id, f->code);
    box_unref(b);
}

void box_egress_forget(struct box *b)
{
    if (b->sd->egress)
        egress_ask(b->sd->egress, json_pack("{s:s,s:s}", "op", "forget", "box", b->id), false, forgotten, box_ref(b));
}

/* --- its network --- */

void box_egress_network(struct box *b, const struct launch_packet *p, unsigned at)
{
    b->p->network = p->value[at] & LAUNCH_NET_ON;
    b->p->bundle = p->value[at] & LAUNCH_NET_BUNDLE;
    g_strlcpy(b->p->network_why, b->p->network ? "" : p->text, sizeof(b->p->network_why));
}

const char *box_egress_why(const struct box *b)
{
    const char *why = b->sd->egress ? egress_why(b->sd->egress) : "there is no egress proxy";

    if (b->p->alive && !b->p->network)
        return b->p->network_why;
    return why;
}

bool box_has_bundle(const struct box *b)
{
    return b->p->bundle;
}

/* --- what has passed: egress counts from the box's start, and from zero when it was started again itself --- */

struct count { struct box *b; unsigned run; void (*then)(void *arg); void *arg; };

static void counted(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    struct count *k = arg;
    struct box_private *p = k->b->p;
    uint64_t n = ok ? (uint64_t)(json_integer_value(json_object_get(ok, "bytes_up")) + json_integer_value(json_object_get(ok, "bytes_down"))) : p->egress_seen;

    if (k->run == p->egress_run) {
        if (n < p->egress_seen)
            k->b->egress_bytes += p->egress_seen;
        p->egress_seen = n;
    }
    k->then(k->arg);
    box_unref(k->b);
    g_free(k);
}

void box_egress_count(struct box *b, void (*then)(void *arg), void *arg)
{
    if (!b->sd->egress || !b->p->alive || !b->p->network || egress_why(b->sd->egress)) {
        then(arg);
        return;
    }
    struct count *k = g_new(struct count, 1);
    *k = (struct count){ box_ref(b), b->p->egress_run, then, arg };
    egress_ask(b->sd->egress, json_pack("{s:s,s:s}", "op", "usage", "box", b->id), false, counted, k);
}

uint64_t box_egress_bytes(const struct box *b)
{
    return b->egress_bytes + b->p->egress_seen;
}

void box_egress_run_ended(struct box *b)
{
    b->egress_bytes += b->p->egress_seen;
    b->p->egress_seen = 0;
    b->p->egress_run++;
    b->p->network = false;
}
