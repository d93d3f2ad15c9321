#include "tools/args.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 24, CODE_FIRST = 256, CODE_JSON = 512, CODE_STORE, CODE_HELP };

int args_usage(const char *verb, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "coppice %s: ", verb);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "; `coppice %s --help` says more\n", verb);
    return 2;
}

void args_print_help(const struct command *c)
{
    printf("usage: coppice [--store DIR] [--json] %s %s\n%s\n%s%s", c->name, c->args, c->summary, c->help[0] ? "\n" : "", c->help);
}

static int print_help(const char *verb)
{
    for (const struct command *c = commands; c->name; c++)
        if (!strcmp(c->name, verb))
            args_print_help(c);
    return ARGS_HELP;
}

static int option_take(const struct arg_option *o, const char *val)
{
    if (o->flag)
        *o->flag = true;
    if (o->val)
        *o->val = val;
    return o->each ? o->each(o->arg, val) : 0;
}

static void build(const struct arg_option *options, struct option *longs, char *shorts)
{
    int n = 0;

    *shorts++ = ':';
    for (; options && options[n].name; n++) {
        bool value = !options[n].flag;
        longs[n] = (struct option){ options[n].name, value ? required_argument : no_argument, NULL, CODE_FIRST + n };
        if (!options[n].letter)
            continue;
        *shorts++ = options[n].letter;
        if (value)
            *shorts++ = ':';
    }
    *shorts = 0;
    longs[n++] = (struct option){ "json", no_argument, NULL, CODE_JSON };
    longs[n++] = (struct option){ "store", required_argument, NULL, CODE_STORE };
    longs[n++] = (struct option){ "help", no_argument, NULL, CODE_HELP };
    longs[n] = (struct option){ 0 };
}

/* One option that getopt found. */
static int option_found(struct tool *t, const char *verb, const struct arg_option *options, int k, char **argv)
{
    if (k == CODE_HELP)
        return print_help(verb);
    if (k == CODE_JSON) {
        t->json = true;
    } else if (k == CODE_STORE) {
        t->store = optarg;
    } else if (k == ':') {
        return args_usage(verb, "%s needs a value", argv[optind - 1]);
    } else if (k == '?') {
        return optopt && optopt < CODE_FIRST ? args_usage(verb, "no such option -%c", optopt) : args_usage(verb, "no such option %s", argv[optind - 1]);
    } else if (k >= CODE_FIRST) {
        return option_take(&options[k - CODE_FIRST], optarg);
    } else {
        for (const struct arg_option *o = options; o->name; o++)
            if (o->letter == k)
                return option_take(o, optarg);
    }
    return 0;
}

static int count(const char *verb, int min, int max, const struct args *a)
{
    if (a->n < min)
        return args_usage(verb, "%s", a->n ? "an argument is missing" : "arguments are missing");
    if (max >= 0 && a->n > max)
        return args_usage(verb, "too many arguments: '%s'", a->v[max]);
    return 0;
}

int args_parse(struct tool *t, const char *verb, int argc, char **argv, const struct arg_option *options, int min, int max,
               struct args *ret)
{
    struct option longs[OPTIONS_MAX];
    char shorts[2 * OPTIONS_MAX + 3];
    int k, r = 0;

    build(options, longs, shorts);
    opterr = 0;
    optind = 0;
    while (!r && (k = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
        r = option_found(t, verb, options, k, argv);
    if (r)
        return r;
    *ret = (struct args){ argv + optind, argc - optind };
    return count(verb, min, max, ret);
}

int args_parse_command(struct tool *t, const char *verb, int argc, char **argv, const struct arg_option *options, int lead, int min, struct args *ret)
{
    struct option longs[OPTIONS_MAX];
    char shorts[2 * OPTIONS_MAX + 3] = "+";
    int k, r = 0, first = 0;

    build(options, longs, shorts + 1);
    opterr = 0;
    optind = 0;
    for (;;) {
        while (!r && (k = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
            r = option_found(t, verb, options, k, argv);
        if (r)
            return r;
        if (first == lead || optind >= argc || !strcmp(argv[optind - 1], "--"))
            break;
        /* The words go in front of the command: what lay between were options, which are done with. */
        for (int i = optind; i > 1 + first; i--) {
            char *w = argv[i];
            argv[i] = argv[i - 1];
            argv[i - 1] = w;
        }
        first++;
        optind++;
    }
    /* Leading words, moved up to the command's. */
    for (int i = 0; i < first; i++)
        argv[optind - 1 - i] = argv[first - i];
    *ret = (struct args){ argv + optind - first, argc - optind + first };
    return count(verb, min, -1, ret);
}

bool args_number(const char *s, uint64_t *ret)
{
    char *end;

    if (!isdigit((unsigned char)*s))
        return false;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (errno || *end || v > INT64_MAX)
        return false;
    *ret = v;
    return true;
}

bool args_size(const char *s, uint64_t *ret)
{
    static const char units[] = "kmgtp";
    char *end;

    if (!isdigit((unsigned char)*s))
        return false;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (errno)
        return false;
    const char *u = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
    unsigned shift = u ? 10 * (unsigned)(u - units + 1) : 0;
    const char *rest = u ? end + 1 : end;
    if (*rest && strcasecmp(rest, u ? "ib" : "b") && strcasecmp(rest, "b"))
        return false;
    if (shift && v > (uint64_t)INT64_MAX >> shift)
        return false;
    v <<= shift;
    if (v > INT64_MAX)
        return false;
    *ret = v;
    return true;
}

int args_label(void *arg, const char *val)
{
    const char *eq = strchr(val, '=');
    char key[256];

    if (!eq || eq == val || eq - val >= (int)sizeof(key)) {
        fprintf(stderr, "coppice: a label is KEY=VALUE, not '%s'\n", val);
        return 2;
    }
    memcpy(key, val, (size_t)(eq - val));
    key[eq - val] = 0;
    if (json_object_set_new(arg, key, json_string(eq + 1))) {
        fprintf(stderr, "coppice: the label '%s' is not UTF-8\n", key);
        return 2;
    }
    return 0;
}
