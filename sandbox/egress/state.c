#include "sandbox/egress/state_private.h"
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/egress/durable.h"

static int by_id(const void *a, const void *b)
{
    return strcmp(a, b);
}

bool box_id_ok(const char *id)
{
    size_t n = strlen(id);

    return n && n < 64 && id[0] != '.' && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static void box_unref(struct box *b)
{
    if (!b || atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    limiter_free(b->limiter);
    free(b);
}

void view_unref(struct view *v)
{
    if (!v || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    policy_unref(v->v.policy);
    json_decref(v->labels);
    box_unref(v->box);
    free(v);
}

const struct box_view *box_view_ref(const struct box_view *v)
{
    atomic_fetch_add(&((struct view *)v)->refs, 1);
    return v;
}

void box_view_unref(const struct box_view *v)
{
    view_unref((struct view *)v);
}

struct view *view_new(struct box *b, const char *name, json_t *labels, struct policy *p, uint64_t revision)
{
    struct view *v = mem_zalloc(sizeof *v);

    if (!v)
        return NULL;
    v->refs = 1;
    v->box = b;
    atomic_fetch_add(&b->refs, 1);
    v->labels = labels ? json_deep_copy(labels) : json_object();
    snprintf(v->name, sizeof v->name, "%s", name && *name ? name : b->id);
    v->v = (struct box_view){ .id = b->id, .name = v->name, .box = { b->id, v->name, v->labels }, .policy = policy_ref(p), .limiter = b->limiter, .revision = revision };
    if (!v->labels) {
        view_unref(v);
        return NULL;
    }
    return v;
}

struct policy *policy_nothing(void)
{
    struct policy_fault fault;
    struct policy *p = NULL;
    json_t *doc = json_pack("{s:s, s:b, s:[]}", "default", "deny", "inherit", 0, "rules");

    if (doc && policy_parse(doc, &p, &fault))
        p = NULL;
    json_decref(doc);
    return p;
}

struct box *state_find(struct state *s, const char *id)
{
    void *node = tfind(id, &s->boxes, by_id);
    return node ? *(struct box **)node : NULL;
}

static struct box *box_new(const char *id)
{
    struct box *b = mem_zalloc(sizeof *b);
    struct policy *nothing = b ? policy_nothing() : NULL;

    if (!b)
        return NULL;
    snprintf(b->id, sizeof b->id, "%s", id);
    b->refs = 1;
    b->limiter = limiter_new();
    b->view = b->limiter && nothing ? view_new(b, NULL, NULL, nothing, 0) : NULL;
    policy_unref(nothing);
    if (!b->view) {
        box_unref(b);
        return NULL;
    }
    return b;
}

struct box *state_make(struct state *s, const char *id)
{
    struct box *b = state_find(s, id);

    if (b)
        return b;
    errno = s->count >= STATE_BOXES_MAX ? EDQUOT : ENOMEM;
    b = s->count >= STATE_BOXES_MAX ? NULL : box_new(id);
    if (!b)
        return NULL;
    pthread_rwlock_wrlock(&s->lock);
    bool there = tsearch(b, &s->boxes, by_id);
    s->count += there;
    pthread_rwlock_unlock(&s->lock);
    if (!there) {
        view_unref(b->view);
        box_unref(b);
        return NULL;
    }
    return b;
}

void state_enforce(struct state *s, struct view *v)
{
    struct box *b = v->box;

    v->v.generation = state_generation(s) + 1;
    pthread_rwlock_wrlock(&s->lock);
    struct view *old = b->view;
    b->view = v;
    atomic_fetch_add(&s->generation, 1);
    pthread_rwlock_unlock(&s->lock);
    view_unref(old);
}

int state_text(struct state *s, const struct view *v, char **ret)
{
    json_t *j;

    *ret = NULL;
    if (s->dir < 0 || v->box->unread)
        return 0;
    j = json_pack("{s:s, s:O, s:I, s:o}", "name", v->name, "labels", v->labels, "revision", (json_int_t)v->v.revision, "rules", policy_json(v->v.policy));
    *ret = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return *ret ? 0 : -ENOMEM;
}

int state_save(struct state *s, const struct view *v)
{
    char name[80];
    _cleanup_free_ char *text = NULL;
    int r = state_text(s, v, &text);

    snprintf(name, sizeof name, "%s.json", v->v.id);
    if (!r && text)
        r = durable_put(s->dir, name, text, strlen(text));
    v->box->kept |= !r;
    return r;
}

int state_drop(struct state *s, const char *id)
{
    struct box *b = state_find(s, id);
    char name[80];
    int e = 0;

    snprintf(name, sizeof name, "%s.json", id);
    if (s->dir >= 0)
        e = durable_remove(s->dir, name);
    if (e && e != -ENOENT)
        return e;
    if (!b)
        return 0;
    pthread_rwlock_wrlock(&s->lock);
    tdelete(id, &s->boxes, by_id);
    s->count--;
    atomic_fetch_add(&s->generation, 1);
    pthread_rwlock_unlock(&s->lock);
    view_unref(b->view);
    box_unref(b);
    return 0;
}

const struct box_view *state_box(struct state *s, const char *id)
{
    struct view *v = NULL;
    struct box *b;

    pthread_rwlock_rdlock(&s->lock);
    b = state_find(s, id);
    if (b) {
        v = b->view;
        atomic_fetch_add(&v->refs, 1);
    }
    pthread_rwlock_unlock(&s->lock);
    if (v || !box_id_ok(id))
        return v ? &v->v : NULL;
    pthread_mutex_lock(&s->changing);
    b = state_make(s, id);
    if (b) {
        v = b->view;
        atomic_fetch_add(&v->refs, 1);
    }
    pthread_mutex_unlock(&s->changing);
    return v ? &v->v : NULL;
}

uint64_t state_generation(const struct state *s)
{
    return atomic_load(&s->generation) + secret_generation(s->secrets);
}

struct secrets *state_secrets(struct state *s)
{
    return s->secrets;
}

unsigned state_boxes(const struct state *s)
{
    struct state *own = (struct state *)s;

    pthread_rwlock_rdlock(&own->lock);
    unsigned n = s->count;
    pthread_rwlock_unlock(&own->lock);
    return n;
}

/* What the file says; NULL: it says nothing that can be used. */
static struct view *read_view(struct box *b, const char *text, size_t n, struct policy_fault *fault)
{
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL), *labels = NULL, *rules = NULL;
    json_int_t revision = 0;
    const char *name = NULL;
    struct policy *p = NULL;
    struct view *v = NULL;

    snprintf(fault->text, sizeof fault->text, "not such a file");
    if (!json_unpack(j, "{s:s, s:o, s:I, s:o !}", "name", &name, "labels", &labels, "revision", &revision, "rules", &rules) && json_is_object(labels) && revision >= 0 &&
        !policy_parse(rules, &p, fault))
        v = view_new(b, name, labels, p, (uint64_t)revision);
    policy_unref(p);
    json_decref(j);
    return v;
}

static int load_one(void *arg, const char *file)
{
    struct state *s = arg;
    struct policy_fault fault;
    char id[80], quoted[400], *text = NULL;
    size_t n = strlen(file), size = 0;

    if (n < 6 || n > 68 || strcmp(file + n - 5, ".json"))
        return 0;
    snprintf(id, sizeof id, "%.*s", (int)n - 5, file);
    if (!box_id_ok(id))
        return 0;
    struct box *b = state_make(s, id);
    if (!b)
        return -errno;
    int e = durable_get(s->dir, file, 1 << 20, &text, &size);
    struct view *v = e ? NULL : read_view(b, text, size, &fault);
    free(text);
    b->unread = !v;
    b->kept = true;
    if (v)
        state_enforce(s, v);
    else
        log_error("egress=state box=%s step=load err=%s text=\"%s\" effect=\"all is denied until rules are set\"", id, errno_name(e ? e : -EBADMSG),
                  e ? "" : log_quote(quoted, sizeof quoted, fault.text, strlen(fault.text)));
    return e == -ENOMEM ? e : 0;
}

int state_open(int dir_fd, const uint8_t key[SECRET_KEY_BYTES], struct state **ret)
{
    struct state *s = mem_zalloc(sizeof *s);

    if (!s)
        return -ENOMEM;
    pthread_mutex_init(&s->changing, NULL);
    pthread_rwlock_init(&s->lock, NULL);
    s->dir = dir_fd < 0 ? -1 : durable_dir(dir_fd, "boxes");
    int e = dir_fd >= 0 && s->dir < 0 ? s->dir : secrets_open(dir_fd, key, &s->secrets);
    if (!e && s->dir >= 0)
        e = durable_each(s->dir, load_one, s);
    if (e) {
        state_free(s);
        return e;
    }
    *ret = s;
    return 0;
}

static void box_end(void *p)
{
    struct box *b = p;

    view_unref(b->view);
    box_unref(b);
}

void state_free(struct state *s)
{
    if (!s)
        return;
    tdestroy(s->boxes, box_end);
    secrets_free(s->secrets);
    if (s->dir >= 0)
        close(s->dir);
    pthread_mutex_destroy(&s->changing);
    pthread_rwlock_destroy(&s->lock);
    free(s);
}
