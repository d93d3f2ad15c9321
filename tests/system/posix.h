/* What the posix_*.c share: checks that count and go on, children as other users, and the list of tests of each file. */
#pragma once
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { USER = 1000, FRIEND = 1001, CREW = 2000 };   /* two users with groups of their own; CREW: a group of USER only */

extern bool on_coppice;                   /* else: a plain directory, the reference */
extern const char *other_dir;             /* a directory of another mount of the same kind */
extern unsigned failures;                 /* of this process */

/* A test runs in a process and an empty directory (mode 0777) of its own, as root with umask 0. */
struct posix_test { const char *name; void (*run)(void); };
extern const struct posix_test posix_open_tests[], posix_names_tests[], posix_rename_tests[], posix_owner_tests[], posix_times_tests[], posix_xattr_tests[],
    posix_acl_tests[], posix_size_tests[], posix_copy_tests[], posix_map_tests[], posix_fsx_tests[], posix_lock_tests[], posix_dir_tests[], posix_ipc_tests[],
    posix_io_tests[], posix_pipe_tests[], posix_ofd_tests[], posix_priv_tests[], posix_range_tests[], posix_aio_tests[], posix_page_tests[], posix_pair_tests[], posix_huge_tests[];

__attribute__((format(printf, 3, 4))) void failed(const char *file, int line, const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void skipped(const char *fmt, ...);     /* part of a test: says why */
/* The mount is taken away and made again; nothing of it may be open but the working directory. Nothing on the reference. */
void remount(void);
/* The state so far is set aside, as by a snapshot, while everything stays open. Nothing on the reference. */
void freeze(void);

#define T(x) do { errno = 0; if (!(x)) failed(__FILE__, __LINE__, "not true: %s (%s)", #x, strerror(errno)); } while (0)
#define OK(x) do { errno = 0; if ((long)(x) == -1) failed(__FILE__, __LINE__, "%s: %s", #x, strerror(errno)); } while (0)
#define SAME(a, b) do { long long a_ = (long long)(a), b_ = (long long)(b); \
        if (a_ != b_) failed(__FILE__, __LINE__, "%s is %lld (0%llo), not %lld (0%llo)", #a, a_, a_, b_, b_); } while (0)
#define FAILS(x, e) do { errno = 0; long r_ = (long)(x); int e_ = errno; \
        if (r_ != -1) failed(__FILE__, __LINE__, "%s gives %ld, not %s", #x, r_, #e); \
        else if (e_ != (e)) failed(__FILE__, __LINE__, "%s: %s, not %s", #x, strerror(e_), #e); } while (0)

/* The block runs in a child with these ids; what fails there fails here. */
struct as { bool inside; };
struct as as_begin(uid_t uid, gid_t gid, gid_t also);
void as_end(struct as *a);
#define AS_GROUP(uid, gid, also) for (struct as as_ = as_begin(uid, gid, also); as_.inside; as_end(&as_))
#define AS(uid) AS_GROUP(uid, uid, uid)
#define CHILD AS(0)

int open_new(const char *name, mode_t mode);                   /* O_RDWR | O_CREAT | O_EXCL */
void put(const char *name, const char *text);                  /* a file 0644 with this content */
/* A thing of type f d l (dangling) p s. */
void make(const char *name, char type);
struct stat stat_of(const char *name);                         /* lstat */
static inline mode_t mode_of(const char *name) { return stat_of(name).st_mode & 07777; }
bool there(const char *name);
void same_content(const char *file, int line, const char *name, const char *text);
#define HAS(name, text) same_content(__FILE__, __LINE__, name, text)
/* Waits until the kernel's clock for files has gone on, so that later changes have later times. */
void tick(void);
static inline bool later(struct timespec a, struct timespec b) { return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec; }
static inline bool equal(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }
unsigned count_entries(const char *dir);
unsigned long long seed_of(const char *what);                  /* tests/lib/seed.h; printed */
