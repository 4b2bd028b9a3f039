# SPDX-License-Identifier: Apache-2.0
"""What the IP stack of a namespace has counted: proof that balanced packets never entered it."""
from .netns import Namespace


def _pairs_of_lines(text: str) -> dict[str, int]:
    lines = text.splitlines()
    counters = {}
    for names, values in zip(lines[::2], lines[1::2]):
        group = names.split(":")[0]
        counters.update({group + name: int(value) for name, value in zip(names.split()[1:], values.split()[1:])})
    return counters


def stack(ns: Namespace) -> dict[str, int]:
    """All of /proc/net/snmp, netstat and snmp6, by names as nstat prints them (IpInReceives, Ip6InReceives, ...)."""
    counters = _pairs_of_lines(ns.read("/proc/thread-self/net/snmp"))
    counters.update(_pairs_of_lines(ns.read("/proc/thread-self/net/netstat")))
    for line in ns.read("/proc/thread-self/net/snmp6").splitlines():
        name, value = line.split()
        counters[name] = int(value)
    return counters


def entered(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Packets that entered the stack between two looks: IPv4 in all, IPv6 without multicast and neighbour discovery
    (which have to enter; a solicitation by multicast is taken off twice, hence the floor of 0), forwarded ones, and
    what reached sockets."""

    def rose(name: str) -> int:
        return after.get(name, 0) - before.get(name, 0)

    discovery = rose("Ip6InMcastPkts") + sum(rose(f"Icmp6In{name}") for name in (
        "NeighborSolicits", "NeighborAdvertisements"))
    return {
        "ipv4": rose("IpInReceives"),
        "ipv6": max(0, rose("Ip6InReceives") - discovery),
        "forwarded": rose("IpForwDatagrams") + rose("Ip6OutForwDatagrams"),
        "tcp": rose("TcpInSegs"),
        "udp": rose("UdpInDatagrams") + rose("UdpNoPorts") + rose("Udp6InDatagrams") + rose("Udp6NoPorts"),
    }
