/* sandboxd when snapshotd dies and comes back: calls that were under way, and sandboxes that run. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "sandbox/core/box_private.h"
#include "sandbox/keeper.h"
#include "tests/lib/fake_box_world.h"
#include "tests/lib/tmp.h"

struct got { bool done, failed; struct box *b; struct fault fault; };

static void on_got(void *arg, struct box *b, const struct fault *fault)
{
    struct got *g = arg;

    *g = (struct got){ true, fault != NULL, b, fault ? *fault : (struct fault){ 0 } };
}

struct trial { char dir[256]; struct world *w; struct box *b; };

static struct got need(struct trial *t)
{
    struct got g = { 0 };

    box_need(t->b, on_got, &g);
    world_run(t->w, &g.done);
    return g;
}

static void begin(struct trial *t)
{
    struct got g = { 0 };

    assert_int_equal(tmp_make("keeper", t->dir, sizeof(t->dir)), 0);
    t->w = world_new(t->dir);
    box_get(&t->w->sd, "box", on_got, &g);
    world_run(t->w, &g.done);
    t->b = g.b;
}

static void end(struct trial *t)
{
    if (t->b->state != BOX_ASLEEP)
        world_agent_dies(t->w, true, 0);
    while (t->b->state != BOX_ASLEEP)
        g_main_context_iteration(NULL, TRUE);
    keeper_free(t->w->sd.keeper);
    world_free(t->w);
    tmp_remove(t->dir);
}

struct answer { bool done; bool ok; char code[32], text[512]; };

static void on_answer(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct answer *a = arg;

    assert_false(a->done);
    a->done = true;
    a->ok = result != NULL;
    if (fault) {
        g_strlcpy(a->code, fault->code, sizeof(a->code));
        g_strlcpy(a->text, fault->text, sizeof(a->text));
    }
}

static struct answer call(struct trial *t, json_t *req)
{
    struct answer a = { 0 };

    stock_call(t->w->sd.stock, req, NULL, 0, on_answer, &a);
    world_run(t->w, &a.done);
    return a;
}

static void a_start_goes_on_when_snapshotd_dies_in_it(void **state)
{
    for (int before = 0; before < 2; before++) {
        struct trial t;
        begin(&t);
        t.w->cut_before = before;
        t.w->cuts = 1;                    /* the first request of a start: the mount */
        struct got g = need(&t);
        assert_false(g.failed);
        assert_int_equal(t.w->cuts, 0);
        assert_int_equal(t.b->state, BOX_RUNNING);
        box_release(t.b);
        end(&t);
    }
}

static void what_only_tells_is_asked_again(void **state)
{
    struct trial t;
    begin(&t);
    t.w->cuts = 2;
    assert_true(call(&t, json_pack("{s:s,s:s}", "verb", "show", "object", "box")).ok);
    assert_int_equal(t.w->cuts, 0);
    end(&t);
}

static void what_may_not_be_done_twice_fails_and_says_so(void **state)
{
    struct trial t;
    begin(&t);
    int asked = t.w->asked;
    t.w->cuts = 1;
    struct answer a = call(&t, json_pack("{s:s,s:s,s:s}", "verb", "snapshot", "object", "box", "name", "n"));
    assert_false(a.ok);
    assert_string_equal(a.code, "unavailable");
    assert_non_null(strstr(a.text, "may be done or not"));
    assert_int_equal(t.w->asked - asked, 1);
    assert_true(call(&t, json_pack("{s:s,s:s,s:s}", "verb", "snapshot", "object", "box", "name", "m")).ok);      /* the next one finds a connection */
    end(&t);
}

static void a_request_that_snapshotd_dies_of_is_not_made_for_ever(void **state)
{
    struct trial t;
    begin(&t);
    t.w->cuts = 1000;
    struct answer a = call(&t, json_pack("{s:s}", "verb", "stats"));
    assert_false(a.ok);
    assert_true(t.w->cuts > 900);
    end(&t);
}

static void a_removal_that_was_done_before_the_end_is_a_success(void **state)
{
    struct trial t;
    begin(&t);
    t.w->roots = 1;                       /* the first try removes it, the second finds none */
    t.w->cuts = 1;
    assert_true(call(&t, json_pack("{s:s,s:[s]}", "verb", "rm", "objects", "root-of-box")).ok);
    assert_int_equal(t.w->roots, 0);
    assert_false(call(&t, json_pack("{s:s,s:[s]}", "verb", "rm", "objects", "root-of-box")).ok);
    end(&t);
}

/* snapshotd dies under a running sandbox; afterwards it is asked until it has been looked at. */
static void dies(struct trial *t, bool served)
{
    int asked = t->w->asked;

    t->w->served = served;
    world_store_dies(t->w);
    while (t->w->asked == asked || t->b->p->unserved)
        g_main_context_iteration(NULL, TRUE);
}

static void sandboxes_whose_mounts_outlive_it_go_on_and_others_end(void **state)
{
    struct trial t;
    begin(&t);
    t.w->sd.keeper = keeper_new(&t.w->sd, &boxes_keeper_events, &t.w->sd);
    assert_false(need(&t).failed);
    for (int i = 0; i < 3; i++) {
        dies(&t, true);
        assert_int_equal(t.b->state, BOX_RUNNING);
    }
    box_release(t.b);
    dies(&t, false);
    while (t.b->state != BOX_ASLEEP)
        g_main_context_iteration(NULL, TRUE);
    assert_non_null(strstr(box_last_error(t.b), "snapshotd"));
    assert_int_equal(t.w->boxes, 0);
    assert_false(need(&t).failed);        /* and starts again */
    assert_int_equal(t.b->state, BOX_RUNNING);
    box_release(t.b);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_goes_on_when_snapshotd_dies_in_it),
        cmocka_unit_test(what_only_tells_is_asked_again),
        cmocka_unit_test(what_may_not_be_done_twice_fails_and_says_so),
        cmocka_unit_test(a_request_that_snapshotd_dies_of_is_not_made_for_ever),
        cmocka_unit_test(a_removal_that_was_done_before_the_end_is_a_success),
        cmocka_unit_test(sandboxes_whose_mounts_outlive_it_go_on_and_others_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
