/* The drivers' texts, in the program itself (sandbox/drivers/embed.py). */
#pragma once
#define X(name) extern const char code_##name[], code_##name##_end[];
X(boot_python) X(boot_node) X(driver_python) X(driver_node) X(acorn) X(typescript)
#undef X
