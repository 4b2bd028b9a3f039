# SPDX-License-Identifier: Apache-2.0
"""A client that never stops asking."""
import threading
import time
from collections import Counter

from . import clients
from .topology import service_address


class Requests:
    """A new connection for each request, all the time; nothing may fail."""

    def __init__(self, network):
        self.answers: Counter = Counter()
        self.errors: list[str] = []
        self._network, self._over = network, threading.Event()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.answers[clients.http_get(self._network.client.ns, (service_address(4), 80))] += 1
            except (OSError, AssertionError) as error:
                self.errors.append(repr(error))
            time.sleep(0.005)

    def __enter__(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
