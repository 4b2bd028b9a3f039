# SPDX-License-Identifier: Apache-2.0
"""drain, undrain and weight on a running balancer: what they do to traffic, how long they hold, what they print."""
import json
import re
import time
from collections import Counter

import pytest
from labkit import clients, load
from labkit.backends import ECHO_PORT, HTTP_PORT
from labkit.balancer import EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE, Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.topology import service_address

VIP = service_address(4)
pytestmark = pytest.mark.no_standin


def web(network, weights=None) -> dict:
    hosts = network.backends
    return configuration(network, [
        service("web", [endpoint(VIP, 80) + "/tcp"], hosts, 4, HTTP_PORT, algorithm="weighted-round-robin", weights=weights),
        service("echo", [endpoint(VIP, 7) + "/tcp"], hosts, 4, ECHO_PORT, algorithm="round-robin")])


def names(network, count: int = 30) -> Counter:
    return Counter(clients.http_get(network.client.ns, (VIP, 80)) for _ in range(count))


def backend(running, name: str, of: str = "web") -> dict:
    services = {one["name"]: one for one in running.status()["services"]}
    return {one["name"]: one for one in services[of]["backends"]}[name]


def test_under_load_a_drained_backend_gets_nothing_and_no_request_fails(two_armed, measured):
    network = two_armed.network
    server = two_armed.servers.nginx[0]
    with Featherlb(network, web(network)) as running:
        attack = load.start_wrk(two_armed.lab, network.client.ns, f"http://{VIP}/id", 8, 20, new_connections=True)
        time.sleep(1)
        begun = time.monotonic()
        done = running.command("drain", "web/b1", "--wait", "--timeout", "5s")
        took = time.monotonic() - begun
        assert done.stdout == "web/b1 (10.2.0.11:8080) takes no new connections; no connection is left\n"
        before = server.counters()[0]
        time.sleep(1)
        assert server.counters()[0] == before, "no new connection"
        assert backend(running, "b1")["state"] == "draining"
        running.command("undrain", "web/b1")
        wait = time.monotonic() + 3
        while server.counters()[0] == before and time.monotonic() < wait:
            time.sleep(0.05)
        assert server.counters()[0] > before
        report = load.finish_wrk(attack)
        measured(f"drain --wait under {report.requests_per_second:,.0f} new connections a second: {took * 1e3:.0f} ms")
        assert report.failed == 0


def test_wait_lasts_as_long_as_a_connection_and_gives_up_in_time(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        with clients.connect(network.client.ns, (VIP, 7)) as sock:
            clients.echo_every_length(sock, range(1, 3), stream=True)
            name = next(n for n in ("b1", "b2", "b3") if backend(running, n, "echo")["open"] == 1)
            done = running.command("drain", f"echo/{name}", "--wait", "--timeout", "1s", check=False)
            assert done.returncode == EXIT_FAILED
            assert "1 connections are left; it goes on draining" in done.stdout
            clients.echo_every_length(sock, range(1, 30), stream=True)
        assert json.loads(running.command("drain", f"echo/{name}", "--wait", "--json").stdout) == {
            "result": "ok", "warnings": [], "connections_left": 0, "not_up": [],
            "backends": [{"name": name, "address": backend(running, name, "echo")["address"]}]}


def test_wait_lasts_until_a_backend_has_its_share_again(two_armed):
    network = two_armed.network
    config = web(network)
    config["services"][0].update(slow_start="2s", health={"type": "tcp", "interval": "200ms", "rise": 1, "fall": 1})
    with Featherlb(network, config) as running:
        assert "; no connection is left" in running.command("weight", "web/b1", "0", "--wait").stdout
        began = time.monotonic()
        done = running.command("undrain", "web/b1", "--wait", check=False)
        assert done.returncode == EXIT_FAILED, "it was not drained, it has weight 0"
        done = running.command("weight", "web/b1", "file", "--wait", "--timeout", "30s")
        assert "; it is up" in done.stdout and time.monotonic() - began > 1.9
        assert backend(running, "b1")["slow_start_percent"] == 100
        running.command("drain", "web/b1", "--wait")
        two_armed.servers.nginx[0].kill()
        done = running.command("undrain", "web/b1", "--wait", "--timeout", "1s", check=False)
        two_armed.servers.nginx[0].start()
        assert done.returncode == EXIT_FAILED
        assert re.search(r"b1 (is down|has not been checked).*; what was said holds", done.stdout), done.stdout
        wait_for("b1 is up", lambda: backend(running, "b1")["state"] == "up")
        done = json.loads(running.command("weight", "web/b1", "1000", "--wait", "--json").stdout)
        assert done["not_up"] == [] and done["connections_left"] == 0


def test_a_deadline_ends_what_is_left(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        with clients.connect(network.client.ns, (VIP, 7)) as sock:
            clients.echo_every_length(sock, range(1, 3), stream=True)
            for name in ("b1", "b2", "b3"):
                running.command("drain", f"echo/{name}", "--deadline", "1s")
            time.sleep(0.5)
            clients.echo_every_length(sock, range(1, 3), stream=True)
            time.sleep(1.5)
            with pytest.raises(ConnectionResetError):
                sock.sendall(b"x" * 100)
                clients.read_exactly(sock, 100)


def test_weights_and_drains_outlive_the_daemon_until_the_file_says_otherwise(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network), ephemeral=False) as running:
        running.command("drain", "web/b3")
        running.command("weight", "web/10.2.0.11:8080", "2")
        assert names(network) == {"b1": 20, "b2": 10}
        running.kill()
        running.start()
        assert names(network) == {"b1": 20, "b2": 10}
        assert backend(running, "b1")["override"]["weight"] == 2
        text = running.command("status").stdout
        assert re.search(r"weight 2 by command at 20\S+; the file: 1", text) and "by command, since 20" in text, text
        running.reload()
        assert names(network) == {"b1": 20, "b2": 10}
        running.reload(web(network, weights=[3, 1, 2]))
        assert names(network, 60) == {"b1": 30, "b2": 10, "b3": 20}
        assert "the file now says weight 3" in running.log()
        running.command("weight", "web/b1", "0")
        assert names(network) == {"b2": 10, "b3": 20}
        running.command("weight", "web/b1", "file")
        assert names(network, 60) == {"b1": 30, "b2": 10, "b3": 20}


@pytest.mark.parametrize("words, text, code", [
    (("drain", "web"), '"web" is not SERVICE/BACKEND', EXIT_USAGE),
    (("drain", "wbe/b1"), 'there is no service "wbe"; did you mean "web"?', EXIT_FAILED),
    (("undrain", "web/b9"), 'service web has no backend "b9"', EXIT_FAILED),
    (("weight", "web/b1", "1001"), '"1001" is no weight from 0 to 1000', EXIT_USAGE),
    (("drain", "web/b1", "--timeout", "1s"), "--timeout goes with --wait", EXIT_USAGE),
])
def test_what_is_wrong_is_said(two_armed, words, text, code):
    with Featherlb(two_armed.network, web(two_armed.network)) as running:
        done = running.command(*words, check=False)
        assert (done.returncode, text in done.stdout) == (code, True), done.stdout


@pytest.mark.parametrize("words", [("drain", "web/b1"), ("undrain", "web/b1"), ("weight", "web/b1", "3")])
def test_without_a_daemon(two_armed, words):
    running = Featherlb(two_armed.network, web(two_armed.network))
    done = running.command(*words, check=False)
    assert done.returncode == EXIT_UNREACHABLE
    assert "no daemon answers at" in done.stdout


def test_the_last_backend_can_be_drained_with_a_warning(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        done = [running.command("drain", f"web/{name}") for name in ("b1", "b2", "b3")]
        assert "warning: no backend of web takes IPv4 connections now" in done[2].stdout
        assert all(one.returncode == EXIT_OK for one in done)
