/* See posix_twin.h. */
#include "tests/system/posix_twin.h"

#include <grp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/xattr.h>

#include "tests/lib/tmp.h"

enum { BATCH = 64, TEXT = 6000, SHOWN = 12 };

static const char *native;                /* the directory in tmpfs */
static char here_dir[PATH_MAX];
static struct twin_case cases[BATCH];
static unsigned count, total, differing, excused;
static struct timespec before;
static twin_excuse *excuse;
static unsigned one_in;
static uint64_t seed;
static bool in_namespace;

struct text { char b[TEXT]; size_t n; };

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(t->b + t->n, sizeof t->b - t->n, fmt, ap);
    va_end(ap);
    t->n = t->n + (size_t)n < sizeof t->b ? t->n + (size_t)n : sizeof t->b - 1;
}

/* --- what is there --- */
static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void dump_attributes(struct text *t, const char *name)
{
    char list[1024], *v[64];
    unsigned char val[256];
    ssize_t n = llistxattr(name, list, sizeof list);
    size_t k = 0;

    if (n < 0 && errno != EOPNOTSUPP)
        add(t, " listxattr:%s", strerrorname_np(errno));
    for (char *p = list; n > 0 && p < list + n && k < 64; p += strlen(p) + 1)
        v[k++] = p;
    qsort(v, k, sizeof *v, by_bytes);
    for (size_t i = 0; i < k; i++) {
        ssize_t len = lgetxattr(name, v[i], val, sizeof val);
        add(t, " %s=", v[i]);
        for (ssize_t j = 0; j < len; j++)
            add(t, "%02x", val[j]);
    }
}

static void dump_content(struct text *t, const char *name, mode_t mode)
{
    char b[64];
    ssize_t n = -1;

    if (S_ISLNK(mode)) {
        n = readlink(name, b, sizeof b);
    } else if (S_ISREG(mode)) {
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        n = read(fd, b, sizeof b);
        close(fd);
    }
    if (n >= 0)
        add(t, " \"%.*s\"", (int)n, b);
}

static void dump_one(struct text *t, const char *path, const char *name, int d_type)
{
    struct stat st = stat_of(name);

    add(t, "  %s %o n%u %u:%u%s%s", path, st.st_mode, (unsigned)st.st_nlink, st.st_uid, st.st_gid, later(st.st_mtim, before) ? " M" : "",
        later(st.st_ctim, before) ? " C" : "");
    if (!S_ISDIR(st.st_mode))
        add(t, " %lld", (long long)st.st_size);
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
        add(t, " dev %x", (unsigned)st.st_rdev);
    if (d_type >= 0 && d_type != (int)IFTODT(st.st_mode))
        add(t, " d_type=%d", d_type);
    dump_content(t, name, st.st_mode);
    dump_attributes(t, name);
    add(t, "\n");
}

/* The working directory and all below it, by name. */
static void dump(struct text *t, const char *path, int depth)
{
    char *names[64], sub[600];
    unsigned char types[64];
    size_t n = 0;
    DIR *d = opendir(".");

    for (struct dirent *e; d && (e = readdir(d)) && n < 64;) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        names[n] = malloc(strlen(e->d_name) + 2);
        names[n][0] = (char)e->d_type;
        strcpy(names[n++] + 1, e->d_name);
    }
    if (d)
        closedir(d);
    for (size_t i = 0; i < n; i++)        /* the type goes along behind the name's back */
        for (size_t j = i + 1; j < n; j++)
            if (strcmp(names[i] + 1, names[j] + 1) > 0) {
                char *swap = names[i];
                names[i] = names[j];
                names[j] = swap;
            }
    for (size_t i = 0; i < n; i++) {
        types[i] = (unsigned char)names[i][0];
        snprintf(sub, sizeof sub, "%.255s%s%.255s", path, *path ? "/" : "", names[i] + 1);
        dump_one(t, sub, names[i] + 1, types[i]);
        if (types[i] == DT_DIR && depth < 4 && !chdir(names[i] + 1)) {
            dump(t, sub, depth + 1);
            OK(chdir(".."));
        }
        free(names[i]);
    }
}

/* --- one case in one place --- */
static void become(const struct twin_case *c)
{
    OK(setgroups(1, &c->also));
    OK(setegid(c->gid));
    if (c->uid)
        OK(seteuid(c->uid));
    umask(c->umask);
}

static void be_root(void)
{
    OK(seteuid(0));
    OK(setegid(0));
    OK(setgroups(0, NULL));
    umask(0);
}

static void place(unsigned i, const char *root, char *ret)
{
    snprintf(ret, PATH_MAX, "%.3800s/s%u", root, i);
}

static void make_scene(unsigned i, const char *root)
{
    char dir[PATH_MAX];

    place(i, root, dir);
    OK(mkdir(dir, 0777));
    OK(chdir(dir));
    cases[i].scene(&cases[i]);
}

static void act(unsigned i, const char *root, struct text *ret)
{
    char dir[PATH_MAX];

    place(i, root, dir);
    OK(chdir(dir));
    become(&cases[i]);
    errno = 0;
    int r = cases[i].call(&cases[i]), e = errno;
    be_root();
    ret->n = 0;
    if (r < 0)
        add(ret, "%s\n", strerrorname_np(e));
    else
        add(ret, "%d\n", r);
    OK(chdir(dir));
    dump_one(ret, ".", ".", -1);
    dump(ret, "", 0);
    OK(chdir("/"));
    tmp_remove(dir);
}

/* The lines that only one of the two has. */
static void show_only(const char *where, const char *text, const char *other)
{
    for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
        char line[1024];
        snprintf(line, sizeof line, "%.*s\n", (int)(end - text), text);
        const char *at = strstr(other, line);
        if (!at || (at != other && at[-1] != '\n'))
            fprintf(stderr, "   %s: %s", where, line);
    }
}

static void show(const struct twin_case *c, const char *here, const char *there)
{
    fprintf(stderr, "%s (uid %u gid %u,%u umask %o)\n", c->what, c->uid, c->gid, c->also, c->umask);
    show_only("here", here, there);
    show_only("tmpfs", there, here);
}

static void run_batch(void)
{
    static struct text here, there;
    struct timespec t;

    for (unsigned i = 0; i < count; i++) {
        make_scene(i, here_dir);
        make_scene(i, native);
    }
    clock_gettime(CLOCK_REALTIME, &before);
    do {
        sched_yield();
        clock_gettime(CLOCK_REALTIME_COARSE, &t);
    } while (!later(t, before));
    for (unsigned i = 0; i < count; i++) {
        act(i, here_dir, &here);
        act(i, native, &there);
        total++;
        if (!strcmp(here.b, there.b))
            continue;
        if (excuse && excuse(&cases[i], here.b, there.b)) {
            excused++;
            continue;
        }
        if (differing++ < SHOWN || getenv("COPPICE_TWIN"))
            show(&cases[i], here.b, there.b);
    }
    count = 0;
}

/* --- the cases of a test --- */
void twin_begin(twin_excuse *e, unsigned n)
{
    const char *which = getenv("COPPICE_TWIN");

    one_in = which && atoi(which) > 0 ? (unsigned)atoi(which) : n;
    seed = one_in > 1 && !seed ? seed_of("which cases") : seed;
    count = total = differing = excused = 0;
    excuse = e;
    T(getcwd(here_dir, sizeof here_dir));
    native = in_namespace ? twin_based_native : twin_native;
}

void twin(const struct twin_case *c, const char *fmt, ...)
{
    va_list ap;

    seed = seed * 6364136223846793005u + 1442695040888963407u;
    if (one_in > 1 && (seed >> 33) % one_in)
        return;
    cases[count] = *c;
    va_start(ap, fmt);
    vsnprintf(cases[count].what, sizeof cases[count].what, fmt, ap);
    va_end(ap);
    if (++count == BATCH)
        run_batch();
}

void twin_end(void)
{
    run_batch();
    OK(chdir(here_dir));
    printf("# %u cases%s, %u differ, %u differ for known reasons\n", total, in_namespace ? " in a user namespace" : "", differing, excused);
    fflush(stdout);
    T(total > 0);
    if (differing)
        failed(__FILE__, __LINE__, "%u of %u cases differ from tmpfs", differing, total);
}

void twin_file(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
    put(name, name);
    OK(chown(name, uid, gid));
    OK(chmod(name, mode));
}

void twin_dir(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
    OK(mkdir(name, 0755));
    OK(chown(name, uid, gid));
    OK(chmod(name, mode));
}

static const char *twin_scratch(void)
{
    static char dir[PATH_MAX];

    snprintf(dir, sizeof dir, "%.4000s/t", twin_based);
    return dir;
}

static void put_map(pid_t pid, const char *map)
{
    char path[64], line[64];

    snprintf(path, sizeof path, "/proc/%d/%s", pid, map);
    int fd = open(path, O_WRONLY | O_CLOEXEC), n = snprintf(line, sizeof line, "0 %u %u", BASE, BASE_IDS);
    SAME(write(fd, line, (size_t)n), n);
    close(fd);
}

void twin_everywhere(void (*run)(void))
{
    int ready[2], go[2], st;
    char c;

    run();
    OK(pipe2(ready, O_CLOEXEC));
    OK(pipe2(go, O_CLOEXEC));
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        failures = 0;
        OK(unshare(CLONE_NEWUSER));
        SAME(write(ready[1], "", 1), 1);
        SAME(read(go[0], &c, 1), 1);
        OK(setresgid(0, 0, 0));
        OK(setresuid(0, 0, 0));
        OK(setgroups(0, NULL));
        OK(mkdir(twin_scratch(), 0777));
        OK(chdir(twin_scratch()));
        in_namespace = true;
        run();
        tmp_remove(twin_scratch());
        fflush(NULL);
        _exit(failures != 0);
    }
    SAME(read(ready[0], &c, 1), 1);
    put_map(pid, "uid_map");
    put_map(pid, "gid_map");
    SAME(write(go[1], "", 1), 1);
    T(waitpid(pid, &st, 0) == pid && st == 0);
}
