# SPDX-License-Identifier: Apache-2.0
"""The flow table full of proven connections: new ones get what the manual says, old ones go on, and all is counted."""
import pytest
from labkit import load
from labkit.backends import ECHO_PORT, NAME_PORT
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.topology import service_address

SNAT, DNAT = service_address(4), service_address(4, "dnat")
FLOWS_MAX = 300  # twice as many find a place at most
WANTED = 1000

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.no_standin]


@pytest.fixture
def balancer(two_armed, make_balancer):
    network = two_armed.network
    services = [service("echo", [endpoint(SNAT, 7) + "/tcp"], network.backends, 4, ECHO_PORT),
                service("name", [endpoint(SNAT, 9) + "/tcp"], network.backends, 4, NAME_PORT),
                service("kept", [endpoint(DNAT, 9) + "/tcp"], network.backends, 4, NAME_PORT, forward="dnat",
                        algorithm="maglev")]
    # Answers of `dnat` connections that have no entry leave by the kernel's routes, to neighbours that it knows.
    network.set_forwarding(True)
    network.balancer.run(["ping", "-c", "1", network.client.ipv4])
    with make_balancer(network, configuration(network, services, flows={"max": FLOWS_MAX})) as running:
        yield running
    network.set_forwarding(False)


def refused(balancer) -> int:
    return sum(row["packets"] for row in balancer.status()["drops"] if row["reason"] == "table_full")


def counted(balancer) -> int:
    """Connections as the sweeper counts them, in a pass that began after this call."""
    ages = [balancer.status()["flows"]["counted_seconds_ago"]]

    def next_pass():
        ages.append(balancer.status()["flows"]["counted_seconds_ago"])
        return len(ages) > 2 and ages[-1] < ages[-2] and sum(a > b for a, b in zip(ages, ages[1:])) >= 2

    wait_for("two passes of the sweeper", next_pass, 20)
    return balancer.status()["flows"]["connections"]


def test_a_full_table_refuses_new_connections_and_keeps_the_old_ones(two_armed, balancer, measured):
    network = two_armed.network
    held = load.Held(two_armed.lab, network.client.ns, (SNAT, 7), WANTED, addresses=50, processes=1)
    try:
        open_ones = held.opened["open"]
        assert FLOWS_MAX <= open_ones <= 2 * FLOWS_MAX, held.opened
        assert refused(balancer) >= WANTED - open_ones, "each was refused by name, once at least"
        # A SYN that got in after its client had given up stays until it times out.
        wait_for("as many in the table as the clients hold", lambda: counted(balancer) == open_ones, 120)
        before = refused(balancer)
        snat = load.short_lived(network.client.ns, (SNAT, 9), 100, first_address=300, timeout_ms=2500)
        assert snat["ok"] <= 10 and snat["timeouts"] >= 90, snat
        assert refused(balancer) >= before + snat["timeouts"]
        dnat = load.short_lived(network.client.ns, (DNAT, 9), 100, first_address=300)
        assert dnat["ok"] == 100, dnat
        after = held.ping()
        assert after["open"] == open_ones, after
        measured(f"{open_ones} connections in a table for {FLOWS_MAX}; of 100 new ones {snat['ok']} got in with snat "
                 f"and {dnat['ok']} were served without an entry with dnat; {refused(balancer)} SYNs refused")
    finally:
        held.close()
    wait_for("room for new connections", lambda: load.short_lived(
        network.client.ns, (SNAT, 9), 20, first_address=400, timeout_ms=1500)["ok"] == 20, 20)
