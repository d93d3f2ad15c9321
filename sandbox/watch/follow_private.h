/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the files of follow.c share: follow_tell.c, what is told, and windows; follow_look.c, directories that are looked at; follow_event.c, events. */
#pragma once
#include "sandbox/watch/follow.h"

/* A directory to look at. */
struct task { struct task *next; int parent_wd; uint64_t due_ns; bool root, announce, moved_in, stale, check; char name[]; };

/* follow.c: it is over; the first that is said counts. */
void follow_end(struct follow *f, const char *code, const char *text);
void follow_no_memory(struct follow *f);
/* follow_tell.c */
bool follow_hidden(const struct follow *f, const char *path);       /* excluded, with all that is in it */
void follow_tell(struct follow *f, int type, const char *path, const char *to, bool is_dir, uint64_t time_ns);       /* if it is wanted, and not of a walk */
void follow_candidate(struct follow *f, struct dir *d, struct seen *s, uint64_t time_ns);                             /* its creation */
void follow_announce(struct follow *f, struct dir *d, uint64_t time_ns);
void follow_existing(struct follow *f, struct dir *d, struct seen *s, uint64_t time_ns);                              /* its creation, and that it was written if it has content */
void window_close(struct follow *f, struct dir *d);
void windows_close(struct follow *f, uint64_t seq);                 /* those that end before the event with that number */
void window_forget(struct follow *f, struct dir *d);                /* nothing of it is told */
/* follow_look.c */
void follow_drop(struct follow *f, struct dir *d);                  /* not watched any more, with all beneath it; NULL is fine */
void task_add(struct follow *f, struct task **list, int parent_wd, const char *name, bool announce, bool moved_in);
bool tasks_work(struct follow *f);                                  /* some of f->tasks; true: there are more */
void tasks_drop(struct task **list);
/* follow_event.c */
void follow_known(struct follow *f, struct dir *d, const char *name, bool is_dir);
bool events_work(struct follow *f);                                 /* some events; true: there may be more */
void checks_work(struct follow *f);
