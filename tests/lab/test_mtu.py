# SPDX-License-Identifier: Apache-2.0
"""Narrow places on the way: path-MTU discovery works through the balancer, and the balancer itself is one that tells."""
import hashlib
import os

import pytest
from labkit import config
from labkit.backends import HTTP_PORT, Servers
from labkit.lab import Lab
from labkit.routed import RoutedNetwork
from labkit.topology import service_address

BULK = 5_000_000
NARROW = 1300
# How a place is narrow: (MTU of the balancer's interface to the clients, to the backends, side with a narrow path).
PLACES = {
    "path-to-client": (1500, 1500, "client"),
    "path-to-backend": (1500, 1500, "backend"),
    "own-front": (NARROW, 1500, None),
    "own-back": (1500, NARROW, None),
}
HOOKS = (("tc", "offload-on"), ("tc", "off-at-end-hosts"), ("tc", "off-at-balancer"), ("xdp", "off-at-end-hosts"),
         ("xdp-generic", "off-at-end-hosts"))


class Routed:
    def __init__(self, place: str):
        front, back, self.side = PLACES[place]
        self.lab = Lab()
        try:
            self.network = RoutedNetwork(self.lab, front_mtu=front, back_mtu=back)
            self.servers = Servers(self.network, dns=False)
            if self.side:
                self.network.narrow(self.side, NARROW)
            self.original = self.lab.directory / "bulk"
            self.original.write_bytes(os.urandom(BULK))
            os.link(self.original, self.servers.nginx[0].directory / "files" / "bulk")
        except BaseException:
            self.lab.close()
            raise


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    routed = Routed(request.param)
    yield routed
    routed.lab.close()


@pytest.fixture(scope="module", params=HOOKS, ids="-".join)
def balancer(request, place, make_balancer):
    hook, offload = request.param
    network = place.network
    network.set_offload(offload)
    network.set_peer_gro(hook == "xdp")
    services = [config.service(f"web-{forward}-ipv{family}",
                               [config.endpoint(service_address(family, forward), 80) + "/tcp"], network.backends,
                               family, HTTP_PORT, forward) for family in (4, 6) for forward in ("snat", "dnat")]
    with make_balancer(network, config.configuration(network, services, hook)) as running:
        yield running


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def curl(network, family: int, forward: str, path: str, *options: str) -> None:
    url = f"http://{config.endpoint(service_address(family, forward), 80)}{path}"
    network.client.ns.run(["curl", "-gsSf", "--max-time", "20", *options, url])


@pytest.mark.no_standin
@pytest.mark.parametrize("forward", ("snat", "dnat"))
@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
def test_five_megabytes_both_ways_through_a_narrow_place(place, balancer, family, forward):
    network, backend = place.network, place.network.backends[0]
    copy = place.lab.directory / "copy"
    seen = {"dnat": network.client.address(family), "snat": {4: "10.2.0.1", 6: "fd00:2::1"}[family]}[forward]
    network.forget_mtus()
    curl(network, family, forward, "/bulk", "-o", str(copy))
    assert sha256(copy) == sha256(place.original)
    assert network.learned_mtu(backend, seen) == NARROW, "the backend was told about the client that it sees"

    network.forget_mtus()  # or the backend, which knows the path now, would ask for small segments
    curl(network, family, forward, "/upload/bulk", "-T", str(place.original))
    uploaded = place.servers.nginx[0].directory / "files/upload/bulk"
    assert sha256(uploaded) == sha256(place.original)
    uploaded.unlink()
    assert network.learned_mtu(network.client, service_address(family, forward)) == NARROW
