/* Becoming the holder, which then runs this program as its child. */
#pragma once
#include <stdbool.h>

/* Comes back if there is no holder's program beside ours: then mounts end with the process. argv: our own; store: absolute. ready: the starter's
 * pipe, or -1. */
void front_exec(int argc, char **argv, const char *store, bool foreground, int ready);
