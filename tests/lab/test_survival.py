# SPDX-License-Identifier: Apache-2.0
"""A hundred reloads, restarts and kills at random moments, under every kind of load: no request fails, no connection breaks."""
import array
import contextlib
import fcntl
import random
import signal
import socket
import statistics
import termios
import time

import pytest
from labkit import clients, load
from labkit.backends import HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service, write
from labkit.lab import wait_for
from labkit.redis import REDIS_PORT
from labkit.topology import service_address

VIP, VIP6 = service_address(4), service_address(6, "dnat")
RELOADS, RESTARTS, KILLS, IN_A_RELOAD = 100, 20, 20, 5
pytestmark = [pytest.mark.alone, pytest.mark.no_standin, pytest.mark.slow]


def both(network, hosts, weights=None) -> dict:
    more = {"algorithm": "maglev", "weights": weights}
    return configuration(network, [
        service("web", [endpoint(VIP, 80) + "/tcp"], hosts, 4, HTTP_PORT, **more),
        service("web6", [endpoint(VIP6, 80) + "/tcp"], hosts, 6, HTTP_PORT, "dnat", **more),
        service("redis", [endpoint(VIP, 6379) + "/tcp"], hosts, 4, REDIS_PORT, **more)])


def variants(network) -> list[dict]:
    one, two, three = network.backends
    return [both(network, [one, two]), both(network, [one, two, three], [5, 1, 3]), both(network, [two, three]),
            both(network, [one, two, three]), both(network, [one, three], [1, 9])]


class Reload:
    """The daemon has taken the question by the time that this is made; whether it has answered is what the socket holds when it is dead."""

    def __init__(self, running, config: dict):
        running.config = config
        write(running.file, config)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(running.socket))
        self._began = time.monotonic()
        self._socket.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        wait_for("that it reads", lambda: self._unread() == 0, pause=0)

    def _unread(self) -> int:
        left = array.array("i", [0])
        fcntl.ioctl(self._socket, termios.TIOCOUTQ, left)
        return left[0]

    def answer(self) -> bytes:
        """Empty: it ended before."""
        got = b""
        with self._socket, contextlib.suppress(ConnectionResetError):
            while part := self._socket.recv(65536):
                got += part
        return got

    def seconds(self) -> float:
        assert b'"result":"ok"' in self.answer()
        return time.monotonic() - self._began


def test_nothing_breaks_whatever_happens_to_the_daemon(two_armed, redis, measured):
    network, lab = two_armed.network, two_armed.lab
    chance = random.Random(5)
    files = variants(network)
    with Featherlb(network, both(network, network.backends), ephemeral=False) as running:
        # They would have all processors, and every start of the daemon would take seconds.
        wrks = [load.start_wrk(lab, network.client.ns, f"http://{VIP}/id", 600, 16, gives_way=True),
                load.start_wrk(lab, network.client.ns, f"http://[{VIP6}]/id", 600, 8, gives_way=True),
                load.start_wrk(lab, network.client.ns, f"http://{VIP}/id", 600, 4, new_connections=True, gives_way=True)]
        redis.start()
        wait_for("redis-benchmark's connections", lambda: redis.count("total_connections_received") >= 60)
        time.sleep(0.5)
        begun, slowest = redis.count("total_connections_received"), 0.0
        for number in range(RELOADS):
            asked = time.monotonic()
            running.reload(files[number % len(files)])
            slowest = max(slowest, time.monotonic() - asked)
        for _ in range(RESTARTS):
            assert running.stop() == 0
            running.start()
        usual = statistics.median(Reload(running, file).seconds() for file in files)
        kills = in_a_reload = 0
        while kills < KILLS or (in_a_reload < IN_A_RELOAD and kills < 3 * KILLS):
            reload = Reload(running, files[kills % len(files)])
            time.sleep(chance.uniform(0, (1, 4)[kills % 2] * usual))
            running.kill()
            in_a_reload += reload.answer() == b""
            kills += 1
            running.start()
        for wrk in wrks:
            assert wrk.poll() is None, "wrk goes on until it is told to end"
            wrk.send_signal(signal.SIGINT)
        kept, kept6, fresh = (load.finish_wrk(wrk) for wrk in wrks)
        commands = redis.count("total_commands_processed")
        said = redis.finish()
        looks = 2 * len(network.backends)
        assert redis.count("total_connections_received") - begun <= looks, "none was opened anew but for these looks"
        assert running.status()["last_reload"]["result"] in ("", "ok")
    measured(f"{RELOADS} reloads ({slowest:.2f} s at most), {RESTARTS} restarts, {kills} kills ({in_a_reload} in a reload, which takes {usual * 1000:.0f} ms): "
             f"{kept.requests:,} and {kept6.requests:,} requests on kept connections, {fresh.requests:,} on new ones, {commands:,} of redis; "
             f"errors {kept.errors or 'none'}, {kept6.errors or 'none'}, {fresh.errors or 'none'}")
    assert kept.failed == kept6.failed == fresh.failed == 0, (kept, kept6, fresh)
    assert "rror" not in said, said
    assert in_a_reload >= IN_A_RELOAD, "kills in the middle of a reload"
    assert kept.requests > 20_000 and kept6.requests > 5_000 and fresh.requests > 2_000 and commands > 20_000


def test_a_drained_backend_gets_no_new_connection_whatever_happens(two_armed, measured):
    network, lab = two_armed.network, two_armed.lab
    with Featherlb(network, both(network, network.backends), ephemeral=False) as running:
        wrk = load.start_wrk(lab, network.client.ns, f"http://{VIP}/id", 300, 8, new_connections=True, gives_way=True)

        def accepted() -> int:
            return two_armed.servers.nginx[1].counters()[0]

        wait_for("connections", lambda: accepted() > 100)
        running.command("drain", "web/b2")
        time.sleep(0.2)
        before = accepted()
        for number in range(5):
            running.command("reload")
            running.kill()
            running.start()
            assert running.stop() == 0
            running.start()
        after = accepted()
        running.command("undrain", "web/b2")
        wait_for("its return", lambda: accepted() > after + 20)
        wrk.send_signal(signal.SIGINT)
        report = load.finish_wrk(wrk)
        assert clients.http_get(network.client.ns, (VIP, 80)) in ("b1", "b2", "b3")
    measured(f"5 reloads, 5 kills, 5 restarts: {after - before} connections to the drained one, of {report.requests:,}")
    assert after == before and report.failed == 0, report
