# SPDX-License-Identifier: Apache-2.0
"""featherlb plan: what it says before a reload is what the reload does."""
import json

import pytest
from labkit import clients
from labkit.backends import HTTP_PORT
from labkit.balancer import EXIT_INVALID, EXIT_UNREACHABLE, Featherlb
from labkit.config import configuration, endpoint, service, write
from labkit.topology import service_address

VIP = service_address(4)
pytestmark = pytest.mark.no_standin


def web(network, hosts=None, algorithm="maglev", weights=None) -> dict:
    return configuration(network, [service("web", [endpoint(VIP, 80) + "/tcp"], hosts or network.backends, 4, HTTP_PORT,
                                           algorithm=algorithm, weights=weights)])


def test_it_says_what_a_reload_does_and_does_nothing(two_armed, measured):
    network = two_armed.network
    one, two, three = network.backends
    with Featherlb(network, web(network, [one, two])) as running:
        assert running.command("plan").stdout == f"{running.file}: a reload would change nothing\n"
        write(running.file, web(network, [one, three], weights=[2, 1]))
        text = running.command("plan").stdout
        assert "services.web.backends.b1.weight: (not set) -> 2" in text, text
        assert "services.web.backends.b2: address: 10.2.0.12:8080, name: b2 -> (not set)" in text, text
        assert "backend 10.2.0.13:8080 of web: new: takes connections, with weight 1" in text, text
        planned = json.loads(running.command("plan", "--json").stdout)
        assert planned["result"] == "ok"
        assert {(change["address"], change["change"].split(":")[0]) for change in planned["backends"]} == {
            ("10.2.0.11:8080", "weight 1 -> 2"), ("10.2.0.12:8080", "drains"), ("10.2.0.13:8080", "new")}
        assert {clients.http_get(network.client.ns, (VIP, 80)) for _ in range(20)} == {"b1", "b2"}, "nothing is changed"
        assert running.status()["last_reload"]["result"] == ""
        done = running.command("reload").stdout
        assert f"{planned['rows']} rows of the tables changed" in done, (planned, done)
        assert {clients.http_get(network.client.ns, (VIP, 80)) for _ in range(30)} == {"b1", "b3"}
        share = planned["services"][0]["moved_share"]
        measured(f"b2 of two gives way to b3, b1 weighs 2 of 3: {share:.1%} of the slots lead elsewhere")
        assert 0.5 <= share < 0.65, "b2's half at least, and what Maglev moves besides"


def test_an_invalid_file_and_no_daemon(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        running.file.write_text("services: [\n")
        done = running.command("plan", check=False)
        assert done.returncode == EXIT_INVALID and f"{running.file}:" in done.stdout
    assert running.command("plan", check=False).returncode == EXIT_UNREACHABLE
