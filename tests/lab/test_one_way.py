# SPDX-License-Identifier: Apache-2.0
"""The matrix of `dsr` and `ipip`: every hook, IP version inside and outside, protocol, offload setting and number of
interfaces with each other. Backends of `ipip` run `featherlb decap`; all of them answer the client directly."""
import hashlib
import os
import socket

import pytest
from conftest import Place
from labkit import clients, config, counters, impossible, one_way
from labkit.backends import DNS_PORT, ECHO_PORT, HTTP_PORT
from labkit.lab import wait_for
from labkit.topology import ARMS, pool_address

REQUESTS = 51  # as test_matrix.py, in thirds
BULK = 20_000_000
MANY = 250
# (hook, offload) that carry more than single requests, as the rows of test_axes.py do
AXES = (("tc", "offload-on"), ("tc", "off-at-balancer"), ("xdp-generic", "off-at-end-hosts"), ("xdp", "off-at-end-hosts"))
FITS = 1500 - 40 - 48  # UDP payload in IPv6 in IPv6
UDP_SEGMENT = 103  # of <linux/udp.h>
pytestmark = pytest.mark.no_standin


@pytest.fixture(scope="module", params=ARMS)
def place(request):
    place = Place(request.param, dns=False)
    one_way.prepare(place.network)
    place.original = place.lab.directory / "bulk"
    place.original.write_bytes(os.urandom(BULK))
    for server in place.servers.nginx:
        os.link(place.original, server.directory / "files" / "bulk")
    with one_way.decapsulating(place.network), one_way.UdpEcho(place.network):
        yield place
    place.lab.close()


def tcp_echo(network, family: int, way: str) -> dict:
    return config.service(f"tcp-echo-{way}-ipv{family}", [config.endpoint(one_way.address(family, way), ECHO_PORT) + "/tcp"],
                          network.backends, one_way.outer(family, way), ECHO_PORT, way.split("-")[0])


@pytest.fixture(scope="module")
def balancer(place, offload, hook, make_balancer):
    place.network.set_peer_gro(hook == "xdp")
    echo = [made(place.network, family, way) for family in (4, 6) for way in one_way.WAYS
            for made in (tcp_echo, one_way.UdpEcho.service)]
    services = one_way.services(place.network) + echo
    with make_balancer(place.network, config.configuration(place.network, services, hook)) as running:
        yield running


FAMILY = pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
WAY = pytest.mark.parametrize("way", one_way.WAYS)
POSSIBLE = pytest.mark.where(lambda hook, offload: not impossible.reason(hook, offload))


def counts(running, name: str) -> list[dict]:
    return next(one["backends"] for one in running.status()["services"] if one["name"] == name)


@POSSIBLE
@FAMILY
@WAY
@pytest.mark.parametrize("protocol", ("tcp", "udp"))
def test_requests_without_an_error_and_answers_past_the_balancer(place, offload, hook, balancer, family, way, protocol):
    network = place.network
    to = (one_way.address(family, way), HTTP_PORT if protocol == "tcp" else DNS_PORT)
    name = f"{'web' if protocol == 'tcp' else 'dns'}-{way}-ipv{family}"
    before, answers = counters.stack(network.balancer), set()
    old = counts(balancer, name)
    with one_way.Watch(network) as watch:
        for number in range(REQUESTS):
            source = (pool_address(family, 1 + number % 50), 0)
            if protocol == "tcp":
                answers.add(clients.http_get(network.client.ns, to, source=source))
            else:
                with clients.udp_socket(network.client.ns, to, source) as sock:
                    answers.add(clients.dns_query(sock, ipv6=family == 6))
    assert answers == {host.name if protocol == "tcp" else host.address(family) for host in network.backends}
    assert watch.frames >= REQUESTS, "the clients' packets cross the balancer"
    assert watch.answers == 0, "and what answers them does not"
    entered = counters.entered(before, counters.stack(network.balancer))
    assert not any(entered.values()), "balanced packets stay out of the balancer's own stack"
    for was, now in zip(old, counts(balancer, name)):
        assert now["connections"] - was["connections"] == REQUESTS // len(network.backends)
        assert now["packets_in"] > was["packets_in"] and now["packets_out"] == was["packets_out"] == 0


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def curl(network, family: int, way: str, path: str, *options: str) -> float:
    url = f"http://{config.endpoint(one_way.address(family, way), HTTP_PORT)}{path}"
    done = network.client.ns.run(["curl", "-gsSf", "--max-time", "30", "-w", "%{time_total}", *options, url])
    return float(done.stdout.split()[-1])


@POSSIBLE
@FAMILY
@WAY
def test_twenty_megabytes_both_ways(place, offload, hook, balancer, family, way, measured):
    network = place.network
    if impossible.bulk_reason(hook, offload):
        network.set_segmentation(False)
    try:
        copy = place.lab.directory / "copy"
        down = curl(network, family, way, "/bulk", "-o", str(copy))
        assert sha256(copy) == sha256(place.original)
        up = curl(network, family, way, "/upload/bulk", "-T", str(place.original), "-o", "/dev/null")
        received = [path for server in place.servers.nginx for path in (server.directory / "files/upload").iterdir()]
        assert [sha256(path) for path in received] == [sha256(place.original)]
        received[0].unlink()
        measured(f"{way} IPv{family}: {BULK * 8 / down / 1e9:.1f} Gbit/s down, {BULK * 8 / up / 1e9:.1f} up")
    finally:
        network.set_offload(offload)


@POSSIBLE
@FAMILY
@WAY
def test_a_datagram_too_large_for_the_tunnel_is_answered_with_its_mtu(place, offload, hook, balancer, family, way):
    network, to = place.network, one_way.address(family, way)
    headers = {"dsr": 0}.get(way, {4: 20, 6: 40}[one_way.outer(family, way)])
    room = 1500 - headers - (28 if family == 4 else 48)
    network.client.ns.run(["ip", f"-{family}", "route", "flush", "cache"])
    with clients.udp_socket(network.client.ns, (to, DNS_PORT)) as sock:
        if family == 4:
            sock.setsockopt(0, 10, 2)  # IP_MTU_DISCOVER: IP_PMTUDISC_DO
        else:
            sock.setsockopt(41, 23, 2)  # IPV6_MTU_DISCOVER
        sock.send(bytes(room))
        assert one_way.learned_mtu(network, to) in (0, 1500), "it fits exactly"
        if headers == 0:
            return
        sock.send(bytes(room + 1))
        wait_for("the client to learn the MTU", lambda: one_way.learned_mtu(network, to) == 1500 - headers, timeout=5)


# ---- more than single requests ----

ON_AN_AXIS = pytest.mark.where(lambda hook, offload: (hook, offload) in AXES)


@ON_AN_AXIS
@FAMILY
@WAY
def test_hundreds_of_requests_and_of_questions(place, balancer, offload, hook, family, way):
    ns, address = place.network.client.ns, one_way.address(family, way)
    for number in range(MANY):
        source = (pool_address(family, 1 + number % 200), 0)
        clients.http_get(ns, (address, HTTP_PORT), source=source)
        with clients.udp_socket(ns, (address, DNS_PORT), source) as sock:
            clients.dns_query(sock, ipv6=family == 6)
    with clients.connect(ns, (address, HTTP_PORT)) as sock:
        clients.http_get_many(sock, MANY)


@ON_AN_AXIS
@FAMILY
@WAY
@pytest.mark.parametrize("protocol", ("tcp", "udp"))
def test_payloads_of_every_length_come_back(place, balancer, offload, hook, family, way, protocol):
    to = (one_way.address(family, way), ECHO_PORT if protocol == "tcp" else one_way.UdpEcho.PORT)
    open_socket = clients.connect if protocol == "tcp" else clients.udp_socket
    in_fragments = [4000, 20_000] if protocol == "udp" and way == "dsr" else []
    with open_socket(place.network.client.ns, to) as sock:
        clients.echo_every_length(sock, [*range(1, FITS + 1), *in_fragments], stream=protocol == "tcp")


@pytest.mark.where(lambda hook, offload: hook == "tc")
@FAMILY
@WAY
def test_datagrams_that_the_sender_leaves_to_the_device_to_cut_arrive_as_they_were_meant(place, balancer, offload, hook,
                                                                                         family, way):
    """Linux sends up to 64 datagrams as one packet (UDP_SEGMENT). It goes through the tunnel whole, and is cut behind it."""
    data = os.urandom(10 * FITS + 700)
    with clients.udp_socket(place.network.client.ns, (one_way.address(family, way), one_way.UdpEcho.PORT)) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, FITS)
        sock.send(data)
        received = [sock.recv(65536) for _ in range(11)]
    assert [len(datagram) for datagram in received] == [FITS] * 10 + [700]
    assert b"".join(received) == data
