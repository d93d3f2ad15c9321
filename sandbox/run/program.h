/* Programs of ours that run inside sandboxes: read once, into memory that nobody can change. */
#pragma once
/* A sealed memory file (PROGRAM_SEALS, frame.h) with what is in the file that the environment variable names or, without that, in the file of that name beside sandboxd, or in the directory
 * `build` beside it. -errno. */
int program_load(const char *variable, const char *build, const char *name);
