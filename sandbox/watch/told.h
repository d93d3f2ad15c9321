/* SPDX-License-Identifier: GPL-2.0-or-later
 * Events on their way out, in order. Each waits `coalesce_ns`, so that repeated changes of one file's content (or of its attributes) become one event: the first of them that waits
 * stands for those that follow while no other event of that path came between. Bounded: what does not fit becomes one record that says how many were lost, in its place. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOLD_EVENTS_MAX = 200000, TOLD_BYTES_MAX = 32 << 20, TOLD_LOST = 100, TOLD_READY = 101 };
struct told_event {
    int type;                              /* WATCHED_*; TOLD_LOST: path is the reason; TOLD_READY */
    bool is_dir;
    uint64_t due_ns, time_ns, lost;
    char *path, *to;                       /* to: of a move, else NULL */
    size_t bytes;
    struct told_event *next;
};
struct told { struct told_event *first, *last; size_t count, bytes, bytes_max, count_max; uint64_t coalesce_ns; void *by_path; };
void told_init(struct told *t, uint64_t coalesce_ns);
void told_fini(struct told *t);
/* path, to: copied. */
void told_put(struct told *t, uint64_t now_ns, int type, const char *path, const char *to, bool is_dir, uint64_t time_ns);
/* Never dropped; several in a row are one. reason: of the first. */
void told_lost(struct told *t, uint64_t now_ns, uint64_t lost, const char *reason);
void told_ready(struct told *t, uint64_t now_ns);
/* The first, if it is due (or too many wait): owned, told_free(). */
struct told_event *told_take(struct told *t, uint64_t now_ns);
void told_free(struct told_event *e);
uint64_t told_due_ns(const struct told *t);      /* of the first; UINT64_MAX: nothing waits */
