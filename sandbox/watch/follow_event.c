/* SPDX-License-Identifier: GPL-2.0-or-later
 * What an event of the kernel means where it happened (follow.c). */
#include <stdlib.h>
#include <sys/inotify.h>

#include "sandbox/watch/follow_private.h"
#include "sandbox/watch/proto.h"

enum { EVENTS_AT_ONCE = 512, CHECK_NS = 100 * 1000000 };

static bool unseen(const struct dir *d, const char *name) { return d->window && !d->loose && !seen_find(d, name); }

void follow_known(struct follow *f, struct dir *d, const char *name, bool is_dir)
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

    follow_announce(f, d, time_ns);
    if (s && s->candidate)
        follow_candidate(f, d, s, time_ns);
}

static void forget(struct follow *f, struct dir *d, const char *name)
{
    struct seen *s = d->window ? seen_find(d, name) : NULL;

    if (s)
        seen_remove(&f->dirs, d, s);
}

static void enter(struct follow *f, struct dir *d, const char *name, const char *path, bool moved_in)
{
    if (f->recursive && !follow_hidden(f, path))
        task_add(f, &f->tasks, d->wd, name, true, moved_in);
}

static void created(struct follow *f, struct dir *d, const struct raw *r, const char *path, bool is_dir, bool moved_in)
{
    struct seen *s = d->window ? seen_find(d, r->name) : NULL;
    bool told = s && s->coming && !s->candidate;     /* for something beneath it */

    follow_announce(f, d, r->time_ns);
    follow_known(f, d, r->name, is_dir);
    if (told)
        s->coming = false;
    else
        follow_tell(f, WATCHED_CREATE, path, NULL, is_dir, r->time_ns);
    struct dir *child = is_dir ? dirs_child(&f->dirs, d, r->name) : NULL;
    if (child && moved_in && !s) {           /* renamed over an empty one */
        follow_drop(f, child);
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
        follow_drop(f, dirs_child(&f->dirs, d, r->name));
    if (tellable)
        follow_tell(f, WATCHED_DELETE, path, NULL, is_dir, r->time_ns);
}

static void moved(struct follow *f, struct dir *from, const struct raw *r, const char *path, struct dir *to, const struct raw *r2, const char *path2, bool is_dir)
{
    bool outside = unseen(from, r->name), follows = f->recursive && !follow_hidden(f, path2);
    struct dir *child = is_dir ? dirs_child(&f->dirs, from, r->name) : NULL, *victim = is_dir ? dirs_child(&f->dirs, to, r2->name) : NULL;

    explain(f, from, r->name, r->time_ns);
    follow_announce(f, to, r->time_ns);
    forget(f, from, r->name);
    follow_known(f, to, r2->name, is_dir);
    follow_tell(f, WATCHED_MOVE, outside ? NULL : path, path2, is_dir, r->time_ns);
    if (victim && victim != child)
        follow_drop(f, victim);
    if (child && (!follows || !dirs_move(&f->dirs, child, to, r2->name))) {
        follow_drop(f, child);
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

void checks_work(struct follow *f)
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
        follow_tell(f, WATCHED_ATTRIB, "", NULL, true, r->time_ns);
}

static void on_named(struct follow *f, struct dir *d, const struct raw *r, struct dir *to, const struct raw *r2)
{
    bool is_dir = r->mask & IN_ISDIR;
    char *path = dirs_path(d, r->name), *path2 = r2 ? dirs_path(to, r2->name) : NULL;

    if (!path || (r2 && !path2)) {
        follow_no_memory(f);
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
            follow_tell(f, WATCHED_MODIFY, path, NULL, is_dir, r->time_ns);
        if (r->mask & IN_ATTRIB)
            follow_tell(f, WATCHED_ATTRIB, path, NULL, is_dir, r->time_ns);
        if (r->mask & IN_CLOSE_WRITE)
            follow_tell(f, WATCHED_CLOSE_WRITE, path, NULL, is_dir, r->time_ns);
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

bool events_work(struct follow *f)
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
