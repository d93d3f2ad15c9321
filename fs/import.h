/* The import stream: entries of a tree in a strict framing that snapshotd can take from a client it does not trust. The client (or a
 * confined child of it) reads directories and archives; only this stream reaches the store. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/entry_stream.h"
#include "fs/inode.h"
#include "fs/object.h"
struct store; struct workspace; struct view; struct buf;

/* The frames: base/entry_stream.h.
 * An ENTRY for an existing path replaces it (a directory is kept as it is and its attributes change; a directory over a file or a file over a
 * directory replaces, as tar does). Nothing ever leaves the tree: paths are walked by components in the workspace, symlinks are not followed
 * (a path through a symlink or a file is an error). Device nodes are refused: -EPERM in the report. */
struct importer;
int importer_new(struct workspace *w, const char *at, struct importer **ret);    /* at: directory in the workspace, made if missing */
/* One frame without its length. 0, or an error (then every further frame gives the same); the text says which entry and why. */
int importer_frame(struct importer *im, const uint8_t *p, size_t n);
const char *importer_error(const struct importer *im);
bool importer_ended(const struct importer *im);          /* END was seen and agreed */
uint64_t importer_entries(const struct importer *im), importer_bytes(const struct importer *im);
void importer_free(struct importer *im);
/* The writer of an ENTRY from an inode; the others are in base/entry_stream.h. */
void import_put_entry(struct buf *b, const char *path, const struct inode *in, const char *target);

/* Writes the entries of the directory `path` of a view (without the directory's own path in front) to fd as such a stream: names sorted as bytes
 * within each directory, a directory before its entries, the second and later hard links as LINK, content without holes. Equal trees give equal
 * streams. progress may be NULL. 0; -ENOENT, -ENOTDIR of path; -errno of the descriptor or store. */
typedef void export_progress_fn(void *arg, uint64_t entries, uint64_t bytes);
int export_stream(struct store *s, struct view *v, const char *path, int fd, export_progress_fn *progress, void *arg);
