/* sandboxd: begins with what the launcher gave it (launch_proto.h), takes over the sandboxes that live, then serves until SIGTERM or until the launcher is gone. Its end ends no sandbox. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <glib-unix.h>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/box.h"
#include "sandbox/egress_client.h"
#include "sandbox/exec.h"
#include "sandbox/http/http.h"
#include "sandbox/keeper.h"
#include "sandbox/launch_client.h"
#include "sandbox/preview.h"
#include "sandbox/routes.h"
#include "sandbox/sandboxd.h"
#include "sandbox/stock.h"
#include "sandbox/watch.h"
#include "sandbox/web/box_metrics.h"

enum { STOCK_THREADS = 6 };

struct self { struct sandboxd sd; int status; };

static gboolean on_term(gpointer arg)
{
    struct sandboxd *sd = arg;

    log_info("signal ending");
    g_main_loop_quit(sd->loop);
    return G_SOURCE_CONTINUE;
}

static void add_routes(struct http *h)
{
#define X(name) http_add(h, name##_routes);
    ROUTES(X)
#undef X
}

static void adopted(void *arg, int err)
{
    struct self *s = arg;
    const char *tcp = getenv("COPPICE_LISTEN"), *token = getenv("COPPICE_TOKEN_SHA256");
    int r = err ? err : http_serve(s->sd.http, LAUNCH_FD_UNIX, tcp ? LAUNCH_FD_TCP : -1, token, tcp);

    if (!r && !previews_new(&s->sd, getenv("COPPICE_DOMAIN")))
        r = -EINVAL;
    if (!r) {
        log_info("serving tcp=%s", tcp ? tcp : "no");
        return;
    }
    log_error("step=%s err=%s", err ? "adopt" : "serve", errno_name(r));
    s->status = 1;
    g_main_loop_quit(s->sd.loop);
}

static bool inherited(void)
{
    static const struct { int fd; mode_t type; } want[] = { { LAUNCH_FD_CONTROL, S_IFSOCK }, { LAUNCH_FD_UNIX, S_IFSOCK }, { LAUNCH_FD_DIR, S_IFDIR } };
    struct stat st;

    for (size_t i = 0; i < G_N_ELEMENTS(want); i++)
        if (fstat(want[i].fd, &st) || (st.st_mode & S_IFMT) != want[i].type || fcntl(want[i].fd, F_SETFD, FD_CLOEXEC))
            return false;
    if (getenv("COPPICE_LISTEN"))
        return !fstat(LAUNCH_FD_TCP, &st) && S_ISSOCK(st.st_mode) && !fcntl(LAUNCH_FD_TCP, F_SETFD, FD_CLOEXEC);
    return true;
}

int main(void)
{
    struct self s = { 0 };
    struct sandboxd *sd = &s.sd;

    mallopt(M_ARENA_MAX, 2);              /* few threads, little memory */
    mallopt(M_TRIM_THRESHOLD, 1 << 20);   /* a stream's pieces come and go: not to the kernel each time */
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_DUMPABLE, 0);
    if (!inherited()) {
        log_error("sandboxd is started by the launcher (coppice up), not by hand: its descriptors are missing");
        return 2;
    }
    sd->start_ns = clock_mono_ns();
    sd->dir_fd = LAUNCH_FD_DIR;
    sd->loop = g_main_loop_new(NULL, FALSE);
    sd->launcher = launcher_new(sd, LAUNCH_FD_CONTROL, boxes_launcher_event, sd);
    sd->egress = egress_client_new(sd);
    sd->stock = stock_new(sd, STOCK_THREADS);
    sd->boxes = boxes_new(sd);
    sd->keeper = keeper_new(sd, &boxes_keeper_events, sd);
    boxes_set_hooks(sd->boxes, &exec_hooks);
    egress_client_begun(sd->egress, boxes_egress_begun, sd);
    sd->http = http_new(sd);
    add_routes(sd->http);
    box_metrics(sd->http);
    watch_init();
    g_unix_signal_add(SIGTERM, on_term, sd);
    g_unix_signal_add(SIGINT, on_term, sd);
    boxes_adopt(sd->boxes, adopted, &s);
    g_main_loop_run(sd->loop);
    /* Threads are ended in order; all else goes with the process, which keeps the sandboxes untouched. */
    keeper_free(sd->keeper);
    stock_free(sd->stock);
    egress_client_free(sd->egress);
    launcher_free(sd->launcher);
    return s.status;
}
