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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/watch/follow_private.h"

void follow_end(struct follow *f, const char *code, const char *text)
{
    if (f->end_code)
        return;
    f->end_code = code;
    snprintf(f->end_text, sizeof f->end_text, "%s", text);
}

void follow_no_memory(struct follow *f) { follow_end(f, "too_many", "there was no memory (in the sandbox) to watch further: watch less, with exclude, or raise the sandbox's memory"); }

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
        follow_drop(f, d);
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

/* --- work --- */
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
        follow_drop(f, f->dirs.root);
    intake_clear(&f->in);
    told_fini(&f->out);
    free(f->reason);
}
