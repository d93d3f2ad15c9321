/* Services in boxes on a faked launcher and agent (tests/lib/fake_box_world.h): when they start, what follows each end, what is kept. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "sandbox/core/box_private.h"
#include "sandbox/exec.h"
#include "sandbox/service.h"
#include "tests/lib/fake_box_world.h"

static struct world *w;
static struct box *b;
static char dir[64];
static unsigned starts, signals;
static uint32_t last_id;
static int agent_fd = -1;
static bool refuse;

/* The agent: whatever is to be executed has started, or there is no such program. */
static void on_frame(struct world *world, int fd, const struct frame *f)
{
    struct buf body = BUF_INIT;

    (void)world;
    agent_fd = fd;
    if (f->type == FRAME_SIGNAL) {
        signals++;
        buf_put_u32(&body, 0);
        frame_send(fd, FRAME_RESULT, 0, f->id, 0, NULL, 0, body.data, body.len, -1);
    } else if (f->type == FRAME_EXEC) {
        starts++;
        last_id = f->id;
        buf_put_u32(&body, refuse ? (uint32_t)-2 : 77);
        if (refuse)
            buf_put_str(&body, "exec");
        frame_send(fd, refuse ? FRAME_FAILED : FRAME_STARTED, 0, f->id, 0, NULL, 0, body.data, body.len, -1);
    }
    buf_fini(&body);
}

static void exits(int code)
{
    struct exit_info info = { .code = code };
    struct buf body = BUF_INIT;

    exit_info_put(&body, &info);
    frame_send(agent_fd, FRAME_EXITED, 0, last_id, 0, NULL, 0, body.data, body.len, -1);
    buf_fini(&body);
}

struct got { bool done; struct box *b; };
static void on_got(void *arg, struct box *box, const struct fault *fault)
{
    struct got *g = arg;

    assert_null(fault);
    g->done = true;
    g->b = box;
}

static char *field(const char *name, const char *key)
{
    static char text[600];
    json_t *o = service_json(b, name), *v = json_object_get(o, key);

    if (json_is_string(v))
        snprintf(text, sizeof(text), "%s", json_string_value(v));
    else
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(v));
    json_decref(o);
    return text;
}

static void until(const char *name, const char *key, const char *value)
{
    for (int i = 0; i < 100000 && strcmp(field(name, key), value); i++)
        g_main_context_iteration(NULL, TRUE);
    assert_string_equal(field(name, key), value);
}

static void wake(void)
{
    struct got g = { 0 };

    box_need(b, on_got, &g);
    world_run(w, &g.done);
    box_release(b);
}

static void to_sleep(void)
{
    struct got g = { 0 };

    box_sleep(b, false, on_got, &g);
    world_run(w, &g.done);
}

static int setup(void **state)
{
    struct got g = { 0 };

    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/coppice-service-XXXXXX");
    assert_non_null(mkdtemp(dir));
    starts = signals = 0;
    refuse = false;
    w = world_new(dir);
    w->on_frame = on_frame;
    boxes_set_hooks(w->sd.boxes, &exec_hooks);
    box_get(&w->sd, "box", on_got, &g);
    world_run(w, &g.done);
    b = box_ref(g.b);
    return 0;
}

static int teardown(void **state)
{
    char file[128];

    (void)state;
    if (b->state != BOX_ASLEEP)
        to_sleep();
    box_unref(b);
    world_free(w);
    snprintf(file, sizeof(file), "%s/box/ws-aaaaaaaaaa.json", dir);
    unlink(file);
    snprintf(file, sizeof(file), "%s/box", dir);
    rmdir(file);
    rmdir(dir);
    return 0;
}

static void add(const char *name, const char *restart, int port, int max)
{
    json_t *config = json_pack("{s:[s], s:s}", "argv", "/bin/server", "restart", restart);
    struct fault f;

    if (port)
        json_object_set_new(config, "port", json_integer(port));
    if (max)
        json_object_set_new(config, "max_restarts", json_integer(max));
    assert_true(service_add(b, name, config, &f));
    assert_false(service_add(b, name, config, &f));
    assert_string_equal(f.code, "exists");
    json_decref(config);
}

static void the_delay_doubles_to_its_cap(void **state)
{
    (void)state;
    assert_int_equal(service_back_off_ms(1), SERVICE_BACK_OFF_MS);
    assert_int_equal(service_back_off_ms(3), 4 * SERVICE_BACK_OFF_MS);
    assert_int_equal(service_back_off_ms(9), SERVICE_BACK_OFF_MAX_MS);
    assert_int_equal(service_back_off_ms(1000000), SERVICE_BACK_OFF_MAX_MS);
}

static void it_starts_with_the_box_and_does_not_hold_it(void **state)
{
    (void)state;
    add("web", "always", 8000, 0);
    assert_int_equal(b->state, BOX_ASLEEP);
    assert_int_equal(starts, 0);
    assert_string_equal(field("web", "state"), "stopped");
    assert_string_equal(service_for_port(b, 8000), "web");
    assert_null(service_for_port(b, 8001));
    wake();
    until("web", "state", "running");
    assert_int_equal(starts, 1);
    assert_int_equal(b->holds, 0);
    to_sleep();
    assert_string_equal(field("web", "state"), "stopped");
    wake();
    until("web", "state", "running");
    assert_int_equal(starts, 2);
}

static void ends_are_followed_by_what_the_policy_says(void **state)
{
    struct fault f;

    (void)state;
    wake();
    add("s", "on-failure", 0, 2);
    until("s", "state", "running");
    exits(3);
    until("s", "state", "backing-off");
    assert_string_equal(field("s", "exit_code"), "3");
    until("s", "state", "running");
    assert_string_equal(field("s", "restarts"), "1");
    exits(3);
    until("s", "restarts", "2");
    until("s", "state", "running");
    exits(3);
    until("s", "state", "failed");
    assert_int_equal(starts, 3);
    assert_true(service_start(b, "s", &f));
    until("s", "state", "running");
    exits(0);
    until("s", "state", "stopped");
    assert_true(service_remove(b, "s", &f));
    assert_false(service_remove(b, "s", &f));
    assert_string_equal(f.code, "not_found");
    refuse = true;
    add("none", "no", 0, 0);
    until("none", "state", "failed");
    assert_non_null(strstr(field("none", "error"), "no such program"));
}

static void a_stop_by_hand_holds_over_sleep_and_is_written_down(void **state)
{
    struct fault f;

    (void)state;
    add("s", "always", 0, 0);
    wake();
    until("s", "state", "running");
    assert_true(service_stop(b, "s", &f));
    while (!signals)
        g_main_context_iteration(NULL, TRUE);
    exits(0);
    until("s", "state", "stopped");
    to_sleep();
    wake();
    world_settle(w, b);
    assert_int_equal(starts, 1);
    struct box_config was = b->config;
    json_t *kept = json_deep_copy(was.services);
    assert_int_equal(box_config_load(b), 0);
    assert_true(json_equal(kept, b->config.services));
    assert_true(json_is_false(json_object_get(json_object_get(kept, "s"), "enabled")));
    json_decref(kept);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_delay_doubles_to_its_cap), t(it_starts_with_the_box_and_does_not_hold_it), t(ends_are_followed_by_what_the_policy_says), t(a_stop_by_hand_holds_over_sleep_and_is_written_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
