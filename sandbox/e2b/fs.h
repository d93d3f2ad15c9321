/* File operations of envd calls: one after the other, answers as JSON. */
#pragma once
#include "sandbox/e2b/e2b.h"
#include "sandbox/files.h"
struct e2b_fs {
    struct e2b_call k;
    struct file_request q;
    struct file_call *f;
    GByteArray *in;                       /* of a listing, what is not yet a whole entry */
    json_t *entries;
    char *path, *path2;                   /* absolute */
    void (*then)(struct e2b_fs *s, int status, const char *step);      /* the operation is done: 0 or -errno */
    bool too_many;
};
/* q.op and its like are set; q.path is s->path if it is empty. */
void e2b_fs_do(struct e2b_fs *s, void (*then)(struct e2b_fs *s, int status, const char *step));
void e2b_fs_fail(struct e2b_fs *s, int status, const char *step);
void e2b_fs_over(void *self);
void e2b_fs_fini(void *self);
/* The entry of s->path, itself; found gets it (owned) or NULL and the errno. */
void e2b_fs_entry(struct e2b_fs *s, void (*then)(struct e2b_fs *s, int status, const char *step));
enum { E2B_ENTRIES_MAX = 100000 };        /* of one listing */
