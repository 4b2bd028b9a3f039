# SPDX-License-Identifier: Apache-2.0
"""Health checks of `dsr` and `ipip` ask the service address at the backend, by the way that clients' packets take: a
backend that answers only on its own address is down."""
import contextlib

import pytest
from conftest import Place
from labkit import tools
from labkit.backends import HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for

VIPS = {"tcp": {4: "10.9.0.3", 6: "fd00:9::3"}, "http": {4: "10.9.0.4", 6: "fd00:9::4"}}
BITS = {4: "32", 6: "128"}
OWN_PORT = 8081  # a server on the backends' own addresses alone
# http.server's own main program would look up its name first, which takes long where there is no name server.
OWN_SERVER = """
import http.server, socket, socketserver, sys
class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
Server((sys.argv[1], int(sys.argv[2])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
TIMES = {"interval": "300ms", "timeout": "250ms", "rise": 1, "fall": 2}
CHECKS = {"tcp": {"type": "tcp", **TIMES}, "http": {"type": "http", **TIMES}}
PAGES = {HTTP_PORT: "/id", OWN_PORT: "/"}
# "ipip-other": backends of the other IP version, so the packet in the tunnel is none that the daemon's socket made.
WAYS = (("dsr", "tc"), ("dsr", "clsact"), ("ipip", "tc"), ("ipip", "xdp"), ("ipip-other", "tc"), ("ipip-other", "clsact"))
pytestmark = pytest.mark.no_standin


@pytest.fixture(scope="module", params=("two-armed", "one-armed"))
def place(request):
    place = Place(request.param, backends=2, dns=False, echo=False)
    for host in place.network.backends:
        for name in ("all", "lo"):
            host.ns.sysctl(f"net.ipv4.conf.{name}.arp_ignore", 1)
            host.ns.sysctl(f"net.ipv4.conf.{name}.arp_announce", 2)
        for family in (4, 6):
            place.lab.start(host.ns, ["/usr/bin/python3", "-c", OWN_SERVER, host.address(family), str(OWN_PORT)],
                            log=f"own-{host.name}-{family}.log")
        wait_for("the servers on its own addresses",
                 lambda host=host: host.ns.run(["ss", "-Hltn"]).stdout.count(f":{OWN_PORT} ") == 2, 30)
    yield place
    place.lab.close()


@pytest.fixture(autouse=True)
def addresses(place):
    """The service addresses are on every backend's lo, whatever the test before did."""
    for host in place.network.backends:
        for family in (4, 6):
            set_address(host, family, True)


def set_address(host, family: int, there: bool) -> None:
    for addresses in VIPS.values():
        host.ns.run(["ip", "addr", "replace" if there else "del", f"{addresses[family]}/{BITS[family]}", "dev", "lo",
                     *(["nodad"] if there and family == 6 else [])])


def set_forwarding(host, on: bool) -> None:
    host.ns.sysctl("net.ipv4.conf.all.forwarding", int(on))
    host.ns.sysctl("net.ipv6.conf.all.forwarding", int(on))


@contextlib.contextmanager
def decapsulating(place, wanted: bool):
    """`featherlb decap` on every backend."""
    processes = []
    for host in place.network.backends if wanted else []:
        log = place.lab.directory / f"decap-{host.name}.log"
        log.write_text("")
        processes.append(place.lab.start(
            host.ns, [tools.featherlb(), "decap", "--interface", "eth0", "--json", "--from", "10.2.0.0/24", "--from",
                      "fd00:2::/64"], log=log.name))
        wait_for("decap", lambda log=log: '"event":"attached"' in log.read_text())
    yield
    for process in processes:
        place.lab.stop(process)


def states(running, port: int) -> dict[str, list[str]]:
    """By backend: its state in the services whose backends are on this port. What drains is of another way of forwarding
    before."""
    found: dict[str, list[str]] = {}
    for one in running.status()["services"]:
        for backend in one["backends"]:
            if one["name"].endswith(f"-{port}") and backend["state"] != "draining":
                found.setdefault(backend["name"], []).append(backend["state"])
    return found


def qdiscs(network) -> str:
    """Clsact qdiscs of the balancer's interfaces."""
    lines = network.balancer.run(["tc", "qdisc", "show"]).stdout.splitlines()
    return "".join(line for line in lines if "clsact" in line)


def config(network, forward: str, attach: str) -> dict:
    services = []
    for family in (4, 6):
        for kind, check in CHECKS.items():
            for port in (HTTP_PORT, OWN_PORT):
                listen = [endpoint(VIPS[kind][family], port) + "/tcp"]
                health = {**check, "path": PAGES[port]} if kind == "http" else check
                of_backends = 10 - family if forward == "ipip-other" else family
                services.append({**service(f"{kind}-{family}-{port}", listen, network.backends, of_backends, port,
                                           forward.removesuffix("-other")), "health": health})
    return configuration(network, services, attach)


def filters(network) -> str:
    """The clsact filters of the balancer's interfaces."""
    return "".join(network.balancer.run(["tc", "filter", "show", "dev", device, side]).stdout
                   for device in network.interfaces for side in ("ingress", "egress"))


@pytest.mark.parametrize("forward,attach", WAYS, ids=["-".join(way) for way in WAYS])
def test_up_is_who_answers_on_the_service_address(place, forward, attach):
    network = place.network
    first, second = network.backends
    environment = {"FEATHERLB_NO_TCX": "1"} if attach == "clsact" else {}
    hook = "tc" if attach == "clsact" else attach
    with decapsulating(place, forward.startswith("ipip")), \
            Featherlb(network, config(network, forward, hook), environment=environment) as running:
        wait_for("the servers on their own addresses alone to be down",
                 lambda: states(running, OWN_PORT) == {host.name: ["down"] * 4 for host in network.backends})
        assert states(running, HTTP_PORT) == {host.name: ["up"] * 4 for host in network.backends}

        # It forwards, so what is not its own goes back to the balancer, behind which the other one would answer.
        set_forwarding(first, True)
        for family in (4, 6):
            set_address(first, family, False)
        wait_for("the backend without the address to be down",
                 lambda: states(running, HTTP_PORT) == {first.name: ["down"] * 4, second.name: ["up"] * 4})
        for family in (4, 6):
            set_address(first, family, True)
        set_forwarding(first, False)
        wait_for("it to be up again",
                 lambda: states(running, HTTP_PORT) == {host.name: ["up"] * 4 for host in network.backends})


def test_the_programs_of_the_checks_are_there_only_while_such_checks_are(place):
    network = place.network
    with Featherlb(network, config(network, "dsr", "tc"), environment={"FEATHERLB_NO_TCX": "1"}) as running:
        wait_for("the checks' programs", lambda: "flb_probe_in" in filters(network))
        assert "flb_probe_out" in filters(network)
        running.reload(config(network, "snat", "tc"))
        assert "flb_probe" not in filters(network) and "flb_tc" in filters(network)
        wait_for("all to be up, asked at their own addresses", lambda: states(running, OWN_PORT) == {
            host.name: ["up"] * 4 for host in network.backends})
        running.reload(config(network, "dsr", "tc"))
        assert "flb_probe_in" in filters(network)
    assert qdiscs(network) == ""


def test_what_a_killed_daemon_left_goes_with_detach(place):
    network = place.network
    with Featherlb(network, config(network, "dsr", "tc"), ephemeral=False,
                   environment={"FEATHERLB_NO_TCX": "1"}) as running:
        wait_for("the checks' programs", lambda: "flb_probe_in" in filters(network))
        running.kill()
        assert "flb_probe_in" in filters(network) and "flb_probe_out" in filters(network)
        running.detach()
        assert qdiscs(network) == ""
