/* Time through a seam. Ordering and identity never depend on the wall clock. */
#pragma once
#include <stdint.h>
#include <time.h>
/* file: NULL is real. The kernel's own clock for times of files, a tick behind at most. */
struct clock_ops { void (*real)(struct timespec *ts); uint64_t (*mono_ns)(void); void (*file)(struct timespec *ts); };
extern const struct clock_ops *clock_src;
static inline void clock_real(struct timespec *ts) { clock_src->real(ts); }
static inline void clock_file(struct timespec *ts) { (clock_src->file ? clock_src->file : clock_src->real)(ts); }
static inline uint64_t clock_mono_ns(void) { return clock_src->mono_ns(); }
