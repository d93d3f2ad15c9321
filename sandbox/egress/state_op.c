/* The ops of sandbox/egress_proto.h that read and change what egress keeps. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "sandbox/egress/policy_private.h"
#include "sandbox/egress/state_private.h"

json_t *state_error(const char *code, json_t *details, const char *fmt, ...)
{
    char text[500];
    va_list ap;
    json_t *e;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    e = json_pack("{s:s, s:s}", "code", code, "text", text);
    if (e && details)
        json_object_set_new(e, "details", details);
    return json_pack("{s:o}", "error", e);
}

static json_t *failed(int e, const char *what)
{
    if (e == -ENOSPC || e == -EDQUOT)
        return state_error("no_space", NULL, "%s: %s", what, e == -ENOSPC ? "the disk is full" : "there are as many as there may be");
    return state_error("internal", NULL, "%s: %s", what, strerror(-e));
}

static json_t *ok(json_t *o)
{
    return o ? json_pack("{s:o}", "ok", o) : NULL;
}

/* The strict shape of a request; op and tag may always be there. */
#define UNPACK(why, req, fmt, ...) json_unpack_ex(req, &(why), 0, "{s:s, s?I, " fmt " !}", "op", &(const char *){ NULL }, "tag", &(json_int_t){ 0 }, __VA_ARGS__)

static json_t *misshaped(const json_error_t *why)
{
    return state_error("invalid_request", NULL, "%s", why->text);
}

static json_t *rules_answer(struct state *s, const struct box_view *v)
{
    return ok(json_pack("{s:I, s:o, s:o}", "revision", (json_int_t)v->revision, "rules", policy_json(v->policy), "warnings", policy_lint(v->policy, s->secrets)));
}

static const char *labels_why(json_t *labels)
{
    const char *key;
    json_t *v;

    if (!json_is_object(labels) || json_object_size(labels) > LABELS_MAX)
        return "labels must be an object of at most 64 strings";
    json_object_foreach (labels, key, v)
        if (!json_is_string(v) || strlen(key) > 256 || json_string_length(v) > 1024)
            return "labels must be an object of at most 64 strings";
    return NULL;
}

static json_t *op_box(struct state *s, json_t *req)
{
    const char *id, *name = NULL, *why;
    json_t *labels = NULL;
    json_error_t e;
    int r = 0;

    if (UNPACK(e, req, "s:s, s:s, s:o", "box", &id, "name", &name, "labels", &labels))
        return misshaped(&e);
    if (!box_id_ok(id) || strlen(name) > 127 || (why = labels_why(labels)))
        return state_error("invalid_request", NULL, "%s", !box_id_ok(id) ? "box is not an id" : strlen(name) > 127 ? "name is too long" : why);
    struct box *b = state_make(s, id);
    if (!b)
        return failed(-errno, "the box cannot be kept");
    if (json_equal(labels, b->view->labels) && !strcmp(*name ? name : id, b->view->name))
        return ok(json_object());
    struct view *v = view_new(b, name, labels, b->view->v.policy, b->view->v.revision);
    /* Rules see labels. The name is for the log, and without rules there is nothing to see: it is remembered, goes into the file when that is written, and is told again after a start of ours. */
    if (!v || (b->kept && !json_equal(labels, b->view->labels)))
        r = v ? state_save(s, v) : -ENOMEM;
    if (r) {
        view_unref(v);
        return failed(r, "the box cannot be kept");
    }
    state_enforce(s, v);
    return ok(json_object());
}

static json_t *op_rules_get(struct state *s, json_t *req)
{
    const char *id;
    json_error_t e;

    if (UNPACK(e, req, "s:s", "box", &id))
        return misshaped(&e);
    if (!box_id_ok(id))
        return state_error("invalid_request", NULL, "box is not an id");
    struct box *b = state_make(s, id);
    return b ? rules_answer(s, &b->view->v) : failed(-errno, "the box cannot be read");
}

/* The document becomes the box's rules, if they are still what if_revision says (-1: whatever they are). */
static json_t *change(struct state *s, struct box *b, json_t *doc)
{
    struct policy_fault fault;
    struct policy *p = NULL;
    int r = policy_parse(doc, &p, &fault);

    if (r == -EINVAL)
        return state_error("invalid_request", NULL, "%s", fault.text);
    struct view *v = r ? NULL : view_new(b, b->view->name, b->view->labels, p, b->view->v.revision + 1);
    policy_unref(p);
    r = v ? state_save(s, v) : -ENOMEM;
    if (r) {
        view_unref(v);
        return failed(r, "the rules cannot be kept");
    }
    state_enforce(s, v);
    return rules_answer(s, &v->v);
}

static json_t *conflict(const struct box *b, json_t *if_revision)
{
    if (!if_revision || (json_is_integer(if_revision) && json_integer_value(if_revision) == (json_int_t)b->view->v.revision))
        return NULL;
    return state_error("precondition_failed", json_pack("{s:I}", "revision", (json_int_t)b->view->v.revision), "the rules were changed: they are at revision %llu",
                       (unsigned long long)b->view->v.revision);
}

static json_t *op_rules_put(struct state *s, json_t *req)
{
    json_t *doc, *if_revision = NULL, *no;
    const char *id;
    json_error_t e;

    if (UNPACK(e, req, "s:s, s:o, s?o", "box", &id, "doc", &doc, "if_revision", &if_revision))
        return misshaped(&e);
    struct box *b = box_id_ok(id) ? state_make(s, id) : NULL;
    if (!b)
        return box_id_ok(id) ? failed(-errno, "the box cannot be kept") : state_error("invalid_request", NULL, "box is not an id");
    no = conflict(b, if_revision);
    if (no)
        return no;
    bool unread = b->unread;
    b->unread = false;
    no = change(s, b, doc);
    b->unread = unread && !json_object_get(no, "ok");
    return no;
}

static json_t *op_rules_patch(struct state *s, json_t *req)
{
    json_t *add = NULL, *remove = NULL, *by_default = NULL, *if_revision = NULL, *answer, *doc;
    const char *id;
    json_error_t e;

    if (UNPACK(e, req, "s:s, s?o, s?o, s?o, s?o", "box", &id, "add", &add, "remove", &remove, "default", &by_default, "if_revision", &if_revision))
        return misshaped(&e);
    struct box *b = box_id_ok(id) ? state_make(s, id) : NULL;
    if (!b)
        return box_id_ok(id) ? failed(-errno, "the box cannot be kept") : state_error("invalid_request", NULL, "box is not an id");
    if ((answer = conflict(b, if_revision)))
        return answer;
    if (b->unread)
        return state_error("conflict", NULL, "the rules that are kept for this sandbox cannot be read (a newer coppice wrote them, or the file is damaged): PUT replaces them");
    doc = policy_json(b->view->v.policy);
    if (!doc)
        return NULL;
    answer = rules_patched(doc, add, remove, by_default);
    if (!answer)
        answer = change(s, b, doc);
    json_decref(doc);
    return answer;
}

static json_t *op_rules_check(struct state *s, json_t *req)
{
    struct policy_fault fault;
    struct policy *p;
    json_t *doc, *answer;
    json_error_t e;

    if (UNPACK(e, req, "s:o", "doc", &doc))
        return misshaped(&e);
    int r = policy_parse(doc, &p, &fault);
    if (r)
        return r == -EINVAL ? state_error("invalid_request", NULL, "%s", fault.text) : NULL;
    answer = ok(json_pack("{s:o}", "warnings", policy_lint(p, s->secrets)));
    policy_unref(p);
    return answer;
}

static json_t *op_fork(struct state *s, json_t *req)
{
    const char *from;
    json_t *to, *id;
    json_error_t e;
    size_t i;

    if (UNPACK(e, req, "s:s, s:o", "from", &from, "to", &to))
        return misshaped(&e);
    bool good = box_id_ok(from) && json_is_array(to);
    json_array_foreach (to, i, id)
        good = good && json_is_string(id) && box_id_ok(json_string_value(id));
    if (!good)
        return state_error("invalid_request", NULL, "from must be the id of a box, to an array of them");
    const char **ids = mem_zalloc((json_array_size(to) + 1) * sizeof *ids);
    if (!ids)
        return NULL;
    json_array_foreach (to, i, id)
        ids[i] = json_string_value(id);
    int r = state_fork(s, from, ids, (unsigned)json_array_size(to));
    free(ids);
    return r ? failed(r, "the rules of the forks cannot be kept") : ok(json_object());
}

static json_t *op_forget(struct state *s, json_t *req)
{
    const char *id;
    json_error_t e;

    if (UNPACK(e, req, "s:s", "box", &id))
        return misshaped(&e);
    int r = box_id_ok(id) ? state_drop(s, id) : 0;
    return r ? failed(r, "the rules cannot be removed") : ok(json_object());
}

static json_t *op_secret_put(struct state *s, json_t *req)
{
    const char *name, *value, *why = NULL;
    json_t *hosts = NULL;
    int plain = 0, r;
    size_t n;
    json_error_t e;

    if (UNPACK(e, req, "s:s, s:s%, s?o, s?b", "name", &name, "value", &value, &n, "hosts", &hosts, "plain_http", &plain))
        return misshaped(&e);
    r = secret_put(s->secrets, name, value, n, json_is_null(hosts) ? NULL : hosts, plain, &why);
    explicit_bzero((char *)value, n);      /* the request is of no more use, and is not kept here */
    if (r == -EINVAL)
        return state_error("invalid_request", NULL, "%s", why);
    return r ? failed(r, "the secret cannot be kept") : ok(json_object());
}

static json_t *op_secret_delete(struct state *s, json_t *req)
{
    const char *name;
    json_error_t e;

    if (UNPACK(e, req, "s:s", "name", &name))
        return misshaped(&e);
    int r = secret_delete(s->secrets, name);
    if (r == -ENOENT)
        return state_error("not_found", NULL, "there is no secret '%.63s'", name);
    return r ? failed(r, "the secret cannot be removed") : ok(json_object());
}

static json_t *op_secret_list(struct state *s, json_t *req)
{
    return ok(json_pack("{s:o}", "secrets", secret_list(s->secrets)));
}

int state_op(struct state *s, json_t *req, json_t **ret)
{
    static const struct { const char *op; json_t *(*fn)(struct state *, json_t *); } ops[] = {
        { "box", op_box }, { "rules_get", op_rules_get }, { "rules_put", op_rules_put }, { "rules_patch", op_rules_patch }, { "rules_check", op_rules_check }, { "fork", op_fork },
        { "forget", op_forget }, { "secret_put", op_secret_put }, { "secret_delete", op_secret_delete }, { "secret_list", op_secret_list },
    };
    const char *op = json_string_value(json_object_get(req, "op"));
    json_t *answer;

    for (unsigned i = 0; op && i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(op, ops[i].op)) {
            pthread_mutex_lock(&s->changing);
            answer = ops[i].fn(s, req);
            pthread_mutex_unlock(&s->changing);
            *ret = answer;
            return answer ? 0 : -ENOMEM;
        }
    return 1;
}
