#!/usr/bin/env python3
"""Writes an assembler file that holds the drivers of code contexts, with acorn and (compressed) the TypeScript compiler: nothing is read at run time. Usage: embed.py SOURCE_DIR
BUILD_DIR OUT.S. The two come from SOURCE_DIR/node_modules if they are there (tools/install-packages build), else `npm ci` fetches them into BUILD_DIR, pinned by package-lock.json."""
import gzip, pathlib, sys

sys.dont_write_bytecode = True                   # not into the source tree
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from npm_pins import modules

source, build, out = map(pathlib.Path, sys.argv[1:4])


node = modules(source, build / 'drivers', 'JavaScript and TypeScript contexts need acorn and typescript')
files = [('boot_python', (source / 'boot.py').read_bytes() + b'\0'), ('boot_node', (source / 'boot.js').read_bytes() + b'\0'), ('driver_python', (source / 'python.py').read_bytes()),
         ('driver_node', (source / 'node.js').read_bytes()), ('acorn', (node / 'acorn/dist/acorn.js').read_bytes()),
         ('typescript', gzip.compress((node / 'typescript/lib/typescript.js').read_bytes(), 9, mtime=0))]
with open(out, 'w') as f:
    f.write('/* Made by sandbox/drivers/embed.py. */\n.section .note.GNU-stack,"",%progbits\n.section .rodata\n')
    for name, data in files:
        blob = build / f'driver_{name}.bin'
        blob.write_bytes(data)
        f.write(f'.balign 16\n.global code_{name}\ncode_{name}:\n.incbin "{blob.resolve()}"\n.global code_{name}_end\ncode_{name}_end:\n')
