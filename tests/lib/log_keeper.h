/* For tests: keeps the redo logs of processes that are killed, as the holder does. */
#pragma once
#include "fs/object.h"

enum { KEPT_MAX = 32 };
struct log_keeper { int sock[2]; struct kept_log { char id[ID_MAX]; int fd; } kept[KEPT_MAX]; unsigned count; };

int log_keeper_init(struct log_keeper *k);                               /* before the fork; 0 or -errno */
void log_keeper_fini(struct log_keeper *k);
/* In the child: the log of the workspace `id`; what was sent is there even if the child is killed at once. */
void log_keeper_send(struct log_keeper *k, const char *id, int fd);
/* In the parent: takes what was sent; a later one of the same workspace replaces the one before. */
void log_keeper_take(struct log_keeper *k);
struct kept_log *log_keeper_find(struct log_keeper *k, const char *id);  /* NULL: none */
