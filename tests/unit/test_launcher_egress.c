/* The network of boxes and the launcher's care for egress, with real namespaces, the test in the place of sandboxd (launch_driver.h) and of egress (egress_standin.h), and a stand-in for the
 * agent that says what can be reached inside. Needs root and /dev/fuse. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "sandbox/egress_proto.h"
#include "sandbox/launcher/bundle.h"
#include "tests/unit/egress_standin.h"
#include "tests/unit/launch_driver.h"

#define ROOTS_TEXT "-----BEGIN CERTIFICATE-----\nroots of the test\n-----END CERTIFICATE-----\n"
static struct driver D;
static char roots[64];

static bool begin(const char *egress, const char *key)
{
    const char *const more[] = { "--upstream-roots", roots, "--secret-key", key, egress ? "--egress" : NULL, egress, NULL };

    return driver_launch(&D, more) && driver_meet(&D);
}

static char *in_store(const char *name)
{
    static char path[400];

    snprintf(path, sizeof(path), "%s/sandbox/%s", D.store, name);
    return path;
}

static void put(const char *name, const char *text)
{
    int fd = open(in_store(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* LAUNCH_EGRESS: a connection, or -errno with the reason. */
static int egress_connection(char why[256])
{
    struct launch_packet p = { .op = LAUNCH_EGRESS }, a;
    int fds[2];
    int r = driver_ask(&D, &p, NULL, 0, &a, fds);

    snprintf(why, 256, "%s", a.text);
    return r ? r : fds[0];
}

/* What egress says of itself. One that just died may have been given the connection: then the next one has it. */
static const char *look(void)
{
    static char text[512];
    char why[256];
    ssize_t n = 0;

    while (n <= 0) {
        int fd = egress_connection(why);
        assert_true(fd >= 0);
        n = send(fd, "look", 4, MSG_NOSIGNAL) == 4 ? recv(fd, text, sizeof(text) - 1, 0) : -1;
        close(fd);
    }
    text[n] = 0;
    return text;
}

/* Returns when it is dead. */
static void die(void)
{
    char why[256], byte;
    int fd = egress_connection(why);

    assert_true(fd >= 0);
    assert_int_equal(send(fd, "die", 3, MSG_NOSIGNAL), 3);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
}

static void every_address_leads_to_egress_and_every_other_port_is_refused(void **state)
{
    (void)state;
    static const struct { const char *dial, *answer; } rows[] = {
        { "tcp 1.2.3.4 80", "net1 0" }, { "tcp 127.0.0.1 443", "net1 1" }, { "tcp 169.254.169.254 3128", "net1 2" }, { "udp 8.8.8.8 53", "net1 3" }, { "tcp 10.0.0.5 53", "net1 4" },
        { "tcp 2606:4700::1111 443", "net1 1" }, { "tcp ::1 80", "net1 0" }, { "udp 2001:4860:4860::8888 53", "net1 3" },
        { "tcp 1.2.3.4 25", "!ECONNREFUSED" }, { "tcp 127.0.0.1 8421", "!ECONNREFUSED" }, { "tcp 2606:4700::1111 22", "!ECONNREFUSED" }, { "udp 1.2.3.4 123", "!ECONNREFUSED" },
    };
    struct started one, two;

    assert_true(driver_create(&D, "net1", "bare") && driver_create(&D, "net2", "bare"));
    assert_true(driver_box(&D, "net1", LAUNCH_HOST_USR, &one) && driver_box(&D, "net2", LAUNCH_HOST_USR, &two));
    assert_int_equal(one.answer.value[2], LAUNCH_NET_ON | LAUNCH_NET_BUNDLE);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(standin(one.sock, "dial %s", rows[i].dial), rows[i].answer);
    assert_string_equal(standin(two.sock, "dial tcp 1.2.3.4 80"), "net2 0");      /* the listener says who it is */
    assert_string_equal(standin(two.sock, "dial udp 1.1.1.1 53"), "net2 3");
    assert_true(driver_kill(&D, "net2", &two) && driver_kill(&D, "net1", &one));
}

static void nobody_inside_can_have_the_doors(void **state)
{
    (void)state;
    static const char *const doors[] = { "tcp 127.0.0.1 443", "tcp 0.0.0.0 80", "tcp 1.2.3.4 3128", "udp 1.2.3.4 53", "udp 127.0.0.1 53", "tcp 8.8.8.8 53", "tcp :: 443", "tcp ::1 80", "udp :: 53" };
    struct started s;

    assert_true(driver_create(&D, "doors", "bare") && driver_box(&D, "doors", LAUNCH_HOST_USR, &s));
    for (unsigned i = 0; i < sizeof(doors) / sizeof(doors[0]); i++)
        assert_string_equal(standin(s.sock, "bind %s", doors[i]), "!EADDRINUSE");
    assert_string_equal(standin(s.sock, "bind tcp 127.0.0.1 8080"), "ok");
    assert_true(driver_kill(&D, "doors", &s));
}

static void egress_has_no_file_system_no_rights_and_one_directory(void **state)
{
    (void)state;
    char want[256];

    snprintf(want, sizeof(want), "entries:0 usr:-1 etc:-1 proc:-1 uid:%d gid:%d groups:0 pid:1 bounding:0 nnp:1 up:0 key:32 dir:1 packet:-1 mkdir:-1", LAUNCH_EGRESS_UID, LAUNCH_EGRESS_UID);
    assert_string_equal(look(), want);
    assert_int_equal(access(in_store("egress/kept"), F_OK), 0);      /* and what it writes is in the store */
}

static void what_dies_is_started_again_and_asked_for_the_same_boxes(void **state)
{
    (void)state;
    struct started one, two;

    assert_true(driver_create(&D, "stay1", "bare") && driver_create(&D, "stay2", "bare"));
    assert_true(driver_box(&D, "stay1", LAUNCH_HOST_USR, &one) && driver_box(&D, "stay2", LAUNCH_HOST_USR, &two));
    for (unsigned i = 0; i < 4; i++) {
        die();
        assert_string_equal(standin(one.sock, "dial tcp 1.2.3.4 443"), "stay1 1");       /* waits in the queue until there is one again */
        assert_string_equal(standin(two.sock, "dial udp 1.2.3.4 53"), "stay2 3");
    }
    /* sandboxd's end changes nothing. */
    close(D.control);
    close(D.door);
    D.door = D.control = -1;
    assert_true(driver_meet(&D));
    struct launch_packet p = { .op = LAUNCH_LIST }, a;
    unsigned boxes = 0;
    p.tag = 1000000;
    assert_int_equal(driver_send(&D, &p, NULL, 0), 0);
    while (recv(D.control, &a, sizeof(a), 0) == sizeof(a) && a.op == LAUNCH_BOX) {
        assert_int_equal(a.value[4], LAUNCH_NET_ON | LAUNCH_NET_BUNDLE);
        boxes++;
    }
    assert_int_equal(boxes, 2);
    assert_string_equal(standin(one.sock, "dial tcp 1.2.3.4 443"), "stay1 1");
    assert_true(driver_kill(&D, "stay1", &one) && driver_kill(&D, "stay2", &two));
}

/* A file of the workspace, made from outside while it is mounted for the operator's eyes: through the agent's stand-in, before the next start. */
static void prepare_tree(const char *name, const char *const *commands)
{
    struct started s;

    assert_true(driver_create(&D, name, "bare") && driver_box(&D, name, LAUNCH_HOST_USR, &s));
    for (; *commands; commands++)
        assert_string_equal(standin(s.sock, "%s", *commands), "ok");
    assert_true(driver_kill(&D, name, &s));
}

static void the_bundle_is_where_programs_look_and_nobody_changes_it(void **state)
{
    (void)state;
    static const char want[] = "-----BEGIN CERTIFICATE-----\nstand-in \n-----END CERTIFICATE-----\n\n" ROOTS_TEXT;
    static const char *const tree[] = { "mkdir /etc", "mkdir /etc/ssl", "mkdir /etc/ssl/certs", "write /etc/ssl/certs/ca-certificates.crt old", "mkdir /etc/pki", "link /etc/ssl /etc/pki/tls",
                                        "write /etc/plain kept", "link /etc/plain /etc/ssl/cert.pem", NULL };
    struct started s;

    prepare_tree("bundle", tree);
    assert_true(driver_box(&D, "bundle", LAUNCH_HOST_USR, &s));
    assert_string_equal(standin(s.sock, "cat " EGRESS_BUNDLE_PATH), want);
    assert_string_equal(standin(s.sock, "cat /etc/ssl/certs/ca-certificates.crt"), want);
    assert_string_equal(standin(s.sock, "cat /etc/ssl/cert.pem"), "kept");        /* no symlink is followed */
    assert_string_equal(standin(s.sock, "write " EGRESS_BUNDLE_PATH " x"), "!EROFS");
    assert_string_equal(standin(s.sock, "write /etc/ssl/certs/ca-certificates.crt x"), "!EROFS");
    standin(s.sock, "remount " EGRESS_BUNDLE_PATH);      /* the real agent cannot even try */
    assert_string_equal(standin(s.sock, "write " EGRESS_BUNDLE_PATH " x"), "!EROFS");
    assert_true(driver_kill(&D, "bundle", &s));
}

static void a_new_certificate_is_in_the_next_box(void **state)
{
    (void)state;
    struct started s;

    put("egress/ca", "number two");
    die();
    assert_non_null(strstr(look(), "key:32"));      /* it is there again */
    assert_true(driver_create(&D, "newca", "bare") && driver_box(&D, "newca", LAUNCH_HOST_USR, &s));
    assert_non_null(strstr(standin(s.sock, "cat " EGRESS_BUNDLE_PATH), "stand-in number two\n"));
    assert_true(driver_kill(&D, "newca", &s));
    unlink(in_store("egress/ca"));
}

static void where_mounts_cannot_be_cloned_the_bundle_is_copied(void **state)
{
    (void)state;
    char text[256] = "", name[] = "/tmp/coppice-ca-XXXXXX";
    int ca = mkstemp(name), r = open(roots, O_RDONLY);

    unlink(name);
    assert_int_equal(write(ca, "junk", 4), 4);
    assert_int_equal(bundle_make(ca, r), -EBADMSG);
    assert_int_equal(pwrite(ca, ROOTS_TEXT, sizeof(ROOTS_TEXT) - 1, 0), sizeof(ROOTS_TEXT) - 1);
    int bundle = bundle_make(ca, r), copy = bundle_copy(bundle), file = openat(copy, BUNDLE_NAME, O_RDONLY);
    assert_true(bundle >= 0 && copy >= 0);
    assert_int_equal(read(file, text, sizeof(text)), 2 * (sizeof(ROOTS_TEXT) - 1) + 1);
    close(ca), close(r), close(bundle), close(copy), close(file);
}

static void without_egress_boxes_start_and_everything_is_refused_at_once(void **state)
{
    (void)state;
    static const char *const dials[] = { "tcp 1.2.3.4 80", "tcp 1.2.3.4 443", "tcp 127.0.0.1 3128", "tcp ::1 53", "udp 1.1.1.1 53", "udp 127.0.0.53 53" };
    struct started s;
    char why[256];

    driver_quit(&D);
    assert_true(begin(NULL, "memory"));
    assert_true(driver_create(&D, "off", "bare") && driver_box(&D, "off", LAUNCH_HOST_USR, &s));
    assert_int_equal(s.answer.value[2], 0);
    assert_true(s.answer.text[0] != 0);
    for (unsigned i = 0; i < sizeof(dials) / sizeof(dials[0]); i++)
        assert_string_equal(standin(s.sock, "dial %s", dials[i]), "!ECONNREFUSED");
    assert_string_equal(standin(s.sock, "bind tcp 127.0.0.1 443"), "!EADDRINUSE");
    assert_int_equal(egress_connection(why), -ENOTCONN);
    assert_string_equal(why, "this launcher was started without the egress proxy");
    assert_true(driver_kill(&D, "off", &s));
    driver_quit(&D);
    assert_true(begin(D.self, "memory"));
}

static void one_that_cannot_run_leaves_boxes_without_a_network_until_it_can(void **state)
{
    (void)state;
    struct started s;
    char why[256];

    /* A box of before: its doors are shut when egress is given up, and open when it is there again. */
    assert_true(driver_create(&D, "before", "bare") && driver_box(&D, "before", LAUNCH_HOST_USR, &s));
    put("egress/early", "");
    die();
    int fd;
    while ((fd = egress_connection(why)) >= 0)
        close(fd);
    assert_int_equal(fd, -ENOTCONN);
    assert_non_null(strstr(why, "launcher.log"));
    assert_string_equal(standin(s.sock, "dial tcp 1.2.3.4 80"), "!ECONNREFUSED");
    assert_string_equal(standin(s.sock, "dial udp 1.2.3.4 53"), "!ECONNREFUSED");
    unlink(in_store("egress/early"));
    uint64_t end = clock_mono_ns() + 60000000000ull;
    while ((fd = egress_connection(why)) == -ENOTCONN && clock_mono_ns() < end)
        usleep(10000);
    assert_true(fd >= 0);
    close(fd);
    assert_string_equal(standin(s.sock, "dial tcp 1.2.3.4 80"), "before 0");
    assert_string_equal(standin(s.sock, "dial udp 1.2.3.4 53"), "before 3");
    assert_true(driver_kill(&D, "before", &s));
}

static void the_key_is_made_once_and_refused_when_others_can_read_it(void **state)
{
    (void)state;
    char path[300], first[32], second[32];
    struct stat st;

    snprintf(path, sizeof(path), "%s/key", D.dir);
    driver_quit(&D);
    assert_true(begin(D.self, path));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, first, 32), 32);
    close(fd);
    driver_quit(&D);
    assert_true(begin(D.self, path));
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, second, 32), 32);
    close(fd);
    assert_memory_equal(first, second, 32);
    driver_quit(&D);
    assert_int_equal(chmod(path, 0640), 0);
    assert_false(begin(D.self, path));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 31), 0);
    assert_false(begin(D.self, path));
    assert_true(begin(D.self, "memory"));
}

static int group_start(void **state)
{
    (void)state;
    snprintf(roots, sizeof(roots), "/tmp/coppice-roots-%d", getpid());
    int fd = open(roots, O_WRONLY | O_CREAT | O_EXCL, 0644);
    bool ok = fd >= 0 && write(fd, ROOTS_TEXT, sizeof(ROOTS_TEXT) - 1) == sizeof(ROOTS_TEXT) - 1;
    close(fd);
    const char *const more[] = { "--upstream-roots", roots, "--secret-key", "memory", "--egress", D.self, NULL };
    return ok && driver_start(&D, more) ? 0 : -1;
}

static int group_stop(void **state)
{
    (void)state;
    driver_stop(&D);
    unlink(roots);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest real[] = {
        cmocka_unit_test(every_address_leads_to_egress_and_every_other_port_is_refused), cmocka_unit_test(nobody_inside_can_have_the_doors),
        cmocka_unit_test(egress_has_no_file_system_no_rights_and_one_directory), cmocka_unit_test(what_dies_is_started_again_and_asked_for_the_same_boxes),
        cmocka_unit_test(the_bundle_is_where_programs_look_and_nobody_changes_it), cmocka_unit_test(a_new_certificate_is_in_the_next_box),
        cmocka_unit_test(where_mounts_cannot_be_cloned_the_bundle_is_copied), cmocka_unit_test(without_egress_boxes_start_and_everything_is_refused_at_once),
        cmocka_unit_test(one_that_cannot_run_leaves_boxes_without_a_network_until_it_can), cmocka_unit_test(the_key_is_made_once_and_refused_when_others_can_read_it),
    };

    if (getenv("EGRESS_KEY"))
        return fake_egress();
    if (getenv("COPPICE_STORE_NAME"))
        return fake_sandboxd();
    if (!driver_args(&D, argc, argv))
        return 2;
    if (geteuid() || access("/dev/fuse", W_OK)) {
        printf("# SKIP egress: needs root and /dev/fuse\n");
        return 77;
    }
    return cmocka_run_group_tests(real, group_start, group_stop) ? 1 : 0;
}
