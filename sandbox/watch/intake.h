/* SPDX-License-Identifier: GPL-2.0-or-later
 * Events as they come from the kernel, in order, with moves made whole: the kernel says a rename in two events, nearly always one after the other, but others may come between. A "from"
 * at the head waits for its "to" (MOVE_WAIT_NS, then it has left what is watched) and is taken together with it, so what stands between them is seen under the new name. Bounded. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { INTAKE_EVENTS_MAX = 65536, INTAKE_BYTES_MAX = 16 << 20, MOVE_WAIT_NS = 30 * 1000000 };
struct raw { int wd; uint32_t mask, cookie; uint64_t seq, at_ns, time_ns; struct raw *next, *prev; size_t bytes; char name[]; };
struct intake { struct raw *first, *last; size_t count, bytes; uint64_t read, done /* events: put in, and taken out or before the first */; bool lost; struct raw *searched; };
void intake_put(struct intake *i, uint64_t now_ns, uint64_t time_ns, int wd, uint32_t mask, uint32_t cookie, const char *name);
bool intake_full(const struct intake *i);
/* The first, and for a move that stayed within what is watched its second half; owned: raw_free(). NULL: nothing, or it waits until intake_due_ns(). */
struct raw *intake_take(struct intake *i, uint64_t now_ns, struct raw **ret_to);
uint64_t intake_due_ns(const struct intake *i);      /* UINT64_MAX: not before more is read */
void raw_free(struct raw *r);
void intake_clear(struct intake *i);
