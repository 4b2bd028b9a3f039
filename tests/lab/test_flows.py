# SPDX-License-Identifier: Apache-2.0
"""`featherlb flows`: what it lists and counts is what clients hold, and --kill ends exactly what it names."""
import http.client
import json
import socket
import threading
import time
from collections import Counter

import pytest
from labkit import clients
from labkit.backends import DNS_PORT, ECHO_PORT
from labkit.balancer import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, Featherlb
from labkit.config import configuration, endpoint, service
from labkit.faults import Waiting, all_reset
from labkit.flood import FloodNetwork
from labkit.lab import Lab, wait_for
from labkit.topology import pool_address, service_address

pytestmark = pytest.mark.no_standin

WAYS = [(family, forward) for family in (4, 6) for forward in ("snat", "dnat")]
EACH = 6  # connections through each service, two to each of three backends


def services(network) -> dict:
    return configuration(network, [
        *(service(f"{forward}-{family}", [endpoint(service_address(family, forward), 7) + "/tcp"], network.backends,
                  family, ECHO_PORT, forward) for family, forward in WAYS),
        service("dns", [endpoint(service_address(4), 53) + "/udp"], network.backends, 4, DNS_PORT)],
        timeouts={"udp_unreplied": "10m"})  # what is listed must be there still on a slow machine


@pytest.fixture
def running(two_armed):
    with Featherlb(two_armed.network, services(two_armed.network)) as running:
        yield running


@pytest.fixture
def held(two_armed, running):
    """Connections through every service that have carried data: {socket: (family, forward, source)}."""
    network = two_armed.network
    socks = {}
    for family, forward in WAYS:
        for number in range(EACH):
            source = pool_address(family, 700 + number % 2)
            sock = clients.connect(network.client.ns, (service_address(family, forward), 7), (source, 0))
            clients.echo_every_length(sock, range(1, 5), stream=True)
            socks[sock] = (family, forward, source)
    yield socks
    for sock in socks:
        sock.close()


def flows(running, *words: str) -> dict:
    return json.loads(running.command("flows", *words, "--json").stdout)


def total(running, *words: str) -> int:
    answer = flows(running, "--state", "open", *words)
    assert answer["total"] == answer["shown"] == len(answer["flows"])
    assert flows(running, "--count", "--state", "open", *words)["total"] == answer["total"]
    return answer["total"]


def own_address(sock) -> str:
    return endpoint(*sock.getsockname()[:2])


def test_what_is_listed_is_what_clients_hold(two_armed, running, held):
    rows = {row["client"]: row for row in flows(running, "--state", "open")["flows"]}
    assert len(rows) == len(held) == 24
    peers = {endpoint(*peer) for server in two_armed.servers.echo for peer in server.peers()}
    for sock, (family, forward, _) in held.items():
        row = rows[own_address(sock)]
        assert (row["service"], row["forward"], row["protocol"]) == (f"{forward}-{family}", forward, "tcp")
        assert row["listener"] == endpoint(service_address(family, forward), 7)
        assert (row["state"], row["proven"]) == ("established", True)
        assert row["idle_seconds"] <= 20
        assert row["source"] in peers, "as the backend sees it"
        assert (row["source"] == row["client"]) == (forward == "dnat")
    assert Counter(row["backend"] for row in rows.values()) == {"b1": 8, "b2": 8, "b3": 8}


def test_each_filter_and_the_counts(two_armed, running, held):
    network = two_armed.network
    with clients.udp_socket(network.client.ns, (service_address(4), 53)) as udp:
        clients.dns_query(udp)
        assert total(running) == 25
        assert total(running, "--protocol", "tcp") == 24
        assert total(running, "--protocol", "udp") == 1
        assert flows(running, "--protocol", "udp")["flows"][0]["state"] == "udp_replied"
        for family, forward in WAYS:
            assert total(running, "--service", f"{forward}-{family}") == EACH
            assert total(running, "--service", f"{forward}-{family}", "--backend", "b2") == EACH / 3
        assert total(running, "--backend", "b1", "--protocol", "tcp") == 8
        assert total(running, "--backend", endpoint(network.backends[0].ipv6, ECHO_PORT)) == 4
        assert total(running, "--client", pool_address(4, 700)) == EACH
        assert total(running, "--client", "10.100.0.0/16") == 2 * EACH
        assert total(running, "--client", "fd00:100::/64") == 2 * EACH
        assert flows(running, "--state", "established")["total"] == 24
        some = flows(running, "--limit", "5")
        assert (some["total"], some["shown"], len(some["flows"])) == (25, 5, 5)
        count = flows(running, "--count")
        assert count["by_service"] == {**{f"{forward}-{family}": EACH for family, forward in WAYS}, "dns": 1}
        assert count["by_protocol"] == {"tcp": 24, "udp": 1}
        assert count["by_state"] == {"established": 24, "udp_replied": 1}
        assert sum(row["connections"] for row in count["by_backend"]) == 25


def test_the_text_fits_and_says_how_many(running, held):
    text = running.command("flows", "--limit", "20").stdout
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text.splitlines()[-1] == "24 connections, 20 of them shown; --limit shows more"
    assert "dnat-6/b" in running.command("flows", "--service", "dnat-6").stdout
    assert running.command("flows", "--count", "--backend", "b1").stdout.startswith("8 connections\n")


def works(sock) -> bool:
    try:
        clients.echo_every_length(sock, range(1, 5), stream=True)
        return True
    except ConnectionError:
        return False


@pytest.mark.parametrize("words, meant", [
    (("--service", "dnat-4"), lambda family, forward, source: (family, forward) == (4, "dnat")),
    (("--service", "snat-6"), lambda family, forward, source: (family, forward) == (6, "snat")),
    (("--client", pool_address(4, 700)), lambda family, forward, source: source == pool_address(4, 700)),
    (("--client", "fd00:100::/64"), lambda family, forward, source: family == 6),
    (("--all",), lambda family, forward, source: True),
], ids=("dnat-4", "snat-6", "address", "network", "all"))
def test_kill_resets_both_sides_of_what_is_named_and_nothing_else(two_armed, running, held, measured, words, meant):
    lost = [sock for sock, how in held.items() if meant(*how)]
    others = [sock for sock in held if sock not in lost]
    waiting = [Waiting(sock) for sock in lost]
    begun = time.monotonic()
    answer = flows(running, "--kill", *words, "--yes")
    assert answer == {"result": "ok", "killed": len(lost), "warnings": []}
    measured(f"{len(lost)} waiting clients: reset after {all_reset(waiting) - begun:.2f} s at most")
    assert all(works(sock) for sock in others)
    assert total(running) == len(others)

    def backends_know() -> bool:
        return sum(len(server.peers()) for server in two_armed.servers.echo) == len(others)

    wait_for("the backends to be told", backends_know, 3)
    open_ones = sum(backend["open"] for one in running.status()["services"] for backend in one["backends"])
    assert open_ones == len(others)
    assert running.status()["flows"]["corrected"] == 0
    drops = {row["reason"] for row in running.status()["drops"]}
    assert "killed" in drops


def test_a_killed_client_may_come_back_at_once(two_armed, running, held):
    network = two_armed.network
    for family, forward in WAYS:
        sock = next(sock for sock, how in held.items() if how[:2] == (family, forward))
        source = sock.getsockname()[:2]
        flows(running, "--kill", "--service", f"{forward}-{family}", "--yes")
        with pytest.raises(ConnectionResetError):
            for _ in range(50):
                sock.sendall(b"?")
                sock.recv(1)
        with clients.connect(network.client.ns, (service_address(family, forward), 7), source) as again:
            clients.echo_every_length(again, range(1, 30), stream=True)


def test_a_killed_udp_flow_begins_anew(two_armed, running):
    with clients.udp_socket(two_armed.network.client.ns, (service_address(4), 53)) as sock:
        before = clients.dns_query(sock)
        assert flows(running, "--kill", "--protocol", "udp", "--yes")["killed"] == 1
        assert flows(running, "--protocol", "udp")["total"] == 0
        assert clients.dns_query(sock) != before, "round robin has gone on"


def test_killed_connections_leave_the_counts_of_their_sources(two_armed):
    network = two_armed.network
    config = services(network)
    config["services"][0]["limits"] = {"connections_per_source": 2}
    to = (service_address(4), 7)
    with Featherlb(network, config) as running:
        first = [clients.connect(network.client.ns, to) for _ in range(2)]
        for sock in first:
            clients.echo_every_length(sock, range(1, 3), stream=True)
        flows(running, "--kill", "--service", "snat-4", "--yes")
        second = [clients.connect(network.client.ns, to) for _ in range(2)]
        for sock in second:
            clients.echo_every_length(sock, range(1, 3), stream=True)
        for sock in first + second:
            sock.close()


@pytest.mark.parametrize("words, text, code", [
    (("--kill",), "--kill needs to know which", EXIT_USAGE),
    (("--kill", "--all"), "--kill has nobody to ask", EXIT_USAGE),
    (("--kill", "--all", "--service", "dns"), "contradict", EXIT_USAGE),
    (("--client", "10.0.0.1/8"), "bits behind its prefix", EXIT_USAGE),
    (("--state", "establised"), 'did you mean "established"?', EXIT_USAGE),
    (("--service", "dsn"), 'there is no service "dsn"; did you mean "dns"?', EXIT_FAILED),
    (("--service", "dns", "--backend", "b9"), 'service dns has no backend "b9"; did you mean "b1"?', EXIT_FAILED),
])
def test_what_is_wrong_is_said(running, words, text, code):
    done = running.command("flows", *words, check=False)
    assert (done.returncode, text in done.stdout) == (code, True), done.stdout


@pytest.mark.parametrize("words", [(), ("--count",), ("--kill", "--all", "--yes")])
def test_without_a_daemon(two_armed, words):
    done = Featherlb(two_armed.network, services(two_armed.network)).command("flows", *words, check=False)
    assert done.returncode == EXIT_UNREACHABLE
    assert "no daemon answers at" in done.stdout


class Admin(http.client.HTTPConnection):
    """HTTP over the admin socket."""

    def __init__(self, path):
        super().__init__("featherlb", timeout=60)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        self.request(method, path, json.dumps(body) if body is not None else None)
        answer = self.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.alone
@pytest.mark.slow
def test_a_large_table_holds_nothing_up(make_balancer, measured):
    """More than a hundred thousand flows: while they are listed, counted and ended, status answers as before."""
    with Lab() as lab:
        network = FloodNetwork(lab)
        with make_balancer(network, {**network.configuration(1048576), "timeouts": {"udp_unreplied": "10m"}}) as running:
            admin, count = Admin(running.socket), {"total": 0}
            while count["total"] < 120000:
                assert network.flood("udp", 2, 50000).result()["sent"] > 0
                count = admin.ask("GET", "/v1/flows?count=1&protocol=udp")[1]
            alone = max(_status_times(running, lambda: False, 20))
            for what, ask in {
                "listed": lambda: Admin(running.socket).ask("GET", "/v1/flows?limit=100000"),
                "counted": lambda: Admin(running.socket).ask("GET", "/v1/flows?count=1"),
                "ended": lambda: Admin(running.socket).ask("POST", "/v1/flows/kill", {"protocol": "udp"}),
            }.items():
                answer = []
                began = time.monotonic()
                thread = threading.Thread(target=lambda: answer.append(ask()))
                thread.start()
                times = _status_times(running, thread.is_alive, 1)
                thread.join()
                took = time.monotonic() - began
                [(code, found)] = answer
                assert code == 200
                assert found.get("total", found.get("killed")) >= 100000
                measured(f"{count['total']:,} flows {what} in {took:.2f} s; status took {max(times) * 1e3:.0f} ms at most "
                         f"of {len(times)} (alone {alone * 1e3:.0f} ms)")
                assert max(times) < 1.0 + alone
            assert admin.ask("GET", "/v1/flows?protocol=udp")[1]["total"] == 0


def _status_times(running, more, least: int) -> list[float]:
    times = []
    while len(times) < least or more():
        began = time.monotonic()
        code, _ = Admin(running.socket).ask("GET", "/v1/status")
        assert code == 200
        times.append(time.monotonic() - began)
    return times
