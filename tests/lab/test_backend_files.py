# SPDX-License-Identifier: Apache-2.0
"""Backends in files of their own, which change under load, are wrong, and go away."""
import json
import os
import signal
import time
from pathlib import Path

import pytest
from conftest import Place
from labkit import load
from labkit.backends import HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint
from labkit.lab import wait_for
from labkit.requests import Requests
from labkit.topology import service_address

pytestmark = pytest.mark.no_standin


@pytest.fixture(scope="module")
def place():
    place = Place("two-armed", dns=False, echo=False)
    yield place
    place.lab.close()


class Targets:
    """The file, replaced in one step."""

    def __init__(self, network, name: str = "targets.json"):
        self.network = network
        self.path: Path = network.lab.directory / "discovered" / name
        self.path.parent.mkdir(exist_ok=True)

    def write(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        os.rename(new, self.path)

    def say(self, *which: int, weight: int = 1) -> None:
        self.write(json.dumps([{"targets": [endpoint(self.network.backends[i - 1].ipv4, HTTP_PORT) for i in which],
                                "labels": {"weight": str(weight), "env": "lab"}}]))


def web(network, targets, **more) -> dict:
    return configuration(network, [{"name": "web", "listen": [endpoint(service_address(4), 80) + "/tcp"],
                                    "algorithm": "weighted-round-robin", "backends": [{"file": str(targets.path)}],
                                    **more}])


def states(running) -> dict[str, str]:
    return {b["address"]: b["state"] for one in running.status()["services"] for b in one["backends"]}


def wait_up(running, network, *which: int) -> float:
    began = time.monotonic()
    wanted = {endpoint(network.backends[i - 1].ipv4, HTTP_PORT) for i in which}
    wait_for(f"backends {which}", lambda: {a for a, state in states(running).items() if state == "up"} == wanted, 5)
    return time.monotonic() - began


def test_a_file_that_changes_under_load_is_followed(place, network, measured):
    targets = Targets(network)
    targets.say(1)
    with Featherlb(network, web(network, targets)) as running, Requests(network) as requests:
        wrk = load.start_wrk(place.lab, network.client.ns, f"http://{service_address(4)}/id", 60, 16)
        took = []
        for wanted in ((1, 2), (2, 3), (3,), (1, 2, 3), (1,), (2, 3)):
            targets.say(*wanted)
            took.append(wait_up(running, network, *wanted))
            time.sleep(0.3)
        for number in range(40):  # more often than anybody can follow
            targets.say(*(((1, 2), (2, 3), (1, 3))[number % 3]), weight=1 + number)
            time.sleep(0.05)
        targets.say(1, 2, 3)
        took.append(wait_up(running, network, 1, 2, 3))
        wrk.send_signal(signal.SIGINT)
        report = load.finish_wrk(wrk)
    measured(f"followed after {max(took):.2f} s at most; {sum(requests.answers.values())} connections, wrk "
             f"{report.requests_per_second:,.0f}/s, {report.errors or 'no'} errors")
    assert not requests.errors and not report.errors
    assert set(requests.answers) == {"b1", "b2", "b3"}


# The same two targets, the second with a weight, as people and programs write lists.
YAML = {
    "block": """# made by hand
- targets:
    - {0}
  labels:
    env: lab
- targets:
  - {1}
  labels:
    weight: "3"
""",
    "flow-in-block": """---
- targets: [{0}]
- targets: ["{1}"]
  labels: {{weight: "3", backup: 'false'}}
...
""",
    "flow": """[{{targets: ["{0}"]}}, {{targets: ["{1}"], labels: {{weight: "3"}}}}]""",
}


def test_lists_of_every_form_are_the_same(place, network):
    targets = Targets(network, "targets.yml")
    one, two, three = (endpoint(host.ipv4, HTTP_PORT) for host in network.backends)
    targets.write(json.dumps([{"targets": [three]}]))
    with Featherlb(network, web(network, targets)) as running:
        for text in YAML.values():
            wait_up(running, network, 3)
            targets.write(text.format(one, two))
            wait_up(running, network, 1, 2)
            weights = {backend["address"]: backend["weight"] for backend in running.status()["services"][0]["backends"]}
            assert {address: weights[address] for address in (one, two)} == {one: 1, two: 3}
            targets.write(f"- targets:\n  - {three}\n")
        assert "is refused" not in running.log()


WRONG = {
    "cut-off": ('[{"targets": ["10.2.0.11:8080"', ":1:"),
    "no-address": ('[{"targets": ["10.2.0.999:8080"]}]', ':1:15: "10.2.0.999" is not an IPv4 address'),
    "no-list": ("services: []", ":1:1: the file must consist of a list"),
    "empty": ("", "the file must consist of a list"),
    "no-targets": ("[]", "its files name no target"),
    "gone": (None, "there is no such file"),
    "binary": ("\x00\x01", ""),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_wrong_changes_nothing_and_is_told_of_once(place, network, wrong):
    targets = Targets(network)
    targets.say(1, 2)
    text, reason = WRONG[wrong]
    with Featherlb(network, web(network, targets)) as running, Requests(network) as requests:
        wait_up(running, network, 1, 2)
        if text is None:
            targets.path.unlink()
        else:
            targets.write(text)
        wait_for("the refusal", lambda: "is refused: backends stay as they were" in running.log(), 5)
        time.sleep(1.5)
        assert running.log().count("is refused") == 1 and reason in running.log()
        assert str(targets.path) in running.log() or wrong == "no-targets"
        wait_up(running, network, 1, 2)
        targets.say(2, 3)
        wait_up(running, network, 2, 3)
    assert not requests.errors


def test_a_change_of_a_file_does_not_read_the_configuration_anew(place, network):
    targets = Targets(network)
    targets.say(1)
    with Featherlb(network, web(network, targets)) as running:
        running.file.write_text("nonsense")
        targets.say(1, 2)
        wait_up(running, network, 1, 2)
        assert running.command("reload", check=False).returncode != 0
        targets.say(3)
        wait_up(running, network, 3)


def test_a_link_that_is_turned_to_another_directory_is_followed(place, network):
    """As Kubernetes replaces the files of a ConfigMap."""
    directory = network.lab.directory / "linked"
    for name, index in (("one", 1), ("two", 2)):
        (directory / name).mkdir(parents=True)
        there = Targets(network)
        there.path = directory / name / "targets.json"
        there.say(index)
    (directory / "data").symlink_to("one")
    targets = Targets(network)
    targets.path = directory / "targets.json"
    targets.path.symlink_to("data/targets.json")
    with Featherlb(network, web(network, targets)) as running:
        wait_up(running, network, 1)
        (directory / "new").symlink_to("two")
        os.rename(directory / "new", directory / "data")
        wait_up(running, network, 2)
