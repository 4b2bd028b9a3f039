# SPDX-License-Identifier: Apache-2.0
"""`dsr`, and `ipip` to backends that take it out of the tunnel with the kernel's own devices (ipip, sit, ip6tnl): TCP and UDP,
each hook, one interface and two. scripts/test-kernel runs this on Linux 6.1; where a kernel has no such devices it is skipped,
and in that guest it fails instead."""
import os

import pytest
from conftest import Place
from labkit import clients, config, one_way
from labkit.backends import DNS_PORT, HTTP_PORT
from labkit.lab import wait_for
from labkit.topology import ARMS

# (number of interfaces, hook, offload): what no kernel decides is in test_one_way.py, with all of each with all of the others.
ROWS = (
    ("two-armed", "tc", "offload-on"),
    ("two-armed", "xdp", "off-at-end-hosts"),
    ("one-armed", "xdp-generic", "off-at-end-hosts"),
    ("one-armed", "tc", "off-at-balancer"),
)
BYTES = 300_000


@pytest.fixture(scope="module")
def places():
    made: dict[str, Place] = {}
    try:
        for arm in ARMS:
            made[arm] = Place(arm, dns=False, echo=False)
            one_way.need_devices(made[arm].network)
            one_way.prepare(made[arm].network)
        yield made
    finally:
        for place in made.values():
            place.lab.close()


@pytest.fixture(scope="module", params=ROWS, ids="-".join)
def place(request, places, make_balancer):
    """With featherlb on it."""
    arm, hook, offload = request.param
    place = places[arm]
    place.network.set_offload(offload)
    place.network.set_peer_gro(hook == "xdp")
    with make_balancer(place.network, one_way.everything(place.network, hook)):
        yield place


pytestmark = [pytest.mark.no_standin, pytest.mark.parametrize("way", one_way.WAYS),
              pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))]


def test_questions_by_udp_and_answers_past_the_balancer(place, family, way):
    network, to, answers = place.network, (one_way.address(family, way), DNS_PORT), set()
    with one_way.Watch(network) as watch:
        for _ in range(6):
            with clients.udp_socket(network.client.ns, to, timeout=10) as sock:
                answers.add(clients.dns_query(sock, ipv6=family == 6))
    assert answers == {host.address(family) for host in network.backends}
    assert watch.frames >= 6 and watch.answers == 0


def test_requests_and_uploads_through_the_kernels_own_tunnel_devices(place, family, way):
    network, to = place.network, (one_way.address(family, way), HTTP_PORT)
    with one_way.Watch(network) as watch:
        answers = {clients.http_get(network.client.ns, to, timeout=10) for _ in range(6)}
    assert answers == {host.name for host in network.backends}
    assert watch.frames > 0 and watch.answers == 0

    # Nobody clamps the MSS here: the client is told by ICMP that its segments do not fit into the tunnel.
    file = place.lab.directory / "upload"
    file.write_bytes(os.urandom(BYTES))
    network.client.ns.run(["ip", f"-{family}", "route", "flush", "cache"])
    url = f"http://{config.endpoint(*to)}/upload/{way}-{family}"
    network.client.ns.run(["curl", "-gsSf", "--max-time", "60", "-T", str(file), "-o", "/dev/null", url])
    assert sum((server.directory / "files/upload" / f"{way}-{family}").exists() for server in place.servers.nginx) == 1
    for server in place.servers.nginx:
        received = server.directory / "files/upload" / f"{way}-{family}"
        assert not received.exists() or received.read_bytes() == file.read_bytes()
        received.unlink(missing_ok=True)
    if way == "dsr":
        assert one_way.learned_mtu(network, to[0]) in (0, 1500), "nothing is put before these"
        return
    headers = {4: 20, 6: 40}[one_way.outer(family, way)]
    wait_for("the client to have learned the MTU",
             lambda: one_way.learned_mtu(network, to[0]) == 1500 - headers, timeout=5)
