/* An entry stream as a tar (pax). Needs libarchive and base. */
#pragma once
#include "tools/read_report.h"

/* Reads an entry stream from in_fd up to END and writes a tar to out_fd. Safe for a naive `tar x`: names are relative, without "..", hard links point within,
 * no devices; those and sockets (a tar holds none) are left out, with links to them, and counted in rep->devices. Holes become zeros. The top
 * directory is "./". 0; -EUCLEAN: the stream is cut off or malformed; -errno of a descriptor; text in rep->error. */
int write_tar(int in_fd, int out_fd, struct read_report *rep);
