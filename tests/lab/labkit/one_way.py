# SPDX-License-Identifier: Apache-2.0
"""`dsr` and `ipip` on a lab network: backends have the service addresses, and a way to the clients that does not cross the
balancer, which `Network` has not: its backends send everything to the balancer, as `dnat` needs.

    two-armed   a second cable of the client, "home", into the backends' bridge
    one-armed   the bridge that everybody is on anyway

What comes from a service address takes that way; all else stays as it was. Service addresses are 10.9.0.5 and fd00:9::5
(`dsr`), 10.9.0.6 and fd00:9::6 (`ipip` to backends of the same IP version), 10.9.0.7 and fd00:9::7 (of the other one).
"""
import contextlib
import os
import select
import socket
import threading

import pytest

from . import tools
from .backends import DNS_PORT, HTTP_PORT
from .config import configuration, endpoint, service
from .lab import wait_for
from .netns import Namespace
from .topology import Host, Network

NUMBER = {"dsr": 5, "ipip": 6, "ipip-other": 7}
WAYS = tuple(NUMBER)
TABLE = 100


def address(family: int, way: str) -> str:
    return f"10.9.0.{NUMBER[way]}" if family == 4 else f"fd00:9::{NUMBER[way]}"


def outer(family: int, way: str) -> int:
    """IP version of the backends."""
    return {4: 6, 6: 4}[family] if way == "ipip-other" else family


def prepare(network: Network) -> None:
    """Service addresses, their own DNS servers, and the way home."""
    if network.arm == "two-armed":
        network.lab.veth(network.client.ns, "home", network.switch, "home")
        network.lab.plug(network.switch, "home")
        device = "home"
    else:
        device = "eth0"
    mac = _mac(network.client.ns, device)
    if device == "home":
        # The client sends nothing by it: the bridge would not know its port, and flood the answers to the balancer as well.
        network.switch.run(["bridge", "fdb", "replace", mac, "dev", "home", "master", "static"])
    for way in WAYS:
        network.balancer.ip(f"addr add {address(4, way)}/32 dev lo\naddr add {address(6, way)}/128 dev lo nodad")
    for host in network.backends:
        for name in ("all", "lo"):
            host.ns.sysctl(f"net.ipv4.conf.{name}.arp_ignore", 1)
            host.ns.sysctl(f"net.ipv4.conf.{name}.arp_announce", 2)
        host.ns.ip("".join(f"addr add {address(4, way)}/32 dev lo\naddr add {address(6, way)}/128 dev lo nodad\n"
                           for way in WAYS) + f"""
            neigh replace {network.client.ipv4} lladdr {mac} dev eth0 nud permanent
            neigh replace {network.client.ipv6} lladdr {mac} dev eth0 nud permanent
            route add 10.2.0.0/24 dev eth0 table {TABLE}
            route add fd00:2::/64 dev eth0 table {TABLE}
            route add default via {network.client.ipv4} dev eth0 onlink table {TABLE}
            route add default via {network.client.ipv6} dev eth0 onlink table {TABLE}
            rule add from 10.9.0.4/30 lookup {TABLE}
        """)
        host.ns.run(["ip", "-6", "rule", "add", "from", "fd00:9::4/126", "lookup", str(TABLE)])
        _dns(network, host)


def _add_devices(host: Host) -> str | None:
    """One device for each pair of IP versions, for any sender; what is missing, if anything is."""
    for kind, local, rest in (("ipip", host.ipv4, ["remote", "any"]), ("sit", host.ipv4, ["remote", "any"]),
                              ("ip6tnl", host.ipv6, ["remote", "::", "mode", "any"])):
        added = host.ns.run(["ip", "link", "add", f"t-{kind}", "type", kind, "local", local, *rest], check=False)
        if added.returncode:
            return f"{kind}: {(added.stderr or added.stdout or str()).strip()}"
        host.ns.ip(f"link set t-{kind} up")
        host.ns.sysctl(f"net.ipv4.conf.t-{kind}.rp_filter", 0)
    host.ns.sysctl("net.ipv4.conf.all.rp_filter", 0)
    return None


def need_devices(network: Network) -> None:
    """The kernel's own tunnel devices on all backends. Skips the test where the kernel has none, but not in the guest."""
    for host in network.backends:
        if missing := _add_devices(host):
            assert not os.environ.get("FEATHERLB_GUEST"), f"no tunnel devices in the guest: {missing}"
            pytest.skip(f"NOT TESTED HERE: this kernel has no tunnel devices ({missing}); scripts/test-kernel has")


def _mac(ns: Namespace, device: str) -> str:
    words = ns.run(["ip", "-o", "link", "show", "dev", device]).stdout.split()
    return words[words.index("link/ether") + 1]


def _dns(network: Network, host: Host) -> None:
    """dnsmasq on the service addresses; that of Servers is on eth0's alone."""
    addresses = [f"--listen-address={address(family, way)}" for family in (4, 6) for way in WAYS]
    network.lab.start(
        host.ns, ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                  f"--port={DNS_PORT}", "--bind-interfaces", "--except-interface=eth0", "--cache-size=0", "--user=root",
                  "--pid-file=", "--log-facility=-", f"--address=/id.test/{host.ipv4}", f"--address=/id.test/{host.ipv6}",
                  *addresses], log=f"dnsmasq-service-{host.name}.log")
    wait_for(f"dnsmasq on {host.name}", lambda: f"{address(6, WAYS[-1])}]:{DNS_PORT}" in host.ns.run(
        ["ss", "-Hlun"], check=False).stdout)


@contextlib.contextmanager
def decapsulating(network: Network, attach: str = "tc"):
    """`featherlb decap` on every backend."""
    processes = []
    for host in network.backends:
        log = network.lab.directory / f"decap-{host.name}.log"
        log.write_text("")
        processes.append(network.lab.start(
            host.ns, [tools.featherlb(), "decap", "--interface", "eth0", "--attach", attach, "--json"], log=log.name))
        wait_for("decap", lambda log=log: '"event":"attached"' in log.read_text())
    try:
        yield
    finally:
        for process in processes:
            network.lab.stop(process)


def services(network: Network) -> list[dict]:
    """Web and DNS in every way and IP version, under the ports of the servers."""
    made = []
    for family in (4, 6):
        for way in WAYS:
            for name, port, protocol in (("web", HTTP_PORT, "tcp"), ("dns", DNS_PORT, "udp")):
                made.append(service(f"{name}-{way}-ipv{family}", [endpoint(address(family, way), port) + "/" + protocol],
                                    network.backends, outer(family, way), port, way.split("-")[0]))
    return made


def everything(network: Network, attach: str, **sections) -> dict:
    return configuration(network, services(network), attach, **sections)


class UdpEcho:
    """A with block: a UDP echo on the service addresses of all backends, under a port of its own. A thread of this process
    serves it; a socket on no address would answer from the backend's own."""

    PORT = 7007

    def __init__(self, network: Network):
        self.network = network

    @classmethod
    def service(cls, network: Network, family: int, way: str) -> dict:
        return service(f"udp-echo-{way}-ipv{family}", [endpoint(address(family, way), cls.PORT) + "/udp"],
                       network.backends, outer(family, way), cls.PORT, way.split("-")[0])

    def __enter__(self):
        self.sockets = []
        for host in self.network.backends:
            for family in (4, 6):
                for way in WAYS:
                    sock = host.ns.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
                    self.sockets.append(sock)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
                    sock.bind((address(family, way), self.PORT))
        self.done = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def _run(self) -> None:
        while not self.done:
            for sock in select.select(self.sockets, [], [], 0.1)[0]:
                data, client = sock.recvfrom(65536)
                sock.sendto(data, client)

    def __exit__(self, *_):
        self.done = True
        self.thread.join()
        for sock in self.sockets:
            sock.close()


class Watch:
    """A with block: frames that were seen meanwhile on the balancer's cables (at their other ends, as XDP sends past
    sockets of its own end), in either direction. `answers` counts those that carry a service address as their source."""

    def __init__(self, network: Network):
        self.network, self.answers, self.frames = network, 0, 0
        self.sources = {socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, address(family, way))
                        for family in (4, 6) for way in WAYS}

    def __enter__(self):
        self.sockets = []
        for ns, device in self.network.peers:
            sock = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
            sock.bind((device, 3))
            self.sockets.append(sock)
        self.done = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def _run(self) -> None:
        while True:
            ready = select.select(self.sockets, [], [], 0 if self.done else 0.1)[0]
            if not ready and self.done:
                return
            for sock in ready:
                frame = sock.recv(128)
                self.frames += 1
                kind = frame[12:14]
                source = frame[26:30] if kind == b"\x08\x00" else frame[22:38] if kind == b"\x86\xdd" else b""
                self.answers += source in self.sources

    def __exit__(self, *_):
        self.done = True
        self.thread.join()
        for sock in self.sockets:
            sock.close()


def learned_mtu(network: Network, to: str) -> int:
    """What the client has been told of the path to an address; 0: nothing."""
    words = network.client.ns.run(["ip", "route", "get", to]).stdout.split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words else 0
