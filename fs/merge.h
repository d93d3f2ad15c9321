/* Merging states: what another line did since a common ancestor is done to ours. docs/architecture.md 7.1. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "fs/inode.h"
#include "fs/merge_text.h"
#include "fs/object.h"

struct store; struct workspace; struct view;

enum merge_result { MERGE_ADDED = 'A', MERGE_DELETED = 'D', MERGE_CHANGED = 'M', MERGE_RENAMED = 'R', MERGE_LINES = 'L' /* both changed it; merged by lines */, MERGE_CONFLICT = 'C' };
/* path: in the result, without leading slash. old_path: before a rename, else NULL. why: of a conflict, what it is. chosen: how a conflict was decided (NEITHER: it was not, or
 * by markers in the text). has_*: what each side has there. */
struct merge_item {
    enum merge_result result;
    unsigned source;                      /* whose change it is */
    const char *path, *old_path, *why;
    enum merge_prefer chosen;
    bool markers, has_base, has_ours, has_theirs;
    struct inode base, ours, theirs;
};
typedef int merge_item_fn(void *arg, const struct merge_item *i);

struct merge_pick { const char *path; enum merge_prefer take; };
struct merge_opts {
    enum merge_prefer prefer;             /* of all conflicts; in texts, of the lines that both changed */
    bool markers;                         /* of both: texts get conflict markers, and count as decided */
    const struct merge_pick *picks; unsigned pick_count;      /* for single paths; go before prefer */
    const char *const *names;             /* of the sources, for markers */
    merge_item_fn *fn; void *arg;         /* each change and conflict */
};
struct merge_source { struct view *base, *theirs; };
enum { MERGE_TEXT_MAX = 8 << 20 };        /* of a text that is merged by lines */
/* Merges the sources, one after the other, into a workspace that nobody else uses (a fork of the target made for it). *ret_conflicts: those that are not decided; then what the
 * workspace holds is of no use. 0, or -errno. O(changes). */
int merge_make(struct store *s, struct workspace *scratch, const struct merge_source *src, unsigned n, const struct merge_opts *o, uint64_t *ret_conflicts);
/* Makes w, whose state was `from`, what `to` is, where they differ: at once for everybody who looks. -EAGAIN: a path of them was changed in w meanwhile, and nothing was done. */
int merge_apply(struct store *s, struct workspace *w, struct view *from, struct view *to, uint64_t *ret_changed);

/* The latest snapshot that both descend from (or are): by parents, those of merges too. 1 found, 0 none, negative. */
int merge_base(struct store *s, const char *snap_a, const char *snap_b, struct snap_rec *ret);
