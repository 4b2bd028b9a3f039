# SPDX-License-Identifier: Apache-2.0
"""Every hook, IP version, protocol, way of forwarding, offload setting and number of interfaces with each other."""
import pytest
from labkit import clients, config, counters, impossible
from labkit.topology import ARMS, pool_address, service_address

from conftest import Place

REQUESTS = 50


@pytest.fixture(scope="module", params=ARMS)
def place(request):
    place = Place(request.param)
    yield place
    place.lab.close()


@pytest.fixture(scope="module")
def balancer(place, offload, hook, make_balancer):
    place.network.set_peer_gro(hook == "xdp")
    with make_balancer(place.network, config.everything(place.network, hook)) as running:
        yield running


def source(family: int, number: int) -> tuple[str, int]:
    return pool_address(family, 1 + number % 50), 0


def tcp_requests(place, family: int, forward: str, count: int) -> set[str]:
    to = (service_address(family, forward), 80)
    return {clients.http_get(place.network.client.ns, to, source=source(family, n)) for n in range(count)}


def udp_requests(place, family: int, forward: str, count: int) -> set[str]:
    to, answers = (service_address(family, forward), 53), set()
    for n in range(count):
        with clients.udp_socket(place.network.client.ns, to, source(family, n)) as sock:
            answers.add(clients.dns_query(sock, ipv6=family == 6))
    return answers


@pytest.mark.where(lambda hook, offload: not impossible.reason(hook, offload))
@pytest.mark.parametrize("forward", ("snat", "dnat"))
@pytest.mark.parametrize("protocol", ("tcp", "udp"))
@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
def test_fifty_requests_without_an_error(place, offload, hook, balancer, family, protocol, forward):
    before = counters.stack(place.network.balancer)
    requests = tcp_requests if protocol == "tcp" else udp_requests
    answers = requests(place, family, forward, REQUESTS)
    names = {host.name if protocol == "tcp" else host.address(family) for host in place.network.backends}
    assert answers == names, "round robin reaches every backend"
    if balancer.log():  # featherlb, not a stand-in
        entered = counters.entered(before, counters.stack(place.network.balancer))
        assert not any(entered.values()), "balanced packets stay out of the balancer's own stack"


@pytest.mark.no_standin
@pytest.mark.where(lambda hook, offload: impossible.reason(hook, offload) or impossible.bulk_reason(hook, offload))
def test_what_cannot_work_is_warned_about_by_name(place, offload, hook, balancer):
    words = {"xdp": ("native XDP", "checksum"), "xdp-generic": ("generic XDP", "bulk")}[hook]
    warnings = [line for line in balancer.log().splitlines() if "warn" in line]
    for name in place.network.interfaces:
        assert any(all(word in line for word in (name, *words)) for line in warnings), balancer.log()


@pytest.mark.no_standin
@pytest.mark.where(lambda hook, offload: impossible.reason(hook, offload))
def test_what_is_listed_as_impossible_still_is(place, offload, hook, balancer):
    """Fails when the list has grown old: then take the combination off it."""
    with pytest.raises(OSError):
        for number in range(3):
            clients.http_get(place.network.client.ns, (service_address(4, "dnat"), 80), source=source(4, number),
                             timeout=0.5)
