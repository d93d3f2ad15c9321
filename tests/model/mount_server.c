#include "tests/model/mount_server.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <signal.h>
#include <unistd.h>
#include "fs/fuse_mount.h"
#include "tests/lib/transport.h"
#include "tests/model/target_ws.h"

struct request { int call; unsigned a, b; };
struct served { struct mount *m; int dirfd; bool gone; struct server *sv; };
struct server {
    struct target_ws t;
    struct fuse_pool *pool;
    struct served at[PLACES];
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void on_gone(void *arg, struct mount *m) {
    struct served *p = arg;
    pthread_mutex_lock(&p->sv->lock);
    p->gone = true;
    pthread_cond_broadcast(&p->sv->changed);
    pthread_mutex_unlock(&p->sv->lock);
}

static int say(const char *what, unsigned at, int r) {
    fprintf(stderr, "# server: place %u: %s: %s\n", at, what, strerror(-r));
    return r;
}

static int do_mount(struct server *s, unsigned at, int *ret_fd) {
    struct workspace *w;
    if (s->at[at].m) return -EBUSY;
    int fd, r = target_ws_get(&s->t, at, &w);
    if (r) return say("open the workspace", at, r);
    struct mount_opts o = { .ro = at >= PLACES_WS, .suid = true, .transport = test_transport(), .source = "model" };
    s->at[at] = (struct served){ .sv = s };
    if ((r = mount_new(s->pool, w, &o, on_gone, &s->at[at], &s->at[at].m, &fd))) return say("mount", at, r);
    s->at[at].dirfd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->at[at].dirfd < 0) return say("open the root", at, -errno);
    *ret_fd = fd;
    return 0;
}

/* The other side has closed all it had of it. */
static int do_unmount(struct server *s, unsigned at) {
    struct served *p = &s->at[at];
    if (!p->m) return 0;
    close(p->dirfd);
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 60;
    int r = 0;
    pthread_mutex_lock(&s->lock);
    while (!p->gone && !r) r = pthread_cond_timedwait(&s->changed, &s->lock, &end);
    bool gone = p->gone;
    pthread_mutex_unlock(&s->lock);
    if (!gone) return say("wait for the mount to go", at, -ETIMEDOUT);
    p->m = NULL;
    return 0;
}

static int flush(struct server *s, unsigned at) {
    return s->at[at].m ? mount_flush(s->at[at].m, s->at[at].dirfd) : 0;
}

/* A store that lost something is open again all the same, and mounts go on being served. */
static int do_reopen(struct server *s) {
    fuse_pool_free(s->pool);                               /* waits until the last mount has given back its workspace */
    s->pool = NULL;
    int r = target_ws_ops.care(&s->t, CARE_REOPEN);
    int made = fuse_pool_new(0, &s->pool);
    return r ? r : made;
}

static int serve(struct server *s, const struct request *q, int *ret_fd) {
    const struct fs_ops *f = &target_ws_ops;
    int r;
    switch (q->call) {
    case CALL_MOUNT: return do_mount(s, q->a, ret_fd);
    case CALL_UNMOUNT: return do_unmount(s, q->a);
    case CALL_SNAPSHOT: r = flush(s, q->a); return r ? r : f->snapshot(&s->t, q->a, q->b);
    case CALL_FORK: r = flush(s, q->a); return r ? r : f->fork(&s->t, q->a, q->b);
    case CALL_RESTORE: r = flush(s, q->a); return r ? r : f->restore(&s->t, q->a, q->b, NULL);
    case CALL_DROP: r = do_unmount(s, q->a); return r ? r : f->drop(&s->t, q->a);
    default: return q->a == CARE_REOPEN ? do_reopen(s) : f->care(&s->t, (enum care)q->a);
    }
}

static int reply(int sock, int r, int fd) {
    struct iovec iov = { &r, sizeof r };
    union { char b[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } ctl;
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (fd >= 0) {
        memset(&ctl, 0, sizeof ctl);
        m.msg_control = ctl.b;
        m.msg_controllen = sizeof ctl.b;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(sock, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int child(const char *dir, int sock) {
    static struct server s;
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.changed, NULL);
    struct store_options o = { .node_cache_bytes = 8 << 20, .chunk_cache_bytes = 4 << 20, .commit_interval_ms = 200 };
    int r = target_ws_open(&s.t, dir, true, &o);
    if (!r) r = fuse_pool_new(0, &s.pool);
    if (reply(sock, r, -1) || r) return 1;
    struct request q;
    while (recv(sock, &q, sizeof q, 0) == sizeof q && q.call != CALL_END) {
        int fd = -1;
        r = serve(&s, &q, &fd);
        reply(sock, r, fd);
        if (fd >= 0) close(fd);
    }
    for (unsigned i = 0; i < PLACES; i++)
        if (do_unmount(&s, i)) return 1;
    fuse_pool_free(s.pool);
    target_ws_close(&s.t);
    return 0;
}

static int answer(struct mount_server *s, int *ret_fd) {
    int r;
    struct iovec iov = { &r, sizeof r };
    union { char b[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } ctl;
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.b, .msg_controllen = sizeof ctl.b };
    if (recvmsg(s->sock, &m, MSG_CMSG_CLOEXEC) != sizeof r) return -EPIPE;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && ret_fd) memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
    return r;
}

int mount_server_start(struct mount_server *s, const char *dir) {
    int sv[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv)) return -errno;
    fflush(stdout);
    s->pid = fork();
    if (s->pid < 0) return -errno;
    if (!s->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(sv[0]);
        exit(child(dir, sv[1]));
    }
    close(sv[1]);
    s->sock = sv[0];
    int r = answer(s, NULL);
    if (r) mount_server_end(s);
    return r;
}

int mount_server_call(struct mount_server *s, enum server_call call, unsigned a, unsigned b, int *ret_fd) {
    struct request q = { call, a, b };
    if (send(s->sock, &q, sizeof q, MSG_NOSIGNAL) != sizeof q) return -EPIPE;
    return answer(s, ret_fd);
}

int mount_server_end(struct mount_server *s) {
    struct request q = { .call = CALL_END };
    int st = 0;
    send(s->sock, &q, sizeof q, MSG_NOSIGNAL);
    close(s->sock);
    if (waitpid(s->pid, &st, 0) < 0) return -errno;
    return WIFSIGNALED(st) ? -WTERMSIG(st) : -WEXITSTATUS(st);
}
