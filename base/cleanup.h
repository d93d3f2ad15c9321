/* Cleanup attributes: what is declared with them is released on every way out of the scope. */
#pragma once
#include <stdlib.h>
#include <unistd.h>
#include <errno.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
/* Declares NAME_p(T *p) that calls f(*p): for use with _cleanup_. */
#define DEFINE_CLEANUP(T, f) \
    static inline void f##_p(T *p) { f(*p); }

static inline void free_p(void *p) { free(*(void **)p); }
static inline void close_p(int *fd) { if (*fd >= 0) { int e = errno; close(*fd); errno = e; } }
#define _cleanup_free_ _cleanup_(free_p)
#define _cleanup_close_ _cleanup_(close_p)

#define TAKE_PTR(p) ({ __typeof__(p) *_pp = &(p), _v = *_pp; *_pp = NULL; _v; })
#define TAKE_FD(fd) ({ int *_pf = &(fd), _v = *_pf; *_pf = -1; _v; })
