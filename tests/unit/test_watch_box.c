/* What the program of a watch says, which is the workload's word, on a faked launcher and agent (tests/lib/fake_box_world.h). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/wire.h"
#include "sandbox/core/box_private.h"
#include "sandbox/exec.h"
#include "sandbox/watch.h"
#include "sandbox/watch/proto.h"
#include "tests/lib/fake_box_world.h"

static struct world *w;
static struct box *b;
static char dir[64];
static uint32_t id;
static int agent_fd;
static bool started;
static struct { unsigned ready, events, lost; bool ended; char code[64]; } seen;

static void on_frame(struct world *world, int fd, const struct frame *f)
{
    struct buf body = BUF_INIT;

    (void)world;
    if (f->type == FRAME_EXEC) {
        id = f->id;
        agent_fd = fd;
        buf_put_u32(&body, 77);
        frame_send(fd, FRAME_STARTED, 0, f->id, 0, NULL, 0, body.data, body.len, -1);
        started = true;
    }
    buf_fini(&body);
}

struct got { bool done; struct box *b; };
static void on_got(void *arg, struct box *box, const struct fault *fault)
{
    struct got *g = arg;

    assert_null(fault);
    *g = (struct got){ true, box };
}

static void on_ready(void *arg, const char *path) { seen.ready++; }
static void on_event(void *arg, const struct watch_event *e) { seen.events++; }
static void on_lost(void *arg, uint64_t lost, const char *reason) { seen.lost++; }
static void on_end(void *arg, const struct fault *fault)
{
    seen.ended = true;
    snprintf(seen.code, sizeof(seen.code), "%s", fault->code);
}
static const struct watch_ops ops = { .ready = on_ready, .event = on_event, .overflow = on_lost, .end = on_end };

static void put_message(struct buf *all, const struct buf *body)
{
    buf_put_u32(all, (uint32_t)body->len);
    buf_put(all, body->data, body->len);
}

/* R: ready, E: an event, L: lost. */
static void put_word(struct buf *all, char word)
{
    struct buf m = BUF_INIT;

    buf_put_u8(&m, word == 'R' ? WATCH_READY : word == 'E' ? WATCH_EVENT : WATCH_LOST);
    if (word == 'E') {
        buf_put_u8(&m, WATCH_CREATE);
        buf_put_u8(&m, 0);
    }
    if (word != 'R')
        buf_put_u64(&m, 1);
    buf_put_str(&m, word == 'L' ? "queue" : "/workspace/a");
    if (word == 'E')
        buf_put_str(&m, "");
    put_message(all, &m);
    buf_fini(&m);
}

static void say(const char *words)
{
    struct buf body = BUF_INIT;

    buf_put_u32(&body, 0);
    buf_put_u32(&body, 0);
    for (; *words; words++)
        put_word(&body, *words);
    frame_send(agent_fd, FRAME_DATA, STREAM_CHANNEL, id, 0, NULL, 0, body.data, body.len, -1);
    buf_fini(&body);
}

static void what_it_says_out_of_order_ends_it_and_is_told_to_nobody(void **state)
{
    static const struct { const char *words; unsigned ready, events, lost; bool broken; } cases[] = {
        { "REEL", 1, 2, 1, false }, { "RR", 1, 0, 0, true }, { "RERE", 1, 1, 0, true }, { "E", 0, 0, 0, true }, { "L", 0, 0, 0, true }, { "ER", 0, 0, 0, true },
    };
    struct fault f;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct watch_request q = { .path = "/workspace" };
        memset(&seen, 0, sizeof(seen));
        started = false;
        struct watch *watch = watch_start(b, &q, &ops, NULL, &f);
        assert_non_null(watch);
        world_run(w, &started);
        say(cases[i].words);
        bool *until = cases[i].broken ? &seen.ended : NULL;
        for (unsigned k = 0; until ? !*until : seen.lost < cases[i].lost; k++) {
            assert_true(k < 10000);
            g_main_context_iteration(NULL, TRUE);
        }
        assert_int_equal(seen.ready, cases[i].ready);
        assert_int_equal(seen.events, cases[i].events);
        assert_int_equal(seen.lost, cases[i].lost);
        if (cases[i].broken)
            assert_string_equal(seen.code, "agent_lost");
        watch_free(watch);
    }
}

static int setup(void **state)
{
    struct got g = { 0 }, run = { 0 };

    (void)state;
    setenv("COPPICE_WATCH", "/proc/self/exe", 1);       /* any file: it is not run here */
    watch_init();
    snprintf(dir, sizeof(dir), "/tmp/coppice-watch-XXXXXX");
    assert_non_null(mkdtemp(dir));
    w = world_new(dir);
    w->on_frame = on_frame;
    boxes_set_hooks(w->sd.boxes, &exec_hooks);
    box_get(&w->sd, "box", on_got, &g);
    world_run(w, &g.done);
    b = box_ref(g.b);
    box_need(b, on_got, &run);
    world_run(w, &run.done);
    return 0;
}

static int teardown(void **state)
{
    struct got g = { 0 };

    (void)state;
    box_release(b);
    box_sleep(b, false, on_got, &g);
    world_run(w, &g.done);
    box_unref(b);
    world_free(w);
    char file[128];
    snprintf(file, sizeof(file), "%s/box/ws-aaaaaaaaaa.json", dir);
    unlink(file);
    snprintf(file, sizeof(file), "%s/box", dir);
    rmdir(file);
    rmdir(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(what_it_says_out_of_order_ends_it_and_is_told_to_nobody, setup, teardown) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
