/* A client as static programs of Go and Rust are: no resolver and no certificates of the C library or the distribution's tools. It reads /etc/resolv.conf and asks by UDP itself, takes its roots from
 * SSL_CERT_FILE or else the first usual file, and knows nothing of proxies unless told.
 *   static_client dns NAME | http HOST PATH | https HOST PATH
 * Prints the addresses, or the body. Exit status 1, saying why, if it cannot. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static struct sockaddr_in nameserver(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };      /* what Go does without the file */
    FILE *f = fopen("/etc/resolv.conf", "re");
    char line[256], text[64];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "nameserver %63s", text) == 1 && inet_pton(AF_INET, text, &to.sin_addr) == 1)
            break;
    if (f)
        fclose(f);
    return to;
}

/* The question for A in q; its length. */
static size_t question(const char *name, uint8_t q[512])
{
    size_t n = 12;
    memcpy(q, "\x12\x34\1\0\0\1\0\0\0\0\0\0", 12);
    for (const char *p = name; *p;) {
        size_t len = strcspn(p, ".");
        if (len == 0 || len > 63 || n + len + 7 > 300)
            die("%s: not a name", name);
        q[n++] = (uint8_t)len;
        memcpy(q + n, p, len);
        n += len;
        p += len + (p[len] == '.');
    }
    memcpy(q + n, "\0\0\1\0\1", 5);
    return n + 5;
}

static struct in_addr resolve(const char *name)
{
    struct sockaddr_in to = nameserver();
    uint8_t q[512], a[1500];
    size_t n = question(name, q);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0 || send(fd, q, n, 0) < 0)
        die("DNS: %m");
    struct pollfd p = { .fd = fd, .events = POLLIN };
    if (poll(&p, 1, 5000) != 1)
        die("DNS: no answer");
    ssize_t got = recv(fd, a, sizeof a, 0);
    close(fd);
    if (got < (ssize_t)n + 16 || memcmp(a, q, 2) || (a[3] & 15) || a[7] == 0)
        die("DNS: %s has no address", name);
    struct in_addr ret;
    for (size_t at = n; at + 16 <= (size_t)got; at += 12 + (size_t)(a[at + 10] << 8 | a[at + 11]))     /* owner names are pointers */
        if (a[at + 3] == 1) {
            memcpy(&ret, a + at + 12, 4);
            return ret;
        }
    die("DNS: %s has no address", name);
    abort();
}

static int dial(const char *host, uint16_t port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = resolve(host) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect: %m");
    return fd;
}

static SSL *shake(int fd, const char *host)
{
    static const char *const files[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem" };
    const char *roots = getenv("SSL_CERT_FILE");
    for (size_t i = 0; !roots && i < sizeof files / sizeof *files; i++)
        if (access(files[i], R_OK) == 0)
            roots = files[i];
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || !roots || SSL_CTX_load_verify_locations(ctx, roots, NULL) != 1)
        die("no roots");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL *ssl = SSL_new(ctx);
    if (!ssl || SSL_set_tlsext_host_name(ssl, host) != 1 || SSL_set1_host(ssl, host) != 1 || SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
        die("TLS: %s", ssl ? X509_verify_cert_error_string(SSL_get_verify_result(ssl)) : "no memory");
    return ssl;
}

static void fetch(const char *host, const char *path, bool tls)
{
    int fd = dial(host, tls ? 443 : 80);
    SSL *ssl = tls ? shake(fd, host) : NULL;
    static char answer[1 << 20];
    int n = snprintf(answer, sizeof answer, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: static\r\nConnection: close\r\n\r\n", path, host);
    if ((ssl ? SSL_write(ssl, answer, n) : (int)write(fd, answer, (size_t)n)) != n)
        die("write");
    size_t have = 0;
    for (long got; have < sizeof answer - 1; have += (size_t)got)
        if ((got = ssl ? SSL_read(ssl, answer + have, (int)(sizeof answer - 1 - have)) : read(fd, answer + have, sizeof answer - 1 - have)) <= 0)
            break;
    answer[have] = '\0';
    char *body = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, "HTTP/1.1 200", 12) != 0 || !body)
        die("answer: %.60s", answer);
    fputs(body + 4, stdout);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "dns")) {
        char text[INET_ADDRSTRLEN];
        struct in_addr a = resolve(argv[2]);
        puts(inet_ntop(AF_INET, &a, text, sizeof text));
    } else if (argc == 4 && (!strcmp(argv[1], "http") || !strcmp(argv[1], "https"))) {
        fetch(argv[2], argv[3], argv[1][4] == 's');
    } else {
        die("static_client dns NAME | http HOST PATH | https HOST PATH");
    }
    return 0;
}
