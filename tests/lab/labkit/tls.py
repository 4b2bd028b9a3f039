# SPDX-License-Identifier: Apache-2.0
"""Certificates by openssl, and nginx that speaks TLS with one of them."""
from pathlib import Path

from .lab import wait_for
from .netns import run
from .topology import Host, Network

TLS_PORT = 8443

_NGINX = """
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {port} {tls};
        listen [::]:{port} {tls};
        server_name web.internal;
        ssl_certificate {directory}/certificate.pem;
        ssl_certificate_key {directory}/key.pem;
        root {directory}/files;
    }}
}}
"""


class Authority:
    """Signs certificates; its own is at `file`."""

    def __init__(self, directory: Path, name: str):
        self._key, self.file = directory / f"{name}.key", directory / f"{name}.pem"
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
             str(self._key), "-out", str(self.file), "-subj", f"/CN={name}", "-days", "2"])

    def sign(self, directory: Path, names: str = "DNS:web.internal", days: int = 2) -> None:
        """key.pem and certificate.pem in the directory. Negative `days`: they are over."""
        request, extensions = directory / "request.pem", directory / "extensions"
        extensions.write_text(f"subjectAltName={names}\n")
        run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
             str(directory / "key.pem"), "-out", str(request), "-subj", "/CN=server"])
        run(["openssl", "x509", "-req", "-in", str(request), "-CA", str(self.file), "-CAkey", str(self._key), "-days",
             str(days), "-extfile", str(extensions), "-out", str(directory / "certificate.pem")])


# One line out for each connection: the name that the client asked for by SNI, and the Host of its request.
_NAMES_ASKED_FOR = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2] + '/certificate.pem', sys.argv[2] + '/key.pem')
asked = []
context.sni_callback = lambda _socket, name, _context: asked.append(name)
listener = socket.create_server(('', int(sys.argv[1])))
print('listens', flush=True)
while True:
    plain, _ = listener.accept()
    plain.settimeout(5)
    asked.clear()
    try:
        with context.wrap_socket(plain, server_side=True) as connection:
            request = connection.recv(4096).decode('latin-1')
            connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nready')
    except OSError as error:
        print('failed', error, flush=True)
        continue
    host = next(line[6:] for line in request.split('\\r\\n') if line.lower().startswith('host: '))
    print(asked, host, flush=True)
"""


class NamesAskedFor:
    """A TLS server that writes down by which name it was asked; a with block."""

    def __init__(self, network: Network, host: Host, authority: Authority, port: int):
        self._lab, self._host, self._port = network.lab, host, port
        self._directory = network.lab.directory / f"names-{host.name}"
        self._directory.mkdir(exist_ok=True)
        authority.sign(self._directory)

    def __enter__(self):
        self._out = self._directory / "asked"
        self._out.write_text("")
        self._process = self._lab.start(self._host.ns, ["/usr/bin/python3", "-u", "-c", _NAMES_ASKED_FOR, str(self._port),
                                                        str(self._directory)], log=str(self._out.relative_to(self._lab.directory)))
        wait_for("the TLS server", lambda: "listens" in self._out.read_text(), 30)
        return self

    def __exit__(self, *_):
        self._lab.stop(self._process)

    def asked(self) -> list[str]:
        return [line for line in self._out.read_text().splitlines() if line.startswith("[")]


class TlsNginx:
    """nginx with TLS at TLS_PORT; `up.txt` says that it is ready."""

    def __init__(self, network: Network, host: Host, authority: Authority):
        self.host, self._lab = host, network.lab
        self.directory = network.lab.directory / f"tls-{host.name}"
        (self.directory / "files").mkdir(parents=True)
        self.page = self.directory / "files" / "up.txt"
        self.page.write_text("I am ready\n")
        authority.sign(self.directory)
        self.start()

    def start(self, tls: bool = True) -> None:
        configuration, pid = self.directory / "nginx.conf", self.directory / "nginx.pid"
        configuration.write_text(_NGINX.format(directory=self.directory, port=TLS_PORT, tls="ssl" if tls else ""))
        pid.unlink(missing_ok=True)
        self.process = self._lab.start(
            self.host.ns, ["nginx", "-p", str(self.directory), "-c", str(configuration), "-e",
                           str(self.directory / "error.log"), "-g", "daemon off;"], log=f"tls-{self.host.name}.log")
        wait_for(f"nginx on {self.host.name}", lambda: pid.exists() and pid.read_text().strip() != "", 30)

    def stop(self) -> None:
        self._lab.stop(self.process)
