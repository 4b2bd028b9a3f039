# SPDX-License-Identifier: Apache-2.0
"""A network with a router on each side of the balancer.

    client ---- [r1] ---- front [balancer] back ---- [r2] ---- bridge ---- backends

  client network   10.101.0.0/24, fd00:101::/64   r1 is 1, the client 2
  front network    10.1.0.0/24, fd00:1::/64       balancer 1, r1 2
  back network     10.2.0.0/24, fd00:2::/64       balancer 1, r2 2
  backends         10.102.0.0/24, fd00:102::/64   r2 is 1, backends 11, 12, ...

All cables carry 1,500 bytes unless told otherwise; a narrow place on the way is a route of a router with a locked MTU, so
that the end hosts know nothing of it and have to be told by ICMP.
"""
from .lab import Lab
from .topology import Host, Network


class RoutedNetwork(Network):
    """The part of Network that tests use, with routers in the way. Two-armed."""

    def __init__(self, lab: Lab, backends: int = 1, front_mtu: int = 1500, back_mtu: int = 1500):
        self.lab, self.arm = lab, "two-armed"
        self.interfaces = ("front", "back")
        self.balancer = lab.namespace("lb")
        self.front_router, self.back_router = lab.namespace("r1"), lab.namespace("r2")
        self.clients = [Host(lab.namespace("c0"), "c0", "10.101.0.2", "fd00:101::2")]
        self.client = self.clients[0]
        self.backends = [
            Host(lab.namespace(f"b{i + 1}"), f"b{i + 1}", f"10.102.0.{11 + i}", f"fd00:102::{11 + i}")
            for i in range(backends)
        ]
        lab.veth(self.client.ns, "eth0", self.front_router, "client")
        lab.bridge(self.back_router)
        for host in self.backends:
            lab.veth(host.ns, "eth0", self.back_router, host.name)
            lab.plug(self.back_router, host.name)
        lab.mtu = front_mtu
        lab.veth(self.front_router, "lb", self.balancer, "front")
        lab.mtu = back_mtu
        lab.veth(self.back_router, "lb", self.balancer, "back")
        self.peers = [(self.front_router, "lb"), (self.back_router, "lb")]
        self._address()

    def _address(self) -> None:
        self.balancer.ip("""
            addr add 10.1.0.1/24 dev front
            addr add fd00:1::1/64 dev front nodad
            addr add 10.2.0.1/24 dev back
            addr add fd00:2::1/64 dev back nodad
            route add 10.101.0.0/24 via 10.1.0.2
            route add fd00:101::/64 via fd00:1::2
            route add 10.102.0.0/24 via 10.2.0.2
            route add fd00:102::/64 via fd00:2::2
        """)
        self.balancer.ip("".join(f"addr add 10.9.0.{i}/32 dev lo\naddr add fd00:9::{i}/128 dev lo nodad\n"
                                 for i in range(1, 3)))
        for router, outer, outer_net, inner_net in ((self.front_router, "client", 101, 1),
                                                    (self.back_router, "bridge", 102, 2)):
            router.ip(f"""
                addr add 10.{outer_net}.0.1/24 dev {outer}
                addr add fd00:{outer_net}::1/64 dev {outer} nodad
                addr add 10.{inner_net}.0.2/24 dev lb
                addr add fd00:{inner_net}::2/64 dev lb nodad
                route add default via 10.{inner_net}.0.1
                route add default via fd00:{inner_net}::1
            """)
            router.sysctl("net.ipv4.ip_forward", 1)
            router.sysctl("net.ipv6.conf.all.forwarding", 1)
        for host, net in [(self.client, 101)] + [(host, 102) for host in self.backends]:
            host.ns.ip(f"""
                addr add {host.ipv4}/24 dev eth0
                addr add {host.ipv6}/64 dev eth0 nodad
                route add default via 10.{net}.0.1
                route add default via fd00:{net}::1
            """)

    def narrow(self, side: str, mtu: int) -> None:
        """The routers' routes through `side`, client or backend, in both directions; mtu 1500 widens it again."""
        router, outer, net, inner = {"client": (self.front_router, "client", 101, 1),
                                     "backend": (self.back_router, "bridge", 102, 2)}[side]
        router.ip(f"""
            route replace 10.{net}.0.0/24 dev {outer} mtu lock {mtu}
            route replace 10.{inner}.0.0/24 dev lb mtu lock {mtu}
            route replace fd00:{net}::/64 dev {outer} metric 256 mtu lock {mtu}
            route replace fd00:{inner}::/64 dev lb metric 256 mtu lock {mtu}
            route replace default via 10.{inner}.0.1 mtu lock {mtu}
            route replace default via fd00:{inner}::1 mtu lock {mtu}
        """)

    def forget_mtus(self) -> None:
        """What hosts have learned of paths."""
        for host in self.clients + self.backends:
            for family in ("-4", "-6"):
                host.ns.run(["ip", family, "route", "flush", "cache"])

    def learned_mtu(self, host: Host, to: str) -> int:
        """What a host has been told of the path to an address; 0: nothing."""
        words = host.ns.run(["ip", "route", "get", to]).stdout.split()
        return int(words[words.index("mtu") + 1]) if "mtu" in words else 0
