# SPDX-License-Identifier: Apache-2.0
"""redis-server on each backend, and redis-benchmark with connections that it keeps for good."""
import subprocess

from .lab import wait_for
from .topology import service_address

REDIS_PORT = 6380
VIP = service_address(4)  # port 6379


class Redis:
    def __init__(self, network):
        self.lab, self.hosts, self.client_ns = network.lab, network.backends, network.client.ns
        self.servers = [self.lab.start(host.ns, [
            "redis-server", "--port", str(REDIS_PORT), "--bind", str(host.ipv4), "--save", "", "--appendonly", "no",
            "--protected-mode", "no", "--dir", str(self.lab.directory)], log=f"redis-{host.name}.log")
            for host in network.backends]
        for host in network.backends:
            wait_for(f"redis on {host.name}", lambda ns=host.ns: f":{REDIS_PORT}" in ns.run(["ss", "-Hltn"]).stdout)

    def start(self) -> None:
        self.benchmark = self.lab.start(self.client_ns, [
            "nice", "-n", "19", "redis-benchmark", "-h", VIP, "-p", "6379", "-c", "30", "-n", "2000000000", "-t", "set", "--csv"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self) -> str:
        """What it said; it must not have ended by itself."""
        assert self.benchmark.poll() is None, f"redis-benchmark ended: {self.benchmark.stdout.read()}"
        self.benchmark.terminate()
        return self.benchmark.communicate(timeout=20)[0]

    def count(self, name: str) -> int:
        """Of `info stats`, of all servers together; each look is a connection and a command."""
        texts = [host.ns.run(["redis-cli", "-h", str(host.ipv4), "-p", str(REDIS_PORT), "info", "stats"]).stdout
                 for host in self.hosts]
        return sum(int(line.split(":")[1]) for text in texts for line in text.splitlines() if line.startswith(name + ":"))

    def close(self) -> None:
        for server in self.servers:
            self.lab.stop(server)
