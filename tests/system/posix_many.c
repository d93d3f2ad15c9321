/* A directory of very many names: listed whole, by positions, and while names come and go. COPPICE_NAMES: how many (100,000 by hand). */
#include "tests/system/posix.h"

#include <sys/syscall.h>

enum { PER_FILE = 50000, ASKED = 1000 };
struct dent { uint64_t ino, off; unsigned short len; unsigned char type; char name[]; };

static unsigned names;
static unsigned char *seen;
static struct { long at; unsigned n; } *pos;

static void name_of(char *to, const char *kind, unsigned n) { snprintf(to, 32, "d/%s%06u", kind, n); }

/* Links, because they are made fastest. */
static void add(const char *kind, unsigned n)
{
    char file[32], name[32];

    snprintf(file, sizeof file, "file%u", n / PER_FILE);
    if (!there(file))
        put(file, "");
    name_of(name, kind, n);
    if (link(file, name))
        failed(__FILE__, __LINE__, "link %s: %s", name, strerror(errno));
}

static void drop(const char *kind, unsigned n)
{
    char name[32];

    name_of(name, kind, n);
    if (unlink(name))
        failed(__FILE__, __LINE__, "unlink %s: %s", name, strerror(errno));
}

static void fill(void)
{
    const char *want = getenv("COPPICE_NAMES");

    names = want ? (unsigned)atoi(want) : 15000;
    seen = calloc(names, 1);
    pos = calloc(names, sizeof *pos);
    OK(mkdir("d", 0755));
    for (unsigned i = 0; i < names; i++)
        add("n", i);
}

/* A name of the first kind is counted; others are not. */
static void see(const char *name)
{
    unsigned n = name[0] == 'n' ? (unsigned)atoi(name + 1) : names;

    if (n < names && seen[n] < 200)
        seen[n]++;
}

static unsigned not_seen_as(unsigned from, unsigned step, unsigned times)
{
    unsigned wrong = 0;

    for (unsigned i = from; i < names; i += step)
        wrong += seen[i] != times;
    return wrong;
}

static void positions(DIR *d)
{
    unsigned n = 0, wrong = 0;

    rewinddir(d);
    for (;;) {
        long at = telldir(d);
        struct dirent *e = readdir(d);
        if (!e)
            break;
        see(e->d_name);
        if (e->d_name[0] == 'n' && n < names) {
            pos[n].at = at;
            pos[n++].n = (unsigned)atoi(e->d_name + 1);
        }
    }
    SAME(n, names);
    SAME(not_seen_as(0, 1, 1), 0);
    for (unsigned k = 0; k < ASKED; k++) {
        unsigned i = (unsigned)((uint64_t)k * 2654435761u % names);
        seekdir(d, pos[i].at);
        struct dirent *e = readdir(d);
        wrong += !e || e->d_name[0] != 'n' || (unsigned)atoi(e->d_name + 1) != pos[i].n;
    }
    SAME(wrong, 0);
}

/* Every fifth goes and as many come, a few after every few that are listed: the rest is listed once. */
static void change_while_listing(DIR *d)
{
    unsigned done = 0, count = 0;

    memset(seen, 0, names);
    rewinddir(d);
    for (struct dirent *e; (e = readdir(d));) {
        see(e->d_name);
        if (++count % 50 == 0)
            for (int k = 0; k < 20 && done < names / 5; k++, done++) {
                drop("n", done * 5);
                add("x", done);
            }
        if (count > names * 2) {
            failed(__FILE__, __LINE__, "the listing does not end");
            return;
        }
    }
    for (; done < names / 5; done++) {
        drop("n", done * 5);
        add("x", done);
    }
    for (unsigned from = 1; from < 5; from++)
        SAME(not_seen_as(from, 5, 1), 0);
    unsigned twice = 0;
    for (unsigned i = 0; i < names; i += 5)
        twice += seen[i] > 1;
    SAME(twice, 0);
}

/* Positions from before still lead to what they led to, if it is there. */
static void old_positions(DIR *d)
{
    unsigned wrong = 0;

    for (unsigned k = 0; k < ASKED; k++) {
        unsigned i = (unsigned)((uint64_t)k * 2654435761u % names);
        if (pos[i].n % 5 == 0)
            continue;
        seekdir(d, pos[i].at);
        struct dirent *e = readdir(d);
        while (e && e->d_name[0] == 'x')
            e = readdir(d);
        wrong += !e || e->d_name[0] != 'n' || (unsigned)atoi(e->d_name + 1) != pos[i].n;
    }
    SAME(wrong, 0);
}

/* The state as it is now, by reads of this size; positions are given once. */
static void list_raw(size_t size)
{
    char *b = malloc(size);
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    unsigned entries = 0, others = 0;
    uint64_t last = 0, same = 0;
    ssize_t n;

    memset(seen, 0, names);
    while ((n = syscall(SYS_getdents64, fd, b, size)) > 0) {
        for (ssize_t i = 0; i < n; entries++) {
            struct dent *e = (void *)(b + i);
            see(e->name);
            others += e->name[0] == 'x';
            same += e->off == last;
            last = e->off;
            i += e->len;
        }
    }
    SAME(n, 0);
    SAME(same, 0);
    SAME(others, names / 5);
    SAME(entries, names + 2);
    SAME(not_seen_as(0, 5, 0), 0);
    SAME(not_seen_as(1, 5, 1), 0);
    SAME(not_seen_as(4, 5, 1), 0);
    close(fd);
    free(b);
}

static void very_many_names_are_listed_whole_and_by_position(void)
{
    fill();
    DIR *d = opendir("d");
    T(d);
    positions(d);
    change_while_listing(d);
    old_positions(d);
    closedir(d);
    list_raw(1 << 20);
    remount();
    list_raw(4096);
    list_raw(320);
    FAILS(rmdir("d"), ENOTEMPTY);
}

/* xfstests generic/736: entries renamed away and back while they are listed must not come for ever. */
static void a_listing_ends_though_every_entry_is_renamed(void)
{
    enum { N = 2000 };
    char name[NAME_MAX + 3];
    unsigned n = 0;

    OK(mkdir("d", 0755));
    for (unsigned i = 0; i < N; i++)
        add("n", i);
    for (int turn = 0; turn < 2; turn++, n = 0) {
        DIR *d = opendir("d");
        for (struct dirent *e; n <= 3 * N && (e = readdir(d));) {
            if (e->d_name[0] == '.')
                continue;
            n++;
            snprintf(name, sizeof name, "d/%s", e->d_name);
            OK(rename(name, "d/temporary"));
            OK(rename("d/temporary", name));
        }
        closedir(d);
        T(n >= N && n <= 2 * N);
        remount();
    }
}

/* xfstests generic/637: what a rewound listing shows is what there is then; t_dir_offset2 -u: an entry removed before its turn may be missing, no other. */
static void a_rewound_listing_is_of_now(void)
{
    OK(mkdir("d", 0755));
    DIR *d = opendir("d");
    unsigned n = 0;

    while (readdir(d))
        n++;
    SAME(n, 2);
    for (unsigned i = 0; i < 300; i++) {
        add("n", i);
        rewinddir(d);
        for (n = 0; readdir(d);)
            n++;
        SAME(n, i + 3);
        SAME(telldir(d) != 0, 1);
    }
    for (unsigned i = 0; i < 300; i++) {
        drop("n", i);
        seekdir(d, 0);
        rewinddir(d);
        for (n = 0; readdir(d);)
            n++;
        SAME(n, 301 - i);
    }
    closedir(d);
}

/* Positions that nobody was told: refused, or a listing that starts anywhere, ends, and tells nothing twice. */
static void odd_positions_do_no_harm(void)
{
    static const int64_t odd[] = { 1, 2, 3, 4, 1000, 0x7fffffff, 0x80000000, 0xffffffff, 1ll << 40, 1ll << 62, INT64_MAX - 1, INT64_MAX };
    enum { N = 500 };
    char b[2048];

    names = N;
    seen = calloc(N, 1);
    OK(mkdir("d", 0755));
    for (unsigned i = 0; i < N; i++)
        add("n", i);
    for (int warm = 0; warm < 2; warm++) {
        int fd = open("d", O_RDONLY | O_DIRECTORY);
        for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++) {
            unsigned entries = 0, twice = 0;
            ssize_t n = lseek(fd, odd[k], SEEK_SET) < 0 ? 0 : 1;
            memset(seen, 0, N);
            while (n > 0 && entries <= N + 2 && (n = syscall(SYS_getdents64, fd, b, sizeof b)) > 0) {
                for (ssize_t i = 0; i < n; entries++) {
                    struct dent *e = (void *)(b + i);
                    see(e->name);
                    i += e->len;
                }
            }
            for (unsigned i = 0; i < N; i++)
                twice += seen[i] > 1;
            SAME(twice, 0);
            T(entries <= N + 2);
        }
        FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
        OK(lseek(fd, 0, SEEK_SET));
        SAME(lseek(fd, 0, SEEK_CUR), 0);
        close(fd);
        SAME(count_entries("d"), N + 2);
    }
}

const struct posix_test posix_many_tests[] = {
    { "odd_positions_do_no_harm", odd_positions_do_no_harm },
    { "very_many_names_are_listed_whole_and_by_position", very_many_names_are_listed_whole_and_by_position },
    { "a_listing_ends_though_every_entry_is_renamed", a_listing_ends_though_every_entry_is_renamed },
    { "a_rewound_listing_is_of_now", a_rewound_listing_is_of_now },
    { 0 }
};
