/* Three texts become one, by lines. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum merge_prefer { MERGE_NEITHER, MERGE_OURS, MERGE_THEIRS };   /* where both changed the same lines */
struct merge_text { const uint8_t *p; size_t n; };
/* Appends to out. What only one side changed is taken from it, what both changed alike once. Other changes that overlap or touch are conflicts: one side's lines by prefer; with
 * MERGE_NEITHER both, between markers as git writes them, with these names. *ret_conflicts: how many. 0, -ENOMEM, -EFBIG. */
int merge_text(struct merge_text base, struct merge_text ours, struct merge_text theirs, enum merge_prefer prefer, const char *our_name, const char *their_name,
               struct buf *out, size_t *ret_conflicts);
