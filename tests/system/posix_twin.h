/* The same calls in two places: the file system under test and a tmpfs of the same kernel. What they answer and what is there after must be the same.
 *
 * A case is a scene, made by root in a new directory of each place, and one call in it as some user. Cases are collected and run many at a
 * time, because each needs the clock to go on between the scene and the call: which times the call changed is compared as well. */
#pragma once
#include "tests/system/posix.h"

extern const struct posix_test posix_every_rename_tests[], posix_every_right_tests[], posix_handle_tests[], posix_every_new_tests[], posix_every_error_tests[],
    posix_events_tests[], posix_many_tests[], posix_limits_tests[];

struct twin_case {
    void (*scene)(const struct twin_case *c);      /* cwd: the empty directory, mode 0777 */
    int (*call)(const struct twin_case *c);        /* -1 and errno, or 0 */
    uid_t uid;
    gid_t gid, also;                               /* also: the one supplementary group */
    mode_t umask;
    int a, b, c, d, e;                             /* what the two make of them */
    char what[160];
};
/* Differences that are known and have their reason: true, and no failure. here, there: result and tree, as twin_dump tells. */
typedef bool twin_excuse(const struct twin_case *c, const char *here, const char *there);

enum { BASE = 3 << 16, BASE_IDS = 1 << 16 };       /* the ids of the shifted mount */
extern char twin_native[], twin_based[], twin_based_native[];      /* posix.c: a tmpfs; a directory with shifted ids, and one in the tmpfs */

/* excuse may be NULL. One of one_in cases is run, drawn by COPPICE_SEED; COPPICE_TWIN=N: one of N. */
void twin_begin(twin_excuse *excuse, unsigned one_in);
__attribute__((format(printf, 2, 3))) void twin(const struct twin_case *c, const char *fmt, ...);    /* adds a case, copied */
void twin_end(void);                               /* runs what is left; fails if there was no case at all */

/* Runs the block once as it is, and once in a user namespace over a mount whose ids are shifted: root there is an ordinary user outside. */
void twin_everywhere(void (*run)(void));

static inline int twin_shut(int fd) { return fd < 0 ? -1 : (close(fd), 0); }
/* A file with its name in it and this owner and mode. */
void twin_file(const char *name, uid_t uid, gid_t gid, mode_t mode);
void twin_dir(const char *name, uid_t uid, gid_t gid, mode_t mode);
