#include "sandbox/launcher/sandboxd_child.h"

#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "sandbox/launcher/cage.h"
#include "sandbox/launcher/launch.h"

static void run_sandboxd(struct launch *l, int control_end)
{
    char hash[96], listen[96], name[64], domain[320], tar[PATH_MAX + 16], program[PATH_MAX], dir[PATH_MAX], tar_dir[PATH_MAX];
    char *argv[] = { program, NULL };
    char *env[] = { name, (char *)(uintptr_t)"PATH=/usr/bin:/bin", (char *)(uintptr_t)"LANG=C.UTF-8", NULL, NULL, NULL, NULL, NULL };
    const int fds[] = { control_end, l->unix_fd, l->state_fd, l->tcp_fd };
    unsigned n = 3;

    snprintf(program, sizeof(program), "%s", l->options.sandboxd);
    snprintf(dir, sizeof(dir), "%s", l->options.sandboxd);
    snprintf(name, sizeof(name), "COPPICE_STORE_NAME=%s", l->name);
    snprintf(tar, sizeof(tar), "COPPICE_TAR=%s", l->options.tar ? l->options.tar : "");
    snprintf(tar_dir, sizeof(tar_dir), "%s", l->options.tar ? l->options.tar : "");
    snprintf(hash, sizeof(hash), "COPPICE_TOKEN_SHA256=%s", l->token_hash);
    snprintf(listen, sizeof(listen), "COPPICE_LISTEN=%s", l->listen_text);
    snprintf(domain, sizeof(domain), "COPPICE_DOMAIN=%s", l->options.domain ? l->options.domain : "");
    if (l->options.domain)
        env[n++] = domain;
    if (l->options.tar)
        env[n++] = tar;
    if (l->tcp_fd >= 0) {
        env[n++] = hash;
        env[n++] = listen;
    }
    struct cage cage = { .program = program, .dirs = { dirname(dir), l->options.tar ? dirname(tar_dir) : NULL }, .uid = LAUNCH_SANDBOXD_UID, .argv = argv, .env = env };
    child_enter(&l->sandboxd, fds, l->tcp_fd >= 0 ? 4 : 3, LAUNCH_FD_CONTROL, &cage);
}

static void sandboxd_ended(struct launch *l)
{
    control_close(l);
    slots_orphan(l);
    egress_orphan(l);
    if (l->ending) {
        slots_end_all(l);
        launch_idle(l);
    } else if (l->ready_fd >= 0 && l->sandboxd.early >= CHILD_EARLY_MAX) {
        launch_end(l);                    /* first: who is told may start the next one at once, which must not find our doors open */
        dprintf(l->ready_fd, "cannot serve the store %s: sandboxd ends as soon as it is started; %s/sandbox/launcher.log says why", l->options.store, l->options.store);
        close(l->ready_fd);
        l->ready_fd = -1;
    }
}

const struct child_kind sandboxd_kind = {
    .name = "sandboxd", .namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS, .back_off_max_ms = 1000,
    .run = run_sandboxd, .met = control_open, .ended = sandboxd_ended,
};

void sandboxd_answers(struct launch *l)
{
    l->sandboxd.early = 0;
    if (l->ready_fd < 0)
        return;
    ssize_t n = write(l->ready_fd, "+", 1);
    (void)n;
    close(l->ready_fd);
    l->ready_fd = -1;
    launch_notify("READY=1");
}
