/* The way down, from however far a box has come. Steps, each of which is passed over if there is nothing to do:
 *   1. the agent is asked to end its processes (SIGTERM, then SIGKILL) and itself; the launcher tells when it is gone, or the time is up
 *   2. KILL: the launcher ends every process of it and answers when none is left
 *   3. the other parts are told, the link goes
 *   4. a snapshot, if the tree changed (the mount is still held by our descriptor)
 *   5. our descriptor is closed, and the kernel lets go of the mounts; the throw-away root of a bare workspace is removed
 *   6. what the run has used is written down
 * A box whose processes cannot be ended is not called asleep: KILL is tried again until it is so; who waits is told. */
#include "sandbox/core/box_private.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/http/metrics.h"

enum { UNMOUNT_S = 10, KILL_AGAIN_MS = 1000 };

struct unwind { bool gently, snapshot, was_alive, has_fault, killing; struct fault fault; guint timer; unsigned mounts; bool told; };

static void kill_begin(struct box *b), after_death(struct box *b), unmount_begin(struct box *b);

void box_close_link(struct box *b)
{
    struct agent_link *l = b->link;

    if (!l)
        return;
    if (b->p->layers && b->p->bs->hooks.stopping)
        b->p->bs->hooks.stopping(b);
    b->link = NULL;
    agent_link_free(l);
    b->p->layers = 0;
    b->p->synced = false;
}

static void timer_stop(struct unwind *u)
{
    if (u->timer)
        g_source_remove(u->timer);
    u->timer = 0;
}

/* --- 1 --- */

static gboolean gently_over(gpointer arg)
{
    struct box *b = arg;

    b->p->unwind->timer = 0;
    kill_begin(b);
    return G_SOURCE_REMOVE;
}

void box_unwind_gone(struct box *b)
{
    struct unwind *u = b->p->unwind;

    if (!u || u->killing)                 /* KILL's own answer follows */
        return;
    timer_stop(u);
    after_death(b);
}

void box_unwind_link_ended(struct box *b)
{
    struct unwind *u = b->p->unwind;

    /* The end of the agent's socket comes a moment before the launcher's word that all is gone: that is waited for, but not long. */
    if (u && u->timer && !u->killing) {
        timer_stop(u);
        u->timer = g_timeout_add(500, gently_over, b);
    }
}

/* --- 2 --- */

static gboolean kill_again(gpointer arg)
{
    struct box *b = arg;

    b->p->unwind->timer = 0;
    kill_begin(b);
    return G_SOURCE_REMOVE;
}

static void killed(void *arg, const struct launch_packet *q, int *fds, unsigned fd_count)
{
    struct box *b = arg;
    struct unwind *u = b->p->unwind;

    u->killing = false;
    if (q->op == LAUNCH_OK || q->err == -ESRCH || q->err == -ENOENT || !b->p->alive) {
        if (b->p->alive && q->op == LAUNCH_OK)
            usage_run_ended(b, q->value[2], q->value[1]);
        b->p->alive = false;
        after_death(b);
    } else {
        log_error("box=%s step=kill err=%s launcher=%s", b->id, errno_name(q->err), q->text);
        g_snprintf(b->p->error, sizeof(b->p->error), "processes of the sandbox '%s' do not end: %s; it is tried again", b->name, q->text);
        u->timer = g_timeout_add(KILL_AGAIN_MS, kill_again, b);
    }
    box_unref(b);
}

static void kill_begin(struct box *b)
{
    struct launch_packet q = { .op = LAUNCH_KILL };

    if (!b->p->alive) {
        after_death(b);
        return;
    }
    b->p->unwind->killing = true;
    g_strlcpy(q.box, b->id, sizeof(q.box));
    launcher_ask(b->sd->launcher, &q, NULL, 0, killed, box_ref(b));
}

/* --- 3, 4 --- */

static void snapshot_taken(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct box *b = arg;

    if (!result) {
        log_warn("box=%s step=sleep-snapshot code=%s", b->id, fault->code);
        g_snprintf(b->p->error, sizeof(b->p->error), "no snapshot was taken when '%s' went to sleep (its files are kept): %.300s", b->name, fault->text);
    }
    unmount_begin(b);
    box_unref(b);
}

static void after_death(struct box *b)
{
    struct unwind *u = b->p->unwind;

    b->p->alive = false;
    box_close_link(b);
    if (!u->snapshot || b->dir_fd < 0) {
        unmount_begin(b);
        return;
    }
    metrics_add(METRIC_SLEEPS, 1);
    stock_call(b->sd->stock, json_pack("{s:s,s:s,s:s,s:s,s:b}", "verb", "snapshot", "object", b->id, "cause", "auto", "message", "sleep", "if_changed", 1), &b->dir_fd, 1,
               snapshot_taken, box_ref(b));
}

/* --- 5 --- */

static void finish(struct box *b)
{
    struct unwind *u = b->p->unwind;
    struct fault f = u->fault;
    bool has_fault = u->has_fault, ran = u->was_alive;

    timer_stop(u);
    g_free(u);
    b->p->unwind = NULL;
    b->p->gone = false;
    b->p->pid = 0;
    box_egress_run_ended(b);
    b->started_ns = 0;
    b->p->asleep_since = g_get_real_time() / 1000000;
    box_set_state(b, BOX_STOPPING);       /* counts the time */
    if (ran) {
        int r = box_config_save(b);
        if (r)
            log_warn("box=%s step=save err=%s", b->id, errno_name(r));
        log_info("box=%s asleep", b->id);
    }
    b->p->touched_ns = clock_mono_ns();
    box_changed(b, BOX_ASLEEP, has_fault ? &f : NULL);
}

static void mount_over(struct box *b)
{
    if (--b->p->unwind->mounts == 0)
        finish(b);
    box_unref(b);
}

static void root_gone(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct box *b = arg;

    if (!result && strcmp(fault->code, "not_found"))
        log_warn("box=%s step=remove-root code=%s", b->id, fault->code);
    mount_over(b);
}

static void waited(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct box *b = arg;

    if (!result)
        log_warn("box=%s step=unmount code=%s", b->id, fault->code);
    mount_over(b);
}

static void root_waited(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct box *b = arg;
    char name[LAUNCH_NAME * 2];

    g_snprintf(name, sizeof(name), ROOT_PREFIX "%s", b->id);
    b->p->unwind->mounts++;
    stock_call(b->sd->stock, json_pack("{s:s,s:[s]}", "verb", "rm", "objects", name), NULL, 0, root_gone, box_ref(b));
    waited(b, result, fd, fault);
}

static void mounts_told(struct box *b, json_t *result, stock_fn *then, const struct fault *fault)
{
    json_t *m = json_array_get(json_object_get(result, "mounts"), 0), *id = json_object_get(m, "mount");

    if (!id)
        id = json_object_get(m, "id");
    if (id)
        stock_call(b->sd->stock, json_pack("{s:s,s:O,s:i}", "verb", "wait_gone", "mount", id, "timeout_s", UNMOUNT_S), NULL, 0, then, b);
    else
        then(b, json_object_get(result, "mounts"), -1, fault);
}

static void own_mounts(void *arg, json_t *result, int fd, const struct fault *fault)
{
    mounts_told(arg, result, waited, fault);
}

static void root_mounts(void *arg, json_t *result, int fd, const struct fault *fault)
{
    mounts_told(arg, result, root_waited, fault);
}

static void unmount_begin(struct box *b)
{
    struct unwind *u = b->p->unwind;
    char name[LAUNCH_NAME * 2];

    close_p(&b->dir_fd);
    b->dir_fd = -1;
    u->mounts = 1 + b->bare;
    stock_call(b->sd->stock, json_pack("{s:s,s:s}", "verb", "mounts", "object", b->id), NULL, 0, own_mounts, box_ref(b));
    if (!b->bare)
        return;
    g_snprintf(name, sizeof(name), ROOT_PREFIX "%s", b->id);
    stock_call(b->sd->stock, json_pack("{s:s,s:s}", "verb", "mounts", "object", name), NULL, 0, root_mounts, box_ref(b));
}

static void unwind_counted(void *arg)
{
}

void box_unwind(struct box *b, const struct unwind_how *how)
{
    struct unwind *u = g_new0(struct unwind, 1);
    bool frozen = b->state == BOX_FROZEN;

    u->gently = how->gently && !frozen && b->link && b->p->alive;
    u->snapshot = how->snapshot;
    u->was_alive = b->p->alive || b->link;
    if (how->fault) {
        u->has_fault = true;
        u->fault = *how->fault;
    }
    b->p->unwind = u;
    box_set_state(b, BOX_STOPPING);
    if (u->was_alive)
        box_egress_count(b, unwind_counted, b);       /* while egress still has it; nobody waits for that */
    if (u->gently && !agent_link_send(b->link, FRAME_SHUTDOWN, 0, 0, SHUTDOWN_MS, NULL, 0, -1))
        u->timer = g_timeout_add(SHUTDOWN_MS + 1000, gently_over, b);
    else
        kill_begin(b);
}

/* --- deleting --- */

static void erased(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct box *b = arg;
    struct fault f;

    if (!result && strcmp(fault->code, "not_found")) {
        f = *fault;
        if (!strcmp(f.code, "not_empty"))
            fault_set(&f, "not_empty", "the sandbox '%s' has named snapshots, which would go with it: delete those you do not want, or delete it with ?snapshots=true", b->name);
        box_changed(b, BOX_ASLEEP, &f);
    } else {
        box_config_remove(b);
        box_egress_forget(b);
        if (b->p->bs->hooks.deleted)
            b->p->bs->hooks.deleted(b);
        b->p->deleted = true;
        boxes_drop(b);
        log_info("box=%s deleted", b->id);
        box_changed(b, BOX_DELETING, NULL);
    }
    box_unref(b);
}

void box_erase(struct box *b, bool with_snapshots)
{
    box_set_state(b, BOX_DELETING);
    stock_call(b->sd->stock, json_pack("{s:s,s:[s],s:b}", "verb", "rm", "objects", b->id, "with_snapshots", with_snapshots), NULL, 0, erased, box_ref(b));
}
