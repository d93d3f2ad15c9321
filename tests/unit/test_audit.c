/* The log of decisions, and what egress keeps of boxes: over restarts, crashes, disks that fail, and from many threads. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "sandbox/egress/audit.h"
#include "sandbox/egress/state.h"
#include "tests/egress/policy_trial.h"
#include "tests/lib/tmp.h"

static const uint8_t key[SECRET_KEY_BYTES] = { 7 };
static char tmp[256];
static int dir = -1;

static int setup(void **state)
{
    dir = tmp_open("audit", tmp, sizeof tmp);
    return dir < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    disk = &disk_real;
    tmp_close(tmp, dir);
    return 0;
}

/* ---- audit ---- */
static void put(struct audit *a, const char *box, const char *target)
{
    audit_put(a, &(struct audit_event){ .box = box, .name = "work", .kind = AUDIT_REQUEST, .scheme = "https", .host = "a.test", .port = 443, .method = "GET", .target = target, .rule = "r", .verdict = "allow",
                                        .status = 200, .bytes_up = 1, .bytes_down = 2, .ms = 3 });
}

static json_t *read_all(struct audit *a, const char *box, uint64_t since, uint64_t *next, bool *lost)
{
    json_t *list = audit_read(a, box, since, AUDIT_READ_MAX, next, lost);
    assert_non_null(list);
    return list;
}

static void an_event_has_its_fields_and_no_more(void **state)
{
    struct audit *a = NULL;
    uint64_t next;
    bool lost;

    assert_int_equal(audit_open(dir, &a), 0);
    put(a, "b1", "/repos/4711?token=canary");
    json_t *list = read_all(a, "b1", 0, &next, &lost), *e = json_array_get(list, 0), *want;
    assert_int_equal(json_array_size(list), 1);
    assert_false(lost);
    assert_int_equal(strlen(json_string_value(json_object_get(e, "time"))), 24);
    json_object_del(e, "time");
    assert_true(json_integer_value(json_object_get(e, "seq")) > 0);
    json_object_del(e, "seq");
    want = trial_json("{'box': 'b1', 'name': 'work', 'kind': 'request', 'scheme': 'https', 'host': 'a.test', 'port': 443, 'method': 'GET', 'path_shape': '/repos/{}', 'rule': 'r', 'verdict': 'allow', "
                      "'status': 200, 'bytes_up': 1, 'bytes_down': 2, 'ms': 3}");
    if (!json_equal(e, want))
        fail_msg("%s", json_dumps(e, 0));
    json_decref(want);
    json_decref(list);
    audit_free(a);
}

static void paths_lose_what_looks_like_an_identifier(void **state)
{
    static const struct { const char *target, *shape; } cases[] = {
        { "/", "/" }, { "/repos/octocat/hello-world/issues", "/repos/octocat/hello-world/issues" }, { "/v1/users/12345", "/v1/users/{}" }, { "/a?secret=1", "/a" }, { "/a#x", "/a" },
        { "/o/550e8400-e29b-41d4-a716-446655440000/x", "/o/{}/x" }, { "/c/deadbeef01", "/c/{}" }, { "/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getMe", "/{}:{}/getMe" },
        { "/k/sk-proj-4f8aZ09xQwErTy", "/k/{}" }, { "/api/v3/search", "/api/v3/search" }, { "/x/0", "/x/{}" }, { "/\x1b]0;evil\x07/\xff", "/\\x1b]0;evil\\x07/\\xff" }, { "/a\"b\\c d", "/a\\x22b\\x5cc\\x20d" },
        { "/;id=4711;x", "/;id={};x" }, { "/AbCdEfGhIjKlMnOpQrStUvWx", "/{}" }, { "", "" },
    };
    char out[PATH_SHAPE_MAX], longest[5000];

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(path_shape(cases[i].target, out), cases[i].shape))
            fail_msg("%s: %s, wanted %s", cases[i].target, out, cases[i].shape);
    unsigned seed = 3;
    for (unsigned round = 0; round < 2000; round++) {
        size_t n = (size_t)rand_r(&seed) % sizeof longest;
        for (size_t i = 0; i < n; i++)
            longest[i] = (char)(1 + rand_r(&seed) % 255);
        longest[n ? n - 1 : 0] = 0;
        assert_true(strlen(path_shape(longest, out)) <= 200);
        for (const char *p = out; *p; p++)
            assert_in_range(*p, 0x21, 0x7e);
    }
}

static void what_the_workload_writes_is_escaped_and_cut(void **state)
{
    struct audit *a = NULL;
    uint64_t next;
    bool lost;
    char host[3000];

    memset(host, '\x1b', sizeof host - 1);
    host[sizeof host - 1] = 0;
    assert_int_equal(audit_open(-1, &a), 0);
    audit_put(a, &(struct audit_event){ .box = "b1", .name = "n\n\"x", .kind = AUDIT_DNS, .host = host, .method = "G\xff", .verdict = "deny", .why = "a\r\nb" });
    json_t *list = read_all(a, "b1", 0, &next, &lost), *e = json_array_get(list, 0);
    char *text = json_dumps(e, JSON_COMPACT);
    assert_true(strlen(text) < 1200);
    for (const char *p = text; *p; p++)
        assert_in_range(*p, 0x20, 0x7e);
    assert_string_equal(json_string_value(json_object_get(e, "method")), "G\\xff");
    assert_string_equal(json_string_value(json_object_get(e, "name")), "n\\x0a\"x");
    assert_null(json_object_get(e, "port"));
    free(text);
    json_decref(list);
    audit_free(a);
}

static void numbers_go_on_over_restarts_and_a_torn_line_is_dropped(void **state)
{
    struct audit *a = NULL;
    uint64_t next, last = 0;
    bool lost;

    for (unsigned run = 0; run < 3; run++) {
        assert_int_equal(audit_open(dir, &a), 0);
        put(a, "b1", "/x");
        put(a, "b2", "/y");
        json_t *list = read_all(a, "b1", 0, &next, &lost);
        assert_int_equal(json_array_size(list), run + 1);
        assert_true(next > last);
        assert_false(lost);
        last = next;
        json_decref(list);
        list = read_all(a, NULL, 0, &next, &lost);
        assert_int_equal(json_array_size(list), 2 * (run + 1));
        for (size_t i = 1; i < json_array_size(list); i++)
            assert_true(json_integer_value(json_object_get(json_array_get(list, i - 1), "seq")) < json_integer_value(json_object_get(json_array_get(list, i), "seq")));
        json_decref(list);
        audit_free(a);
        int fd = openat(dir, "log/b1.LOG", O_WRONLY | O_APPEND);
        assert_int_equal(write(fd, "{\"seq\": 99999999, \"torn", 23), 23);
        close(fd);
    }
    assert_int_equal(audit_open(dir, &a), 0);
    json_t *list = read_all(a, "b1", last, &next, &lost);
    assert_int_equal(json_array_size(list), 0);
    assert_int_equal(next, last);
    json_decref(list);
    audit_free(a);
}

static void one_box_does_not_push_out_another_and_a_gap_is_told(void **state)
{
    struct audit *a = NULL;
    uint64_t next, since;
    bool lost;
    struct stat st;

    assert_int_equal(audit_open(dir, &a), 0);
    put(a, "quiet", "/x");
    put(a, "loud", "/first");
    json_decref(read_all(a, "loud", 0, &since, &lost));
    for (unsigned i = 0; i < 5000; i++)
        put(a, "loud", "/flood");
    json_t *list = read_all(a, "quiet", 0, &next, &lost);
    assert_int_equal(json_array_size(list), 1);
    assert_false(lost);
    json_decref(list);
    list = read_all(a, "loud", since, &next, &lost);
    assert_true(lost);
    assert_in_range(json_array_size(list), 100, 999);
    json_decref(list);
    put(a, "loud", "/after");
    list = read_all(a, "loud", next, &next, &lost);
    assert_false(lost);
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
    list = audit_read(a, "loud", 0, 3, &next, &lost);
    assert_int_equal(json_array_size(list), 3);
    json_decref(list);
    static const char *const files[] = { "log/loud.LOG", "log/loud.OLD" };
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(fstatat(dir, files[i], &st, 0), 0);
        assert_true(st.st_size <= AUDIT_FILE_BYTES);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    audit_free(a);
    assert_int_equal(audit_open(dir, &a), 0);
    list = read_all(a, "loud", since, &next, &lost);
    assert_true(lost);
    json_decref(list);
    audit_forget(a, "loud");
    assert_int_equal(fstatat(dir, files[0], &st, 0), -1);
    assert_int_equal(fstatat(dir, files[1], &st, 0), -1);
    list = read_all(a, "loud", 0, &next, &lost);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    audit_free(a);
}

static void followers_are_woken(void **state)
{
    struct audit *a = NULL;
    int one = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), all = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t n;

    assert_int_equal(audit_open(-1, &a), 0);
    assert_int_equal(audit_watch(a, "b1", one), 0);
    assert_int_equal(audit_watch(a, NULL, all), 0);
    put(a, "b2", "/x");
    assert_int_equal(read(one, &n, sizeof n), -1);
    assert_int_equal(read(all, &n, sizeof n), 8);
    put(a, "b1", "/x");
    assert_int_equal(read(one, &n, sizeof n), 8);
    audit_unwatch(a, "b1", one);
    put(a, "b1", "/x");
    assert_int_equal(read(one, &n, sizeof n), -1);
    for (unsigned i = 1; i < AUDIT_WATCHERS_MAX; i++)
        assert_int_equal(audit_watch(a, "b1", one), 0);
    assert_int_equal(audit_watch(a, "b1", one), -EMFILE);
    audit_free(a);
    close(one);
    close(all);
}

static ssize_t full_pwrite(int fd, const void *p, size_t n, off_t off)
{
    return -ENOSPC;
}

static void a_full_disk_costs_the_file_and_not_the_event(void **state)
{
    struct disk_ops full = disk_real;
    struct audit *a = NULL;
    uint64_t next;
    bool lost;

    full.pwrite = full_pwrite;
    assert_int_equal(audit_open(dir, &a), 0);
    disk = &full;
    put(a, "b1", "/one");
    put(a, "b1", "/two");
    disk = &disk_real;
    put(a, "b1", "/three");
    json_t *list = read_all(a, "b1", 0, &next, &lost);
    assert_int_equal(json_array_size(list), 3);
    json_decref(list);
    audit_free(a);
    assert_int_equal(audit_open(dir, &a), 0);
    list = read_all(a, "b1", 0, &next, &lost);
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
    audit_free(a);
}

/* ---- state ---- */
static struct state *open_state(void)
{
    struct state *s = NULL;
    assert_int_equal(state_open(dir, key, &s), 0);
    return s;
}

/* The answer's "ok"; or fails. Owned. */
static json_t *ok(struct state *s, const char *request)
{
    json_t *req = trial_json(request), *answer = NULL;

    assert_int_equal(state_op(s, req, &answer), 0);
    json_t *r = json_incref(json_object_get(answer, "ok"));
    if (!r)
        fail_msg("%s: %s", request, json_dumps(answer, 0));
    json_decref(answer);
    json_decref(req);
    return r;
}

static const char *code(struct state *s, const char *request)
{
    static char text[64];
    json_t *req = trial_json(request), *answer = NULL;

    assert_int_equal(state_op(s, req, &answer), 0);
    const char *c = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));
    snprintf(text, sizeof text, "%s", c ? c : "ok");
    json_decref(answer);
    json_decref(req);
    return text;
}

static void is(struct state *s, const char *box, const char *rules, json_int_t revision)
{
    char request[100];
    json_t *want = trial_json(rules);

    snprintf(request, sizeof request, "{'op': 'rules_get', 'box': '%s'}", box);
    json_t *got = ok(s, request);
    if (!json_equal(json_object_get(got, "rules"), want) || json_integer_value(json_object_get(got, "revision")) != revision)
        fail_msg("%s", json_dumps(got, 0));
    assert_true(json_is_array(json_object_get(got, "warnings")));
    json_decref(got);
    json_decref(want);
}

#define NOTHING "{'default': 'deny', 'inherit': false, 'rules': []}"
static void rules_are_kept_and_compared_before_they_are_set(void **state)
{
    struct state *s = open_state();

    is(s, "b1", NOTHING, 0);
    json_decref(ok(s, "{'op': 'box', 'box': 'b1', 'name': 'work', 'labels': {'team': 'a'}}"));
    json_decref(ok(s, "{'op': 'rules_put', 'tag': 5, 'box': 'b1', 'doc': {'default': 'allow'}, 'if_revision': 0}"));
    assert_string_equal(code(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {}, 'if_revision': 0}"), "precondition_failed");
    assert_string_equal(code(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {}, 'if_revision': '1'}"), "precondition_failed");
    assert_string_equal(code(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {'x': 1}}"), "invalid_request");
    assert_string_equal(code(s, "{'op': 'rules_put', 'box': 'b1', 'docs': {}}"), "invalid_request");
    assert_string_equal(code(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {}, 'more': 1}"), "invalid_request");
    assert_string_equal(code(s, "{'op': 'rules_put', 'box': '../b1', 'doc': {}}"), "invalid_request");
    assert_string_equal(code(s, "{'op': 'rules_check', 'doc': {'x': 1}}"), "invalid_request");
    assert_string_equal(code(s, "{'op': 'rules_check', 'doc': {}}"), "ok");
    is(s, "b1", "{'default': 'allow'}", 1);
    json_decref(ok(s, "{'op': 'rules_patch', 'box': 'b1', 'default': 'deny', 'add': [{'name': 'a', 'allow': ['a.test']}, {'name': 'b', 'allow': ['b.test']}]}"));
    json_decref(ok(s, "{'op': 'rules_patch', 'box': 'b1', 'remove': ['b'], 'add': [{'name': 'a', 'deny': ['a.test']}, {'allow': ['c.test']}], 'if_revision': 2}"));
    assert_string_equal(code(s, "{'op': 'rules_patch', 'box': 'b1', 'remove': ['b']}"), "not_found");
    assert_string_equal(code(s, "{'op': 'rules_patch', 'box': 'b1', 'remove': [1]}"), "invalid_request");
    assert_string_equal(code(s, "{'op': 'rules_patch', 'box': 'b1', 'add': [{}]}"), "invalid_request");
    state_free(s);
    s = open_state();
    is(s, "b1", "{'default': 'deny', 'rules': [{'name': 'a', 'deny': ['a.test']}, {'allow': ['c.test']}]}", 3);
    const struct box_view *v = state_box(s, "b1");
    assert_string_equal(v->name, "work");
    assert_string_equal(json_string_value(json_object_get(v->box.labels, "team")), "a");
    box_view_unref(v);
    json_decref(ok(s, "{'op': 'forget', 'box': 'b1'}"));
    json_decref(ok(s, "{'op': 'forget', 'box': 'b1'}"));
    is(s, "b1", NOTHING, 0);
    state_free(s);
    s = open_state();
    assert_int_equal(state_boxes(s), 0);
    json_t *req = trial_json("{'op': 'log'}"), *answer;
    assert_int_equal(state_op(s, req, &answer), 1);
    json_decref(req);
    state_free(s);
}

static void forks_get_their_part_and_views_stay_as_they_were(void **state)
{
    struct state *s = open_state();

    json_decref(ok(s, "{'op': 'rules_put', 'box': 'from', 'doc': {'rules': [{'allow': ['a.test']}, {'name': 'k', 'allow': ['b.test'], 'inherit': true}]}}"));
    const struct box_view *before = state_box(s, "from");
    uint64_t generation = state_generation(s);
    json_decref(ok(s, "{'op': 'fork', 'from': 'from', 'to': ['to1', 'to2']}"));
    assert_true(state_generation(s) > generation);
    json_decref(ok(s, "{'op': 'rules_put', 'box': 'from', 'doc': {}}"));
    json_decref(ok(s, "{'op': 'fork', 'from': 'from', 'to': ['to3']}"));
    json_t *old = policy_json(before->policy);
    assert_int_equal(json_array_size(json_object_get(old, "rules")), 2);
    json_decref(old);
    json_decref(ok(s, "{'op': 'forget', 'box': 'from'}"));
    unsigned retry;
    assert_true(limiter_request(before->limiter, NULL, &retry));
    box_view_unref(before);
    state_free(s);
    s = open_state();
    is(s, "to1", "{'default': 'deny', 'inherit': false, 'rules': [{'name': 'k', 'allow': ['b.test'], 'inherit': true}]}", 1);
    is(s, "to2", "{'default': 'deny', 'inherit': false, 'rules': [{'name': 'k', 'allow': ['b.test'], 'inherit': true}]}", 1);
    is(s, "to3", NOTHING, 0);
    generation = state_generation(s);
    json_decref(ok(s, "{'op': 'secret_put', 'name': 'S', 'value': 'canary', 'hosts': ['a.test']}"));
    assert_true(state_generation(s) > generation);
    assert_string_equal(code(s, "{'op': 'secret_put', 'name': 'S', 'value': 'a\\nb'}"), "invalid_request");
    json_t *list = ok(s, "{'op': 'secret_list'}");
    char *text = json_dumps(list, 0);
    assert_null(strstr(text, "canary"));
    assert_non_null(strstr(text, "a.test"));
    free(text);
    json_decref(list);
    assert_string_equal(code(s, "{'op': 'secret_delete', 'name': 'S'}"), "ok");
    assert_string_equal(code(s, "{'op': 'secret_delete', 'name': 'S'}"), "not_found");
    state_free(s);
}

static int fsync_fails, fsyncs;      /* fsync_fails < 0: only the n-th from now */

static int bad_fsync(int fd)
{
    fsyncs++;
    return fsync_fails > 0 || (fsync_fails < 0 && !++fsync_fails) ? -EIO : disk_real.fsync(fd);
}

static void files(const char *want)
{
    char have[200] = "";
    int fd = openat(dir, "boxes", O_RDONLY | O_DIRECTORY);
    struct dirent **names;

    assert_true(fd >= 0);
    snprintf(have, sizeof have, "/proc/self/fd/%d", fd);
    int n = scandir(have, &names, NULL, alphasort);
    assert_true(n >= 0);
    for (int i = have[0] = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.')
            snprintf(have + strlen(have), sizeof have - strlen(have), "%.40s ", names[i]->d_name);
        free(names[i]);
    }
    free(names);
    close(fd);
    assert_string_equal(have, want);
}

#define HANDED_ON "{'default': 'deny', 'inherit': false, 'rules': [{'name': 'k', 'allow': ['b.test'], 'inherit': true}]}"
static void the_disk_is_waited_for_only_for_what_rules_depend_on(void **state)
{
    struct disk_ops counted = disk_real;
    struct state *s = open_state();

    fsync_fails = fsyncs = 0;
    counted.fsync = bad_fsync;
    disk = &counted;
    json_decref(ok(s, "{'op': 'box', 'box': 'from', 'name': 'work', 'labels': {'a': 'b'}}"));
    json_decref(ok(s, "{'op': 'fork', 'from': 'from', 'to': ['n1', 'n2']}"));
    json_decref(ok(s, "{'op': 'fork', 'from': 'nobody', 'to': ['n3']}"));
    assert_int_equal(fsyncs, 0);
    files("");
    json_decref(ok(s, "{'op': 'rules_put', 'box': 'from', 'doc': " HANDED_ON "}"));
    assert_int_equal(fsyncs, 2);
    json_decref(ok(s, "{'op': 'box', 'box': 'from', 'name': 'renamed', 'labels': {'a': 'b'}}"));
    assert_int_equal(fsyncs, 2);
    json_decref(ok(s, "{'op': 'box', 'box': 'from', 'name': 'renamed', 'labels': {'a': 'c'}}"));
    assert_int_equal(fsyncs, 4);
    json_decref(ok(s, "{'op': 'fork', 'from': 'from', 'to': ['f1', 'f2', 'f3']}"));
    assert_int_equal(fsyncs, 8);              /* three files and the directory */
    files("f1.json f2.json f3.json from.json ");
    assert_string_equal(code(s, "{'op': 'fork', 'from': 'from', 'to': ['g1', '../g2']}"), "invalid_request");
    json_decref(ok(s, "{'op': 'fork', 'from': 'nobody', 'to': ['f3']}"));      /* that had something */
    disk = &disk_real;
    state_free(s);
    s = open_state();
    const struct box_view *v = state_box(s, "from");
    assert_string_equal(v->name, "renamed");
    assert_string_equal(json_string_value(json_object_get(v->box.labels, "a")), "c");
    box_view_unref(v);
    is(s, "f2", HANDED_ON, 1);
    is(s, "f3", NOTHING, 2);
    state_free(s);
}

static void forks_get_all_or_nothing(void **state)
{
    struct disk_ops bad = disk_real;
    struct state *s = open_state();

    json_decref(ok(s, "{'op': 'rules_put', 'box': 'from', 'doc': " HANDED_ON "}"));
    bad.fsync = bad_fsync;
    for (int nth = 1; nth <= 4; nth++) {      /* of a file, or of the directory */
        disk = &bad;
        fsync_fails = -nth;
        assert_string_equal(code(s, "{'op': 'fork', 'from': 'from', 'to': ['f1', 'f2', 'f3']}"), "internal");
        disk = &disk_real;
        files("from.json ");
        is(s, "f1", NOTHING, 0);
        is(s, "f3", NOTHING, 0);
    }
    json_decref(ok(s, "{'op': 'fork', 'from': 'from', 'to': ['f1', 'f2', 'f3']}"));
    is(s, "f3", HANDED_ON, 1);
    state_free(s);
}

static void what_is_not_on_the_disk_is_not_in_force(void **state)
{
    struct disk_ops bad = disk_real;
    struct state *s = open_state();

    json_decref(ok(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {'default': 'allow'}}"));
    bad.fsync = bad_fsync;
    disk = &bad;
    fsync_fails = 1;
    assert_string_equal(code(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {}}"), "internal");
    assert_string_equal(code(s, "{'op': 'box', 'box': 'b1', 'name': 'x', 'labels': {'a': 'b'}}"), "internal");
    fsync_fails = 0;
    disk = &disk_real;
    is(s, "b1", "{'default': 'allow'}", 1);
    assert_string_equal(code(s, "{'op': 'box', 'box': 'b1', 'name': 'x', 'labels': {}}"), "ok");
    state_free(s);
    s = open_state();
    is(s, "b1", "{'default': 'allow'}", 1);
    state_free(s);
}

static void a_file_that_cannot_be_read_denies(void **state)
{
    static const char *const contents[] = { "", "{", "[]", "{\"name\":\"x\",\"labels\":{},\"revision\":1,\"rules\":{\"default\":\"allow\",\"new_field\":1}}", "{\"name\":\"x\",\"labels\":{},\"revision\":-1,\"rules\":{\"default\":\"allow\"}}",
                                            "{\"name\":\"x\",\"labels\":{},\"revision\":1,\"rules\":{\"default\":\"allow\"},\"more\":1}" };
    struct state *s = open_state();

    json_decref(ok(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {'default': 'allow'}}"));
    state_free(s);
    for (unsigned i = 0; i < sizeof contents / sizeof *contents; i++) {
        int fd = openat(dir, "boxes/b1.json", O_WRONLY | O_TRUNC);
        assert_int_equal(write(fd, contents[i], strlen(contents[i])), strlen(contents[i]));
        close(fd);
        s = open_state();
        is(s, "b1", NOTHING, 0);
        state_free(s);
    }
}

static bool file_is(const char *text)
{
    char got[400] = "";
    int fd = openat(dir, "boxes/b1.json", O_RDONLY);

    assert_true(read(fd, got, sizeof got - 1) >= 0);
    close(fd);
    return !strcmp(got, text);
}

/* A newer coppice's file: this one denies, and going back finds the rules again, whatever was done meanwhile but setting others. */
static void a_file_that_cannot_be_read_is_kept_until_rules_are_set(void **state)
{
    static const char newer[] = "{\"name\":\"x\",\"labels\":{},\"revision\":7,\"rules\":{\"default\":\"deny\",\"new_field\":1}}";
    struct state *s = open_state();

    json_decref(ok(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {'default': 'allow'}}"));
    state_free(s);
    int fd = openat(dir, "boxes/b1.json", O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, newer, sizeof newer - 1), sizeof newer - 1);
    close(fd);
    s = open_state();
    json_decref(ok(s, "{'op': 'box', 'box': 'b1', 'name': 'work', 'labels': {'team': 'a'}}"));
    json_decref(ok(s, "{'op': 'fork', 'from': 'b1', 'to': ['b2']}"));
    assert_string_equal(code(s, "{'op': 'rules_patch', 'box': 'b1', 'add': [{'allow': ['a.test']}]}"), "conflict");
    assert_string_equal(code(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {'x': 1}}"), "invalid_request");
    is(s, "b1", NOTHING, 0);
    is(s, "b2", NOTHING, 0);
    const struct box_view *v = state_box(s, "b1");
    assert_string_equal(v->name, "work");               /* what is said of it is in force, but not written */
    box_view_unref(v);
    state_free(s);
    assert_true(file_is(newer));
    s = open_state();
    json_decref(ok(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {'default': 'allow'}}"));
    state_free(s);
    s = open_state();
    is(s, "b1", "{'default': 'allow'}", 1);
    state_free(s);
}

/* Two writers that compare before they set: no change of either is lost (E44). */
struct writer { struct state *s; const char *name; unsigned done, lost; };

static void *write_rules(void *arg)
{
    struct writer *w = arg;

    for (unsigned i = 0; i < 100;) {
        json_t *req = json_pack("{s:s, s:s}", "op", "rules_get", "box", "b1"), *answer = NULL, *doc;
        if (state_op(w->s, req, &answer))
            abort();
        json_decref(req);
        json_t *got = json_object_get(answer, "ok");
        doc = json_deep_copy(json_object_get(got, "rules"));
        json_array_append_new(json_object_get(doc, "rules"), json_pack("{s:[o]}", "allow", json_sprintf("h%u.%s.test", i, w->name)));
        req = json_pack("{s:s, s:s, s:o, s:I}", "op", "rules_put", "box", "b1", "doc", doc, "if_revision", json_integer_value(json_object_get(got, "revision")));
        json_decref(answer);
        if (state_op(w->s, req, &answer))
            abort();
        bool fine = json_object_get(answer, "ok");
        i += fine;
        w->lost += !fine;
        json_decref(answer);
        json_decref(req);
    }
    return NULL;
}

static atomic_bool stop;

static void *read_views(void *arg)
{
    struct authority a = { .tls = true, .kind = HOST_NAME, .host = "h0.one.test", .port = 443 };
    uint64_t last = 0;

    while (!stop) {
        const struct box_view *v = state_box(arg, "b1");
        struct verdict verdict;
        policy_connect(v->policy, &v->box, &a, &verdict);
        if (v->revision < last)
            abort();
        last = v->revision;
        box_view_unref(v);
    }
    return NULL;
}

static void two_writers_lose_nothing(void **state)
{
    struct state *s = open_state();
    struct writer one = { s, "one" }, two = { s, "two" };
    pthread_t t[3];

    json_decref(ok(s, "{'op': 'rules_put', 'box': 'b1', 'doc': {'rules': []}}"));
    stop = false;
    pthread_create(&t[0], NULL, write_rules, &one);
    pthread_create(&t[1], NULL, write_rules, &two);
    pthread_create(&t[2], NULL, read_views, s);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    stop = true;
    pthread_join(t[2], NULL);
    const struct box_view *v = state_box(s, "b1");
    json_t *doc = policy_json(v->policy);
    assert_int_equal(json_array_size(json_object_get(doc, "rules")), 200);
    assert_int_equal(v->revision, 201);
    json_decref(doc);
    box_view_unref(v);
    state_free(s);
}

/* A writer is killed in the middle, again and again: what was answered is there, and the file is always whole. */
static void what_was_answered_survives_kill_9(void **state)
{
    json_int_t before = 0;
    unsigned seed = 11;

    for (unsigned round = 0; round < 15; round++) {
        int p[2];
        assert_int_equal(pipe(p), 0);
        pid_t child = fork();
        if (!child) {
            struct state *s = NULL;
            if (state_open(dir, key, &s))
                _exit(1);
            for (;;) {
                json_t *req = json_pack("{s:s, s:s, s:{s:s}}", "op", "rules_put", "box", "b1", "doc", "default", "allow"), *answer = NULL;
                if (state_op(s, req, &answer))
                    _exit(1);
                json_int_t revision = json_integer_value(json_object_get(json_object_get(answer, "ok"), "revision"));
                if (write(p[1], &revision, sizeof revision) != sizeof revision)
                    _exit(1);
                json_decref(answer);
                json_decref(req);
            }
        }
        close(p[1]);
        json_int_t answered = 0, one;
        unsigned answers = 1 + (unsigned)rand_r(&seed) % 40;
        while (answers && read(p[0], &one, sizeof one) == sizeof one) {
            answered = one;
            answers--;
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        while (read(p[0], &one, sizeof one) == sizeof one)
            answered = one;
        close(p[0]);
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        struct state *s = open_state();
        const struct box_view *v = state_box(s, "b1");
        assert_true((json_int_t)v->revision == answered || (json_int_t)v->revision == answered + 1);
        assert_true(answered > before);
        before = (json_int_t)v->revision;
        box_view_unref(v);
        state_free(s);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_event_has_its_fields_and_no_more), T(paths_lose_what_looks_like_an_identifier), T(what_the_workload_writes_is_escaped_and_cut), T(numbers_go_on_over_restarts_and_a_torn_line_is_dropped),
        T(one_box_does_not_push_out_another_and_a_gap_is_told), T(followers_are_woken), T(a_full_disk_costs_the_file_and_not_the_event), T(rules_are_kept_and_compared_before_they_are_set),
        T(forks_get_their_part_and_views_stay_as_they_were), T(what_is_not_on_the_disk_is_not_in_force), T(the_disk_is_waited_for_only_for_what_rules_depend_on),
        T(forks_get_all_or_nothing), T(a_file_that_cannot_be_read_denies), T(a_file_that_cannot_be_read_is_kept_until_rules_are_set),
        T(two_writers_lose_nothing), T(what_was_answered_survives_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
