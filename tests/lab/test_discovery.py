# SPDX-License-Identifier: Apache-2.0
"""Backends by DNS name while the name's records change, and while the name server fails in all its ways."""
import contextlib
import itertools
import signal
import time

import pytest
from conftest import Place
from labkit import clients, load
from labkit.backends import HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint
from labkit.garbage import GARBAGE
from labkit.lab import wait_for
from labkit.requests import Requests
from labkit.topology import service_address

NAME = "web.lab.internal"
INTERVAL = 1.0
SLACK = 1.5
pytestmark = pytest.mark.no_standin


class NameServer:
    """dnsmasq in the balancer's namespace, whose records are a file."""

    def __init__(self, network):
        self.network, self._lab = network, network.lab
        self._hosts = self._lab.directory / "names"
        self._hosts.mkdir()
        self._hosts = self._hosts / "hosts"
        self.process = None

    def say(self, addresses) -> None:
        self._hosts.write_text("".join(f"{address} {NAME}\n" for address in addresses))
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        self.process = self._lab.start(
            self.network.balancer,
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=53",
             "--interface=lo", "--bind-interfaces", "--user=root", "--pid-file=", "--cache-size=0",
             "--local=/lab.internal/", f"--addn-hosts={self._hosts}"], log="names.log")
        wait_for("the name server", lambda: "127.0.0.1:53 " in self.network.balancer.run(["ss", "-Hlun"]).stdout)

    def stop(self) -> None:
        self._lab.stop(self.process)
        self.process = None


@pytest.fixture(scope="module")
def place():
    place = Place("two-armed", dns=False, echo=False)
    place.names = NameServer(place.network)
    yield place
    place.lab.close()


def ipv4(network, *which: int) -> list[str]:
    return [network.backends[index - 1].ipv4 for index in which]


@contextlib.contextmanager
def running_with(place, addresses, families=(4,), **backend):
    """The daemon with the lab's name server, in a mount namespace of its own."""
    network, lab = place.network, place.lab
    place.names.say(addresses)
    place.names.start()
    resolv = lab.directory / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
    config = configuration(network, [
        {"name": "web", "listen": [endpoint(service_address(family), 80) + "/tcp" for family in families],
         "algorithm": "round-robin", "backends": [{"dns": f"{NAME}:{HTTP_PORT}", "interval": "1s", **backend}]}])
    running = Featherlb(network, config)
    plain = running.arguments()
    running.arguments = lambda: ["unshare", "-m", "sh", "-c",
                                 f"mount --bind {resolv} /etc/resolv.conf && exec " + " ".join(plain)]
    try:
        with running:
            yield running
    finally:
        if place.names.process is not None:
            place.names.stop()


def states(running) -> dict[str, str]:
    return {b["address"].rsplit(":", 1)[0].strip("[]"): b["state"]
            for one in running.status()["services"] for b in one["backends"]}


def up(running) -> set[str]:
    return {address for address, state in states(running).items() if state == "up"}


def names(network, count: int = 6, family: int = 4) -> set[str]:
    return {clients.http_get(network.client.ns, (service_address(family), 80)) for _ in range(count)}


def test_records_that_change_under_load_are_followed(place, network, measured):
    with running_with(place, ipv4(network, 1)) as running, Requests(network) as requests:
        wrk = load.start_wrk(place.lab, network.client.ns, f"http://{service_address(4)}/id", 60, 16)
        time.sleep(0.5)
        took = []
        for wanted in ((1, 2), (2, 3), (3,), (1, 2, 3)):
            place.names.say(ipv4(network, *wanted))
            began = time.monotonic()
            wait_for("the records", lambda wanted=wanted: up(running) == set(ipv4(network, *wanted)), INTERVAL + SLACK)
            took.append(time.monotonic() - began)
            assert names(network) == {f"b{i}" for i in wanted}
        wrk.send_signal(signal.SIGINT)
        report = load.finish_wrk(wrk)
    measured(f"followed after {max(took):.2f} s at most; {sum(requests.answers.values())} connections, wrk "
             f"{report.requests_per_second:,.0f}/s, {report.errors or 'no'} errors")
    assert not requests.errors and not report.errors
    assert running.log().count(f"{NAME} is now ") == 4


def test_an_address_that_is_gone_drains(place, network):
    with running_with(place, ipv4(network, 1, 2)) as running:
        socks = [clients.connect(network.client.ns, (service_address(4), 80)) for _ in range(2)]
        place.names.say(ipv4(network, 2))
        wait_for("the drain", lambda: states(running).get(ipv4(network, 1)[0]) == "draining", INTERVAL + SLACK)
        for sock in socks:
            sock.sendall(b"GET /id HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in sock.recv(4096)
            sock.close()
        assert names(network) == {"b2"}
        wait_for("the end of the drain", lambda: set(states(running)) == set(ipv4(network, 2)), 90)


def test_both_ip_versions_have_their_backends(place, network):
    first, second = network.backends[:2]
    with running_with(place, [first.ipv4, first.ipv6], families=(4, 6)) as running:
        assert up(running) == {first.ipv4, first.ipv6}
        assert names(network) == names(network, family=6) == {"b1"}
        place.names.say([first.ipv4, second.ipv6])
        wait_for("the other address", lambda: up(running) == {first.ipv4, second.ipv6}, INTERVAL + SLACK)
        assert names(network) == {"b1"} and names(network, family=6) == {"b2"}


@contextlib.contextmanager
def name_server_that(place, fault: str):
    names, lab, ns = place.names, place.lab, place.network.balancer
    if fault == "is-silent":
        names.process.send_signal(signal.SIGSTOP)
        yield
        names.process.send_signal(signal.SIGCONT)
        return
    if fault == "has-nothing":
        names.say([])
        yield
        return
    names.stop()
    if fault == "is-gone":
        yield
    else:
        log = lab.directory / "names-garbage.log"
        log.write_text("")
        process = lab.start(ns, ["/usr/bin/python3", "-u", "-c", GARBAGE, "udp", "53"], log=log.name)
        wait_for("the garbage", lambda: "listens" in log.read_text(), 30)
        yield
        lab.stop(process)
    names.start()


@pytest.mark.parametrize("fault", ("is-gone", "has-nothing", "is-silent", "says-garbage"))
def test_what_is_known_stays_while_the_name_server(place, network, measured, fault):
    kept = ipv4(network, 1, 2)
    with running_with(place, kept) as running, Requests(network) as requests:
        with name_server_that(place, fault):
            wait_for("a word of it", lambda: "its last known addresses stay" in running.log(), INTERVAL + 8)
            slowest = 0.0
            for _ in range(10):  # the loop goes on meanwhile
                began = time.monotonic()
                assert up(running) == set(kept)
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.5)
            assert running.log().count("does not resolve") == 1
        place.names.say(ipv4(network, 2, 3))
        wait_for("the name server", lambda: up(running) == set(ipv4(network, 2, 3)), INTERVAL + 8)
        assert running.log().count("resolves again") == 1
    measured(f"status within {slowest:.2f} s; {sum(requests.answers.values())} connections")
    assert not requests.errors and slowest < 3  # a loop that waits for a name server waits longer


@pytest.mark.slow
def test_a_resolver_that_fails_and_comes_back_again_and_again_leaves_nothing_behind(place, network, measured):
    """Two names, one of them wrong for ever: it is gone or says garbage, silent (questions time out), empty, and says another set, in turn."""
    with running_with(place, ipv4(network, 1, 2), interval="1s") as running:
        lost = {"dns": f"lost.lab.internal:{HTTP_PORT}", "interval": "1s"}
        running.config["services"][0]["backends"].append(lost)
        running.reload(running.config)
        looks = []
        for number in range(6):
            for fault in (("is-gone", "says-garbage")[number % 2], "is-silent", "has-nothing"):
                with name_server_that(place, fault):
                    time.sleep(1)
                place.names.say(ipv4(network, 1 + number % 3, 1 + (number + 1) % 3))
                time.sleep(0.4)
            looks.append(running.holds())
        place.names.say(ipv4(network, 1, 3))
        wait_for("the last set", lambda: up(running) == set(ipv4(network, 1, 3)), 60)
        resolved, failed = running.log().count("resolves again"), running.log().count("does not resolve")
    measured(f"{failed} failures, {resolved} returns: first {looks[0]}, then {looks[-1]}")
    assert failed >= 3 and resolved >= 2, running.log()
    for what, more in (("descriptors", 0), ("threads", 0), ("KiB", 4096)):  # the heap goes up and down by 3 MiB over thirty rounds
        assert min(look[what] for look in looks[4:]) <= max(look[what] for look in looks[:3]) + more, looks


@pytest.mark.slow
def test_a_set_that_differs_every_second_comes_to_rest(place, network, measured):
    with running_with(place, ipv4(network, 1)) as running, Requests(network) as requests:
        sets = itertools.cycle(((1,), (2,), (3,)))
        for _ in range(25):
            place.names.say(ipv4(network, *next(sets)))
            time.sleep(1)
        log = running.log()
        assert log.count("changes all the time") == 1
        changes = log.count(f"{NAME} is now ")
        assert changes <= 5, log
        known = up(running)
        for _ in range(10):
            place.names.say(ipv4(network, *next(sets)))
            time.sleep(1)
            assert up(running) == known
    measured(f"{changes} changes in 35 s; {sum(requests.answers.values())} connections")
    assert not requests.errors
