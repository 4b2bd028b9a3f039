# SPDX-License-Identifier: Apache-2.0
"""What clients do, without retries: a request either works the first time within its timeout or raises."""
import os
import random
import re
import socket
import struct

from .netns import Namespace

_TIMEOUT = 3.0


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(ns: Namespace, to: tuple[str, int], source: tuple[str, int] | None = None,
            timeout: float = _TIMEOUT) -> socket.socket:
    """A TCP connection from inside the namespace; source port 0 lets the kernel choose."""
    sock = ns.socket(_family(to[0]), socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(source)
        sock.connect(to)
        return sock
    except BaseException:
        sock.close()
        raise


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError(f"closed after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def http_get(ns: Namespace, to: tuple[str, int], path: str = "/id", source: tuple[str, int] | None = None,
             timeout: float = _TIMEOUT) -> str:
    """One request on its own connection; the body."""
    with connect(ns, to, source, timeout) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"not a 200: {head[:60]!r}")
    return body.decode().strip()


def http_get_many(sock: socket.socket, count: int, path: str = "/id") -> None:
    """Requests one after another on one connection."""
    request = f"GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n".encode()
    for _ in range(count):
        sock.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            part = sock.recv(65536)
            if not part:
                raise ConnectionError("closed between requests")
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"not a 200: {head[:60]!r}")
        length = int(re.search(rb"Content-Length: (\d+)", head).group(1))
        read_exactly(sock, length - len(body))


def ask_name(ns: Namespace, to: tuple[str, int], source: tuple[str, int] | None = None,
             timeout: float = _TIMEOUT) -> tuple[str, str, int]:
    """(backend's name, address and port that it saw) from lab_load's name server, which closes first."""
    with connect(ns, to, source, timeout) as sock:
        sock.sendall(b"?\n")
        name, address, port = read_all(sock).decode().split()
    return name, address, int(port)


def udp_socket(ns: Namespace, to: tuple[str, int], source: tuple[str, int] | None = None,
               timeout: float = _TIMEOUT) -> socket.socket:
    sock = ns.socket(_family(to[0]), socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    if source is not None:
        sock.bind(source)
    sock.connect(to)
    return sock


def dns_query(sock: socket.socket, name: str = "a.id.test", ipv6: bool = False) -> str:
    """One question on a connected UDP socket, no retry; the address that the answer gives."""
    number = random.getrandbits(16)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    sock.send(struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, 28 if ipv6 else 1, 1))
    answer = sock.recv(4096)
    got, flags, _, answers, _, _ = struct.unpack(">6H", answer[:12])
    if got != number or flags & 0x800F != 0x8000 or answers != 1:
        raise ConnectionError(f"not the answer: {answer!r}")
    return socket.inet_ntop(socket.AF_INET6, answer[-16:]) if ipv6 else socket.inet_ntop(socket.AF_INET, answer[-4:])


def echo_every_length(sock: socket.socket, lengths, stream: bool) -> None:
    """Sends random payloads of each length and wants the same bytes back."""
    for length in lengths:
        payload = os.urandom(length)
        sock.send(payload)
        echoed = read_exactly(sock, length) if stream else sock.recv(65536)
        if echoed != payload:
            raise ConnectionError(f"{length} bytes came back changed")
