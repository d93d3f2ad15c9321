/* The system calls of a mounted workspace, as root and as users, against what ext4 does. The posix_*.c hold the tests.
 * posix          on a coppice mount, made here in a child
 * posix DIR      in a directory: the reference, which shows that the tests ask for what file systems do
 * posix DIR X    only tests whose names contain X ("-" for DIR: the mount) */
#include "tests/system/posix_twin.h"

#include <grp.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <cmocka.h>

#include "fs/fuse_mount.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "fs/workspace.h"
#include "tests/lib/seed.h"
#include "tests/lib/tmp.h"
#include "tests/lib/transport.h"

enum { MOUNTS = 3, TEST_SECONDS = 240 };
static const char *const names[MOUNTS] = { "main", "other", "based" };

bool on_coppice;
const char *other_dir;
unsigned failures;
char twin_native[96], twin_based[PATH_MAX], twin_based_native[112];
static char top[64], main_dir[PATH_MAX], other[96];
static int server = -1;
static pid_t server_pid;

/* --- the server: a store and mounted workspaces; the ids of the last one are shifted --- */
struct box { struct workspace *ws; uint32_t uid_base; struct mount *m; char dir[80]; sem_t gone; };

static void on_gone(void *arg, struct mount *m)
{
    sem_post(&((struct box *)arg)->gone);
}

static int box_mount(struct fuse_pool *pool, struct box *b)
{
    int fd, r = mount_new(pool, b->ws, &(struct mount_opts){ .suid = true, .transport = test_transport(), .uid_base = b->uid_base }, on_gone, b, &b->m, &fd);

    if (r)
        return r;
    r = move_mount(fd, "", AT_FDCWD, b->dir, MOVE_MOUNT_F_EMPTY_PATH) ? -errno : 0;
    close(fd);
    return r;
}

static int box_unmount(struct box *b)
{
    if (umount2(b->dir, MNT_DETACH))
        return -errno;
    sem_wait(&b->gone);
    return 0;
}

static int box_open(struct store *s, struct fuse_pool *pool, struct box *b, const char *name)
{
    struct ws_rec rec;
    int r = verb_create(s, &(struct create_args){ .name = name }, &rec);

    snprintf(b->dir, sizeof b->dir, "%s/%s", top, name);
    sem_init(&b->gone, 0, 0);
    if (!r)
        r = workspace_open(s, rec.id, &b->ws);
    if (!r && mkdir(b->dir, 0755))
        r = -errno;
    return r ? r : box_mount(pool, b);
}

/* As a snapshot does: what was written so far lies in a layer below, and is folded meanwhile. */
static int box_freeze(struct box *b)
{
    struct view *v;
    int r = workspace_freeze(b->ws, NULL, &v, NULL);

    if (!r)
        view_unref(v);
    return r;
}

static int serve(int sock)
{
    struct store_options o = store_defaults;
    struct fuse_pool *pool;
    struct store *s;
    static struct box box[MOUNTS] = { [MOUNTS - 1].uid_base = BASE };
    char path[96], what;
    int r;

    snprintf(path, sizeof path, "%s/store", top);
    o.commit_interval_ms = 500;
    r = store_init(path);
    if (!r)
        r = store_open(path, &o, &s);
    if (!r)
        r = fuse_pool_new(0, &pool);
    for (int i = 0; !r && i < MOUNTS; i++)
        r = box_open(s, pool, &box[i], names[i]);
    while (write(sock, &r, sizeof r) == sizeof r && !r && read(sock, &what, 1) == 1) {
        if (what == 's') {
            r = box_freeze(&box[0]);
            continue;
        }
        r = box_unmount(&box[0]);
        if (!r)
            r = box_mount(pool, &box[0]);
    }
    for (int i = 0; !r && i < MOUNTS; i++) {
        r = box_unmount(&box[i]);
        workspace_unref(box[i].ws);
    }
    if (r)
        return 1;
    fuse_pool_free(pool);
    store_close(s);
    return 0;
}

static int start_server(void)
{
    int sv[2], r = -1;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
        return -errno;
    server_pid = fork();
    if (!server_pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(sv[0]);
        exit(serve(sv[1]));
    }
    close(sv[1]);
    server = sv[0];
    return read(server, &r, sizeof r) == sizeof r ? r : -EPIPE;
}

static void ask(const char *what)
{
    int r = -1;

    if (write(server, what, 1) != 1 || read(server, &r, sizeof r) != sizeof r || r)
        failed(__FILE__, __LINE__, "%s: %d", what, r);
}

void remount(void)
{
    char dir[PATH_MAX];

    if (!on_coppice)
        return;
    T(getcwd(dir, sizeof dir));
    OK(chdir("/"));
    ask("mount");
    OK(chdir(dir));
}

void freeze(void)
{
    if (on_coppice)
        ask("state");
}

/* --- checks --- */
void failed(const char *file, int line, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fprintf(stderr, "%s:%d: uid %u: %s\n", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line, geteuid(), text);
    failures++;
}

void skipped(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("# skipped: ");
    vprintf(fmt, ap);
    printf("\n");
    fflush(stdout);
    va_end(ap);
}

struct as as_begin(uid_t uid, gid_t gid, gid_t also)
{
    int st;

    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        failures = 0;
        alarm(TEST_SECONDS);
        if (uid && (setgroups(1, &also) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)))
            failed(__FILE__, __LINE__, "set ids");
        return (struct as){ true };
    }
    OK(pid);
    while (waitpid(pid, &st, 0) < 0 && errno == EINTR) { }
    if (!WIFEXITED(st) || WEXITSTATUS(st) > 1)
        failed(__FILE__, __LINE__, "a child of uid %u died: status %#x", uid, st);
    failures += WIFEXITED(st) ? (unsigned)WEXITSTATUS(st) : 0;
    return (struct as){ false };
}

void as_end(struct as *a)
{
    fflush(NULL);
    _exit(failures ? 1 : 0);
}

/* --- small things --- */
int open_new(const char *name, mode_t mode)
{
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    if (fd < 0)
        failed(__FILE__, __LINE__, "create %s: %s", name, strerror(errno));
    return fd;
}

void put(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    OK(fd);
    SAME(write(fd, text, strlen(text)), strlen(text));
    OK(close(fd));
}

void make(const char *name, char type)
{
    switch (type) {
    case 'f': OK(close(open_new(name, 0644))); break;
    case 'd': OK(mkdir(name, 0755)); break;
    case 'l': OK(symlink("nowhere", name)); break;
    case 'p': OK(mkfifo(name, 0644)); break;
    default: OK(mknod(name, S_IFSOCK | 0644, 0));
    }
}

struct stat stat_of(const char *name)
{
    struct stat st = { 0 };

    if (lstat(name, &st))
        failed(__FILE__, __LINE__, "lstat %s: %s", name, strerror(errno));
    return st;
}

bool there(const char *name)
{
    struct stat st;

    return !lstat(name, &st);
}

void same_content(const char *file, int line, const char *name, const char *text)
{
    char b[256];
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, b, sizeof b);

    if (n != (ssize_t)strlen(text) || memcmp(b, text, strlen(text)))
        failed(file, line, "%s is not \"%s\" but %zd bytes \"%.*s\"", name, text, n, n > 0 ? (int)n : 0, b);
    close(fd);
}

void tick(void)
{
    struct timespec a, b;

    clock_gettime(CLOCK_REALTIME, &a);
    do {                                  /* coarse times later than now are later than any given out by now */
        sched_yield();
        clock_gettime(CLOCK_REALTIME_COARSE, &b);
    } while (!later(b, a));
}

unsigned count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    T(d);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

unsigned long long seed_of(const char *what)
{
    unsigned long long seed = test_seed();

    printf("# %s: COPPICE_SEED=%llu\n", what, seed);
    fflush(stdout);
    return seed;
}

/* --- the run --- */
static void run(void **state)
{
    const struct posix_test *t = *state;
    char dir[PATH_MAX + 128];
    unsigned before = failures;

    snprintf(dir, sizeof dir, "%s/%s", main_dir, t->name);
    assert_int_equal(mkdir(dir, 0777), 0);
    CHILD {
        if (chdir(dir))
            failed(__FILE__, __LINE__, "no directory for the test: %s", strerror(errno));
        else
            t->run();
    }
    tmp_remove(dir);
    if (!access(dir, F_OK))
        failed(__FILE__, __LINE__, "%s could not be removed", dir);
    assert_int_equal(failures - before, 0);
}

static int tear_down(void **state)
{
    int st = 0;

    if (server >= 0) {
        close(server);
        if (waitpid(server_pid, &st, 0) != server_pid || st)
            fprintf(stderr, "the server ended with %#x\n", st);
    } else {
        tmp_remove(main_dir);
    }
    if (other_dir)
        tmp_remove(other);
    if (twin_native[0])
        umount2(twin_native, MNT_DETACH);
    tmp_remove(top);
    return st;
}

/* What posix_twin.c compares with, and where the ids are shifted. */
static int set_up_twin(void)
{
    struct statvfs v;

    snprintf(twin_native, sizeof twin_native, "%s/native", top);
    snprintf(twin_based_native, sizeof twin_based_native, "%s/based", twin_native);
    if (statvfs(main_dir, &v))
        return -errno;
    unsigned long like_it = v.f_flag & (MS_NODEV | MS_NOSUID | MS_NOEXEC);         /* the bits of ST_ are these */
    if (mkdir(twin_native, 0755) || mount("posix", twin_native, "tmpfs", like_it, "mode=0777") || mkdir(twin_based_native, 0755) || chown(twin_based_native, BASE, BASE))
        return -errno;
    if (on_coppice) {
        snprintf(twin_based, sizeof twin_based, "%s/based", top);
        return 0;
    }
    snprintf(twin_based, sizeof twin_based, "%.4000s/based", main_dir);
    return mkdir(twin_based, 0755) || chown(twin_based, BASE, BASE) ? -errno : 0;
}

static int set_up(void **state)
{
    int r;

    /* What is mounted here goes with the last process of the test. */
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || tmp_make("posix", top, sizeof top) || chmod(top, 0755))
        return -1;
    snprintf(other, sizeof other, "%s/other", top);
    if (!on_coppice) {
        if (!mkdtemp(main_dir) || chmod(main_dir, 0755) || mkdir(other, 0755))
            return -1;
        other_dir = other;
        return set_up_twin();
    }
    snprintf(main_dir, sizeof main_dir, "%s/main", top);
    r = start_server();
    if (r)
        fprintf(stderr, "no mount: %s\n", strerror(-r));
    other_dir = other;
    return r ? r : set_up_twin();
}

int main(int argc, char **argv)
{
    static const struct posix_test *const all[] = { posix_open_tests, posix_names_tests, posix_rename_tests, posix_owner_tests, posix_times_tests,
        posix_xattr_tests, posix_acl_tests, posix_size_tests, posix_copy_tests, posix_map_tests, posix_fsx_tests, posix_lock_tests,
        posix_dir_tests, posix_ipc_tests, posix_io_tests, posix_pipe_tests, posix_ofd_tests, posix_priv_tests,
        posix_every_rename_tests, posix_every_right_tests, posix_handle_tests, posix_every_new_tests, posix_every_error_tests, posix_events_tests, posix_many_tests, posix_limits_tests, posix_range_tests, posix_aio_tests, posix_page_tests, posix_pair_tests, posix_huge_tests };
    static struct CMUnitTest list[256];
    size_t n = 0;

    if (geteuid() || access("/dev/fuse", R_OK | W_OK)) {
        printf("skipped: needs root and /dev/fuse\n");
        return 77;
    }
    test_transport();                     /* skips, if need be */
    on_coppice = argc < 2 || !strcmp(argv[1], "-");
    if (!on_coppice)
        snprintf(main_dir, sizeof main_dir, "%s/posix-XXXXXX", argv[1]);
    umask(0);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (const struct posix_test *t = all[i]; t->name && n < sizeof list / sizeof list[0]; t++)
            if (argc < 3 || strstr(t->name, argv[2]))
                list[n++] = (struct CMUnitTest){ .name = t->name, .test_func = run, .initial_state = (void *)t };
    return _cmocka_run_group_tests("posix", list, n, set_up, tear_down);
}
