/* Merge: texts, the common ancestor, single cases, and random trees. */
#include "tests/lib/verbs_fixture.h"
#include "fs/merge.h"
#include "fs/verbs_internal.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"      /* dir: of the fixture, and of a walk */
#include "tests/lib/ws_tree.h"
#pragma GCC diagnostic pop

/* --- texts --- */

static struct merge_text text(const char *s)
{
    return (struct merge_text){ (const uint8_t *)s, strlen(s) };
}

static void texts_are_merged_by_lines(void **state)
{
    static const struct { const char *base, *ours, *theirs, *want; size_t conflicts; enum merge_prefer prefer; } rows[] = {
        { "", "", "", "" },
        { "a\nb\nc\nd\ne\n", "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n", "A\nb\nc\nd\nE\n" },
        { "a\nb\nc\n", "a\nb\nc\n", "a\nx\nc\n", "a\nx\nc\n" },
        { "a\nb\nc\n", "a\nx\nc\n", "a\nx\nc\n", "a\nx\nc\n" },
        { "a\nb\nc\n", "b\nc\n", "a\nb\nc\nd\n", "b\nc\nd\n" },
        { "a\nb\nc\n", "", "a\nb\nc\n", "" },
        { "a\nb\nc\n", "1\na\nb\nc\n", "a\nb\nc\n2", "1\na\nb\nc\n2" },
        { "a\nb\nc\n", "a\nx\nc\n", "a\ny\nc\n", "a\n<<<<<<< ours\nx\n=======\ny\n>>>>>>> theirs\nc\n", 1 },
        { "a\nb\nc\n", "a\nx\nc\n", "a\ny\nc\n", "a\nx\nc\n", 1, MERGE_OURS },
        { "a\nb\nc\n", "a\nx\nc\n", "a\ny\nc\n", "a\ny\nc\n", 1, MERGE_THEIRS },
        { "a\nb\nc\nd\n", "a\nx\nc\nd\n", "a\nb\ny\nd\n", "a\n<<<<<<< ours\nx\nc\n=======\nb\ny\n>>>>>>> theirs\nd\n", 1 },      /* changes that touch */
        { "", "a\n", "b\n", "<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n", 1 },
        { "", "a", "b", "<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n", 1 },
        { "a\nb\nc\nd\ne\nf\n", "x\nb\nc\nd\ne\ny\n", "z\nb\nc\nd\ne\ny\n", "x\nb\nc\nd\ne\ny\n", 1, MERGE_OURS },
        { "a\nb\nc\nd\n", "a\nd\n", "a\nb\nc\nd\n", "a\nd\n" },
        { "a\nb\nc\nd\n", "a\nd\n", "a\nb\nx\nc\nd\n", "a\nd\n", 1, MERGE_OURS },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = BUF_INIT;
        size_t conflicts = 77;
        assert_int_equal(merge_text(text(rows[i].base), text(rows[i].ours), text(rows[i].theirs), rows[i].prefer, "ours", "theirs", &out, &conflicts), 0);
        buf_put_u8(&out, 0);
        assert_string_equal((char *)out.data, rows[i].want);
        assert_int_equal(conflicts, rows[i].conflicts);
        buf_fini(&out);
    }
}

static size_t random_text(char *out, unsigned lines)
{
    size_t n = 0;

    for (unsigned i = 0; i < lines; i++)
        n += (size_t)sprintf(out + n, "%c\n", (char)('a' + rng() % 3));
    return n;
}

static void texts_merge_with_themselves_and_with_their_base(void **state)
{
    seed_of("texts");
    for (int i = 0; i < 3000; i++) {
        char a[256], b[256], c[256];
        struct merge_text x = { (uint8_t *)a, random_text(a, (unsigned)(rng() % 12)) }, y = { (uint8_t *)b, random_text(b, (unsigned)(rng() % 12)) },
                          z = { (uint8_t *)c, random_text(c, (unsigned)(rng() % 12)) };
        const struct { struct merge_text base, ours, theirs, want; } rows[] = { { x, y, x, y }, { x, x, y, y }, { x, y, y, y } };
        for (size_t k = 0; k < 3; k++) {
            struct buf out = BUF_INIT;
            size_t conflicts;
            assert_int_equal(merge_text(rows[k].base, rows[k].ours, rows[k].theirs, MERGE_NEITHER, "o", "t", &out, &conflicts), 0);
            assert_int_equal(conflicts, 0);
            assert_int_equal(out.len, rows[k].want.n);
            assert_memory_equal(out.len ? out.data : (uint8_t *)"", rows[k].want.p, out.len);
            buf_fini(&out);
        }
        /* Which side a change is on makes no difference. */
        struct buf out[2] = { BUF_INIT, BUF_INIT };
        size_t conflicts[2];
        assert_int_equal(merge_text(x, y, z, MERGE_OURS, "o", "t", &out[0], &conflicts[0]), 0);
        assert_int_equal(merge_text(x, z, y, MERGE_THEIRS, "o", "t", &out[1], &conflicts[1]), 0);
        assert_int_equal(conflicts[0], conflicts[1]);
        assert_int_equal(out[0].len, out[1].len);
        assert_memory_equal(out[0].len ? out[0].data : (uint8_t *)"", out[1].len ? out[1].data : (uint8_t *)"", out[0].len);
        buf_fini(&out[0]);
        buf_fini(&out[1]);
    }
}

/* --- merging --- */

struct told { char text[16384]; };

static int tell(void *arg, const struct merge_item *i)
{
    struct told *t = arg;
    size_t n = strlen(t->text);

    snprintf(t->text + n, sizeof t->text - n, "%c %s%s%s%s%s\n", i->result, i->old_path ? i->old_path : "", i->old_path ? " -> " : "", i->path, i->why ? ": " : "", i->why ? i->why : "");
    return 0;
}

static struct view *view_of(const char *object)
{
    struct object o;
    struct view *v;

    assert_int_equal(object_find(store, object, &o), 0);
    assert_int_equal(object_view(store, &o, &v), 0);
    return v;
}

/* Merges `theirs` into a fork of `ours`, which is called "merged". */
static int merged(const char *base, const char *ours, const char *theirs, struct merge_opts o, struct told *told, uint64_t *ret_conflicts)
{
    struct merge_source src = { view_of(base), view_of(theirs) };

    if (find("merged") == 0)
        assert_int_equal(remove_object("merged", true), 0);
    fork_one(ours, "merged");
    struct workspace *w = open_ws("merged");
    memset(told, 0, sizeof *told);
    o.fn = tell;
    o.arg = told;
    int r = merge_make(store, w, &src, 1, &o, ret_conflicts);
    workspace_unref(w);
    view_unref(src.base);
    view_unref(src.theirs);
    return r;
}

static void make(const char *ws, const char *path, uint32_t mode, const char *content)
{
    struct workspace *w = open_ws(ws);

    wmake(w, path, mode, content);
    workspace_unref(w);
}

static void rewrite(const char *ws, const char *path, const char *content)
{
    struct workspace *w = open_ws(ws);
    struct inode in = { 0 };
    uint64_t ino;

    assert_int_equal(ws_path(w, path, &ino, &in), 0);
    in.size = 0;
    assert_int_equal(ws_setattr(w, ino, WSA_SIZE, &in, &in), 0);
    wwrite(w, path, 0, content);
    workspace_unref(w);
}

static void change_mode(const char *ws, const char *path, uint32_t mode)
{
    struct workspace *w = open_ws(ws);
    struct inode in;
    uint64_t ino;

    assert_int_equal(ws_path(w, path, &ino, &in), 0);
    in.mode = mode;
    assert_int_equal(ws_setattr(w, ino, WSA_MODE, &in, &in), 0);
    workspace_unref(w);
}

static void move(const char *ws, const char *from, const char *to)
{
    struct workspace *w = open_ws(ws);

    assert_int_equal(wrename(w, from, to, 0), 0);
    workspace_unref(w);
}

static void drop(const char *ws, const char *path)
{
    struct workspace *w = open_ws(ws);
    char above[512];
    const char *slash = strrchr(path, '/');
    struct inode in;
    uint64_t parent, ino;

    snprintf(above, sizeof above, "%.*s", slash ? (int)(slash - path) : 0, path);
    assert_int_equal(ws_path(w, above, &parent, &in), 0);
    assert_int_equal(ws_path(w, path, &ino, &in), 0);
    assert_int_equal(S_ISDIR(in.mode) ? ws_rmdir(w, parent, slash ? slash + 1 : path) : ws_unlink(w, parent, slash ? slash + 1 : path), 0);
    workspace_unref(w);
}

static void assert_at(const char *object, const char *path, const char *want)
{
    struct workspace *w = open_any(object);
    char got[4096] = "";
    struct inode in;
    uint64_t ino;
    size_t n = 0;
    int r = ws_path(w, path, &ino, &in);

    if (!want) {
        assert_true(r == -ENOENT || r == -ENOTDIR);
    } else {
        assert_int_equal(r, 0);
        assert_int_equal(S_ISLNK(in.mode) ? ws_readlink(w, ino, got, sizeof got, &n) : ws_read(w, ino, 0, sizeof got - 1, (uint8_t *)got, &n), 0);
        assert_string_equal(got, want);
    }
    workspace_unref(w);
}

/* ours and theirs from one base. */
static void family(void)
{
    create("ours");
    make("ours", "text", S_IFREG | 0644, "1\n2\n3\n4\n5\n6\n7\n");
    make("ours", "bin", S_IFREG | 0644, "one");
    make("ours", "d", S_IFDIR | 0755, NULL);
    make("ours", "d/f", S_IFREG | 0644, "f");
    make("ours", "d/g", S_IFREG | 0644, "g");
    make("ours", "d/s", S_IFDIR | 0755, NULL);
    make("ours", "d/s/h", S_IFREG | 0644, "h");
    make("ours", "a", S_IFREG | 0644, "A");
    make("ours", "b", S_IFREG | 0644, "B");
    make("ours", "l", S_IFLNK | 0777, "text");
    snapshot("ours", "base");
    fork_one("ours@base", "theirs");
}

static void merge_clean(const char *want_told)
{
    struct told told;
    uint64_t conflicts = 77;

    assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ 0 }, &told, &conflicts), 0);
    if (want_told)
        assert_string_equal(told.text, want_told);
    assert_int_equal(conflicts, 0);
    assert_clean();
}

/* One conflict; each way to decide it. want: with ours, with theirs. */
static void merge_conflicts(const char *why, const char *path, const char *want_ours, const char *want_theirs)
{
    struct told told;
    uint64_t conflicts;

    assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ 0 }, &told, &conflicts), 0);
    assert_int_equal(conflicts, 1);
    if (!strstr(told.text, why))
        print_error("told:\n%s", told.text);
    assert_non_null(strstr(told.text, why));
    assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ .prefer = MERGE_OURS }, &told, &conflicts), 0);
    assert_int_equal(conflicts, 0);
    assert_at("merged", path, want_ours);
    assert_clean();
    assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ .prefer = MERGE_THEIRS }, &told, &conflicts), 0);
    assert_int_equal(conflicts, 0);
    assert_at("merged", path, want_theirs);
    assert_clean();
}

static void what_only_one_side_did_is_done(void **state)
{
    family();
    rewrite("ours", "a", "A2");
    rewrite("theirs", "b", "B2");
    make("theirs", "new", S_IFDIR | 0711, NULL);
    make("theirs", "new/x", S_IFREG | 0600, "x");
    make("theirs", "new/l", S_IFLNK | 0777, "nowhere");
    make("theirs", "fifo", S_IFIFO | 0644, NULL);
    drop("theirs", "d/g");
    change_mode("theirs", "bin", 0755);
    merge_clean("M b\nM bin\nD d/g\nA fifo\nA new\nA new/l\nA new/x\n");
    assert_at("merged", "a", "A2");
    assert_at("merged", "b", "B2");
    assert_at("merged", "new/x", "x");
    assert_at("merged", "new/l", "nowhere");
    assert_at("merged", "d/g", NULL);
    struct workspace *w = open_ws("merged");
    struct inode in;
    uint64_t ino;
    assert_int_equal(ws_path(w, "bin", &ino, &in), 0);
    assert_int_equal(in.mode, S_IFREG | 0755);
    assert_int_equal(ws_path(w, "new", &ino, &in), 0);
    assert_int_equal(in.mode, S_IFDIR | 0711);
    assert_int_equal(ws_path(w, "fifo", &ino, &in), 0);
    assert_true(S_ISFIFO(in.mode));
    workspace_unref(w);
}

static void what_both_did_alike_is_no_conflict(void **state)
{
    family();
    rewrite("ours", "a", "same");
    rewrite("theirs", "a", "same");
    make("ours", "new", S_IFREG | 0644, "n");
    make("theirs", "new", S_IFREG | 0644, "n");
    make("ours", "nd", S_IFDIR | 0755, NULL);
    make("theirs", "nd", S_IFDIR | 0755, NULL);
    make("theirs", "nd/x", S_IFREG | 0644, "x");
    drop("ours", "b");
    drop("theirs", "b");
    move("ours", "d", "e");
    move("theirs", "d", "e");
    merge_clean(NULL);
    assert_at("merged", "a", "same");
    assert_at("merged", "nd/x", "x");
    assert_at("merged", "e/f", "f");
    assert_at("merged", "b", NULL);
}

static void renames_take_along_what_the_other_did_below(void **state)
{
    family();
    move("theirs", "d", "dd");
    make("theirs", "dd/new", S_IFREG | 0644, "new");
    drop("theirs", "dd/g");
    rewrite("ours", "d/f", "f2");
    make("ours", "d/mine", S_IFREG | 0644, "mine");
    merge_clean("D d/g\nR d -> dd\nA dd/new\n");
    assert_at("merged", "d", NULL);
    assert_at("merged", "dd/f", "f2");
    assert_at("merged", "dd/mine", "mine");
    assert_at("merged", "dd/new", "new");
    assert_at("merged", "dd/g", NULL);
}

static void our_renames_are_followed(void **state)
{
    family();
    move("ours", "d", "o");
    move("ours", "o/f", "o/ff");
    rewrite("theirs", "d/f", "f2");
    make("theirs", "d/s/new", S_IFREG | 0644, "new");
    drop("theirs", "d/g");
    merge_clean(NULL);
    assert_at("merged", "o/ff", "f2");
    assert_at("merged", "o/s/new", "new");
    assert_at("merged", "o/g", NULL);
    assert_at("merged", "d", NULL);
}

static void renames_in_a_circle_and_onto_free_names(void **state)
{
    family();
    move("theirs", "a", "t");
    move("theirs", "b", "a");
    move("theirs", "t", "b");
    move("theirs", "d/s", "s");
    move("theirs", "d", "s/d");
    make("theirs", "d", S_IFREG | 0644, "a file now");
    merge_clean(NULL);
    assert_at("merged", "a", "B");
    assert_at("merged", "b", "A");
    assert_at("merged", "s/d/f", "f");
    assert_at("merged", "s/h", "h");
    assert_at("merged", "d", "a file now");
}

static void a_name_that_theirs_left_is_used_again(void **state)
{
    family();
    move("theirs", "a", "a2");
    make("theirs", "a", S_IFREG | 0644, "another");
    rewrite("ours", "a", "A changed");
    merge_clean(NULL);
    assert_at("merged", "a2", "A changed");
    assert_at("merged", "a", "another");
}

static void hard_links_stay_links(void **state)
{
    struct workspace *w;
    struct inode in;
    uint64_t ino, ino2, root;

    family();
    w = open_ws("theirs");
    assert_int_equal(ws_path(w, "", &root, &in), 0);
    assert_int_equal(ws_path(w, "a", &ino, &in), 0);
    assert_int_equal(ws_link(w, ino, root, "a-link", &in), 0);
    ino = wmake(w, "n1", S_IFREG | 0644, "n");
    assert_int_equal(ws_link(w, ino, root, "n2", &in), 0);
    workspace_unref(w);
    rewrite("ours", "a", "A of ours");
    merge_clean(NULL);
    assert_at("merged", "a-link", "A of ours");
    w = open_ws("merged");
    assert_int_equal(ws_path(w, "a", &ino, &in), 0);
    assert_int_equal(ws_path(w, "a-link", &ino2, &in), 0);
    assert_int_equal(ino, ino2);
    assert_int_equal(in.nlink, 2);
    assert_int_equal(ws_path(w, "n1", &ino, &in), 0);
    assert_int_equal(ws_path(w, "n2", &ino2, &in), 0);
    assert_int_equal(ino, ino2);
    workspace_unref(w);
}

static void attributes_of_one_side_and_content_of_the_other(void **state)
{
    struct workspace *w;
    struct inode in;
    uint64_t ino;

    family();
    rewrite("theirs", "a", "A2");
    change_mode("ours", "a", 0600);
    rewrite("ours", "b", "B2");
    change_mode("theirs", "b", 0755);
    merge_clean("M a\nM b\n");
    w = open_ws("merged");
    assert_int_equal(ws_path(w, "a", &ino, &in), 0);
    assert_int_equal(in.mode, S_IFREG | 0600);
    assert_int_equal(ws_path(w, "b", &ino, &in), 0);
    assert_int_equal(in.mode, S_IFREG | 0755);
    workspace_unref(w);
    assert_at("merged", "a", "A2");
    assert_at("merged", "b", "B2");
}

static void texts_that_both_changed_are_merged(void **state)
{
    struct told told;
    uint64_t conflicts;

    family();
    rewrite("ours", "text", "1\ntwo\n3\n4\n5\n6\n7\n");
    rewrite("theirs", "text", "1\n2\n3\n4\n5\nsix\n7\n");
    merge_clean("L text\n");
    assert_at("merged", "text", "1\ntwo\n3\n4\n5\nsix\n7\n");
    rewrite("theirs", "text", "1\nTWO\n3\n4\n5\nsix\n7\n");
    merge_conflicts("both changed the same lines", "text", "1\ntwo\n3\n4\n5\nsix\n7\n", "1\nTWO\n3\n4\n5\nsix\n7\n");
    assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ .markers = true }, &told, &conflicts), 0);
    assert_int_equal(conflicts, 0);
    assert_at("merged", "text", "1\n<<<<<<< ours\ntwo\n=======\nTWO\n>>>>>>> theirs\n3\n4\n5\nsix\n7\n");
}

static void other_content_is_a_conflict(void **state)
{
    family();
    struct workspace *w = open_ws("ours");
    wwrite(w, "bin", 0, "\1");
    uint64_t ino;
    struct inode in;
    assert_int_equal(ws_path(w, "bin", &ino, &in), 0);
    assert_int_equal(ws_write(w, ino, 3, (const uint8_t *)"\0a", 2, false), 0);
    workspace_unref(w);
    rewrite("theirs", "bin", "theirs");
    struct told told;
    uint64_t conflicts;
    assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ 0 }, &told, &conflicts), 0);
    assert_string_equal(told.text, "C bin: both changed the content\n");
    assert_int_equal(conflicts, 1);
    struct merge_pick picks[] = { { "elsewhere", MERGE_OURS }, { "bin", MERGE_THEIRS } };
    assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ .picks = picks, .pick_count = 2, .prefer = MERGE_OURS }, &told, &conflicts), 0);
    assert_int_equal(conflicts, 0);
    assert_at("merged", "bin", "theirs");
}

static void deleted_there_and_changed_here(void **state) { family(); drop("theirs", "a"); rewrite("ours", "a", "A2"); merge_conflicts("deleted there; changed here", "a", "A2", NULL); }
static void changed_there_and_deleted_here(void **state) { family(); drop("ours", "a"); rewrite("theirs", "a", "A2"); merge_conflicts("changed there; deleted here", "a", NULL, "A2"); }
static void deleted_there_and_renamed_here(void **state) { family(); drop("theirs", "a"); move("ours", "a", "z"); merge_conflicts("deleted there; renamed here", "z", "A", NULL); }
static void renamed_there_and_deleted_here(void **state) { family(); drop("ours", "a"); move("theirs", "a", "z"); merge_conflicts("renamed there; deleted here", "z", NULL, "A"); }
static void renamed_apart(void **state) { family(); move("ours", "a", "y"); move("theirs", "a", "z"); merge_conflicts("to different names", "z", NULL, "A"); }
static void added_differently(void **state) { family(); make("ours", "n", S_IFREG | 0644, "1"); make("theirs", "n", S_IFREG | 0644, "2"); merge_conflicts("added on both sides", "n", "1", "2"); }
static void renamed_onto_a_new_name(void **state) { family(); make("ours", "n", S_IFREG | 0644, "1"); move("theirs", "a", "n"); merge_conflicts("a name that is taken here", "n", "1", "A"); }
static void added_in_a_deleted_directory(void **state)
{
    family();
    drop("ours", "d/s/h");
    drop("ours", "d/s");
    make("theirs", "d/s/n", S_IFREG | 0644, "n");
    merge_conflicts("its directory was deleted here", "d/s/n", NULL, "n");
}
static void a_file_here_and_a_directory_there(void **state)
{
    family();
    make("ours", "n", S_IFREG | 0644, "file");
    make("theirs", "n", S_IFDIR | 0755, NULL);
    make("theirs", "n/x", S_IFREG | 0644, "x");
    make("theirs", "n/y", S_IFREG | 0644, "y");
    merge_conflicts("added on both sides", "n/x", NULL, "x");
}
static void links_retargeted_apart(void **state)
{
    family();
    drop("ours", "l");
    make("ours", "l", S_IFLNK | 0777, "ours");
    drop("theirs", "l");
    make("theirs", "l", S_IFLNK | 0777, "theirs");
    merge_conflicts("", "l", "ours", "theirs");
}

/* --- in the target --- */

static void a_merge_in_a_target_that_goes_on(void **state)
{
    uint64_t conflicts, changed;
    struct told told;

    family();
    rewrite("theirs", "a", "A2");
    drop("theirs", "b");
    assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ 0 }, &told, &conflicts), 0);
    struct view *from = view_of("ours"), *to = view_of("merged");
    struct workspace *w = open_ws("ours");
    rewrite("ours", "bin", "elsewhere");                    /* this is kept */
    assert_int_equal(merge_apply(store, w, from, to, &changed), 0);
    assert_at("ours", "a", "A2");
    assert_at("ours", "b", NULL);
    assert_at("ours", "bin", "elsewhere");
    workspace_unref(w);
    view_unref(from);
    view_unref(to);
    assert_clean();
}

static void a_merge_over_a_newer_change_is_refused(void **state)
{
    static const char *const changes[] = { "write", "remove", "make", "replace" };
    uint64_t conflicts, changed;
    struct told told;

    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        if (i) {
            teardown(state);
            assert_int_equal(setup(state), 0);
        }
        family();
        rewrite("theirs", "a", "A2");
        make("theirs", "n", S_IFREG | 0644, "n");
        assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ 0 }, &told, &conflicts), 0);
        struct view *from = view_of("ours"), *to = view_of("merged");
        struct workspace *w = open_ws("ours");
        if (i == 0)
            wwrite(w, "a", 0, "meanwhile");
        else if (i == 1)
            drop("ours", "a");
        else if (i == 2)
            make("ours", "n", S_IFREG | 0644, "mine");
        else
            move("ours", "b", "a");
        assert_int_equal(merge_apply(store, w, from, to, &changed), -EAGAIN);
        assert_at("ours", "n", i == 2 ? "mine" : NULL);
        assert_at("ours", "a", i == 0 ? "meanwhile" : i == 1 ? NULL : i == 2 ? "A" : "B");
        workspace_unref(w);
        view_unref(from);
        view_unref(to);
    }
}

/* --- ancestors --- */

static struct snap_rec merge_snapshot(const char *ws, const char *name, const struct snap_rec *with)
{
    char ids[1][ID_MAX];
    struct workspace *w = open_ws(ws);
    struct snap_rec rec;

    memcpy(ids[0], with->id, ID_MAX);
    struct snapshot_args a = { .name = name, .cause = SNAP_MERGE, .merged = (const char (*)[ID_MAX])ids, .merged_count = 1 };
    assert_int_equal(verb_snapshot(store, w, &a, &rec, NULL), 0);
    workspace_unref(w);
    return rec;
}

static void the_common_ancestor_is_the_latest_one_of_all_parents(void **state)
{
    struct snap_rec got, base, mine, theirs, m;

    create("ours");
    put("ours", "f", "1");
    base = snapshot("ours", "base");
    fork_one("ours@base", "theirs");
    create("other");
    put("other", "f", "1");
    put("ours", "f", "2");
    mine = snapshot("ours", "mine");
    put("theirs", "f", "3");
    theirs = snapshot("theirs", "theirs");
    assert_int_equal(merge_base(store, mine.id, theirs.id, &got), 1);
    assert_string_equal(got.id, base.id);
    assert_int_equal(merge_base(store, mine.id, mine.id, &got), 1);
    assert_string_equal(got.id, mine.id);
    assert_int_equal(merge_base(store, mine.id, base.id, &got), 1);
    assert_string_equal(got.id, base.id);
    assert_int_equal(merge_base(store, mine.id, snapshot("other", "x").id, &got), 0);
    m = merge_snapshot("ours", "merged", &theirs);
    put("theirs", "f", "4");
    struct snap_rec later = snapshot("theirs", "later");
    assert_int_equal(merge_base(store, m.id, later.id, &got), 1);
    assert_string_equal(got.id, theirs.id);
    reopen(&quiet);
    assert_int_equal(snap_rec_get(store->meta, m.id, &got), 0);
    assert_int_equal(got.merged_count, 1);
    assert_string_equal(got.merged[0], theirs.id);
    assert_string_equal(got.parent, mine.id);
    assert_clean();
}

/* --- no memory --- */

static size_t fail_at, allocations;
static bool no_memory(size_t n)
{
    (void)n;
    return allocations++ == fail_at;
}

static void no_memory_anywhere_is_said_and_the_next_try_works(void **state)
{
    struct told told = { 0 };
    uint64_t conflicts;
    int r = -ENOMEM;

    family();
    move("theirs", "d", "dd");
    make("theirs", "dd/new", S_IFREG | 0644, "new");
    make("theirs", "more", S_IFDIR | 0755, NULL);
    make("theirs", "more/x", S_IFREG | 0644, "x");
    drop("theirs", "b");
    rewrite("ours", "text", "1\ntwo\n3\n4\n5\n6\n7\n");
    rewrite("theirs", "text", "1\n2\n3\n4\n5\nsix\n7\n");
    rewrite("ours", "a", "A2");
    rewrite("theirs", "a", "A3");
    snapshot("theirs", "there");          /* so that freezes are not what fails */
    struct merge_source src = { view_of("ours@base"), view_of("theirs@there") };
    for (fail_at = 0; r == -ENOMEM; fail_at += 1 + fail_at / 64) {
        struct merge_opts o = { .fn = tell, .arg = &told, .prefer = MERGE_THEIRS };
        if (find("merged") == 0)
            assert_int_equal(remove_object("merged", true), 0);
        fork_one("ours", "merged");
        struct workspace *w = open_ws("merged");
        allocations = 0;
        told.text[0] = 0;
        mem_fault = no_memory;
        r = merge_make(store, w, &src, 1, &o, &conflicts);
        mem_fault = NULL;
        workspace_unref(w);
        assert_true(r == 0 || r == -ENOMEM);
        if (r == 0 && allocations > fail_at)
            r = -ENOMEM;                  /* one that could be done without failed */
    }
    assert_int_equal(r, 0);
    assert_at("merged", "dd/new", "new");
    assert_at("merged", "a", "A3");
    assert_at("merged", "text", "1\ntwo\n3\n4\n5\nsix\n7\n");
    view_unref(src.base);
    view_unref(src.theirs);
    assert_clean();
}

/* --- random trees --- */

static void randomly(const char *ws, unsigned n)
{
    struct workspace *w = open_ws(ws);

    for (unsigned i = 0; i < n; i++)
        random_op(w);
    workspace_unref(w);
}

static bool same_node(const struct wnode *a, const struct wnode *b)
{
    return a->in.mode == b->in.mode && a->in.uid == b->in.uid && a->content == b->content && a->xattrs == b->xattrs && a->in.rdev == b->in.rdev &&
           (S_ISDIR(a->in.mode) || a->in.nlink == b->in.nlink);
}

static void assert_same_tree(const char *x, const char *y, const char *told)
{
    struct workspace *a = open_any(x), *b = open_any(y);
    struct wtree ta = wtree_read(a), tb = wtree_read(b);
    bool same = ta.n == tb.n;

    for (size_t i = 0; i < ta.n && i < tb.n; i++)
        if (strcmp(ta.v[i].path, tb.v[i].path) || !same_node(&ta.v[i], &tb.v[i])) {
            print_error("%s: %s (%o %d links); %s: %s (%o %d links)\n", x, ta.v[i].path, ta.v[i].in.mode, (int)ta.v[i].in.nlink, y, tb.v[i].path, tb.v[i].in.mode, (int)tb.v[i].in.nlink);
            same = false;
            break;
        }
    if (!same)
        print_error("told:\n%s", told);
    assert_true(same);
    free(ta.v);
    free(tb.v);
    workspace_unref(a);
    workspace_unref(b);
}

static void fresh_family(void **state, unsigned n)
{
    teardown(state);
    assert_int_equal(setup(state), 0);
    create("ours");
    randomly("ours", n);
    snapshot("ours", "base");
    fork_one("ours@base", "theirs");
}

static void theirs_into_what_did_not_change_is_theirs(void **state)
{
    struct told told;
    uint64_t conflicts;

    seed_of("into unchanged");
    for (int i = 0; i < 120; i++) {
        fresh_family(state, 40);
        randomly("theirs", 1 + (unsigned)(rng() % 40));
        assert_int_equal(merged("ours@base", "ours", "theirs", (struct merge_opts){ 0 }, &told, &conflicts), 0);
        if (conflicts)
            print_error("told:\n%s", told.text);
        assert_int_equal(conflicts, 0);
        assert_same_tree("merged", "theirs", told.text);
        assert_clean();
        /* And the other way round: nothing to do. */
        assert_int_equal(merged("ours@base", "theirs", "ours", (struct merge_opts){ 0 }, &told, &conflicts), 0);
        assert_string_equal(told.text, "");
        assert_same_tree("merged", "theirs", told.text);
        /* What was merged in whole already. */
        assert_int_equal(merged("ours@base", "theirs", "theirs", (struct merge_opts){ 0 }, &told, &conflicts), 0);
        assert_int_equal(conflicts, 0);
        assert_same_tree("merged", "theirs", told.text);
    }
}

/* Whatever both did there is an answer; with nothing left to decide, a sound tree in which all is that nobody touched. */
static void anything_with_anything(void **state)
{
    struct told told;
    uint64_t conflicts, left = 0;

    seed_of("anything");
    for (int i = 0; i < 150; i++) {
        fresh_family(state, 30);
        randomly("theirs", 1 + (unsigned)(rng() % 30));
        randomly("ours", 1 + (unsigned)(rng() % 30));
        for (int p = MERGE_NEITHER; p <= MERGE_THEIRS; p++) {
            int r = merged("ours@base", "ours", "theirs", (struct merge_opts){ .prefer = (enum merge_prefer)p }, &told, &conflicts);
            if (r)
                print_error("result %d, told:\n%s", r, told.text);
            assert_int_equal(r, 0);
            left += p && conflicts;
            assert_clean();
        }
    }
    assert_in_range(left, 0, 6);              /* of 300: where the ways to decide contradict each other */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_merged_by_lines), cmocka_unit_test(texts_merge_with_themselves_and_with_their_base),
        TEST(what_only_one_side_did_is_done), TEST(what_both_did_alike_is_no_conflict), TEST(renames_take_along_what_the_other_did_below), TEST(our_renames_are_followed),
        TEST(renames_in_a_circle_and_onto_free_names), TEST(a_name_that_theirs_left_is_used_again), TEST(hard_links_stay_links),
        TEST(attributes_of_one_side_and_content_of_the_other), TEST(texts_that_both_changed_are_merged), TEST(other_content_is_a_conflict),
        TEST(deleted_there_and_changed_here), TEST(changed_there_and_deleted_here), TEST(deleted_there_and_renamed_here), TEST(renamed_there_and_deleted_here), TEST(renamed_apart),
        TEST(added_differently), TEST(renamed_onto_a_new_name), TEST(added_in_a_deleted_directory), TEST(a_file_here_and_a_directory_there), TEST(links_retargeted_apart),
        TEST(a_merge_in_a_target_that_goes_on), TEST(a_merge_over_a_newer_change_is_refused), TEST(the_common_ancestor_is_the_latest_one_of_all_parents),
        TEST(no_memory_anywhere_is_said_and_the_next_try_works),
        TEST(theirs_into_what_did_not_change_is_theirs), TEST(anything_with_anything),
    };

    return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
