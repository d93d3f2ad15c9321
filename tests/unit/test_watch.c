/* The parts of coppice-watch, with a kernel and a clock that are made up: patterns, what is told, moves, windows. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "sandbox/watch/follow.h"
#include "sandbox/watch/glob.h"
#include "sandbox/watch/proto.h"

enum { MS = 1000000, DIRS = 16, ENTRIES = 16, QUEUED = 64 };
/* A tree of directories by path, each with entries ("name/" is a directory, "name+" a file with content), and what the kernel has to say. */
static struct fake {
    uint64_t now;
    struct { const char *path; int wd, ino; const char *entries[ENTRIES]; } dirs[DIRS];
    struct { int wd; uint32_t mask, cookie; const char *name; } queue[QUEUED];
    unsigned queued, looks;
    void (*at_look)(const char *path);       /* what happens while a directory is watched and listed */
    int look_error;
} fake;

static uint64_t fake_now(void *self) { (void)self; return fake.now; }
static uint64_t fake_time(void *self) { (void)self; return 1; }
static void fake_unwatch(void *self, int wd) { (void)self; (void)wd; }
static int fake_reopen(void *self) { (void)self; return 0; }

static void says(int wd, uint32_t mask, uint32_t cookie, const char *name)
{
    assert_true(fake.queued < QUEUED);
    fake.queue[fake.queued].wd = wd;
    fake.queue[fake.queued].mask = mask;
    fake.queue[fake.queued].cookie = cookie;
    fake.queue[fake.queued++].name = name;
}

static void fake_read(void *self, struct intake *i)
{
    (void)self;
    for (unsigned k = 0; k < fake.queued; k++)
        intake_put(i, fake.now, 1, fake.queue[k].wd, fake.queue[k].mask, fake.queue[k].cookie, fake.queue[k].name);
    fake.queued = 0;
}

static int fake_look(void *self, const char *parent, const struct identity *expect, const char *name, bool sizes, int known_wd, struct identity *ret, entry_fn *entry, void *arg)
{
    char path[256];

    (void)self; (void)expect; (void)sizes;
    snprintf(path, sizeof path, "%s%s%s", parent, *parent && *name ? "/" : "", name);
    fake.looks++;
    if (fake.look_error)
        return fake.look_error;
    for (int k = 0; k < DIRS && fake.dirs[k].path; k++) {
        if (strcmp(fake.dirs[k].path, path))
            continue;
        *ret = (struct identity){ .dev = 1, .ino = (uint64_t)fake.dirs[k].ino, .wd = fake.dirs[k].wd };
        if (fake.at_look)
            fake.at_look(path);
        for (int e = 0; fake.dirs[k].wd != known_wd && e < ENTRIES && fake.dirs[k].entries[e]; e++) {
            char n[64];
            size_t len = strlen(strcpy(n, fake.dirs[k].entries[e]));
            bool is_dir = n[len - 1] == '/', data = n[len - 1] == '+';
            if (is_dir || data)
                n[len - 1] = 0;
            entry(arg, n, is_dir, data);
        }
        return 0;
    }
    return -ENOENT;
}

static const struct kernel kernel = { .look = fake_look, .unwatch = fake_unwatch, .read = fake_read, .now_ns = fake_now, .time_ns = fake_time, .reopen = fake_reopen };
static struct follow f;
static char story[8192];

/* Works until nothing is left to do, time passing; the events so far, in short. */
static const char *told(void)
{
    static const char *const types[] = { "create", "modify", "close", "delete", "move", "attrib" };
    struct told_event *e;

    story[0] = 0;
    for (int k = 0; k < 400; k++) {
        while (follow_work(&f))
            ;
        fake.now += 1 * MS;
        while ((e = told_take(&f.out, fake.now))) {
            size_t n = strlen(story);
            if (e->type == TOLD_READY || e->type == TOLD_LOST)
                snprintf(story + n, sizeof story - n, "%s%s;", e->type == TOLD_READY ? "ready" : "lost ", e->path);
            else
                snprintf(story + n, sizeof story - n, "%s %s%s%s%s;", types[e->type], e->path + 3, e->to ? ">" : "", e->to ? e->to + 3 : "", e->is_dir ? "/" : "");
            told_free(e);
        }
    }
    return story;
}

static void directory(const char *path, int wd, const char *const *entries)
{
    int k = 0;

    while (fake.dirs[k].path && strcmp(fake.dirs[k].path, path))
        k++;
    fake.dirs[k].path = path;
    fake.dirs[k].wd = fake.dirs[k].ino = wd;
    memset(fake.dirs[k].entries, 0, sizeof fake.dirs[k].entries);
    for (int e = 0; entries[e]; e++)
        fake.dirs[k].entries[e] = entries[e];
}
#define DIRECTORY(path, wd, ...) directory(path, wd, (const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })

static int setup(void **state)
{
    (void)state;
    fake = (struct fake){ .now = 1000ull * MS };
    f = (struct follow){ .kernel = &kernel, .recursive = true, .prefix = "/w" };
    told_init(&f.out, 20 * MS);
    DIRECTORY("", 1, "a/");
    DIRECTORY("a", 2);
    follow_start(&f);
    assert_string_equal(told(), "ready;");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    follow_fini(&f);
    return 0;
}

static void patterns_match_names_and_paths(void **state)
{
    static const struct { const char *pattern, *path; bool matches; } t[] = {
        { "*.c", "x.c", true }, { "*.c", "d/e/x.c", true }, { "*.c", "x.h", false }, { "a", "b/a", true }, { "a", "a/b", false },
        { "/a", "a", true }, { "/a", "b/a", false }, { "d/*.c", "d/x.c", true }, { "d/*.c", "d/e/x.c", false }, { "d/*", "d/.x", true },
        { "d/**", "d/e/f", true }, { "d/**", "d", false }, { "**/x", "x", true }, { "**/x", "a/b/x", true }, { "a/**/x", "a/x", true }, { "a/**/x", "a/b/c/x", true },
        { "a/**/x", "a/b/c/y", false }, { "a/**/b/**/c", "a/1/b/2/b/3/c", true }, { "[ab]?", "bx", true }, { "\\*", "*", true }, { "\\*", "x", false }, { "**", "a/b", true }, { "", "a", false }, { "/", "a", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        if (glob_match(t[i].pattern, t[i].path) != t[i].matches)
            fail_msg("%s and %s", t[i].pattern, t[i].path);
    assert_true(glob_hides("node_modules", "x/node_modules"));
    assert_true(glob_hides("x/**", "x"));
    assert_true(glob_hides("x/**", "x/y"));
    assert_false(glob_hides("x/*.c", "x"));
}

static void stars_cost_the_product_of_the_lengths_not_more(void **state)
{
    char pattern[1024] = "", path[4096] = "";

    (void)state;
    for (int i = 0; i < 150; i++)
        strcat(pattern, "**/a/");
    strcat(pattern, "z");
    for (int i = 0; i < 1500; i++)
        strcat(path, "a/");
    strcat(path, "b");
    assert_false(glob_match(pattern, path));
}

static void repeated_changes_of_a_file_are_one(void **state)
{
    (void)state;
    says(2, IN_CREATE, 0, "f");
    for (int i = 0; i < 5; i++)
        says(2, IN_MODIFY, 0, "f");
    says(2, IN_MODIFY, 0, "g");
    says(2, IN_MODIFY, 0, "f");
    says(2, IN_CLOSE_WRITE, 0, "f");
    says(2, IN_MODIFY, 0, "f");
    assert_string_equal(told(), "create a/f;modify a/f;modify a/g;close a/f;modify a/f;");
    says(2, IN_MODIFY, 0, "f");
    assert_string_equal(told(), "modify a/f;");      /* the former was out */
}

static void halves_of_a_move_find_each_other(void **state)
{
    (void)state;
    says(1, IN_MOVED_FROM, 7, "x");
    says(2, IN_MODIFY, 0, "other");
    says(2, IN_MOVED_TO, 7, "y");
    assert_string_equal(told(), "move x>a/y;modify a/other;");
    says(1, IN_MOVED_FROM, 8, "out");
    says(2, IN_MODIFY, 0, "other");
    assert_string_equal(told(), "delete out;modify a/other;");
    says(2, IN_MOVED_TO, 9, "in");
    assert_string_equal(told(), "create a/in;");
    says(1, IN_MOVED_FROM | IN_ISDIR, 10, "a");
    says(1, IN_MOVED_TO | IN_ISDIR, 10, "b");
    says(2, IN_CREATE, 0, "f");
    DIRECTORY("b", 2);
    assert_string_equal(told(), "move a>b/;create b/f;");
}

/* While d is watched: one file was there before, one is made after the watch and before the listing, one goes. */
static void during(const char *path)
{
    if (strcmp(path, "d"))
        return;
    says(5, IN_CREATE, 0, "new");
    says(5, IN_CLOSE_WRITE, 0, "new");
    says(5, IN_DELETE, 0, "gone");
    says(5, IN_MODIFY, 0, "open");
    says(5, IN_CLOSE_WRITE, 0, "open");
    fake.at_look = NULL;
}

static void nothing_is_lost_or_doubled_in_a_new_directory(void **state)
{
    (void)state;
    DIRECTORY("d", 5, "old+", "empty", "new", "open+", "sub/");
    DIRECTORY("d/sub", 6, "deep+");
    fake.at_look = during;
    says(1, IN_CREATE | IN_ISDIR, 0, "d");
    const char *s = told();
    static const char *const once[] = { "create d/;", "create d/old;", "close d/old;", "create d/empty;", "create d/new;", "close d/new;", "create d/open;", "close d/open;", "create d/sub/;", "create d/sub/deep;", "close d/sub/deep;" };
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++) {
        const char *at = strstr(s, once[i]);
        if (!at || strstr(at + 1, once[i]))
            fail_msg("%s is not once in %s", once[i], s);
    }
    assert_null(strstr(s, "gone"));
    assert_true(strstr(s, "create d/;") == s && strstr(s, "create d/sub/;") < strstr(s, "create d/sub/deep;"));
}

static void excluded_directories_are_not_looked_at(void **state)
{
    static char *exclude[] = { (char *)"node_modules", NULL }, *include[] = { (char *)"*.c", NULL };

    (void)state;
    f.exclude = exclude;
    f.include = include;
    unsigned before = fake.looks;
    says(1, IN_CREATE | IN_ISDIR, 0, "node_modules");
    says(1, IN_CREATE, 0, "x.c");
    says(1, IN_CREATE, 0, "x.h");
    says(1, IN_MOVED_FROM, 3, "x.h");
    says(1, IN_MOVED_TO, 3, "y.c");
    says(1, IN_MOVED_FROM, 4, "x.c");
    says(1, IN_MOVED_TO, 4, "x.o");
    assert_string_equal(told(), "create x.c;create y.c;delete x.c;");
    assert_int_equal(fake.looks, before);
    f.exclude = f.include = NULL;
}

static void a_full_queue_of_the_kernel_is_told_and_the_tree_looked_at_again(void **state)
{
    (void)state;
    DIRECTORY("", 1, "a/", "n/");
    DIRECTORY("n", 9);
    says(-1, IN_Q_OVERFLOW, 0, "");
    assert_string_equal(told(), "lost queue;");
    says(9, IN_CREATE, 0, "f");
    assert_string_equal(told(), "create n/f;");
}

static void what_nobody_takes_is_bounded_and_its_loss_told(void **state)
{
    char name[16];

    (void)state;
    f.out.count_max = 10;
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "/w/%d", i);
        told_put(&f.out, fake.now, WATCHED_CREATE, name, NULL, false, 1);
    }
    assert_true(f.out.count <= 11);
    assert_int_equal(f.out.last->type, TOLD_LOST);
    assert_int_equal(f.out.last->lost, 40);
    assert_string_equal(f.out.last->path, "slow");
}

static void limits_and_ends_have_reasons(void **state)
{
    (void)state;
    fake.look_error = -ENOSPC;
    says(1, IN_CREATE | IN_ISDIR, 0, "d");
    told();
    assert_string_equal(f.end_code, "too_many");
    assert_non_null(strstr(f.end_text, "max_user_watches"));
    follow_fini(&f);
    f = (struct follow){ .kernel = &kernel, .recursive = true, .prefix = "/w" };
    told_init(&f.out, 20 * MS);
    fake.look_error = -EACCES;
    follow_start(&f);
    assert_string_equal(told(), "");         /* not ready first */
    assert_string_equal(f.end_code, "permission_denied");
    f.end_code = NULL;
    fake.look_error = 0;
    follow_again(&f, 0, "x");
    f.silent = false;
    told();
    says(1, IN_DELETE_SELF, 0, "");
    told();
    assert_string_equal(f.end_code, "not_found");
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_names_and_paths), cmocka_unit_test(stars_cost_the_product_of_the_lengths_not_more), t(repeated_changes_of_a_file_are_one), t(halves_of_a_move_find_each_other),
        t(nothing_is_lost_or_doubled_in_a_new_directory), t(excluded_directories_are_not_looked_at), t(a_full_queue_of_the_kernel_is_told_and_the_tree_looked_at_again),
        t(what_nobody_takes_is_bounded_and_its_loss_told), t(limits_and_ends_have_reasons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
