# SPDX-License-Identifier: Apache-2.0
"""What a thousand and ten thousand health checks cost the daemon, and what one change among a thousand backends does."""
import contextlib
import http.client
import json
import os
import socket
import statistics
import time

import pytest
from labkit.balancer import Featherlb
from labkit.config import configuration
from labkit.lab import wait_for
from labkit.ports import ManyPorts

pytestmark = [pytest.mark.alone, pytest.mark.no_standin, pytest.mark.slow]
PORTS = range(20_000, 20_500)
SECONDS = 20


@pytest.fixture(scope="module")
def servers(two_armed):
    hosts = two_armed.network.backends[:2]
    with ManyPorts(hosts[0], PORTS), ManyPorts(hosts[1], PORTS):
        yield two_armed


def checked(network, services: int) -> dict:
    """Each has a thousand backends, checked every two seconds."""
    backends = [{"address": f"{host.ipv4}:{port}"} for host in network.backends[:2] for port in PORTS]
    return configuration(network, [
        {"name": f"web-{number}", "listen": f"10.9.0.1:{8000 + number}/tcp", "algorithm": "round-robin", "backends": backends,
         "health": {"type": "tcp", "interval": "2s", "timeout": "1s"}} for number in range(services)], flows={"max": 16384})


def processor_seconds(pid: int) -> float:
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost(running, checks: int, measured) -> tuple[float, float]:
    """Part of a core and MiB of private memory, without what is mapped of the maps."""
    def done() -> int:
        return sum(backend["checks"]["good"] for one in running.status()["services"] for backend in one["backends"])

    wait_for("a check of each", lambda: done() >= checks, 120, 0.5)
    time.sleep(3)
    begun, spent, time_then = done(), processor_seconds(running.process.pid), time.monotonic()
    time.sleep(SECONDS)
    share = (processor_seconds(running.process.pid) - spent) / (time.monotonic() - time_then)
    made, mib = done() - begun, running.private_kib() / 1024
    status = running.status()
    measured(f"{checks} checks: {made / SECONDS:.0f} a second, {share:.1%} of a core, {mib:.1f} MiB private; the maps "
             f"{status['data_plane']['memory_bytes'] >> 20} MiB")
    assert made > 0.9 * checks / 2 * SECONDS
    return share, mib


def test_a_thousand(servers, measured):
    with Featherlb(servers.network, checked(servers.network, 1)) as running:
        share, mib = cost(running, 1000, measured)
        answers = {}
        for words in (["status"], ["status", "--json"]):
            times = []
            for _ in range(9):
                began = time.monotonic()
                running.command(*words)
                times.append(time.monotonic() - began)
            answers[" ".join(words)] = statistics.median(times)
        measured(", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in answers.items()))
        assert share < 0.10 and mib < 32 and max(answers.values()) < 0.1


def test_one_weight_of_a_thousand_backends_is_another_at_once(servers, measured):
    """By the admin socket alone: a command takes longer to be started."""
    config = checked(servers.network, 1)
    web = config["services"][0]
    del web["health"]
    web["algorithm"] = "weighted-round-robin"
    with Featherlb(servers.network, config) as running:
        with contextlib.closing(http.client.HTTPConnection("localhost")) as admin:
            admin.sock = socket.socket(socket.AF_UNIX)
            admin.sock.connect(str(running.socket))
            times = []
            for number in range(21):
                said = {"service": "web-0", "backend": web["backends"][number * 47]["address"], "weight": 2 + number % 3}
                began = time.monotonic()
                admin.request("POST", "/v1/weight", json.dumps(said))
                answer = json.loads(admin.getresponse().read())
                times.append(time.monotonic() - began)
                assert answer["result"] == "ok", answer
        weights = {backend["address"]: backend["weight_now"] for backend in running.status()["services"][0]["backends"]}
        assert all(weights[web["backends"][number * 47]["address"]] == 2 + number % 3 for number in range(21))
    median = statistics.median(times)
    measured(f"applied in {median * 1000:.1f} ms (median of {len(times)}), {max(times) * 1000:.1f} ms at most")
    assert min(times) < 0.01 and median < 0.05, "asked are 10 ms; a busy machine takes longer"


def test_ten_thousand(servers, measured):
    running = Featherlb(servers.network, checked(servers.network, 10))
    try:
        running.start(wait=False)
        running.wait_ready(120)
        cost(running, 10_000, measured)
    finally:
        running.stop()
