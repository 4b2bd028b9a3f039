# SPDX-License-Identifier: Apache-2.0
"""The networks that tests and benchmarks run on.

two-armed:  client ---- front[balancer]back ---- bridge ---- backends       (each side its own interface)
one-armed:  client ---- bridge ---- eth0[balancer], bridge ---- backends    (everything on one interface)

Both have the same addresses, so a test does not care which one it is on:
  front network  10.1.0.0/24, fd00:1::/64    balancer 1, clients 2, 3, ...
  client pool    10.100.0.0/16, fd00:100::/64 behind the first client: any of them can be bound
  back network   10.2.0.0/24, fd00:2::/64    balancer 1, backends 11, 12, ... (IPv6 in decimal look: fd00:2::11)
  services       10.9.0.0/24, fd00:9::/64    on the balancer's lo; 1 is for snat, 2 for dnat, 3 up are free
"""
from .lab import Lab
from .netns import Namespace

ARMS = ("two-armed", "one-armed")
OFFLOADS = ("offload-on", "off-at-end-hosts", "off-at-balancer")


def service_address(family: int, forward: str = "snat") -> str:
    number = {"snat": 1, "dnat": 2}[forward]
    return f"10.9.0.{number}" if family == 4 else f"fd00:9::{number}"


def pool_address(family: int, number: int) -> str:
    """One of many client addresses; number from 1 to 65,000. The next number is the next address."""
    return f"10.100.{number >> 8}.{number & 255}" if family == 4 else f"fd00:100::{number:x}"


class Host:
    """An end host: client or backend."""

    def __init__(self, ns: Namespace, name: str, ipv4: str, ipv6: str):
        self.ns, self.name, self.ipv4, self.ipv6 = ns, name, ipv4, ipv6

    def address(self, family: int) -> str:
        return self.ipv4 if family == 4 else self.ipv6


class Network:
    """A topology that is up. `balancer` is the namespace that featherlb runs in."""

    def __init__(self, lab: Lab, arm: str, backends: int = 3, clients: int = 1, mtu: int = 1500):
        self.lab, self.arm = lab, arm
        lab.mtu = mtu
        self.balancer = lab.namespace("lb")
        self.switch = lab.namespace("sw")
        lab.bridge(self.switch)
        self.clients = [
            Host(lab.namespace(f"c{i}"), f"c{i}", f"10.1.0.{2 + i}", f"fd00:1::{2 + i}") for i in range(clients)
        ]
        self.backends = [
            Host(lab.namespace(f"b{i + 1}"), f"b{i + 1}", f"10.2.0.{11 + i}", f"fd00:2::{11 + i}")
            for i in range(backends)
        ]
        self.client = self.clients[0]
        self.interfaces = ("front", "back") if arm == "two-armed" else ("eth0",)
        # (namespace, device) at the other end of each of the balancer's cables
        self.peers: list[tuple[Namespace, str]] = []
        self._cable()
        self._address()

    def _cable(self) -> None:
        lab = self.lab
        for host in self.backends:
            lab.veth(host.ns, "eth0", self.switch, host.name)
            lab.plug(self.switch, host.name)
        if self.arm == "one-armed":
            lab.veth(self.balancer, "eth0", self.switch, "lb")
            lab.plug(self.switch, "lb")
            self.peers.append((self.switch, "lb"))
            front = self.switch
        else:
            lab.veth(self.balancer, "back", self.switch, "lb")
            lab.plug(self.switch, "lb")
            self.peers.append((self.switch, "lb"))
            if len(self.clients) == 1:
                lab.veth(self.client.ns, "eth0", self.balancer, "front")
                self.peers.append((self.client.ns, "eth0"))
                return
            front = lab.namespace("csw")
            lab.bridge(front)
            lab.veth(self.balancer, "front", front, "lb")
            lab.plug(front, "lb")
            self.peers.append((front, "lb"))
        for host in self.clients:
            lab.veth(host.ns, "eth0", front, host.name)
            lab.plug(front, host.name)

    def _address(self) -> None:
        front, back = self.interfaces[0], self.interfaces[-1]
        self.balancer.ip(f"""
            addr add 10.1.0.1/24 dev {front}
            addr add fd00:1::1/64 dev {front} nodad
            addr add 10.2.0.1/24 dev {back}
            addr add fd00:2::1/64 dev {back} nodad
            route add 10.100.0.0/16 via 10.1.0.2
            route add fd00:100::/64 via fd00:1::2
        """)
        self.balancer.ip("".join(f"addr add 10.9.0.{i}/32 dev lo\naddr add fd00:9::{i}/128 dev lo nodad\n"
                                 for i in range(1, 5)))
        self.balancer.sysctl("net.ipv4.conf.all.send_redirects", 0)
        self.balancer.sysctl("net.ipv4.conf.default.send_redirects", 0)
        for host in self.clients:
            host.ns.ip(f"""
                addr add {host.ipv4}/24 dev eth0
                addr add {host.ipv6}/64 dev eth0 nodad
                route add default via 10.1.0.1
                route add default via fd00:1::1
            """)
        self.client.ns.sysctl("net.ipv4.ip_nonlocal_bind", 1)
        self.client.ns.sysctl("net.ipv6.ip_nonlocal_bind", 1)
        self.client.ns.sysctl("net.ipv4.ip_local_port_range", "1024 65000")
        self.client.ns.ip("route add local 10.100.0.0/16 dev lo\nroute add local fd00:100::/64 dev lo")
        for host in self.backends:
            host.ns.ip(f"""
                addr add {host.ipv4}/24 dev eth0
                addr add {host.ipv6}/64 dev eth0 nodad
                route add default via 10.2.0.1
                route add default via fd00:2::1
            """)

    def set_offload(self, setting: str) -> None:
        """Checksum offload as the test wants it; see OFFLOADS. tx off takes segmentation offload along."""
        hosts_on, balancer_on = setting != "off-at-end-hosts", setting != "off-at-balancer"
        for host in self.clients + self.backends:
            host.ns.offload("eth0", tx=hosts_on, tso=hosts_on, gso=hosts_on)
        for device in self.interfaces:
            self.balancer.offload(device, tx=balancer_on)

    def set_segmentation(self, on: bool) -> None:
        """TSO and GSO of the end hosts, without their checksum offload."""
        for host in self.clients + self.backends:
            host.ns.offload("eth0", tso=on, gso=on)

    def set_peer_gro(self, on: bool) -> None:
        """Native XDP on veth delivers only to a peer that polls: one with a program or with GRO on."""
        for ns, device in self.peers:
            ns.offload(device, gro=on)

    def set_forwarding(self, on: bool) -> None:
        """The balancer's kernel as a router. Off unless a test wants it: featherlb does not need it."""
        self.balancer.sysctl("net.ipv4.ip_forward", int(on))
        self.balancer.sysctl("net.ipv6.conf.all.forwarding", int(on))
