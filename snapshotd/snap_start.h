/* Starting a program that detaches itself: it exits with 0 when its daemon serves, or says on standard error why it cannot. */
#pragma once
#include <stddef.h>
/* argv[0] is the path; ends with NULL. Waits. 0; -ECONNREFUSED: it said why not (ret_text, without the last newline; may be empty); -errno: it could not be run. */
int start_daemon(const char *const *argv, char *ret_text, size_t size);
