# SPDX-License-Identifier: Apache-2.0
"""Broken packets from a client. They are passed to the stack or dropped; what reaches a backend is never mangled, the
daemon lives, and the next good connection works. (tests/packet checks the same byte for byte.)"""
import socket
import struct
import time

import pytest
from labkit import clients, config
from labkit.topology import pool_address, service_address

HOOKS = ("tc", "xdp-generic", "xdp")


@pytest.fixture(params=HOOKS)
def hook(request, two_armed):
    two_armed.network.set_offload("off-at-end-hosts")
    two_armed.network.set_peer_gro(request.param == "xdp")
    yield request.param
    two_armed.network.set_offload("offload-on")
    two_armed.network.set_peer_gro(False)


@pytest.fixture
def balancer(two_armed, hook, make_balancer):
    with make_balancer(two_armed.network, config.everything(two_armed.network, hook)) as running:
        yield running


def ones_complement(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def fix_ipv4(packet: bytearray) -> bytes:
    """The header checksum made right again, so that only what the test broke is wrong."""
    end = max(20, (packet[0] & 15) * 4)
    packet[10:12] = b"\0\0"
    packet[10:12] = struct.pack(">H", 0xFFFF ^ ones_complement(bytes(packet[:end])))
    return bytes(packet)


def good_packets(family: int) -> dict[str, bytes]:
    """IP packets as a client sends them: TCP SYN with options, UDP question."""
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.packet import Raw

    source, to = pool_address(family, 7), service_address(family)
    head = IP(src=source, dst=to, id=77) if family == 4 else IPv6(src=source, dst=to)
    syn = TCP(sport=40001, dport=80, seq=1000, options=[("MSS", 1460), ("SAckOK", b""), ("WScale", 7)])
    return {"tcp": bytes(head / syn), "udp": bytes(head / UDP(sport=40002, dport=53) / Raw(b"question" * 4)),
            "payload": bytes(head / TCP(sport=40003, dport=80, flags="PA", seq=5, ack=9) / Raw(b"x" * 40))}


def broken_ipv4(packet: bytes):
    """Header lengths from 0 to 15 words, total lengths that lie, fragments, a wrong version."""
    for words in range(16):
        yield fix_ipv4(bytearray([0x40 | words]) + packet[1:])
    for length in (0, 1, 19, 20, 21, 27, 28, 39, len(packet) + 1, len(packet) + 500, 65535):
        yield fix_ipv4(bytearray(packet[:2] + struct.pack(">H", length) + packet[4:]))
    for fragment in (0x2000, 0x0001, 0x2001, 0x1FFF, 0xFFFF):
        yield fix_ipv4(bytearray(packet[:6] + struct.pack(">H", fragment) + packet[8:]))
    for version in (0, 5, 6, 15):
        yield fix_ipv4(bytearray([version << 4 | 5]) + packet[1:])
    yield fix_ipv4(bytearray(packet[:8] + b"\0" + packet[9:]))  # TTL 0


def broken_ipv6(packet: bytes):
    """Payload lengths that lie, extension headers that lead nowhere or go on for ever, a wrong version."""
    for length in (0, 1, 7, 8, 19, len(packet) - 40 + 1, 65535):
        yield packet[:4] + struct.pack(">H", length) + packet[6:]
    for following in (0, 43, 44, 50, 51, 59, 60, 135, 253):
        yield packet[:6] + bytes([following]) + packet[7:]
    for count in (1, 8, 30):
        chain = b"".join(bytes([60 if k + 1 < count else packet[6], 0]) + b"\0" * 6 for k in range(count))
        length = struct.pack(">H", len(packet) - 40 + len(chain))
        yield packet[:4] + length + bytes([60]) + packet[7:40] + chain + packet[40:]
    for version in (0, 4, 15):
        yield bytes([version << 4]) + packet[1:]
    yield packet[:7] + b"\0" + packet[8:]  # hop limit 0


def broken_layer4(packet: bytes, start: int, protocol: str):
    if protocol == "udp":
        for length in (0, 1, 7, 8, 9, len(packet) - start - 1, len(packet) - start + 1, 65535):
            yield packet[:start + 4] + struct.pack(">H", length) + packet[start + 6:]
        return
    for words in range(16):
        yield packet[:start + 12] + bytes([words << 4]) + packet[start + 13:]
    for flags in range(64):
        yield packet[:start + 13] + bytes([flags]) + packet[start + 14:]


def malformed(family: int):
    """Ethernet payloads."""
    start = 20 if family == 4 else 40
    for protocol, packet in good_packets(family).items():
        yield from (packet[:length] for length in range(len(packet)))
        yield from (broken_ipv4 if family == 4 else broken_ipv6)(packet)
        yield from broken_layer4(packet, start, protocol)


class Sniffer:
    """Frames that arrive at the backends."""

    def __init__(self, network):
        self.sockets = []
        for host in network.backends:
            sock = host.ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
            sock.bind(("eth0", 0))
            sock.setblocking(False)
            self.sockets.append(sock)

    def frames(self):
        for sock in self.sockets:
            while True:
                try:
                    frame, (_, _, kind, _, _) = sock.recvfrom(65536)
                except BlockingIOError:
                    break
                if kind == socket.PACKET_HOST:
                    yield frame

    def close(self):
        for sock in self.sockets:
            sock.close()


def fault(frame: bytes) -> str | None:
    """What is wrong with an IP packet that reached a backend, or None. Layer 4 checksums are not judged: a client may
    send a wrong one."""
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00":
        start, length = (packet[0] & 15) * 4, struct.unpack(">H", packet[2:4])[0]
        if start < 20 or ones_complement(packet[:start]) != 0xFFFF:
            return "IPv4 header"
        protocol = packet[9]
    elif kind == b"\x86\xdd":
        start, length, protocol = 40, 40 + struct.unpack(">H", packet[4:6])[0], packet[6]
        while protocol in (0, 43, 60):
            protocol, start = packet[start], start + 8 + packet[start + 1] * 8
    else:
        return None
    if length > len(packet):
        return "IP length"
    if protocol == 6 and not 20 <= (packet[start + 12] >> 4) * 4 <= length - start:
        return "TCP header length"
    if protocol == 17 and not 8 <= struct.unpack(">H", packet[start + 4:start + 6])[0] <= length - start:
        return "UDP length"
    return None


def mac(ns, device: str) -> bytes:
    text = ns.run(["ip", "-br", "link", "show", device]).stdout.split()[2]
    return bytes.fromhex(text.replace(":", ""))


@pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
def test_broken_packets_are_never_mangled(two_armed, balancer, family, measured):
    network = two_armed.network
    clients.http_get(network.client.ns, (service_address(family), 80))  # neighbours are known from here on
    kind = b"\x08\x00" if family == 4 else b"\x86\xdd"
    header = mac(network.balancer, "front") + mac(network.client.ns, "eth0") + kind
    sniffer, sent = Sniffer(network), 0
    sender = network.client.ns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        sender.bind(("eth0", 0))
        for payload in malformed(family):
            sender.send(header + payload)
            sent += 1
        time.sleep(0.2)
        arrived = list(sniffer.frames())
    finally:
        sender.close()
        sniffer.close()
    measured(f"{sent} sent, {len(arrived)} reached a backend")
    faults = [(fault(frame), frame.hex()) for frame in arrived if fault(frame)]
    assert not faults
    assert balancer.alive()
    for forward in ("snat", "dnat"):
        for _ in range(10):
            clients.http_get(network.client.ns, (service_address(family, forward), 80))
