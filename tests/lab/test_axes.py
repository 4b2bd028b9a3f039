# SPDX-License-Identifier: Apache-2.0
"""More than single requests: each value of each axis of the matrix carries a thousand requests, a thousand
DNS questions, 50 MB both ways, and payloads of every length from 1 to 1,460."""
import hashlib
import os

import pytest
from labkit import clients, config, impossible
from labkit.topology import pool_address, service_address

from conftest import Place

BULK = 50_000_000
# (hook, offload, arm); each with both IP versions and both ways of forwarding.
ROWS = (
    ("tc", "offload-on", "two-armed"),
    ("tc", "off-at-end-hosts", "one-armed"),
    ("tc", "off-at-balancer", "two-armed"),
    ("xdp-generic", "offload-on", "one-armed"),
    ("xdp-generic", "off-at-balancer", "two-armed"),
    ("xdp", "off-at-end-hosts", "two-armed"),
    ("xdp", "off-at-end-hosts", "one-armed"),
)


@pytest.fixture(scope="module")
def places():
    made: dict[str, Place] = {}

    def place(arm: str) -> Place:
        if arm not in made:
            made[arm] = Place(arm)
            file = made[arm].lab.directory / "bulk"
            file.write_bytes(os.urandom(BULK))
            for server in made[arm].servers.nginx:
                os.link(file, server.directory / "files" / "bulk")
        return made[arm]

    yield place
    for place in made.values():
        place.lab.close()


@pytest.fixture(scope="module", params=ROWS, ids="-".join)
def row(request, places, make_balancer):
    hook, offload, arm = request.param
    place = places(arm)
    place.network.set_offload(offload)
    if impossible.bulk_reason(hook, offload):
        place.network.set_segmentation(False)
    place.network.set_peer_gro(hook == "xdp")
    with make_balancer(place.network, config.everything(place.network, hook)):
        yield place


pytestmark = [pytest.mark.parametrize("forward", ("snat", "dnat")),
              pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))]


def test_a_thousand_http_requests(row, family, forward):
    to = (service_address(family, forward), 80)
    for number in range(500):
        clients.http_get(row.network.client.ns, to, source=(pool_address(family, 1 + number % 200), 0))
    with clients.connect(row.network.client.ns, to) as sock:
        clients.http_get_many(sock, 500)


def test_a_thousand_dns_queries(row, family, forward):
    to = (service_address(family, forward), 53)
    for number in range(1000):
        source = (pool_address(family, 1 + number % 200), 0)
        with clients.udp_socket(row.network.client.ns, to, source) as sock:
            clients.dns_query(sock, ipv6=family == 6)


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def curl(row, family: int, forward: str, path: str, *options: str) -> float:
    """Seconds that curl took."""
    url = f"http://{config.endpoint(service_address(family, forward), 80)}{path}"
    done = row.network.client.ns.run(["curl", "-gsSf", "--max-time", "30", "-w", "%{time_total}", *options, url])
    return float(done.stdout.split()[-1])


def test_fifty_megabytes_down_and_up_unchanged(row, family, forward, measured):
    original = row.lab.directory / "bulk"
    copy = row.lab.directory / "copy"
    down = curl(row, family, forward, "/bulk", "-o", str(copy))
    assert sha256(copy) == sha256(original)
    up = curl(row, family, forward, "/upload/bulk", "-T", str(original))
    received = [path for server in row.servers.nginx for path in (server.directory / "files/upload").iterdir()]
    assert [sha256(path) for path in received] == [sha256(original)]
    received[0].unlink()
    measured(f"down {BULK * 8 / down / 1e9:.1f} Gbit/s, up {BULK * 8 / up / 1e9:.1f} Gbit/s")


@pytest.mark.parametrize("protocol", ("tcp", "udp"))
def test_payloads_of_every_length_come_back(row, family, forward, protocol):
    to = (service_address(family, forward), 7)
    open_socket = clients.connect if protocol == "tcp" else clients.udp_socket
    lengths = [*range(1, 1500), 4000, 20_000] if protocol == "udp" else range(1, 1461)  # also in fragments
    with open_socket(row.network.client.ns, to) as sock:
        clients.echo_every_length(sock, lengths, stream=protocol == "tcp")
