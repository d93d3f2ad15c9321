/* An entry as envd shows it (EntryInfo). */
#pragma once
#include "sandbox/e2b/e2b.h"
#include "sandbox/file_proto.h"
/* target: of a symlink, as it stands in it, or "". metadata: stolen, may be NULL. */
json_t *e2b_entry(const struct box *b, const char *path, const struct file_stat *st, const char *target, json_t *metadata);
