# SPDX-License-Identifier: Apache-2.0
"""Where a service may listen: several addresses, both IP versions, an address on the clients' own network."""
from collections import Counter

import pytest
from labkit import clients
from labkit.backends import HTTP_PORT, NAME_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service

pytestmark = pytest.mark.no_standin


@pytest.fixture(scope="module", params=("two_armed", "one_armed"))
def place(request):
    return request.getfixturevalue(request.param)


def test_one_service_on_several_addresses_ports_and_both_ip_versions(place):
    network = place.network
    listen = ["10.9.0.1:80/tcp", "10.9.0.3:8088/tcp", "[fd00:9::1]:80/tcp", "[fd00:9::4]:80/tcp"]
    web = service("web", listen, network.backends, 4, HTTP_PORT)
    web["backends"] += service("", [], network.backends, 6, HTTP_PORT)["backends"]
    for backend in web["backends"]:
        backend["name"] += "-ipv6" if "[" in backend["address"] else "-ipv4"
    with Featherlb(network, configuration(network, [web])):
        for to in (("10.9.0.1", 80), ("10.9.0.3", 8088), ("fd00:9::1", 80), ("fd00:9::4", 80)):
            assert len({clients.http_get(network.client.ns, to) for _ in range(6)}) == 3


def test_several_services_share_an_address(place):
    network = place.network
    one, two, three = network.backends
    config = configuration(network, [service("web", ["10.9.0.1:80/tcp"], [one], 4, HTTP_PORT),
                                     service("other", ["10.9.0.1:81/tcp"], [two, three], 4, HTTP_PORT)])
    with Featherlb(network, config):
        assert {clients.http_get(network.client.ns, ("10.9.0.1", 80)) for _ in range(6)} == {"b1"}
        assert {clients.http_get(network.client.ns, ("10.9.0.1", 81)) for _ in range(6)} == {"b2", "b3"}


@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
@pytest.mark.parametrize("forward", ("snat", "dnat"))
def test_a_service_address_on_the_clients_network_is_found_by_arp_and_neighbour_discovery(place, family, forward):
    """The host answers for the address, which it has on the interface itself."""
    network = place.network
    address, front = {4: "10.1.0.100", 6: "fd00:1::100"}[family], network.interfaces[0]
    length = {4: "/24", 6: "/64 nodad"}[family].split(" ")
    network.balancer.run(["ip", "addr", "add", address + length[0], "dev", front, *length[1:]])
    try:
        web = service("web", [endpoint(address, 80) + "/tcp"], network.backends, family, HTTP_PORT, forward)
        with Featherlb(network, configuration(network, [web])):
            assert Counter(clients.http_get(network.client.ns, (address, 80)) for _ in range(9)) == {
                "b1": 3, "b2": 3, "b3": 3}
            assert address in network.client.ns.run(["ip", "neigh", "show", "dev", "eth0"]).stdout
            ping = network.client.ns.run(["ping", "-c", "3", "-i", "0.01", "-W", "1", address])
            assert " 0% packet loss" in ping.stdout
    finally:
        network.balancer.run(["ip", "addr", "del", address + length[0], "dev", front])


def test_the_snat_pool_may_have_several_addresses(place):
    """Backends see each of them: two of the machine's own."""
    network = place.network
    back = network.interfaces[-1]
    network.balancer.run(["ip", "addr", "add", "10.2.0.5/24", "dev", back])
    try:
        name = service("name", ["10.9.0.1:9/tcp"], network.backends, 4, NAME_PORT)
        config = configuration(network, [name], snat={"addresses": ["10.2.0.1", "10.2.0.5"], "ports": "2000-2999"})
        with Featherlb(network, config):
            seen = [clients.ask_name(network.client.ns, ("10.9.0.1", 9)) for _ in range(120)]
        assert {address for _, address, _ in seen} == {"10.2.0.1", "10.2.0.5"}
        assert all(2000 <= port <= 2999 for _, _, port in seen)
        assert len(set(seen)) == 120, "no (backend, address, port) came back so soon"
    finally:
        network.balancer.run(["ip", "addr", "del", "10.2.0.5/24", "dev", back])
