/* The import stream: entries of a tree in a strict framing that snapshotd can take from a client it does not trust. The client (or a
 * confined child of it) reads directories and archives; only this stream reaches the store. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/inode.h"
#include "fs/object.h"
struct store; struct workspace; struct view; struct buf;

/* Frame: u32 length of what follows (at most IMPORT_FRAME_MAX), u8 type, body. All little-endian. Strings: u16 length, bytes without NUL.
 *  ENTRY  u16 path (relative, components separated by '/', none empty, "." or ".."), u32 mode, uid, gid, rdev, i64 mtime_s, u32 mtime_ns, u64 size, u16 target (symlink) ; parents that are missing are made 0755
 *         The empty path is the top directory itself. Size: regular files, else 0. rdev: devices, else 0. uid, gid: at most 65535.
 *  DATA   u64 offset, bytes (1 .. IMPORT_DATA_MAX): of the last ENTRY (regular file), within its size; holes are simply not sent
 *  XATTR  u16 name, bytes value: of the last ENTRY. Writers send them before DATA (a tar needs them in its header).
 *  LINK   u16 path, u16 existing path: hard link to an earlier file
 *  END    u64 number of ENTRY and LINK frames; the last frame
 * An ENTRY for an existing path replaces it (a directory is kept as it is and its attributes change; a directory over a file or a file over a
 * directory replaces, as tar does). Nothing ever leaves the tree: paths are walked by components in the workspace, symlinks are not followed
 * (a path through a symlink or a file is an error). Device nodes are refused: -EPERM in the report. */
enum { IMPORT_ENTRY = 1, IMPORT_DATA, IMPORT_XATTR, IMPORT_LINK, IMPORT_END, IMPORT_FRAME_MAX = (1 << 20) + 65536 };
enum { IMPORT_DATA_MAX = 1 << 20, IMPORT_UNIT = 4096, IMPORT_ID_MAX = 65535, IMPORT_DEPTH_MAX = 4096 };

struct importer;
int importer_new(struct workspace *w, const char *at, struct importer **ret);    /* at: directory in the workspace, made if missing */
/* One frame without its length. 0, or an error (then every further frame gives the same); the text says which entry and why. */
int importer_frame(struct importer *im, const uint8_t *p, size_t n);
const char *importer_error(const struct importer *im);
bool importer_ended(const struct importer *im);          /* END was seen and agreed */
uint64_t importer_entries(const struct importer *im), importer_bytes(const struct importer *im);
void importer_free(struct importer *im);
/* Writers of frames, with their length (for the client). */
void import_put_entry(struct buf *b, const char *path, const struct inode *in, const char *target);
void import_put_data(struct buf *b, uint64_t off, const void *p, uint32_t n);
void import_put_xattr(struct buf *b, const char *name, const void *val, uint32_t n);
void import_put_link(struct buf *b, const char *path, const char *existing);
void import_put_end(struct buf *b, uint64_t entries);
/* DATA frames for content of any length, without the 4 KiB units that are all zero. */
void import_put_content(struct buf *b, uint64_t off, const void *p, size_t n);

/* Writes the entries of the directory `path` of a view (without the directory's own path in front) to fd as such a stream: names sorted as bytes
 * within each directory, a directory before its entries, the second and later hard links as LINK, content without holes. Equal trees give equal
 * streams. progress may be NULL. 0; -ENOENT, -ENOTDIR of path; -errno of the descriptor or store. */
typedef void export_progress_fn(void *arg, uint64_t entries, uint64_t bytes);
int export_stream(struct store *s, struct view *v, const char *path, int fd, export_progress_fn *progress, void *arg);
