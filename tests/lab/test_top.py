# SPDX-License-Identifier: Apache-2.0
"""featherlb top: in a terminal (tmux), as text and as JSON, over a restart of the daemon."""
import json
import signal
import subprocess
import uuid

import pytest
from labkit import clients
from labkit.backends import HTTP_PORT
from labkit.balancer import EXIT_UNREACHABLE, Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.topology import service_address

VIP = service_address(4)
pytestmark = pytest.mark.no_standin


def web(network, **more) -> dict:
    return configuration(network, [service("web", [endpoint(VIP, 80) + "/tcp"], network.backends, 4, HTTP_PORT, **more)])


class Terminal:
    """A tmux of its own, in which one program runs."""

    def __init__(self, command: list[str], columns: int, rows: int, term: str = "screen-256color"):
        self.socket = f"flb-top-{uuid.uuid4().hex[:8]}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  f"export LC_ALL=C.UTF-8 TERM={term}; {subprocess.list2cmdline(command)}; echo ended with $?; exec sleep 600")

    def tmux(self, *words: str) -> str:
        return subprocess.run(["tmux", "-L", self.socket, *words], check=True, capture_output=True, text=True, timeout=20).stdout

    def screen(self) -> list[str]:
        return self.tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def text(self) -> str:
        return "\n".join(self.screen())

    def keys(self, *names: str) -> None:
        self.tmux("send-keys", *names)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], check=False, capture_output=True, timeout=20)


def test_in_a_terminal_of_80_columns(two_armed, measured):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        with Terminal(running.words("top"), 80, 24) as terminal:
            wait_for("a screen", lambda: "q quit" in terminal.text(), 10)
            assert terminal.text().count("\n") == 23 and max(map(len, terminal.screen())) <= 80, terminal.text()
            for _ in range(300):
                clients.http_get(network.client.ns, (VIP, 80))

            def rate_is_shown():
                clients.http_get(network.client.ns, (VIP, 80))
                row = next(line for line in terminal.screen() if line.startswith("web "))
                return float(row.split()[4]) > 0

            wait_for("new connections a second", rate_is_shown, 20)
            wait_for("a sparkline", lambda: any(block in terminal.text() for block in "▁▂▃▄▅▆▇█"), 10)
            measured("\n" + terminal.text())
            assert "3/3 used" in terminal.text()
            for name in ("b1", "b2", "b3"):
                assert f"  {name} 10.2.0.1" in terminal.text()
            running.command("drain", "web/b2")
            wait_for("the drain", lambda: "2/3 used" in terminal.text() and "draining" in terminal.text(), 10)

            terminal.keys("Enter")
            wait_for("backends to go", lambda: "  b1 " not in terminal.text(), 10)
            terminal.keys("Enter")
            wait_for("backends to return", lambda: "  b1 " in terminal.text(), 10)
            terminal.keys("s")
            wait_for("another order", lambda: "s sort: new/s" in terminal.text(), 10)
            terminal.keys("p")
            wait_for("the pause", lambda: "paused" in terminal.screen()[0], 10)
            terminal.keys("p")
            terminal.tmux("resize-window", "-x", "60", "-y", "12")
            wait_for("the smaller screen", lambda: len(terminal.screen()) == 12 and "q quit" in terminal.screen()[-1], 10)
            assert max(map(len, terminal.screen())) <= 60

            running.kill()
            wait_for("the notice", lambda: "trying again: " in terminal.text(), 15)
            running.start()
            wait_for("the new daemon", lambda: "trying again: " not in terminal.text(), 15)
            terminal.keys("q")
            wait_for("the end", lambda: "ended with 0" in terminal.text(), 10)


def test_a_terminal_that_can_do_nothing_gets_text(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        with Terminal(running.words("top", "--count", "1"), 110, 30, term="dumb") as terminal:
            wait_for("the end", lambda: "ended with 0" in terminal.text(), 15)
            assert "SERVICE" in terminal.text() and "\x1b" not in terminal.text()


def test_text_and_json_where_there_is_no_terminal(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        text = running.command("top", "--count", "2").stdout
        assert text.count("SERVICE") == 2 and text.startswith("featherlb "), text
        assert max(map(len, text.split("\n"))) <= 100
        lines = running.command("top", "--json", "--count", "2").stdout.splitlines()
        assert len(lines) == 2
        for line in map(json.loads, lines):
            assert 0.9 < line["seconds"] < 3
            assert [backend["name"] for backend in line["services"][0]["backends"]] == ["b1", "b2", "b3"]
        assert running.command("top", "--interval", "soon", check=False).returncode == 2
    done = running.command("top", check=False)
    assert done.returncode == EXIT_UNREACHABLE, done


def test_interrupts_end_it_well(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        for sent in (signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen(running.words("top", "--json"), stdout=subprocess.PIPE, text=True) as top:
                assert json.loads(top.stdout.readline())["services"]
                top.send_signal(sent)
                assert top.wait(5) == 0
        with Terminal(running.words("top"), 80, 24) as terminal:
            wait_for("a screen", lambda: "q quit" in terminal.text(), 10)
            terminal.keys("C-c")
            wait_for("the end", lambda: "ended with 0" in terminal.text(), 10)
