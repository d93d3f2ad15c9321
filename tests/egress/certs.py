"""Certificates of the world: a root that egress is told to trust, and every kind of certificate that it must not take. openssl does the work; a store is made once per run."""
import os, pathlib, subprocess

ROOT_CONF = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = %s
[v3]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""


def openssl(*words, text=None):
    r = subprocess.run(['openssl', *map(str, words)], input=text, capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError(f'openssl {" ".join(map(str, words))}: {r.stderr[-400:]}')
    return r.stdout


class Authority:
    """A root with its key. leaf() makes certificates of it; the names are file names too."""

    def __init__(self, directory, name='world root'):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        conf = self.dir / 'root.cnf'
        conf.write_text(ROOT_CONF % name)
        self.cert, self.key = self.dir / 'root.pem', self.dir / 'root.key'
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30', '-config', conf, '-extensions', 'v3', '-keyout', self.key, '-out', self.cert)
        (self.dir / 'index').write_text('')
        self.made = {}

    def leaf(self, file, names, common='leaf', usage='serverAuth', start=None, end=None, curve='prime256v1', extra='', key='ec'):
        """A path to a PEM with certificate and key. names: for subjectAltName ([]: none)."""
        if file in self.made:
            return self.made[file]
        stem = self.dir / file
        keys = ['-newkey', 'ec', '-pkeyopt', f'ec_paramgen_curve:{curve}'] if key == 'ec' else ['-newkey', key]
        openssl('req', '-new', *keys, '-nodes', '-subj', f'/CN={common}', '-keyout', f'{stem}.key', '-out', f'{stem}.csr')
        san = ','.join(('IP:' if n.replace('.', '').isdigit() or ':' in n else 'DNS:') + n for n in names)
        ext = f'extendedKeyUsage={usage}\n' + (f'subjectAltName={san}\n' if san else '') + extra
        (self.dir / f'{file}.ext').write_text(ext)
        conf = f'[ca]\ndefault_ca=x\n[x]\ndatabase={self.dir}/index\nnew_certs_dir={self.dir}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n'
        (self.dir / 'ca.cnf').write_text(conf)
        when = ['-startdate', start, '-enddate', end] if start else ['-days', '10']
        openssl('ca', '-batch', '-notext', '-config', self.dir / 'ca.cnf', '-cert', self.cert, '-keyfile', self.key, '-extfile', self.dir / f'{file}.ext', '-in', f'{stem}.csr', '-out', f'{stem}.crt', *when)
        path = f'{stem}.pem'
        with open(path, 'w') as f:
            f.write(open(f'{stem}.crt').read() + open(f'{stem}.key').read())
        os.chmod(path, 0o600)
        self.made[file] = path
        return path
