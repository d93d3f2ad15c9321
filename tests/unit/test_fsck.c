#include "tests/lib/verbs_fixture.h"

static void damage(void (*change)(struct batch *b, const void *arg), const void *arg)
{
    struct batch *b = batch_new();

    change(b, arg);
    assert_int_equal(meta_write(store->meta, b, false), 0);
    batch_free(b);
}

static void drop_ws_name(struct batch *b, const void *arg) { ws_name_delete(b, arg); }
static void stray_name(struct batch *b, const void *arg) { ws_name_put(b, arg, "ws-aaaaaaaaaa"); }
static void drop_base(struct batch *b, const void *arg) { base_delete(b, *(const uint64_t *)arg); }
static void put_base(struct batch *b, const void *arg) { base_put(b, arg); }
static void bad_record(struct batch *b, const void *arg) { batch_put(b, CF_OBJECT, "sxyz", 4, "junk", 4); }

static void fsck_finds_damaged_records(void **state)
{
    struct base_rec base;

    create("w");
    put("w", "f", "x");
    struct snap_rec s = snapshot("w", "s");
    fold("w@s");
    create("other");
    assert_clean();
    assert_int_equal(base_get(store->meta, s.base, &base), 0);
    base.inodes++;
    damage(put_base, &base);
    assert_unclean("its number of inodes is not what its record says");
    base.inodes--;
    base.units += 3;
    damage(put_base, &base);
    assert_unclean("its size is not what its record says");
    base.units -= 3;
    base.next_ino = 2;
    damage(put_base, &base);
    assert_unclean("give away again");
    damage(drop_ws_name, "w");
    assert_unclean("cannot be found by its name");
    damage(stray_name, "stray");
    assert_unclean("stray: the name points to nothing");
    damage(drop_base, &s.base);
    assert_unclean("its state is missing");
    damage(bad_record, NULL);
    assert_unclean("a snapshot record is malformed");
}

/* A tree made of given changes. */
struct list { struct tree_changes c; const struct tree_change *v; unsigned i, n; };

static int list_next(struct tree_changes *self, struct tree_change *ret)
{
    struct list *l = (struct list *)self;

    if (l->i == l->n)
        return 0;
    *ret = l->v[l->i++];
    return 1;
}

struct entry { struct key key; uint8_t val[128]; size_t n; };

static struct entry inode_entry(uint64_t ino, struct inode in)
{
    struct entry e = { .key = key_simple(ino, KEY_INODE), .n = INODE_BYTES };

    inode_encode(&in, e.val);
    return e;
}

static struct entry dirent_entry(uint64_t dir_ino, const char *name, uint64_t child, uint8_t type)
{
    struct entry e = { .key = key_dirent(dir_ino, name_cookie(name, strlen(name)), name, strlen(name)), .n = 9 };

    put_le64(e.val, child);
    e.val[8] = type;
    return e;
}

static struct entry raw_entry(struct key k, const void *p, size_t n)
{
    struct entry e = { .key = k, .n = n };

    memcpy(e.val, p, n);
    return e;
}

static int cmp_entry(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return key_cmp(x->key.b, x->key.len, y->key.b, y->key.len);
}

static int check_entries(struct entry *e, unsigned n, struct base_rec *ret)
{
    struct tree_change changes[16];
    struct list l = { .c.next = list_next, .v = changes, .n = n };
    struct batch *b = batch_new();
    struct addr root, none = { 0 };

    qsort(e, n, sizeof *e, cmp_entry);
    for (unsigned i = 0; i < n; i++)
        changes[i] = (struct tree_change){ TREE_PUT, e[i].key.b, e[i].val, e[i].key.len, e[i].n };
    assert_int_equal(tree_apply(store->nodes, b, &none, &l.c, &root), 0);
    assert_int_equal(meta_write(store->meta, b, false), 0);
    node_put_done(store->nodes, true);
    batch_free(b);
    problems[0] = '\0';
    return tree_check(store, &root, note_problem, NULL, ret);
}

enum { D = S_IFDIR >> 12, F = S_IFREG >> 12, L = S_IFLNK >> 12 };

/* root: dir "d" (2) with file "f" (3) that is linked once more as "g" in root, and symlink "l" (4) in root. */
static unsigned good_tree(struct entry *e)
{
    struct inode root = { .mode = S_IFDIR | 0755, .nlink = 3, .size = 3, .parent = 1 };
    struct inode d = { .mode = S_IFDIR | 0755, .nlink = 2, .size = 1, .parent = 1, .cookie = name_cookie("d", 1) };
    struct inode f = { .mode = S_IFREG | 0644, .nlink = 2, .size = 5, .units = 1, .parent = 2, .cookie = name_cookie("f", 1) };
    struct inode l = { .mode = S_IFLNK | 0777, .nlink = 1, .size = 2, .parent = 1, .cookie = name_cookie("l", 1) };
    unsigned n = 0;

    e[n++] = inode_entry(1, root);
    e[n++] = inode_entry(2, d);
    e[n++] = inode_entry(3, f);
    e[n++] = inode_entry(4, l);
    e[n++] = dirent_entry(1, "d", 2, D);
    e[n++] = dirent_entry(1, "g", 3, F);
    e[n++] = dirent_entry(1, "l", 4, L);
    e[n++] = dirent_entry(2, "f", 3, F);
    e[n++] = raw_entry(key_link(3, 1, name_cookie("g", 1)), "", 0);
    e[n++] = raw_entry(key_simple(3, KEY_BODY), "hello", 5);
    e[n++] = raw_entry(key_simple(4, KEY_SYMLINK), "d/", 2);
    return n;
}

static void assert_tree_problem(struct entry *e, unsigned n, const char *part)
{
    struct base_rec counts;

    assert_int_equal(check_entries(e, n, &counts), -EUCLEAN);
    if (!strstr(problems, part))
        print_error("wanted \"%s\", got:\n%s", part, problems);
    assert_non_null(strstr(problems, part));
}

static void edit_inode(struct entry *e, uint64_t ino, void (*edit)(struct inode *in))
{
    for (unsigned i = 0; i < 4; i++) {
        struct inode in;

        if (key_ino(e[i].key.b) != ino)
            continue;
        assert_int_equal(inode_decode(e[i].val, e[i].n, &in), 0);
        edit(&in);
        inode_encode(&in, e[i].val);
    }
}

static void more_links(struct inode *in) { in->nlink++; }
static void no_links(struct inode *in) { in->nlink = 0; }
static void more_size(struct inode *in) { in->size++; }
static void big(struct inode *in) { in->size = 1 << 20; }
static void other_cookie(struct inode *in) { in->cookie += 7; }
static void as_fifo(struct inode *in) { in->mode = S_IFIFO | 0644; }
static void with_xattrs(struct inode *in) { in->flags = INODE_XATTRS; }
static void own_parent(struct inode *in) { in->parent = 2; }

static void tree_check_accepts_a_good_tree_and_names_each_kind_of_damage(void **state)
{
    struct entry e[16];
    struct base_rec counts = { 0 };
    unsigned n = good_tree(e);

    assert_int_equal(check_entries(e, n, &counts), 0);
    assert_string_equal(problems, "");
    assert_int_equal(counts.inodes, 4);
    assert_int_equal(counts.units, 3);                    /* of the file, and of the names in two directories */
    assert_int_equal(counts.data_units, 1);
    assert_int_equal(counts.next_ino, 5);

    n = good_tree(e);
    edit_inode(e, 3, more_links);
    assert_tree_problem(e, n, "d/f: its link count is not the number of its links");
    n = good_tree(e);
    edit_inode(e, 1, more_links);
    assert_tree_problem(e, n, "/: its link count");
    n = good_tree(e);
    edit_inode(e, 3, no_links);
    assert_tree_problem(e, n, "no links and is kept");
    n = good_tree(e);
    edit_inode(e, 2, more_size);
    assert_tree_problem(e, n, "d: the directory's size is not its number of entries");
    n = good_tree(e);
    edit_inode(e, 4, more_size);
    assert_tree_problem(e, n, "l: its link target is malformed");
    n = good_tree(e);
    edit_inode(e, 3, big);
    assert_tree_problem(e, n, "inline body and must not");
    n = good_tree(e);
    edit_inode(e, 3, other_cookie);
    assert_tree_problem(e, n, "it has a link that no directory names");
    n = good_tree(e);
    edit_inode(e, 3, as_fifo);
    assert_tree_problem(e, n, "gives another type");
    n = good_tree(e);
    edit_inode(e, 2, with_xattrs);
    assert_tree_problem(e, n, "d: its flag for extended attributes is wrong");
    n = good_tree(e);
    edit_inode(e, 1, own_parent);
    assert_tree_problem(e, n, "the root directory has a parent");

    n = good_tree(e);
    memcpy(e[9].val, "hell\0", 5);
    assert_tree_problem(e, n, "not of canonical length");
    n = good_tree(e);
    e[10] = raw_entry(key_xattr(3, "user.a", 6), "v", 1);
    assert_tree_problem(e, n, "the symbolic link has no target");
    n = good_tree(e);
    e[8] = raw_entry(key_simple(9, KEY_BODY), "x", 1);
    assert_tree_problem(e, n, "keys of an inode that has no record");
    n = good_tree(e);
    e[8] = raw_entry(key_link(3, 1, 77 << 16), "", 0);
    assert_tree_problem(e, n, "d/f: a directory names it and it does not know of that link");
    n = good_tree(e);
    e[6] = dirent_entry(1, "l", 99, L);
    assert_tree_problem(e, n, "names an inode that is not there");
    n = good_tree(e);
    e[7] = dirent_entry(3, "f", 3, F);
    assert_tree_problem(e, n, "entries and is no directory");
    n = good_tree(e);
    e[0] = e[--n];            /* without the root's record */
    assert_tree_problem(e, n, "there is no root directory");
    uint8_t extent[EXTENT_BYTES] = { 1 };
    put_le32(extent + ADDR_BYTES, 100);
    n = good_tree(e);
    e[9] = raw_entry(key_extent(3, 0), extent, sizeof extent);
    assert_tree_problem(e, n, "has extents and must not");
    n = good_tree(e);
    edit_inode(e, 3, big);
    e[9] = raw_entry(key_extent(3, 0), extent, sizeof extent);
    assert_tree_problem(e, n, "a piece of its content is missing");
    n = good_tree(e);
    edit_inode(e, 3, big);
    e[9] = raw_entry(key_extent(3, 8), extent, sizeof extent);
    assert_tree_problem(e, n, "reaches past its end");
    assert_int_equal(tree_check(store, &(struct addr){ 0 }, note_problem, NULL, &counts), -EUCLEAN);
}

static void a_circle_of_directories_is_found(void **state)
{
    struct inode root = { .mode = S_IFDIR | 0755, .nlink = 2, .size = 0, .parent = 1 };
    struct inode a = { .mode = S_IFDIR | 0755, .nlink = 3, .size = 1, .parent = 3, .cookie = name_cookie("a", 1) };
    struct inode b = { .mode = S_IFDIR | 0755, .nlink = 3, .size = 1, .parent = 2, .cookie = name_cookie("b", 1) };
    struct entry e[] = { inode_entry(1, root), inode_entry(2, a), inode_entry(3, b), dirent_entry(3, "a", 2, D), dirent_entry(2, "b", 3, D) };

    assert_tree_problem(e, 5, "inode 2: the directory cannot be reached from the root");
}

static int first_chunk(void *arg, const struct node_entry *a, const struct node_entry *b)
{
    const struct node_entry *e = b ? b : a;

    if (e->key_len != 17 || key_kind_of(e->key) != KEY_EXTENT)
        return 0;
    memcpy(arg, e->val, ADDR_BYTES);
    return 1;
}

static struct addr root_of(const char *object)
{
    struct addr root;
    struct object o;
    struct view *v;

    assert_int_equal(object_find(store, object, &o), 0);
    assert_int_equal(object_view(store, &o, &v), 0);
    assert_int_equal(view_fold_now(store, v, &root), 0);
    view_unref(v);
    return root;
}

static void flip_byte_of(const struct chunk_loc *loc)
{
    char path[sizeof dir + 64];
    uint8_t c;

    snprintf(path, sizeof path, "%s/data/%016" PRIx64, dir, loc->seg);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, (off_t)loc->off + 5), 1);
    c ^= 0x40;
    assert_int_equal(pwrite(fd, &c, 1, (off_t)loc->off + 5), 1);
    close(fd);
}

static void assert_scrub(bool repair, const char *part)
{
    uint64_t checked = 0;

    problems[0] = '\0';
    assert_int_equal(verb_scrub(store, repair, note_problem, NULL, &checked), 0);
    assert_true(checked > 0);
    if (!part) {
        assert_string_equal(problems, "");
    } else {
        if (!strstr(problems, part))
            print_error("wanted \"%s\", scrub says:\n%s", part, problems);
        assert_non_null(strstr(problems, part));
    }
}

static void scrub_names_the_file_whose_bytes_are_wrong_and_others_stay_fine(void **state)
{
    struct addr none = { 0 }, chunk, root;
    struct chunk_loc loc;
    char want[256];

    create("w");
    put_noise("w", "hit", 1, 300000);
    put_noise("w", "fine", 2, 300000);
    struct snap_rec s = snapshot("w", "s");
    root = root_of("w@s");
    assert_scrub(false, NULL);
    assert_int_equal(tree_diff(store->nodes, &none, &root, first_chunk, &chunk), 1);
    assert_int_equal(chunk_stat(store->chunks, &chunk, &loc), 0);
    reopen(&quiet);
    flip_byte_of(&loc);
    snprintf(want, sizeof want, "%s:hit: bytes 0 to 131071 of it are lost", s.id);
    assert_scrub(false, want);
    assert_non_null(strstr(problems, "w:hit: bytes"));
    assert_null(strstr(problems, "fine"));
    assert_scrub(true, want);          /* nobody has the bytes: still lost */
    assert_noise("w@s", "fine", 2, 300000);
    struct workspace *w = open_any("w@s");
    uint8_t *got = malloc(300000);
    size_t n;
    assert_int_equal(get_from(w, "hit", got, 300000, &n), -EIO);
    free(got);
    workspace_unref(w);
    create("again");                   /* the same bytes stored anew heal it */
    put_noise("again", "hit", 1, 300000);
    snapshot("again", "s");
    fold("again@s");
    assert_scrub(false, NULL);
    assert_noise("w@s", "hit", 1, 300000);
    assert_clean();
}

static void scrub_repairs_from_memory_what_is_wrong_on_disk(void **state)
{
    struct addr none = { 0 }, chunk, root;
    struct chunk_loc loc;
    struct batch *b = batch_new();

    create("w");
    put_noise("w", "hit", 1, 300000);
    snapshot("w", "s");
    root = root_of("w@s");
    assert_int_equal(tree_diff(store->nodes, &none, &root, first_chunk, &chunk), 1);
    assert_noise("w@s", "hit", 1, 300000);         /* now in the caches */
    assert_int_equal(chunk_stat(store->chunks, &chunk, &loc), 0);
    flip_byte_of(&loc);
    batch_put(b, CF_NODE, root.b, ADDR_BYTES, "junk", 4);
    assert_int_equal(meta_write(store->meta, b, false), 0);
    batch_free(b);
    assert_scrub(false, "the node is damaged");
    assert_scrub(true, "has been written again from memory");
    assert_scrub(false, NULL);
    reopen(&quiet);
    assert_scrub(false, NULL);
    assert_noise("w@s", "hit", 1, 300000);
    assert_clean();
}

static void a_damaged_node_is_named_and_gc_refuses_to_guess(void **state)
{
    struct batch *b = batch_new();
    struct gc_report rep;

    create("w");
    put_noise("w", "f", 1, 300000);
    snapshot("w", "s");
    create("fine");
    put("fine", "f", "x");
    snapshot("fine", "s");
    fold("fine@s");
    struct addr root = root_of("w@s");
    batch_put(b, CF_NODE, root.b, ADDR_BYTES, "junk", 4);
    assert_int_equal(meta_write(store->meta, b, false), 0);
    batch_free(b);
    reopen(&quiet);
    assert_scrub(true, "a node of its tree is lost");
    assert_unclean("a node of the tree cannot be read");
    assert_int_equal(verb_gc(store, false, false, &rep), -EIO);
    assert_text("fine@s", "f", "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fsck_finds_damaged_records),
        TEST(tree_check_accepts_a_good_tree_and_names_each_kind_of_damage),
        TEST(a_circle_of_directories_is_found),
        TEST(scrub_names_the_file_whose_bytes_are_wrong_and_others_stay_fine),
        TEST(scrub_repairs_from_memory_what_is_wrong_on_disk),
        TEST(a_damaged_node_is_named_and_gc_refuses_to_guess),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
