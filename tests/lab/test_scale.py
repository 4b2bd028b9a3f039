# SPDX-License-Identifier: Apache-2.0
"""Ten thousand services, and a thousand backends in one, with real servers behind a sample of them."""
import contextlib
import datetime
import os
import random
import time
from collections import Counter

import pytest
from labkit import clients
from labkit.balancer import Featherlb
from labkit.config import configuration
from labkit.lab import wait_for
from labkit.ports import ManyPorts

pytestmark = [pytest.mark.alone, pytest.mark.no_standin, pytest.mark.slow]
SERVICES, PER_ADDRESS, FIRST_PORT = 10_000, 1_000, 1_000
SERVER_PORTS = range(20_000, 21_000)


def address_of(number: int) -> tuple[str, int]:
    """Where a service listens: a thousand ports of each of ten addresses."""
    return f"10.9.1.{1 + number // PER_ADDRESS}", FIRST_PORT + number % PER_ADDRESS


def server_port(number: int) -> int:
    """Not the same for neighbours, nor in one order with them."""
    return SERVER_PORTS[number * 7 % len(SERVER_PORTS)]


@pytest.fixture(scope="module")
def many(two_armed):
    """The network with ten more service addresses and servers on a thousand ports of two backends."""
    network = two_armed.network
    network.balancer.ip("".join(f"addr add 10.9.1.{i}/32 dev lo\n" for i in range(1, 11)))
    with contextlib.ExitStack() as stack:
        for host in network.backends[:2]:
            stack.enter_context(ManyPorts(host, SERVER_PORTS))
        yield two_armed
    network.balancer.ip("".join(f"addr del 10.9.1.{i}/32 dev lo\n" for i in range(1, 11)))


def ten_thousand(network) -> dict:
    services = []
    for number in range(SERVICES):
        address, port = address_of(number)
        services.append({"name": f"service-{number}", "listen": f"{address}:{port}/tcp",
                         "backends": [{"address": f"{host.ipv4}:{server_port(number)}"}
                                      for host in network.backends[:2]]})
    return configuration(network, services, flows={"max": 65536})


def ask(network, to) -> tuple[str, int]:
    with clients.connect(network.client.ns, to) as sock:
        name, port = clients.read_all(sock).decode().split()
    return name, int(port)


def milliseconds(action) -> float:
    begin = time.monotonic()
    action()
    return (time.monotonic() - begin) * 1000


def processor_seconds(running) -> float:
    fields = open(f"/proc/{running.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def time_of(log: str, words: str) -> float:
    """When a line of the log was written; seconds since 1970."""
    line = next(line for line in log.splitlines() if words in line)
    return datetime.datetime.fromisoformat(line.split()[0]).timestamp()


def test_ten_thousand_services_are_served(many, measured):
    network = many.network
    config = ten_thousand(network) | {"metrics": {"listen": "127.0.0.1:9420"}}
    sample = random.Random(1).sample(range(SERVICES), 200) + [0, SERVICES - 1]
    running = Featherlb(network, config)
    try:
        running.start(wait=False)
        ready = milliseconds(lambda: running.wait_ready(60)) / 1000
        spent = processor_seconds(running)
        measured(f"start to ready {ready:.2f} s, {spent:.2f} s of a processor")
        assert min(ready, spent) < 5 and ready < 15, "where it has a processor for itself the two are one"
        for number in sample:
            name, port = ask(network, address_of(number))
            assert name in ("b1", "b2") and port == server_port(number), number
        one = sample[0]
        config["services"][one]["backends"] = [{"address": f"{network.backends[0].ipv4}:{server_port(one + 1)}"}]
        measured(f"reload with one backend changed {milliseconds(lambda: running.reload(config)):.0f} ms")
        assert ask(network, address_of(one)) == ("b1", server_port(one + 1))
        for number in sample[1:60]:
            assert ask(network, address_of(number))[1] == server_port(number), number
        status = {}
        measured(f"status {milliseconds(lambda: running.command('status')):.0f} ms, status --json "
                 f"{milliseconds(lambda: running.command('status', '--json')):.0f} ms")
        status.update(running.status())
        curl = ["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:9420/metrics"]
        scrape = network.balancer.popen(curl)
        time.sleep(0.1)
        measured(f"readyz meanwhile {milliseconds(lambda: network.balancer.run([*curl[:-1], curl[-1][:-7] + 'readyz'])):.0f} ms")
        assert scrape.wait(timeout=10) == 0
        time.sleep(4)
        measured(f"a scrape {milliseconds(lambda: network.balancer.run(curl)):.0f} ms")
        assert len(status["services"]) == SERVICES
        by_name = {entry["name"]: entry for entry in status["services"]}
        asked = sum(backend["connections"] for number in sample for backend in by_name[f"service-{number}"]["backends"])
        assert asked >= len(sample) + 59
        resident = next(line for line in open(f"/proc/{running.process.pid}/status") if line.startswith("VmRSS"))
        measured(f"the daemon has {int(resident.split()[1]) >> 10} MiB, the maps "
                 f"{status['data_plane']['memory_bytes'] >> 20} MiB")
    finally:
        running.stop()


def test_one_backend_that_fails_among_thousands_of_services_is_left_at_once(many, measured):
    """Of one service alone; the others are neither planned nor written again."""
    network = many.network
    config = ten_thousand(network)
    checked = config["services"][77]
    checked["health"] = {"type": "tcp", "interval": "200ms", "timeout": "200ms", "fall": 1, "rise": 1}
    checked["backends"][1]["address"] = f"{network.backends[1].ipv4}:1"  # nobody listens there
    running = Featherlb(network, config)
    try:
        running.start(wait=False)
        running.wait_ready(120)

        def down() -> bool:
            states = {b["address"]: b["state"] for b in running.status()["services"][77]["backends"]}
            return states[checked["backends"][1]["address"]] == "down"

        wait_for("its fall", down, 10, 0.1)
        took = time_of(running.log(), " is down") - time_of(running.log(), " ready")
        measured(f"down {took:.2f} s after it was ready; the check is asked for every 0.2 s")
        assert took < 3
        assert {ask(network, address_of(77)) for _ in range(20)} == {("b1", server_port(77))}
    finally:
        running.stop()


def test_a_thousand_backends_of_one_service_share_its_connections(many, measured):
    network = many.network
    backends = [{"address": f"{host.ipv4}:{port}"} for host in network.backends[:2] for port in SERVER_PORTS[:500]]
    for algorithm, connections in (("maglev", 3000), ("round-robin", 2000)):
        web = {"name": "web", "listen": "10.9.0.1:80/tcp", "algorithm": algorithm, "backends": backends}
        with Featherlb(network, configuration(network, [web])) as running:
            seen = Counter(ask(network, ("10.9.0.1", 80)) for _ in range(connections))
            measured(f"{algorithm}: {connections} connections on {len(seen)} backends, {max(seen.values())} at most")
            if algorithm == "round-robin":
                assert set(seen.values()) == {2} and len(seen) == 1000
            else:
                # Of 1,000 equal ones each is left out with e^-3: 50 on average.
                assert len(seen) > 900 and max(seen.values()) < 20
            assert len(running.status()["services"][0]["backends"]) == 1000
