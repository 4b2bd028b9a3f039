# SPDX-License-Identifier: Apache-2.0
"""Which backend a connection goes to, counted on the backends themselves."""
import math
from collections import Counter

import pytest
from labkit import load
from labkit.backends import NAME_PORT, Servers
from labkit.config import configuration, endpoint, service
from labkit.lab import Lab
from labkit.topology import Network, service_address

VIP = service_address(4)
pytestmark = pytest.mark.no_standin


def one_service(network, algorithm: str, hosts=None, weights=None, family: int = 4, forward: str = "snat") -> dict:
    listen = [endpoint(service_address(family, forward), 9) + "/tcp"]
    hosts = network.backends if hosts is None else hosts
    return configuration(network, [service("name", listen, hosts, family, NAME_PORT, forward, algorithm, weights)])


def accepted(place) -> list[int]:
    return [server.accepted()["reply"] for server in place.servers.echo]


def test_round_robin_gives_each_of_three_a_third(two_armed, make_balancer):
    network = two_armed.network
    with make_balancer(network, one_service(network, "round-robin")):
        before = accepted(two_armed)
        chosen = [name for _, name in load.picks(network.client.ns, (VIP, 9), two_armed.lab, 300)]
        counted = [after - start for start, after in zip(before, accepted(two_armed))]
    assert counted == [100, 100, 100]
    assert all(len(set(chosen[k:k + 3])) == 3 for k in range(0, 300, 3)), "strict rotation"


def test_weighted_round_robin_is_exact_and_interleaved(two_armed, make_balancer):
    network = two_armed.network
    with make_balancer(network, one_service(network, "weighted-round-robin", weights=[3, 2, 1])):
        chosen = [name for _, name in load.picks(network.client.ns, (VIP, 9), two_armed.lab, 600)]
    assert Counter(chosen) == {"b1": 300, "b2": 200, "b3": 100}
    windows = [Counter(chosen[k:k + 6]) for k in range(595)]
    assert all(window == {"b1": 3, "b2": 2, "b3": 1} for window in windows), "each six in a row are 3:2:1"
    assert not any(len(set(chosen[k:k + 3])) == 1 for k in range(598)), "never three in a row on one backend"


def test_random_passes_a_chi_square_test(two_armed, make_balancer, measured):
    network, count = two_armed.network, 6000
    with make_balancer(network, one_service(network, "random")):
        figures = load.short_lived(network.client.ns, (VIP, 9), count)
    shares = figures["backends"]
    statistic = sum((shares.get(host.name, 0) - count / 3) ** 2 / (count / 3) for host in network.backends)
    measured(f"{shares}, chi-square {statistic:.2f}")
    assert figures["ok"] == count
    # Two degrees of freedom: 18.4 is exceeded by chance once in 10,000 runs. Strict rotation would give about 0.
    assert 0.0002 < statistic < 18.4


def test_random_is_not_a_rotation(two_armed, make_balancer):
    network = two_armed.network
    with make_balancer(network, one_service(network, "random")):
        chosen = [name for _, name in load.picks(network.client.ns, (VIP, 9), two_armed.lab, 300)]
    repeats = sum(a == b for a, b in zip(chosen, chosen[1:]))
    assert 60 < repeats < 140, "a third of the picks repeat the one before"


@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
def test_ip_hash_keeps_a_client_on_its_backend(two_armed, make_balancer, family):
    network, to = two_armed.network, (service_address(family), 9)
    with make_balancer(network, one_service(network, "ip-hash", family=family)):
        homes = {}
        for number in range(1, 13):
            rows = load.picks(network.client.ns, to, two_armed.lab, 100, addresses=1, first_address=number)
            names = {name for _, name in rows}
            assert len(names) == 1
            homes[number] = names.pop()
    assert len(set(homes.values())) > 1, "twelve clients are not all on one backend"


@pytest.fixture(scope="module")
def ten():
    """Ten backends that only say their names."""

    class Place:
        lab = Lab()
        network = Network(lab, "two-armed", backends=10)
        servers = Servers(network, http=False, dns=False)

    yield Place
    Place.lab.close()


COUNT = 40000
# 50 addresses x 800 ports: the same 40,000 connections every time.
TUPLES = {"addresses": 50, "first_port": 20000, "ports": 800, "concurrency": 64}


def homes(place) -> dict[tuple[str, int], str]:
    return dict(load.picks(place.network.client.ns, (VIP, 9), place.lab, COUNT, **TUPLES))


@pytest.fixture(scope="module")
def with_all_ten(ten, make_balancer):
    with make_balancer(ten.network, one_service(ten.network, "maglev")):
        return homes(ten)


def test_maglev_shares_are_even(with_all_ten, measured):
    """The share that the table gives is at most 1.05 of the mean (exact, in the unit tests). Counted connections
    scatter around it: four standard deviations of a binomial count come on top."""
    counts = Counter(with_all_ten.values())
    mean = COUNT / 10
    allowed = 1.05 * mean + 4 * math.sqrt(mean * 0.9)
    measured(f"largest {max(counts.values()) / mean:.3f}, smallest {min(counts.values()) / mean:.3f} of the mean")
    assert len(counts) == 10
    assert max(counts.values()) <= allowed


def test_maglev_gives_the_same_backend_after_a_fresh_start(ten, with_all_ten, make_balancer):
    with make_balancer(ten.network, one_service(ten.network, "maglev")):
        assert homes(ten) == with_all_ten


def test_maglev_moves_few_connections_when_one_of_ten_goes(ten, with_all_ten, make_balancer, measured):
    network = ten.network
    remaining = [host for host in network.backends if host.name != "b4"]
    with make_balancer(network, one_service(network, "maglev")) as running:
        running.reload(one_service(network, "maglev", remaining))
        now = homes(ten)
    moved = sum(now[source] != home for source, home in with_all_ten.items()) / COUNT
    unforced = sum(now[source] != home for source, home in with_all_ten.items() if home != "b4") / COUNT
    measured(f"{moved:.1%} moved, of which {unforced:.1%} were on a backend that stayed")
    assert "b4" not in now.values()
    assert moved <= 0.15
