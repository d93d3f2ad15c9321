/* Compares whole trees: the model's against the one of a thing under test. */
#pragma once
#include "tests/model/model.h"

/* NULL if equal, else the first difference in words (static buffer). */
const char *check_place(struct model *m, unsigned at, const struct fs_ops *f, void *c, int64_t start_s);
const char *check_all(struct model *m, const struct fs_ops *f, void *c, int64_t start_s);
/* A result of SEEK_DATA or SEEK_HOLE that the bytes allow? */
bool check_seek(const struct bytes *d, uint64_t off, int whence, int64_t res);
/* Builds a model of what is there now (for a store that was recovered). 0 or -errno. */
int check_load(struct mtree *t, unsigned at, uint64_t *number, const struct fs_ops *f, void *c);
