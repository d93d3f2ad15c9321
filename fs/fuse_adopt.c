/* Mounts that outlive the process which served them.
 *
 * The kernel ends a FUSE connection when the last descriptor of its device is closed. As long as somebody holds one, requests stay where they
 * are: in the queue, or (taken and not answered) in the list of those under way. FUSE_NOTIFY_RESEND puts the latter back in front of the
 * queue, with UNIQUE_RESENT in their numbers; the reply must carry the number as it then came. What the INIT of long ago agreed on stands. */
#include "fs/fuse_pool.h"

#include <errno.h>
#include <unistd.h>

#include "base/errand.h"
#include "base/log.h"

enum { NOTIFY_RESEND = 7 };               /* Linux 6.9 */

int mount_device(const struct mount *m, struct mount_state *ret)
{
    *ret = (struct mount_state){ .dev = m->dev, .minor = m->minor, .second_root = m->second_root };
    return m->ring || !m->resend ? -1 : m->fd;
}

int mount_adopt(struct fuse_pool *p, struct workspace *w, const struct mount_opts *o, const struct mount_state *s, int fd,
                void (*on_gone)(void *arg, struct mount *m), void *arg, struct mount **ret)
{
    struct mount *m;
    int r = mount_make(p, w, o, on_gone, arg, &m);

    if (r) {
        close(fd);
        return r;
    }
    m->fd = fd;
    m->dev = s->dev;
    m->minor = s->minor;
    m->second_root = s->second_root;
    m->resend = true;
    atomic_store(&m->inited, true);
    atomic_store(&m->unsettled, true);
    *ret = m;
    return 0;
}

void mount_start(struct mount *m)
{
    struct iovec iov[1];

    mount_notify(m, NOTIFY_RESEND, iov, 1);
    int r = fuse_arm_first(m);
    if (r)
        log_error("fuse: adopted mount not served err=%s", errno_name(r));
    mount_unref(m);
}

struct telling { struct mount *m; void (*fn)(void *arg, struct mount *m); void *arg; };

static int tell(void *arg, int fd)
{
    struct telling *t = arg;

    (void)fd;                             /* it is m->fd, of the same number here */
    t->fn(t->arg, t->m);
    return 0;
}

void mount_tell(struct mount *m, void (*fn)(void *arg, struct mount *m), void *arg)
{
    struct telling t = { m, fn, arg };
    int r = errand_run(m->fd, tell, &t);

    if (r)
        log_error("fuse: the kernel is not told of changes err=%s", errno_name(r));
}

static int retell_one(void *arg, uint64_t ino, const char *name, uint32_t len)
{
    if (name)
        mount_inval_entry(arg, ino, name, len);
    else
        mount_inval_inode(arg, ino);
    return 0;
}

static void retell(void *arg, struct mount *m)
{
    ws_untold(m->ws, retell_one, m);
}

void mount_retell(struct mount *m)
{
    mount_tell(m, retell, NULL);
    ws_told(m->ws);
}
