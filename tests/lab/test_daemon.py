# SPDX-License-Identifier: Apache-2.0
"""The daemon on real interfaces: what it says of itself, what it follows, and what does not bring it down."""
import json
import signal
import socket
import subprocess
import time

import pytest
from labkit import clients, tools
from labkit.backends import ECHO_PORT, HTTP_PORT
from labkit.balancer import EXIT_FAILED, EXIT_INVALID, EXIT_OK, Featherlb
from labkit.config import configuration, endpoint, service, write
from labkit.lab import wait_for
from labkit.topology import service_address

VIP = service_address(4)
pytestmark = pytest.mark.no_standin


def web(network, hosts=None, listen=None, **sections) -> dict:
    hosts = network.backends if hosts is None else hosts
    listen = listen or [endpoint(VIP, 80) + "/tcp"]
    return configuration(network, [service("web", listen, hosts, 4, HTTP_PORT),
                                   service("echo", [endpoint(VIP, 7) + "/tcp"], hosts, 4, ECHO_PORT)], **sections)


def get(network, address: str = VIP, port: int = 80) -> str:
    return clients.http_get(network.client.ns, (address, port), timeout=1)


def backends(running, name: str = "web") -> dict:
    """Of the service, by address."""
    services = {service["name"]: service for service in running.status()["services"]}
    return {backend["address"]: backend for backend in services[name]["backends"]}


def wait_running(running) -> None:
    """Without its log."""
    wait_for("the daemon", lambda: '"running"' in running.command("status", "--json", check=False).stdout, 20)


def run_to_its_end(network, config: dict, **options) -> subprocess.CompletedProcess:
    running = Featherlb(network, config, ephemeral=False, name="ends", **options)
    write(running.file, config)
    return network.balancer.run(running.arguments(), check=False, timeout=15)


def test_status_tells_what_runs(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        for _ in range(9):
            get(network)
        status = running.status()
        assert status["pid"] == running.process.pid
        assert status["config_file"] == str(running.file)
        assert [(i["name"], i["attached"], i["hook"]) for i in status["interfaces"]] == [
            (name, True, "tcx") for name in sorted(network.interfaces)] or len(status["interfaces"]) == 2
        assert all("veth" in i["why"] and i["program_id"] > 0 for i in status["interfaces"])
        assert status["services"][0]["listeners"] == [f"{VIP}:80/tcp"]
        for backend in backends(running).values():
            assert backend["state"] == "up" and backend["connections"] == 3
            assert backend["packets_in"] > 9 and backend["bytes_out"] > 300
        assert status["data_plane"]["memory_bytes"] > 100 << 20
        assert {program["name"] for program in status["data_plane"]["programs"]} == {"flb_tc"}, "no interface needs the other"
        text = running.command("status").stdout
        assert f"pid {running.process.pid}" in text and "10.2.0.11:8080" in text
        assert max(map(len, text.splitlines())) <= 100, text


def test_open_connections_are_counted_and_a_drained_backend_is_forgotten(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network, network.backends[:1], flows={"max": 1024})) as running:
        with clients.connect(network.client.ns, (VIP, 7)) as sock:
            sock.sendall(b"x")
            clients.read_exactly(sock, 1)
            wait_for("the count", lambda: backends(running, "echo")["10.2.0.11:7001"]["flows"] == 1)
            assert running.status()["flows"]["by_state"] == {"established": 1}
            running.reload(web(network, network.backends[1:], flows={"max": 1024}))
            time.sleep(3)  # passes over the table go by, and it is still there
            assert backends(running, "echo")["10.2.0.11:7001"]["state"] == "draining"
            assert "10.2.0.11:8080" not in backends(running), "nothing held this one"
        wait_for("the backend to be forgotten", lambda: "10.2.0.11:7001" not in backends(running, "echo"), 30)


def test_auto_attaches_where_packets_come_in_and_go_out(two_armed):
    network = two_armed.network
    with Featherlb(network, {**web(network), "interfaces": "auto"}) as running:
        assert {i["name"] for i in running.status()["interfaces"]} == set(network.interfaces)
        assert get(network) in {"b1", "b2", "b3"}


def test_a_listener_on_every_address_follows_the_addresses(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network, listen=["*:80/tcp"])):
        assert get(network, "10.1.0.1") in {"b1", "b2", "b3"}
        with pytest.raises(OSError):
            get(network, "10.1.0.77")
        network.balancer.ip("addr add 10.1.0.77/24 dev front")
        try:
            time.sleep(0.3)
            assert get(network, "10.1.0.77") in {"b1", "b2", "b3"}
        finally:
            network.balancer.ip("addr del 10.1.0.77/24 dev front")
        time.sleep(0.3)
        with pytest.raises(OSError):
            get(network, "10.1.0.77")


def test_a_backend_that_vanishes_from_the_link_is_told_once_and_left_out(two_armed):
    network = two_armed.network
    gone = network.backends[2]
    gone.ns.ip("link set eth0 down")
    try:
        with Featherlb(network, web(network)) as running:
            assert backends(running)["10.2.0.13:8080"]["state"] == "unresolved"
            assert {get(network) for _ in range(10)} == {"b1", "b2"}
            time.sleep(2)
            assert running.log().count("10.2.0.13 (of web, echo) is not reached") == 1, running.log()
            gone.ns.ip("link set eth0 up\nroute replace default via 10.2.0.1")
            wait_for("b3 to be back", lambda: backends(running)["10.2.0.13:8080"]["state"] == "up", 15)
            assert {get(network) for _ in range(9)} == {"b1", "b2", "b3"}
            assert running.log().count("is reached again") == 1
    finally:
        gone.ns.ip(f"link set eth0 up\naddr replace {gone.ipv6}/64 dev eth0 nodad\n"
                   "route replace default via 10.2.0.1\nroute replace default via fd00:2::1")


def test_a_name_is_followed_at_reload_and_kept_when_it_fails(two_armed):
    network, lab = two_armed.network, two_armed.lab
    hosts = lab.directory / "hosts"
    hosts.write_text("10.2.0.11 web.lab.internal\n")
    config = web(network)
    config["services"] = [{"name": "web", "listen": [f"{VIP}:80/tcp"], "algorithm": "round-robin",
                           "backends": [{"dns": f"web.lab.internal:{HTTP_PORT}"}]}]
    running = Featherlb(network, config)
    plain = running.arguments()
    # A mount namespace of its own, in which /etc/hosts is the lab's.
    running.arguments = lambda: ["unshare", "-m", "sh", "-c", f"mount --bind {hosts} /etc/hosts && exec " + " ".join(plain)]
    with running:
        assert {get(network) for _ in range(4)} == {"b1"}
        hosts.write_text("10.2.0.12 web.lab.internal\n10.2.0.13 web.lab.internal\n")
        running.reload()
        assert {get(network) for _ in range(4)} == {"b2", "b3"}
        hosts.write_text("")
        done = running.command("reload")
        assert "does not resolve" in done.stdout and "last known addresses stay" in done.stdout
        assert {get(network) for _ in range(4)} == {"b2", "b3"}


def test_an_invalid_start_pins_nothing(two_armed):
    network = two_armed.network
    config = web(network)
    config["interfaces"] = ["frnt"]
    done = run_to_its_end(network, config)
    assert done.returncode == EXIT_INVALID, done.stdout
    assert 'interface "frnt" does not exist; did you mean "front"?' in done.stdout
    assert not (network.lab.bpffs() / "ends").exists()


def test_source_ports_of_the_machine_are_refused(two_armed):
    network = two_armed.network
    config = web(network, snat={"ports": "30000-40000"})
    done = run_to_its_end(network, config)
    assert done.returncode == EXIT_INVALID, done.stdout
    assert "30000-40000" in done.stdout and "32768-60999" in done.stdout and "use 1024-32767" in done.stdout


def test_a_socket_that_cannot_be_made_ends_the_start_and_leaves_nothing(two_armed):
    network = two_armed.network
    running = Featherlb(network, web(network), ephemeral=False, name="ends")
    running.socket = "/proc/nowhere/admin.sock"
    write(running.file, running.config)
    done = network.balancer.run(running.arguments(), check=False, timeout=15)
    assert done.returncode == EXIT_FAILED, done.stdout
    assert "/proc/nowhere/admin.sock: cannot make the directory" in done.stdout
    assert not running.pins.exists(), "a start that failed takes back what it made"


def test_a_file_where_the_socket_should_be_is_left_alone(two_armed):
    network = two_armed.network
    running = Featherlb(network, web(network), name="ends")
    running.socket = network.lab.directory / "precious"
    running.socket.write_text("x")
    write(running.file, running.config)
    done = network.balancer.run(running.arguments(), check=False, timeout=15)
    assert done.returncode == EXIT_FAILED and "something else than a socket" in done.stdout, done.stdout
    assert running.socket.read_text() == "x"


def test_detach_refuses_while_a_daemon_runs(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network), ephemeral=False) as running:
        def detach(*more: str) -> subprocess.CompletedProcess:
            return subprocess.run(network.balancer.argv(running.words("detach", "--pins", str(running.pins), *more)),
                                  capture_output=True, text=True, timeout=60)

        for more in ([], ["--json"]):
            done = detach(*more)
            assert (done.returncode, done.stdout) == (EXIT_FAILED, "")
            assert done.stderr == f"a daemon (pid {running.process.pid}) is running with {running.pins}; end it first\n"
        assert get(network) in {"b1", "b2", "b3"}
        assert running.stop() == EXIT_OK
        removed = json.loads(detach("--json").stdout)["removed"]
        assert len(removed) > 10
        running.start()
        assert running.stop() == EXIT_OK
        done = detach()
        assert (done.returncode, done.stderr) == (EXIT_OK, "")
        assert sorted(done.stdout.splitlines()) == sorted(f"removed {line}" for line in removed)
        assert detach().stdout == "nothing to remove\n"
        assert json.loads(detach("--json").stdout) == {"removed": []}


def test_clients_that_do_not_behave_do_not_hold_up_the_daemon(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        rude = []
        for number in range(12):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(running.socket))
            if number % 3 == 1:
                sock.sendall(b"GET /v1/status HTTP/1.1\r\nHost:")
            if number % 3 == 2:
                sock.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n" * 50)  # and never reads
            rude.append(sock)
        began = time.monotonic()
        running.reload(web(network, network.backends[:1]))
        assert {get(network) for _ in range(5)} == {"b1"}
        assert time.monotonic() - began < 2
        for sock in rude:
            sock.close()
        assert running.status()["last_reload"]["result"] == "ok"


def test_a_log_that_cannot_be_written_changes_nothing(two_armed):
    network = two_armed.network
    running = Featherlb(network, web(network))
    write(running.file, running.config)
    with open("/dev/full", "wb") as full:
        running.process = network.lab.start(network.balancer, running.arguments(), stdout=full, stderr=full)
    try:
        wait_running(running)
        assert get(network) in {"b1", "b2", "b3"}
        running.reload()
        assert running.alive()
    finally:
        assert running.stop() == EXIT_OK


def test_closed_standard_descriptors_are_not_written_into(two_armed):
    network = two_armed.network
    running = Featherlb(network, web(network))
    plain = " ".join(running.arguments())
    running.arguments = lambda: ["sh", "-c", f"exec {plain} <&- >&- 2>&-"]
    write(running.file, running.config)
    running.start(wait=False)
    try:
        wait_running(running)
        assert get(network) in {"b1", "b2", "b3"}
    finally:
        assert running.stop() == EXIT_OK
    done = network.balancer.run(["sh", "-c", f"{tools.featherlb()} version >&-"], check=False)
    assert done.returncode == EXIT_FAILED and "cannot be written" in done.stdout


def test_sigterm_ends_a_start_that_still_waits(two_armed):
    """A backend that does not answer holds a start for a second; a signal does not have to wait for it."""
    network = two_armed.network
    config = web(network)
    config["services"][0]["backends"].append({"address": "10.2.0.99:8080"})
    running = Featherlb(network, config, ephemeral=False)
    running.start(wait=False)
    wait_for("the data plane", lambda: "data plane" in running.log(), 20)
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(5)
    assert running.process.returncode == EXIT_OK
    if "ready" not in running.log():
        assert not running.pins.exists()
    else:
        running.detach()


def test_a_hundred_reloads_leak_nothing(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        def held() -> tuple[int, int]:
            pages = int(open(f"/proc/{running.process.pid}/statm").read().split()[1])
            return len(list((running.file.parent / f"/proc/{running.process.pid}/fd").iterdir())), pages * 4096

        running.reload(web(network, network.backends[:1]))
        files, memory = held()
        for number in range(100):
            running.reload(web(network, network.backends[number % 2:]))
        wait_for("connections of the commands to end", lambda: held()[0] <= files)
        assert held()[1] - memory < 8 << 20
