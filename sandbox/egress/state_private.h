/* Inside the state.
 *
 * 1. A change holds `changing` from reading what is there to having put the new in force: changes come one after the other.
 * 2. It is on the disk before it is in force, and in force before it is answered.
 * 3. A view never changes. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "sandbox/egress/state.h"

enum { STATE_BOXES_MAX = 16384, LABELS_MAX = 64 };
struct box;
struct view { struct box_view v; atomic_uint refs; struct box *box; json_t *labels; char name[128]; };
/* unread: its file was not understood (a newer coppice's, damaged, an error of the disk). Nothing but rules_put writes it, so that what the operator wrote is not lost */
struct box { char id[64]; atomic_uint refs; struct limiter *limiter; struct view *view /* in force; guarded by state.lock */; bool unread, kept /* there is a file; both: `changing` */; };
struct state {
    int dir;                            /* boxes/; -1: in memory only */
    struct secrets *secrets;
    pthread_mutex_t changing;           /* one change at a time; before lock; held across the disk: that is what it is for */
    pthread_rwlock_t lock;              /* guards boxes and box.view; nothing is called under it */
    void *boxes;                        /* tsearch by id */
    unsigned count;
    atomic_uint_fast64_t generation;
};

bool box_id_ok(const char *id);
struct box *state_find(struct state *s, const char *id);      /* borrowed; with `changing` or `lock` held. NULL */
/* A view for the box, not in force yet; takes nothing. NULL: no memory. */
struct view *view_new(struct box *b, const char *name, json_t *labels, struct policy *p, uint64_t revision);
void view_unref(struct view *v);
struct policy *policy_nothing(void);                          /* no rules, default deny. Owned */
/* The rest with `changing` held. */
struct box *state_make(struct state *s, const char *id);      /* found or made, denying everything; NULL: no memory, or too many (errno) */
int state_save(struct state *s, const struct view *v);        /* to the disk; of a box that is `unread` it is left as it is */
/* What the file is to say, owned; NULL: nothing is to be written. */
int state_text(struct state *s, const struct view *v, char **ret);
void state_enforce(struct state *s, struct view *v);          /* takes v: from now on it is what state_box() gives */
/* state_fork.c: the forks get what policy_for_fork() gives. All or none. */
int state_fork(struct state *s, const char *from, const char *const *to, unsigned count);
int state_drop(struct state *s, const char *id);              /* file and box; 0 also when there was none */
/* doc is changed: remove, then add (a rule of the same name is replaced where it stands, another goes to the end), then the default. NULL, or why not: an answer, and doc is of no use. */
json_t *rules_patched(json_t *doc, json_t *add, json_t *remove, json_t *by_default);
