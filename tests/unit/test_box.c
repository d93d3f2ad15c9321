/* Boxes upon a faked launcher, agent and snapshotd: every state change, many who want something at once, and every call made to fail in turn. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/confine/confine.h"
#include "sandbox/core/box_private.h"
#include "tests/lib/fake_box_world.h"

struct got { bool done; struct box *b; struct fault fault; bool failed; };

static void on_got(void *arg, struct box *b, const struct fault *fault)
{
    struct got *g = arg;

    assert_false(g->done);                /* told once */
    g->done = true;
    g->b = b;
    g->failed = fault != NULL;
    if (fault)
        g->fault = *fault;
    assert_true((b != NULL) != (fault != NULL));
}

static struct world *fresh(bool bare)
{
    static char dir[128];
    snprintf(dir, sizeof(dir), "/tmp/coppice-box-XXXXXX");
    assert_non_null(mkdtemp(dir));
    struct world *w = world_new(dir);
    w->bare = bare;
    return w;
}

static void gone(struct world *w)
{
    char cmd[256];
    snprintf(cmd, sizeof(cmd), "/proc/self/fd/%d", w->sd.dir_fd);
    char path[256];
    ssize_t n = readlink(cmd, path, sizeof(path) - 1);
    world_free(w);
    if (n > 0) {
        path[n] = 0;
        char file[300];
        snprintf(file, sizeof(file), "%s/box/ws-aaaaaaaaaa.json", path);
        unlink(file);
        snprintf(file, sizeof(file), "%s/box", path);
        rmdir(file);
        rmdir(path);
    }
}

static struct box *the_box(struct world *w)
{
    struct got g = { 0 };

    box_get(&w->sd, "box", on_got, &g);
    world_run(w, &g.done);
    assert_false(g.failed);
    w->steps = 0;
    return g.b;
}

static struct got need(struct world *w, struct box *b)
{
    struct got g = { 0 };

    box_need(b, on_got, &g);
    world_run(w, &g.done);
    return g;
}

static unsigned open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void nothing_left(struct world *w, struct box *b)
{
    assert_int_equal(b->state, BOX_ASLEEP);
    assert_null(b->link);
    assert_int_equal(b->dir_fd, -1);
    assert_int_equal(w->husks, 0);
    assert_int_equal(w->boxes, 0);
    assert_int_equal(w->mounts, 0);
    assert_int_equal(w->roots, 0);
    assert_int_equal(w->sd.boxes->starting, 0);
}

static void it_starts_runs_freezes_thaws_sleeps_and_is_deleted(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);
    struct got g = need(w, b);

    assert_false(g.failed);
    assert_int_equal(b->state, BOX_RUNNING);
    assert_int_equal(b->holds, 1);
    assert_int_equal(w->boxes, 1);
    box_release(b);
    g = (struct got){ 0 };
    box_freeze(b, on_got, &g);
    world_run(w, &g.done);
    assert_int_equal(b->state, BOX_FROZEN);
    g = need(w, b);
    assert_int_equal(b->state, BOX_RUNNING);
    assert_int_equal(w->thaws, 1);
    box_release(b);
    g = (struct got){ 0 };
    box_sleep(b, true, on_got, &g);
    world_run(w, &g.done);
    assert_int_equal(w->shutdowns, 1);
    assert_int_equal(w->snapshots, 1);
    nothing_left(w, b);
    assert_int_equal(b->cpu_before_us, 1500000);    /* as the launcher said at its end */
    g = (struct got){ 0 };
    box_freeze(b, on_got, &g);
    world_run(w, &g.done);
    assert_string_equal(g.fault.code, "not_running");
    box_ref(b);
    g = (struct got){ 0 };
    box_delete(b, false, on_got, &g);
    world_run(w, &g.done);
    assert_false(g.failed);
    g = need(w, b);
    assert_string_equal(g.fault.code, "not_found");
    box_unref(b);
    gone(w);
}

static void many_who_need_it_at_once_share_one_start(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);
    struct got g[50] = { 0 };

    for (int i = 0; i < 50; i++)
        box_need(b, on_got, &g[i]);
    for (int i = 0; i < 50; i++)
        world_run(w, &g[i].done);
    assert_int_equal(w->starts, 1);
    assert_int_equal(b->holds, 50);
    for (int i = 0; i < 50; i++)
        box_release(b);
    world_settle(w, b);
    nothing_left(w, b);
    gone(w);
}

static void wishes_that_contradict_are_served_in_their_order(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);
    struct got a = { 0 }, s = { 0 }, c = { 0 }, z = { 0 };

    box_need(b, on_got, &a);
    box_sleep(b, false, on_got, &s);
    box_need(b, on_got, &c);
    box_freeze(b, on_got, &z);
    world_run(w, &z.done);
    assert_true(a.done && s.done && c.done);
    assert_false(a.failed || s.failed || c.failed || z.failed);
    assert_int_equal(w->starts, 2);
    assert_int_equal(b->state, BOX_FROZEN);
    assert_int_equal(b->holds, 2);
    box_release(b);
    box_release(b);
    world_settle(w, b);
    nothing_left(w, b);
    gone(w);
}

/* Every call of a start is made to fail in turn, until it succeeds: each time the fault is told and nothing is left. */
static void a_start_that_fails_leaves_nothing(void **state)
{
    for (int bare = 0; bare < 2; bare++) {
        struct world *w = fresh(bare);
        struct box *b = the_box(w);
        int n = 0;
        unsigned fds = 0;
        for (;;) {
            w->steps = 0;
            w->fail_at = ++n;
            struct got g = need(w, b);
            if (!g.failed)
                break;
            assert_non_null(strstr(g.fault.text, "made to fail"));
            assert_int_equal(b->holds, 0);
            nothing_left(w, b);
            if (n == 1)
                fds = open_fds();
            assert_in_range(open_fds(), fds, fds + 2);      /* two connections of the stock, made when first used */
            assert_in_range(n, 1, 20);
        }
        assert_in_range(n, bare ? 6 : 4, 20);
        box_release(b);
        world_settle(w, b);
        nothing_left(w, b);
        gone(w);
    }
}

static void a_layer_that_is_not_proved_is_named_and_it_does_not_run(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);

    w->layers = LAYERS_NEEDED & ~(LAYER_SECCOMP | LAYER_NETNS);
    struct got g = need(w, b);
    assert_string_equal(g.fault.code, "start_failed");
    assert_non_null(strstr(g.fault.text, confine_layer_name(LAYER_SECCOMP)));
    assert_non_null(strstr(g.fault.text, confine_layer_name(LAYER_NETNS)));
    nothing_left(w, b);
    assert_string_equal(box_last_error(b), g.fault.text);
    w->layers = LAYERS_NEEDED;
    g = need(w, b);
    assert_false(g.failed);
    assert_string_equal(box_last_error(b), "");
    box_release(b);
    world_settle(w, b);
    gone(w);
}

static void an_agent_that_cannot_confine_says_so(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);

    w->agent_fatal = true;
    struct got g = need(w, b);
    assert_string_equal(g.fault.code, "start_failed");
    assert_non_null(strstr(g.fault.text, "seccomp"));
    nothing_left(w, b);
    gone(w);
}

static gboolean die_quietly(gpointer arg)
{
    world_agent_dies(arg, false, 0);
    return G_SOURCE_REMOVE;
}

static void an_agent_that_dies_before_it_is_ready_fails_the_start(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);
    struct got g = { 0 };

    w->agent_silent = true;
    box_need(b, on_got, &g);
    while (!w->starts)
        g_main_context_iteration(NULL, TRUE);
    g_timeout_add(20, die_quietly, w);
    world_run(w, &g.done);
    assert_string_equal(g.fault.code, "start_failed");
    nothing_left(w, b);
    gone(w);
}

static unsigned stopped;
static void on_stopping(struct box *b) { stopped++; }

static void the_death_of_a_running_one_is_told_and_it_can_start_again(void **state)
{
    static const struct box_hooks hooks = { .stopping = on_stopping };
    for (int event = 0; event < 2; event++) {
        struct world *w = fresh(false);
        struct box *b = the_box(w);
        boxes_set_hooks(w->sd.boxes, &hooks);
        stopped = 0;
        struct got g = need(w, b);
        assert_false(g.failed);
        world_agent_dies(w, event, event);
        while (b->state != BOX_ASLEEP)
            g_main_context_iteration(NULL, TRUE);
        assert_int_equal(stopped, 1);
        if (event)
            assert_non_null(strstr(box_last_error(b), "memory"));
        nothing_left(w, b);
        box_release(b);
        g = need(w, b);
        assert_false(g.failed);
        box_release(b);
        world_settle(w, b);
        nothing_left(w, b);
        gone(w);
    }
}

static void processes_that_do_not_end_are_killed_until_they_have(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);
    struct got g = need(w, b);

    box_release(b);
    w->agent_silent = true;
    w->kill_fails = 1;
    g = (struct got){ 0 };
    box_delete(b, false, on_got, &g);     /* not gently: KILL at once */
    box_ref(b);
    while (w->kills < 1)
        g_main_context_iteration(NULL, TRUE);
    assert_int_not_equal(b->state, BOX_ASLEEP);     /* not called asleep while processes are left */
    world_run(w, &g.done);
    assert_int_equal(w->kills, 2);
    assert_int_equal(w->boxes, 0);
    assert_false(g.failed);
    box_unref(b);
    gone(w);
}

static void idleness_freezes_and_then_ends_it(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);
    struct got g;

    b->config.freeze_s = 0.3;
    b->config.sleep_s = 0.6;
    g = need(w, b);
    assert_false(g.failed);
    box_release(b);
    while (b->state != BOX_ASLEEP)
        g_main_context_iteration(NULL, TRUE);
    assert_int_equal(w->freezes, 1);
    assert_int_equal(w->snapshots, 1);
    nothing_left(w, b);
    gone(w);
}

static void a_hold_keeps_it_awake_until_its_time_limit(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);

    b->config.freeze_s = 0.1;
    b->config.sleep_s = 0.1;
    b->config.timeout_s = 1;
    struct got g = need(w, b);
    assert_false(g.failed);
    while (b->state != BOX_ASLEEP)
        g_main_context_iteration(NULL, TRUE);
    assert_int_equal(w->freezes, 0);
    assert_non_null(strstr(box_last_error(b), "timeout_s"));
    box_release(b);
    gone(w);
}

/* --- configuration --- */

static void a_configuration_survives_and_a_strange_one_is_refused(void **state)
{
    struct world *w = fresh(false);
    struct box *b = the_box(w);
    struct fault f;
    json_t *env = json_pack("{s:s}", "A", "b=c"), *limits = json_pack("{s:f,s:i,s:i}", "cpu", 0.5, "memory_mb", 64, "pids", 20), *idle = json_pack("{s:i}", "sleep_s", 5);
    json_t *mounts = json_pack("[{s:s,s:s}]", "source", "x@y", "path", "/mnt/a");

    assert_true(box_config_is_default(&b->config));
    assert_true(box_config_set(&b->config, env, limits, idle, mounts, &f));
    assert_false(box_config_is_default(&b->config));
    b->cpu_before_us = 77;
    assert_int_equal(box_config_save(b), 0);
    box_config_fini(&b->config);
    box_config_init(&b->config);
    b->cpu_before_us = 0;
    assert_int_equal(box_config_load(b), 0);
    assert_true(json_equal(b->config.env, env));
    assert_true(json_equal(b->config.mounts, mounts));
    assert_int_equal(b->config.limits.cpu_milli, 500);
    assert_int_equal(b->config.limits.memory_bytes, 64 << 20);
    assert_int_equal(b->config.limits.pids, 20);
    assert_true(b->config.sleep_s == 5 && b->config.freeze_s == 60);
    assert_int_equal(b->cpu_before_us, 77);
    int dir = openat(w->sd.dir_fd, "box", O_RDONLY | O_DIRECTORY);
    static const char *const strange[] = { "", "{}", "[]", "{\"version\":2}", "\0\1", "{\"version\":1,\"env\":{},\"new\":1}" };
    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        int fd = openat(dir, "ws-aaaaaaaaaa.json", O_WRONLY | O_TRUNC);
        assert_int_equal(write(fd, strange[i], strlen(strange[i])), strlen(strange[i]));
        close(fd);
        assert_int_not_equal(box_config_load(b), 0);
        assert_int_equal(b->config.limits.pids, 20);        /* nothing of it was taken over */
        assert_int_not_equal(box_config_save(b), 0);        /* and what a newer coppice wrote is kept */
        struct got g = need(w, b);
        assert_true(g.failed);
        assert_string_equal(g.fault.code, "start_failed");
        assert_non_null(strstr(g.fault.text, "ws-aaaaaaaaaa.json"));
        nothing_left(w, b);
    }
    char kept[64] = "";
    int fd = openat(dir, "ws-aaaaaaaaaa.json", O_RDONLY);
    assert_int_equal(read(fd, kept, sizeof(kept)), strlen(strange[5]));
    assert_string_equal(kept, strange[5]);
    close(fd);
    close(dir);
    json_decref(env);
    json_decref(limits);
    json_decref(idle);
    json_decref(mounts);
    gone(w);
}

static void bad_fields_are_refused_by_name(void **state)
{
    static const struct { const char *env, *limits, *idle, *mounts, *says; } bad[] = {
        { "{\"A=B\":\"x\"}", NULL, NULL, NULL, "env" }, { "{\"A\":1}", NULL, NULL, NULL, "env" }, { "[]", NULL, NULL, NULL, "env" }, { "{\"A\":\"x\\u0000y\"}", NULL, NULL, NULL, "env" },
        { NULL, "{\"memory_mb\":1}", NULL, NULL, "memory_mb" }, { NULL, "{\"cpu\":-1}", NULL, NULL, "cpu" }, { NULL, "{\"cpu\":0.001}", NULL, NULL, "cpu" },
        { NULL, "{\"memory\":1}", NULL, NULL, "'memory'" }, { NULL, "{\"pids\":\"9\"}", NULL, NULL, "pids" }, { NULL, NULL, "{\"sleep_s\":-1}", NULL, "sleep_s" },
        { NULL, NULL, "{\"nap\":1}", NULL, "nap" }, { NULL, NULL, NULL, "[{\"source\":\"a\",\"path\":\"b\"}]", "path" }, { NULL, NULL, NULL, "[{\"source\":\"a\",\"path\":\"/a/../b\"}]", "path" },
        { NULL, NULL, NULL, "[{\"source\":\"a\",\"path\":\"/proc/x\"}]", "path" }, { NULL, NULL, NULL, "[{\"source\":\"a\",\"path\":\"/etc\"}]", "path" },
        { NULL, NULL, NULL, "[{\"source\":\"\",\"path\":\"/a\"}]", "source" }, { NULL, NULL, NULL, "{}", "mounts" },
        { NULL, NULL, NULL, "[{\"source\":\"a\",\"path\":\"/a\",\"rw\":true}]", "rw" },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *v[4] = { 0 };
        const char *text[4] = { bad[i].env, bad[i].limits, bad[i].idle, bad[i].mounts };
        struct box_config c;
        struct fault f;
        box_config_init(&c);
        for (int k = 0; k < 4; k++)
            v[k] = text[k] ? json_loads(text[k], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
        assert_false(box_config_set(&c, v[0], v[1], v[2], v[3], &f));
        assert_string_equal(f.code, "invalid_request");
        if (!strstr(f.text, bad[i].says))
            fail_msg("'%s' does not name %s", f.text, bad[i].says);
        assert_true(box_config_is_default(&c));
        box_config_fini(&c);
        for (int k = 0; k < 4; k++)
            json_decref(v[k]);
    }
}

static void made_up_names_are_26_of_base32_and_differ(void **state)
{
    char a[LAUNCH_NAME], b[LAUNCH_NAME];

    box_make_name(a);
    box_make_name(b);
    assert_int_equal(strlen(a), 26);
    assert_int_equal(strspn(a, "abcdefghijklmnopqrstuvwxyz234567"), 26);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_starts_runs_freezes_thaws_sleeps_and_is_deleted),
        cmocka_unit_test(many_who_need_it_at_once_share_one_start),
        cmocka_unit_test(wishes_that_contradict_are_served_in_their_order),
        cmocka_unit_test(a_start_that_fails_leaves_nothing),
        cmocka_unit_test(a_layer_that_is_not_proved_is_named_and_it_does_not_run),
        cmocka_unit_test(an_agent_that_cannot_confine_says_so),
        cmocka_unit_test(an_agent_that_dies_before_it_is_ready_fails_the_start),
        cmocka_unit_test(the_death_of_a_running_one_is_told_and_it_can_start_again),
        cmocka_unit_test(processes_that_do_not_end_are_killed_until_they_have),
        cmocka_unit_test(idleness_freezes_and_then_ends_it),
        cmocka_unit_test(a_hold_keeps_it_awake_until_its_time_limit),
        cmocka_unit_test(a_configuration_survives_and_a_strange_one_is_refused),
        cmocka_unit_test(bad_fields_are_refused_by_name),
        cmocka_unit_test(made_up_names_are_26_of_base32_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
