# SPDX-License-Identifier: Apache-2.0
"""Who may open connections, how many, and to which backend a client's next one goes: real clients with many source
addresses."""
import ipaddress
import socket
import time

import pytest
from labkit import clients
from labkit.backends import ECHO_PORT, NAME_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.topology import service_address

pytestmark = pytest.mark.no_standin
FAMILIES = pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
REFUSED_AFTER = 0.4  # seconds without an answer: drops are silent


def source(family: int, number: int, network: int = 0) -> str:
    """Client address `number`; the /64 of IPv6 clients is all one source."""
    return f"10.100.{network}.{number}" if family == 4 else f"fd00:100::{network}:{number}"


def config(network, family: int, forward: str = "snat", hosts=None, **settings) -> dict:
    address = service_address(family, forward)
    hosts = network.backends if hosts is None else hosts
    services = [service("name", [endpoint(address, 9) + "/tcp"], hosts, family, NAME_PORT, forward),
                service("echo", [endpoint(address, 7) + "/tcp"], hosts, family, ECHO_PORT, forward)]
    return configuration(network, [{**entry, **settings} for entry in services])


def name_of(network, family: int, address: str, forward: str = "snat") -> str:
    return clients.ask_name(network.client.ns, (service_address(family, forward), 9), (address, 0))[0]


def open_echo(network, family: int, address: str, forward: str = "snat", timeout: float = 3.0) -> socket.socket:
    """A connection that has carried data both ways."""
    sock = clients.connect(network.client.ns, (service_address(family, forward), 7), (address, 0), timeout)
    try:
        clients.echo_every_length(sock, [5], stream=True)
    except BaseException:
        sock.close()
        raise
    return sock


def is_refused(network, family: int, address: str, forward: str = "snat") -> bool:
    try:
        open_echo(network, family, address, forward, REFUSED_AFTER).close()
    except OSError:
        return True
    return False


def drops(running: Featherlb, reason: str) -> int:
    return sum(drop["packets"] for drop in running.status()["drops"] if drop["reason"] == reason)


@FAMILIES
@pytest.mark.parametrize("forward", ("snat", "dnat"))
def test_lists_let_in_whom_they_should(two_armed, family, forward):
    network = two_armed.network
    wide, narrow = ("10.100.0.0/16", "10.100.7.0/24") if family == 4 else ("fd00:100::/64", "fd00:100::7:0/112")
    with Featherlb(network, config(network, family, forward, deny=[wide], allow=[narrow])) as running:
        assert not is_refused(network, family, source(family, 5, 7), forward)
        assert is_refused(network, family, source(family, 5, 8), forward)
        assert is_refused(network, family, network.client.address(family), forward), "an allow list denies all others"
        assert drops(running, "denied") >= 2
        with open_echo(network, family, source(family, 6, 7), forward) as sock:
            running.reload(config(network, family, forward, deny=[wide, narrow]))
            assert is_refused(network, family, source(family, 5, 7), forward)
            assert not is_refused(network, family, network.client.address(family), forward)
            clients.echo_every_length(sock, range(1, 20), stream=True)
            running.reload(config(network, family, forward))
        assert not is_refused(network, family, source(family, 5, 8), forward)


@FAMILIES
@pytest.mark.parametrize("forward", ("snat", "dnat"))
def test_a_source_at_its_limit_is_refused_and_others_are_served(two_armed, family, forward):
    network, mine = two_armed.network, source(family, 9)
    with Featherlb(network, config(network, family, forward, limits={"connections_per_source": 5})) as running:
        open_ones = [open_echo(network, family, mine, forward) for _ in range(5)]
        assert is_refused(network, family, mine, forward)
        assert drops(running, "source_connections") >= 1
        open_echo(network, family, network.client.address(family), forward).close()
        clients.echo_every_length(open_ones[0], range(1, 20), stream=True)
        open_ones.pop().close()  # by FIN
        wait_for("one more may be opened", lambda: not is_refused(network, family, mine, forward))
        last = open_ones.pop()
        last.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        last.close()  # by RST
        more = [open_echo(network, family, mine, forward) for _ in range(2)]
        assert is_refused(network, family, mine, forward)
        for sock in open_ones + more:
            sock.close()
        wait_for("all are given back", lambda: not is_refused(network, family, mine, forward))
        for sock in [open_echo(network, family, mine, forward) for _ in range(5)]:
            sock.close()


def test_many_begun_at_once_do_not_pass_the_limit(two_armed, measured):
    network, mine, to = two_armed.network, source(4, 10), (service_address(4), 7)
    with Featherlb(network, config(network, 4, limits={"connections_per_source": 10})):
        socks = []
        for _ in range(60):
            sock = network.client.ns.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.bind((mine, 0))
            sock.setblocking(False)
            sock.connect_ex(to)
            socks.append(sock)
        time.sleep(0.3)  # for those that are answered
        served = 0
        for sock in socks:
            sock.settimeout(0.05)
            try:
                clients.echo_every_length(sock, [3], stream=True)
                served += 1
            except OSError:
                pass
        for sock in socks:
            sock.close()
    measured(f"{served} of 60 begun at once were served, 10 may be open")
    assert served == 10


@FAMILIES
def test_new_connections_come_no_faster_than_they_may(two_armed, measured, family):
    network, mine = two_armed.network, source(family, 11)
    limits = {"new_connections_per_source": "10/s", "burst": 15}
    with Featherlb(network, config(network, family, limits=limits)) as running:
        began, served, asked = time.monotonic(), 0, 0
        while time.monotonic() - began < 3:
            asked += 1
            try:
                clients.connect(network.client.ns, (service_address(family), 7), (mine, 0), 0.03).close()
                served += 1
            except OSError:
                pass
        took = time.monotonic() - began
        assert drops(running, "source_rate") > 0
        other = network.client.address(family)
        assert all(not is_refused(network, family, other) for _ in range(5))
    measured(f"{served} of {asked} in {took:.1f} s; 15 at once and 10 a second are {15 + 10 * took:.0f}")
    assert 0.7 * (15 + 10 * took) <= served <= 15 + 10 * took + 1


def settled(network, family: int, numbers) -> dict[int, str]:
    """The backend of each client, asked three times."""
    homes = {}
    for number in numbers:
        names = {name_of(network, family, source(family, number)) for _ in range(3)}
        assert len(names) == 1, f"client {number} met {names}"
        homes[number] = names.pop()
    return homes


@FAMILIES
def test_clients_keep_their_backend_over_reload_and_restart(two_armed, family):
    network, numbers = two_armed.network, range(20, 32)
    pinned = {"affinity": {"timeout": "10m"}}
    with Featherlb(network, config(network, family, **pinned), ephemeral=False) as running:
        homes = settled(network, family, numbers)
        assert len(set(homes.values())) == 3, "in turn over three backends"
        running.reload(config(network, family, **pinned, algorithm="random"))
        assert settled(network, family, numbers) == homes
        running.stop()
        assert settled(network, family, numbers) == homes, "no daemon runs"
        running.start()
        assert settled(network, family, numbers) == homes
        wait_for("the pins are counted", lambda: running.status()["flows"]["pins"] == len(numbers))
        gone, *rest = network.backends
        running.reload(config(network, family, hosts=rest, **pinned))
        now = settled(network, family, numbers)
        assert gone.name not in now.values()
        assert all(now[number] == home for number, home in homes.items() if home != gone.name)
        running.reload(config(network, family, **pinned))
        assert settled(network, family, numbers) == now, "they stay where they went"


def test_pins_expire_after_their_last_use(two_armed):
    network = two_armed.network
    with Featherlb(network, config(network, 4, affinity={"timeout": "3s"})) as running:
        address = source(4, 40)
        home = name_of(network, 4, address)
        began = time.monotonic()
        while time.monotonic() - began < 6:  # twice the timeout: it slides
            assert name_of(network, 4, address) == home
            time.sleep(0.5)
        wait_for("the pin is removed", lambda: running.status()["flows"]["pins"] == 0, timeout=20)
        names = [host.name for host in network.backends]
        before = names.index(name_of(network, 4, source(4, 41)))
        assert name_of(network, 4, address) == names[(before + 1) % 3], "the next in turn, as any new client"


@pytest.mark.slow
def test_a_hundred_thousand_networks(two_armed, measured):
    network = two_armed.network
    many = [str(part) for whole in ("11.0.0.0/8", "12.0.0.0/8")
            for part in ipaddress.ip_network(whole).subnets(new_prefix=24)][:100_000]
    full = config(network, 4, deny=many + ["10.100.7.0/24"])
    full["services"].pop()  # one service: each has lists of its own
    with Featherlb(network, config(network, 4), ephemeral=False) as running:
        began = time.monotonic()
        running.reload(full)
        loading = time.monotonic() - began
        to = (service_address(4), 9)
        clients.ask_name(network.client.ns, to, (source(4, 5, 8), 0))
        with pytest.raises(OSError):
            clients.ask_name(network.client.ns, to, (source(4, 5, 7), 0), REFUSED_AFTER)
        began = time.monotonic()
        running.reload(full)
        again = time.monotonic() - began
        running.stop()
        began = time.monotonic()
        running.start()
        adopting = time.monotonic() - began
        with pytest.raises(OSError):
            clients.ask_name(network.client.ns, to, (source(4, 5, 7), 0), REFUSED_AFTER)
        began = time.monotonic()
        running.reload(config(network, 4))
        removing = time.monotonic() - began
        clients.ask_name(network.client.ns, to, (source(4, 5, 7), 0))
    measured(f"{len(many) + 1:,} networks: reload {loading:.1f} s, the same again {again:.1f} s, start with all of them "
             f"pinned {adopting:.1f} s, removed in {removing:.1f} s")
