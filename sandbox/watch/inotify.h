/* SPDX-License-Identifier: GPL-2.0-or-later
 * The kernel's inotify, through libinotifytools as far as that carries (inotify.c). */
#pragma once
#include "sandbox/watch/follow.h"
/* path: of the directory, absolute. 0 or -errno: -EMFILE: no more inotify instances. One in a process. */
int inotify_open(const char *path, struct kernel *ret);
int inotify_poll_fd(void);
