# SPDX-License-Identifier: Apache-2.0
"""Real servers on a network's backends: nginx, dnsmasq, and lab_load's echo server.

Ports differ from those of the services on purpose, so that every test also rewrites ports.
"""
import json
import subprocess
from collections import Counter
from pathlib import Path

from . import tools
from .lab import wait_for
from .topology import Host, Network

HTTP_PORT, DNS_PORT, ECHO_PORT, NAME_PORT = 8080, 1053, 7001, 7002

_NGINX = """
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 8192; }}
http {{
    log_format short '$remote_addr $connection $connection_requests';
    {access_log}
    types {{ text/plain txt; }}
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    keepalive_timeout 300;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 100m;
    server {{
        listen {port} backlog=4096;
        listen [::]:{port} backlog=4096;
        root {directory}/files;
        location = /id {{ return 200 '{name}\\n'; }}
        location /upload/ {{ dav_methods PUT; }}
        location = /counters {{ stub_status; access_log off; }}
    }}
}}
"""


class Nginx:
    """One master with one worker. GET /id answers the backend's name, PUT /upload/NAME keeps a file."""

    def __init__(self, network: Network, host: Host, log_requests: bool = True):
        self.host = host
        self.directory: Path = network.lab.directory / f"nginx-{host.name}"
        (self.directory / "files" / "upload").mkdir(parents=True)
        access_log = f"access_log {self.directory}/access.log short;" if log_requests else "access_log off;"
        configuration = self.directory / "nginx.conf"
        configuration.write_text(_NGINX.format(directory=self.directory, name=host.name, port=HTTP_PORT,
                                               access_log=access_log))
        self.log = self.directory / "access.log"
        self.log.touch()
        self._lab = network.lab
        self.start()

    def start(self) -> None:
        (self.directory / "nginx.pid").unlink(missing_ok=True)
        self.process = self._lab.start(
            self.host.ns, ["nginx", "-p", str(self.directory), "-c", str(self.directory / "nginx.conf"),
                           "-e", str(self.directory / "error.log"), "-g", "daemon off;"],
            log=f"nginx-{self.host.name}.log")
        wait_for(f"nginx on {self.host.name}", self._running, 30)

    def kill(self) -> None:
        """Master and worker at once, in the middle of whatever they do: SIGTERM is nginx's fast shutdown."""
        self._lab.stop(self.process)

    def _running(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"nginx ended: {(self.directory / 'error.log').read_text()}")
        file = self.directory / "nginx.pid"
        return file.exists() and file.read_text().strip() != ""

    def clear_log(self) -> None:
        """nginx appends, so a file cut to nothing starts anew."""
        with open(self.log, "r+b") as file:
            file.truncate(0)

    def requests(self) -> list[tuple[str, str, int]]:
        """(client address, connection, number of the request in it) of each request that was logged."""
        fields = (line.split() for line in self.log.read_text().splitlines())
        return [(f[0], f[1], int(f[2])) for f in fields if len(f) == 3]

    def counters(self) -> tuple[int, int]:
        """(connections accepted, requests) so far; this look is not counted."""
        text = self.host.ns.run(["curl", "-s", f"http://127.0.0.1:{HTTP_PORT}/counters"]).stdout
        accepted, _, requests = (int(word) for word in text.splitlines()[2].split())
        self._looks = getattr(self, "_looks", 0) + 1
        return accepted - self._looks, requests - self._looks


class Dnsmasq:
    """Answers every A question under id.test with the backend's IPv4 address, every AAAA one with the IPv6."""

    def __init__(self, network: Network, host: Host):
        self.process = network.lab.start(
            host.ns, ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                      f"--port={DNS_PORT}", "--bind-interfaces", "--interface=eth0", "--cache-size=0", "--user=root",
                      "--pid-file=", "--log-facility=-", f"--address=/id.test/{host.ipv4}",
                      f"--address=/id.test/{host.ipv6}"], log=f"dnsmasq-{host.name}.log")
        wait_for(f"dnsmasq on {host.name}",
                 lambda: f":{DNS_PORT}" in host.ns.run(["ss", "-Hlun"], check=False).stdout)


class Echo:
    """lab_load serve: echo on ECHO_PORT (TCP, UDP); on NAME_PORT one line in, the backend's name out, and the
    server closes first."""

    def __init__(self, network: Network, host: Host):
        self.process: subprocess.Popen = network.lab.start(
            host.ns, [tools.lab_load(), "serve", "--name", host.name, "--echo", str(ECHO_PORT), "--reply",
                      str(NAME_PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()  # says that it listens

    def ask(self, command: str) -> dict:
        """`peers`: who is connected to the echo port now. `counts`: connections accepted so far."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def peers(self) -> list[tuple[str, int]]:
        return [(address, port) for address, port in self.ask("peers")["peers"]]

    def accepted(self) -> dict:
        return self.ask("counts")


class Servers:
    """All the servers of a network."""

    def __init__(self, network: Network, http: bool = True, dns: bool = True, echo: bool = True,
                 log_requests: bool = True):
        self.nginx = [Nginx(network, host, log_requests) for host in network.backends] if http else []
        self.dnsmasq = [Dnsmasq(network, host) for host in network.backends] if dns else []
        self.echo = [Echo(network, host) for host in network.backends] if echo else []

    def requests_by_client(self) -> Counter:
        return Counter(address for server in self.nginx for address, _, _ in server.requests())

    def clear_logs(self) -> None:
        for server in self.nginx:
            server.clear_log()
