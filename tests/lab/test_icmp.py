# SPDX-License-Identifier: Apache-2.0
"""ICMP and fragments as hosts see them: traceroute, refused ports, ping, large datagrams."""
import errno
import os
import socket
import struct

import pytest
from labkit import clients, config
from labkit.backends import ECHO_PORT
from labkit.lab import Lab, wait_for
from labkit.topology import Network, OFFLOADS, service_address
from labkit.backends import Servers

ROWS = tuple(("tc", offload) for offload in OFFLOADS) + (("xdp-generic", "off-at-end-hosts"), ("xdp", "off-at-end-hosts"))
FAMILIES = pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
FORWARDS = pytest.mark.parametrize("forward", ("snat", "dnat"))
CLOSED_PORT, REFUSED = 9999, 99  # of backends; of the service

pytestmark = pytest.mark.no_standin


class Place:
    """Two clients and one backend; services echo (7) and refused (99, to a closed port)."""

    def __init__(self):
        self.lab = Lab()
        try:
            self.network = Network(self.lab, "two-armed", backends=2, clients=2)
            self.servers = Servers(self.network, http=False, dns=False)
        except BaseException:
            self.lab.close()
            raise

    def configuration(self, hook: str) -> dict:
        services = []
        for family in (4, 6):
            for forward in ("snat", "dnat"):
                address = service_address(family, forward)
                for name, port, backend_port in (("echo", 7, ECHO_PORT), ("refused", REFUSED, CLOSED_PORT)):
                    services.append(config.service(
                        f"{name}-{forward}-ipv{family}", [config.endpoint(address, port) + "/udp"],
                        self.network.backends[:1], family, backend_port, forward))
        return config.configuration(self.network, services, hook)


@pytest.fixture(scope="module")
def place():
    made = Place()
    yield made
    made.lab.close()


@pytest.fixture(scope="module", params=ROWS, ids="-".join)
def balancer(request, place, make_balancer):
    hook, offload = request.param
    place.network.set_offload(offload)
    place.network.set_peer_gro(hook == "xdp")
    with make_balancer(place.network, place.configuration(hook)) as running:
        yield running


def dropped(balancer, reason: str) -> int:
    return sum(row["packets"] for row in balancer.status()["drops"] if row["reason"] == reason)


@FAMILIES
@FORWARDS
def test_a_datagram_of_twenty_thousand_bytes_comes_back_whole(place, balancer, family, forward):
    with clients.udp_socket(place.network.client.ns, (service_address(family, forward), 7)) as sock:
        clients.echo_every_length(sock, [20_000] * 20 + [1472, 1473, 2999, 65_000], stream=False)


@FAMILIES
@FORWARDS
def test_a_packet_with_ttl_1_is_answered_by_the_service_address(place, balancer, family, forward):
    """As traceroute does; the kernel checks the checksum before it believes the error."""
    service = service_address(family, forward)
    level, ttl, errors = ((socket.IPPROTO_IP, socket.IP_TTL, 11) if family == 4 else
                          (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 25))  # ..._RECVERR
    with clients.udp_socket(place.network.client.ns, (service, 7)) as sock:
        sock.setsockopt(level, errors, 1)
        sock.setsockopt(level, ttl, 1)
        sock.send(b"x" * 300)

        def told():
            try:
                return sock.recvmsg(512, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None

        _, controls, _, _ = wait_for("an ICMP error", told)
        data = controls[0][2]
        assert struct.unpack_from("=IBBB", data)[0] == errno.EHOSTUNREACH
        offender = data[16 + 4:16 + 8] if family == 4 else data[16 + 8:16 + 24]
        assert socket.inet_ntop(sock.family, offender) == service
        sock.setsockopt(level, ttl, 64)
        clients.echo_every_length(sock, [300], stream=False)


@FAMILIES
@FORWARDS
def test_a_port_that_the_backend_refuses_is_refused_to_the_client(place, balancer, family, forward):
    with clients.udp_socket(place.network.client.ns, (service_address(family, forward), REFUSED)) as sock:
        sock.send(b"anybody there?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)


def fragments(family: int, source: str, port: int, to: str, payload: bytes, number: int) -> list[bytes]:
    """IP packets that are one datagram in two fragments, with the given identification."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
    from scapy.packet import Raw

    whole = UDP(sport=port, dport=7) / Raw(payload)
    if family == 4:
        data = bytes(IP(bytes(IP(src=source, dst=to) / whole)).payload)
        return [bytes(IP(src=source, dst=to, id=number, proto=17, flags="MF") / Raw(data[:800])),
                bytes(IP(src=source, dst=to, id=number, proto=17, frag=100) / Raw(data[800:]))]
    data = bytes(IPv6(bytes(IPv6(src=source, dst=to) / whole)).payload)
    return [bytes(IPv6(src=source, dst=to) / IPv6ExtHdrFragment(nh=17, id=number, m=1) / Raw(data[:800])),
            bytes(IPv6(src=source, dst=to) / IPv6ExtHdrFragment(nh=17, id=number, offset=100) / Raw(data[800:]))]


@FAMILIES
@FORWARDS
def test_clients_fragments_with_equal_identification_are_not_mixed(place, balancer, family, forward):
    service = service_address(family, forward)
    before = dropped(balancer, "fragment")
    for number in range(20):
        sent, raw, sockets, payloads = [], [], [], []
        for host in place.network.clients:
            sock = clients.udp_socket(host.ns, (service, 7))
            sockets.append(sock)
            payloads.append(os.urandom(1200))
            sent.append(fragments(family, host.address(family), sock.getsockname()[1], service, payloads[-1],
                                  1000 + number))
            out = host.ns.socket(sock.family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            out.connect((service, 0))
            raw.append(out)
        for part in (0, 1):  # A1 B1 A2 B2
            for out, packets in zip(raw, sent):
                out.send(packets[part])
        for sock, payload in zip(sockets, payloads):
            assert sock.recv(65536) == payload
        for sock in sockets + raw:
            sock.close()
    assert dropped(balancer, "fragment") == before


def test_a_fragment_without_its_first_is_counted(place, balancer):
    host, service = place.network.client, service_address(4)
    before = dropped(balancer, "fragment")
    with host.ns.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.connect((service, 0))
        raw.send(fragments(4, host.ipv4, 5000, service, os.urandom(1200), 9)[1])
    wait_for("the drop to be counted", lambda: dropped(balancer, "fragment") == before + 1)


@FAMILIES
def test_ping_of_every_size_is_answered_by_the_host(place, balancer, family):
    for size in ("56", "1400", "8000"):
        text = place.network.client.ns.run(
            ["ping", "-c", "5", "-i", "0.01", "-W", "1", "-s", size, service_address(family)]).stdout
        assert " 0% packet loss" in text
