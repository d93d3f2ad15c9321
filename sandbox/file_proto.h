/* File operations between sandboxd and a worker of the agent, over one stream socket per operation.
 *
 * Request (in FILE_OP): u8 op, u32 flags FILE_*, u32 mode, u64 off, u64 len, u32 depth, path string, path2 string, then extra: u16 count (<= FILE_EXTRA_MAX) and
 * strings: of WRITE the If-Match address ("": any) and then attributes "user.NAME=VALUE" that the file gets; of TREE_OUT the excludes. Paths are absolute or relative to the user's home; resolved inside the sandbox by the worker, with the user's rights:
 * openat2 RESOLVE_NO_MAGICLINKS, never on procfs, never opening what is not a regular file or directory (O_NONBLOCK, fstat first).
 *
 * On the socket the worker first sends a head: u32 n (<= FILE_HEAD_MAX), then n bytes: i32 status (0 or -errno), string error step, and if 0 a file_stat (for STAT,
 * READ, LIST, WRITE at its end, ...). Then body chunks in the direction of the operation:  u32 n bytes (1..FILE_CHUNK_MAX) and the bytes; u32 0 ends it well;
 * u32 FILE_BROKEN, i32 -errno ends it badly. A socket that closes before its end was seen means: broken (an upload is then not committed).
 *  READ     worker: head, chunks.  off, len (UINT64_MAX: to the end) select a range
 *  WRITE    client: chunks; worker: head when committed (or refused early: it may answer before the body is through, and then closes).
 *           Written to a new file beside it (".coppice-" random, O_EXCL), fsync not needed, mode and owner of a file that is there are kept, then renamed over: a
 *           reader sees the old or the new file. FILE_APPEND, FILE_EXCL, FILE_PARENTS. extra: address that must match ("*": must exist, "": any)
 *  LIST     worker: head (of the directory), chunks, each whole entries: file_entry records; depth levels (1: only its own entries), names in byte order, no symlink followed
 *  ENTRY    worker: head, one chunk: the entry itself, a symlink not followed, as a file_entry record with an empty path
 *  STAT, MKDIR, REMOVE, MOVE, COPY, CHMOD   worker: head. FILE_NOFOLLOW: of a symlink itself (always for REMOVE and MOVE)
 *  TREE_OUT worker: head, chunks: an entry stream (entry_stream.h) of the directory, excludes in extra (relative paths, and * globs)
 *  TREE_IN  client: chunks of an entry stream; worker: head at the end. Applied beneath the directory, component by component, no symlink followed; what an entry
 *           replaces is replaced as tar does; owners are the user's (root: as in the stream, if mapped), setuid, setgid and security.* dropped.
 */
#pragma once
#include <stdint.h>
#include "base/buf.h"
#include "base/wire.h"

enum file_op { FILE_STAT = 1, FILE_READ, FILE_WRITE, FILE_LIST, FILE_MKDIR, FILE_REMOVE, FILE_MOVE, FILE_COPY, FILE_CHMOD, FILE_TREE_OUT, FILE_TREE_IN, FILE_ENTRY };
enum { FILE_NOFOLLOW = 1, FILE_PARENTS = 2, FILE_RECURSIVE = 4, FILE_EXCL = 8, FILE_APPEND = 16, FILE_ADDRESS = 32 /* compute the address in STAT */, FILE_REPLACE = 64 /* MOVE, COPY: over what is there */, FILE_ATTRS = 128 /* LIST, ENTRY: with attributes */ };
enum { FILE_HEAD_MAX = 64 * 1024, FILE_CHUNK_MAX = 256 * 1024, FILE_DEPTH_MAX = 1024, FILE_ADDRESS_MAX = 64, FILE_EXTRA_MAX = 1024, FILE_ATTRS_MAX = 64, FILE_ATTR_BYTES = 4096 /* of an entry's together; more are left out */ };
#define FILE_ATTR_PREFIX "user.e2b."      /* those that LIST and ENTRY tell */
#define FILE_BROKEN UINT32_MAX

struct file_request { uint8_t op; uint32_t flags, mode, depth; uint64_t off, len; char path[4096], path2[4096]; char **extra; unsigned extra_count; };
void file_request_put(struct buf *b, const struct file_request *q);
int file_request_get(struct reader *r, struct file_request *ret);     /* 0, -EBADMSG, -ENOMEM; extra is owned */
void file_request_fini(struct file_request *q);

/* address: of a regular file's content: 32 hex digits of XXH3-128 (files to 256 MiB), else "s" and size-mtime_ns-inode in hex; the ETag of the HTTP API. "" if not asked for. */
struct file_stat { uint32_t mode, uid, gid, nlink; uint64_t size, ino; int64_t mtime_s; uint32_t mtime_ns; char address[FILE_ADDRESS_MAX]; };
void file_stat_put(struct buf *b, const struct file_stat *s);
void file_stat_get(struct reader *r, struct file_stat *ret);
/* One entry of LIST: path string (relative to the directory; bytes), file_stat, string target of a symlink; with FILE_ATTRS: u16 count (<= FILE_ATTRS_MAX), strings "NAME=VALUE" without
 * FILE_ATTR_PREFIX (of files and directories that the user may read). */
