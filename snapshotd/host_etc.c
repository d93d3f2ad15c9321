/* What a sandbox of the template `host` finds beside /usr. Two lists: what is made here, and what is copied because programs under /usr that
 * came with it do not work without it. The second is a list of what is let in, not of what is kept out: a file that the host's owner put into
 * /etc (a token in pip.conf, a password in wgetrc) stays outside unless it stands here. */
#include "snapshotd/host_tree.h"

#define USER 1000

const struct host_text host_texts[] = {
    { "", 0755, 0, 0, NULL },
    { "dev", 0755, 0, 0, NULL }, { "proc", 0555, 0, 0, NULL }, { "sys", 0555, 0, 0, NULL }, { "usr", 0755, 0, 0, NULL }, { "run", 0755, 0, 0, NULL },
    { "run/lock", 01777, 0, 0, NULL }, { "tmp", 01777, 0, 0, NULL }, { "opt", 0755, 0, 0, NULL }, { "mnt", 0755, 0, 0, NULL },
    { "media", 0755, 0, 0, NULL }, { "srv", 0755, 0, 0, NULL }, { "root", 0700, 0, 0, NULL }, { "home", 0755, 0, 0, NULL },
    { "home/user", 0755, USER, USER, NULL },
    /* Root inside has no CAP_DAC_OVERRIDE: through the group it can write here too. */
    { "workspace", 0775, USER, 0, NULL },
    { "var", 0755, 0, 0, NULL }, { "var/cache", 0755, 0, 0, NULL }, { "var/cache/fontconfig", 0755, 0, 0, NULL }, { "var/cache/man", 0755, 0, 0, NULL },
    { "var/lib", 0755, 0, 0, NULL }, { "var/lib/misc", 0755, 0, 0, NULL }, { "var/local", 0755, 0, 0, NULL }, { "var/log", 0755, 0, 0, NULL },
    { "var/mail", 0755, 0, 0, NULL }, { "var/opt", 0755, 0, 0, NULL }, { "var/spool", 0755, 0, 0, NULL }, { "var/tmp", 01777, 0, 0, NULL },
    { "etc", 0755, 0, 0, NULL }, { "etc/profile.d", 0755, 0, 0, NULL },
    { "etc/passwd", 0644, 0, 0,
      "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\ncoppice:x:65533:65533:kept for coppice:/nonexistent:/bin/false\n"
      "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n" },
    { "etc/group", 0644, 0, 0, "root:x:0:\ntty:x:5:\nuser:x:1000:\ncoppice:x:65533:\nnogroup:x:65534:\n" },
    { "etc/hostname", 0644, 0, 0, "sandbox\n" },
    { "etc/hosts", 0644, 0, 0, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" },
    { "etc/resolv.conf", 0644, 0, 0, "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n" },
    { "etc/nsswitch.conf", 0644, 0, 0,
      "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n" },
    { "etc/profile", 0644, 0, 0,
      "# Login shells in a sandbox of coppice.\nPATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}\nexport PATH\n"
      "if [ \"${PS1-}\" ]; then\n    if [ \"${BASH-}\" ] && [ -f /etc/bash.bashrc ]; then . /etc/bash.bashrc; else PS1='$ '; fi\nfi\n"
      "for i in /etc/profile.d/*.sh; do [ -r \"$i\" ] && . \"$i\"; done\nunset i\n" },
    { "etc/environment", 0644, 0, 0, "" },
    { "etc/fstab", 0644, 0, 0, "" },
    { "etc/machine-id", 0444, 0, 0, "" },
    { NULL, 0, 0, 0, NULL },
};

const char *const host_copies[] = {
    /* the system's libraries, its names and its shells */
    "ld.so.conf", "ld.so.conf.d", "ld.so.cache", "alternatives", "os-release", "debian_version", "lsb-release", "redhat-release", "system-release",
    "shells", "bash.bashrc", "bashrc", "inputrc", "skel", "bash_completion", "bash_completion.d", "host.conf", "gai.conf", "bindresvport.blacklist",
    "protocols", "services", "rpc", "networks", "ethertypes", "netconfig", "login.defs", "xattr.conf", "locale.alias", "locale.conf", "timezone",
    "default/locale", "terminfo", "security/limits.conf",
    /* certificates that this host trusts */
    "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "ca-certificates.conf", "pki/ca-trust", "pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf",
    "crypto-policies",
    /* languages and their tools */
    "python3*", "perl", "java-*", "ruby", "php", "R/Renviron", "R/ldpaths", "R/Makeconf", "R/repositories", "lua", "ghc", "gnucobol", "fpc.cfg", "fpc-*", "mono", "openmpi", "OpenCL", "texmf", "emacs",
    "gdb", "gprofng.rc", "matplotlibrc",
    /* documents, pictures, terminals */
    "fonts", "vim", "nanorc", "groff", "man_db.conf", "manpath.config", "magic", "magic.mime", "mime.types", "mailcap", "papersize", "ImageMagick-*",
    "ghostscript", "gtk-2.0", "gtk-3.0", "xml", "sgml", "dictionaries-common", "libpaper.d", "mke2fs.conf", "glvnd", "vulkan", "X11/rgb.txt", "lynx",
    "screenrc", "less",
    NULL,
};
