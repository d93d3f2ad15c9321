/* Automatic history: snapshots that a policy asks for, and what of them and of those with a date goes again. One thread; the work is history_pass(), which
 * knows neither threads nor the clock. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "fs/object.h"

struct store; struct workspace;

/* Of a workspace: its policy (keep.h). Workspaces without it have none. Only verb `auto` sets it, so it can be read. */
#define LABEL_AUTO "coppice.auto"
/* Of snapshots, set by anybody: kept whatever the policy and the date say. */
#define LABEL_PIN "pin"                   /* =true */
#define LABEL_KEEP "keep"
#define LABEL_EXPIRES "expires"           /* keep.h, keep_expiry: then it goes, whoever made it */

/* Bringing what programs wrote into a mounted workspace; both may be NULL. */
struct history_ops {
    int (*flush)(void *arg, const struct ws_rec *w, void **ret);
    void (*flushed)(void *arg, void *flush);
};

struct history {
    struct store *store;
    const struct history_ops *ops;
    void *arg;
    struct looked { char ws[ID_MAX]; int64_t at; } *looked;      /* when a workspace was looked at last, unix seconds; by id; of the one that passes */
    size_t looked_count;
    bool removed;                         /* something went since the last gc */

    pthread_t thread;
    bool runs;
    pthread_mutex_t lock;                 /* guards what follows; leaf */
    pthread_cond_t wake;
    bool stop, look;
};

struct history_report { unsigned made, unchanged, removed, failed; };
/* All that is due at `now` (unix seconds). *ret_next: when there may be something again; INT64_MAX: nothing without a change of labels or policies. Errors are
 * logged, and what failed is tried again at *ret_next. Writers are not held back, but for the moment of a snapshot. */
void history_pass(struct history *h, int64_t now, struct history_report *ret, int64_t *ret_next);
void history_fini(struct history *h);     /* of one that was never started */

int history_start(struct history *h, struct store *s, const struct history_ops *ops, void *arg);
/* A policy or a label has changed. */
void history_wake(struct history *h);
/* Ends the thread after what it is at. */
void history_stop(struct history *h);

/* 1 and the snapshot that the workspace stands on, if it is still in that state; 0: it has changed, or stands on none. */
int history_unchanged(struct store *s, struct workspace *w, struct snap_rec *ret);
/* The state before the last whole restore of the workspace, or merge into it. -ENOENT: there was none, or its snapshots were removed. */
int history_before(struct store *s, const char *ws_id, struct snap_rec *ret);
