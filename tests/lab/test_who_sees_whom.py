# SPDX-License-Identifier: Apache-2.0
"""Whose address the backends see, and that nothing of it passes through the balancer's own stack."""
import pytest
from labkit import clients, config, counters
from labkit.topology import pool_address, service_address


@pytest.fixture(scope="module", params=("two_armed", "one_armed"))
def place(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def balancer(place, make_balancer):
    with make_balancer(place.network, config.everything(place.network, "auto")) as running:
        yield running


def logged_clients(place, family: int, forward: str) -> list[set[str]]:
    """The addresses in each backend's access log after twelve requests from four client addresses."""
    place.servers.clear_logs()
    for number in range(12):
        clients.http_get(place.network.client.ns, (service_address(family, forward), 80),
                         source=(pool_address(family, 1 + number % 4), 0))
    return [{address for address, _, _ in server.requests()} for server in place.servers.nginx]


@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
def test_dnat_backends_log_the_clients_own_addresses(place, balancer, family):
    seen = set().union(*logged_clients(place, family, "dnat"))
    assert seen == {pool_address(family, number) for number in range(1, 5)}


@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
def test_snat_backends_log_the_balancers_address(place, balancer, family):
    own = {4: "10.2.0.1", 6: "fd00:2::1"}[family]
    assert logged_clients(place, family, "snat") == [{own}] * 3


@pytest.mark.no_standin
@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
@pytest.mark.parametrize("forward", ("snat", "dnat"))
def test_the_stack_of_the_balancer_sees_nothing(place, balancer, family, forward):
    ns, web = place.network.client.ns, (service_address(family, forward), 80)
    before = counters.stack(place.network.balancer)
    for number in range(200):
        clients.http_get(ns, web, source=(pool_address(family, 1 + number), 0))
        with clients.udp_socket(ns, (web[0], 53)) as sock:
            clients.dns_query(sock)
    assert counters.entered(before, counters.stack(place.network.balancer)) == dict.fromkeys(
        ("ipv4", "ipv6", "forwarded", "tcp", "udp"), 0)


def test_clients_with_the_same_source_port_do_not_collide(place, balancer):
    """Forty clients, all from port 5555, to one service, open at the same time, through both ways of forwarding."""
    for family in (4, 6):
        for forward in ("snat", "dnat"):
            to, sockets = (service_address(family, forward), 7), []
            try:
                for number in range(1, 41):
                    source = (pool_address(family, number), 5555)
                    sockets.append(clients.connect(place.network.client.ns, to, source))
                    sockets.append(clients.udp_socket(place.network.client.ns, to, source))
                for number, sock in enumerate(sockets * 2):
                    sock.send(f"client {number}".encode())
                answers = [clients.read_exactly(sock, len(f"client {n}client {n + 80}")) if n % 2 == 0
                           else sock.recv(100) + sock.recv(100) for n, sock in enumerate(sockets)]
                assert answers == [f"client {n}client {n + 80}".encode() for n in range(80)]
            finally:
                for sock in sockets:
                    sock.close()
