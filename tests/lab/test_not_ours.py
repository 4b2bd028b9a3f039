# SPDX-License-Identifier: Apache-2.0
"""Traffic that is not balanced stays as it was: ping, ARP, neighbour discovery, connections to the balancer itself."""
import socket
import threading

import pytest
from labkit import clients, config
from labkit.backends import HTTP_PORT
from labkit.netns import run
from labkit.topology import service_address

HOOKS = ("tc", "xdp-generic", "xdp")


@pytest.fixture(params=HOOKS)
def hook(request, two_armed):
    two_armed.network.set_offload("off-at-end-hosts" if request.param == "xdp" else "offload-on")
    two_armed.network.set_peer_gro(request.param == "xdp")
    yield request.param
    two_armed.network.set_offload("offload-on")
    two_armed.network.set_peer_gro(False)


@pytest.fixture
def balancer(two_armed, hook, make_balancer):
    with make_balancer(two_armed.network, config.everything(two_armed.network, hook)) as running:
        yield running


@pytest.mark.parametrize("address", ("10.1.0.1", "fd00:1::1", "10.9.0.1", "fd00:9::1"))
def test_the_balancer_answers_ping_on_its_own_and_on_service_addresses(two_armed, balancer, address):
    text = two_armed.network.client.ns.run(["ping", "-c", "20", "-i", "0.01", "-W", "1", address]).stdout
    assert " 0% packet loss" in text


@pytest.mark.parametrize("address", ("10.1.0.1", "fd00:1::1", "10.9.0.1", "fd00:9::1"))
def test_ping_is_answered_where_a_service_listens_on_every_address(two_armed, hook, make_balancer, address):
    """`*:80/tcp`: the machine's own addresses are service addresses."""
    network = two_armed.network
    services = [config.service("web", ["*:80/tcp"], network.backends, 4, HTTP_PORT)]
    with make_balancer(network, config.configuration(network, services, hook)):
        for size in ("56", "4000"):
            text = network.client.ns.run(["ping", "-c", "5", "-i", "0.01", "-W", "1", "-s", size, address]).stdout
            assert " 0% packet loss" in text


def test_big_and_fragmented_pings_pass(two_armed, balancer):
    ns = two_armed.network.client.ns
    for size in ("1472", "4000"):
        text = ns.run(["ping", "-c", "5", "-i", "0.01", "-W", "1", "-s", size, "10.1.0.1"]).stdout
        assert " 0% packet loss" in text


@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
def test_neighbours_are_resolved_anew(two_armed, balancer, family):
    """ARP and neighbour discovery in both directions, with traffic that needs them."""
    network = two_armed.network
    gateway = {4: "10.1.0.1", 6: "fd00:1::1"}[family]
    for _ in range(3):
        network.client.ns.run(["ip", "neigh", "flush", "dev", "eth0"])
        clients.http_get(network.client.ns, (service_address(family), 80))
        text = network.client.ns.run(["ip", "neigh", "show", gateway, "dev", "eth0"]).stdout
        assert "lladdr" in text
        for host in network.backends:
            host.ns.run(["ip", "neigh", "flush", "dev", "eth0"])


def test_arping_is_answered(two_armed, balancer):
    text = two_armed.network.client.ns.run(["arping", "-c", "1", "-I", "eth0", "10.1.0.1"]).stdout
    assert "1 packets received" in text or "Received 1" in text, text


class OwnServer:
    """A TCP echo server of the balancer machine itself, like its sshd."""

    def __init__(self, network, port: int = 22):
        self.listener = network.balancer.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("10.1.0.1", port))
        self.listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(sock,), daemon=True).start()

    @staticmethod
    def _echo(sock):
        with sock:
            while data := sock.recv(65536):
                sock.sendall(data)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_a_connection_to_the_balancer_itself_goes_on_while_it_starts_runs_and_stops(two_armed, hook, make_balancer):
    network = two_armed.network
    server = OwnServer(network)
    try:
        with clients.connect(network.client.ns, ("10.1.0.1", 22)) as session:
            lengths = range(1, 1461, 37)
            for _ in range(2):
                clients.echo_every_length(session, lengths, stream=True)
                with make_balancer(network, config.everything(network, hook)):
                    clients.echo_every_length(session, lengths, stream=True)
                    clients.http_get(network.client.ns, (service_address(4), 80))
                    with clients.connect(network.client.ns, ("10.1.0.1", 22)) as another:
                        clients.echo_every_length(another, lengths, stream=True)
                    clients.echo_every_length(session, lengths, stream=True)
            clients.echo_every_length(session, lengths, stream=True)
    finally:
        server.close()


def test_other_ports_of_a_service_address_are_the_hosts(two_armed, balancer):
    """No service listens on port 81 there: the host's own TCP refuses, at once."""
    with pytest.raises(ConnectionRefusedError):
        clients.connect(two_armed.network.client.ns, (service_address(4), 81), timeout=2)


def test_the_balancer_may_talk_to_backends_itself(two_armed, balancer):
    """Health checks and the operator's curl, from the same address that snat uses."""
    network = two_armed.network
    for host in network.backends:
        assert clients.http_get(network.balancer, (host.ipv4, 8080)) == host.name
        assert clients.http_get(network.balancer, (host.ipv6, 8080)) == host.name


@pytest.mark.no_standin
def test_nothing_else_is_forwarded(two_armed, balancer):
    """The balancer is not a router: a client does not reach a backend's own address through it."""
    done = run(two_armed.network.client.ns.argv(["ping", "-c", "1", "-W", "1", "10.2.0.11"]), check=False)
    assert done.returncode != 0
