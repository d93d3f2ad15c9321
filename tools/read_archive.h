/* A tar (plain, or by gzip, bzip2, xz, lzma, zstd, lz4, compress) as an entry stream. Needs libarchive, base and fs/import_put.c. */
#pragma once
#include "tools/read_report.h"

/* Reads fd from where it stands in a confined child (nobody if we are root, no new privileges, no files, no programs, bounded memory) and emits its
 * frames, END last and only if the archive was whole.
 *  - "/" in front and "." components are taken off names and hard links' targets, as tar does; a ".." component refuses the import;
 *  - devices are skipped and counted; symbolic links' targets are kept as they are (the importer never follows them);
 *  - hard links are LINK frames, data that comes with them is ignored.
 * 0; -errno and rep->error; a non-zero result of emit is returned. */
int read_archive(int fd, emit_fn *emit, void *arg, struct read_report *rep);
