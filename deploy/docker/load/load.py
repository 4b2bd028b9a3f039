# SPDX-License-Identifier: Apache-2.0
"""Loads every service of the balancer in turn with wrk, counts what each backend logged, and judges.

Writes report.txt and report.json to /reports. Exits 1 if a backend got nothing, if connections are not shared out as
the algorithm promises, or if any request failed. Settings come from the environment, see docker-compose.yml.
"""
import collections
import datetime
import json
import os
import socket
import sys
import time

import sources
import verdict
import wrk

BALANCER = os.environ.get("BALANCER", "balancer")
# algorithm -> port; the services of featherlb.yaml.
SERVICES = {"round-robin": 8001, "weighted-round-robin": 8002, "random": 8003, "ip-hash": 8004, "maglev": 8005}
THREADS = int(os.environ.get("WRK_THREADS", "12"))
CONNECTIONS = int(os.environ.get("WRK_CONNECTIONS", "400"))
HELD = CONNECTIONS // THREADS * THREADS  # every thread of wrk holds the same number
SECONDS = int(os.environ.get("WRK_SECONDS", "10"))
HEAVY = os.environ.get("HEAVY", "heavy")
HEAVY_WEIGHT = int(os.environ.get("HEAVY_WEIGHT", "3"))
CLIENT_ADDRESSES = 64
REPORTS = "/reports"


def wait_for(port, patience_s=60):
    """Until the balancer answers on this port; the first answers may have to wait for its health or neighbours."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return sources.backend_of(BALANCER, port, timeout=1)
        except OSError as problem:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{BALANCER}:{port} does not answer: {problem}") from problem
            time.sleep(0.3)


def shares_of(algorithm, backends):
    heavy = [name for name in backends if name.startswith(f"{HEAVY}-")]
    weight = HEAVY_WEIGHT if algorithm == "weighted-round-robin" else 1
    return {name: weight if name in heavy else 1 for name in backends}


def homes(port, addresses, complaints):
    """Where each client address is sent; ten connections from it must all go there."""
    home = {}
    for address in addresses:
        seen = {sources.backend_of(BALANCER, port, address) for _ in range(10)}
        if len(seen) > 1:
            complaints.append(f"client {address} was sent to {len(seen)} backends: {', '.join(sorted(seen))}")
        home[address] = min(seen)
    return home


def load(logs, port):
    logs.clear()
    figures = wrk.run(f"http://{BALANCER}:{port}/", THREADS, CONNECTIONS, SECONDS)
    return figures, logs.settle(f"{BALANCER}:{port}", figures["requests"])


def run(algorithm, port, logs):
    complaints, extra = [], {}
    wait_for(port)
    shares = shares_of(algorithm, logs.backends())
    if algorithm == "ip-hash":
        with sources.Sources(CLIENT_ADDRESSES, port) as clients:
            home = homes(port, clients.addresses, complaints)
            figures, counts = load(logs, port)
        complaints += verdict.by_source(home, counts)
        extra = {"client_addresses": len(home), "addresses_per_backend": collections.Counter(home.values())}
    else:
        figures, counts = load(logs, port)
        judge = verdict.rotation if algorithm.endswith("round-robin") else verdict.by_chance
        complaints += judge(shares, counts)
    complaints = verdict.always(counts, figures, HELD) + complaints
    text = figures.pop("text")
    return {"algorithm": algorithm, "port": port, "wrk": figures, "wrk_text": text, "shares": shares,
            "requests_per_second": round(figures["requests"] * 1e6 / figures["duration_us"]),
            "backends": counts, "complaints": complaints, **extra}


def table(results):
    lines = []
    for result in results:
        lines.append(f"{result['algorithm']}: {'ok' if not result['complaints'] else 'FAILED'}")
        if "wrk" in result:
            figures = result["wrk"]
            lines.append(f"  {result['requests_per_second']} requests/s, latency p50 {figures['p50_us'] / 1000:.2f} ms,"
                         f" p99 {figures['p99_us'] / 1000:.2f} ms, errors {sum(figures['errors'].values())}")
            lines.append(f"  {'backend':24} {'weight':>6} {'requests':>10} {'connections':>12}")
            for backend, count in result["backends"].items():
                lines.append(f"  {backend:24} {result['shares'][backend]:6} {count['requests']:10} {count['connections']:12}")
        if "client_addresses" in result:
            lines.append(f"  from {result['client_addresses']} client addresses in turn; addresses per backend: " +
                         ", ".join(f"{name} {number}" for name, number in sorted(result["addresses_per_backend"].items())))
        lines += [f"  WRONG: {complaint}" for complaint in result["complaints"]]
        lines.append("")
    return "\n".join(lines)


def main():
    print(f"load: wrk -t{THREADS} -c{CONNECTIONS} -d{SECONDS}s against {BALANCER} ({socket.gethostbyname(BALANCER)})")
    logs = wrk.Logs("/logs")
    results = []
    for algorithm, port in SERVICES.items():
        try:
            results.append(run(algorithm, port, logs))
        except (RuntimeError, OSError) as problem:
            results.append({"algorithm": algorithm, "port": port, "complaints": [str(problem)]})
        print(table(results[-1:]))
    passed = not any(result["complaints"] for result in results)
    with open(f"{REPORTS}/report.json", "w", encoding="utf-8") as out:
        json.dump({"finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "passed": passed,
                   "threads": THREADS, "connections": CONNECTIONS, "seconds": SECONDS, "results": results}, out, indent=2)
    with open(f"{REPORTS}/report.txt", "w", encoding="utf-8") as out:
        out.write(table(results))
        out.writelines(f"--- wrk, {result['algorithm']}\n{result['wrk_text']}\n" for result in results if "wrk_text" in result)
    print("load: " + ("all shares as promised, no request failed" if passed else "FAILED, see above"))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
