# SPDX-License-Identifier: Apache-2.0
"""Machines that fall silent, clients that wait to be told, and answers to a SYN that are sent by hand."""
import errno
import socket
import threading
import time
from contextlib import contextmanager

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from .topology import Host


@contextmanager
def silent(host: Host):
    """A machine that is there (its neighbours find it) and hears and says nothing."""
    chains = "".join(f"chain {one} {{ type filter hook {one} priority -10; meta l4proto {{ tcp, udp }} drop; }}\n"
                     for one in ("input", "output"))
    host.ns.run(["nft", f"table inet silent {{\n{chains}}}"])
    try:
        yield
    finally:
        host.ns.run(["nft", "delete table inet silent"])


class Waiting(threading.Thread):
    """A client that sends nothing and sits in a read: the error's number that it is told, and when (monotonic seconds)."""

    def __init__(self, sock: socket.socket):
        super().__init__()
        self.sock, self.error, self.at = sock, None, 0.0
        sock.settimeout(20)
        self.start()

    def run(self) -> None:
        try:
            self.sock.recv(1)
        except OSError as error:
            self.error = error.errno
        self.at = time.monotonic()


def all_reset(waiting: list[Waiting]) -> float:
    """When the last of them was told; all must have been told by RST."""
    for one in waiting:
        one.join()
    assert [one.error for one in waiting] == [errno.ECONNRESET] * len(waiting)
    return max(one.at for one in waiting)


def first_syn(wire: socket.socket, port: int) -> Ether:
    """The first SYN for this port among the frames that the packet socket has seen."""
    wire.settimeout(3)
    while True:
        frame = Ether(wire.recv(65536))
        if TCP in frame and frame[TCP].flags == "S" and frame[TCP].dport == port:
            return frame


def syn_ack_to(syn: Ether) -> bytes:
    answer = Ether(src=syn.dst, dst=syn.src)
    if IP in syn:
        answer /= IP(src=syn[IP].dst, dst=syn[IP].src)
    else:
        answer /= IPv6(src=syn[IPv6].dst, dst=syn[IPv6].src)
    return bytes(answer / TCP(sport=syn[TCP].dport, dport=syn[TCP].sport, flags="SA", seq=1, ack=syn[TCP].seq + 1))
