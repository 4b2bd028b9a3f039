# SPDX-License-Identifier: Apache-2.0
"""`ipip` over a router with a narrow way behind it, `dsr` that cannot go over one, and changes between modes."""
import contextlib
import ipaddress
import os
import socket

import pytest
from conftest import Place
from labkit import clients, config, one_way
from labkit.backends import HTTP_PORT, Servers
from labkit.lab import Lab, wait_for
from labkit.routed import RoutedNetwork

NARROW = 1400
BYTES = 2_000_000
pytestmark = pytest.mark.no_standin


class Routed:
    """client - r1 - balancer - r2 - backend, and a cable from r2 to r1 for what comes from service addresses."""

    def __init__(self):
        self.lab = Lab()
        try:
            self.network = network = RoutedNetwork(self.lab, backends=1)
            lab, r1, r2 = self.lab, network.front_router, network.back_router
            lab.mtu = 1500
            lab.veth(r2, "around", r1, "around")
            r1.ip("addr add 10.3.0.1/24 dev around\naddr add fd00:3::1/64 dev around nodad")
            r2.ip("addr add 10.3.0.2/24 dev around\naddr add fd00:3::2/64 dev around nodad\n"
                  "route add default via 10.3.0.1 table 100\nroute add default via fd00:3::1 table 100\n"
                  "rule add from 10.9.0.4/30 lookup 100")
            r2.run(["ip", "-6", "rule", "add", "from", "fd00:9::4/126", "lookup", "100"])
            for router in (r1, r2):
                router.sysctl("net.ipv4.conf.all.rp_filter", 0)
            addresses = "".join(f"addr add {one_way.address(4, way)}/32 dev lo\n"
                                f"addr add {one_way.address(6, way)}/128 dev lo nodad\n" for way in one_way.WAYS)
            network.balancer.ip(addresses)
            network.backends[0].ns.ip(addresses)
            self.servers = Servers(network, dns=False, echo=False)
            network.narrow("backend", NARROW)
        except BaseException:
            self.lab.close()
            raise


@pytest.fixture(scope="module")
def routed():
    routed = Routed()
    with one_way.decapsulating(routed.network):
        yield routed
    routed.lab.close()


def web_services(network) -> list[dict]:
    return [one for one in one_way.services(network) if one["name"].startswith("web-")]


def upload(routed, family: int, way: str) -> None:
    """The client, who does not know that the way is narrow, is told while it sends."""
    network, to = routed.network, (one_way.address(family, way), HTTP_PORT)
    file = routed.lab.directory / "upload"
    file.write_bytes(os.urandom(BYTES))
    url = f"http://{config.endpoint(*to)}/upload/file"
    network.client.ns.run(["curl", "-gsSf", "--max-time", "20", "-T", str(file), "-o", "/dev/null", url])
    assert (routed.servers.nginx[0].directory / "files/upload/file").read_bytes() == file.read_bytes()
    headers = {4: 20, 6: 40}[one_way.outer(family, way)]
    assert network.learned_mtu(network.client, to[0]) == NARROW - headers, "the router's word, less the outer header"


@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
@pytest.mark.parametrize("way", ("ipip", "ipip-other"))
@pytest.mark.parametrize("hook", ("tc", "xdp"))
def test_a_narrow_way_behind_the_balancer_is_told_to_the_client(routed, make_balancer, hook, way, family):
    network, to = routed.network, (one_way.address(family, way), HTTP_PORT)
    network.set_offload("offload-on" if hook == "tc" else "off-at-end-hosts")
    network.set_peer_gro(hook == "xdp")
    services = [one for one in web_services(network) if one["forward"] == "ipip"]
    with make_balancer(network, config.configuration(network, services, hook)):
        network.forget_mtus()
        assert clients.http_get(network.client.ns, to) == "b1"
        upload(routed, family, way)


def outer_headers(sock: socket.socket) -> dict[int, set[tuple]]:
    """By the client's port: (source, flow label) of the outer headers of its frames that a socket on the backend's cable has."""
    found: dict[int, set[tuple]] = {}
    with contextlib.suppress(BlockingIOError):
        while frame := sock.recv(2048, socket.MSG_DONTWAIT):
            version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[12:14])
            if version is None or frame[23 if version == 4 else 20] not in (4, 41):
                continue
            source, label = (frame[26:30], 0) if version == 4 else (frame[22:38], int.from_bytes(frame[15:18], "big") & 0xfffff)
            inner = 34 if version == 4 else 54
            ports = inner + (20 if frame[inner] >> 4 == 4 else 40)
            found.setdefault(int.from_bytes(frame[ports:ports + 2], "big"), set()).add((ipaddress.ip_address(source), label))
    return found


def test_outer_sources_and_flow_labels_are_the_flows_own(routed, make_balancer):
    """So that the backends' cards spread flows over their queues; errors from the way come back to whatever source."""
    network, backend = routed.network, routed.network.backends[0]
    network.set_offload("offload-on")
    services = [one for one in web_services(network) if one["forward"] == "ipip"]
    sources = {4: ipaddress.ip_network("10.127.0.0/16"), 6: ipaddress.ip_network("fd00:127::/64")}
    sections = {"ipip": {"source": [str(one) for one in sources.values()]}}
    with make_balancer(network, config.configuration(network, services, "tc", **sections)), \
            backend.ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        tap.bind(("eth0", 3))
        for family in (4, 6):
            for way in ("ipip", "ipip-other"):
                network.forget_mtus()
                ports = range(first := 20_000 + 1000 * family + 100 * len(way), first + 50)
                for port in ports:
                    source = (network.client.address(family), port)
                    assert clients.http_get(network.client.ns, (one_way.address(family, way), HTTP_PORT), source=source) == "b1"
                seen = {port: headers for port, headers in outer_headers(tap).items() if port in ports}
                assert len(seen) == 50 and all(len(headers) == 1 for headers in seen.values()), "one for each flow"
                outer = one_way.outer(family, way)
                headers = [next(iter(one)) for one in seen.values()]
                assert all(source in sources[outer] for source, _ in headers)
                assert len({source for source, _ in headers}) >= 45
                assert len({label for _, label in headers}) >= 45 if outer == 6 else {label for _, label in headers} == {0}
                upload(routed, family, way)


def test_dsr_over_a_gateway_is_unresolved_and_the_log_says_why(routed, make_balancer):
    network = routed.network
    services = [one for one in web_services(network) if one["forward"] == "dsr"]
    with make_balancer(network, config.configuration(network, services, "tc")) as running:
        for one in running.status()["services"]:
            assert [backend["state"] for backend in one["backends"]] == ["unresolved"]
            assert "gateway" in one["backends"][0]["reason"] and "ipip" in one["backends"][0]["reason"]
        assert any("gateway" in line and "dsr" in line for line in running.log().splitlines() if "warn" in line)


def web(network, way: str, forward: str) -> dict:
    service = config.service("web", [config.endpoint(one_way.address(4, way), HTTP_PORT) + "/tcp"], network.backends, 4,
                             HTTP_PORT, forward)
    return config.configuration(network, [service], "tc", timeouts={"tcp_half_closed": "5s"}, flows={"max": 16384})


def test_connections_outlive_a_change_of_mode_and_a_restart(make_balancer):
    place = Place("two-armed", dns=False, echo=False)
    try:
        network, to = place.network, (one_way.address(4, "ipip"), HTTP_PORT)
        one_way.prepare(network)
        with one_way.decapsulating(network), \
                make_balancer(network, web(network, "ipip", "dsr"), ephemeral=False) as running:
            held = {"dsr": clients.connect(network.client.ns, to)}
            for forward in ("ipip", "dsr", "ipip"):
                running.reload(web(network, "ipip", forward))
                held.setdefault(forward, clients.connect(network.client.ns, to))
                for sock in held.values():
                    clients.http_get_many(sock, 3)
                with one_way.Watch(network) as watch:
                    for _ in range(6):
                        clients.http_get(network.client.ns, to)
                assert watch.frames > 0 and watch.answers == 0
            running.kill()
            for sock in held.values():
                clients.http_get_many(sock, 3)
            running.start()
            status = running.status()["services"][0]
            assert status["forward"] == "ipip"
            for sock in held.values():
                clients.http_get_many(sock, 3)
                sock.close()
            wait_for("the old backends to leave", lambda: [backend["state"] for backend in running.status()["services"][0][
                "backends"]] == ["up"] * 3, timeout=60)
    finally:
        place.lab.close()
