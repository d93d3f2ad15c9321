/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * inotify watches directories, not trees: a new directory is watched only some time after it was made, and what happened in it before is not told by the kernel. So it is first watched and
 * then listed, then all events that the kernel has are read. An entry that the listing shows and no such event names was there before the watch: its creation is told at once, and for a
 * file with content that it was written. If events name entries the directory has a *window*, to the last of these events. In it each name is
 *     candidate   the listing shows it, nothing was told of it yet
 *     known       told (or in its CREATE, as of then)
 *     unknown     neither: it was there before the watch and not any more at the listing
 *   CREATE and "moved to" make a name known and are told as they are. DELETE, "moved from", MODIFY, ... of a candidate: it was there before the watch, so its creation is told first. Of an
 *   unknown name: nothing is told (a "moved from" is a creation where it went). At the end of the window the creation of each candidate that is left is told, and of a file with content that
 *   was there before that it was written, if no event said so; what an entry of a subdirectory does comes after the creation of that subdirectory.
 *   When there are too many names (SEEN_MAX) a directory is *loose*: everything is told as it comes, candidates at once.
 *
 * Invariants: a name is told as created before anything else is told of it or of what is beneath it; what is watched and not excluded is in `dirs` under its name as of the last event
 * that was followed; a directory is watched only below the parent that the events say (-ESTALE else: it waits in `late` until all known events were followed).
 *
 * A walk (at the start, after a loss) looks at everything. While it runs events are followed but not told; when all that were there at its end have been followed, `ready` or the loss is
 * told, and from then on everything.
 */
#include "sandbox/watch/follow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "sandbox/watch/glob.h"
#include "sandbox/watch/proto.h"

enum { EVENTS_AT_ONCE = 512, LOOKS_AT_ONCE = 16, CHECK_NS = 100 * 1000000 };
struct task { struct task *next; int parent_wd; uint64_t due_ns; bool root, announce, moved_in, stale, check; char name[]; };

static void follow_end(struct follow *f, const char *code, const char *text)
{
    if (f->end_code)
        return;
    f->end_code = code;
    snprintf(f->end_text, sizeof f->end_text, "%s", text);
}

static void no_memory(struct follow *f) { follow_end(f, "too_many", "there was no memory (in the sandbox) to watch further: watch less, with exclude, or raise the sandbox's memory"); }

/* --- what is told --- */
static bool any_match(char **globs, const char *path)
{
    for (; globs && *globs; globs++)
        if (glob_match(*globs, path))
            return true;
    return false;
}

static bool hidden(const struct follow *f, const char *path)
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

static void tell(struct follow *f, int type, const char *path, const char *to, bool is_dir, uint64_t time_ns)
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
        tell(f, type, path, NULL, is_dir, time_ns);
    else
        no_memory(f);
    free(path);
}

/* --- windows --- */
static void candidate_told(struct follow *f, struct dir *d, struct seen *s, uint64_t time_ns)
{
    s->candidate = false;
    tell_in(f, WATCHED_CREATE, d, s->name, s->is_dir, time_ns);
}

/* Before something beneath d is told: d itself and what it is in. */
static void announce(struct follow *f, struct dir *d, uint64_t time_ns)
{
    if (!f->window_first || !d->parent)
        return;
    announce(f, d->parent, time_ns);
    struct seen *s = d->parent->window ? seen_find(d->parent, d->name) : NULL;
    if (s && s->candidate)
        candidate_told(f, d->parent, s, time_ns);
}

/* It was there before the watch: what made it was not seen. */
static void existing_told(struct follow *f, struct dir *d, struct seen *s, uint64_t time_ns)
{
    if (s->candidate)
        candidate_told(f, d, s, time_ns);
    if (s->is_dir || !s->has_data || s->closed || d->moved_in)
        return;
    tell_in(f, WATCHED_MODIFY, d, s->name, false, time_ns);
    tell_in(f, WATCHED_CLOSE_WRITE, d, s->name, false, time_ns);
    s->closed = true;
}

static void window_close(struct follow *f, struct dir *d)
{
    uint64_t time_ns = f->kernel->time_ns(f->kernel->self);

    if (d->seen_first)
        announce(f, d, time_ns);
    d->window = false;
    for (struct seen *s = d->seen_first; s; s = s->next)
        existing_told(f, d, s, time_ns);
    seen_clear(&f->dirs, d);
}

/* Those that end before the event with that number. */
static void windows_close(struct follow *f, uint64_t seq)
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

static void window_forget(struct follow *f, struct dir *d)
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

/* --- watching --- */
static void on_gone(void *arg, struct dir *d)
{
    struct follow *f = arg;

    window_forget(f, d);
    f->kernel->unwatch(f->kernel->self, d->wd);
}

static void drop(struct follow *f, struct dir *d)
{
    if (d)
        dirs_drop(&f->dirs, d, on_gone, f);
}

static void task_add(struct follow *f, struct task **list, int parent_wd, const char *name, bool announce, bool moved_in)
{
    struct task *t = calloc(1, sizeof *t + strlen(name) + 1);

    if (!t) {
        no_memory(f);
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
        no_memory(f);
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
            announce(f, d, f->kernel->time_ns(f->kernel->self));
            tell(f, WATCHED_CREATE, path, NULL, e->is_dir, f->kernel->time_ns(f->kernel->self));
        }
    }
    if (e->is_dir && f->recursive && !hidden(f, path))
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
        no_memory(f);
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
        drop(f, there);
    d = dirs_wd(&f->dirs, id->wd);           /* it may have been beneath */
    if (d && parent && (d->parent != parent || strcmp(d->name, t->name)) && !dirs_move(&f->dirs, d, parent, t->name)) {
        drop(f, d);
        follow_again(f, 0, "changed");
        return NULL;
    }
    if (!d)
        d = dirs_add(&f->dirs, parent, t->name, id->wd);
    if (!d) {
        if (f->dirs.count >= DIRS_MAX)
            follow_end(f, "too_many", "there are more directories than one watch can follow (262144): watch less, with exclude");
        else
            no_memory(f);
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
    announce(f, d, time_ns);
    for (struct seen *s = d->seen_first; s && !intake_full(&f->in); s = s->next)
        if (s->candidate && !s->active)
            existing_told(f, d, s, time_ns);
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
        no_memory(f);
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

static bool tasks_work(struct follow *f)
{
    for (unsigned n = 0; f->tasks && n < LOOKS_AT_ONCE && !f->end_code; n++) {
        struct task *t = f->tasks;
        f->tasks = t->next;
        look(f, t);
        free(t);
    }
    return f->tasks;
}

static void tasks_drop(struct task **list)
{
    while (*list) {
        struct task *t = *list;
        *list = t->next;
        free(t);
    }
}

/* --- walks --- */
static void walk(struct follow *f)
{
    tasks_drop(&f->tasks);
    tasks_drop(&f->late);
    while (f->window_first) {
        f->window_first->window_end = 0;
        windows_close(f, 0);
    }
    f->again = false;
    f->walking = f->silent = true;
    f->silent_until = UINT64_MAX;
    f->turn++;
    task_add(f, &f->tasks, 0, "", false, false);
    if (f->tasks)
        f->tasks->root = true;
}

static struct dir *not_met(struct dir *d, unsigned turn)
{
    for (struct dir *c = d; c;) {
        if (c->turn != turn)
            return c;
        if (c->first)
            c = c->first;
        else {
            while (c != d && !c->next)
                c = c->parent;
            c = c == d ? NULL : c->next;
        }
    }
    return NULL;
}

/* Everything has been looked at: what was not met is gone. New ones of the meantime have this turn too. */
static void walked(struct follow *f)
{
    struct dir *d;

    while (f->dirs.root && (d = not_met(f->dirs.root, f->turn)))
        drop(f, d);
    f->kernel->read(f->kernel->self, &f->in);
    f->walking = false;
    f->silent_until = f->in.read;
}

static void silence_over(struct follow *f)
{
    uint64_t now = f->kernel->now_ns(f->kernel->self);

    f->silent = false;
    if (!f->was_ready)
        told_ready(&f->out, now);
    else
        told_lost(&f->out, now, f->lost, f->reason ? f->reason : "queue");
    f->was_ready = true;
    free(f->reason);
    f->reason = NULL;
    f->lost = 0;
}

void follow_start(struct follow *f) { walk(f); }

void follow_again(struct follow *f, uint64_t lost, const char *reason)
{
    f->again = true;
    f->lost = lost;
    if (!f->reason)
        f->reason = strdup(reason);
}

static void again(struct follow *f)
{
    int r = f->kernel->reopen(f->kernel->self);

    f->again = false;
    if (r)
        follow_end(f, "not_found", "the watched directory is gone");
    else
        walk(f);
}

/* --- events --- */
static bool unseen(const struct dir *d, const char *name) { return d->window && !d->loose && !seen_find(d, name); }

static void known(struct follow *f, struct dir *d, const char *name, bool is_dir)
{
    struct seen *s;

    if (!d->window || d->loose)
        return;
    s = seen_find(d, name);
    if (!s)
        s = seen_add(&f->dirs, d, name);
    if (!s) {
        d->loose = true;
        return;
    }
    s->candidate = false;
    s->closed = true;                        /* its own events tell the rest */
    s->is_dir = is_dir;
}

/* Something happens to a name that is there: its creation comes first. */
static void explain(struct follow *f, struct dir *d, const char *name, uint64_t time_ns)
{
    struct seen *s = d->window ? seen_find(d, name) : NULL;

    announce(f, d, time_ns);
    if (s && s->candidate)
        candidate_told(f, d, s, time_ns);
}

static void forget(struct follow *f, struct dir *d, const char *name)
{
    struct seen *s = d->window ? seen_find(d, name) : NULL;

    if (s)
        seen_remove(&f->dirs, d, s);
}

static void enter(struct follow *f, struct dir *d, const char *name, const char *path, bool moved_in)
{
    if (f->recursive && !hidden(f, path))
        task_add(f, &f->tasks, d->wd, name, true, moved_in);
}

static void created(struct follow *f, struct dir *d, const struct raw *r, const char *path, bool is_dir, bool moved_in)
{
    struct seen *s = d->window ? seen_find(d, r->name) : NULL;
    bool told = s && s->coming && !s->candidate;     /* for something beneath it */

    announce(f, d, r->time_ns);
    known(f, d, r->name, is_dir);
    if (told)
        s->coming = false;
    else
        tell(f, WATCHED_CREATE, path, NULL, is_dir, r->time_ns);
    struct dir *child = is_dir ? dirs_child(&f->dirs, d, r->name) : NULL;
    if (child && moved_in && !s) {           /* renamed over an empty one */
        drop(f, child);
        child = NULL;
    }
    if (is_dir && !child)
        enter(f, d, r->name, path, moved_in);
}

static void deleted(struct follow *f, struct dir *d, const struct raw *r, const char *path, bool is_dir)
{
    bool tellable = !unseen(d, r->name);

    explain(f, d, r->name, r->time_ns);
    forget(f, d, r->name);
    if (is_dir)
        drop(f, dirs_child(&f->dirs, d, r->name));
    if (tellable)
        tell(f, WATCHED_DELETE, path, NULL, is_dir, r->time_ns);
}

static void moved(struct follow *f, struct dir *from, const struct raw *r, const char *path, struct dir *to, const struct raw *r2, const char *path2, bool is_dir)
{
    bool outside = unseen(from, r->name), follows = f->recursive && !hidden(f, path2);
    struct dir *child = is_dir ? dirs_child(&f->dirs, from, r->name) : NULL, *victim = is_dir ? dirs_child(&f->dirs, to, r2->name) : NULL;

    explain(f, from, r->name, r->time_ns);
    announce(f, to, r->time_ns);
    forget(f, from, r->name);
    known(f, to, r2->name, is_dir);
    tell(f, WATCHED_MOVE, outside ? NULL : path, path2, is_dir, r->time_ns);
    if (victim && victim != child)
        drop(f, victim);
    if (child && (!follows || !dirs_move(&f->dirs, child, to, r2->name))) {
        drop(f, child);
        if (follows)
            follow_again(f, 0, "changed");
    } else if (is_dir && follows) {
        enter(f, to, r2->name, path2, true);
        if (child && f->tasks)
            f->tasks->check = true;
    }
}

/* The kernel does not watch it any more: it was deleted, and the event that says so comes soon; or the tree was changed from outside. */
static void check_add(struct follow *f, const struct dir *d)
{
    task_add(f, &f->checks, d->wd, "", false, false);
    if (f->checks)
        f->checks->due_ns = f->kernel->now_ns(f->kernel->self) + CHECK_NS;
}

static void checks_work(struct follow *f)
{
    if (!f->checks || f->checks->due_ns > f->kernel->now_ns(f->kernel->self) || f->in.first)
        return;                              /* the newest is the first: when that is due, all are */
    for (const struct task *t = f->checks; t; t = t->next)
        if (dirs_wd(&f->dirs, t->parent_wd))
            follow_again(f, 0, "changed");
    tasks_drop(&f->checks);
}

/* An event without a name is of the directory itself. */
static void on_self(struct follow *f, struct dir *d, const struct raw *r)
{
    if (d == f->dirs.root && r->mask & IN_DELETE_SELF)
        follow_end(f, "not_found", "the watched directory was deleted");
    else if (d == f->dirs.root && r->mask & IN_MOVE_SELF)
        follow_end(f, "not_found", "the watched directory was moved away");
    else if (r->mask & IN_UNMOUNT)
        follow_end(f, "not_running", "the file system of the watched directory was taken away");
    else if (r->mask & IN_IGNORED)
        check_add(f, d);
    else if (d == f->dirs.root && r->mask & IN_ATTRIB)
        tell(f, WATCHED_ATTRIB, "", NULL, true, r->time_ns);
}

static void on_named(struct follow *f, struct dir *d, const struct raw *r, struct dir *to, const struct raw *r2)
{
    bool is_dir = r->mask & IN_ISDIR;
    char *path = dirs_path(d, r->name), *path2 = r2 ? dirs_path(to, r2->name) : NULL;

    if (!path || (r2 && !path2)) {
        no_memory(f);
    } else if (r2) {
        moved(f, d, r, path, to, r2, path2, is_dir);
    } else if (r->mask & (IN_CREATE | IN_MOVED_TO)) {
        created(f, d, r, path, is_dir, r->mask & IN_MOVED_TO);
    } else if (r->mask & (IN_DELETE | IN_MOVED_FROM)) {
        deleted(f, d, r, path, is_dir);
    } else if (!unseen(d, r->name)) {
        explain(f, d, r->name, r->time_ns);
        struct seen *s = r->mask & (IN_CLOSE_WRITE | IN_MODIFY) && d->window ? seen_find(d, r->name) : NULL;
        if (s)
            s->closed = true;
        if (r->mask & IN_MODIFY)
            tell(f, WATCHED_MODIFY, path, NULL, is_dir, r->time_ns);
        if (r->mask & IN_ATTRIB)
            tell(f, WATCHED_ATTRIB, path, NULL, is_dir, r->time_ns);
        if (r->mask & IN_CLOSE_WRITE)
            tell(f, WATCHED_CLOSE_WRITE, path, NULL, is_dir, r->time_ns);
    }
    free(path);
    free(path2);
}

static void on_raw(struct follow *f, const struct raw *r, const struct raw *r2)
{
    struct dir *d = dirs_wd(&f->dirs, r->wd), *to = r2 ? dirs_wd(&f->dirs, r2->wd) : NULL;

    if (r->mask & IN_Q_OVERFLOW) {
        follow_again(f, 0, "queue");
        return;
    }
    if (r2 && !to)
        r2 = NULL;                           /* into what is not watched any more */
    if (!d && r2) {
        d = to;
        r = r2;
        r2 = NULL;
    }
    if (!d)
        return;
    if (!r->name[0])
        on_self(f, d, r);
    else
        on_named(f, d, r, to, r2);
}

static bool events_work(struct follow *f)
{
    struct raw *r = NULL, *r2;

    /* Not while directories wait to be looked at, unless a walk does all anyway: what is in them is older than the events that follow. */
    for (unsigned n = 0; n < EVENTS_AT_ONCE && (!f->tasks || f->silent) && !f->end_code; n++) {
        r = NULL;
        if (f->silent && !f->walking && f->in.done >= f->silent_until)
            break;
        r = intake_take(&f->in, f->kernel->now_ns(f->kernel->self), &r2);
        if (!r)
            break;
        windows_close(f, r->seq);
        on_raw(f, r, r2);
        raw_free(r);
        raw_free(r2);
        if (!f->tasks)
            windows_close(f, f->in.done);
    }
    return r;
}

/* All that is known has been followed: now those whose place was not clear are looked for again. */
static void late_work(struct follow *f)
{
    struct task *t;

    while ((t = f->late)) {
        f->late = t->next;
        t->next = f->tasks;
        f->tasks = t;
    }
}

bool follow_work(struct follow *f)
{
    f->kernel->read(f->kernel->self, &f->in);
    if (f->in.lost) {
        f->in.lost = false;
        follow_again(f, 0, "queue");
    }
    if (intake_full(&f->in) && !f->again)
        follow_again(f, 0, "queue");         /* what comes now stays with the kernel, which says when it was too much */
    checks_work(f);
    if (f->again && !f->silent)
        again(f);
    bool more = tasks_work(f);
    if (f->end_code)
        return false;
    more |= events_work(f);
    if ((!f->in.first || (f->silent && !f->walking && f->in.done >= f->silent_until)) && !f->tasks) {
        late_work(f);
        windows_close(f, f->in.done);
    }
    if (f->walking && !f->tasks && !f->late)
        walked(f);
    if (f->silent && !f->walking && !f->tasks && !f->late && f->in.done >= f->silent_until) {
        silence_over(f);
        more = true;
    }
    return !f->end_code && (more || f->tasks || f->again);
}

uint64_t follow_due_ns(const struct follow *f)
{
    uint64_t due = intake_due_ns(&f->in);

    return f->checks && f->checks->due_ns < due ? f->checks->due_ns : due;
}

void follow_fini(struct follow *f)
{
    tasks_drop(&f->tasks);
    tasks_drop(&f->late);
    tasks_drop(&f->checks);
    if (f->dirs.root)
        drop(f, f->dirs.root);
    intake_clear(&f->in);
    told_fini(&f->out);
    free(f->reason);
}
