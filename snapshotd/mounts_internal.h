/* Shared by mounts.c and mounts_flush.c. */
#pragma once
#include <time.h>
#include "snapshotd/mounts.h"

struct timespec mounts_deadline(unsigned timeout_ms);     /* on CLOCK_MONOTONIC */
/* With the table's lock: an entry of this object, or NULL. */
struct mount_entry *mounts_entry_of(struct mounts *t, const char *object);
/* An entry that is in no table yet, with two references: on_gone's and the maker's. NULL: no memory. */
struct mount_entry *mounts_entry_new(struct mounts *t, const struct mount_request *q);
void mounts_entry_unref(struct mount_entry *e);               /* with the table's lock */
void mounts_entry_insert(struct mounts *t, struct mount_entry *e);   /* likewise */
void mounts_on_gone(void *arg, struct mount *m);              /* arg: the entry */
int mounts_pool_get(struct mounts *t);
/* Lets the holder keep it, if it can be. As a user of the entry, without the lock. */
bool mounts_hold_entry(struct mounts *t, const struct mount_entry *e, const struct mount_request *q);
