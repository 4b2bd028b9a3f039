#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind scripts/demo: every algorithm under load, beside the same load without a balancer."""
import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from labkit import load, tools  # noqa: E402
from labkit.backends import HTTP_PORT, Servers  # noqa: E402
from labkit.balancer import Featherlb  # noqa: E402
from labkit.config import configuration, endpoint, service  # noqa: E402
from labkit.lab import Lab, install_signal_handlers  # noqa: E402
from labkit.standin import Routed  # noqa: E402
from labkit.topology import Network, service_address  # noqa: E402

CLIENTS, CONNECTIONS = 8, 15  # connections: of each client
WEIGHTS = [3, 2, 1]
RUNS = ("round-robin", "weighted-round-robin", "random", "ip-hash", "maglev")
NOTES = {"weighted-round-robin": "3:2:1", "ip-hash": "by client"}
VIP = service_address(4)


@dataclass
class Result:
    name: str
    requests: list[int] = field(default_factory=list)  # of each backend
    connections: list[int] = field(default_factory=list)
    rate: float = 0.0        # requests/s over kept-alive connections
    new_rate: float = 0.0    # requests/s with a new connection for each
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    errors: int = 0


class Screen:
    """Progress on one line of a terminal, a line for each step elsewhere."""

    def __init__(self):
        self.tty = sys.stdout.isatty()
        self.width = min(shutil.get_terminal_size((100, 24)).columns, 118)

    def style(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.tty else text

    def bold(self, text: str) -> str:
        return self.style(text, "1")

    def dim(self, text: str) -> str:
        return self.style(text, "2")

    def progress(self, step: int, steps: int, text: str, share: float) -> None:
        if self.tty:
            cells = 24
            bar = "█" * int(share * cells) + "░" * (cells - int(share * cells))
            print(f"\r\033[K  [{step}/{steps}] {text:<34} {bar}", end="", flush=True)
        elif share == 0:
            print(f"  [{step}/{steps}] {text}", flush=True)

    def clear(self) -> None:
        if self.tty:
            print("\r\033[K", end="", flush=True)


class Demo:
    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.screen = Screen()
        self.lab = Lab()
        self.network = Network(self.lab, "two-armed", clients=CLIENTS)
        for host in self.network.backends:
            host.ns.steer_by_flow()
        self.servers = Servers(self.network, dns=False, echo=False, log_requests=False)
        self.results: list[Result] = []

    def urls(self, routed: bool) -> list[str]:
        """One for each client: the service, or without a balancer a backend's own address."""
        backends = self.network.backends
        return [f"http://{endpoint(backends[i % len(backends)].ipv4, HTTP_PORT)}/id" if routed else f"http://{VIP}/id"
                for i in range(CLIENTS)]

    def attack(self, urls: list[str], seconds: int, new_connections: bool, show) -> tuple[list[load.Wrk], Counter]:
        """wrk on every client at once; their reports, and all latencies added up: microseconds -> requests."""
        script = str(Path(__file__).resolve().parent / "labkit/histogram.lua")
        running = []
        for host, url in zip(self.network.clients, urls):
            command = load.wrk_command(url, seconds, CONNECTIONS, new_connections=new_connections)
            running.append(self.lab.start(host.ns, [command[0], "-s", script, *command[1:]], stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT, text=True))
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            show(passed)
            time.sleep(0.1)
        reports, latencies = [], Counter()
        for process in running:
            text = process.communicate(timeout=30)[0]
            reports.append(load.read_wrk(text))
            for line in text.splitlines():
                if line.startswith("latency "):
                    _, microseconds, count = line.split()
                    latencies[int(microseconds)] += int(count)
        return reports, latencies

    def measure(self, name: str, label: str, step: int, routed: bool = False) -> Result:
        steps, seconds, after = len(RUNS) + 2, self.options.seconds, max(1, self.options.seconds // 2)
        result = Result(name)
        before = [server.counters() for server in self.servers.nginx]

        def show(passed: float) -> None:
            self.screen.progress(step, steps, label, passed / (seconds + after))

        show(0)
        kept, latencies = self.attack(self.urls(routed), seconds, False, show)
        new, _ = self.attack(self.urls(routed), after, True, lambda passed: show(seconds + passed))
        for server, (connections, requests) in zip(self.servers.nginx, before):
            now = server.counters()
            result.connections.append(now[0] - connections)
            result.requests.append(now[1] - requests)
        result.rate = sum(report.requests_per_second for report in kept)
        result.new_rate = sum(report.requests_per_second for report in new)
        result.p50_ms, result.p99_ms = percentile(latencies, 0.5), percentile(latencies, 0.99)
        result.errors = sum(report.failed for report in kept + new)
        return result

    def run(self) -> None:
        self.without_balancer("no balancer, before", 1)
        for step, algorithm in enumerate(RUNS, start=2):
            weights = WEIGHTS if algorithm.startswith("weighted") else None
            web = service("web", [f"{VIP}:80/tcp"], self.network.backends, 4, HTTP_PORT, self.options.forward,
                          algorithm, weights)
            config = configuration(self.network, [web], self.options.attach)
            with Featherlb(self.network, config):
                self.results.append(self.measure(algorithm, algorithm, step))
        self.without_balancer("no balancer, after", len(RUNS) + 2)
        self.screen.clear()

    def without_balancer(self, name: str, step: int) -> None:
        """Before and after: two figures of the same thing show how much the machine itself varies."""
        with Routed(self.network, {}):
            self.results.append(self.measure(name, "without a balancer (routed)", step, routed=True))


def percentile(latencies: Counter, share: float) -> float:
    """In milliseconds; of microseconds -> how many."""
    wanted, seen = share * sum(latencies.values()), 0
    for microseconds in sorted(latencies):
        seen += latencies[microseconds]
        if seen >= wanted:
            return microseconds / 1000
    return 0.0


def table(results: list[Result], screen: Screen) -> str:
    servers = len(results[0].requests)
    columns = [("", 30)] + [(f"b{i + 1}", 8) for i in range(servers)] + [(f"b{i + 1}", 7) for i in range(servers)] + [
        ("req/s", 9), ("p50 ms", 8), ("p99 ms", 8), ("conn/s", 9), ("errors", 8)]
    head = " " * 30 + "requests".center(8 * servers) + "connections".center(7 * servers) + \
        "kept-alive connections".center(25) + "new ones".rjust(9)
    lines = [screen.dim(head),
             screen.bold("".join(name.rjust(width) if name else "algorithm".ljust(width) for name, width in columns)),
             screen.dim("─" * sum(width for _, width in columns))]
    for result in results:
        note = NOTES.get(result.name, "")
        label = f"{result.name} {screen.dim(note)}" if note else result.name
        label += " " * (30 - len(result.name) - (len(note) + 1 if note else 0))
        cells = [f"{n:8,}" for n in result.requests] + [f"{n:7,}" for n in result.connections]
        cells += [f"{result.rate:9,.0f}", f"{result.p50_ms:8.2f}", f"{result.p99_ms:8.2f}", f"{result.new_rate:9,.0f}"]
        errors = f"{result.errors:8,}"
        lines.append(label + "".join(cells) + (screen.style(errors, "31;1") if result.errors else errors))
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="load on each algorithm (default: 4)")
    parser.add_argument("--attach", default="auto", choices=("auto", "tc", "xdp-generic"), help="hook (default: auto)")
    parser.add_argument("--forward", default="snat", choices=("snat", "dnat"), help="way of forwarding (default: snat)")
    return parser.parse_args()


def main() -> int:
    options = parse()
    install_signal_handlers()
    if os.geteuid() != 0:
        print("demo: needs root: run it with sudo", file=sys.stderr)
        return 1
    if not Path(tools.featherlb()).exists():
        print(f"demo: {tools.featherlb()} is not built; scripts/demo builds it", file=sys.stderr)
        return 1
    demo = None
    try:
        demo = Demo(options)
        screen = demo.screen
        print(f"\n  {screen.bold('featherlb')}: {CLIENTS} clients with {CONNECTIONS} connections each → balancer → "
              f"{len(demo.network.backends)} nginx servers")
        print(screen.dim(f"  all on this machine: {os.cpu_count()} CPUs, Linux {os.uname().release}; forward: "
                         f"{options.forward}, attach: {options.attach}\n"), flush=True)
        demo.run()
    except KeyboardInterrupt:
        print("\ndemo: stopped; nothing is left behind", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it undone
        if demo is not None:
            demo.lab.close()
    print(table(demo.results, screen))
    routed = statistics.mean(result.rate for result in (demo.results[0], demo.results[-1]))
    share = statistics.median(result.rate for result in demo.results[1:-1]) / routed
    spread = abs(demo.results[0].rate - demo.results[-1].rate) / routed
    errors = sum(result.errors for result in demo.results)
    print(f"\n  Through featherlb: {share:.0%} of the routed request rate (median of the algorithms); "
          f"{'no request failed' if errors == 0 else f'{errors} requests failed'}; nothing is left behind.")
    if spread > 0.15:
        print(screen.dim(f"  The two routed figures differ by {spread:.0%}: something else keeps this machine busy, so compare "
                         "with care."))
    print()
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
