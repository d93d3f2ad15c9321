/* Names as git quotes them, the shortest difference of texts, patches that git and patch(1) apply, --stat as git prints it, the graph of a
 * log. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "tools/graph.h"
#include "base/linediff.h"
#include "tools/patch.h"
#include "tools/text.h"

#include "tests/lib/seed.h"

static void quoted(const char *in, size_t n, const char *want)
{
    struct buf b = BUF_INIT;

    text_quote(&b, in, n);
    assert_int_equal(b.len, strlen(want));
    assert_memory_equal(b.data, want, b.len);
    buf_fini(&b);
}

static void names_are_quoted_as_git_does(void **state)
{
    (void)state;
    quoted("plain name.c", 12, "plain name.c");
    quoted("a\tb\n", 4, "\"a\\tb\\n\"");
    quoted("q\"\\", 3, "\"q\\\"\\\\\"");
    quoted("\xc3\xa9", 2, "\"\\303\\251\"");
    quoted("\x01\x7f", 2, "\"\\001\\177\"");
}

static void control_bytes_of_messages_never_reach_a_terminal(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(text_safe(out, sizeof(out), "a\x1b[2Jb\n"), "a\\x1b[2Jb\\x0a");
    assert_string_equal(text_safe(out, 8, "\x1b\x1b\x1b"), "\\x1b");
}

static void sizes_are_short(void **state)
{
    (void)state;
    char out[TEXT_SIZE];
    assert_string_equal(text_bytes(out, 0), "0 B");
    assert_string_equal(text_bytes(out, 1023), "1023 B");
    assert_string_equal(text_bytes(out, 1536), "1.5 KiB");
    assert_string_equal(text_bytes(out, (1 << 20) - 1), "1.0 MiB");
    assert_string_equal(text_bytes(out, UINT64_MAX), "16.0 EiB");
}

/* --- the difference --- */

/* Length of the longest common subsequence of lines, the slow and plain way. */
static size_t lcs(const struct linediff *d)
{
    size_t n = d->a.n, m = d->b.n, w = m + 1;
    size_t *t = calloc((n + 1) * w, sizeof(*t));

    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            const struct line *x = &d->a.v[i - 1], *y = &d->b.v[j - 1];
            size_t up = t[(i - 1) * w + j], left = t[i * w + j - 1];
            t[i * w + j] = x->n == y->n && !memcmp(x->p, y->p, x->n) ? t[(i - 1) * w + j - 1] + 1 : up > left ? up : left;
        }
    size_t r = t[n * w + m];
    free(t);
    return r;
}

static void kept_lines_agree(const struct linediff *d)
{
    size_t i = 0, j = 0;

    for (;;) {
        while (i < d->a.n && d->a.changed[i])
            i++;
        while (j < d->b.n && d->b.changed[j])
            j++;
        if (i == d->a.n || j == d->b.n)
            break;
        assert_int_equal(d->a.v[i].n, d->b.v[j].n);
        assert_memory_equal(d->a.v[i].p, d->b.v[j].p, d->a.v[i].n);
        i++, j++;
    }
    assert_true(i == d->a.n && j == d->b.n);
}

static size_t random_text(char *out, size_t max_lines, unsigned kinds, unsigned *seed)
{
    size_t n = 0, lines = (size_t)rand_r(seed) % (max_lines + 1);

    for (size_t i = 0; i < lines; i++)
        n += (size_t)sprintf(out + n, "l%u\n", (unsigned)rand_r(seed) % kinds);
    if (n && rand_r(seed) % 4 == 0)
        n--;
    return n;
}

static unsigned the_seed(void)
{
    unsigned seed = (unsigned)test_seed();
    printf("COPPICE_SEED=%u\n", seed);
    return seed;
}

static void the_difference_of_random_texts_is_right_and_shortest(void **state)
{
    (void)state;
    unsigned seed = the_seed();
    char a[1024], b[1024];

    for (int round = 0; round < 3000; round++) {
        unsigned kinds = 1 + (unsigned)rand_r(&seed) % 12;
        size_t an = random_text(a, 40, kinds, &seed), bn = random_text(b, 40, kinds, &seed);
        struct linediff d;
        assert_int_equal(linediff_make(a, an, b, bn, &d), 0);
        kept_lines_agree(&d);
        size_t common = lcs(&d);
        assert_int_equal(d.deleted, d.a.n - common);
        assert_int_equal(d.added, d.b.n - common);
        linediff_fini(&d);
    }
}

static void texts_with_nothing_in_common_end_in_bounded_work(void **state)
{
    (void)state;
    enum { LINES = 20000 };
    char *a = malloc(LINES * 16), *b = malloc(LINES * 16);
    size_t an = 0, bn = 0;
    struct linediff d;

    for (int i = 0; i < LINES; i++) {
        an += (size_t)sprintf(a + an, "%s%d\n", i % 7 ? "a" : "c", i % 7 ? i : i % 49);
        bn += (size_t)sprintf(b + bn, "%s%d\n", i % 11 ? "b" : "c", i % 11 ? i : i % 49);
    }
    assert_int_equal(linediff_make(a, an, b, bn, &d), 0);
    kept_lines_agree(&d);
    assert_true(d.deleted > LINES / 2);
    linediff_fini(&d);
    free(a);
    free(b);
}

/* --- patches --- */

static struct side file(const void *p, size_t n, uint32_t mode)
{
    return (struct side){ .there = true, .mode = mode, .p = p, .n = n, .size = n };
}

static void patch_is(struct patch_entry *e, const char *want)
{
    struct buf b = BUF_INIT;

    e->path_len = strlen(e->path);
    e->old_path_len = e->old_path ? strlen(e->old_path) : 0;
    assert_int_equal(patch_write(e, &b), 0);
    buf_put_u8(&b, 0);
    assert_string_equal((char *)b.data, want);
    buf_fini(&b);
}

static void patches_have_the_form_of_git(void **state)
{
    (void)state;
    struct patch_entry e = { .kind = 'A', .path = "n", .b = file("x\ny", 3, S_IFREG | 0755), .content = true };
    patch_is(&e,
             "diff --git a/n b/n\nnew file mode 100755\n--- /dev/null\n+++ b/n\n@@ -0,0 +1,2 @@\n+x\n+y\n\\ No newline at end of file\n");
    e = (struct patch_entry){ .kind = 'A', .path = "empty", .b = file("", 0, S_IFREG | 0644), .content = true };
    patch_is(&e, "diff --git a/empty b/empty\nnew file mode 100644\n");
    e = (struct patch_entry){ .kind = 'D', .path = "d d", .a = file("x\n", 2, S_IFREG | 0600), .content = true };
    patch_is(&e, "diff --git a/d d b/d d\ndeleted file mode 100644\n--- a/d d\t\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n");
    e = (struct patch_entry){
        .kind = 'M', .path = "m", .a = file("a\0b", 3, S_IFREG | 0644), .b = file("a\0c", 3, S_IFREG | 0644), .content = true
    };
    patch_is(&e, "diff --git a/m b/m\nBinary files a/m and b/m differ\n");
    e = (struct patch_entry){ .kind = 'A', .path = "m", .b = file(NULL, 0, S_IFREG | 0644), .content = true, .too_large = true };
    patch_is(&e, "diff --git a/m b/m\nnew file mode 100644\nBinary files /dev/null and b/m differ\n");
    e = (struct patch_entry){ .kind = 'M', .path = "x", .a = file(NULL, 0, S_IFREG | 0644), .b = file(NULL, 0, S_IFREG | 0755) };
    patch_is(&e, "diff --git a/x b/x\nold mode 100644\nnew mode 100755\n");
    e = (struct patch_entry){
        .kind = 'R', .path = "b\xff", .old_path = "a", .a = file(NULL, 0, S_IFREG | 0644), .b = file(NULL, 0, S_IFREG | 0644)
    };
    patch_is(&e, "diff --git a/a \"b/b\\377\"\nsimilarity index 100%\nrename from a\nrename to \"b\\377\"\n");
    e = (struct patch_entry){
        .kind = 'T', .path = "t", .a = file("x\n", 2, S_IFREG | 0644), .b = file("to", 2, S_IFLNK | 0777), .content = true
    };
    patch_is(&e, "diff --git a/t b/t\ndeleted file mode 100644\n--- a/t\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
                 "diff --git a/t b/t\nnew file mode 120000\n--- /dev/null\n+++ b/t\n@@ -0,0 +1 @@\n+to\n\\ No newline at end of file\n");
    e = (struct patch_entry){
        .kind = 'T', .path = "t", .a = file("x\n", 2, S_IFREG | 0644), .b = file(NULL, 0, S_IFDIR | 0755), .content = true
    };
    patch_is(&e, "diff --git a/t b/t\ndeleted file mode 100644\n--- a/t\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n");
    e = (struct patch_entry){ .kind = 'A', .path = "dir", .b = file(NULL, 0, S_IFDIR | 0755), .content = true };
    struct buf b = BUF_INIT;
    e.path_len = 3;
    assert_int_equal(patch_write(&e, &b), 0);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void write_file(const char *dir, const char *name, const void *p, size_t n)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static size_t read_file(const char *dir, const char *name, char *out, size_t size)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, size, f);
    fclose(f);
    return n;
}

static int run(const char *dir, const char *command)
{
    char line[512];
    snprintf(line, sizeof(line), "cd %s && %s >/dev/null 2>&1", dir, command);
    return system(line);
}

static void make_dir(char dir[32])
{
    strcpy(dir, "/tmp/test_patch.XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static void remove_dir(const char *dir)
{
    char line[64];
    snprintf(line, sizeof(line), "rm -rf %s", dir);
    assert_int_equal(system(line), 0);
}

/* Random texts: our patch, applied by another program, gives the new text, and is not longer than what `diff -u` finds. */
static void applied_patches_give_the_new_text(void **state)
{
    (void)state;
    unsigned seed = the_seed();
    char dir[32], a[2048], b[2048], got[4096];

    if (system("git --version >/dev/null 2>&1")) {
        printf("no git here: nothing to apply patches with\n");
        skip();
    }
    make_dir(dir);
    assert_int_equal(run(dir, "git init -q ."), 0);
    for (int round = 0; round < 60; round++) {
        size_t an = random_text(a, 60, 20, &seed), bn = random_text(b, 60, 20, &seed);
        if (!an || !bn || (an == bn && !memcmp(a, b, an)))
            continue;
        struct patch_entry e = {
            .kind = 'M', .path = "f", .path_len = 1, .a = file(a, an, S_IFREG | 0644), .b = file(b, bn, S_IFREG | 0644), .content = true
        };
        struct buf p = BUF_INIT;
        assert_int_equal(patch_write(&e, &p), 0);
        write_file(dir, "f", a, an);
        write_file(dir, "p", p.data, p.len);
        assert_int_equal(run(dir, "git apply p"), 0);
        assert_int_equal(read_file(dir, "f", got, sizeof(got)), bn);
        assert_memory_equal(got, b, bn);
        buf_fini(&p);
    }
    remove_dir(dir);
}

static size_t count_changes(const char *text, size_t n)
{
    size_t changes = 0;

    for (size_t i = 0; i < n; i++)
        if ((i == 0 || text[i - 1] == '\n') && (text[i] == '+' || text[i] == '-'))
            changes++;
    return changes;
}

static void patches_change_as_many_lines_as_those_of_diff(void **state)
{
    (void)state;
    unsigned seed = the_seed();
    char dir[32], a[2048], b[2048], theirs[8192];

    if (system("diff --version >/dev/null 2>&1")) {
        printf("no diff here: nothing to compare with\n");
        skip();
    }
    make_dir(dir);
    for (int round = 0; round < 40; round++) {
        size_t an = random_text(a, 60, 20, &seed), bn = random_text(b, 60, 20, &seed);
        struct patch_entry e = {
            .kind = 'M', .path = "f", .path_len = 1, .a = file(a, an, S_IFREG | 0644), .b = file(b, bn, S_IFREG | 0644), .content = true
        };
        struct buf p = BUF_INIT;
        assert_int_equal(patch_write(&e, &p), 0);
        write_file(dir, "a", a, an);
        write_file(dir, "b", b, bn);
        int status = run(dir, "diff -u --minimal a b >p; [ $? -le 1 ]");
        assert_int_equal(status, 0);
        char line[128];
        snprintf(line, sizeof(line), "cd %s && diff -u --minimal a b > p; true", dir);
        assert_int_equal(system(line), 0);
        size_t n = read_file(dir, "p", theirs, sizeof(theirs));
        size_t same = an == bn && !memcmp(a, b, an);
        assert_int_equal(count_changes((char *)p.data, p.len), same ? 0 : count_changes(theirs, n));
        buf_fini(&p);
    }
    remove_dir(dir);
}

/* --- stat --- */

static void stat_looks_as_of_git(void **state)
{
    (void)state;
    struct stat_table t = { 0 };
    char *out = NULL;
    size_t n;
    struct patch_entry e[] = {
        { .kind = 'M',
          .path = "a",
          .path_len = 1,
          .a = file("1\n2\n", 4, S_IFREG | 0644),
          .b = file("1\n3\n4\n", 6, S_IFREG | 0644),
          .content = true },
        { .kind = 'A', .path = "bin", .path_len = 3, .b = file("\0x", 2, S_IFREG | 0644), .content = true },
        { .kind = 'R',
          .path = "d/new/f",
          .path_len = 7,
          .old_path = "d/old/f",
          .old_path_len = 7,
          .a = file(NULL, 0, S_IFREG | 0644),
          .b = file(NULL, 0, S_IFREG | 0644) },
        { .kind = 'A', .path = "dir", .path_len = 3, .b = file(NULL, 0, S_IFDIR | 0755), .content = true },
    };
    for (size_t i = 0; i < sizeof(e) / sizeof(e[0]); i++)
        assert_int_equal(stat_add(&t, &e[i]), 0);
    FILE *f = open_memstream(&out, &n);
    stat_print(&t, 80, f);
    fclose(f);
    assert_string_equal(out, " a                |   3 ++-\n bin              | Bin 0 -> 2 bytes\n d/{old => new}/f |   0\n"
                             " 3 files changed, 2 insertions(+), 1 deletion(-)\n");
    free(out);
    stat_fini(&t);
}

static void stat_scales_to_the_width(void **state)
{
    (void)state;
    struct stat_table t = { 0 };
    char *text = malloc(4000), *out = NULL;
    size_t n;

    for (int i = 0; i < 2000; i++)
        memcpy(text + 2 * i, "x\n", 2);
    struct patch_entry e = { .kind = 'A',
                             .path = "some/rather/long/directory/name/and/then/a/file/with/a/name/that/does/not/fit/at/all.c",
                             .b = file(text, 4000, S_IFREG | 0644),
                             .content = true };
    e.path_len = strlen(e.path);
    assert_int_equal(stat_add(&t, &e), 0);
    FILE *f = open_memstream(&out, &n);
    stat_print(&t, 80, f);
    fclose(f);
    assert_true(strcspn(out, "\n") <= 80);
    assert_non_null(strstr(out, " .../"));
    assert_non_null(strstr(out, "| 2000 +++"));
    free(out);
    free(text);
    stat_fini(&t);
}

/* --- graph --- */

static void the_graph_bends_branches_to_their_parents(void **state)
{
    (void)state;
    static const char *const nodes[][2] = { { "f", "b" }, { "e", "c" }, { "d", "a" }, { "c", "b" }, { "b", "a" }, { "a", "" } };
    struct graph *g = graph_new();
    char *out = NULL;
    size_t n;
    FILE *f = open_memstream(&out, &n);

    for (size_t i = 0; i < 6; i++)
        assert_int_equal(graph_node(g, nodes[i][0], nodes[i][1], nodes[i][0], f), 0);
    fclose(f);
    assert_string_equal(out, "* f\n| * e\n| | * d\n| * | c\n|/ /\n* | b\n|/\n* a\n");
    free(out);
    graph_free(g);
}

static void a_merge_has_lines_to_all_its_parents(void **state)
{
    char text[1024] = { 0 };
    FILE *f = fmemopen(text, sizeof(text), "w");
    struct graph *g = graph_new();

    assert_int_equal(graph_node(g, "m", "a2", "m", f), 0);
    assert_int_equal(graph_merged(g, "a2", "b1", f), 0);
    assert_int_equal(graph_merged(g, "a2", "c1", f), 0);
    assert_int_equal(graph_node(g, "c1", "a1", "c1", f), 0);
    assert_int_equal(graph_node(g, "b1", "a1", "b1", f), 0);
    assert_int_equal(graph_node(g, "a2", "a1", "a2", f), 0);
    assert_int_equal(graph_node(g, "a1", NULL, "a1", f), 0);
    fclose(f);
    graph_free(g);
    assert_string_equal(text, "* m\n|\\\n|\\ \\\n| * | c1\n| | * b1\n| |/\n* | a2\n|/\n* a1\n");
}

static void the_graph_crosses_what_lies_between(void **state)
{
    (void)state;
    static const char *const nodes[][2] = {
        { "w", "a" }, { "x", "p" }, { "y", "q" }, { "z", "a" }, { "q", "a" }, { "p", "a" }, { "a", "" }
    };
    struct graph *g = graph_new();
    char *out = NULL;
    size_t n;
    FILE *f = open_memstream(&out, &n);

    for (size_t i = 0; i < 7; i++)
        assert_int_equal(graph_node(g, nodes[i][0], nodes[i][1], nodes[i][0], f), 0);
    fclose(f);
    assert_string_equal(out, "* w\n| * x\n| | * y\n| | | * z\n| |_|/\n|/| |\n| | * q\n| |/\n|/|\n| * p\n|/\n* a\n");
    free(out);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_quoted_as_git_does),
        cmocka_unit_test(control_bytes_of_messages_never_reach_a_terminal),
        cmocka_unit_test(sizes_are_short),
        cmocka_unit_test(the_difference_of_random_texts_is_right_and_shortest),
        cmocka_unit_test(texts_with_nothing_in_common_end_in_bounded_work),
        cmocka_unit_test(patches_have_the_form_of_git),
        cmocka_unit_test(applied_patches_give_the_new_text),
        cmocka_unit_test(patches_change_as_many_lines_as_those_of_diff),
        cmocka_unit_test(stat_looks_as_of_git),
        cmocka_unit_test(stat_scales_to_the_width),
        cmocka_unit_test(the_graph_bends_branches_to_their_parents),
        cmocka_unit_test(a_merge_has_lines_to_all_its_parents),
        cmocka_unit_test(the_graph_crosses_what_lies_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
