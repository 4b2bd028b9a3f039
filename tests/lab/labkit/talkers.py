# SPDX-License-Identifier: Apache-2.0
"""Backends that answer each line with their name, as late as they are told, and keep connections as long as the client does."""
import socket
import threading
import time

from .topology import Host

TALK_PORT = 7003


class Talker:
    def __init__(self, host: Host, delay: float = 0.0):
        self.host, self.delay = host, delay
        self._listener = host.ns.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host.address(4), TALK_PORT))
        self._listener.listen(1024)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(100):
                    time.sleep(self.delay)
                    connection.sendall(self.host.name.encode() + b"\n")
            except OSError:
                pass

    def in_states(self, *states: str) -> int:
        """How many of its connections `ss` shows in these states."""
        words = [word for state in states for word in ("state", state)]
        lines = self.host.ns.run(["ss", "-Htn", *words, "sport", "=", f":{TALK_PORT}"]).stdout.splitlines()
        return sum(bool(line.strip()) for line in lines)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # or whoever waits in accept() keeps the port
        self._listener.close()


def connect(host: Host, to: tuple[str, int], timeout: float = 10.0) -> socket.socket:
    client = host.ns.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(timeout)
    client.connect(to)
    return client


def ask(client: socket.socket) -> str:
    """The name of the backend behind a connection."""
    client.sendall(b"?\n")
    answer = b""
    while not answer.endswith(b"\n"):
        got = client.recv(100)
        if not got:
            raise ConnectionError("closed")
        answer += got
    return answer.decode().strip()
