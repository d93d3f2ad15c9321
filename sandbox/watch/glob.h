/* SPDX-License-Identifier: GPL-2.0-or-later
 * Patterns of paths, relative to what is watched. One without '/' is for the last name, wherever that is; one with '/' is for the whole path. '*', '?', '[...]' and '\' are as in
 * fnmatch(3) within a name; a name that is two stars stands for any number of directories, at the end for everything beneath. */
#pragma once
#include <stdbool.h>
bool glob_match(const char *pattern, const char *path);
/* Nothing beneath that directory can be meant otherwise than by the pattern: it matches the directory, or all that is beneath it. */
bool glob_hides(const char *pattern, const char *dir);
