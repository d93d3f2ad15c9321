/* File operations of the real agent (tests/lib/agent_box.h). `test_agent_files AGENT`. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/entry_stream.h"
#include "base/io.h"
#include "base/wire.h"
#include "sandbox/file_proto.h"
#include "sandbox/frame.h"
#include "tests/lib/agent_box.h"

static struct agent_box box;
static uint32_t last_id;
static uint8_t packet[FRAME_MAX];
static const char *program;

/* One operation as a client sees it. */
struct call { int sock, status; char step[64]; struct file_stat st; };

static struct file_request *request(uint8_t op, uint32_t flags, const char *path)
{
    static struct file_request q;

    memset(&q, 0, sizeof q);
    q.op = op;
    q.flags = flags;
    q.len = UINT64_MAX;
    snprintf(q.path, sizeof q.path, "%s", path);
    return &q;
}

static struct call begin_as(const char *user, const struct file_request *q)
{
    struct call c = { 0 };
    struct buf b = BUF_INIT;
    int pair[2];

    buf_put_str(&b, user);
    file_request_put(&b, q);
    assert_int_equal(buf_err(&b), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(frame_send(box.sock, FRAME_FILE_OP, 0, ++last_id, 0, NULL, 0, b.data, b.len, pair[1]), 0);
    close(pair[1]);
    buf_fini(&b);
    c.sock = pair[0];
    return c;
}

static int head(struct call *c)
{
    static uint8_t body[FILE_HEAD_MAX];
    uint8_t n[4];

    assert_int_equal(io_read_full(c->sock, n, 4), 0);
    assert_true(le32(n) <= FILE_HEAD_MAX);
    assert_int_equal(io_read_full(c->sock, body, le32(n)), 0);
    struct reader r = reader_of(body, le32(n));
    c->status = (int)get_u32(&r);
    get_str(&r, c->step, sizeof c->step);
    if (!c->status)
        file_stat_get(&r, &c->st);
    assert_false(r.bad);
    assert_int_equal(reader_left(&r), 0);
    return c->status;
}

/* The body to its end: 0, or the errno of a broken one. */
static int body(struct call *c, struct buf *out)
{
    for (;;) {
        uint8_t n[4];
        assert_int_equal(io_read_full(c->sock, n, 4), 0);
        if (le32(n) == FILE_BROKEN) {
            assert_int_equal(io_read_full(c->sock, n, 4), 0);
            return (int)le32(n);
        }
        if (!le32(n))
            return 0;
        assert_true(le32(n) <= FILE_CHUNK_MAX);
        assert_int_equal(io_read_full(c->sock, buf_extend(out, le32(n)), le32(n)), 0);
    }
}

static void chunk(struct call *c, const void *p, size_t n)
{
    uint8_t h[4];

    put_le32(h, (uint32_t)n);
    if (io_write_full(c->sock, h, 4) == 0 && n)
        assert_true(io_write_full(c->sock, p, n) <= 0);
}

static int simple_as(const char *user, const struct file_request *q, struct file_stat *ret)
{
    struct call c = begin_as(user, q);
    int r = head(&c);

    if (ret)
        *ret = c.st;
    close(c.sock);
    return r;
}

static int simple(uint8_t op, uint32_t flags, const char *path, const char *path2)
{
    struct file_request *q = request(op, flags, path);

    snprintf(q->path2, sizeof q->path2, "%s", path2 ? path2 : "");
    return simple_as("root", q, NULL);
}

static int put_if(const char *path, uint32_t flags, const char *text, const char *match, struct file_stat *ret)
{
    struct file_request *q = request(FILE_WRITE, flags, path);
    char *extra[] = { (char *)match };

    signal(SIGPIPE, SIG_IGN);
    q->extra = extra;
    q->extra_count = match != NULL;
    struct call c = begin_as("root", q);
    if (*text)
        chunk(&c, text, strlen(text));
    chunk(&c, NULL, 0);
    int r = head(&c);
    close(c.sock);
    if (ret)
        *ret = c.st;
    return r;
}

static int put(const char *path, const char *text)
{
    return put_if(path, 0, text, NULL, NULL);
}

static int get_as(const char *user, const char *path, struct buf *out)
{
    struct call c = begin_as(user, request(FILE_READ, 0, path));
    int r = head(&c);

    if (!r)
        r = body(&c, out);
    close(c.sock);
    return r;
}

static void assert_content(const char *path, const char *text)
{
    struct buf b = BUF_INIT;

    assert_int_equal(get_as("root", path, &b), 0);
    assert_int_equal(b.len, strlen(text));
    assert_memory_equal(b.len ? b.data : (const uint8_t *)"", text, b.len);
    buf_fini(&b);
}

/* A command in the sandbox; its exit code. */
static int sh(const char *text)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)text, NULL }, *env[] = { (char *)"PATH=/usr/bin:/bin", NULL };
    struct exec_spec s = { .user = (char *)"root", .cwd = (char *)"/tmp", .argv = argv, .env = env };
    struct buf b = BUF_INIT;
    struct frame f;

    exec_spec_put(&b, &s);
    assert_int_equal(frame_send(box.sock, FRAME_EXEC, 0, ++last_id, 0, NULL, 0, b.data, b.len, -1), 0);
    buf_fini(&b);
    for (;;) {
        assert_int_equal(frame_recv(box.sock, packet, &f), 1);
        assert_int_not_equal(f.type, FRAME_FAILED);
        if (f.type == FRAME_EXITED && f.id == last_id)
            return (int)le32(f.body);
    }
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct file_stat st;
    struct file_request *q;

    assert_int_equal(put("/tmp/a", "hello\n"), 0);
    assert_content("/tmp/a", "hello\n");
    assert_int_equal(put("/tmp/a", ""), 0);
    assert_content("/tmp/a", "");
    assert_int_equal(put("/tmp/x/y/z", "deep"), -ENOENT);
    assert_int_equal(put_if("/tmp/x/y/z", FILE_PARENTS, "deep", NULL, NULL), 0);
    assert_content("/tmp/x/y/z", "deep");
    assert_int_equal(put_if("/tmp/x/y/z", FILE_APPEND, "er", NULL, NULL), 0);
    assert_content("/tmp/x/y/z", "deeper");
    assert_int_equal(put_if("/tmp/x/y/z", FILE_EXCL, "no", NULL, NULL), -EEXIST);
    q = request(FILE_READ, FILE_ADDRESS, "/tmp/x/y/z");
    q->off = 2;
    q->len = 3;
    struct call c = begin_as("root", q);
    assert_int_equal(head(&c), 0);
    assert_int_equal(c.st.size, 6);
    assert_int_equal(strlen(c.st.address), 32);
    assert_int_equal(body(&c, &b), 0);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.data, "epe", 3);
    close(c.sock);
    assert_int_equal(sh("chmod 4751 /tmp/a && setfattr -n user.k -v v /tmp/a || chmod 4751 /tmp/a"), 0);
    assert_int_equal(put("/tmp/a", "new"), 0);
    assert_int_equal(simple_as("root", request(FILE_STAT, 0, "/tmp/a"), &st), 0);
    assert_int_equal(st.mode, S_IFREG | 0751);
    buf_fini(&b);
}

static void a_broken_upload_leaves_the_old_file(void **state)
{
    (void)state;
    assert_int_equal(put("/tmp/b", "old"), 0);
    for (int how = 0; how < 2; how++) {
        struct call c = begin_as("root", request(FILE_WRITE, 0, "/tmp/b"));
        chunk(&c, "new", 3);
        if (how) {
            uint8_t broken[8] = { 0xff, 0xff, 0xff, 0xff };
            assert_int_equal(io_write_full(c.sock, broken, 8), 0);
            assert_int_equal(head(&c), -ECONNABORTED);
        }
        close(c.sock);
    }
    assert_content("/tmp/b", "old");
    for (int tries = 0; tries < 100 && sh("! ls -a /tmp | grep -q '^.coppice-'"); tries++)
        ;
    assert_int_equal(sh("! ls -a /tmp | grep -q '^.coppice-'"), 0);
}

static void of_racing_writers_with_one_address_one_wins(void **state)
{
    (void)state;
    struct file_stat st;
    char match[FILE_ADDRESS_MAX], *extra[] = { match };

    assert_int_equal(put_if("/tmp/cas", FILE_ADDRESS, "0", NULL, &st), 0);
    assert_int_equal(put_if("/tmp/cas", FILE_ADDRESS, "1", "00000000000000000000000000000000", NULL), -ESTALE);
    assert_int_equal(put_if("/tmp/none", 0, "1", "*", NULL), -ESTALE);
    assert_int_equal(put_if("/tmp/cas", FILE_ADDRESS, "0", "*", &st), 0);
    for (int round = 0; round < 20; round++) {
        enum { WRITERS = 8 };
        struct call c[WRITERS];
        int won = 0, lost = 0;
        strcpy(match, st.address);
        for (int i = 0; i < WRITERS; i++) {
            struct file_request *q = request(FILE_WRITE, FILE_ADDRESS, "/tmp/cas");
            char text[32];
            q->extra = extra;
            q->extra_count = 1;
            c[i] = begin_as("root", q);
            snprintf(text, sizeof text, "%d of %d", i, round);
            chunk(&c[i], text, strlen(text));
        }
        for (int i = 0; i < WRITERS; i++)
            chunk(&c[i], NULL, 0);
        for (int i = 0; i < WRITERS; i++) {
            int r = head(&c[i]);
            if (!r)
                st = c[i].st;
            won += r == 0;
            lost += r == -ESTALE;
            close(c[i].sock);
        }
        assert_int_equal(won, 1);
        assert_int_equal(lost, WRITERS - 1);
    }
    struct call c[16];
    assert_int_equal(put("/tmp/app", ""), 0);
    for (int i = 0; i < 16; i++) {
        c[i] = begin_as("root", request(FILE_WRITE, FILE_APPEND, "/tmp/app"));
        chunk(&c[i], "0123456789", 10);
        chunk(&c[i], NULL, 0);
    }
    for (int i = 0; i < 16; i++) {
        assert_int_equal(head(&c[i]), 0);
        close(c[i].sock);
    }
    assert_int_equal(simple_as("root", request(FILE_STAT, 0, "/tmp/app"), &st), 0);
    assert_int_equal(st.size, 160);
}

static void names_that_are_none_are_refused(void **state)
{
    (void)state;
    assert_int_equal(sh("mkdir -p /tmp/n/d && echo in >/tmp/n/f && ln -s f /tmp/n/l && ln -s loop /tmp/n/loop && ln -s /tmp/n/new /tmp/n/dangling && ln -s /etc/passwd /tmp/n/out; "
        "mkfifo /tmp/n/fifo; perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0);bind(S,sockaddr_un(\"/tmp/n/sock\"))'"), 0);
    struct { uint8_t op; const char *path; int err; } table[] = {
        { FILE_STAT, "", -ENOENT }, { FILE_STAT, "/tmp/n/../n/f", 0 }, { FILE_STAT, "/../../../tmp/n/f", 0 }, { FILE_STAT, "//tmp///n//f", 0 }, { FILE_STAT, "/tmp/n/f/", -ENOTDIR },
        { FILE_READ, "/tmp/n/l", 0 }, { FILE_READ, "/tmp/n/loop", -ELOOP }, { FILE_READ, "/tmp/n/dangling", -ENOENT }, { FILE_READ, "/tmp/n/d", -EISDIR },
        { FILE_READ, "/tmp/n/fifo", -EINVAL }, { FILE_READ, "/tmp/n/sock", -EINVAL }, { FILE_READ, "/dev/null", -EINVAL }, { FILE_READ, "/dev/tty", -EINVAL },
        { FILE_WRITE, "/tmp/n/fifo", -EINVAL }, { FILE_WRITE, "/dev/null", -EINVAL }, { FILE_WRITE, "/tmp/n/d", -EISDIR }, { FILE_WRITE, "/", -EISDIR }, { FILE_WRITE, "/tmp/n/..", -EISDIR },
        { FILE_READ, "/proc/self/environ", -ENOENT }, { FILE_READ, "/proc/1/root/etc/passwd", -ENOENT }, { FILE_READ, "/proc/self/fd/3", -ENOENT }, { FILE_STAT, "/proc", -ENOENT },
        { FILE_LIST, "/proc/self/fd", -ENOENT }, { FILE_WRITE, "/proc/self/oom_score_adj", -ENOENT }, { FILE_LIST, "/tmp/n/f", -ENOTDIR }, { FILE_LIST, "/dev/fd/", -ENOENT },
        { FILE_REMOVE, "/", -EINVAL }, { FILE_REMOVE, "/tmp/n/..", -EINVAL }, { FILE_REMOVE, "/tmp/n/d/.", -EINVAL }, { FILE_MKDIR, "/tmp/n/f", -EEXIST }, { FILE_MKDIR, "/", -EEXIST },
        { FILE_STAT, "/tmp/%2e%2e/etc", -ENOENT }, { FILE_STAT, "/tmp/n\\f", -ENOENT },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct file_request *q = request(table[i].op, 0, table[i].path);
        struct call c = begin_as("root", q);
        if (table[i].op == FILE_WRITE)
            chunk(&c, NULL, 0);
        int r = head(&c);
        if (r != table[i].err)
            print_message("%d %s: %s (%s)\n", table[i].op, table[i].path, strerror(-r), c.step);
        assert_int_equal(r, table[i].err);
        close(c.sock);
    }
    assert_int_equal(put("/tmp/n/dangling", "made"), 0);     /* through the symlink, as open() does */
    assert_content("/tmp/n/new", "made");
    assert_int_equal(put("/tmp/n/l", "through"), 0);
    assert_content("/tmp/n/f", "through");
    assert_int_equal(sh("test -L /tmp/n/l"), 0);
}

static void the_users_rights_decide(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;

    assert_int_equal(sh("umask 077; echo secret >/tmp/secret; mkdir /tmp/closed; umask 0; mkdir -m 777 /tmp/open; echo fixed >/tmp/open/fixed; chmod 644 /tmp/open/fixed"), 0);
    assert_int_equal(get_as("user", "/tmp/secret", &b), -EACCES);
    struct call c = begin_as("user", request(FILE_WRITE, 0, "/tmp/open/fixed"));
    chunk(&c, NULL, 0);
    assert_int_equal(head(&c), -EACCES);     /* the directory would let it, the file does not */
    close(c.sock);
    assert_int_equal(simple_as("user", request(FILE_MKDIR, 0, "/tmp/closed/x"), NULL), -EACCES);
    assert_int_equal(simple_as("user", request(FILE_REMOVE, FILE_RECURSIVE, "/tmp/secret"), NULL), -EPERM);     /* sticky */
    assert_int_equal(simple_as("nobody-here", request(FILE_STAT, 0, "/"), NULL), -ENOENT);
    assert_int_equal(simple_as("65533", request(FILE_STAT, 0, "/"), NULL), -EINVAL);
    struct file_request *q = request(FILE_MKDIR, 0, "/tmp/open/mine");
    q->mode = 07777;
    struct file_stat st;
    assert_int_equal(simple_as("1000:5", q, &st), 0);
    assert_int_equal(st.uid, 1000);
    assert_int_equal(st.gid, 5);
    assert_int_equal(st.mode & 06000, 0);
    buf_fini(&b);
}

static void names_of_any_bytes_come_back(void **state)
{
    (void)state;
    char path[300], name[256];
    struct buf b = BUF_INIT;
    unsigned seen = 0;

    assert_int_equal(simple(FILE_MKDIR, 0, "/tmp/bytes", NULL), 0);
    for (int i = 1; i < 256; i++) {
        if (i == '/')
            continue;
        snprintf(path, sizeof path, "/tmp/bytes/n%c", i);
        assert_int_equal(put(path, "x"), 0);
    }
    memset(name, 'x', 255);
    name[255] = 0;
    snprintf(path, sizeof path, "/tmp/bytes/%s", name);
    assert_int_equal(put(path, "x"), 0);
    struct call c = begin_as("root", request(FILE_LIST, 0, "/tmp/bytes"));
    assert_int_equal(head(&c), 0);
    assert_int_equal(body(&c, &b), 0);
    close(c.sock);
    struct reader r = reader_of(b.data, b.len);
    char last[256] = "", entry[256], target[256];
    while (reader_left(&r)) {
        struct file_stat st;
        get_str(&r, entry, sizeof entry);
        file_stat_get(&r, &st);
        get_str(&r, target, sizeof target);
        assert_false(r.bad);
        assert_true(strcmp(last, entry) < 0);
        strcpy(last, entry);
        seen++;
    }
    assert_int_equal(seen, 255);
    assert_int_equal(simple(FILE_REMOVE, 0, "/tmp/bytes", NULL), -ENOTEMPTY);
    assert_int_equal(simple(FILE_REMOVE, FILE_RECURSIVE, "/tmp/bytes", NULL), 0);
    buf_fini(&b);
}

static void a_list_has_its_depth(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    const char *want[] = { "a", "a/b", "a/b/c", "f", "l" };

    assert_int_equal(sh("mkdir -p /tmp/list/a/b/c/d && echo 123 >/tmp/list/f && ln -s a /tmp/list/l"), 0);
    struct file_request *q = request(FILE_LIST, 0, "/tmp/list");
    q->depth = 3;
    struct call c = begin_as("root", q);
    assert_int_equal(head(&c), 0);
    assert_int_equal(body(&c, &b), 0);
    close(c.sock);
    struct reader r = reader_of(b.data, b.len);
    for (size_t i = 0; i < 5; i++) {
        char entry[256], target[256];
        struct file_stat st;
        get_str(&r, entry, sizeof entry);
        file_stat_get(&r, &st);
        get_str(&r, target, sizeof target);
        assert_string_equal(entry, want[i]);
        assert_string_equal(target, i == 4 ? "a" : "");
        assert_true(i != 3 || st.size == 4);
    }
    assert_int_equal(reader_left(&r), 0);
    buf_fini(&b);
}

static void move_and_copy_do_what_mv_and_cp_do(void **state)
{
    (void)state;
    assert_int_equal(sh("mkdir -p /tmp/m/src/sub && echo one >/tmp/m/src/one && ln -s one /tmp/m/src/link && mkfifo /tmp/m/src/sub/fifo && chmod 640 /tmp/m/src/one && "
        "truncate -s 5M /tmp/m/src/sparse && touch -d 2001-02-03T04:05:06.789 /tmp/m/src/one /tmp/m/src/sub /tmp/m/src && chmod 500 /tmp/m/src/sub"), 0);
    assert_int_equal(simple(FILE_COPY, 0, "/tmp/m/src", "/tmp/m/dst"), -EISDIR);
    assert_int_equal(simple(FILE_COPY, FILE_RECURSIVE, "/tmp/m/src", "/tmp/m/dst"), 0);
    assert_int_equal(sh("cd /tmp/m; t() { (cd $1; find . -printf '%P %y %m %s %T@ %l\\n' | sort); }; t src >a; t dst >b; diff a b >&2 && cmp src/sparse dst/sparse"), 0);
    assert_int_equal(simple(FILE_COPY, FILE_RECURSIVE, "/tmp/m/src", "/tmp/m/dst"), -EEXIST);
    assert_int_equal(simple(FILE_COPY, FILE_RECURSIVE | FILE_REPLACE, "/tmp/m/src", "/tmp/m/dst"), -EACCES);      /* as rm would be: no right overrides a mode */
    assert_int_equal(sh("chmod 700 /tmp/m/dst/sub"), 0);
    assert_int_equal(simple(FILE_COPY, FILE_RECURSIVE | FILE_REPLACE, "/tmp/m/src", "/tmp/m/dst"), 0);
    assert_int_equal(simple(FILE_COPY, FILE_RECURSIVE, "/tmp/m", "/tmp/m/inside"), 0);          /* into itself: once */
    assert_int_equal(sh("test -e /tmp/m/inside/src/one && test ! -e /tmp/m/inside/inside"), 0);
    assert_int_equal(simple(FILE_MOVE, 0, "/tmp/m/src/one", "/tmp/m/dst/one"), -EEXIST);
    assert_int_equal(simple(FILE_MOVE, FILE_REPLACE, "/tmp/m/src/one", "/tmp/m/dst/one"), 0);
    assert_int_equal(simple(FILE_MOVE, 0, "/tmp/m/src/link", "/tmp/m/p/q"), -ENOENT);
    assert_int_equal(simple(FILE_MOVE, FILE_PARENTS, "/tmp/m/src/link", "/tmp/m/p/q"), 0);
    assert_int_equal(simple(FILE_MOVE, 0, "/tmp/m", "/tmp/m/p/x"), -EINVAL);
    assert_int_equal(simple(FILE_COPY, 0, "/tmp/m/dst/one", "/tmp/m/dst/one"), -EINVAL);
    struct file_request *q = request(FILE_CHMOD, 0, "/tmp/m/dst/one");
    struct file_stat st;
    q->mode = 07711;
    assert_int_equal(simple_as("root", q, &st), 0);
    assert_int_equal(st.mode, S_IFREG | 01711);
}

static void trees_of_any_shape_are_removed(void **state)
{
    (void)state;
    assert_int_equal(sh("mkdir /tmp/deep && perl -e 'chdir \"/tmp/deep\"; for (1..2000) { mkdir \"d\" or die; chdir \"d\" or die; }' && mkdir /tmp/wide && "
        "perl -e 'for (1..50000) { open(F, \">\", \"/tmp/wide/$_\") or die }' && mkdir /tmp/wide/sub && ln -s /etc /tmp/wide/etc"), 0);
    assert_int_equal(simple(FILE_REMOVE, FILE_RECURSIVE, "/tmp/deep", NULL), 0);
    assert_int_equal(simple(FILE_REMOVE, FILE_RECURSIVE, "/tmp/wide", NULL), 0);
    assert_int_equal(sh("test ! -e /tmp/deep && test ! -e /tmp/wide && test -d /etc"), 0);
    assert_int_equal(simple(FILE_REMOVE, FILE_RECURSIVE, "/tmp/deep", NULL), -ENOENT);
}

/* TREE_OUT into out; 0 or its error. */
static int tree_out(const char *path, char **excludes, unsigned count, struct buf *out)
{
    struct file_request *q = request(FILE_TREE_OUT, 0, path);

    q->extra = excludes;
    q->extra_count = count;
    struct call c = begin_as("root", q);
    int r = head(&c);
    if (!r)
        r = body(&c, out);
    close(c.sock);
    return r;
}

static int tree_in(const char *path, uint32_t flags, const void *p, size_t n, bool end)
{
    struct call c = begin_as("root", request(FILE_TREE_IN, flags, path));

    for (size_t at = 0; at < n;) {           /* in odd pieces: frames do not end with chunks */
        size_t k = n - at < 100003 ? n - at : 100003;
        chunk(&c, (const uint8_t *)p + at, k);
        at += k;
    }
    if (end)
        chunk(&c, NULL, 0);
    else
        shutdown(c.sock, SHUT_WR);
    int r = head(&c);
    close(c.sock);
    return r;
}

static void a_tree_goes_out_and_in_again(void **state)
{
    (void)state;
    struct buf a = BUF_INIT, b = BUF_INIT, part = BUF_INIT;
    char *excludes[] = { (char *)"*.o", (char *)"sub/keep" };

    assert_int_equal(sh("mkdir -p /tmp/t/sub/keep /tmp/t/ro && cd /tmp/t && seq 1 200000 >big && echo x >sub/x.o && ln big hard && ln -s ../big sub/link && mkfifo fifo && "
        "truncate -s 20M hole && echo end | dd of=hole bs=1 seek=20000000 conv=notrunc 2>/dev/null && echo ro >ro/f && chmod 751 big && touch -d 2002-03-04 big ro && chmod 555 ro"), 0);
    assert_int_equal(tree_out("/tmp/t", NULL, 0, &a), 0);
    assert_true(a.len < 3 << 20);            /* holes are not sent */
    assert_int_equal(tree_in("/tmp/t2", FILE_PARENTS, a.data, a.len, true), 0);
    assert_int_equal(sh("cd /tmp; t() { (cd $1; find . -printf '%P %y %m %T@ %l %n\\n' | sort); }; t t >a; t t2 >b; cmp a b && cmp t/big t2/big && cmp t/hole t2/hole"), 0);
    assert_int_equal(tree_out("/tmp/t2", NULL, 0, &b), 0);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    assert_int_equal(tree_in("/tmp/t2", 0, a.data, a.len, true), -EACCES);
    assert_int_equal(sh("chmod 755 /tmp/t2/ro"), 0);
    assert_int_equal(tree_in("/tmp/t2", 0, a.data, a.len, true), 0);      /* once more, over itself */
    assert_int_equal(tree_out("/tmp/t", excludes, 2, &part), 0);
    assert_int_equal(tree_in("/tmp/t3", FILE_PARENTS, part.data, part.len, true), 0);
    assert_int_equal(sh("test -e /tmp/t3/big -a ! -e /tmp/t3/sub/x.o -a ! -e /tmp/t3/sub/keep -a -L /tmp/t3/sub/link"), 0);
    assert_int_equal(tree_in("/tmp/t4", FILE_PARENTS, a.data, a.len - 13, true), -EBADMSG);       /* without its END */
    assert_int_equal(tree_in("/tmp/t4", FILE_PARENTS, a.data, a.len / 2, false), -ECONNABORTED);
    buf_fini(&a);
    buf_fini(&b);
    buf_fini(&part);
}

static void put_entry(struct buf *b, const char *path, uint32_t mode, const char *target, uint64_t size)
{
    struct entry e = { .path = path, .mode = mode, .target = target, .size = size };

    entry_put(b, &e);
}

static int hostile(void (*make)(struct buf *b))
{
    struct buf b = BUF_INIT;

    make(&b);
    int r = tree_in("/tmp/h", FILE_PARENTS, b.data, b.len, true);
    buf_fini(&b);
    return r;
}

static void through_link(struct buf *b) { put_entry(b, "l", S_IFLNK | 0777, "/tmp/outside", 0); put_entry(b, "l/x", S_IFREG | 0644, NULL, 0); import_put_end(b, 2); }
static void dots(struct buf *b) { put_entry(b, "../x", S_IFREG | 0644, NULL, 0); import_put_end(b, 1); }
static void absolute(struct buf *b) { put_entry(b, "/x", S_IFREG | 0644, NULL, 0); import_put_end(b, 1); }
static void device(struct buf *b) { put_entry(b, "null", S_IFCHR | 0666, NULL, 0); import_put_end(b, 1); }
static void link_out(struct buf *b) { import_put_link(b, "x", "../outside/f"); import_put_end(b, 1); }
static void link_by_link(struct buf *b) { put_entry(b, "l2", S_IFLNK | 0777, "/tmp/outside", 0); import_put_link(b, "y", "l2/f"); import_put_end(b, 2); }
static void too_much(struct buf *b) { put_entry(b, "f", S_IFREG | 0644, NULL, 3); import_put_data(b, 1, "1234", 4); import_put_end(b, 1); }
static void no_file(struct buf *b) { put_entry(b, "d", S_IFDIR | 0755, NULL, 0); import_put_data(b, 0, "1", 1); import_put_end(b, 1); }
static void miscounted(struct buf *b) { put_entry(b, "d", S_IFDIR | 0755, NULL, 0); import_put_end(b, 2); }
static void set_ids(struct buf *b)
{
    put_entry(b, "suid", S_IFREG | 06755, NULL, 0);
    import_put_xattr(b, "security.capability", "xxxxxxxxxxxxxxxxxxxx", 20);
    import_put_xattr(b, "trusted.x", "y", 1);
    put_entry(b, "sdir", S_IFDIR | 07777, NULL, 0);
    import_put_end(b, 2);
}

static void hostile_trees_stay_inside(void **state)
{
    (void)state;
    struct { void (*make)(struct buf *b); int err; } table[] = { { through_link, -ENOTDIR }, { dots, -EBADMSG }, { absolute, -EBADMSG }, { device, -EPERM }, { link_out, -EBADMSG },
        { link_by_link, -ENOTDIR }, { too_much, -EBADMSG }, { no_file, -EBADMSG }, { miscounted, -EBADMSG }, { set_ids, 0 } };

    assert_int_equal(sh("mkdir /tmp/outside && echo f >/tmp/outside/f"), 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int r = hostile(table[i].make);
        if (r != table[i].err && !(table[i].err == -ENOTDIR && r == -ELOOP))
            print_message("%zu: %s\n", i, strerror(-r));
        assert_true(r == table[i].err || (table[i].err == -ENOTDIR && r == -ELOOP));
    }
    assert_int_equal(sh("test $(ls /tmp/outside | wc -l) = 1 && test $(stat -c %h /tmp/outside/f) = 1 && test ! -u /tmp/h/suid && test ! -g /tmp/h/suid && test ! -g /tmp/h/sdir"), 0);
}

static void many_at_once_wait_for_their_turn(void **state)
{
    (void)state;
    enum { MANY = 200 };
    static struct call c[MANY];

    for (int i = 0; i < MANY; i++) {
        char path[64];
        snprintf(path, sizeof path, "/tmp/many-%d", i);
        c[i] = begin_as("root", request(FILE_WRITE, 0, path));
    }
    for (int i = 0; i < MANY; i++) {         /* the last ones first cannot be: they have no worker yet */
        chunk(&c[i], "x", 1);
        chunk(&c[i], NULL, 0);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(head(&c[i]), 0);
        close(c[i].sock);
    }
    for (int i = 0; i < WORKERS_MAX + WORKERS_QUEUED_MAX + 1; i++) {
        if (i < MANY)
            c[i] = begin_as("root", request(FILE_WRITE, 0, "/tmp/w"));
        else
            close(begin_as("root", request(FILE_WRITE, 0, "/tmp/w")).sock);
    }
    struct frame f;
    assert_int_equal(frame_recv(box.sock, packet, &f), 1);
    assert_int_equal(f.type, FRAME_FAILED);
    assert_int_equal((int)le32(f.body), -EAGAIN);
    for (int i = 0; i < MANY; i++)
        close(c[i].sock);
    assert_int_equal(put("/tmp/after", "x"), 0);
}

static int open_box(void **state)
{
    (void)state;
    const char *why = agent_box_start(&box, program, AGENT_BOX_PIDS);

    if (!why)
        return 0;
    fprintf(stderr, "no agent: %s\n", why);
    return -1;
}

static int close_box(void **state)
{
    (void)state;
    return agent_box_stop(&box) != 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read), cmocka_unit_test(a_broken_upload_leaves_the_old_file), cmocka_unit_test(of_racing_writers_with_one_address_one_wins),
        cmocka_unit_test(names_that_are_none_are_refused), cmocka_unit_test(the_users_rights_decide), cmocka_unit_test(names_of_any_bytes_come_back),
        cmocka_unit_test(a_list_has_its_depth), cmocka_unit_test(move_and_copy_do_what_mv_and_cp_do), cmocka_unit_test(trees_of_any_shape_are_removed),
        cmocka_unit_test(a_tree_goes_out_and_in_again), cmocka_unit_test(hostile_trees_stay_inside), cmocka_unit_test(many_at_once_wait_for_their_turn),
    };

    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    program = agent_box_program(argc, argv);
    return cmocka_run_group_tests_name("agent_files", tests, open_box, close_box);
}
