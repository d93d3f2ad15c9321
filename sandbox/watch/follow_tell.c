/* SPDX-License-Identifier: GPL-2.0-or-later
 * What is told of an event, and windows (follow.c). */
#include <stdlib.h>
#include <string.h>

#include "sandbox/watch/follow_private.h"
#include "sandbox/watch/glob.h"
#include "sandbox/watch/proto.h"

static bool any_match(char **globs, const char *path)
{
    for (; globs && *globs; globs++)
        if (glob_match(*globs, path))
            return true;
    return false;
}

bool follow_hidden(const struct follow *f, const char *path)
{
    for (char **g = f->exclude; g && *g; g++)
        if (glob_hides(*g, path))
            return true;
    return false;
}

static bool is_told(const struct follow *f, const char *path)
{
    if (f->only)
        return !strcmp(path, f->only);
    return !any_match(f->exclude, path) && (!f->include || !*f->include || any_match(f->include, path));
}

/* NULL: no memory, or longer than a message can hold. */
static char *absolute(const struct follow *f, const char *path)
{
    size_t n = strlen(f->prefix), m = strlen(path), slash = m && (!n || f->prefix[n - 1] != '/');
    char *s = n + slash + m > WATCH_STRING_MAX ? NULL : malloc(n + slash + m + 1);

    if (!s)
        return NULL;
    memcpy(s, f->prefix, n);
    memcpy(s + n, "/", slash);
    memcpy(s + n + slash, path, m + 1);
    return s;
}

void follow_tell(struct follow *f, int type, const char *path, const char *to, bool is_dir, uint64_t time_ns)
{
    uint64_t now = f->kernel->now_ns(f->kernel->self);
    bool here = path && is_told(f, path), there = to && is_told(f, to);

    if (to) {
        type = here && there ? WATCHED_MOVE : here ? WATCHED_DELETE : WATCHED_CREATE;
        if (!here)
            path = to;
        if (!here || !there)
            to = NULL;
        here = here || there;
    }
    if (f->silent || !here || (f->types && !(f->types >> type & 1)))
        return;
    char *a = absolute(f, path), *b = to ? absolute(f, to) : NULL;
    if (a && (b || !to))
        told_put(&f->out, now, type, a, b, is_dir, time_ns);
    else
        told_lost(&f->out, now, 1, "name");  /* longer than any program can open */
    free(a);
    free(b);
}

static void tell_in(struct follow *f, int type, struct dir *d, const char *name, bool is_dir, uint64_t time_ns)
{
    char *path = dirs_path(d, name);

    if (path)
        follow_tell(f, type, path, NULL, is_dir, time_ns);
    else
        follow_no_memory(f);
    free(path);
}

/* --- windows --- */
void follow_candidate(struct follow *f, struct dir *d, struct seen *s, uint64_t time_ns)
{
    s->candidate = false;
    tell_in(f, WATCHED_CREATE, d, s->name, s->is_dir, time_ns);
}

/* Before something beneath d is told: d itself and what it is in. */
void follow_announce(struct follow *f, struct dir *d, uint64_t time_ns)
{
    if (!f->window_first || !d->parent)
        return;
    follow_announce(f, d->parent, time_ns);
    struct seen *s = d->parent->window ? seen_find(d->parent, d->name) : NULL;
    if (s && s->candidate)
        follow_candidate(f, d->parent, s, time_ns);
}

/* It was there before the watch: what made it was not seen. */
void follow_existing(struct follow *f, struct dir *d, struct seen *s, uint64_t time_ns)
{
    if (s->candidate)
        follow_candidate(f, d, s, time_ns);
    if (s->is_dir || !s->has_data || s->closed || d->moved_in)
        return;
    tell_in(f, WATCHED_MODIFY, d, s->name, false, time_ns);
    tell_in(f, WATCHED_CLOSE_WRITE, d, s->name, false, time_ns);
    s->closed = true;
}

void window_close(struct follow *f, struct dir *d)
{
    uint64_t time_ns = f->kernel->time_ns(f->kernel->self);

    if (d->seen_first)
        follow_announce(f, d, time_ns);
    d->window = false;
    for (struct seen *s = d->seen_first; s; s = s->next)
        follow_existing(f, d, s, time_ns);
    seen_clear(&f->dirs, d);
}

void windows_close(struct follow *f, uint64_t seq)
{
    while (f->window_first && f->window_first->window_end <= seq) {
        struct dir *d = f->window_first;
        f->window_first = d->window_next;
        if (!f->window_first)
            f->window_last = NULL;
        d->window_next = NULL;
        window_close(f, d);
    }
}

void window_forget(struct follow *f, struct dir *d)
{
    struct dir **p = &f->window_first, *before = NULL;

    if (!d->window)
        return;
    while (*p && *p != d) {
        before = *p;
        p = &(*p)->window_next;
    }
    if (!*p)
        return;
    *p = d->window_next;
    if (f->window_last == d)
        f->window_last = before;
}
