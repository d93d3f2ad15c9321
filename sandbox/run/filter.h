/* coppice-tar as a child between two streams: what is given comes out converted. Neither direction is buffered beyond a socket's worth. Main loop only. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "sandbox/sandboxd.h"
struct filter;
enum { FILTERS_MAX = 16 };                 /* at once, of this process */
struct filter_ops {
    bool (*data)(void *arg, const uint8_t *p, size_t n);      /* taken; false: pause after it (filter_resume) */
    void (*room)(void *arg);
    /* once: its output has ended and it is gone. error NULL: it did all; else what it said, for people. bad_input: it is the input's fault */
    void (*end)(void *arg, const char *error, bool bad_input);
};
/* how: "--to-tar" or "--to-stream". NULL and *ret_fault. Nothing is called before it returns. */
struct filter *filter_new(const char *how, const struct filter_ops *ops, void *arg, struct fault *ret_fault);
size_t filter_write(struct filter *f, const void *p, size_t n);   /* how much was taken; less: wait for room */
void filter_write_end(struct filter *f);
void filter_resume(struct filter *f);
void filter_free(struct filter *f);        /* ends it; NULL is fine; may be called from its ops */
