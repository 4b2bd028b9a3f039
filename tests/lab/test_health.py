# SPDX-License-Identifier: Apache-2.0
"""Backends that die, lie or fall silent: they leave in time, return, and others do not notice."""
import contextlib
import signal
import threading
import time
from collections import Counter

import pytest
from conftest import Place
from labkit import clients, load
from labkit.backends import ECHO_PORT, HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.topology import service_address

VIP = service_address(4)
INTERVAL, TIMEOUT, RISE, FALL = 0.5, 0.4, 2, 3
SLACK = 1.5  # of a machine that has other things to do
TIMES = {"interval": "500ms", "timeout": "400ms", "rise": RISE, "fall": FALL}
TCP = {"type": "tcp", **TIMES}
HTTP = {"type": "http", "path": "/id", **TIMES}
pytestmark = pytest.mark.no_standin


@pytest.fixture(scope="module")
def place():
    place = Place("two-armed", dns=False)
    yield place
    place.lab.close()


def web(network, health=None, **settings) -> dict:
    more = {**({"health": health} if health else {}), **settings}
    return configuration(network, [
        {**service("web", [endpoint(VIP, 80) + "/tcp"], network.backends, 4, HTTP_PORT), **more}])


def everywhere(network, health) -> dict:
    """One service for each IP version and each way of forwarding: dnat must not take the checks' answers for its own."""
    return configuration(network, [
        {**service(f"web-{forward}-{family}", [endpoint(service_address(family, forward), 80) + "/tcp"],
                   network.backends, family, HTTP_PORT, forward), "health": health}
        for family in (4, 6) for forward in ("snat", "dnat")])


def backends(running, index: int) -> list[dict]:
    """The backend's entries in all services."""
    found = [backend for one in running.status()["services"] for backend in one["backends"]
             if backend["name"] == f"b{index + 1}"]
    assert found
    return found


def wait_state(running, index: int, state: str, timeout: float) -> float:
    """Until the backend has this state in all services; the seconds that it took."""
    began = time.monotonic()
    wait_for(f"b{index + 1} {state}", lambda: all(b["state"] == state for b in backends(running, index)), timeout)
    return time.monotonic() - began


def wait_checked(running) -> None:
    """Until every backend has had a good check."""
    wait_for("the first checks", lambda: all(
        backend["checks"]["good"] > 0 for one in running.status()["services"] for backend in one["backends"]))


def names(network, to=(VIP, 80), count: int = 12) -> Counter:
    return Counter(clients.http_get(network.client.ns, to) for _ in range(count))


@pytest.mark.parametrize("health", (TCP, HTTP), ids=("tcp", "http"))
def test_a_service_that_is_killed_leaves_in_time_and_returns(place, network, measured, health):
    with Featherlb(network, everywhere(network, health)) as running:
        wait_checked(running)
        place.servers.nginx[1].kill()
        left = wait_state(running, 1, "down", FALL * INTERVAL + TIMEOUT + SLACK)
        for family in (4, 6):
            for forward in ("snat", "dnat"):
                assert names(network, (service_address(family, forward), 80)) == {"b1": 6, "b3": 6}
        for backend in backends(running, 1):
            assert backend["reason"] == "connection refused"
            assert backend["udp_fate"] == "rehash" and backend["tcp_fate"] == ""
        assert running.log().count("is down: connection refused (3 failed checks in a row)") == 4
        place.servers.nginx[1].start()
        returned = wait_state(running, 1, "up", RISE * INTERVAL + TIMEOUT + SLACK)
        assert names(network) == {"b1": 4, "b2": 4, "b3": 4}
        assert running.log().count("is up: 2 good checks in a row") == 4
    measured(f"left after {left:.2f} s, returned after {returned:.2f} s")


def test_a_wrong_status_takes_a_backend_out(place, network):
    pages = [server.directory / "files" / "up.txt" for server in place.servers.nginx]
    for page in pages:
        page.write_text("ready\n")
    with Featherlb(network, web(network, {**HTTP, "path": "/up.txt"})) as running:
        wait_checked(running)
        pages[0].unlink()
        wait_state(running, 0, "down", FALL * INTERVAL + TIMEOUT + SLACK)
        assert backends(running, 0)[0]["reason"] == "HTTP 404, expected 200-299"
        assert "HTTP 404, expected 200-299" in running.command("status").stdout
        assert names(network) == {"b2": 6, "b3": 6}
        running.reload(web(network, {**HTTP, "path": "/up.txt", "expect": "404"}))
        wait_state(running, 0, "up", RISE * INTERVAL + TIMEOUT + SLACK)


def test_one_that_flaps_is_named_once_and_held_down(place, network, measured):
    page = place.servers.nginx[0].directory / "files" / "flaps.txt"
    for server in place.servers.nginx:
        (server.directory / "files" / "flaps.txt").write_text("ready\n")
    health = {"type": "http", "path": "/flaps.txt", "interval": "100ms", "rise": 1, "fall": 1}
    with Featherlb(network, web(network, health)) as running:
        wait_checked(running)
        before = running.holds()
        for _ in range(10):
            page.unlink()
            time.sleep(0.35)
            page.write_text("ready\n")
            time.sleep(0.35)
        page.unlink()  # so that nothing changes while it is looked at
        changes = running.log().count("backend 10.2.0.11:8080 of web is ")
        assert changes <= 4, running.log()
        assert running.log().count("backend 10.2.0.11:8080 of web flaps: it is down for the 3rd time") == 1
        backend = backends(running, 0)[0]
        assert (backend["state"], backend["checks"]["flapping"]) == ("down", True)
        assert backend["checks"]["needed"] >= 10
        assert "flaps: up after" in running.command("status").stdout
        assert names(network) == {"b2": 6, "b3": 6}
        page.write_text("ready\n")
        back = wait_state(running, 0, "up", 60)
        wait_for("steady", lambda: "of web no longer flaps: 60 good checks in a row" in running.log(), 60)
        assert not backends(running, 0)[0]["checks"]["flapping"]
        after = running.holds()
    measured(f"10 failures of 0.35 s: {changes} changes, up {back:.1f} s after the last; before {before}, after {after}")
    # A check that is under way has a descriptor.
    for what, more in (("descriptors", len(network.backends)), ("threads", 0), ("KiB", 2048)):
        assert after[what] <= before[what] + more, (before, after)


def test_one_that_refuses_clients_is_asked_at_once(place, network, measured):
    health = {"type": "tcp", "interval": "30s", "fast_interval": "200ms", "timeout": "200ms", "fall": 3}
    with Featherlb(network, web(network, health, avoid_refused="0s")) as running:
        time.sleep(1)
        place.servers.nginx[1].kill()
        began = time.monotonic()
        for _ in range(6):
            with contextlib.suppress(ConnectionError):
                clients.http_get(network.client.ns, (VIP, 80))
        wait_for("b2 down", lambda: backends(running, 1)[0]["state"] == "down", 20)
        took = time.monotonic() - began
        place.servers.nginx[1].start()
        assert took < 15, "without the clients it would have been 30 s at the least"
    measured(f"checks every 30 s: down {took:.2f} s after clients were refused")


def test_a_host_that_falls_silent_is_down(network):
    silent = network.backends[2].ns
    with Featherlb(network, web(network, TCP)) as running:
        wait_checked(running)
        silent.ip("link set eth0 down")
        try:
            wait_state(running, 2, "down", FALL * INTERVAL + TIMEOUT + SLACK)
            assert names(network) == {"b1": 6, "b2": 6}
        finally:
            silent.ip("link set eth0 up\nroute add default via 10.2.0.1")
            silent.ip(f"addr replace {network.backends[2].ipv6}/64 dev eth0 nodad\nroute replace default via fd00:2::1")
        wait_state(running, 2, "up", 15)


def test_panic_uses_all(place, network):
    with Featherlb(network, web(network, TCP, min_healthy="50%", on_backend_down="reset")) as running:
        wait_checked(running)
        place.servers.nginx[1].kill()
        wait_state(running, 1, "down", 5)
        assert backends(running, 1)[0]["tcp_fate"] == "reset"
        assert not running.status()["services"][0]["panic"]
        place.servers.nginx[2].kill()
        wait_for("panic", lambda: running.status()["services"][0]["panic"], 5)
        status = running.status()["services"][0]
        assert all(backend["used"] and backend["tcp_fate"] == "" for backend in status["backends"])
        assert status["panics"] == 1 and running.log().count("PANIC") == 1
        assert "PANIC" in running.command("status").stdout
        place.servers.nginx[1].start()
        wait_for("the end of panic", lambda: not running.status()["services"][0]["panic"], 5)
        assert names(network) == {"b1": 6, "b2": 6}


def test_when_all_are_down_clients_are_refused(place, network):
    with Featherlb(network, web(network, TCP, all_down="refuse")) as running:
        wait_checked(running)
        for server in place.servers.nginx:
            server.kill()
        wait_for("all down", lambda: running.status()["services"][0]["refusing"], 5)
        for _ in range(5):
            with pytest.raises(ConnectionRefusedError):
                clients.connect(network.client.ns, (VIP, 80), timeout=0.5)
        for server in place.servers.nginx:
            server.start()
        wait_for("all up", lambda: all(b["state"] == "up" for b in running.status()["services"][0]["backends"]), 5)
        assert not running.status()["services"][0]["refusing"]
        assert names(network) == {"b1": 4, "b2": 4, "b3": 4}


SLOW_SERVER = """
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(1.2)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 9001), Handler).serve_forever()
"""


@pytest.mark.slow
def test_a_daemon_that_was_stopped_marks_nothing_down(place, network):
    """Checks take 1.2 s of two, and each stop comes while one is under way; a single failure would be enough."""
    slow = [place.lab.start(host.ns, ["/usr/bin/python3", "-c", SLOW_SERVER]) for host in network.backends]
    health = {"type": "http", "port": 9001, "interval": "2s", "timeout": "2s", "rise": 1, "fall": 1}
    with Featherlb(network, web(network, health)) as running:
        wait_for("all up", lambda: all(b["checks"]["good"] > 0 and b["state"] == "up"
                                       for b in running.status()["services"][0]["backends"]))
        downs = running.log().count("is down")
        # Alone, answers come meanwhile; together, as when a whole machine is suspended, they are missing on waking.
        for stopped, together in ((10, False), (0.7, False), (3, True)):
            time.sleep(1.1)  # the check that was waited for ended 0.8 s before the next one of that backend begins
            others = slow if together else []
            for process in others:
                process.send_signal(signal.SIGSTOP)
            running.process.send_signal(signal.SIGSTOP)
            time.sleep(stopped)
            running.process.send_signal(signal.SIGCONT)
            time.sleep(0.2)
            for process in others:
                process.send_signal(signal.SIGCONT)
            good = [backend["checks"]["good"] for backend in running.status()["services"][0]["backends"]]
            wait_for("checks afterwards", lambda good=good: all(
                backend["checks"]["good"] >= before + 2
                for backend, before in zip(running.status()["services"][0]["backends"], good)), 20)
        status = running.status()["services"][0]
        assert running.log().count("is down") == downs, running.log()
        assert all(backend["state"] == "up" for backend in status["backends"])
        assert any(backend["checks"]["discarded"] for backend in status["backends"]), "the last stop met a check"
    for process in slow:
        place.lab.stop(process)


def test_a_daemon_that_starts_again_knows_who_is_down(place, network):
    with Featherlb(network, web(network, TCP), ephemeral=False) as running:
        wait_checked(running)
        place.servers.nginx[0].kill()
        wait_state(running, 0, "down", 5)
        running.stop()
        assert names(network) == {"b2": 6, "b3": 6}
        running.start()
        assert backends(running, 0)[0]["state"] == "down"
        assert names(network) == {"b2": 6, "b3": 6}
        place.servers.nginx[0].start()
        wait_state(running, 0, "up", 5)


class Watched:
    """Connections that are kept busy, each with the name of its backend, and what became of them."""

    def __init__(self, network, count: int):
        self.socks = [clients.connect(network.client.ns, (VIP, 80), timeout=10) for _ in range(count)]
        self.names = [self._ask(sock) for sock in self.socks]
        self.errors: Counter = Counter()
        self.requests: Counter = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=pair) for pair in zip(self.names, self.socks)]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _ask(sock) -> str:
        sock.sendall(b"GET /id HTTP/1.1\r\nHost: lab\r\n\r\n")
        data = b""
        while not data.endswith(b"\n") or b"\r\n\r\n" not in data or data.endswith(b"\r\n\r\n"):
            part = sock.recv(65536)
            if not part:
                raise ConnectionError("closed")
            data += part
        return data.split(b"\r\n\r\n")[1].decode().strip()

    def _run(self, name, sock) -> None:
        while not self._over.is_set():
            try:
                if self._ask(sock) != name:
                    self.errors[name] += 1
                self.requests[name] += 1
            except OSError:
                self.errors[name] += 1
                return
            time.sleep(0.02)

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for sock in self.socks:
            sock.close()


@pytest.mark.slow
@pytest.mark.parametrize("death", ("process", "host"))
def test_killing_one_of_three_under_load_harms_no_connection_of_the_others(place, network, measured, death):
    config = web(network, TCP)
    config["services"][0]["algorithm"] = "maglev"
    with Featherlb(network, config) as running:
        wait_checked(running)
        watched = Watched(network, 30)
        assert set(watched.names) == {"b1", "b2", "b3"}
        wrk = load.start_wrk(place.lab, network.client.ns, f"http://{VIP}/id", 60, 30)
        time.sleep(1)
        before = dict(watched.requests)
        if death == "process":
            place.servers.nginx[0].kill()
        else:
            network.backends[0].ns.ip("link set eth0 down")
        try:
            left = wait_state(running, 0, "down", FALL * INTERVAL + TIMEOUT + SLACK)
            answers = names(network, count=40)
            time.sleep(2)
        finally:
            if death == "host":
                network.backends[0].ns.ip("link set eth0 up\nroute add default via 10.2.0.1")
                network.backends[0].ns.ip(
                    f"addr replace {network.backends[0].ipv6}/64 dev eth0 nodad\nroute replace default via fd00:2::1")
            wrk.send_signal(signal.SIGINT)
            report = load.finish_wrk(wrk)
            watched.close()
    measured(f"down after {left:.2f} s; {dict(watched.requests)} requests on watched connections, errors "
             f"{dict(watched.errors)}; wrk {report.requests_per_second:,.0f}/s, {report.errors or 'no'} errors")
    assert set(answers) == {"b2", "b3"}
    assert watched.errors["b2"] == watched.errors["b3"] == 0
    assert all(watched.requests[name] > before[name] + 20 for name in ("b2", "b3"))


@pytest.mark.parametrize("what", ("reset", "rehash", "keep"))
def test_connections_of_a_backend_that_is_down_meet_what_is_configured(place, network, what):
    """The check fails, the server does not: so `keep` has something to keep."""
    page = place.servers.nginx[0].directory / "files" / "fate.txt"
    for server in place.servers.nginx:
        (server.directory / "files" / "fate.txt").write_text("well\n")
    health = {**HTTP, "path": "/fate.txt", "port": HTTP_PORT}
    config = configuration(network, [{**service("echo", [endpoint(VIP, 7) + "/tcp"], network.backends, 4, ECHO_PORT),
                                      "health": health, "on_backend_down": what}])
    with Featherlb(network, config) as running:
        wait_checked(running)
        socks = [clients.connect(network.client.ns, (VIP, 7)) for _ in range(3)]
        for sock in socks:
            clients.echo_every_length(sock, range(1, 10), stream=True)
        page.unlink()
        wait_state(running, 0, "down", FALL * INTERVAL + TIMEOUT + SLACK)
        ended = 0
        for sock in socks:
            try:
                clients.echo_every_length(sock, range(1, 10), stream=True)
            except ConnectionResetError:
                ended += 1
            sock.close()
    assert ended == (0 if what == "keep" else 1)


def test_a_drain_has_its_deadline(network):
    def config(hosts, **settings):
        return configuration(network, [
            {**service("echo", [endpoint(VIP, 7) + "/tcp"], hosts, 4, ECHO_PORT), **settings}])

    with Featherlb(network, config(network.backends[:1], drain_timeout="3s")) as running:
        with clients.connect(network.client.ns, (VIP, 7)) as sock:
            clients.echo_every_length(sock, range(1, 10), stream=True)
            running.reload(config(network.backends[1:], drain_timeout="3s"))
            [leaving] = [b for b in running.status()["services"][0]["backends"] if b["address"].startswith("10.2.0.11:")]
            assert leaving["state"] == "draining" and leaving["tcp_fate"] == ""
            assert "its connections end in" in leaving["reason"]
            clients.echo_every_length(sock, range(1, 10), stream=True)
            wait_for("the deadline", lambda: any(
                b["address"].startswith("10.2.0.11:") and b["tcp_fate"] == "reset"
                for b in running.status()["services"][0]["backends"]), 6)
            assert "has drained for 3s: what connections are left" in running.log()
            with pytest.raises(ConnectionResetError):
                clients.echo_every_length(sock, range(1, 10), stream=True)
        with clients.connect(network.client.ns, (VIP, 7)) as sock:
            clients.echo_every_length(sock, range(1, 10), stream=True)
