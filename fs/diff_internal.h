/* What the files of diff share. */
#pragma once
#include "fs/side.h"
#include "fs/verbs.h"

/* What is known of an inode number, in d->items. The low bits are DIFF_* found from changed keys. */
enum { ITEM_A = 1 << 16, ITEM_B = 1 << 17, ITEM_SAME = 1 << 18 };

struct text { uint64_t off; uint32_t len; };                     /* in d->text, NUL behind it */
struct name { uint64_t dir, ino; struct text name; uint8_t type; bool in_b; };
struct names { struct name *v; size_t count, cap; };
/* A name that a file of both states has in one of them only. */
struct move { uint64_t ino; struct text path; bool in_b; };
struct work { uint64_t a, b; };                                  /* directories to compare; 0 = none on that side */
struct out { enum diff_kind kind; unsigned what; struct text path, old; uint64_t a, b; };

struct diff {
    struct side side[2];                  /* A, B */
    const struct diff_opts *opts;
    struct ino_map *items;
    struct buf text;
    struct { uint64_t *v; size_t count, cap; } changed;          /* inodes with a changed key, ascending */
    struct names names;                   /* changed names in directories of both states */
    struct { struct move *v; size_t count, cap; } moves;
    struct { struct work *v; size_t count, cap; } work;
    struct { struct out *v; size_t count, cap; } outs;
};

/* Room for one more in a list {v, count, cap}: a pointer to the new element, or NULL. */
#define LIST_ADD(l) ({                                                                      \
    __typeof__(l) _l = (l);                                                                 \
    if (_l->count == _l->cap) {                                                             \
        size_t _cap = _l->cap ? _l->cap * 2 : 16;                                           \
        void *_v = mem_realloc(_l->v, _cap * sizeof *_l->v);                                \
        if (_v) {                                                                           \
            _l->v = _v;                                                                     \
            _l->cap = _cap;                                                                 \
        }                                                                                   \
    }                                                                                       \
    _l->count < _l->cap ? &_l->v[_l->count++] : NULL;                                       \
})

static inline const char *text_of(const struct diff *d, struct text t) { return (const char *)d->text.data + t.off; }
int text_cmp(const struct diff *d, struct text x, struct text y);
int diff_path(struct diff *d, bool in_b, uint64_t dir, struct text name, struct text *ret);
int diff_item(struct diff *d, uint64_t ino, uint64_t *ret_flags);
/* Which attributes differ; DIFF_CONTENT only as far as the record tells. */
unsigned inode_what(const struct inode *a, const struct inode *b);
bool diff_reported(const struct diff *d, unsigned what, bool is_dir);
int diff_out(struct diff *d, enum diff_kind kind, unsigned what, struct text path, struct text old, uint64_t a, uint64_t b);
/* Makes entries of the moves and of the files of both states that were changed. */
int diff_same_files(struct diff *d);
int diff_emit(struct diff *d, int (*fn)(void *arg, const struct diff_entry *e), void *arg);
