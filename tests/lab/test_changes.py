# SPDX-License-Identifier: Apache-2.0
"""Changes while traffic flows: the file, reloads, crashes. No request may fail for them."""
import signal
import time
from collections import Counter

import pytest
from labkit import clients, load
from labkit.backends import ECHO_PORT, HTTP_PORT, NAME_PORT
from labkit.balancer import EXIT_INVALID, EXIT_OK, EXIT_UNREACHABLE, Featherlb
from labkit.config import configuration, endpoint, service, write
from labkit.lab import wait_for
from labkit.topology import service_address

VIP = service_address(4)
LOAD_SECONDS = 60  # at most
pytestmark = [pytest.mark.alone, pytest.mark.no_standin]


def web(network, hosts=None, algorithm="round-robin", **sections) -> dict:
    hosts = network.backends if hosts is None else hosts
    return configuration(network, [
        service("web", [endpoint(VIP, 80) + "/tcp"], hosts, 4, HTTP_PORT, algorithm=algorithm),
        service("echo", [endpoint(VIP, 7) + "/tcp"], hosts, 4, ECHO_PORT, algorithm=algorithm),
        service("name", [endpoint(VIP, 9) + "/tcp"], hosts, 4, NAME_PORT, algorithm=algorithm)], **sections)


def names(network, count: int = 30) -> Counter:
    return Counter(clients.http_get(network.client.ns, (VIP, 80)) for _ in range(count))


def test_changing_only_the_file_changes_the_backends(two_armed):
    network = two_armed.network
    one, two, three = network.backends
    with Featherlb(network, web(network, [one, two])) as running:
        assert names(network) == {"b1": 15, "b2": 15}
        running.reload(web(network, [two, three]))
        assert names(network) == {"b2": 15, "b3": 15}
        running.reload(web(network))
        assert names(network) == {"b1": 10, "b2": 10, "b3": 10}


def test_sighup_does_the_same_as_the_command(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network, network.backends[:1])) as running:
        write(running.file, web(network, network.backends[2:]))
        running.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: clients.http_get(network.client.ns, (VIP, 80)) == "b3")
        assert names(network) == {"b3": 30}


def test_an_invalid_file_changes_nothing(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        running.file.write_text("services: [\n")
        done = running.command("reload", check=False)
        assert done.returncode == EXIT_INVALID, done.stdout
        assert f"{running.file}:" in done.stdout, "says where the file is wrong"
        assert running.alive()
        assert names(network) == {"b1": 10, "b2": 10, "b3": 10}


def test_a_connection_of_a_removed_backend_goes_on(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network, network.backends[:1])) as running:
        with clients.connect(network.client.ns, (VIP, 7)) as sock:
            clients.echo_every_length(sock, range(1, 10), stream=True)
            running.reload(web(network, network.backends[1:]))
            assert names(network) == {"b2": 15, "b3": 15}
            clients.echo_every_length(sock, range(1, 200), stream=True)


def test_a_new_service_and_one_that_goes(two_armed):
    network = two_armed.network
    config = web(network)
    with Featherlb(network, config) as running:
        extra = service("extra", [endpoint("10.9.0.3", 8081) + "/tcp"], network.backends, 4, HTTP_PORT)
        running.reload({**config, "services": [*config["services"], extra]})
        assert clients.http_get(network.client.ns, ("10.9.0.3", 8081)) in {"b1", "b2", "b3"}
        running.reload(config)
        with pytest.raises(OSError):
            clients.http_get(network.client.ns, ("10.9.0.3", 8081), timeout=0.5)
        assert names(network) == {"b1": 10, "b2": 10, "b3": 10}


@pytest.mark.slow
@pytest.mark.parametrize("attach", ("auto", "clsact", "xdp"))
def test_reloads_and_crashes_under_load_cost_no_request(two_armed, measured, attach):
    """wrk on kept-alive connections during all changes; new connections while no daemon runs. `clsact` is what TC users have
    before Linux 6.6."""
    network, lab = two_armed.network, two_armed.lab
    # Native XDP needs this (facts of veth); TC is tested with offloads on.
    network.set_offload("off-at-end-hosts" if attach == "xdp" else "offload-on")
    network.set_peer_gro(attach == "xdp")
    config = web(network)
    clsact = {"FEATHERLB_NO_TCX": "1"} if attach == "clsact" else {}
    for interface in config["interfaces"]:
        interface["attach"] = "tc" if clsact else attach
    variants = [{**config, "services": web(network, hosts)["services"]}
                for hosts in (network.backends[:2], network.backends[1:], network.backends)]
    with Featherlb(network, config, ephemeral=False, environment=clsact) as running:
        assert not clsact or "clsact" in running.log()
        began, reloads = time.monotonic(), []
        wrk = load.start_wrk(lab, network.client.ns, f"http://{VIP}/id", LOAD_SECONDS, 48)
        for number in range(20):
            asked = time.monotonic()
            running.reload(variants[number % 3])
            reloads.append(time.monotonic() - asked)
            time.sleep(0.1)
        for _ in range(3):
            running.kill()
            figures = load.short_lived(network.client.ns, (VIP, 9), 1000)
            assert figures["ok"] == 1000, f"without a daemon: {figures}"
            running.start()
            time.sleep(0.5)
        changed = time.monotonic() - began
        assert wrk.poll() is None, "wrk ended before the last change"
        wrk.send_signal(signal.SIGINT)  # it reports what it did so far
        report = load.finish_wrk(wrk)
        assert running.alive()
    network.set_offload("offload-on")
    network.set_peer_gro(False)
    measured(f"{report.requests:,} requests, {report.requests_per_second:,.0f}/s, p99 {report.p99_ms:.2f} ms, "
             f"errors {report.errors or 'none'}; changes took {changed:.1f} s, a reload {max(reloads):.2f} s at most")
    assert report.failed == 0
    assert report.requests > 20_000


def test_new_connections_during_reloads_all_succeed(two_armed):
    network, lab = two_armed.network, two_armed.lab
    with Featherlb(network, web(network)) as running:
        wrk = load.start_wrk(lab, network.client.ns, f"http://{VIP}/id", 4, 16, new_connections=True)
        for number in range(20):
            running.reload(web(network, network.backends[number % 2:], "maglev" if number % 4 < 2 else "random"))
            time.sleep(0.15)
        report = load.finish_wrk(wrk)
    # wrk counts the server's close as an end, not as an error, when the answer was whole.
    assert report.failed == 0 and report.requests > 1000, report


def test_the_data_plane_outlives_the_daemon_until_detach(two_armed):
    network = two_armed.network
    running = Featherlb(network, web(network), ephemeral=False)
    running.start()
    try:
        assert running.stop() == EXIT_OK
        assert names(network) == {"b1": 10, "b2": 10, "b3": 10}
        assert running.command("status", check=False).returncode == EXIT_UNREACHABLE
        assert running.command("reload", check=False).returncode == EXIT_UNREACHABLE
    finally:
        running.detach()
    with pytest.raises(OSError):
        clients.http_get(network.client.ns, (VIP, 80), timeout=0.5)
    assert not running.pins.exists() or not any(running.pins.iterdir())


def test_ephemeral_leaves_nothing_behind(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        assert names(network) == {"b1": 10, "b2": 10, "b3": 10}
        pins = running.pins
    assert not pins.exists() or not any(pins.iterdir())
    with pytest.raises(OSError):
        clients.http_get(network.client.ns, (VIP, 80), timeout=0.5)


def test_an_open_connection_survives_a_restart(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network), ephemeral=False) as running:
        with clients.connect(network.client.ns, (VIP, 7)) as sock:
            clients.echo_every_length(sock, range(1, 100), stream=True)
            running.stop()
            clients.echo_every_length(sock, range(1, 100), stream=True)
            running.start()
            clients.echo_every_length(sock, range(1, 100), stream=True)
