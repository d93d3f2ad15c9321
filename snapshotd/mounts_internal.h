/* Shared by mounts.c and mounts_flush.c. */
#pragma once
#include <time.h>
#include "snapshotd/mounts.h"

struct timespec mounts_deadline(unsigned timeout_ms);     /* on CLOCK_MONOTONIC */
/* With the table's lock: an entry of this object, or NULL. */
struct mount_entry *mounts_entry_of(struct mounts *t, const char *object);
