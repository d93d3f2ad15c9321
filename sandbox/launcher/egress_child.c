#include "sandbox/launcher/egress_child.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/launcher/cage.h"
#include "sandbox/launcher/egress_link.h"
#include "sandbox/launcher/husk.h"
#include "sandbox/launcher/key.h"
#include "sandbox/launcher/launch.h"

static void off(struct egress *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void off(struct egress *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(e->why, sizeof(e->why), fmt, ap);
    va_end(ap);
    e->state = EGRESS_OFF;
    log_error("step=egress network=off why=\"%s\"", e->why);
}

/* --- in the child --- */

/* What the operator may have changed since the last start is opened anew. -errno. */
static int open_files(const struct launch_options *o, int *ret_roots, int *ret_resolver)
{
    *ret_roots = open(o->upstream_roots, O_RDONLY | O_CLOEXEC);
    *ret_resolver = open(o->resolver, O_RDONLY | O_CLOEXEC);
    if (*ret_resolver < 0)
        *ret_resolver = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return *ret_roots < 0 || *ret_resolver < 0 ? -errno : 0;
}

static void run_egress(struct launch *l, int control_end)
{
    char program[PATH_MAX], dir[PATH_MAX], key[32], self[96];
    char *argv[] = { program, NULL };
    char *env[] = { key, self, (char *)(uintptr_t)"LANG=C.UTF-8", NULL };
    int roots, resolver;

    snprintf(program, sizeof(program), "%s", l->options.egress);
    snprintf(dir, sizeof(dir), "%s", l->options.egress);
    snprintf(key, sizeof(key), "EGRESS_KEY=%s", l->egress.key_lives);
    snprintf(self, sizeof(self), "EGRESS_SELF=%s", l->tcp_fd >= 0 ? l->listen_text : "");
    int r = open_files(&l->options, &roots, &resolver);
    if (r) {
        log_error("step=egress cannot open roots=%s err=%s", l->options.upstream_roots, errno_name(r));
        _exit(126);
    }
    const int fds[] = { control_end, l->egress.dir_fd, l->egress.key_fd, roots, resolver };
    struct cage cage = { .program = program, .dirs = { dirname(dir) }, .uid = LAUNCH_EGRESS_UID, .netlink = true, .argv = argv, .env = env };
    child_enter(&l->egress.child, fds, sizeof(fds) / sizeof(fds[0]), EGRESS_FD_CONTROL, &cage);
}

/* --- its life --- */

static void answer_asks(struct launch *l)
{
    struct egress *e = &l->egress;
    unsigned n = e->ask_count;

    e->ask_count = 0;
    for (unsigned i = 0; i < n; i++)
        egress_ask(l, e->asks[i]);
}

/* It is decided whether there is one: husks may be made, doors are opened or shut, who waits is told. */
static void decided(struct launch *l)
{
    for (unsigned i = 0; i < l->slots_used; i++)
        if (l->slots[i].state == SLOT_STARTING || l->slots[i].state == SLOT_RUNNING)
            egress_add(&l->slots[i]);
    answer_asks(l);
    slots_refill(l);
}

static void hello_late(void *arg)
{
    struct launch *l = arg;

    log_error("step=egress no HELLO within %u ms", (unsigned)EGRESS_HELLO_MS);
    child_kill(&l->egress.child);
}

static int met(struct launch *l, int fd)
{
    loop_arm(&l->loop, &l->egress.hello_timer, EGRESS_HELLO_MS * 1000ull, hello_late, l);
    return egress_link_open(l, fd);
}

static void ended(struct launch *l)
{
    struct egress *e = &l->egress;
    bool was_off = e->state == EGRESS_OFF;

    loop_disarm(&e->hello_timer);
    egress_link_close(l);
    if (l->ending) {
        launch_idle(l);
        return;
    }
    if (e->child.early < CHILD_EARLY_MAX) {
        e->state = EGRESS_STARTING;
    } else if (!was_off) {
        off(e, "the egress proxy ends as soon as it is started; sandbox/launcher.log in the store says why");
        decided(l);
    }
}

const struct child_kind egress_kind = {
    .name = "egress", .namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS, .back_off_max_ms = 30000, .run = run_egress, .met = met, .ended = ended,
};

/* Same certificate as before: the bundle, and the husks that have it, stay. */
static bool same_ca(const struct egress *e, int ca_fd)
{
    char a[EGRESS_PEM_MAX], b[EGRESS_PEM_MAX];
    ssize_t n = pread(ca_fd, a, sizeof(a), 0);

    return e->ca_fd >= 0 && n > 0 && pread(e->ca_fd, b, sizeof(b), 0) == n && !memcmp(a, b, (size_t)n);
}

static int take_ca(struct launch *l, int ca_fd)
{
    struct egress *e = &l->egress;

    if (same_ca(e, ca_fd))
        return 0;
    _cleanup_close_ int roots = open(l->options.upstream_roots, O_RDONLY | O_CLOEXEC);
    int fd = roots < 0 ? -errno : bundle_make(ca_fd, roots);
    if (fd < 0)
        return fd;
    close_p(&e->bundle_fd);
    close_p(&e->ca_fd);
    e->bundle_fd = fd;
    e->ca_fd = fcntl(ca_fd, F_DUPFD_CLOEXEC, 3);
    e->bundle_number++;
    slots_renew(l);
    return 0;
}

void egress_hello(struct launch *l, int ca_fd)
{
    struct egress *e = &l->egress;

    int r = cage_empty(e->child.pidfd);
    if (!r)
        r = take_ca(l, ca_fd);
    if (r) {
        log_error("step=egress-hello err=%s", errno_name(r));
        child_kill(&e->child);
        return;
    }
    loop_disarm(&e->hello_timer);
    e->child.early = 0;
    e->state = EGRESS_UP;
    e->why[0] = 0;
    log_info("step=egress up bundle=%u", e->bundle_number);
    decided(l);
}

bool egress_known(const struct launch *l)
{
    return l->egress.state != EGRESS_STARTING || l->egress.bundle_number;
}

/* --- boxes --- */

void egress_add(struct slot *s)
{
    struct launch *l = s->l;
    bool on = s->bundle_number && l->egress.state != EGRESS_OFF;

    slot_doors(s, on);
    s->egress = on ? SLOT_EGRESS_WANTED : SLOT_EGRESS_NONE;
    if (on)
        egress_link_pump(l);
}

void egress_remove(struct slot *s)
{
    if (s->egress == SLOT_EGRESS_ADDED)
        egress_link_send(s->l, EGRESS_REMOVE, s->box, -1);
    s->egress = SLOT_EGRESS_NONE;
}

/* --- sandboxd's connections --- */

static bool has_ended(const struct child *c)
{
    struct pollfd p = { .fd = c->pidfd, .events = POLLIN };

    return c->pidfd >= 0 && poll(&p, 1, 0) == 1;
}

void egress_ask(struct launch *l, struct ask ask)
{
    struct egress *e = &l->egress;
    struct launch_packet p = { 0 };
    int pair[2];

    if (e->state == EGRESS_UP && has_ended(&e->child) && e->ask_count < EGRESS_ASKS_MAX) {
        e->asks[e->ask_count++] = ask;    /* its end comes with the next event, and then the next one */
    } else if (e->state == EGRESS_STARTING && e->ask_count < EGRESS_ASKS_MAX) {
        e->asks[e->ask_count++] = ask;
    } else if (e->state != EGRESS_UP) {
        control_failed(l, ask, e->state == EGRESS_OFF ? -ENOTCONN : -EBUSY, "%s", e->state == EGRESS_OFF ? e->why : "too many connections to egress are being made");
    } else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        control_failed(l, ask, -errno, "make a connection to egress: %s", strerror(errno));
    } else {
        egress_link_send(l, EGRESS_CLIENT, "", pair[1]);
        control_send(l, &ask, LAUNCH_OK, &p, pair, 1);
        close(pair[0]);
        close(pair[1]);
    }
}

void egress_orphan(struct launch *l)
{
    l->egress.ask_count = 0;
}

/* --- begin and end --- */

/* STORE/sandbox/egress as the root of a mount that is nowhere: ".." leads nowhere either. */
static int open_dir(struct launch *l)
{
    enum { ATTRS = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };

    if (mkdirat(l->dir_fd, "egress", 0700) && errno != EEXIST)
        return -errno;
    _cleanup_close_ int dir = openat(l->dir_fd, "egress", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0 || fchown(dir, LAUNCH_EGRESS_UID, LAUNCH_EGRESS_UID) || fchmod(dir, 0700))
        return -errno;
    _cleanup_close_ int mount = husk_clone(dir, "", AT_EMPTY_PATH);
    if (mount < 0)
        return mount;
    int r = husk_attr(mount, ATTRS, 0), fd = r ? r : openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return r ? r : fd < 0 ? -errno : fd;
}

static int check_file(const char *option, const char *path, char *ret_why, unsigned long size)
{
    if (!access(path, R_OK))
        return 0;
    int r = -errno;
    snprintf(ret_why, size, "cannot read %s %s: %s", option, path, strerror(-r));
    return r;
}

static const char *default_roots(void)
{
    static const char *const paths[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem" };

    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (!access(paths[i], R_OK))
            return paths[i];
    return NULL;
}

int egress_init(struct launch *l, char *ret_why, unsigned long size)
{
    struct egress *e = &l->egress;
    struct launch_options *o = &l->options;
    int r;

    if ((o->upstream_roots && (r = check_file("--upstream-roots", o->upstream_roots, ret_why, size))) || (o->resolver && (r = check_file("--resolver", o->resolver, ret_why, size))))
        return r;
    if (!o->egress) {
        off(e, "this launcher was started without the egress proxy");
        return 0;
    }
    e->child.program_fd = open(o->egress, O_PATH | O_CLOEXEC);
    if (e->child.program_fd < 0) {
        off(e, "cannot open %s: %s", o->egress, strerror(errno));
        return 0;
    }
    e->key_fd = key_open(l, ret_why, size);
    if (e->key_fd < 0 && o->secret_key)
        return e->key_fd;
    e->key_lives = o->secret_key && !strcmp(o->secret_key, "memory") ? "memory" : "file";
    e->dir_fd = open_dir(l);
    if (!o->upstream_roots)
        o->upstream_roots = default_roots();
    if (!o->resolver)
        o->resolver = "/etc/resolv.conf";
    if (e->key_fd < 0)
        off(e, "%s", ret_why);
    else if (e->dir_fd < 0)
        off(e, "cannot open sandbox/egress in the store: %s", strerror(-e->dir_fd));
    else if (!o->upstream_roots)
        off(e, "this host has no file of trusted certificates (install ca-certificates, or name one with --upstream-roots)");
    return 0;
}

void egress_run(struct launch *l)
{
    if (l->egress.state == EGRESS_STARTING)
        child_start(&l->egress.child);
}

void egress_fini(struct launch *l)
{
    struct egress *e = &l->egress;
    int *fds[] = { &e->dir_fd, &e->key_fd, &e->ca_fd, &e->bundle_fd, &e->child.program_fd };

    egress_link_close(l);
    for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}
