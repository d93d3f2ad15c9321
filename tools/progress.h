/* One line on stderr about long work, only if that is a terminal. */
#pragma once
#include <stdint.h>
/* what: a verb in -ing form; at most ten times a second. entries 0: not told. */
void progress_bytes(const char *what, uint64_t entries, uint64_t bytes);
void progress_clear(void);
