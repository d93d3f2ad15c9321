/* What the readers of the command have in common: where their frames go, and what they report. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Whole frames, one or more. 0, or a result that ends the reading. */
typedef int emit_fn(void *arg, const void *p, size_t n);

struct read_report {
    uint64_t entries, bytes;                 /* ENTRY and LINK frames; content */
    uint64_t devices, changed, vanished, mounts, ids, attributes;  /* skipped nodes; files that changed or went; mounts not entered; owners mapped to
                                                65534; extended attributes left out */
    char error[512];                         /* text of a failure, else "" */
    /* May be NULL. path is not quoted and comes from outside. */
    void (*warn)(void *arg, const char *path, const char *what);
    void *warn_arg;
};
