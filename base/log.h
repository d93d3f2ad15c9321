/* One line per event: `time level key=value ...` on stderr (or journal by systemd). Values from outside go through log_quote. */
#pragma once
enum log_level { LOG_ERROR_, LOG_WARN_, LOG_INFO_, LOG_DEBUG_ };
extern enum log_level log_threshold;             /* default LOG_INFO_ */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_line(LOG_ERROR_, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN_, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO_, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG_, __VA_ARGS__)
/* Escapes control bytes, space, quote and backslash as \xNN into out (always terminated, cut if needed); returns out. */
const char *log_quote(char *out, unsigned long out_size, const void *text, unsigned long n);
/* Short name of an errno ("ENOSPC"), never NULL. Takes either sign. */
const char *errno_name(int err);
