/* Is a packet of sandboxd what it may be? sandboxd is less trusted than the launcher. No state, no descriptors. */
#pragma once
#include <stddef.h>
#include "sandbox/launch_proto.h"

enum { BOX_MEMORY_MIN = 16 << 20, BOX_PIDS_MIN = 8, BOX_PIDS_MAX = 1 << 22, BOX_CPU_MILLI_MIN = 10, BOX_CPU_MILLI_MAX = 1000000 };
#define BOX_MEMORY_MAX ((uint64_t)1 << 46)

/* [a-z0-9] and then [a-z0-9._-], ended by NUL within LAUNCH_NAME, without "..". */
int check_box_name(const char name[LAUNCH_NAME]);
int check_host_name(const char name[LAUNCH_NAME]);     /* [A-Za-z0-9.-], "" is fine */
/* Absolute, normalised (no empty, "." or ".." component, no end "/"), not /, and not in or above /proc, /dev, /sys; NUL within LAUNCH_PATH. */
int check_mount_path(const char path[LAUNCH_PATH]);
int check_limits(const struct launch_limits *l);
/* All of it, and whether so many descriptors belong to it. 0; -EINVAL with what is wrong in *ret_why. */
int check_packet(const struct launch_packet *p, size_t size, unsigned fd_count, const char **ret_why);
