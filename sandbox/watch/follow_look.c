/* SPDX-License-Identifier: GPL-2.0-or-later
 * Directories that wait to be looked at: watched, listed, put in their place (follow.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "sandbox/watch/follow_private.h"
#include "sandbox/watch/proto.h"

enum { LOOKS_AT_ONCE = 16 };

static void on_gone(void *arg, struct dir *d)
{
    struct follow *f = arg;

    window_forget(f, d);
    f->kernel->unwatch(f->kernel->self, d->wd);
}

void follow_drop(struct follow *f, struct dir *d)
{
    if (d)
        dirs_drop(&f->dirs, d, on_gone, f);
}

void task_add(struct follow *f, struct task **list, int parent_wd, const char *name, bool announce, bool moved_in)
{
    struct task *t = calloc(1, sizeof *t + strlen(name) + 1);

    if (!t) {
        follow_no_memory(f);
        return;
    }
    t->parent_wd = parent_wd;
    t->announce = announce;
    t->moved_in = moved_in;
    strcpy(t->name, name);
    t->next = *list;
    *list = t;
}

struct listed { struct listed *next; bool is_dir, has_data; char name[]; };

static struct listed *listed_new(const char *name, bool is_dir, bool has_data)
{
    struct listed *l = calloc(1, sizeof *l + strlen(name) + 1);

    if (l) {
        l->is_dir = is_dir;
        l->has_data = has_data;
        strcpy(l->name, name);
    }
    return l;
}

struct list { struct listed *first; size_t count; bool failed; };

static void on_entry(void *arg, const char *name, bool is_dir, bool has_data)
{
    struct list *l = arg;
    struct listed *e = listed_new(name, is_dir, has_data);

    if (!e) {
        l->failed = true;
        return;
    }
    e->next = l->first;
    l->first = e;
    l->count++;
}

/* What the listing of d showed. */
static void entry_take(struct follow *f, struct dir *d, const struct task *t, const struct listed *e)
{
    char *path = dirs_path(d, e->name);

    if (!path) {
        follow_no_memory(f);
        return;
    }
    if (t->announce && !f->silent) {
        struct seen *s = d->loose || seen_find(d, e->name) ? NULL : seen_add(&f->dirs, d, e->name);
        if (s) {
            s->candidate = true;
            s->is_dir = e->is_dir;
            s->has_data = e->has_data;
        } else if (!seen_find(d, e->name)) {
            d->loose = true;
            follow_announce(f, d, f->kernel->time_ns(f->kernel->self));
            follow_tell(f, WATCHED_CREATE, path, NULL, e->is_dir, f->kernel->time_ns(f->kernel->self));
        }
    }
    if (e->is_dir && f->recursive && !follow_hidden(f, path))
        task_add(f, &f->tasks, d->wd, e->name, t->announce, t->moved_in);
    free(path);
}

/* When all that is known by then was followed. */
static void later(struct follow *f, const struct task *t)
{
    task_add(f, &f->late, t->parent_wd, t->name, t->announce, t->moved_in);
    if (!f->late)
        return;
    f->late->stale = true;
    f->late->check = t->check;
}

static void look_failed(struct follow *f, struct task *t, int r)
{
    char text[300];

    if (r == -ENOSPC) {
        snprintf(text, sizeof text, "the system has no more inotify watches for this sandbox (%zu directories are watched): raise fs.inotify.max_user_watches on the host, or watch less, with exclude", f->dirs.count);
        follow_end(f, "too_many", text);
    } else if (r == -ENOMEM || r == -EMFILE || r == -ENFILE) {
        follow_no_memory(f);
    } else if (r == -ESTALE && (!t->stale || f->in.first)) {
        later(f, t);
    } else if (r == -ESTALE) {
        follow_again(f, 0, "changed");       /* nothing that is known explains it */
    } else if (t->root) {
        snprintf(text, sizeof text, "%s cannot be watched: %s", f->prefix, strerror(-r));
        follow_end(f, r == -ENOENT ? "not_found" : r == -ENOTDIR ? "not_a_directory" : r == -EACCES || r == -EPERM ? "permission_denied" : "internal", text);
    }
}

/* A directory that is known elsewhere was moved: the event that says so is still to come, or came only in part. Until all known events were followed it stays where it is. One that is there
 * already needs nothing. */
static bool place_free(struct follow *f, const struct dir *parent, const struct task *t, const struct identity *id)
{
    const struct dir *d = dirs_wd(&f->dirs, id->wd);

    if (!d || f->walking)
        return true;
    if (d->parent == parent && !strcmp(d->name, t->name))
        return false;
    if (t->stale && !f->in.first)
        follow_again(f, 0, "changed");       /* no event explains it */
    else
        later(f, t);
    return false;
}

/* The directory that look() found, in its place. */
static struct dir *place(struct follow *f, struct dir *parent, const struct task *t, const struct identity *id)
{
    struct dir *d = dirs_wd(&f->dirs, id->wd), *there = parent ? dirs_child(&f->dirs, parent, t->name) : f->dirs.root;

    if (there && there != d)
        follow_drop(f, there);
    d = dirs_wd(&f->dirs, id->wd);           /* it may have been beneath */
    if (d && parent && (d->parent != parent || strcmp(d->name, t->name)) && !dirs_move(&f->dirs, d, parent, t->name)) {
        follow_drop(f, d);
        follow_again(f, 0, "changed");
        return NULL;
    }
    if (!d)
        d = dirs_add(&f->dirs, parent, t->name, id->wd);
    if (!d) {
        if (f->dirs.count >= DIRS_MAX)
            follow_end(f, "too_many", "there are more directories than one watch can follow (262144): watch less, with exclude");
        else
            follow_no_memory(f);
        return NULL;
    }
    d->ino = id->ino;
    d->dev = id->dev;
    d->turn = f->turn;
    return d;
}

static void window_open(struct follow *f, struct dir *d, const struct task *t)
{
    window_forget(f, d);
    d->window = true;
    d->moved_in = t->moved_in;
    d->window_end = f->in.read;
    d->window_next = NULL;
    *(f->window_last ? &f->window_last->window_next : &f->window_first) = d;
    f->window_last = d;
}

/* All that happened in it until now is in the intake: who is not named there was there before. */
static void window_narrow(struct follow *f, struct dir *d, uint64_t before)
{
    uint64_t time_ns = f->kernel->time_ns(f->kernel->self);
    bool named = intake_full(&f->in);

    for (struct raw *r = f->in.last; r && r->seq >= before; r = r->prev) {
        if (r->wd != d->wd || !r->name[0])
            continue;
        struct seen *s = seen_find(d, r->name);
        named = true;
        if (s) {
            s->active = true;
            s->coming |= (r->mask & IN_CREATE) != 0;
        }
    }
    if (!named) {
        window_forget(f, d);
        window_close(f, d);
        return;
    }
    follow_announce(f, d, time_ns);
    for (struct seen *s = d->seen_first; s && !intake_full(&f->in); s = s->next)
        if (s->candidate && !s->active)
            follow_existing(f, d, s, time_ns);
}

static void look(struct follow *f, struct task *t)
{
    struct dir *parent = t->root ? NULL : dirs_wd(&f->dirs, t->parent_wd), *d;
    struct list list = { 0 };
    struct identity id, expect;
    char *path = parent ? dirs_path(parent, "") : NULL;

    if (!t->root && (!parent || !path)) {
        free(path);
        return;                              /* its parent is gone */
    }
    if (parent)
        expect = (struct identity){ .dev = parent->dev, .ino = parent->ino };
    uint64_t before = f->in.read;
    struct dir *there = parent && t->check ? dirs_child(&f->dirs, parent, t->name) : NULL;
    int r = f->kernel->look(f->kernel->self, t->root ? "" : path, parent ? &expect : NULL, t->name, t->announce && !f->silent, there ? there->wd : -1, &id, on_entry, &list);
    free(path);
    f->kernel->read(f->kernel->self, &f->in);
    if (r)
        look_failed(f, t, r);
    if (list.failed)
        follow_no_memory(f);
    if (!r && there && there->wd != id.wd)
        follow_again(f, 0, "changed");       /* the watch was made when the old name was already another one's: what was told of it may be wrong */
    d = r || list.failed || f->again || !place_free(f, parent, t, &id) ? NULL : place(f, parent, t, &id);
    if (d && t->announce && !f->silent)
        window_open(f, d, t);
    while (list.first) {
        struct listed *e = list.first;
        list.first = e->next;
        if (d && !f->end_code)
            entry_take(f, d, t, e);
        free(e);
    }
    if (d && d->window && !f->end_code)
        window_narrow(f, d, before);
}

bool tasks_work(struct follow *f)
{
    for (unsigned n = 0; f->tasks && n < LOOKS_AT_ONCE && !f->end_code; n++) {
        struct task *t = f->tasks;
        f->tasks = t->next;
        look(f, t);
        free(t);
    }
    return f->tasks;
}

void tasks_drop(struct task **list)
{
    while (*list) {
        struct task *t = *list;
        *list = t->next;
        free(t);
    }
}
