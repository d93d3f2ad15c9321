/* dns_answer and dns_read over any bytes: never crash; an answer fits, is an answer, and answers itself never. The first bytes choose the name that was asked. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t out[DNS_ANSWER_MAX], again[DNS_ANSWER_MAX], query[DNS_QUERY_MAX];
    char name[DNS_NAME_MAX];
    struct dns_addresses a = { .count = 0 };
    uint16_t type;

    size_t n = dns_answer(data, size, size & 1, out, name, &type);
    if (n > sizeof(out) || (n && (n < 12 || !(out[2] & 0x80) || memcmp(out, data, 2))))
        abort();
    if (n && dns_answer(out, n, true, again, name, &type))
        abort();
    int k = dns_query(size >= 2 ? (uint16_t)(data[0] << 8 | data[1]) : 0, size & 2 ? "a.example" : "foo.bar.test", DNS_A, query);
    if (k <= 0)
        abort();
    dns_read(data, size, query, (size_t)k, &a);
    if (a.count > DNS_ADDRESSES_MAX)
        abort();
    return 0;
}
