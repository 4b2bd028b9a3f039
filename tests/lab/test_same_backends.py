# SPDX-License-Identifier: Apache-2.0
"""Two balancers with the same configuration, in networks of their own, send the same connections to the same backends,
whatever happened to each before. tests/packet/same_backends_test.cpp has 100,000 tuples; these are real daemons."""
from contextlib import ExitStack

import pytest
from conftest import Place
from labkit import clients
from labkit.backends import HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.topology import pool_address, service_address

CONNECTIONS = 500
# A backend that refuses is soon down, and a machine that stands still for seconds takes nobody down.
HEALTH = {"type": "tcp", "interval": "3s", "timeout": "3s", "fast_interval": "200ms", "rise": 1, "fall": 3}
PORT = {"maglev": 80, "ip-hash": 81}
WEIGHTS = {"b1": 3, "b2": 1, "b3": 1, "b4": 2}
pytestmark = [pytest.mark.no_standin, pytest.mark.slow]


def configured(network, names: str = "b1 b2 b3 b4", weights: dict | None = None) -> dict:
    hosts = {host.name: host for host in network.backends}
    wanted = names.split()
    made = [service(f"{algorithm}-{family}", [endpoint(service_address(family), port) + "/tcp"],
                    [hosts[name] for name in wanted], family, HTTP_PORT, algorithm=algorithm,
                    weights=[(weights or WEIGHTS)[name] for name in wanted])
            for algorithm, port in PORT.items() for family in (4, 6)]
    return configuration(network, [{**one, "health": HEALTH} for one in made], hash_seed=2026)


def wait_states(running, down: set[str], of: int = 4) -> None:
    def as_wanted() -> bool:
        services = running.status()["services"]
        return all(len(one["backends"]) == of and all(
            backend["state"] == ("down" if backend["name"] in down else "up") and
            (backend["name"] in down or backend["checks"]["good"] > 0) for backend in one["backends"])
            for one in services)

    wait_for(f"{down or 'none'} down", as_wanted, 30, 0.2)


def chosen(place, algorithm: str, family: int, first_port: int, count: int) -> list[str]:
    """By each of so many clients' connections; the same ones for whichever place."""
    to = (service_address(family), PORT[algorithm])
    return [clients.http_get(place.network.client.ns, to, source=(pool_address(family, 1 + n * 7 % 60_000), first_port + n))
            for n in range(count)]


def everything_chosen(place, first_port: int, count: int = CONNECTIONS) -> dict[str, list[str]]:
    return {f"{algorithm}, IPv{family}": chosen(place, algorithm, family, first_port, count) for algorithm in PORT
            for family in (4, 6)}


def test_two_daemons_of_different_histories_choose_the_same_backends():
    with ExitStack() as stack:
        places = [Place("two-armed", backends=4, dns=False, echo=False) for _ in range(2)]
        for place in places:
            stack.callback(place.lab.close)
        calm, tried = places

        old = stack.enter_context(Featherlb(tried.network, configured(tried.network, "b4 b2", {"b4": 1, "b2": 7}),
                                            ephemeral=False))
        wait_states(old, set(), of=2)
        everything_chosen(tried, 10_000, 50)
        old.reload(configured(tried.network, "b3 b1 b4 b2"))
        old.kill()
        old.start()
        tried.servers.nginx[2].kill()
        wait_states(old, {"b3"})
        tried.servers.nginx[2].start()
        wait_states(old, set())
        young = stack.enter_context(Featherlb(calm.network, configured(calm.network)))
        wait_states(young, set())

        before = everything_chosen(calm, 20_000)
        assert before == everything_chosen(tried, 20_000)
        for backends in before.values():
            assert set(backends) == {"b1", "b2", "b3", "b4"}

        for place in places:
            place.servers.nginx[1].kill()
        for running in (young, old):
            wait_states(running, {"b2"})
        after = everything_chosen(calm, 20_000)
        assert after == everything_chosen(tried, 20_000)
        for name, backends in after.items():
            moved = [(was, now) for was, now in zip(before[name], backends) if was != now]
            assert moved and all(was == "b2" and now != "b2" for was, now in moved), "only its connections move"
