#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP requests/s through featherlb (TC, two-armed), beside: no balancer (routed), nft, HAProxy in tcp mode, nginx
stream. Everything on this machine, in network namespaces: three nginx backends, three wrk.

Each round runs every contestant once, in turn, so that what else the machine does hits all alike; the medians of the
rounds are compared, and only with each other: absolute figures belong to this machine and this hour.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/lab"))
from labkit import load, standin, tools  # noqa: E402
from labkit.backends import HTTP_PORT, Servers  # noqa: E402
from labkit.balancer import Featherlb  # noqa: E402
from labkit.config import configuration, endpoint, service  # noqa: E402
from labkit.lab import Lab, install_signal_handlers  # noqa: E402
from labkit.topology import Network, service_address  # noqa: E402

VIP = service_address(4)
# name -> (what runs on the balancer, way of forwarding)
CONTESTANTS = {
    "routed": (standin.Routed, "dnat"),
    "nft dnat": (standin.Nft, "dnat"),
    "nft snat": (standin.Nft, "snat"),
    "haproxy tcp": (standin.Haproxy, "snat"),
    "nginx stream": (standin.NginxStream, "snat"),
    "featherlb dnat": (Featherlb, "dnat"),
    "featherlb snat": (Featherlb, "snat"),
}
KINDS = {"keep-alive": False, "connection per request": True}
CONNECTIONS = 20  # of each of the three wrk


def level_the_ground(network: Network) -> None:
    """What one contestant leaves must not hinder the next. nginx closes first, so tens of thousands of its TIME_WAIT
    sockets would meet the same addresses and ports again; and nft's connections would fill conntrack."""
    for host in network.backends:
        host.ns.sysctl("net.ipv4.tcp_max_tw_buckets", 0)
    network.balancer.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 5)


def run_wrk(lab: Lab, network: Network, urls: list[str], seconds: int, new_connections: bool) -> dict:
    """Three wrk at once; sums, and the worst latencies."""
    running = [load.start_wrk(lab, network.client.ns, url, seconds, CONNECTIONS, new_connections=new_connections)
               for url in urls]
    reports = [load.finish_wrk(process) for process in running]
    return {"requests_per_second": sum(report.requests_per_second for report in reports),
            "p50_ms": statistics.median(report.p50_ms for report in reports),
            "p99_ms": max(report.p99_ms for report in reports),
            "errors": sum(report.failed for report in reports)}


def measure(lab: Lab, network: Network, name: str, seconds: int) -> dict:
    """One contestant, both kinds of load."""
    kind, forward = CONTESTANTS[name]
    web = service("web", [f"{VIP}:80/tcp"], network.backends, 4, HTTP_PORT, forward, "round-robin")
    urls = [f"http://{VIP}/id"] * 3
    if kind is standin.Routed:
        urls = [f"http://{endpoint(host.ipv4, HTTP_PORT)}/id" for host in network.backends]
    with kind(network, configuration(network, [web], "tc")):
        return {load_kind: run_wrk(lab, network, urls, seconds, new) for load_kind, new in KINDS.items()}


def summarise(rounds: list[dict]) -> dict:
    """Medians over the rounds, ratios to routed and to nft with the same way of forwarding."""
    summary: dict = {}
    for kind in KINDS:
        rates = {name: statistics.median(r[name][kind]["requests_per_second"] for r in rounds) for name in CONTESTANTS}
        summary[kind] = {
            name: {
                "requests_per_second": round(rate),
                # Ratios are taken within a round: what disturbs one disturbs its neighbours.
                "to_routed": round(statistics.median(r[name][kind]["requests_per_second"]
                                                     / r["routed"][kind]["requests_per_second"] for r in rounds), 3),
                "to_nft": round(statistics.median(r[name][kind]["requests_per_second"]
                                                  / r[f"nft {CONTESTANTS[name][1]}"][kind]["requests_per_second"]
                                                  for r in rounds), 3),
                "p50_ms": round(statistics.median(r[name][kind]["p50_ms"] for r in rounds), 3),
                "p99_ms": round(statistics.median(r[name][kind]["p99_ms"] for r in rounds), 3),
                "errors": sum(r[name][kind]["errors"] for r in rounds),
            } for name, rate in rates.items()
        }
    return summary


def as_text(summary: dict, rounds: int, seconds: int) -> str:
    lines = [f"HTTP through the balancer, TC, two-armed, {os.cpu_count()} CPUs for everything, Linux "
             f"{os.uname().release}; medians of {rounds} rounds of {seconds} s"]
    for kind, figures in summary.items():
        lines += ["", f"{kind:<24}{'requests/s':>12}{'of routed':>11}{'of nft':>9}{'p50 ms':>9}{'p99 ms':>9}"
                      f"{'errors':>8}"]
        lines += [f"  {name:<22}{row['requests_per_second']:>12,}{row['to_routed']:>11.2f}{row['to_nft']:>9.2f}"
                  f"{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['errors']:>8}" for name, row in figures.items()]
    lines += ["", "of nft: beside nft with the same forwarding (snat beside snat, dnat beside dnat). Backends keep no "
              "TIME_WAIT."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/http.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 s instead of 5 of 4 s")
    parser.add_argument("--output", type=Path, default=ROOT / "build/bench", help="where http.json and http.txt go")
    options = parser.parse_args()
    rounds, seconds = (2, 2) if options.quick else (5, 4)
    if os.geteuid() != 0:
        print("bench: needs root", file=sys.stderr)
        return 1
    if not Path(tools.featherlb()).exists():
        print(f"bench: {tools.featherlb()} is not built", file=sys.stderr)
        return 1
    install_signal_handlers()
    done: list[dict] = []
    try:
        with Lab() as lab:
            network = Network(lab, "two-armed")
            Servers(network, dns=False, echo=False, log_requests=False)
            level_the_ground(network)
            for number in range(rounds):
                figures = {}
                for name in CONTESTANTS:
                    print(f"bench: round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
                    figures[name] = measure(lab, network, name, seconds)
                done.append(figures)
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    summary = summarise(done)
    options.output.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(ROOT), "rev-parse", "HEAD"], text=True,
                            capture_output=True).stdout.strip()
    text = as_text(summary, rounds, seconds)
    (options.output / "http.txt").write_text(text + "\n")
    (options.output / "http.json").write_text(json.dumps(
        {"commit": commit, "kernel": os.uname().release, "cpus": os.cpu_count(), "seconds": seconds, "summary": summary,
         "rounds": done}, indent=2) + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
