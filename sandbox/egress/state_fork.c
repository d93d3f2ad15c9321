/* Forks: many boxes get rules at once. Their files are written side by side, and the disk is waited for once; one that gets nothing has no file. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/io.h"
#include "sandbox/egress/durable.h"
#include "sandbox/egress/policy_private.h"
#include "sandbox/egress/state_private.h"

enum { TOGETHER = 128 };                /* files that are open at a time */

static void file_name(const struct view *v, char name[80])
{
    snprintf(name, 80, "%s.json", v->v.id);
}

/* fd -1: nothing is to be written. */
static int begin(struct state *s, const struct view *v, int *ret_fd)
{
    char name[80], *text = NULL;
    int r = state_text(s, v, &text);

    *ret_fd = -1;
    file_name(v, name);
    if (!r && text)
        r = *ret_fd = durable_write(s->dir, name, text, strlen(text));
    free(text);
    return r < 0 ? r : 0;
}

/* All of them or none are in the directory, which is not synced yet. */
static int put_some(struct state *s, struct view **v, unsigned n)
{
    int fd[TOGETHER], r = 0;
    unsigned begun, i;
    char name[80];

    for (begun = 0; !r && begun < n; begun++)
        r = begin(s, v[begun], &fd[begun]);
    for (i = 0; i < begun; i++) {
        file_name(v[i], name);
        if (fd[i] >= 0 && !r)
            r = durable_place(s->dir, name, fd[i]);
        else if (fd[i] >= 0)
            durable_abandon(s->dir, name, fd[i]);
    }
    return r;
}

/* What was placed and is not in force must not be so after the next start. */
static void take_back(struct state *s, struct view **v, unsigned n)
{
    char name[80];

    for (unsigned i = 0; s->dir >= 0 && i < n; i++) {
        file_name(v[i], name);
        if (!v[i]->box->kept)
            disk->unlink(s->dir, name);
    }
}

static int put_all(struct state *s, struct view **v, unsigned n)
{
    int r = 0;

    for (unsigned at = 0; !r && at < n; at += TOGETHER)
        r = put_some(s, v + at, n - at < TOGETHER ? n - at : TOGETHER);
    if (!r && s->dir >= 0 && n)
        r = disk->fsync(s->dir);
    if (r)
        take_back(s, v, n);
    for (unsigned i = 0; i < n; i++) {
        if (!r) {
            v[i]->box->kept = true;
            state_enforce(s, v[i]);
        } else {
            view_unref(v[i]);
        }
    }
    return r;
}

int state_fork(struct state *s, const char *from, const char *const *to, unsigned count)
{
    struct box *source = state_find(s, from), *b;
    struct policy *inherited = source ? policy_for_fork(source->view->v.policy) : NULL, *p = inherited ? inherited : policy_nothing();
    struct view **v = mem_zalloc((count + 1) * sizeof *v);
    unsigned n = 0;
    int r = p && v ? 0 : -ENOMEM;

    for (unsigned i = 0; !r && i < count; i++) {
        if (!inherited && (!(b = state_find(s, to[i])) || !b->kept))
            continue;                   /* it has nothing as it is */
        b = state_make(s, to[i]);
        v[n] = b ? view_new(b, b->view->name, b->view->labels, p, b->view->v.revision + 1) : NULL;
        r = v[n] ? 0 : b ? -ENOMEM : -errno;
        n += v[n] != NULL;
    }
    for (unsigned i = 0; r && i < n; i++)
        view_unref(v[i]);
    if (!r)
        r = put_all(s, v, n);
    policy_unref(p);
    free(v);
    return r;
}
