# SPDX-License-Identifier: Apache-2.0
"""A server on many ports of a host at once: says who it is and which port was asked, over TCP and UDP, IPv4 and IPv6."""
import selectors
import socket
import threading

from .topology import Host


class ManyPorts:
    """TCP: a line as soon as somebody connects, then the server closes. UDP: the same line to every packet. A thread
    of the test itself; a with block."""

    def __init__(self, host: Host, ports, udp: bool = False):
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._name = host.name
        kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM) if udp else (socket.SOCK_STREAM,)
        with host.ns.entered():
            for port in ports:
                for kind in kinds:
                    sock = socket.socket(socket.AF_INET6, kind)
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind(("::", port))
                    sock.setblocking(False)
                    if kind == socket.SOCK_STREAM:
                        sock.listen(16)
                    self._selector.register(sock, selectors.EVENT_READ, port)
                    self._sockets.append(sock)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.1):
                line = f"{self._name} {key.data}\n".encode()
                try:
                    if key.fileobj.type == socket.SOCK_STREAM:
                        with key.fileobj.accept()[0] as connection:
                            connection.sendall(line)
                    else:
                        key.fileobj.sendto(line, key.fileobj.recvfrom(2048)[1])
                except OSError:
                    pass  # a client that is gone already
