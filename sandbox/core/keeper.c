/* Theory: HELD -(end)-> ASKING -(socket)-> HELD, and beside HELD the question for the mounts. An answer to a question from before the last end is of no use: `age` counts ends.
 * A refusal by the launcher means that nobody listens in the store: who keeps mounts alive keeps the listening socket too, so they are gone; it is asked again, for later calls. */
#include "sandbox/keeper.h"

#include <errno.h>
#include <stdbool.h>

#include <glib-unix.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/launch_client.h"
#include "sandbox/stock.h"

enum { AGAIN_MS = 100, REFUSED_AGAIN_MS = 2000 };

struct keeper {
    struct sandboxd *sd;
    struct keeper_events on;
    void *arg;
    int fd;
    guint source, timer;
    unsigned refs, age;                   /* refs: of questions on their way, and the owner */
    bool quitting, to_tell;               /* to_tell: ended() was told, served() not yet */
};
struct question { struct keeper *k; unsigned age; };

static void keeper_ask(struct keeper *k);
static void ask_mounts(struct keeper *k);

static void keeper_unref(struct keeper *k)
{
    if (--k->refs == 0)
        g_free(k);
}

static gboolean ask_again(gpointer arg)
{
    struct keeper *k = arg;

    k->timer = 0;
    if (k->fd < 0)
        keeper_ask(k);
    else
        ask_mounts(k);
    return G_SOURCE_REMOVE;
}

static void tell(struct keeper *k, json_t *mounts)
{
    if (!k->to_tell)
        return;
    k->to_tell = false;
    k->on.served(k->arg, mounts);
}

static void on_mounts(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct question *q = arg;
    struct keeper *k = q->k;

    if (!k->quitting && q->age == k->age && result) {
        tell(k, json_object_get(result, "mounts"));
    } else if (!k->quitting && q->age == k->age) {
        log_warn("step=mounts fault=%s", fault->text);
        k->timer = g_timeout_add(AGAIN_MS, ask_again, k);
    }
    keeper_unref(k);
    g_free(q);
}

static void ask_mounts(struct keeper *k)
{
    struct question *q = g_new0(struct question, 1);

    *q = (struct question){ k, k->age };
    k->refs++;
    stock_call(k->sd->stock, json_pack("{s:s}", "verb", "mounts"), NULL, 0, on_mounts, q);
}

static gboolean on_end(gint fd, GIOCondition cond, gpointer arg)
{
    struct keeper *k = arg;

    k->source = 0;
    close(TAKE_FD(k->fd));
    if (k->timer)
        g_source_remove(k->timer);
    k->timer = 0;
    k->age++;
    log_warn("snapshotd went away");
    k->to_tell = true;
    k->on.ended(k->arg);
    keeper_ask(k);
    return G_SOURCE_REMOVE;
}

static void on_socket(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count)
{
    struct keeper *k = arg;

    if (!k->quitting && p->op == LAUNCH_OK && fd_count) {
        k->fd = TAKE_FD(fds[0]);
        k->source = g_unix_fd_add(k->fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_end, k);
        if (k->to_tell)
            ask_mounts(k);
    } else if (!k->quitting) {
        bool later = p->err == -EBUSY;    /* the launcher makes too many of them just now */
        log_warn("step=store err=%s launcher=%s", errno_name(p->err), p->text);
        k->timer = g_timeout_add(later ? AGAIN_MS : REFUSED_AGAIN_MS, ask_again, k);
        if (!later)
            tell(k, NULL);
    }
    for (unsigned i = 0; i < fd_count; i++)
        close_p(&fds[i]);
    keeper_unref(k);
}

static void keeper_ask(struct keeper *k)
{
    struct launch_packet p = { .op = LAUNCH_STORE };

    k->refs++;
    launcher_ask(k->sd->launcher, &p, NULL, 0, on_socket, k);
}

struct keeper *keeper_new(struct sandboxd *sd, const struct keeper_events *e, void *arg)
{
    struct keeper *k = g_new0(struct keeper, 1);

    *k = (struct keeper){ .sd = sd, .on = *e, .arg = arg, .fd = -1, .refs = 1 };
    keeper_ask(k);
    return k;
}

void keeper_free(struct keeper *k)
{
    if (!k)
        return;
    k->quitting = true;
    if (k->source)
        g_source_remove(k->source);
    if (k->timer)
        g_source_remove(k->timer);
    close_p(&k->fd);
    keeper_unref(k);
}
