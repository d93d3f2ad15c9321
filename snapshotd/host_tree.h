/* The tree of the built-in template `host`, as an entry stream: the skeleton of a root file system whose /usr is the host's. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

/* What was looked at to make it: directories and regular files. Symbolic links are covered by their directories: they cannot be changed in place. */
struct host_input { char *path; uint64_t dev, ino, size; int64_t mtime_ns, ctime_ns; uint32_t mode; };
struct host_inputs { struct host_input *v; size_t n, cap; };

enum { HOST_FILE_MAX = 4 << 20, HOST_TREE_MAX = 64 << 20, HOST_DEPTH_MAX = 8 };
struct host_tree {
    struct buf frames;                    /* each with its length, END last */
    uint64_t entries;
    struct host_inputs inputs;
    const char *root;                     /* where the host's tree is seen: "" for /; tests give another. No symbolic link on it */
    char error[256];                      /* for people */
};

/* Reads the host. Nothing in it depends on the time or on who asks, so equal hosts give equal streams. Left out: what not everybody may read, what is not root's,
 * keys, passwords, the host's identity, and configuration that may hold credentials. 0; -ENOTSUP: a host that this template cannot be made of
 * (error says why); -ENOMEM; -EFBIG; -errno. The caller frees it in any case. */
int host_tree_read(const char *root, struct host_tree *ret);
void host_tree_fini(struct host_tree *t);
/* True if nothing that was looked at has changed since. */
bool host_inputs_same(const struct host_inputs *in);

/* --- host_etc.c: what is in it --- */
struct host_text { const char *path; uint32_t mode, uid, gid; const char *text; };     /* generated files; text NULL: a directory; ends with path NULL */
extern const struct host_text host_texts[];
/* Names beneath /etc that are copied, directories with all that is in them; may end in '*'. NULL-terminated. */
extern const char *const host_copies[];
