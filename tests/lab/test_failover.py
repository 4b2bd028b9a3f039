# SPDX-License-Identifier: Apache-2.0
"""What clients notice of a backend that dies: nothing, a second, or a reset, as it is configured."""
import socket
import statistics
import threading
import time
from contextlib import contextmanager

import pytest
from labkit import clients
from labkit.backends import DNS_PORT, ECHO_PORT, HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.faults import Waiting, all_reset, first_syn, silent, syn_ack_to
from labkit.lab import wait_for
from labkit.topology import OFFLOADS, service_address

from conftest import Place

ETH_P_ALL = 3

HEALTH = {"type": "tcp", "port": HTTP_PORT, "interval": "500ms", "timeout": "400ms", "rise": 1, "fall": 2}
WAYS = [(family, forward) for family in (4, 6) for forward in ("snat", "dnat")]
pytestmark = [pytest.mark.alone, pytest.mark.no_standin]


@pytest.fixture(scope="module")
def place():
    place = Place("two-armed")
    yield place
    place.lab.close()


_first_port = 1024


def everywhere(network, ports, protocol="tcp", attach="auto", **settings) -> dict:
    """One service for each IP version and each way of forwarding, on the listener's and the backends' port. Source
    ports are others in each test: the backends of the one before may still have its connections in TIME_WAIT."""
    global _first_port
    _first_port = _first_port + 500 if _first_port < 32000 else 1024
    listener, backend = ports
    return configuration(network, [
        {**service(f"{forward}-{family}", [endpoint(service_address(family, forward), listener) + "/" + protocol],
                   network.backends, family, backend, forward), **settings}
        for family, forward in WAYS], attach, snat={"ports": f"{_first_port}-{_first_port + 499}"})


@contextmanager
def unplugged(host):
    """A machine whose cable is out."""
    host.ns.ip("link set eth0 down")
    try:
        yield
    finally:
        host.ns.ip(f"""
            link set eth0 up
            route add default via 10.2.0.1
            addr replace {host.ipv6}/64 dev eth0 nodad
            route replace default via fd00:2::1
        """)


DEATHS = pytest.mark.parametrize("death", (silent, unplugged), ids=("silent", "unplugged"))


def entries(running, index: int) -> list[dict]:
    """The backend's entries in all services."""
    return [backend for one in running.status()["services"] for backend in one["backends"]
            if backend["name"] == f"b{index + 1}"]


def wait_checked(running) -> None:
    wait_for("the first checks", lambda: all(
        backend["checks"]["good"] > 0 for one in running.status()["services"] for backend in one["backends"]))


def wait_down(running, index: int) -> float:
    """Until the backend is down in all services. The last moment at which it was not yet in all of them."""
    last = time.monotonic()

    def down() -> bool:
        nonlocal last
        asked = time.monotonic()
        if all(backend["state"] == "down" for backend in entries(running, index)):
            return True
        last = asked
        return False

    wait_for(f"b{index + 1} down", down, 10)
    return last


def dropped(running, reason: str) -> int:
    return sum(drop["packets"] for drop in running.status()["drops"] if drop["reason"] == reason)


@DEATHS
@pytest.mark.parametrize("hook", ("tc", "xdp-generic"))
def test_reset_reaches_clients_that_only_wait_within_a_second(place, network, measured, hook, death):
    """Three connections to each backend through each service. b1 dies: its clients get ECONNRESET, the others work
    on."""
    config = everywhere(network, (7, ECHO_PORT), attach=hook, health=HEALTH, on_backend_down="reset")
    with Featherlb(network, config) as running:
        wait_checked(running)
        socks = {}
        for family, forward in WAYS:
            for _ in range(9):
                sock = clients.connect(network.client.ns, (service_address(family, forward), 7))
                clients.echo_every_length(sock, range(1, 5), stream=True)
                socks[sock] = sock.getsockname()[:2]
        # dnat keeps the client's address, so b1 knows its own; snat: in turn, the first of three
        lost = [sock for number, sock in enumerate(socks) if number % 3 == 0]
        others = [sock for sock in socks if sock not in lost]
        seen = place.servers.echo[0].peers()
        assert all(socks[sock] in [tuple(peer) for peer in seen] for sock in lost[3:6] + lost[9:]), "b1's are b1's"
        with death(network.backends[0]):
            waiting = [Waiting(sock) for sock in lost]
            last_up = wait_down(running, 0)
            told = all_reset(waiting)
            for sock in others:
                clients.echo_every_length(sock, range(1, 5), stream=True)
        took = told - last_up
        measured(f"{len(waiting)} waiting clients: reset {took:.2f} s at most after the last look that saw b1 up")
        assert len(waiting) == 12 and took < 1.0
        assert "clients were made to speak" in running.log()
        assert dropped(running, "backend_down") >= 12
        for sock in socks:
            sock.close()


class WithoutRawSockets(Featherlb):
    def arguments(self) -> list[str]:
        return ["setpriv", "--inh-caps=-net_raw", "--bounding-set=-net_raw", *super().arguments()]


def test_without_the_capability_a_client_that_waits_is_reset_when_it_speaks(network):
    config = everywhere(network, (7, ECHO_PORT), health=HEALTH, on_backend_down="reset")
    with WithoutRawSockets(network, config) as running:
        assert running.log().count("CAP_NET_RAW") == 1
        wait_checked(running)
        with clients.connect(network.client.ns, (service_address(4), 7)) as sock, silent(network.backends[0]):
            wait_down(running, 0)
            sock.settimeout(1.5)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.sendall(b"?")
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert running.log().count("CAP_NET_RAW") == 1


def test_reset_answers_a_client_that_sends(place, network):
    config = everywhere(network, (7, ECHO_PORT), health=HEALTH, on_backend_down="reset")
    with Featherlb(network, config) as running:
        wait_checked(running)
        with clients.connect(network.client.ns, (service_address(4), 7)) as sock, silent(network.backends[0]):
            wait_down(running, 0)
            with pytest.raises(ConnectionResetError):
                for _ in range(50):
                    sock.sendall(b"anybody there?")
                    sock.recv(1)


def test_keep_keeps_a_connection_through_a_wrong_verdict(place, network):
    config = everywhere(network, (7, ECHO_PORT), health=HEALTH)
    with Featherlb(network, config) as running:
        wait_checked(running)
        with clients.connect(network.client.ns, (service_address(4), 7)) as sock:
            place.servers.nginx[0].kill()  # which the check asks
            wait_down(running, 0)
            clients.echo_every_length(sock, range(1, 200), stream=True)


def test_rehash_lets_udp_clients_go_on(place, network, measured):
    """Sockets that stay open: after the verdict the same socket gets answers from another backend."""
    config = everywhere(network, (53, DNS_PORT), protocol="udp", health=HEALTH)
    with Featherlb(network, config) as running:
        wait_checked(running)
        socks = [(clients.udp_socket(network.client.ns, (service_address(family, forward), 53)), family)
                 for family, forward in WAYS for _ in range(3)]
        before = [clients.dns_query(sock, ipv6=family == 6) for sock, family in socks]
        before = [clients.dns_query(sock, ipv6=family == 6) for sock, family in socks]  # streams now
        dead = network.backends[0]
        mine = [pair for pair, answer in zip(socks, before) if answer in (dead.ipv4, dead.ipv6)]
        assert len(mine) == 4
        with silent(dead):
            wait_down(running, 0)
            after = [clients.dns_query(sock, ipv6=family == 6) for sock, family in socks]
        assert dead.ipv4 not in after and dead.ipv6 not in after
        stayed = [(old, new) for old, new in zip(before, after) if old not in (dead.ipv4, dead.ipv6)]
        assert all(old == new for old, new in stayed)
        measured(f"{len(mine)} of {len(socks)} UDP clients moved, the others stayed")
        for sock, _ in socks:
            sock.close()


@DEATHS
@pytest.mark.parametrize("forward", ("snat", "dnat"))
@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
def test_without_checks_new_connections_pass_by_a_dead_backend(network, measured, family, forward, death):
    """A third of the SYNs meets b1, which is dead; the client's kernel repeats them after a second."""
    to = (service_address(family, forward), 80)
    took, names, errors = [], [], []

    def client() -> None:
        began = time.monotonic()
        try:
            with clients.connect(network.client.ns, to, timeout=10) as sock:
                took.append(time.monotonic() - began)
                sock.sendall(b"GET /id HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
                names.append(clients.read_all(sock).split(b"\r\n\r\n")[1].decode().strip())
        except (OSError, IndexError) as error:
            errors.append(error)

    with Featherlb(network, everywhere(network, (80, HTTP_PORT))), death(network.backends[0]):
        threads = [threading.Thread(target=client) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    slow = sum(seconds > 0.5 for seconds in took)
    measured(f"100 connections, {slow} met the dead backend first: connected after {statistics.median(took) * 1e3:.0f} ms "
             f"in the median, {max(took) * 1e3:.0f} ms at most")
    assert not errors
    assert 30 <= slow <= 34
    assert max(took) < 1.5
    assert set(names) == {"b2", "b3"}


@pytest.mark.parametrize("forward", ("snat", "dnat"))
@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
def test_the_late_answer_of_the_first_backend_reaches_nobody(network, family, forward):
    """b1 answers the SYN when the client is connected to another backend already."""
    b1 = network.backends[0]
    with Featherlb(network, everywhere(network, (7, ECHO_PORT))) as running, silent(b1), \
            b1.ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as wire:
        with clients.connect(network.client.ns, (service_address(family, forward), 7)) as sock:
            clients.echo_every_length(sock, range(1, 50), stream=True)
            wire.sendto(syn_ack_to(first_syn(wire, ECHO_PORT)), ("eth0", 0))
            wait_for("the drop", lambda: dropped(running, "superseded") == 1)
            clients.echo_every_length(sock, range(1, 50), stream=True)


def test_a_backend_that_refuses_is_avoided_and_counted(place, network, measured):
    to = (service_address(4), 80)
    place.servers.nginx[0].kill()
    with Featherlb(network, everywhere(network, (80, HTTP_PORT), avoid_refused="1h")) as running:
        refused = 0
        for _ in range(60):
            try:
                clients.http_get(network.client.ns, to)
            except ConnectionRefusedError:
                refused += 1
        [b1] = [backend for backend in entries(running, 0) if backend["refused"]]
        assert refused == b1["refused"] == 1
        assert "refused 1 connections" in running.command("status").stdout
    measured(f"{refused} of 60 connections was refused")


def test_the_last_backend_is_used_although_it_refuses(place, network):
    config = everywhere(network, (80, HTTP_PORT), avoid_refused="1h")
    for one in config["services"]:
        del one["backends"][1:]
    place.servers.nginx[0].kill()
    with Featherlb(network, config):
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                clients.http_get(network.client.ns, (service_address(4), 80))
        place.servers.nginx[0].start()
        assert clients.http_get(network.client.ns, (service_address(4), 80)) == "b1"


@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize("hook", ("tc", "xdp-generic"))
def test_all_down_refuse_tells_clients_at_once(place, network, measured, hook, offload):
    network.set_offload(offload)
    config = everywhere(network, (80, HTTP_PORT), attach=hook, health=HEALTH, all_down="refuse")
    with Featherlb(network, config) as running:
        wait_checked(running)
        for server in place.servers.nginx:
            server.kill()
        wait_for("all down", lambda: all(one["refusing"] for one in running.status()["services"]), 5)
        longest = 0.0
        for family, forward in WAYS:
            began = time.monotonic()
            with pytest.raises(ConnectionRefusedError):
                clients.connect(network.client.ns, (service_address(family, forward), 80))
            longest = max(longest, time.monotonic() - began)
        assert dropped(running, "refused") == 4
    network.set_offload("offload-on")
    measured(f"refused after {longest * 1e3:.1f} ms at most")
    assert longest < 0.2
