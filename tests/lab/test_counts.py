# SPDX-License-Identifier: Apache-2.0
"""After a million requests, what the metrics, `status`, the flow table and the backends' own logs say is the same."""
import json
import time

import pytest
from labkit import clients, load
from labkit.backends import HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, service
from labkit.lab import wait_for
from labkit.topology import service_address
from test_metrics import PORT, ask, samples

VIP = service_address(4)
REQUESTS, KEPT, FRESH, HELD = 1_000_000, 64, 8, 60
pytestmark = [pytest.mark.alone, pytest.mark.no_standin, pytest.mark.slow]


def logged(server) -> int:
    with open(server.log, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def hold(network) -> list:
    """Connections that have asked once, as (socket, backend)."""
    held = []
    for _ in range(HELD):
        sock = clients.connect(network.client.ns, (VIP, 80))
        sock.sendall(b"GET /id HTTP/1.1\r\nHost: web\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\n") or b"\r\n\r\n" not in answer:
            answer += sock.recv(4096)
        held.append((sock, answer.split(b"\r\n\r\n")[1].decode().strip()))
    return held


def test_all_counts_agree_after_a_million_requests(two_armed, measured):
    network, lab, servers = two_armed.network, two_armed.lab, two_armed.servers.nginx
    config = configuration(network, [service("web", [f"{VIP}:80/tcp"], network.backends, 4, HTTP_PORT)])
    with Featherlb(network, config | {"metrics": {"listen": f"127.0.0.1:{PORT}"}}, ephemeral=False) as running:
        for server in servers:
            server.clear_log()
        before = {server.host.name: server.counters() for server in servers}
        began, requests = time.monotonic(), 0
        while requests < REQUESTS and time.monotonic() - began < 240:
            for options in ({"connections": KEPT}, {"connections": FRESH, "new_connections": True}):
                report = load.finish_wrk(load.start_wrk(lab, network.client.ns, f"http://{VIP}/id",
                                                        3 if "new_connections" in options else 12, **options))
                assert report.failed == 0, report
                requests += report.requests
        assert requests >= REQUESTS, "within four minutes"
        held = hold(network)
        requests += HELD
        try:
            # A handshake that wrk's end cut short stays for the 30 s that an unproven connection has.
            wait_for("wrk's connections to end", lambda: sum(
                backend["open"] for backend in running.status()["services"][0]["backends"]) == HELD, 90)
            after = {server.host.name: server.counters() for server in servers}
            accepted = {name: after[name][0] - before[name][0] for name in after}
            status = {backend["name"]: backend for backend in running.status()["services"][0]["backends"]}
            scraped = samples(ask(network)[1])
            counts = json.loads(running.command("flows", "--count", "--state", "open", "--json").stdout)
            by_name = {name: sum(1 for _, holder in held if holder == name) for name in status}

            assert {name: backend["connections"] for name, backend in status.items()} == accepted
            assert {name: scraped["featherlb_backend_connections_total", ("backend", name), ("direction", "in"),
                                  ("service", "web")] for name in status} == accepted
            assert running.status()["services"][0]["traffic"]["connections"] == sum(accepted.values())
            assert {name: backend["open"] for name, backend in status.items()} == by_name
            assert {name: scraped["featherlb_backend_connections", ("backend", name), ("service", "web")]
                    for name in status} == by_name
            assert counts["total"] == HELD, counts
            in_logs = sum(logged(server) for server in servers)
            asked = sum(after[name][1] - before[name][1] for name in after)
            # wrk does not count what it no longer waited for.
            rounds = 2 * (1 + int(requests / 100_000))
            assert requests <= in_logs <= requests + rounds * (KEPT + FRESH) and abs(in_logs - asked) <= 3 * len(servers)

            running.kill()
            running.start()
            again = {backend["name"]: backend["connections"] for backend in running.status()["services"][0]["backends"]}
            assert again == accepted, "counters of backends outlive the daemon"
        finally:
            for sock, _ in held:
                sock.close()
    measured(f"{requests:,} requests, {in_logs:,} in the backends' logs (the others were cut by wrk's end), over "
             f"{sum(accepted.values()):,} connections: status, metrics, flow table and the backends' own counters agree")
