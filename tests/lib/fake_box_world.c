#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/lib/fake_box_world.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib-unix.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "sandbox/confine/confine.h"
#include "sandbox/frame.h"
#include "sandbox/launch_client.h"
#include "sandbox/stock.h"
#include "snapshotd/snap_proto.h"

/* A mount is a directory descriptor; when the last copy of it that the box holds is closed cannot be seen, so its end is what the box says to wait_gone. */
static struct { int control, agent, agent_copy, store; guint source, agent_source; char dir[256]; } f = { -1, -1, -1, -1, 0, 0, "" };

static bool step_fails(struct world *w)
{
    return ++w->steps == w->fail_at;
}

/* --- snapshotd --- */

static json_t *record(struct world *w)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:{},s:b}", "object", "workspace", "id", "ws-aaaaaaaaaa", "name", "box", "kind", w->bare ? "bare" : "root", "template", "host",
                     "quota_bytes", (json_int_t)0, "labels", "importing", 0);
}

/* A bit for the workspace's mount, another for its throw-away root's. */
#define ROOT_ID "ws-rootrootro"
static int mount_of(const char *object)
{
    return !strcmp(object, ROOT_ID) || !strncmp(object, "root-of-", 8) ? 2 : 1;
}

static json_t *answer_to(struct world *w, const json_t *req, const char *verb)
{
    const char *object = json_string_value(json_object_get(req, "object"));

    if (!strcmp(verb, "show"))
        return record(w);
    if (!strcmp(verb, "snapshot")) {
        w->snapshots++;
        return json_pack("{s:s}", "id", "snap-aaaaaaaaaa");
    }
    if (!strcmp(verb, "create")) {
        w->roots++;
        return json_pack("{s:s,s:O,s:s}", "id", ROOT_ID, "name", json_object_get(req, "name"), "kind", "root");
    }
    if (!strcmp(verb, "mounts") && !object) {
        struct stat st;
        assert_int_equal(stat(f.dir, &st), 0);
        return w->served ? json_pack("{s:[{s:i,s:I}]}", "mounts", "mount", 7, "dev", (json_int_t)st.st_dev) : json_pack("{s:[]}", "mounts");
    }
    if (!strcmp(verb, "mounts")) {
        int id = mount_of(object);
        return w->mounts & id ? json_pack("{s:[{s:i,s:s}]}", "mounts", "mount", id, "object", object) : json_pack("{s:[]}", "mounts");
    }
    if (!strcmp(verb, "wait_gone"))
        w->mounts &= ~(int)json_integer_value(json_object_get(req, "mount"));
    return json_object();
}

/* Errors of rm: the throw-away root of which none exists. */
static bool is_missing(struct world *w, const json_t *req, const char *verb)
{
    const char *name = json_string_value(json_array_get(json_object_get(req, "objects"), 0));
    if (strcmp(verb, "rm") || !name || strncmp(name, "root-of-", 8))
        return false;
    if (!w->roots)
        return true;
    w->roots--;
    return false;
}

/* Is this request one after which, or before which, the connection ends? */
static bool is_cut(struct world *w, bool before)
{
    if (w->cut_before != before || w->cuts <= 0)
        return false;
    w->cuts--;
    return true;
}

static void serve(struct world *w, int sock)
{
    int fds[SNAP_FDS_MAX];
    unsigned n;
    json_t *req, *a;

    while (!snap_recv(sock, &req, fds, &n)) {
        const char *verb = json_string_value(json_object_get(req, "verb"));
        bool teardown = !strcmp(verb, "mounts") || !strcmp(verb, "wait_gone") || !strcmp(verb, "rm");
        bool fails = !teardown && step_fails(w);
        while (n)
            close(fds[--n]);
        if (is_cut(w, true)) {
            json_decref(req);
            break;
        }
        w->asked++;
        if (fails || is_missing(w, req, verb)) {
            a = json_pack("{s:{s:s,s:s}}", "error", "code", fails ? "io_error" : "not_found", "message", "made to fail");
        } else if (!strcmp(verb, "mount")) {
            json_t *word = NULL, *part = json_pack("{s:{s:i}}", "mount", "mount", 7);
            int fd = open(f.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
            snap_send(sock, part, &fd, 1);
            close(fd);
            json_decref(part);
            if (!snap_recv(sock, &word, fds, &n))
                json_decref(word);
            w->mounts |= mount_of(json_string_value(json_object_get(req, "object")));
            a = json_pack("{s:{s:i}}", "ok", "mount", 7);
        } else {
            a = json_pack("{s:o}", "ok", answer_to(w, req, verb));
        }
        bool cut = is_cut(w, false);
        if (!cut)
            snap_send(sock, a, NULL, 0);
        json_decref(a);
        json_decref(req);
        if (cut)
            break;
    }
    close(sock);
}

struct server { struct world *w; int sock; };

static gpointer server_main(gpointer arg)
{
    struct server s = *(struct server *)arg;
    g_free(arg);
    serve(s.w, s.sock);
    return NULL;
}

static int connect_store(void *arg)
{
    struct server *s = g_new(struct server, 1);
    int p[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p))
        return -errno;
    *s = (struct server){ arg, p[1] };
    g_thread_unref(g_thread_new("fake-snapshotd", server_main, s));
    return p[0];
}

/* The keeper's: nothing is ever said on it. */
static int connect_keeper(void)
{
    int p[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
    close_p(&f.store);
    f.store = p[1];
    return p[0];
}

void world_store_dies(struct world *w)
{
    (void)w;
    close_p(&f.store);
    f.store = -1;
}

/* --- agents --- */

static gboolean agent_readable(gint fd, GIOCondition cond, gpointer arg)
{
    static uint8_t b[FRAME_MAX];
    struct world *w = arg;
    struct frame r;
    struct buf body = BUF_INIT;

    if (frame_recv(fd, b, &r) != 1) {
        f.agent_source = 0;
        return G_SOURCE_REMOVE;
    }
    if (r.type == FRAME_SHUTDOWN) {
        w->shutdowns++;
        f.agent_source = 0;
        world_agent_dies(w, true, 0);
        return G_SOURCE_REMOVE;
    }
    if (r.type != FRAME_HELLO && w->on_frame)
        w->on_frame(w, fd, &r);
    if (r.type != FRAME_HELLO || w->agent_silent)
        return G_SOURCE_CONTINUE;
    if (w->agent_fatal) {
        buf_put_u32(&body, (uint32_t)-EPERM);
        buf_put_str(&body, "seccomp");
        frame_send(fd, FRAME_FATAL, 0, 0, 0, NULL, 0, body.data, body.len, -1);
    } else {
        buf_put_u64(&body, 1);
        buf_put_u64(&body, w->layers);
        frame_send(fd, FRAME_WELCOME, 0, 0, FRAME_VERSION, NULL, 0, body.data, body.len, -1);
        frame_send(fd, FRAME_SYNCED, 0, 0, 0, NULL, 0, NULL, 0, -1);
    }
    buf_fini(&body);
    return G_SOURCE_CONTINUE;
}

static void agent_end(void)
{
    if (f.agent_source)
        g_source_remove(f.agent_source);
    f.agent_source = 0;
    close_p(&f.agent);
    f.agent = -1;
}

/* --- the launcher --- */

static void tell(const struct launch_packet *p, int fd)
{
    union { struct cmsghdr h; char b[CMSG_SPACE(sizeof(int))]; } u = { 0 };
    struct iovec iov = { (void *)(uintptr_t)p, sizeof(*p) };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        m.msg_control = u.b;
        m.msg_controllen = sizeof(u.b);
        u.h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(&u.h), &fd, sizeof(int));
    }
    assert_int_equal(sendmsg(f.control, &m, MSG_NOSIGNAL), sizeof(*p));
}

void world_agent_dies(struct world *w, bool event, uint64_t oom_kills)
{
    struct launch_packet p = { .op = LAUNCH_GONE };

    agent_end();
    if (!event)
        return;
    w->boxes--;
    p.value[1] = oom_kills;
    p.value[2] = 1500000;
    g_strlcpy(p.box, w->last_box, sizeof(p.box));
    tell(&p, -1);
}

static void start(struct world *w, const struct launch_packet *q, struct launch_packet *a)
{
    int p[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p), 0);
    agent_end();
    f.agent = p[1];
    f.agent_source = g_unix_fd_add(p[1], G_IO_IN | G_IO_HUP, agent_readable, w);
    w->husks--;
    w->boxes++;
    w->starts++;
    w->limits = q->limits;
    g_strlcpy(w->last_box, q->box, sizeof(w->last_box));
    a->value[0] = 4711;
    tell(a, p[0]);
    close(p[0]);
}

static void handle(struct world *w, const struct launch_packet *q)
{
    struct launch_packet a = { .op = LAUNCH_OK, .tag = q->tag };
    int fd = -1;

    if ((q->op == LAUNCH_PREPARE || q->op == LAUNCH_START || q->op == LAUNCH_FREEZE || q->op == LAUNCH_THAW) && step_fails(w)) {
        if (q->op == LAUNCH_START)
            w->husks--;                   /* "Nothing is left of what was begun" */
        a = (struct launch_packet){ .op = LAUNCH_FAILED, .tag = q->tag, .err = -EIO, .text = "made to fail" };
        tell(&a, -1);
        return;
    }
    switch (q->op) {
    case LAUNCH_STORE: fd = connect_keeper(); break;
    case LAUNCH_PREPARE: w->husks++; a.slot = 3; a.value[0] = 0x40000000; break;
    case LAUNCH_ABANDON: w->husks--; break;
    case LAUNCH_START: start(w, q, &a); return;
    case LAUNCH_FREEZE: w->freezes++; break;
    case LAUNCH_THAW: w->thaws++; break;
    case LAUNCH_LIMITS: w->limits = q->limits; break;
    case LAUNCH_HELLO: a.value[0] = LAUNCH_VERSION; a.value[1] = LAYERS_NEEDED; break;
    case LAUNCH_USAGE: a.value[USAGE_CPU_US] = 1000; a.value[USAGE_PIDS] = 1; break;
    case LAUNCH_KILL:
        w->kills++;
        if (w->kill_fails > 0) {
            w->kill_fails--;
            a = (struct launch_packet){ .op = LAUNCH_FAILED, .tag = q->tag, .err = -ETIMEDOUT, .text = "2 processes are left" };
            break;
        }
        if (w->boxes)
            w->boxes--;
        agent_end();
        a.value[2] = 2500000;
        break;
    }
    tell(&a, fd);
    close_p(&fd);
}

static gboolean control_readable(gint fd, GIOCondition cond, gpointer arg)
{
    struct launch_packet q;
    char b[CMSG_SPACE(sizeof(int) * LAUNCH_FDS_MAX)];
    struct iovec iov = { &q, sizeof(q) };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = b, .msg_controllen = sizeof(b) };

    if (recvmsg(fd, &m, MSG_CMSG_CLOEXEC) != sizeof(q)) {
        f.source = 0;
        return G_SOURCE_REMOVE;
    }
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
        for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
            close(((int *)CMSG_DATA(h))[i]);
    handle(arg, &q);
    return G_SOURCE_CONTINUE;
}

/* --- the world --- */

static void adopted(void *arg, int err)
{
    assert_int_equal(err, 0);
    *(bool *)arg = true;
}

struct world *world_new(const char *dir)
{
    struct world *w = g_new0(struct world, 1);
    bool ready = false;
    int p[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p), 0);
    g_strlcpy(f.dir, dir, sizeof(f.dir));
    f.control = p[1];
    f.source = g_unix_fd_add(p[1], G_IO_IN, control_readable, w);
    w->layers = LAYERS_NEEDED;
    w->sd.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    w->sd.loop = g_main_loop_new(NULL, FALSE);
    w->sd.launcher = launcher_new(&w->sd, p[0], boxes_launcher_event, &w->sd);
    w->sd.stock = stock_new(&w->sd, 2);
    stock_set_connect(w->sd.stock, connect_store, w);
    w->sd.boxes = boxes_new(&w->sd);
    boxes_adopt(w->sd.boxes, adopted, &ready);
    world_run(w, &ready);
    w->steps = 0;
    return w;
}

void world_free(struct world *w)
{
    stock_free(w->sd.stock);
    launcher_free(w->sd.launcher);
    agent_end();
    world_store_dies(w);
    if (f.source)
        g_source_remove(f.source);
    f.source = 0;
    close_p(&f.control);
    close(w->sd.dir_fd);
    g_main_loop_unref(w->sd.loop);
    /* The boxes' table is the process's: it has no end but exit. The threads of snapshotd end with their sockets, and touch w only while those are open. */
}

static gboolean late(gpointer arg)
{
    *(bool *)arg = true;
    return G_SOURCE_CONTINUE;
}

void world_run(struct world *w, const bool *flag)
{
    bool is_late = false;
    guint t = g_timeout_add_seconds(10, late, &is_late);

    while (!*flag && !is_late)
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(t);
    assert_false(is_late);
}

static void so(void *arg, struct box *b, const struct fault *fault)
{
    *(bool *)arg = true;
}

void world_settle(struct world *w, struct box *b)
{
    bool done = false;

    w->fail_at = 0;
    box_sleep(b, false, so, &done);
    world_run(w, &done);
}
