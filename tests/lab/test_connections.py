# SPDX-License-Identifier: Apache-2.0
"""Many connections: open at once, and one after another."""
import time

import pytest
from labkit import load
from labkit.backends import ECHO_PORT, NAME_PORT
from labkit.config import configuration, endpoint, service
from labkit.topology import service_address

pytestmark = pytest.mark.alone
VIP = service_address(4)
IDLE_SECONDS = 60


@pytest.fixture
def balancer(two_armed, make_balancer):
    """Two services on one address: echo on 7, name (closes first) on 9."""
    network = two_armed.network
    services = [service("echo", [endpoint(VIP, 7) + "/tcp"], network.backends, 4, ECHO_PORT),
                service("name", [endpoint(VIP, 9) + "/tcp"], network.backends, 4, NAME_PORT)]
    with make_balancer(network, configuration(network, services)) as running:
        yield running


def peers(place) -> list[tuple[str, str, int]]:
    """(backend, address, port) of each connection that the echo servers hold."""
    return [(server_number, *peer) for server_number, server in enumerate(place.servers.echo)
            for peer in server.peers()]


@pytest.mark.slow
def test_twenty_thousand_connections_stay_alive(two_armed, balancer, measured):
    """Opened from 50 client addresses, idle for a minute, alive; every twentieth closed and opened again, all alive.
    The backends see each (address, port, backend) once: a pair handed out twice would break both connections."""
    network = two_armed.network
    held = load.Held(two_armed.lab, network.client.ns, (VIP, 7), 20000, addresses=50, processes=5)
    try:
        assert held.opened["open"] == 20000 and held.opened["failed"] == 0
        measured(f"20,000 opened in {held.opened['seconds']:.1f} s")
        seen = peers(two_armed)
        assert len(seen) == len(set(seen)) == 20000
        time.sleep(IDLE_SECONDS)
        after_idle = held.ping()
        assert (after_idle["open"], after_idle["failed"]) == (20000, 0)
        recycled = held.recycle(20)
        assert (recycled["open"], recycled["failed"]) == (20000, 0)
        last = held.ping()
        assert (last["open"], last["failed"]) == (20000, 0)
        seen = peers(two_armed)
        assert len(seen) == len(set(seen)) == 20000
    finally:
        held.close()


@pytest.mark.slow
def test_two_hundred_thousand_short_connections_neither_hang_nor_are_refused(two_armed, balancer, measured):
    """The backend closes first and keeps TIME_WAIT, so a source port that comes back too soon meets silence or a
    challenge there; 200,000 on three backends use each of the 31,744 source ports twice. A connect that takes 0.9 s
    or more has lost a SYN."""
    ns = two_armed.network.client.ns
    figures = load.short_lived(ns, (VIP, 9), 200_000, addresses=200, concurrency=64)
    connect = figures["connect_us"]
    measured(f"{figures['count'] / figures['seconds']:,.0f} connections/s; connect median {connect['p50']} us, "
             f"p99 {connect['p99']} us, max {connect['max'] / 1000:.1f} ms; "
             f"{figures['retried']} with a SYN sent again; refused {figures['refused']}, reset {figures['resets']}, "
             f"timeouts {figures['timeouts']}")
    assert figures["ok"] == 200_000, (figures, balancer.status()["drops"])
    assert figures["retried"] == 0, figures
