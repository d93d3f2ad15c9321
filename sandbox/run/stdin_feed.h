/* Text that was given with the request for an execution, fed to its stdin as there is room, then closed. Owns itself: it goes when all was given or the execution ended. */
#pragma once
#include "sandbox/exec.h"
void stdin_feed(struct exec *e, const void *p, size_t n);
