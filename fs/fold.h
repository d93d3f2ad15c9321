/* The background thread: folds frozen layers, commits dirty workspaces, freezes live layers grown too large, packs when idle. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "fs/addr.h"
struct store; struct view; struct folder; struct workspace;

int folder_start(struct store *s, unsigned commit_interval_ms, struct folder **ret);   /* no thread if interval 0: fold_view by hand */
void folder_stop(struct folder *f);
void folder_queue(struct store *s, struct view *v);      /* fold it soon (takes a reference); wakes the thread */
void folder_hurry(struct store *s);                      /* a redo log wants a commit; any locks may be held */
/* Folds v (and its parents first) now, in the caller's thread; 0 at once if folded. Takes fold_lock. */
int fold_view(struct store *s, struct view *v);
/* True if there are keys of this layer on disk: so it is live, frozen, or folded and still being read. */
bool layer_has_keys(struct store *s, uint64_t id);
/* For workspaces that wait for a fold. */
int folder_wait(struct store *s, struct view *v);
