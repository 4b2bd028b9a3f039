# SPDX-License-Identifier: Apache-2.0
"""Floods of forged packets on an interface of their own, and what honest clients 50 ms away notice of them: nothing."""
import threading

import pytest
from labkit import load
from labkit.flood import ECHO, KINDS, NAME, VIP, FloodNetwork
from labkit.lab import Lab

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.no_standin]

ESTABLISHED, NEW = 1000, 1000
SECONDS = 30
# What featherlb drops of a flood, and why; of an honest packet nothing. A forged SYN or UDP packet is served like any. A
# forged error may quote a port that one of the SYN flood's tuples, seen twice, has left for another backend.
OWN_REASONS = {"syn": set(), "ack": {"no_flow"}, "rst": {"no_flow"}, "udp": set(),
               "fragment": {"fragment"}, "icmp": {"icmp_broken", "no_flow", "superseded"}}
FLOWS_MAX = 1048576  # by the rule in docs/operating.md: two seconds and more at 800,000 connections a second


@pytest.fixture(scope="module")
def network():
    with Lab() as lab:
        yield FloodNetwork(lab)


@pytest.fixture(scope="module")
def balancer(network, make_balancer):
    with make_balancer(network, network.configuration(FLOWS_MAX)) as running:
        yield running


@pytest.fixture
def established(network, balancer):
    """Connections that were there before the flood."""
    held = load.Held(network.lab, network.honest, (VIP, ECHO), ESTABLISHED, addresses=50, processes=1)
    yield held
    held.close()


def drops(balancer) -> dict[str, int]:
    return {row["reason"]: row["packets"] for row in balancer.status()["drops"]}


def risen(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {reason: count - before.get(reason, 0) for reason, count in after.items() if count > before.get(reason, 0)}


class Watch:
    """Established connections exchange data, and new ones are opened, for as long as a flood lasts."""

    def __init__(self, network, established, seconds: float):
        self.network, self.held, self.seconds = network, established, seconds
        self.rounds, self.slowest, self.lost = 0, 0.0, 0
        self.new: dict = {}
        self._opener = threading.Thread(target=self._open)

    def _open(self):
        self.new = load.short_lived(self.network.honest, (VIP, NAME), NEW, addresses=50, first_address=100,
                                    concurrency=max(1, int(NEW * 0.3 / self.seconds)), timeout_ms=10000)

    def until_end_of(self, flood) -> dict:
        self._opener.start()
        while flood.running():
            answer = self.held.ping()
            self.rounds += 1
            self.slowest = max(self.slowest, answer["seconds"])
            self.lost = answer["failed"]
        result = flood.result()
        self._opener.join()
        last = self.held.ping()
        self.lost = last["failed"]
        return result


@pytest.fixture(scope="module")
def carried() -> dict[str, float]:
    """Packets a second of each kind, the most that get through without loss, as far as the generator goes."""
    return {}


def highest_rate(network, kind: str) -> float:
    """The generator as fast as it goes; where the balancer loses some of that, less and less until it loses none."""
    rate = max(network.flood(kind, 1, 0).result()["rate"] for _ in range(3))  # others use this machine, too
    if kind not in ("syn", "udp"):
        return rate  # these end at the balancer: nothing of them arrives that could be counted
    for _ in range(8):
        before = network.carried()
        result = network.flood(kind, 2, int(rate)).result()
        missing = result["sent"] - (network.carried() - before)
        if missing <= result["sent"] // 10000:
            return result["rate"]
        rate *= 0.8
    raise AssertionError(f"{missing} of {result['sent']} packets lost even at {rate:,.0f} a second")


@pytest.mark.parametrize("share", ("half", "all"))
@pytest.mark.parametrize("kind", tuple(KINDS))
def test_honest_clients_notice_nothing_of_a_flood(network, balancer, established, carried, measured, kind, share):
    """At half of the rate that gets through without loss, and at the generator's highest: the established connections
    keep exchanging data, none is lost, and nothing honest is dropped. At half, new connections succeed too."""
    if kind not in carried:
        carried[kind] = highest_rate(network, kind)
    before = drops(balancer)
    watch = Watch(network, established, SECONDS)
    flood = network.flood(kind, SECONDS, int(carried[kind] / 2) if share == "half" else 0)
    sent = watch.until_end_of(flood)
    reasons = risen(before, drops(balancer))
    measured(f"{sent['rate']:,.0f} a second of {carried[kind]:,.0f} without loss, {sent['seconds']:.0f} s; "
             f"{watch.rounds} rounds of {ESTABLISHED} echoes, slowest {watch.slowest:.2f} s; new connections "
             f"{watch.new['ok']} of {NEW}, connect p50 {watch.new['connect_us']['p50'] / 1000:.0f} ms, "
             f"p99 {watch.new['connect_us']['p99'] / 1000:.0f} ms; dropped {reasons}")
    assert watch.lost == 0, f"{watch.lost} established connections were lost"
    assert watch.rounds >= 2
    assert set(reasons) <= OWN_REASONS[kind], reasons
    assert sum(reasons.values()) <= sent["sent"], "more was dropped than the flood has sent"
    if share == "half":
        assert watch.new["ok"] >= NEW * 0.999, watch.new
