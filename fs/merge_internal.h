/* What the files of merge share. Paths are without leading slash. */
#pragma once
#include "fs/merge.h"
#include "fs/restore_internal.h"
#include "fs/verbs.h"

/* --- merge_changes.c: what one side did to the base, and where things are --- */
struct change { enum diff_kind kind; unsigned what; char *path, *old; uint64_t ino_a, ino_b; struct inode a, b; };
struct changes { struct change *v; size_t count, cap; struct change **by_old; size_t old_count; };      /* by path; by the name in the base: those that left it (D, R) */
int changes_make(struct store *s, struct view *base, struct view *side, struct changes *ret);
void changes_fini(struct changes *c);
/* The change of this path of the side (D: of the base), of one of these kinds ("AMRT"), or NULL. */
const struct change *changes_at(const struct changes *c, const char *path, const char *kinds);
/* What became of a path of the base: 1 and where the side has it, 0 it is gone. */
int changes_forward(const struct changes *c, const char *base_path, char **ret);
/* Where a path of the side was in the base: 1, 0 it is new. */
int changes_back(const struct changes *c, const char *path, char **ret);
char *path_join(const char *dir, const char *rest);          /* dir may be "" */
char *path_parent(const char *path);                          /* "" above the first component */
static inline const char *path_name(const char *path) { const char *s = strrchr(path, '/'); return s ? s + 1 : path; }
bool path_below(const char *path, const char *dir);           /* it, or below it */

/* --- merge.c decides, merge_do.c does --- */
/* Paths here are of ours, as it is before theirs' renames are done to it, but for what is said to be of the result. */
enum move_state { MOVE_TO_DO, MOVE_PARKED, MOVE_DONE, MOVE_BACK /* in its old directory, wherever that is */ };
struct relocation { char *from, *to /* of the result, once it is there */; const struct change *t; unsigned number; enum move_state state; };
/* Something of theirs that is to be at `target` (NULL: where theirs has it; in_place: that is of the result). keep: DIFF_* of ours that stay. link: of a new name, another one of
 * the same file. at: of the result, once it is known. */
struct take { char *target, *link, *at; const struct change *t; unsigned keep; uint64_t ours_ino; bool in_place; };
struct attr_job { char *target; unsigned what; const struct change *t; };
struct text_job { char *target; struct buf text; };
struct merge {
    struct store *s;
    struct workspace *w, *base, *ours, *theirs;      /* the scratch one, and the states to read from */
    struct view *base_view, *ours_view, *theirs_view;
    const struct merge_opts *o;
    struct side side;                     /* theirs, for names of a file */
    unsigned source;
    uint64_t conflicts, told;             /* left to decide; told */
    struct changes t, m, x;               /* base -> theirs, base -> ours ("mine"), ours -> theirs */
    struct { char **v; size_t count, cap; } deletes, whole;      /* whole: directories of theirs that come with all that is in them */
    struct { struct relocation *v; size_t count, cap; } moves;
    struct { struct take *v; size_t count, cap; } adds, takes;
    struct { struct attr_job *v; size_t count, cap; } attrs;
    struct { struct text_job *v; size_t count, cap; } texts;
    char *blocked;                        /* what is below it in theirs has no place in ours: a conflict that was told */
    char park[64];                        /* directory for what is being renamed */
};
int merge_do(struct merge *m);
/* Tells a conflict, and says how it was decided. ours_path: where ours has it, or NULL. */
int merge_conflict(struct merge *m, const char *path, const char *ours_path, const char *why, const struct change *t, bool markers, enum merge_prefer *ret);
int merge_tell(struct merge *m, enum merge_result result, const char *path, const char *old, const struct change *t);
int merge_take(struct merge *m, const char *target, const struct change *t, unsigned keep, uint64_t ours_ino, bool in_place);
