# SPDX-License-Identifier: Apache-2.0
"""Operating `dsr` and `ipip` with real clients: flows, drains, failures, ranges of ports, copies of the table, and changes under
load. The balancer sees only what clients send."""
import contextlib
import json
import re
import signal
import socket
import time
from collections import Counter

import pytest
from conftest import Place
from labkit import clients, config, load, one_way
from labkit.backends import ECHO_PORT, HTTP_PORT
from labkit.balancer import EXIT_FAILED
from labkit.faults import Waiting, all_reset, silent
from labkit.lab import wait_for
from labkit.ports import ManyPorts

OWN_PORT = 7010  # a server of the test itself
FIRST, LAST = 8100, 8107
EACH = 6  # connections in each IP version, two to each of three backends
FAMILIES = (4, 6)
RELOADS, KILLS = 6, 3
FLOWS, MORE_FLOWS = 16384, 65536
HEALTH = {"type": "tcp", "port": HTTP_PORT, "interval": "400ms", "timeout": "300ms", "rise": 1, "fall": 2}
pytestmark = pytest.mark.no_standin


@pytest.fixture(scope="module")
def place():
    place = Place("two-armed", dns=False)
    one_way.prepare(place.network)
    with one_way.decapsulating(place.network):
        yield place
    place.lab.close()


@pytest.fixture(scope="module", params=("dsr", "ipip"))
def way(request):
    return request.param


@pytest.fixture(scope="module")
def running(place, way, make_balancer):
    """One daemon for all tests of a way: each leaves it as it was, but for the last."""
    with make_balancer(place.network, configured(place.network, way), ephemeral=False) as running:
        yield running


def everywhere(network, way: str, name: str, port: int, hosts=None, **settings) -> list[dict]:
    """A service for each IP version."""
    return [{**config.service(f"{name}-{family}", [config.endpoint(one_way.address(family, way), port) + "/tcp"],
                              network.backends if hosts is None else hosts, family, port, way), **settings}
            for family in FAMILIES]


def ranges(network, way: str) -> list[dict]:
    """Backends by their address alone."""
    services = everywhere(network, way, "range", FIRST)
    for family, one in zip(FAMILIES, services):
        one["listen"] = [f"{config.endpoint(one_way.address(family, way), FIRST)}-{LAST}/tcp"]
        for backend, host in zip(one["backends"], network.backends):
            backend["address"] = host.address(family) if family == 4 else f"[{host.address(family)}]"
    return services


def configured(network, way: str, web=None, **echo) -> dict:
    """`web`: the backends of that service; `echo`: more settings of that one."""
    return config.configuration(network, [
        *everywhere(network, way, "echo", ECHO_PORT, **echo), *everywhere(network, way, "own", OWN_PORT, network.backends[:1]),
        *everywhere(network, way, "web", HTTP_PORT, web, algorithm="maglev"), *ranges(network, way)], flows={"max": FLOWS})


@contextlib.contextmanager
def held(network, way: str, each: int = EACH):
    """{socket: IP version} of connections that have carried data."""
    with contextlib.ExitStack() as stack:
        socks = {}
        for family in FAMILIES:
            for _ in range(each):
                sock = stack.enter_context(clients.connect(network.client.ns, (one_way.address(family, way), ECHO_PORT)))
                clients.echo_every_length(sock, range(1, 5), stream=True)
                socks[sock] = family
        yield socks


def own_address(sock) -> str:
    return config.endpoint(*sock.getsockname()[:2])


def go_on(socks) -> None:
    for sock in socks:
        clients.echo_every_length(sock, range(1, 30), stream=True)


def flows(running, *words: str) -> dict:
    return json.loads(running.command("flows", *words, "--json").stdout)


def backends_of(running, socks) -> list[str]:
    rows = {row["client"]: row["backend"] for row in flows(running, "--state", "open", "--limit", "100000")["flows"]}
    return [rows[own_address(sock)] for sock in socks]


def entries(running, name: str) -> list[dict]:
    """Of the backend, in both echo services."""
    return [one for service in running.status()["services"] for one in service["backends"]
            if service["name"].startswith("echo") and one["name"] == name]


def test_held_connections_are_listed_and_ended(place, running, measured, way):
    with held(place.network, way) as socks:
        rows = {row["client"]: row for row in flows(running, "--state", "open")["flows"]}
        assert rows.keys() == {own_address(sock) for sock in socks}
        for sock, family in socks.items():
            row = rows[own_address(sock)]
            assert (row["service"], row["forward"]) == (f"echo-{family}", way)
            assert row["listener"] == config.endpoint(one_way.address(family, way), ECHO_PORT)
            assert (row["state"], row["proven"], row["source"]) == ("established", True, row["client"])
        assert Counter(row["backend"] for row in rows.values()) == dict.fromkeys(("b1", "b2", "b3"), 2 * EACH // 3)

        lost = [sock for sock, family in socks.items() if family == 4]
        others = [sock for sock, family in socks.items() if family == 6]
        waiting = [Waiting(sock) for sock in lost]
        begun = time.monotonic()
        assert flows(running, "--kill", "--service", "echo-4", "--yes") == {"result": "ok", "killed": EACH, "warnings": []}
        measured(f"{EACH} waiting clients: reset after {all_reset(waiting) - begun:.2f} s at most")
        go_on(others)
        assert flows(running, "--count", "--state", "open")["by_service"] == {"echo-6": EACH}
        assert flows(running, "--kill", "--all", "--yes")["killed"] == EACH
        with pytest.raises(ConnectionResetError):
            others[0].sendall(b"?")
            others[0].recv(1)
        assert any(row["reason"] == "killed" for row in running.status()["drops"])


def test_the_backend_of_a_killed_connection_learns_of_it_when_it_sends(place, running, way):
    """By the client's RST, which has to go the way of its packets once more."""
    network = place.network
    for family in FAMILIES:
        to = (one_way.address(family, way), OWN_PORT)
        with network.backends[0].ns.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM) as listener:
            listener.bind(to)
            listener.listen()
            listener.settimeout(5)
            with clients.connect(network.client.ns, to) as sock, listener.accept()[0] as there:
                sock.sendall(b"?")
                there.settimeout(5)
                assert there.recv(1) == b"?"
                waiting = Waiting(sock)
                assert flows(running, "--kill", "--service", f"own-{family}", "--yes")["killed"] == 1
                all_reset([waiting])
                there.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    there.recv(1)
                there.settimeout(5)
                there.sendall(b"!")
                with pytest.raises(ConnectionResetError):
                    there.recv(1)


def test_a_drain_waits_and_has_its_deadline(place, running, measured, way):
    network = place.network
    with held(network, way, 3) as socks, contextlib.ExitStack() as stack:
        mine = {(socks[sock], name): sock for sock, name in zip(socks, backends_of(running, socks))}
        assert len(mine) == 6, "one of each backend in each service"
        for drained in ("echo-4/b1", "echo-6/b2"):
            stack.callback(running.command, "undrain", drained)
        done = running.command("drain", "echo-4/b1", "--wait", "--timeout", "1s", check=False)
        assert (done.returncode, "1 connections are left; it goes on draining" in done.stdout) == (EXIT_FAILED, True), done.stdout
        go_on(socks)
        mine.pop((4, "b1")).close()
        begun = time.monotonic()
        answer = json.loads(running.command("drain", "echo-4/b1", "--wait", "--timeout", "20s", "--json").stdout)
        left = time.monotonic() - begun
        assert (answer["result"], answer["connections_left"]) == ("ok", 0)
        for _ in range(4):
            go_on([stack.enter_context(clients.connect(network.client.ns, (one_way.address(4, way), ECHO_PORT)))])
        assert flows(running, "--backend", "b1", "--service", "echo-4", "--state", "open")["total"] == 0

        waiting = Waiting(mine.pop((6, "b2")))
        begun = time.monotonic()
        running.command("drain", "echo-6/b2", "--deadline", "1s")
        told = all_reset([waiting]) - begun
        go_on(mine.values())
    measured(f"drain --wait ended {left:.2f} s after the client, a client that waited was reset {told:.2f} s after the drain")
    assert told > 0.9, "no sooner than the deadline"


def test_reset_reaches_clients_of_a_dead_backend_that_only_wait(place, running, measured, way):
    network = place.network
    running.reload(configured(network, way, health=HEALTH, on_backend_down="reset"))

    def checked() -> bool:
        return all(one["checks"]["good"] > 0 for host in network.backends for one in entries(running, host.name))

    wait_for("the first checks", checked)
    with contextlib.ExitStack() as stack:
        stack.callback(running.reload, configured(network, way))
        socks = stack.enter_context(held(network, way))
        at_b1 = [sock for sock, name in zip(socks, backends_of(running, socks)) if name == "b1"]
        assert len(at_b1) == 2 * EACH // 3
        with silent(network.backends[0]):
            begun = time.monotonic()
            took = all_reset([Waiting(sock) for sock in at_b1]) - begun
            assert {one["state"] for one in entries(running, "b1")} == {"down"}
            go_on([sock for sock in socks if sock not in at_b1])
    assert "clients were made to speak" in running.log()
    measured(f"{len(at_b1)} waiting clients: reset {took:.2f} s after their backend fell silent")


def test_each_port_of_a_range_is_that_of_the_backend(place, running, way):
    network, ports = place.network, range(FIRST, LAST + 1)
    with contextlib.ExitStack() as stack:
        for host in network.backends:
            stack.enter_context(ManyPorts(host, ports))
        for family in FAMILIES:
            for port in ports:
                said = set()
                for _ in network.backends:
                    with clients.connect(network.client.ns, (one_way.address(family, way), port)) as sock:
                        said.add(clients.read_all(sock).decode())
                assert said == {f"{host.name} {port}\n" for host in network.backends}


@pytest.mark.slow
def test_reloads_and_crashes_cost_no_request_and_a_larger_table_no_connection(place, running, measured, way):
    """wrk all the time. After the second kill the flow table is made anew, and everything that is open is copied."""
    network, lab = place.network, place.lab
    variants = [configured(network, way, hosts) for hosts in (network.backends[:2], network.backends[1:], network.backends)]
    urls = [f"http://{config.endpoint(one_way.address(family, way), HTTP_PORT)}/id" for family in FAMILIES]
    said, reports = [], []
    with held(network, way) as socks:
        before = backends_of(running, socks)
        wrks = [load.start_wrk(lab, network.client.ns, url, 120, 4, gives_way=True, new_connections=new)
                for url, new in ((urls[0], False), (urls[1], False), (urls[0], True))]
        begun = time.monotonic()
        for number in range(RELOADS):
            running.reload(variants[number % 3])
            time.sleep(0.1)
        for number in range(KILLS):
            running.kill()
            go_on(socks)
            if number == 1:
                running.config = {**running.config, "flows": {"max": MORE_FLOWS}}
            running.start()
            said += re.findall(r"(\d+) connections copied to the new flow table", running.log())
            go_on(socks)
        took = time.monotonic() - begun
        assert backends_of(running, socks) == before
        for wrk in wrks:
            assert wrk.poll() is None, "wrk goes on until it is told to end"
            wrk.send_signal(signal.SIGINT)
            reports.append(load.finish_wrk(wrk))
    sizes = {one["name"]: one["entries"] for one in running.status()["data_plane"]["maps"]}
    measured(f"{RELOADS} reloads and {KILLS} kills in {took:.1f} s, {said} connections copied: {[one.requests for one in reports]} "
             f"requests, failed {[one.failed for one in reports]}")
    assert len(said) == 1 and int(said[0]) >= len(socks) + 8
    assert (sizes["flows4"], sizes["flows6"]) == (MORE_FLOWS,) * 2
    assert [one.failed for one in reports] == [0, 0, 0], reports
    assert all(one.requests > 200 for one in reports), reports
