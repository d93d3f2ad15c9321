/* An entry stream (fs/import.h) as a directory of this machine. The stream may come from a hostile tree: every name is resolved by components beneath the directory,
 * no symbolic link is followed, what is in the way is replaced only if it is no directory, nothing gets an owner, a setuid bit or a device. Needs libc and base. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct write_dir { int root, file; uint64_t file_size; uint64_t entries, bytes, skipped; char error[512]; };
void write_dir_init(struct write_dir *w, int root);              /* borrows root */
/* For emit_fn (read_report.h): whole frames. 0, or -errno with error. */
int write_dir_frames(void *w, const void *p, size_t n);
void write_dir_fini(struct write_dir *w);
