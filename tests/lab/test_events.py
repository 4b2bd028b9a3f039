# SPDX-License-Identifier: Apache-2.0
"""`featherlb events` with real traffic: what is seen of drops and decisions, how a flood is sampled, and that the programs
tell nothing once nobody listens."""
import json
import signal
import socket
import subprocess
import time

import pytest
from labkit import clients, tools
from labkit.backends import ECHO_PORT, NAME_PORT
from labkit.balancer import EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE, Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.netns import run
from labkit.topology import service_address

pytestmark = pytest.mark.no_standin
FAMILIES = pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))
HOOKS = pytest.mark.parametrize("attach", ("tc", "xdp-generic"))
SAMPLED_AT = 168  # of flb_settings.sampled


def denied(family: int, number: int = 5) -> str:
    """An address of the client's that `deny` names."""
    return f"10.100.0.{number}" if family == 4 else f"fd00:100::{number}"


def config(network, family: int, attach: str = "auto") -> dict:
    address = service_address(family)
    deny = ["10.100.0.0/16"] if family == 4 else ["fd00:100::/64"]
    services = [service("name", [endpoint(address, 9) + "/tcp"], network.backends, family, NAME_PORT),
                service("echo", [endpoint(address, 7) + "/udp"], network.backends, family, ECHO_PORT)]
    return configuration(network, [{**entry, "deny": deny} for entry in services], attach=attach)


class Listener:
    """A running `featherlb events --json`, and what it has printed."""

    def __init__(self, running: Featherlb, *words: str, name: str = "events"):
        self.lab, self.log = running.network.lab, running.network.lab.directory / f"{name}.log"
        self.log.write_text("")
        argv = [tools.featherlb(), "events", "--json", *words, "--socket", str(running.socket)]
        self.process = self.lab.start(running.network.balancer, argv, log=self.log.name)
        wait_for("the programs tell", lambda: sampled(running) != 0)

    def rows(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def events(self, **wanted) -> list[dict]:
        return [row for row in self.rows() if "kind" in row and all(row[key] == value for key, value in wanted.items())]

    def left_out(self) -> int:
        return sum(row.get("left_out", 0) for row in self.rows())

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(5)


def sampled(running: Featherlb) -> int:
    """What the programs are asked for."""
    dump = run(["bpftool", "-j", "map", "lookup", "pinned", str(running.pins / "maps" / "settings"), "key", "0", "0", "0", "0"])
    value = bytes(int(byte, 16) for byte in json.loads(dump.stdout)["value"])
    return int.from_bytes(value[SAMPLED_AT:SAMPLED_AT + 8], "little")


def send_denied(network, family: int, packets: int, port: int = 7) -> None:
    sock = clients.udp_socket(network.client.ns, (service_address(family), port), (denied(family), 0))
    with sock:
        for _ in range(packets):
            sock.send(b"x")


@FAMILIES
@HOOKS
def test_decisions_and_drops_are_seen_as_they_happen(two_armed, family, attach):
    network = two_armed.network
    mine, to = network.client.address(family), (service_address(family), 9)
    with Featherlb(network, config(network, family, attach), ephemeral=False) as running:
        listener = Listener(running)
        backend = clients.ask_name(network.client.ns, to, (mine, 4242))[0]
        wait_for("the decision", lambda: listener.events(kind="decision"))
        (event,) = listener.events(kind="decision")
        assert event["source"] == endpoint(mine, 4242)
        assert event["destination"] == endpoint(*to)
        assert (event["reason"], event["protocol"], event["service"]) == ("new", "tcp", "name")
        assert event["backend"] == backend
        addresses = {host.name: host.address(family) for host in network.backends}
        assert event["backend_address"] == endpoint(addresses[backend], NAME_PORT)
        assert event["interface"] == "front"
        send_denied(network, family, 1)
        wait_for("the drop", lambda: listener.events(kind="drop"))
        (event,) = listener.events(kind="drop")
        assert (event["reason"], event["protocol"], event["service"], event["backend"]) == ("denied", "udp", "echo", "")
        assert event["source"].startswith(denied(family) if family == 4 else f"[{denied(family)}]")
        assert listener.left_out() == 0
        assert listener.end() == EXIT_OK


def test_lines_for_people_and_filters(two_armed):
    network = two_armed.network
    with Featherlb(network, config(network, 4), ephemeral=False) as running:
        argv = [tools.featherlb(), "events", "--reason", "denied", "--client", denied(4), "--service", "echo", "--count", "1",
                "--for", "20s", "--socket", str(running.socket)]
        log = network.lab.directory / "line.log"
        process = network.lab.start(network.balancer, argv, log=log.name)
        wait_for("the programs tell", lambda: sampled(running) != 0)
        assert bin(sampled(running)).count("1") == 1, "of one reason alone"
        clients.ask_name(network.client.ns, (service_address(4), 9))
        sock = clients.udp_socket(network.client.ns, (service_address(4), 7), (denied(4, 6), 0))
        sock.send(b"not this client")
        send_denied(network, 4, 1)
        assert process.wait(5) == EXIT_OK
        (line,) = log.read_text().splitlines()
        time_of_day, *words = line.split(" ")
        assert len(time_of_day) == 12
        assert words[:3] == ["drop", "denied", "UDP"]
        assert words[3].startswith(denied(4) + ":")
        assert words[4:7] == ["->", endpoint(service_address(4), 7), "echo"]
        assert len(line) <= 100


def test_a_flood_is_sampled_and_the_daemon_stays_responsive(two_armed, measured):
    network = two_armed.network
    with Featherlb(network, config(network, 4), ephemeral=False) as running:
        listener = Listener(running)
        begun, sent, slowest = time.monotonic(), 0, 0.0
        while time.monotonic() - begun < 5:
            send_denied(network, 4, 5000)
            sent += 5000
            asked = time.monotonic()
            running.status()
            slowest = max(slowest, time.monotonic() - asked)
            clients.ask_name(network.client.ns, (service_address(4), 9))
        took = time.monotonic() - begun
        time.sleep(1.5)
        assert listener.end() == EXIT_OK
        seen, left_out = len(listener.events(reason="denied")), listener.left_out()
        drops = sum(row["packets"] for row in running.status()["drops"] if row["reason"] == "denied")
        measured(f"{drops} drops in {took:.1f} s: {seen} shown, {left_out} left out; status in {slowest * 1e3:.0f} ms at most")
        assert drops == sent
        assert seen + left_out == drops
        assert 0 < seen < drops / 2
        assert listener.events(kind="decision"), "the flood does not drown what is rare"
        assert slowest < 1


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
def test_sampling_ends_with_the_last_listener_however_it_went(two_armed, number):
    network = two_armed.network
    with Featherlb(network, config(network, 4), ephemeral=False) as running:
        first, second = Listener(running, "--kind", "drop"), Listener(running, name="second")
        second.end(number)
        wait_for("only drops are asked for", lambda: sampled(running) & 1 == 0, 8)
        assert sampled(running) != 0
        send_denied(network, 4, 1)
        wait_for("the other one goes on", lambda: first.events(reason="denied"))
        first.end(number)
        wait_for("nothing is asked for", lambda: sampled(running) == 0, 8)


def test_a_killed_daemon_leaves_programs_that_stop_telling(two_armed):
    network = two_armed.network
    with Featherlb(network, config(network, 4), ephemeral=False) as running:
        listener = Listener(running)
        running.kill()
        assert listener.process.wait(20) == EXIT_UNREACHABLE
        assert sampled(running) != 0
        running.start()
        assert sampled(running) == 0
        again = Listener(running)
        send_denied(network, 4, 1)
        wait_for("the drop", lambda: again.events(reason="denied"))


def test_a_reader_that_goes_ends_it(two_armed):
    network = two_armed.network
    with Featherlb(network, config(network, 4), ephemeral=False) as running:
        argv = network.balancer.argv([tools.featherlb(), "events", "--socket", str(running.socket)])
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            wait_for("the programs tell", lambda: sampled(running) != 0)
            send_denied(network, 4, 1)
            assert "denied" in process.stdout.readline()
            process.stdout.close()
            assert process.wait(10) in (EXIT_OK, EXIT_FAILED, -signal.SIGPIPE)


def test_a_client_that_does_not_read_holds_nobody_up(two_armed):
    network = two_armed.network
    with Featherlb(network, config(network, 4), ephemeral=False) as running:
        idle = []
        for _ in range(12):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(running.socket))
            sock.send(b"GET /v1/events?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n")
            idle.append(sock)
        time.sleep(0.5)
        assert running.status()["state"] == "running"
        refused = running.command("events", "--for", "1s", check=False)
        assert refused.returncode == EXIT_FAILED
        assert "listen to events already" in refused.stdout
        for _ in range(5):
            send_denied(network, 4, 2000)
            assert running.status()["state"] == "running"
        for sock in idle:
            sock.close()


def test_exit_codes(two_armed):
    network = two_armed.network
    with Featherlb(network, config(network, 4), ephemeral=False) as running:
        for words, code, said in (
                (("--reason", "denyed"), EXIT_USAGE, 'did you mean "denied"?'),
                (("--kind", "dropp"), EXIT_USAGE, 'did you mean "drop"?'),
                (("--client", "10.0.0.1/33"), EXIT_USAGE, "prefix length"),
                (("--count", "0"), EXIT_USAGE, "from 1 on"),
                (("--service", "nam"), EXIT_FAILED, 'did you mean "name"?')):
            done = running.command("events", *words, check=False)
            assert done.returncode == code
            assert said in done.stdout
        done = running.command("events", "--for", "1s")
        assert done.stdout == ""
        running.stop()
        done = running.command("events", check=False)
        assert done.returncode == EXIT_UNREACHABLE
        assert "no daemon answers" in done.stdout
