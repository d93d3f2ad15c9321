#include "sandbox/e2b/transfer.h"

#include "sandbox/e2b/names.h"
#include "sandbox/e2b/seek.h"

static void transfer_over(void *self)
{
    struct e2b_transfer *t = self;

    t->over = true;
    e2b_fs_over(self);                    /* before its end: nothing is committed */
}

void e2b_transfer_fail(struct e2b_transfer *t, int status, const char *step)
{
    if (t->over)
        return;
    t->over = true;
    e2b_fs_fail(&t->s, status, step);
}

void *e2b_transfer_start(struct http_call *c, size_t size, const char *operation, void (*fini)(void *self), void (*go)(void *self))
{
    struct e2b_transfer *t = e2b_call_new(c, size, transfer_over, fini);

    if (t && http_query(c, "signature"))
        e2b_signed_go(t, operation, go);
    else if (t)
        e2b_call_go(t, go);
    return t;
}

void e2b_transfer_path(struct e2b_transfer *t, const char *path)
{
    g_free(t->s.path);
    t->s.path = e2b_path(t->s.k.x.b, t->s.k.user, path);
}

void e2b_transfer_begin(struct e2b_transfer *t, const struct file_ops *ops)
{
    struct fault f;

    file_free(t->s.f);
    t->s.f = NULL;
    if (g_strlcpy(t->s.q.path, t->s.path, sizeof(t->s.q.path)) >= sizeof(t->s.q.path))
        fault_set(&f, "invalid_request", "the path is longer than %zu bytes", sizeof(t->s.q.path) - 1);
    else
        t->s.f = file_start(t->s.k.x.b, t->s.k.user, &t->s.q, ops, t, &f);
    if (t->s.f)
        return;
    t->over = true;
    http_fault(t->s.k.x.c, &f);
}
