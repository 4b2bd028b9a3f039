# SPDX-License-Identifier: Apache-2.0
"""Services on ranges of ports, backends without a port of their own, TCP and UDP on one port."""
import contextlib
import socket
import struct

import pytest
from labkit import clients
from labkit.backends import DNS_PORT, NAME_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.ports import ManyPorts
from labkit.topology import service_address

pytestmark = pytest.mark.no_standin
FIRST, LAST = 8000, 8019


@pytest.fixture(scope="module")
def servers(two_armed):
    with contextlib.ExitStack() as stack:
        for host in two_armed.network.backends:
            stack.enter_context(ManyPorts(host, range(FIRST, LAST + 1), udp=True))
        yield two_armed


def who(ns, to) -> tuple[str, int]:
    """Over TCP: the backend, and the port that it was asked on."""
    with clients.connect(ns, to) as sock:
        name, port = clients.read_all(sock).decode().split()
    return name, int(port)


def who_udp(ns, to) -> tuple[str, int]:
    with clients.udp_socket(ns, to) as sock:
        sock.send(b"?")
        name, port = sock.recv(100).decode().split()
    return name, int(port)


def portless(name, listen, hosts, family, forward="snat") -> dict:
    """Backends by their address alone."""
    made = service(name, listen, hosts, family, 1, forward)
    for backend, host in zip(made["backends"], hosts):
        address = host.address(family)
        backend["address"] = f"[{address}]" if family == 6 else address
    return made


@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
@pytest.mark.parametrize("forward", ("snat", "dnat"))
def test_backends_without_a_port_are_asked_on_the_clients_port(servers, family, forward):
    network, vip = servers.network, service_address(family, forward)
    listen = [f"{endpoint(vip, FIRST)}-{LAST}/{protocol}" for protocol in ("tcp", "udp")]
    config = configuration(network, [portless("media", listen, network.backends, family, forward)])
    with Featherlb(network, config) as running:
        for port in range(FIRST, LAST + 1):
            for ask in (who, who_udp):
                assert {ask(network.client.ns, (vip, port)) for _ in range(3)} == {(f"b{i}", port) for i in (1, 2, 3)}
        status = running.status()["services"][0]
        assert status["listeners"] == listen
        assert [b["address"] for b in status["backends"]] == [b["address"] for b in config["services"][0]["backends"]]
        assert f"{endpoint(vip, FIRST)}-{LAST}/tcp" in running.command("status").stdout


def test_all_ports_of_a_range_lead_to_the_one_of_a_backend_that_has_one(servers):
    network = servers.network
    listen = [f"10.9.0.1:{FIRST}-{LAST}/tcp"]
    with Featherlb(network, configuration(network, [service("name", listen, network.backends, 4, NAME_PORT)])):
        asked = [clients.ask_name(network.client.ns, ("10.9.0.1", port))[0] for port in range(FIRST, LAST + 1)]
        assert set(asked) == {"b1", "b2", "b3"}


def test_a_range_on_every_address_leaves_the_ports_beside_it_to_the_host(servers):
    network = servers.network
    config = configuration(network, [portless("media", [f":{FIRST}-{LAST - 1}/tcp"], network.backends, 4)])
    with Featherlb(network, config):
        assert who(network.client.ns, ("10.1.0.1", LAST - 1))[1] == LAST - 1
        for port in (FIRST - 1, LAST):
            with pytest.raises(ConnectionRefusedError):
                who(network.client.ns, ("10.1.0.1", port))


def dns_over_tcp(ns, to) -> str:
    """The address of a.id.test; both length prefix and answer of RFC 1035, 4.2.2."""
    question = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + b"\1a\2id\4test\0" + struct.pack(">2H", 1, 1)
    with clients.connect(ns, to) as sock:
        sock.sendall(struct.pack(">H", len(question)) + question)
        answer = clients.read_exactly(sock, struct.unpack(">H", clients.read_exactly(sock, 2))[0])
    assert struct.unpack(">H", answer[:2]) == (7,) and answer[7] == 1, answer
    return socket.inet_ntop(socket.AF_INET, answer[-4:])


def dns_over_udp(ns, to) -> str:
    with clients.udp_socket(ns, to) as sock:
        return clients.dns_query(sock)


@pytest.mark.parametrize("services", (1, 2), ids=("one-service", "two-services"))
@pytest.mark.parametrize("forward", ("snat", "dnat"))
def test_dns_over_udp_and_tcp_on_one_port(two_armed, forward, services):
    network, vip = two_armed.network, service_address(4, forward)
    both = [f"{vip}:53/udp", f"{vip}:53/tcp"]
    config = configuration(network, [
        service(f"dns-{i}", both if services == 1 else [both[i]], network.backends, 4, DNS_PORT, forward)
        for i in range(services)])
    with Featherlb(network, config):
        for ask in (dns_over_udp, dns_over_tcp):
            assert {ask(network.client.ns, (vip, 53)) for _ in range(6)} == {host.ipv4 for host in network.backends}


def test_backends_without_a_port_are_checked_on_the_only_port_of_their_service(two_armed):
    network = two_armed.network
    dns = portless("dns", [f"10.9.0.1:{DNS_PORT}/udp", f"10.9.0.1:{DNS_PORT}/tcp"], network.backends, 4)
    dns["health"] = {"type": "tcp", "interval": "200ms", "timeout": "150ms", "fall": 1}
    with Featherlb(network, configuration(network, [dns])) as running:
        def good() -> list[int]:
            return [backend["checks"]["good"] for backend in running.status()["services"][0]["backends"]]

        wait_for("good checks", lambda: min(good()) > 1)
        assert dns_over_tcp(network.client.ns, ("10.9.0.1", DNS_PORT)).startswith("10.2.0.")
