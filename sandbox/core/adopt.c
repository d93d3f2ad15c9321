/* After a restart: the boxes that live in the launcher become ours again. For each: its record from snapshotd, then HELLO to its agent, which tells of its executions (the hooks take them over
 * and hold the box). A frozen one is left frozen: its agent is asked when it is thawed. One that cannot be taken over is ended. */
#include "sandbox/core/box_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

struct adopt { struct boxes *bs; unsigned pending; void (*done)(void *arg, int err); void *arg; int err; };
struct one { struct adopt *a; struct launch_packet p; int link, root; };

static void one_over(struct adopt *a)
{
    if (--a->pending)
        return;
    a->done(a->arg, a->err);
    g_free(a);
}

static void killed(void *arg, const struct launch_packet *q, int *fds, unsigned fd_count)
{
    if (q->op != LAUNCH_OK)
        log_error("step=adopt-kill err=%s", errno_name(q->err));
    one_over(arg);
}

static void settled(void *arg, struct box *b, const struct fault *fault)
{
    if (b)
        box_release(b);
    one_over(arg);
}

static uint64_t boot_to_mono(uint64_t boot_ns)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    uint64_t now = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec, age = now > boot_ns ? now - boot_ns : 0, mono = clock_mono_ns();
    return mono > age ? mono - age : 1;
}

static void take_over(struct box *b, struct one *o)
{
    struct box_private *p = b->p;

    p->alive = true;
    p->pid = (int32_t)o->p.value[0];
    p->uid_base = (uint32_t)o->p.value[1];
    box_egress_network(b, &o->p, 4);
    p->asleep_since = 0;
    b->started_ns = boot_to_mono(o->p.value[2]);
    b->idle_since_ns = clock_mono_ns();
    b->dir_fd = b->bare ? openat(o->root, "workspace", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : TAKE_FD(o->root);
    box_find_owner(b);
    b->link = agent_link_new(TAKE_FD(o->link), box_frame, b);
    box_egress_tell(b, NULL, NULL);
    log_info("box=%s adopted frozen=%d", b->id, o->p.value[3] != 0);
    if (o->p.value[3]) {
        box_changed(b, BOX_FROZEN, NULL);
        one_over(o->a);
        return;
    }
    p->changing = true;
    box_set_state(b, BOX_STARTING);
    box_need(b, settled, o->a);           /* told when the agent has said all, or is ended */
    if (box_hello(b))
        box_start_failed(b, "agent_lost", "the agent of the sandbox '%s' cannot be reached", b->name);
}

static void shown(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct one *o = arg;
    struct box *b = result ? boxes_of_record(o->a->bs, result) : NULL;

    if (b) {
        take_over(b, o);
    } else {
        struct launch_packet q = { .op = LAUNCH_KILL };
        log_warn("box=%s step=adopt code=%s: it is ended", o->p.box, fault ? fault->code : "record");
        g_strlcpy(q.box, o->p.box, sizeof(q.box));
        launcher_ask(o->a->bs->sd->launcher, &q, NULL, 0, killed, o->a);
    }
    close_p(&o->link);
    close_p(&o->root);
    g_free(o);
}

static void listed(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count)
{
    struct adopt *a = arg;

    if (p->op == LAUNCH_BOX && fd_count == 2) {
        struct one *o = g_new(struct one, 1);
        *o = (struct one){ a, *p, TAKE_FD(fds[0]), TAKE_FD(fds[1]) };
        a->pending++;
        stock_call(a->bs->sd->stock, json_pack("{s:s,s:s,s:b}", "verb", "show", "object", p->box, "sizes", 0), NULL, 0, shown, o);
        return;
    }
    for (unsigned i = 0; i < fd_count; i++)
        close_p(&fds[i]);
    if (p->op == LAUNCH_BOX) {
        log_error("box=%s step=adopt: the launcher gave %u descriptors, not 2", p->box, fd_count);
        return;
    }
    if (p->op != LAUNCH_OK)
        a->err = p->err < 0 ? p->err : -EPROTO;
    one_over(a);
}

static void greeted(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count)
{
    struct adopt *a = arg;
    struct launch_packet q = { .op = LAUNCH_LIST };

    if (p->op != LAUNCH_OK || p->value[0] != LAUNCH_VERSION) {
        log_error("step=hello err=%s version=%llu launcher=%s", errno_name(p->err), (unsigned long long)p->value[0], p->text);
        a->err = p->op == LAUNCH_OK ? -EPROTO : p->err;
        one_over(a);
        return;
    }
    a->bs->host_layers = p->value[1];
    a->bs->cgroup_version = (unsigned)p->value[2];
    if (p->text[0])
        log_warn("launcher=%s", p->text);
    launcher_ask(a->bs->sd->launcher, &q, NULL, 0, listed, a);
}

void boxes_adopt(struct boxes *bs, void (*done)(void *arg, int err), void *arg)
{
    struct adopt *a = g_new(struct adopt, 1);
    struct launch_packet q = { .op = LAUNCH_HELLO };

    *a = (struct adopt){ bs, 1, done, arg, 0 };
    q.value[0] = LAUNCH_VERSION;
    launcher_ask(bs->sd->launcher, &q, NULL, 0, greeted, a);
}
