/* Starting a program that detaches itself: it exits with 0 when its daemon serves, or says on standard error why it cannot. */
#pragma once
#include <stddef.h>
/* argv[0] is the path; ends with NULL. Waits. 0; -ECONNREFUSED: it said why not (ret_text, without the last newline; may be empty); -errno: it could not be run. */
int start_daemon(const char *const *argv, char *ret_text, size_t size);
/* Tells two programs apart, also two of one name at different times: ino, size and time of the file. -errno. */
enum { PROGRAM_ID = 80 };
int snap_program_id(const char *path, char ret[PROGRAM_ID]);
