/* One changed entry as git prints it: as a patch, and as a line of --stat. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/buf.h"

struct side {
    bool there;
    uint32_t mode;
    const uint8_t *p;
    size_t n;
    uint64_t size;
}; /* size: the file's, also when its bytes are not here */
struct patch_entry {
    char kind;                                            /* 'A', 'D', 'M', 'R', 'T' */
    const char *path; size_t path_len; const char *old_path; size_t old_path_len;         /* old_path: R only */
    struct side a, b;
    bool content;                                         /* the contents differ (or may) */
    bool too_large;
};
/* Appends the patch; nothing for what git does not track (directories, sockets). 0, -ENOMEM. */
int patch_write(const struct patch_entry *e, struct buf *out);

struct stat_row { char *name; size_t added, deleted; bool binary; uint64_t a_size, b_size; };
struct stat_table { struct stat_row *v; size_t n, cap; };
int stat_add(struct stat_table *t, const struct patch_entry *e);      /* 0, -ENOMEM */
void stat_print(const struct stat_table *t, unsigned width, FILE *out);
void stat_fini(struct stat_table *t);
