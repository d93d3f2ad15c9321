/* The seccomp filters, generated (gen_filter.c). Both are loaded, "calls" first. */
#pragma once
#include <linux/filter.h>
extern const struct sock_filter confine_filter_calls[], confine_filter_arguments[];
extern const unsigned short confine_filter_calls_count, confine_filter_arguments_count;
