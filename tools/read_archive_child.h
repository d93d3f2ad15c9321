/* Between read_archive.c and read_archive_child.c: the frames that stay between parent and child, beside those of the entry stream. */
#pragma once
#include <stdbool.h>

/* NOTE, FAIL: u16 path, u16 text. REPORT: u64 entries, bytes, devices, ids, attributes. */
enum { FRAME_NOTE = 0x80, FRAME_REPORT, FRAME_FAIL, FRAME_PIPE_BYTES = 1 << 20 };
/* The body of the child: confines itself, reads the archive from in_fd, writes frames to out_fd, exits: 0; 1: the archive is bad (FAIL, or its text on stderr);
 * 3: no memory, or nobody takes the frames; 4: it could not confine itself. plain: frames of the entry stream only; what else there would be is left out. */
_Noreturn void read_archive_child(int in_fd, int out_fd, bool plain);
