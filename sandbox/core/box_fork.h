#pragma once
#include "sandbox/box.h"
/* The box of a fork, of which rec has id and name (verb fork): the rest of its record is its source's, so it need not be asked for. It has the source's configuration, which the caller
 * saves. Borrowed; NULL: not a record. */
struct box *boxes_of_fork(const struct box *source, const json_t *rec);
