/* Options of a verb: getopt_long with our usage errors; --json, --store and --help work everywhere. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tools/tool.h"

/* An option goes to flag (set true), or its value to val, or (with each) to a function: 0 or an exit status. Ends with name NULL; letter 0:
 * long only. */
struct arg_option { const char *name; char letter; bool *flag; const char **val; int (*each)(void *arg, const char *val); void *arg; };
struct args { char **v; int n; };         /* what is left */
/* 0 and *ret; 2 after a usage error (also: fewer than min or more than max left; max < 0: any number); ARGS_HELP: help was printed. */
enum { ARGS_HELP = -1 };
int args_parse(struct tool *t, const char *verb, int argc, char **argv, const struct arg_option *options, int min, int max,
               struct args *ret);
/* For verbs that end with a command: `lead` words, options before and after them, and then, from the first further word or after "--", the command, whose options are its own.
 * ret: the leading words and then the command; argv is reordered. Otherwise as args_parse. */
int args_parse_command(struct tool *t, const char *verb, int argc, char **argv, const struct arg_option *options, int lead, int min, struct args *ret);
/* Says "coppice VERB: ..." and how to get help; 2. */
int args_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "10", "64k", "2G" (powers of 1024). False: not a size. */
bool args_size(const char *s, uint64_t *ret);
bool args_number(const char *s, uint64_t *ret);
void args_print_help(const struct command *c);
/* For `each`: adds KEY=VALUE to the json object arg. */
int args_label(void *arg, const char *val);
