/* SPDX-License-Identifier: GPL-2.0-or-later
 * From the kernel's events to what a client is told: which directories are watched, what an event means there, and what is told of it (follow.c). */
#pragma once
#include "sandbox/watch/dirs.h"
#include "sandbox/watch/intake.h"
#include "sandbox/watch/told.h"

/* The world it stands on; tests have one of their own. Paths are below the watched directory, "" is that itself. */
typedef void entry_fn(void *arg, const char *name, bool is_dir, bool has_data);
struct identity { uint64_t dev, ino; int wd; };
struct kernel {
    void *self;
    /* Watches the directory `name` in the one at `parent` (name "": that itself), which must be the one that `expect` says (NULL: whatever it is), then lists it. 0; -ESTALE: another directory is
     * at `parent` by now; -ENOSPC, -ENOMEM, -EMFILE: a limit; -errno: it cannot be watched (gone, no directory, no right). Symlinks are not followed. sizes: has_data is
     * asked for. known_wd: if it is that one it is not listed. */
    int (*look)(void *self, const char *parent, const struct identity *expect, const char *name, bool sizes, int known_wd, struct identity *ret, entry_fn *entry, void *arg);
    void (*unwatch)(void *self, int wd);
    /* All that the kernel has ready, as far as the intake takes it. */
    void (*read)(void *self, struct intake *i);
    uint64_t (*now_ns)(void *self);        /* monotonic */
    uint64_t (*time_ns)(void *self);       /* of the day */
    int (*reopen)(void *self);             /* the watched directory anew by its path: 0 or -errno */
};
struct task;
struct follow {
    const struct kernel *kernel;
    bool recursive;
    unsigned types;                        /* bits; 0: all */
    char **include, **exclude;             /* NULL-terminated, or NULL */
    const char *prefix, *only;             /* what is before a told path; the only name that is told (a file is watched), or NULL */
    struct intake in;
    struct told out;
    struct dirs dirs;
    struct task *tasks;                    /* directories to look at, the last first */
    struct task *checks;                   /* watches that the kernel gave up: was the directory deleted? Asked a little later */
    struct task *late;                     /* whose parent had moved: when all that is known has been followed */
    struct dir *window_first, *window_last;
    unsigned turn;
    bool walking, silent, was_ready, again;      /* a walk of all is under way; nothing is told: what happens is of the walk; ready was said; another walk is needed */
    uint64_t silent_until;                 /* so many events read: then the walk is over */
    char *reason;                          /* of the loss that is told when the walk is over; NULL: none */
    uint64_t lost;
    const char *end_code;                  /* not NULL: it is over */
    char end_text[400];
};
/* in, out are set up by the caller (intake zeroed, told_init()). */
void follow_start(struct follow *f);
/* A portion of work. True: there is more to do at once. */
bool follow_work(struct follow *f);
/* The tree changed without events: look at all again, then tell a loss for this reason. */
void follow_again(struct follow *f, uint64_t lost, const char *reason);
uint64_t follow_due_ns(const struct follow *f);      /* when to work again though nothing comes; UINT64_MAX: not */
void follow_fini(struct follow *f);
