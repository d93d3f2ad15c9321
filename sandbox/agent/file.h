/* A file worker: one process, one operation (file_proto.h), with the ids, limits and confinement of a command of that user. It may block and may be killed at any point:
 * what is not committed is at most a file ".coppice-*" left behind. */
#pragma once
#include <stdbool.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "sandbox/agent/user.h"
#include "sandbox/file_proto.h"

enum { FILE_PATH_MAX = 4096, FILE_NAME_MAX = 255, FILE_LINKS_MAX = 40 };
struct file_job {
    int sock, lock_fd;
    struct user user;
    struct file_request q;
    const char *step;                        /* of the error that an operation returns */
    bool headed;                             /* the head is out */
};

/* --- file_stream.c: the socket. All block; all return 0 or -errno. --- */
int file_head(struct file_job *j, const struct file_stat *st);
int file_head_failed(struct file_job *j, int err);
int file_chunk(struct file_job *j, const void *p, size_t n);         /* 1..FILE_CHUNK_MAX; 0: the good end */
int file_chunk_broken(struct file_job *j, int err);
/* The next chunk of an upload into p (FILE_CHUNK_MAX); 0: its good end. -ECONNABORTED: the client broke it off. */
ssize_t file_chunk_recv(struct file_job *j, uint8_t *p);

/* --- file_path.c: names. A path is resolved by the kernel inside the sandbox, with the user's rights, without magic links; procfs has no files for this API. --- */
/* O_PATH descriptor of what is there. follow: of the last symlink, too. */
int file_find(int dir, const char *path, bool follow);
/* The directory (O_PATH) and name in it of what is, or may be made, at path; the last symlinks are followed if asked for. parents: directories that are missing are made.
 * -EINVAL: it ends in "." or ".." or is the root. */
int file_locate(const char *path, bool follow, bool parents, int *ret_dir, char ret_name[FILE_NAME_MAX + 1]);
/* Opens what an O_PATH descriptor stands for, if it is a regular file or a directory; -EINVAL if not. */
int file_reopen(int path_fd, int flags, struct stat *ret_st);
/* The directory that the job is about, to be read. A descriptor or -errno (-ENOTDIR). */
int file_open_dir(struct file_job *j, struct stat *ret_st);
void file_stat_fill(struct file_stat *ret, const struct stat *st);

/* --- file_address.c --- */
int file_address(int fd, char ret[FILE_ADDRESS_MAX]);
/* --- file_data.c --- */
int file_copy_data(int from, int to, off_t *from_off, off_t *to_off);        /* to the end of from; extents are shared where the file system can */
void file_copy_xattrs(int from, int to);                                     /* user.*; what cannot be set is left out */

/* --- file_attrs.c --- */
int file_attrs_set(int fd, char **pairs, unsigned count);                    /* "user.NAME=VALUE" each. 0; -EBADMSG; -errno */
void file_attrs_put(struct buf *b, int dir, const char *name);               /* as an entry has them; none where they cannot be read. name "": dir itself, an O_PATH descriptor */

/* --- file_walk.c: a tree in order of names, each directory before its entries; no recursion, no symlink followed, nothing opened but directories. --- */
struct file_at { int dir; const char *name, *path; struct stat st; unsigned depth; void *parent, **ret_own; };
/* path: relative to the top. own: what entry() left in *ret_own for the directory that it is in. 0: go on (and into a directory); 1: but not into this one; -errno. */
typedef int file_walk_entry(void *arg, struct file_at *at);
typedef int file_walk_leave(void *arg, const char *path, void *own);         /* after the entries of a directory; not for the top */
int file_walk(int top, unsigned depth_max, void *top_own, file_walk_entry *entry, file_walk_leave *leave, void *arg);

/* --- the operations: 0, or -errno with j->step; the head is theirs to send on success --- */
int file_op_stat(struct file_job *j), file_op_mkdir(struct file_job *j), file_op_chmod(struct file_job *j), file_op_move(struct file_job *j);
int file_op_read(struct file_job *j), file_op_write(struct file_job *j), file_op_list(struct file_job *j), file_op_remove(struct file_job *j), file_op_copy(struct file_job *j);
int file_op_tree_out(struct file_job *j), file_op_tree_in(struct file_job *j), file_op_entry(struct file_job *j);
int file_remove_at(int dir, const char *name);                               /* with all that is in it */
