/* The cage of a child that parses foreign bytes. */
#pragma once
/* To be called in a fresh child: stdin becomes in_fd, stdout out_fd, all else but stderr is closed; nobody if root; no new privileges, no core, no
 * new descriptors, files, processes or programs; at most memory_bytes of address space; a system call filter. 0 or -errno: then exit. */
int confine_reader(int in_fd, int out_fd, unsigned long memory_bytes);
