/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sandbox/watch/dirs.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

static int order(const void *a, const void *b) { return ((uintptr_t)a > (uintptr_t)b) - ((uintptr_t)a < (uintptr_t)b); }

static int by_wd(const void *a, const void *b)
{
    const struct dir *x = a, *y = b;

    return (x->wd > y->wd) - (x->wd < y->wd);
}

static int by_name(const void *a, const void *b)
{
    const struct dir *x = a, *y = b;
    int r = order(x->parent, y->parent);

    return r ? r : strcmp(x->name, y->name);
}

static int by_seen(const void *a, const void *b) { return strcmp(((const struct seen *)a)->name, ((const struct seen *)b)->name); }

struct dir *dirs_wd(const struct dirs *t, int wd)
{
    struct dir key = { .wd = wd };
    void *found = tfind(&key, (void *const *)&t->by_wd, by_wd);

    return found ? *(struct dir **)found : NULL;
}

struct dir *dirs_child(const struct dirs *t, const struct dir *parent, const char *name)
{
    struct dir key = { .parent = (struct dir *)(uintptr_t)parent, .name = (char *)(uintptr_t)name };
    void *found = tfind(&key, (void *const *)&t->by_name, by_name);

    return found ? *(struct dir **)found : NULL;
}

static void link_in(struct dir *d, struct dir *parent)
{
    d->parent = parent;
    d->prev = NULL;
    d->next = parent ? parent->first : NULL;
    if (d->next)
        d->next->prev = d;
    if (parent)
        parent->first = d;
}

static void link_out(struct dir *d)
{
    if (d->prev)
        d->prev->next = d->next;
    else if (d->parent)
        d->parent->first = d->next;
    if (d->next)
        d->next->prev = d->prev;
}

struct dir *dirs_add(struct dirs *t, struct dir *parent, const char *name, int wd)
{
    struct dir *d = t->count < DIRS_MAX ? calloc(1, sizeof *d) : NULL;

    if (!d)
        return NULL;
    d->wd = wd;
    d->parent = parent;
    d->name = strdup(name);
    if (!d->name || !tsearch(d, &t->by_wd, by_wd)) {
        free(d->name);
        free(d);
        return NULL;
    }
    if (!tsearch(d, &t->by_name, by_name)) {
        tdelete(d, &t->by_wd, by_wd);
        free(d->name);
        free(d);
        return NULL;
    }
    link_in(d, parent);
    if (!parent)
        t->root = d;
    t->count++;
    return d;
}

bool dirs_move(struct dirs *t, struct dir *d, struct dir *parent, const char *name)
{
    char *copy = strdup(name);

    for (struct dir *p = parent; p; p = p->parent)
        if (p == d) {
            free(copy);
            return false;
        }
    if (!copy)
        return false;
    tdelete(d, &t->by_name, by_name);
    link_out(d);
    free(d->name);
    d->name = copy;
    link_in(d, parent);
    return tsearch(d, &t->by_name, by_name);
}

static void free_one(struct dirs *t, struct dir *d)
{
    seen_clear(t, d);
    tdelete(d, &t->by_wd, by_wd);
    tdelete(d, &t->by_name, by_name);
    link_out(d);
    if (t->root == d)
        t->root = NULL;
    t->count--;
    free(d->name);
    free(d);
}

void dirs_drop(struct dirs *t, struct dir *d, void (*gone)(void *arg, struct dir *d), void *arg)
{
    struct dir *top = d, *up;

    for (bool more = true; more; d = up) {
        while (d->first)
            d = d->first;
        up = d->parent;
        more = d != top;
        gone(arg, d);
        free_one(t, d);
    }
}

char *dirs_path(const struct dir *d, const char *name)
{
    size_t n = strlen(name), at = 0;

    for (const struct dir *p = d; p->parent; p = p->parent)
        at += strlen(p->name) + 1;
    char *path = malloc(at + n + 1);
    if (!path)
        return NULL;
    memcpy(path + at, name, n + 1);
    if (!n && at)
        path[at - 1] = '\0';
    for (const struct dir *p = d; p->parent; p = p->parent) {
        size_t len = strlen(p->name);
        at--;
        if (n || p != d)
            path[at] = '/';
        at -= len;
        memcpy(path + at, p->name, len);
    }
    return path;
}

struct seen *seen_find(const struct dir *d, const char *name)
{
    struct seen key = { .name = name };
    void *found = tfind(&key, (void *const *)&d->seen, by_seen);

    return found ? *(struct seen **)found : NULL;
}

struct seen *seen_add(struct dirs *t, struct dir *d, const char *name)
{
    size_t n = strlen(name) + 1;
    struct seen *s = t->seen_count < SEEN_MAX ? calloc(1, sizeof *s + n) : NULL;

    if (!s)
        return NULL;
    memcpy(s->bytes, name, n);
    s->name = s->bytes;
    if (!tsearch(s, &d->seen, by_seen)) {
        free(s);
        return NULL;
    }
    s->next = d->seen_first;
    if (s->next)
        s->next->prev = s;
    d->seen_first = s;
    t->seen_count++;
    return s;
}

void seen_remove(struct dirs *t, struct dir *d, struct seen *s)
{
    tdelete(s, &d->seen, by_seen);
    *(s->prev ? &s->prev->next : &d->seen_first) = s->next;
    if (s->next)
        s->next->prev = s->prev;
    t->seen_count--;
    free(s);
}

void seen_clear(struct dirs *t, struct dir *d)
{
    while (d->seen_first)
        seen_remove(t, d, d->seen_first);
}
