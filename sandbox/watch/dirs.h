/* SPDX-License-Identifier: GPL-2.0-or-later
 * The watched directories as a tree, by watch descriptor and by place: a rename moves one of them, with all beneath it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIRS_MAX = 1 << 18, SEEN_MAX = 1 << 18 };
/* An entry of a directory whose first look and first events overlap (follow.c). */
struct seen { const char *name; bool candidate, active, coming /* its CREATE */, closed, is_dir, has_data; struct seen *next, *prev; char bytes[]; };
struct dir {
    int wd;
    uint64_t ino, dev;
    struct dir *parent, *first, *next, *prev;
    bool window, loose, moved_in;          /* see follow.c */
    uint64_t window_end;
    struct dir *window_next;
    void *seen;                            /* by name */
    struct seen *seen_first;
    unsigned turn;                         /* of the last walk that met it */
    char *name;
};
struct dirs { struct dir *root; void *by_wd, *by_name; size_t count, seen_count; };
struct dir *dirs_add(struct dirs *t, struct dir *parent, const char *name, int wd);      /* NULL: no memory, or DIRS_MAX */
struct dir *dirs_wd(const struct dirs *t, int wd);
struct dir *dirs_child(const struct dirs *t, const struct dir *parent, const char *name);
bool dirs_move(struct dirs *t, struct dir *d, struct dir *parent, const char *name);    /* nothing of that name is there; false: no memory, or beneath itself */
/* It and all beneath; gone(arg, wd) for each, deepest first. */
void dirs_drop(struct dirs *t, struct dir *d, void (*gone)(void *arg, struct dir *d), void *arg);
/* Its path below the root, then "/name" if name is not empty ("" for the root itself); malloc'd, NULL: no memory. */
char *dirs_path(const struct dir *d, const char *name);
struct seen *seen_find(const struct dir *d, const char *name);
struct seen *seen_add(struct dirs *t, struct dir *d, const char *name);                  /* NULL: no memory, or SEEN_MAX */
void seen_remove(struct dirs *t, struct dir *d, struct seen *s);
void seen_clear(struct dirs *t, struct dir *d);
