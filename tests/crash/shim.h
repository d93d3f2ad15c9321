/* What the preloaded shim (shim.c) tells and is told. Programs find its functions by dlsym: they are NULL when it is not loaded. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The log: records in the order in which the calls took effect. Paths are relative to the store directory. */
enum shim_type { SHIM_CREATE = 1, SHIM_MKDIR, SHIM_RENAME, SHIM_UNLINK, SHIM_WRITE, SHIM_TRUNCATE, SHIM_PUNCH, SHIM_ALLOCATE, SHIM_SYNC, SHIM_DIRSYNC, SHIM_MARK };
struct shim_rec {
    uint32_t type, file;                  /* file: number given at CREATE */
    uint64_t off, len;                    /* TRUNCATE: off = size; MARK: off = value */
    uint32_t path_len, data_len;          /* then path (RENAME: from NUL to), then data */
};

enum { SHIM_READS = 1, SHIM_WRITES = 2, SHIM_SYNCS = 4, SHIM_OPENS = 8, SHIM_NAMES = 16, SHIM_SPACE = 32, SHIM_CLASSES = 6 };
enum shim_how { SHIM_ONCE, SHIM_FROM_THEN_ON, SHIM_SHORT };

struct shim {
    /* Watches files below dir (absolute). log_fd >= 0: records there; syncs are then not really done. */
    void (*watch)(const char *dir, int log_fd);
    void (*mark)(uint64_t value);
    void (*flush)(void);
    /* The n-th (from 1) call of these classes from now fails with err. n 0: none. Counts start anew. */
    void (*arm)(unsigned classes, uint64_t n, int err, enum shim_how how);
    uint64_t (*count)(void);              /* calls of the armed classes since arm() */
};
/* False if the shim is not loaded. */
bool shim_find(struct shim *ret);
/* Runs this program again with the shim loaded, if it is not: the path in $COPPICE_SHIM, else libshim.so beside the program. */
void shim_exec(char **argv);
