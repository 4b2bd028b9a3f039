# SPDX-License-Identifier: Apache-2.0
"""Narrow places on the ways of `dsr` and `ipip`. A backend that answers past the balancer is told of a narrow way to the client
through the balancer, because the router's error goes to the service address; and the balancer's own way to the backends may
be the narrow one. A narrow way behind that is in test_one_way_routed.py."""
import hashlib
import os

import pytest
from conftest import Place
from labkit import config, one_way
from labkit.backends import HTTP_PORT
from labkit.lab import wait_for
from labkit.topology import Host

BULK = 2_000_000
NARROW, NARROW_BACK = 1300, 1360  # of the way to the client; of the balancer's interface to the backends
FAR = {4: "10.110.0", 6: "fd00:110:"}
HOOKS = {"tc": "offload-on", "xdp": "off-at-end-hosts"}
pytestmark = [pytest.mark.no_standin, pytest.mark.parametrize("way", one_way.WAYS),
              pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))]


@pytest.fixture(scope="module")
def place():
    """With a client behind the client, which is its router; its way there carries less than its device does."""
    place = Place("two-armed", backends=1, dns=False, echo=False)
    try:
        network, router = place.network, place.network.client.ns
        one_way.prepare(network)
        network.balancer.ip(f"link set back mtu {NARROW_BACK}")
        far = place.lab.namespace("far")
        place.lab.veth(far, "eth0", router, "far")
        far.ip(f"addr add {FAR[4]}.2/24 dev eth0\naddr add {FAR[6]}:2/64 dev eth0 nodad\n"
               f"route add default via {FAR[4]}.1\nroute add default via {FAR[6]}:1")
        router.ip(f"addr add {FAR[4]}.1/24 dev far\naddr add {FAR[6]}:1/64 dev far nodad\n"
                  f"route replace {FAR[4]}.0/24 dev far mtu lock {NARROW}\n"
                  f"route replace {FAR[6]}:/64 dev far metric 256 mtu lock {NARROW}")
        for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            router.sysctl(f"net.{key}", 1)
        for key in ("all", "home", "eth0"):
            router.sysctl(f"net.ipv4.conf.{key}.rp_filter", 0)  # answers come home by another way
        network.balancer.ip(f"route add {FAR[4]}.0/24 via 10.1.0.2\nroute add {FAR[6]}:/64 via fd00:1::2")
        place.far = Host(far, "far", f"{FAR[4]}.2", f"{FAR[6]}:2")
        place.original = place.lab.directory / "bulk"
        place.original.write_bytes(os.urandom(BULK))
        os.link(place.original, place.servers.nginx[0].directory / "files" / "bulk")
        with one_way.decapsulating(network):
            yield place
    finally:
        place.lab.close()


@pytest.fixture(scope="module", params=HOOKS)
def balancer(request, place, make_balancer):
    network, hook = place.network, request.param
    network.set_offload(HOOKS[hook])
    network.set_peer_gro(hook == "xdp")
    web = [one for one in one_way.services(network) if one["name"].startswith("web-")]
    with make_balancer(network, config.configuration(network, web, hook)):
        yield


def curl(ns, family: int, way: str, path: str, *options: str) -> None:
    url = f"http://{config.endpoint(one_way.address(family, way), HTTP_PORT)}{path}"
    ns.run(["curl", "-gsSf", "--max-time", "30", *options, url])


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def learned(ns, *words: str) -> int:
    found = ns.run(["ip", "route", "get", *words]).stdout.split()
    return int(found[found.index("mtu") + 1]) if "mtu" in found else 0


def test_a_backend_is_told_of_a_narrow_way_to_the_client(place, balancer, family, way):
    backend, copy = place.network.backends[0], place.lab.directory / "copy"
    backend.ns.run(["ip", f"-{family}", "route", "flush", "cache"])
    curl(place.far.ns, family, way, "/bulk", "-o", str(copy))
    assert sha256(copy) == sha256(place.original)
    assert learned(backend.ns, place.far.address(family), "from", one_way.address(family, way)) == NARROW


def test_a_client_is_told_of_the_balancers_own_narrow_way(place, balancer, family, way):
    client = place.network.client.ns
    client.run(["ip", f"-{family}", "route", "flush", "cache"])
    curl(client, family, way, "/upload/bulk", "-T", str(place.original), "-o", "/dev/null")
    received = place.servers.nginx[0].directory / "files/upload/bulk"
    assert sha256(received) == sha256(place.original)
    received.unlink()
    headers = 0 if way == "dsr" else {4: 20, 6: 40}[one_way.outer(family, way)]
    wait_for("the client to have learned the MTU",
             lambda: learned(client, one_way.address(family, way)) == NARROW_BACK - headers, timeout=5)
