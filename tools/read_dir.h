/* A directory of the host as an entry stream. Needs libc, base and fs/import_put.c only. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tools/read_report.h"

struct read_dir_opts { bool cross_mounts; };
/* Emits frames for all that is in the directory dirfd (borrowed), it first, in sorted order, and END. Never follows a symbolic link, never waits
 * for a FIFO, opens regular files and directories only. Devices are skipped; files that vanish or change meanwhile are reported. An entry that may not be
 * read ends it. 0; -errno and rep->error; a non-zero result of emit is returned. */
int read_dir(int dirfd, const struct read_dir_opts *o, emit_fn *emit, void *arg, struct read_report *rep);
