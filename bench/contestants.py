# SPDX-License-Identifier: Apache-2.0
"""Who is compared in requests.py: what runs on the balancer, the load on it, and the processor time that it takes.

Load has the same shape for all, or it is the shape that is compared: a wrk that talks to one nginx alone is woken, and its
packets are handled, where that nginx runs, which makes the same kernel a sixth faster than three wrk on all three nginx. So
routed has both: connections spread over the backends by the kernel's multipath routes, as balancers do; and each wrk
with a backend of its own ("paired"), which balancers get as three services of one backend.
"""
import contextlib
import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from labkit import load, standin, tools
from labkit.backends import HTTP_PORT, Servers
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import Lab
from labkit.topology import Network

PAIR_VIPS = ("10.9.0.1", "10.9.0.2", "10.9.0.3")
VIP = "10.9.0.4"
ANYCAST = "10.9.0.9"  # on every backend, behind the balancer as a router
IPERF_PORT, BULK_PORT = 5201, 5202
CONNECTIONS = 20  # of each of the three wrk
HISTOGRAM = Path(load.__file__).with_name("histogram.lua")


@dataclass(frozen=True)
class Contestant:
    name: str
    kind: type  # what runs on the balancer
    forward: str = "dnat"
    in_user_space: bool = False


CONTESTANTS = {
    "routed": Contestant("routed, no balancer", standin.Routed),
    "nft-dnat": Contestant("nft dnat", standin.Nft),
    "nft-snat": Contestant("nft snat", standin.Nft, "snat"),
    "haproxy": Contestant("HAProxy, tcp mode", standin.Haproxy, "snat", True),
    "nginx-stream": Contestant("nginx stream", standin.NginxStream, "snat", True),
    "featherlb-dnat": Contestant("featherlb dnat", Featherlb),
    "featherlb-snat": Contestant("featherlb snat", Featherlb, "snat"),
}


class Ground:
    """A contestant's own network, so that all are up and measured in turn: a client, three nginx, an iperf3."""

    def __init__(self, lab: Lab, contestant: Contestant):
        self.lab, self.contestant = lab, contestant
        self.network = Network(lab, "two-armed")
        Servers(self.network, dns=False, echo=False, log_requests=False)
        lab.start(self.network.backends[0].ns, ["iperf3", "--server", "--port", str(IPERF_PORT)], log="iperf3.log")
        self._level()
        if contestant.kind is standin.Routed:
            self._spread()

    def _level(self) -> None:
        """What one slice leaves must not hinder the next. nginx closes first, so tens of thousands of its TIME_WAIT
        sockets would meet the same addresses and ports again; and nft's connections would fill conntrack."""
        for host in self.network.backends:
            host.ns.sysctl("net.ipv4.tcp_max_tw_buckets", 0)
        self.network.balancer.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 5)

    def _spread(self) -> None:
        """A router that spreads connections by itself, by a hash of addresses and ports."""
        self.network.balancer.sysctl("net.ipv4.fib_multipath_hash_policy", 1)
        hops = " ".join(f"nexthop via {host.ipv4} dev back" for host in self.network.backends)
        self.network.balancer.ip(f"route add {ANYCAST}/32 {hops}")
        for host in self.network.backends:
            host.ns.ip(f"addr add {ANYCAST}/32 dev lo")

    def run(self):
        """A with block."""
        backends, forward = self.network.backends, self.contestant.forward
        services = [service("web", [f"{VIP}:80/tcp"], backends, 4, HTTP_PORT, forward, "round-robin"),
                    service("bulk", [f"{VIP}:{BULK_PORT}/tcp"], backends[:1], 4, IPERF_PORT, forward, "round-robin")]
        services += [service(f"web-{host.name}", [f"{address}:80/tcp"], [host], 4, HTTP_PORT, forward, "round-robin")
                     for host, address in zip(backends, PAIR_VIPS)]
        return self.contestant.kind(self.network, configuration(self.network, services, "tc"))

    def _urls(self, paired: bool) -> list[str]:
        if self.contestant.kind is standin.Routed:
            addresses = [host.ipv4 for host in self.network.backends] if paired else [ANYCAST] * 3
            return [f"http://{endpoint(address, HTTP_PORT)}/id" for address in addresses]
        return [f"http://{address}/id" for address in (PAIR_VIPS if paired else [VIP] * 3)]

    def requests(self, seconds: int, new_connections: bool = False, paired: bool = False) -> dict:
        """Three wrk at once: their sum, and the latencies of all requests together."""
        clock = Clock(self.network, self.contestant)
        running = []
        for url in self._urls(paired):
            command = load.wrk_command(url, seconds, CONNECTIONS, new_connections=new_connections)
            running.append(self.lab.start(self.network.client.ns, [command[0], "-s", str(HISTOGRAM), *command[1:]],
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        texts = [process.communicate(timeout=120)[0] for process in running]
        busy, own = clock.seconds()
        reports, latencies = [load.read_wrk(text) for text in texts], Counter()
        for text in texts:
            for line in text.splitlines():
                if line.startswith("latency "):
                    _, microseconds, count = line.split()
                    latencies[int(microseconds)] += int(count)
        requests = sum(report.requests for report in reports)
        return {"rate": sum(report.requests_per_second for report in reports),
                "p50_ms": percentile(latencies, 0.5), "p99_ms": percentile(latencies, 0.99),
                "p999_ms": percentile(latencies, 0.999), "errors": sum(report.failed for report in reports),
                "busy_us": busy / requests * 1e6, "own_us": own / requests * 1e6}

    def bulk(self, seconds: int, streams: int) -> dict:
        """Bits a second from client to backend, as received. By cubic, Linux's default: bbr, where it is the machine's, paces,
        and so measures timers. Both ends on one processor: on two, a reader that sleeps or not is worth a factor of two."""
        routed = self.contestant.kind is standin.Routed
        address, port = (self.network.backends[0].ipv4, IPERF_PORT) if routed else (VIP, BULK_PORT)
        end = tools.processors()[-1]
        done = self.network.client.ns.run(
            ["iperf3", "--client", address, "--port", str(port), "--time", str(seconds), "--parallel", str(streams),
             "--congestion", "cubic", "--affinity", f"{end},{end}", "--json"], check=False)
        report = json.loads(done.stdout)
        if "error" in report:
            raise RuntimeError(f"iperf3: {report['error']}")
        return {"rate": report["end"]["sum_received"]["bits_per_second"],
                "sent_again": report["end"]["sum_sent"].get("retransmits", 0)}


class Clock:
    """Processor time from its making on: of the whole machine, system time included, without what strangers took; and of the
    balancer's own processes, with the softirqs that run on their account."""

    def __init__(self, network: Network, contestant: Contestant):
        self._network, self._contestant = network, contestant
        self._busy, self._own = _machine_busy() - strangers_time(), self._own_time()

    def seconds(self) -> tuple[float, float]:
        return _machine_busy() - strangers_time() - self._busy, self._own_time() - self._own

    def _own_time(self) -> float:
        if not self._contestant.in_user_space:
            return 0.0
        files = [file for pid in self._network.balancer.pids() for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def _machine_busy() -> float:
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def strangers_time() -> float:
    """Of all programs that we have not started, with their children's: who ends leaves his time to his parent."""
    parents, times = {}, {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (directory / "stat").read_text().rsplit(")", 1)[1].split()
            pid = int(directory.name)
            parents[pid], times[pid] = int(words[1]), sum(map(int, words[11:15]))
    ours = os.getpid()

    def is_stranger(pid: int) -> bool:
        while pid > 2:
            if pid == ours:
                return False
            pid = parents.get(pid, 0)
        return pid != 2  # the kernel's threads: ksoftirqd works for us

    return sum(time for pid, time in times.items() if is_stranger(pid)) / os.sysconf("SC_CLK_TCK")


def percentile(latencies: Counter, share: float) -> float:
    """Milliseconds that this share of the requests took at most."""
    left = share * sum(latencies.values())
    for microseconds, count in sorted(latencies.items()):
        left -= count
        if left <= 0:
            return microseconds / 1e3
    return 0.0
